"""Requests, tokens and money of a run.

Estimated before the first request, limited while it runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from ...errors import UserError

if TYPE_CHECKING:
    from ..generator import GeneratorConfig, Prices
    from .prompts import Request
    from .store import Answers

FEWEST_BYTES = 2  # per token, in other scripts: for the most that a request can cost
TOKENS_PER_MESSAGE = 4  # what a server puts around each
# With quotes and comma: the means of data/texts by CLIP's tokenizer.
TOKENS_PER_TEXT = {"attribute": 10.1, "analogous": 5.7, "synonym": 5.1, "one_to_one": 6.6}
TOKENS_PER_LIST, TOKENS_PER_SIDE = 7, 10  # keys and brackets, with the names of the classes


@dataclass(frozen=True)
class CostEstimate:
    """Requests, tokens and money; at_most: money if every answer takes all of ``max_tokens``.

    Money is 0 without prices, and at_most is also 0 without ``max_tokens``.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float = 0.0
    at_most: float = 0.0


def total(estimates: Iterable[CostEstimate]) -> CostEstimate:
    """The sum of estimates, field by field."""
    fields = zip(*map(astuple, estimates), strict=True)  # the values of each field
    return CostEstimate(*map(sum, fields))


def money(prices: Prices | None, prompt: float, completion: float) -> float:
    """Price of so many tokens; 0 without prices."""
    if prices is None:
        return 0.0
    return (prompt * prices.input + completion * prices.output) / 1e6


def estimate(requests: Iterable[Request], generator: GeneratorConfig) -> CostEstimate:
    """Estimate requests to a model that does not reason first."""
    found = []
    for request in requests:
        content = [text for _, text in request.messages]
        if request.schema:
            content.append(json.dumps(request.schema))
        around = TOKENS_PER_MESSAGE * len(request.messages)
        prompt = around + sum(map(tokens, content))
        completion = guess(request.items)
        at_most = 0.0
        if generator.token_limit is not None:
            # upper bound: FEWEST_BYTES per token, and an answer of full length
            size = sum(len(text.encode(errors="replace")) for text in content)
            at_most = money(generator.prices, size / FEWEST_BYTES + around, generator.token_limit)
        cost = money(generator.prices, prompt, completion)
        found.append(CostEstimate(1, prompt, round(completion), cost, at_most))
    return total(found)


def tokens(text: str) -> int:
    """About how many tokens a text has: one per word, mark and letter of another script.

    For prompts and schemas this is within a tenth of a byte pair encoding. Each model has a
    tokenizer of its own.
    """
    return len(re.findall(r"[a-zA-Z0-9_]+|[^\sa-zA-Z0-9_]", text))


def guess(items: Sequence[dict[str, Any]]) -> float:
    """Tokens of an answer to items (their documents), from a model that does not reason first."""
    answer = 0.0
    for item in items:
        texts = item["count"] * TOKENS_PER_TEXT[item["kind"]]
        if "other" in item["fields"]:
            # a pair has two lists, each with both names around it
            answer += 2 * (texts + TOKENS_PER_SIDE)
        else:
            answer += texts + TOKENS_PER_LIST
    return answer


class Budget:
    """The limit on the money for all answers of a folder.

    Checked before each request, with what the answers so far have cost. Answers in flight are not
    known then, so they may pass the limit.
    """

    def __init__(self, generator: GeneratorConfig, answers: Answers) -> None:
        """UserError if there is a limit, and money in another currency was spent."""
        self.generator, self.answers, self.limit = generator, answers, generator.max_cost
        self.currency = generator.prices.currency if generator.prices else ""
        others = sorted({c for c, spent in answers.spent.items() if spent} - {self.currency})
        if self.limit is not None and others:
            raise UserError(
                f"generator.max_cost is in {self.currency}, but stored answers cost "
                f"{', '.join(others)}; name another folder in generator.answers, or remove max_cost"
            )

    @property
    def spent(self) -> float:
        """Money for the answers so far, in the currency of the prices."""
        return self.answers.spent.get(self.currency, 0.0)

    def check(self, ahead: CostEstimate) -> None:
        """UserError if requests together would exceed the limit, before anything is asked."""
        if self.limit is not None and self.spent + ahead.money > self.limit:
            raise UserError(
                f"about {ahead.requests} requests for about {amount(ahead.money)} {self.currency} "
                f"would exceed generator.max_cost {amount(self.limit)} (stored answers cost "
                f"{amount(self.spent)}); raise it, ask for fewer texts or pairs, or use a cheaper "
                "model"
            )

    def check_next(self, request: Request) -> None:
        """UserError if a request could exceed the limit."""
        if self.limit is None:
            return
        if self.spent + estimate([request], self.generator).at_most > self.limit:
            raise UserError(
                f"stopped: the next request could exceed generator.max_cost {amount(self.limit)} "
                f"{self.currency} ({amount(self.spent)} spent); every answer is kept, a run with a "
                "higher limit continues from here"
            )


def amount(money: float) -> str:
    """Format money: in cents, small amounts with four digits."""
    if money >= 0.1 or money == 0:
        return f"{money:.2f}"
    return f"{money:.4f}"
