"""What a run will ask and what that costs: estimated before the first request, limited while it goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from .store import Answers

if TYPE_CHECKING:
    from ...pipeline.config import GeneratorConfig, Prices
    from .prompts import Request

FEWEST_BYTES = 2  # per token, of other scripts: for what a request costs at most
TOKENS_PER_MESSAGE = 4  # what a server puts around each
TOKENS_PER_TEXT = 7.5  # a text of two to eight words with its quotes and comma
TOKENS_PER_LIST = 5  # its key and brackets
ENOUGH = 5  # stored answers of a model whose length is trusted more than the guess
LIE = 16  # bytes of an answer per counted token, above which the count cannot be true
MOST_TOKENS = 32_768  # of an answer of a server that ignores max_tokens


@dataclass(frozen=True)
class Estimate:
    """Requests, tokens and money of questions. at_most: money, if every answer takes all of ``max_tokens``.

    Money is 0 without prices, at_most also without ``max_tokens``.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float = 0.0
    at_most: float = 0.0

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Question:
    """A request with its JSON schema as OpenAI describes one (None: free text) and what it is expected to cost."""

    request: Request
    schema: dict[str, Any] | None
    expected: Estimate


def total(estimates: Iterable[Estimate]) -> Estimate:
    return sum(estimates, Estimate())


def money(prices: Prices | None, prompt: float, completion: float) -> float:
    """Price of so many tokens; 0 without prices."""
    return 0.0 if prices is None else (prompt * prices.input + completion * prices.output) / 1e6


def estimate(
    request: Request, schema: dict[str, Any] | None, answers: Answers, generator: GeneratorConfig
) -> Estimate:
    """One request. Stored answers of the model correct how long its answer will be."""
    content = [text for _, text in request.messages] + ([json.dumps(schema)] if schema else [])
    around = TOKENS_PER_MESSAGE * len(request.messages)
    prompt = around + sum(map(tokens, content))
    completion = guess(request.items) * _ratio(answers, request.model)
    at_most = 0.0
    if generator.token_limit is not None:
        size = sum(len(text.encode(errors="replace")) for text in content)
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
        counted = [
            (stored.answer.completion_tokens, guess(stored.items))
            for stored in answers.kept.values()
            if stored.model == model and stored.items and stored.answer.text
        ]
        counted = [(written, guessed) for written, guessed in counted if written]
        enough = len(counted) >= ENOUGH
        answers.ratio = sum(w or 0 for w, _ in counted) / sum(g for _, g in counted) if enough else 1.0
    return answers.ratio


def too_few(prompt: int, completion: int, sent: int, text: str) -> bool:
    """Whether a server's counts are too small to be true for the bytes that were sent and the text that came."""
    return prompt < sent / LIE or completion < len(text.encode()) / LIE


@dataclass(frozen=True)
class Reserved:
    """Money set aside for a request in flight: the most it can cost by ``max_tokens``, and if that is ignored."""

    at_most: float
    ignored: float


class Budget:
    """The limit on the money behind all answers of a folder, with the requests in flight.

    A request is sent if the most that it can cost by ``max_tokens`` is left. What is in flight beside it counts as if
    the server ignored ``max_tokens`` and wrote MOST_TOKENS. So answers of up to that many tokens pass the limit by one
    request at most, whatever the server does and whenever it begins to; close to the limit requests go one by one.
    """

    def __init__(self, generator: GeneratorConfig, spent: float = 0.0) -> None:
        self.prices, self.limit = generator.prices, generator.max_cost
        self.max_tokens = generator.token_limit or 0
        self.currency = self.prices.currency if self.prices else ""
        self.spent = spent  # behind all answers of the folder; a store knows it
        self.own = 0.0  # of it, by this run
        self.unmetered = 0  # answers and lost tries whose cost nobody knows
        self.in_flight: list[Reserved] = []

    def allows(self, ahead: Estimate) -> None:
        """UserError, before anything is asked, where all that is to come would exceed the limit."""
        if self.limit is not None and self.spent + ahead.money > self.limit:
            raise UserError(
                f"about {ahead.requests} requests for about {amount(ahead.money)} {self.currency} would exceed "
                f"generator.max_cost {amount(self.limit)} (stored answers cost {amount(self.spent)}); raise it, ask "
                "for fewer texts or pairs, or take a cheaper model"
            )

    def most(self, size: int) -> Reserved:
        """What a request of so many bytes can cost."""
        prompt, ignored = size / FEWEST_BYTES, max(self.max_tokens, MOST_TOKENS)
        return Reserved(money(self.prices, prompt, self.max_tokens), money(self.prices, prompt, ignored))

    def has_room(self, wanted: Reserved) -> bool:
        """Whether a request may be sent now; False: when another one has ended. UserError where it never may."""
        others = sum(other.ignored for other in self.in_flight)
        if self.limit is None or self.spent + others + wanted.at_most <= self.limit:
            return True
        if self.in_flight:
            return False
        raise UserError(
            f"stopped: the next request could exceed generator.max_cost {amount(self.limit)} {self.currency} "
            f"({amount(self.spent)} spent); every answer is kept, a run with a higher limit goes on from here"
        )

    def reserve(self, wanted: Reserved) -> None:
        self.in_flight.append(wanted)

    def settle(self, reserved: Reserved, cost: float | None) -> None:
        """A request has ended. cost: None where nobody knows it; then the most that it can cost counts."""
        self.in_flight.remove(reserved)
        paid = reserved.at_most if cost is None else cost
        self.spent += paid
        self.own += paid
        self.unmetered += cost is None

    def shown(self) -> str:
        """What this run has cost so far, for people."""
        unknown = f" at most, cost of {self.unmetered} unknown" if self.unmetered else ""
        return f"{amount(self.own)} {self.currency}{unknown}"


def amount(money: float) -> str:
    """Money for people: cents, and what is less than some of them with more digits."""
    return f"{money:.2f}" if money >= 0.1 or money == 0 else f"{money:.4f}"
