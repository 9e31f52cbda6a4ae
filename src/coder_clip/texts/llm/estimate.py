"""Estimate what a configuration would ask a language model, and the cost.

Before anything is asked, without a key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import UserError
from ...foundation import terminal
from ..english import use
from ..sources import Asked
from .budget import CostEstimate, amount, total
from .generate import Generator
from .requests import MAX_REASKS, class_items, pair_items
from .review import Review
from .store import Answers

if TYPE_CHECKING:
    from ..generator import GeneratorConfig


@dataclass(frozen=True)
class CostRow:
    """A line of the table.

    ahead: requests to make. stored: number of answers that are stored. again: requests that ask
    again. known: False if the requests are an upper bound.
    """

    dataset: str
    texts: str
    ahead: CostEstimate
    stored: int
    again: int
    known: bool = True


def rows(asked: Iterable[Asked]) -> list[CostRow]:
    """Requests by data set, for classes and for pairs.

    Questions that stored answers make necessary are included; those that future answers will make
    necessary are not. The pairs that stage
    one confuses are known after stage one; until then the largest possible number counts.
    """
    # Requests are made as in a run and counted, not computed by a formula: so stored answers, and
    # requests that data sets share, are left out exactly as a run leaves them out.
    found: list[CostRow] = []
    # keys of items: two data sets may share questions (ImageNet-V2 has ImageNet's classes)
    seen: set[str] = set()
    for task, pairs, known in asked:
        generator = task.generator
        assert generator is not None, "the configuration requires it"
        use(generator.prompts)
        counts = generator.texts_per_class.model_dump()
        asking = Generator(generator, task.dataset)
        review = Review.of(generator.answers, task.dataset)
        if task.kinds:
            items = class_items(task.kinds, task.classes, task.templates, counts)
            found.append(CostRow(task.dataset, "classes", *asking.ahead(items, seen, review)))
        if pairs is not None:
            items = pair_items(pairs, task.classes, task.templates, counts["one_to_one"])
            found.append(
                CostRow(task.dataset, "one_to_one", *asking.ahead(items, seen, review), known)
            )
    return found


def lines(generator: GeneratorConfig | None, asked: Iterable[Asked], several: bool) -> list[str]:
    """The table, with its assumptions below it. several: more than one data set was meant.

    UserError if nothing is asked of a language model.
    """
    # Rows that are an upper bound have an asterisk, and the notes say what every estimate assumes.
    if generator is None:
        raise UserError(
            "no section 'generator:' in the configuration, so nothing would be asked "
            "(docs/texts.md)"
        )
    every_asked = list(asked)
    found = rows(every_asked)
    if not found:
        raise UserError("no data set has texts from the source 'llm', so nothing would be asked")
    ahead = total(row.ahead for row in found)
    stored, again = sum(row.stored for row in found), sum(row.again for row in found)
    every = CostRow("all", "", ahead, stored, again)
    notes = [
        (
            f"{generator.model}; tokens are estimates, for a model that does not reason before it "
            "answers"
        ),
        *_money(generator, every.ahead),
    ]
    if again:
        notes.append(f"{again} of the requests ask again, for texts that were not accepted")
    if any("analogous" in asked.task.kinds and asked.task.model for asked in every_asked):
        notes.append(
            f"not counted: up to {MAX_REASKS} more requests per class for analogous classes that "
            "an encoder finds too similar to another class"
        )
    if several:
        notes.append("requests that two data sets share are counted once, for the first")
    if not all(row.known for row in found):
        notes.append("*: at most; which pairs stage one confuses is known after it has run")
    head = ["data set", "texts", "stored", "requests", "prompt tokens", "answer tokens"]
    head.append(f"about {generator.prices.currency}" if generator.prices else "(no prices)")
    cells = []
    for row in [*found, every]:
        e = row.ahead
        counts = (f"{n:,}" for n in (row.stored, e.requests, e.prompt_tokens, e.completion_tokens))
        texts = row.texts if row.known else f"{row.texts} *"
        cells.append([row.dataset, texts, *counts, amount(e.money) if generator.prices else "–"])
    return [*terminal.table(head, cells, right=range(2, len(head))), *notes]


def _money(generator: GeneratorConfig, ahead: CostEstimate) -> list[str]:
    """The assumptions behind the costs."""
    prices = generator.prices
    if prices is None:
        return []
    spent = Answers(generator.answers, "").spent.get(prices.currency, 0.0)
    notes = [
        f"prices of {prices.date}: {prices.input:g} and {prices.output:g} {prices.currency} per "
        f"million tokens; stored answers cost {amount(spent)}"
    ]
    if generator.token_limit is not None:
        notes.append(
            f"at most {amount(ahead.at_most)} {prices.currency}, if every answer takes all of "
            f"{generator.token_limit} tokens, as models that reason may"
        )
    if generator.max_cost is not None:
        notes.append(f"a run stops at {amount(generator.max_cost)} {prices.currency} (max_cost)")
    return notes
