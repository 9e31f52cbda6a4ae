"""Requests, tokens and money of a run.

Estimated before the first request, limited while it runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from ...errors import UserError

if TYPE_CHECKING:
    from ..generator import GeneratorConfig, Prices
    from .prompts import Request

FEWEST_BYTES = 2  # per token, in other scripts: for the most that a request can cost
TOKENS_PER_MESSAGE = 4  # what a server puts around each
# With quotes and comma: the means of data/texts by CLIP's tokenizer.
TOKENS_PER_TEXT = {"attribute": 10.1, "analogous": 5.7, "synonym": 5.1, "one_to_one": 6.6}
TOKENS_PER_LIST, TOKENS_PER_SIDE = 7, 10  # keys and brackets, with the names of the classes
MOST_BYTES = 16  # per counted token; with more the count cannot be true


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
    """About how many tokens a text has.

    One per word, punctuation mark and letter of another script.

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


def too_few(tokens: int, size: int) -> bool:
    """True if a server counts fewer tokens than so many bytes can have."""
    return tokens < size / MOST_BYTES


class Budget:
    """The limit on the money for all answers of a folder, including requests in flight.

    A request is sent only if the limit covers the most that this request and all in flight can cost
    with ``max_tokens``. The first answer of a server that ignores ``max_tokens`` ends the run
    (`Metered`), so only the requests in flight at that time can pass the limit."""

    def __init__(
        self, generator: GeneratorConfig, spent: Mapping[str, float] | None = None
    ) -> None:
        """spent: money for all answers of the folder, by currency."""
        self.prices, self.limit = generator.prices, generator.max_cost
        self.max_tokens = generator.token_limit or 0
        self.currency = self.prices.currency if self.prices else ""
        self.update(spent or {})
        self.own = 0.0  # the part of `spent` that this run has spent
        self.unmetered = 0  # answers and failed tries of unknown cost
        self.in_flight: list[float] = []  # the most that each request in flight can cost

    def update(self, spent: Mapping[str, float]) -> None:
        """Take over the money for stored answers, by currency.

        UserError if there is a limit and money in another currency.
        """
        self.spent = spent.get(self.currency, 0.0)
        others = sorted({c for c, m in spent.items() if m} - {self.currency})
        if self.limit is not None and others:
            raise UserError(
                f"generator.max_cost is in {self.currency}, but stored answers cost "
                f"{', '.join(others)}; name another folder in generator.answers, or remove max_cost"
            )

    def check(self, ahead: CostEstimate) -> None:
        """Refuse requests that together would exceed the limit.

        With a UserError, before anything is asked.
        """
        if self.limit is not None and self.spent + ahead.money > self.limit:
            raise UserError(
                f"about {ahead.requests} requests for about {amount(ahead.money)} {self.currency} "
                f"would exceed generator.max_cost {amount(self.limit)} (stored answers cost "
                f"{amount(self.spent)}); raise it, ask for fewer texts or pairs, or use a cheaper "
                "model"
            )

    def most(self, size: int) -> float:
        """The most that a request of so many bytes can cost."""
        return money(self.prices, size / FEWEST_BYTES, self.max_tokens)

    def has_room(self, wanted: float) -> bool:
        """True if a request may be sent now, False if it has to wait for another one to end.

        UserError if the limit is too low for it. wanted: the most that the request can cost.
        """
        if self.limit is None or self.spent + sum(self.in_flight) + wanted <= self.limit:
            return True
        if self.in_flight:
            return False
        raise UserError(
            f"stopped: the next request could exceed generator.max_cost {amount(self.limit)} "
            f"{self.currency} ({amount(self.spent)} spent); every answer is kept, a run with a "
            "higher limit continues from here"
        )

    def settle(self, reserved: float, cost: float | None, at_most: float | None = None) -> None:
        """End a request in flight.

        cost: None if unknown; then ``at_most`` counts, or without it what was reserved.
        """
        self.in_flight.remove(reserved)
        if cost is not None:
            paid = cost
        elif at_most is not None:
            paid = at_most
        else:
            paid = reserved
        self.spent += paid
        self.own += paid
        if cost is None:
            self.unmetered += 1

    def shown(self) -> str:
        """The cost of this run so far, in words."""
        unknown = ""
        if self.unmetered:
            unknown = f" at most, cost of {self.unmetered} unknown"
        return f"{amount(self.own)} {self.currency}{unknown}"


def amount(money: float) -> str:
    """Format money: in cents, small amounts with four digits."""
    if money >= 0.1 or money == 0:
        return f"{money:.2f}"
    return f"{money:.4f}"
