"""What a run will ask, and what that costs: before the first request, and while it goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from .store import Answers, spent

if TYPE_CHECKING:
    from ...pipeline.config import GeneratorConfig, Prices
    from .prompts import Request

FEWEST_BYTES = 2  # per token, of other scripts: for what a request costs at most
TOKENS_PER_MESSAGE = 4  # what a server puts around each
TOKENS_PER_TEXT = 7.5  # a text of two to eight words with its quotes and comma
TOKENS_PER_LIST = 5  # its key and brackets
ENOUGH = 5  # stored answers of a model whose length is trusted more than the guess
LIE = 16  # bytes of an answer per counted token, above which the count cannot be true


@dataclass(frozen=True)
class Estimate:
    """Requests, tokens and money (None without prices) of questions. at_most: money, if every answer is as long as
    the limit on its tokens allows; None without prices or limit."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float | None = None
    at_most: float | None = None

    def __add__(self, other: Estimate) -> Estimate:
        def plus(a: float | None, b: float | None) -> float | None:
            return (a or 0.0) + (b or 0.0) if a is not None or b is not None else None

        return Estimate(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            plus(self.money, other.money),
            plus(self.at_most, other.at_most),
        )


@dataclass(frozen=True)
class Question:
    """A request with its JSON schema as OpenAI describes one (None: free text) and what it is expected to cost."""

    request: Request
    schema: dict[str, Any] | None
    expected: Estimate


def money(prices: Prices | None, prompt: float, completion: float) -> float | None:
    """Price of so many tokens."""
    return None if prices is None else (prompt * prices.input + completion * prices.output) / 1e6


def estimate(request: Request, sent: Any, answers: Answers, generator: GeneratorConfig) -> Estimate:
    """One request. sent: what goes along besides the messages (a schema). Stored answers of the model correct it."""
    content = [text for _, text in request.messages] + ([json.dumps(sent)] if sent else [])
    size = sum(len(text.encode(errors="replace")) for text in content)
    around = TOKENS_PER_MESSAGE * len(request.messages)
    prompt = around + sum(map(tokens, content))
    completion = guess(request.items) * _ratio(answers, request.model)
    at_most = None
    if generator.token_limit is not None:
        at_most = money(generator.prices, size / FEWEST_BYTES + around, generator.token_limit)
    return Estimate(1, prompt, round(completion), money(generator.prices, prompt, completion), at_most)


def tokens(text: str) -> int:
    """About how many tokens a text has: a word, a punctuation mark and a letter of another script are one each.

    Of prompts and schemas that is within a tenth of a byte pair encoding. No tokenizer: each model has its own.
    """
    return len(re.findall(r"[a-zA-Z0-9_]+|[^\sa-zA-Z0-9_]", text))


def guess(items: Sequence[dict[str, Any]]) -> float:
    """Tokens of an answer to items (their documents), for a model that does not think aloud."""
    lists: list[int] = [item["count"] for item in items for _ in range(1 + ("other" in item["fields"]))]
    return sum(n * TOKENS_PER_TEXT + TOKENS_PER_LIST for n in lists)


def _ratio(answers: Answers, model: str) -> float:
    """How much longer this model's answers are than guessed: a model that reasons writes many times as much."""
    if answers.ratio is None:
        told = [(s.answer.completion_tokens, guess(s.items)) for s in answers.kept.values()
                if s.model == model and s.items and s.answer.completion_tokens and s.answer.text]  # fmt: skip
        enough = len(told) >= ENOUGH
        answers.ratio = sum(n or 0 for n, _ in told) / sum(g for _, g in told) if enough else 1.0
    return answers.ratio


def too_few(prompt: int, completion: int, request: Request, text: str) -> bool:
    """Whether a server's counts are too small to be true for what was sent and what came."""
    sent = sum(len(content.encode()) for _, content in request.messages)
    return prompt < sent / LIE or completion < len(text.encode()) / LIE


def total(estimates: Iterable[Estimate]) -> Estimate:
    return sum(estimates, Estimate())


class Budget:
    """Money: what all stored answers cost, what is in flight, and the limit that both together keep to.

    Every request in flight reserves the most it can cost; an answer that cost more than that makes all later ones
    reserve as much. So the limit is passed by one request at most, even where a server ignores the limit on tokens in
    every answer.
    """

    def __init__(self, spent: float, limit: float | None, currency: str) -> None:
        self.spent, self.limit, self.currency = spent, limit, currency
        self.before = spent
        self.in_flight = self.dearest = 0.0
        self.unmetered = 0

    @classmethod
    def of(cls, generator: GeneratorConfig) -> Budget:
        """With all answers of the folder counted."""
        return cls(
            spent(generator.answers),
            generator.max_cost,
            generator.prices.currency if generator.prices else "",
        )

    def allows(self, ahead: Estimate) -> None:
        """UserError, before anything is asked, where all that is to come would exceed the limit."""
        coming = ahead.money or 0.0
        if self.limit is not None and self.spent + coming > self.limit:
            raise UserError(
                f"about {ahead.requests} requests for about {amount(coming)} {self.currency} would exceed "
                f"generator.max_cost {amount(self.limit)} (stored answers cost {amount(self.spent)}); raise it, ask "
                "for fewer texts or pairs, or take a cheaper model"
            )

    def reserve(self, at_most: float | None) -> float:
        """Money set aside for one try. UserError where it could exceed the limit."""
        wanted = max(at_most or 0.0, self.dearest)
        if self.limit is not None and self.spent + self.in_flight + wanted > self.limit:
            raise UserError(
                f"stopped: the next request could exceed generator.max_cost {amount(self.limit)} {self.currency} "
                f"({amount(self.spent)} spent); every answer is kept, a run with a higher limit goes on from here"
            )
        self.in_flight += wanted
        return wanted

    def settle(self, reserved: float, cost: float | None) -> None:
        """A try has ended. cost: None where nobody knows it, then all that was reserved counts."""
        self.in_flight -= reserved
        self.spent += reserved if cost is None else cost
        self.unmetered += cost is None
        self.dearest = max(self.dearest, cost or 0.0)

    def shown(self) -> str:
        unknown = f" at most, cost of {self.unmetered} unknown" if self.unmetered else ""
        return f"{amount(self.spent - self.before)} {self.currency}{unknown}"


def amount(money: float) -> str:
    """Money for people: cents, and what is less than some of them with more digits."""
    return f"{money:.2f}" if money >= 0.1 or money == 0 else f"{money:.4f}"
