"""What a run will ask, and what that costs: before the first request, and while it goes on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import UserError
from .prompts import Request
from .store import Answer, Answers

if TYPE_CHECKING:
    from ...config import Prices

BYTES_A_TOKEN = 4  # of English in the tokenizers of today's models; other scripts have more bytes a letter
TOKENS_A_MESSAGE = 4  # what a server puts around each
TOKENS_A_TEXT = 10  # a text of two to eight words with its quotes
ENOUGH = 5  # stored answers to one prompt whose mean length is believed rather than the guess


@dataclass(frozen=True)
class Estimate:
    """Requests, tokens and money (None without prices) of questions."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float | None = None

    def __add__(self, other: Estimate) -> Estimate:
        known = [m for m in (self.money, other.money) if m is not None]
        return Estimate(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            sum(known) if known else None,
        )


def tokens(text: str) -> int:
    """About how many tokens a text has. No tokenizer: each model has its own, and most have to be fetched."""
    return -(-len(text.encode(errors="replace")) // BYTES_A_TOKEN)


def money(prices: Prices | None, prompt: int, completion: int, batch: bool) -> float | None:
    """Price of so many tokens."""
    if prices is None:
        return None
    full = (prompt * prices.input + completion * prices.output) / 1e6
    return full * (prices.batch if batch else 1)


def estimate(request: Request, wanted: int, answers: Answers, prices: Prices | None, batch: bool) -> Estimate:
    """One question. wanted: texts that its answer holds. Where enough answers to its prompt are stored, by them."""
    prompt = sum(tokens(content) + TOKENS_A_MESSAGE for _, content in request.messages)
    completion, before = wanted * TOKENS_A_TEXT + 10, answers.of_template.get(_template(request), [])
    counted = [a.completion_tokens for a in before if a.completion_tokens is not None]
    if len(counted) >= ENOUGH:
        completion = -(-sum(counted) // len(counted))
    return Estimate(1, prompt, completion, money(prices, prompt, completion, batch))


def total(estimates: Iterable[Estimate]) -> Estimate:
    return sum(estimates, Estimate())


def _template(request: Request) -> tuple[str, str]:
    return request.model, request.template["sha256"]


class Budget:
    """Money: what all stored answers cost, what is under way, and the limit that both together keep to."""

    def __init__(self, spent: float, limit: float | None, currency: str) -> None:
        self.spent, self.limit, self.currency = spent, limit, currency
        self.before = spent
        self.under_way = 0.0

    def allows(self, ahead: Estimate) -> None:
        """UserError, before anything is asked, where all that is to come would exceed the limit."""
        coming = ahead.money or 0.0
        if self.limit is not None and self.spent + coming > self.limit:
            raise UserError(
                f"about {ahead.requests} requests for about {amount(coming)} {self.currency} would exceed "
                f"generator.max_cost {amount(self.limit)} (stored answers cost {amount(self.spent)}); raise it, ask "
                "for fewer texts or pairs, or take a cheaper model"
            )

    def start(self, expected: Estimate) -> None:
        """UserError where this question could exceed the limit."""
        coming = expected.money or 0.0
        if self.limit is not None and self.spent + self.under_way + coming > self.limit:
            raise UserError(
                f"stopped: the next request could exceed generator.max_cost {amount(self.limit)} {self.currency} "
                f"({amount(self.spent)} spent); every answer is kept, a run with a higher limit goes on from here"
            )
        self.under_way += coming

    def end(self, expected: Estimate) -> None:
        self.under_way -= expected.money or 0.0

    def paid(self, answer: Answer) -> None:
        self.spent += answer.cost or 0.0

    def shown(self) -> str:
        return f"{amount(self.spent - self.before)} {self.currency}"


def lines(rows: Sequence[tuple[str, str, Estimate, int]], currency: str) -> list[str]:
    """A table for people. rows: data set, kind, estimate of what is to be asked, answers that are there already."""
    head = ("data set", "texts", "stored", "to ask", "prompt tokens", "answer tokens", f"about {currency}")
    body = [
        (
            d,
            kind,
            f"{have:,}",
            f"{e.requests:,}",
            f"{e.prompt_tokens:,}",
            f"{e.completion_tokens:,}",
            _money(e),
        )
        for d, kind, e, have in rows
    ]
    all_ = total(e for _, _, e, _ in rows)
    last = ("all", "", f"{sum(r[3] for r in rows):,}", f"{all_.requests:,}", f"{all_.prompt_tokens:,}")
    body.append((*last, f"{all_.completion_tokens:,}", _money(all_)))
    widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
    shown = [
        "  ".join(
            c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in (head, *body)
    ]
    return [line.rstrip() for line in shown]


def _money(e: Estimate) -> str:
    return amount(e.money) if e.money is not None else "–" if e.requests else amount(0)


def amount(money: float) -> str:
    """Money for people: cents, and what is less than some of them with more digits."""
    return f"{money:.2f}" if money >= 0.1 or money == 0 else f"{money:.4f}"
