"""What a configuration would ask a language model, and what that costs: before anything is asked, without a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...datasets import PUBLISHED, load_dataset, load_templates
from ...datasets.entry import entry
from ...errors import UserError
from ...foundation.artifacts import Paths, read_json
from . import cost, store
from .cost import Budget, Estimate
from .generate import Generator, class_items, pair_items

if TYPE_CHECKING:
    from ...pipeline.config import Config

HEAD = ("data set", "texts", "stored", "requests", "prompt tokens", "answer tokens")


@dataclass(frozen=True)
class Row:
    """A line of the table: requests to make, and texts' answers that are there. known: False for an upper bound."""

    dataset: str
    texts: str
    ahead: Estimate
    stored: int
    known: bool = True


def rows(config: Config, datasets: list[str]) -> list[Row]:
    """What would be asked, by data set, for classes and for pairs.

    Requests that depend on answers (what is asked again) are not in it. Which pairs stage one confuses is known
    after stage one; until then the most that can be asked counts.
    """
    generator = config.generator
    if generator is None:
        return []
    found: list[Row] = []
    seen: set[str] = set()  # what two data sets ask is asked once (ImageNet-V2 has ImageNet's classes)
    counts = generator.counts.model_dump()
    for name in datasets:
        data = config.datasets[name]
        sources = data.text_sources(name)
        kinds = [kind for kind in data.generated(name) if sources[kind] == "llm"]
        if not kinds and not data.generates_pairs:
            continue
        classes, templates = _classes(config, name), load_templates(name, data)
        asking = Generator(generator, store.read(generator.answers, name), Budget(0, None, ""))
        if kinds:
            items = class_items(kinds, classes, templates, counts)
            found.append(Row(name, "classes", *asking.ahead(items, seen)))
        if data.generates_pairs:
            pairs, known = _pairs(config, name, len(classes), generator.max_pairs)
            items = pair_items(pairs, classes, templates, counts["one_to_one"])
            found.append(Row(name, "one_to_one", *asking.ahead(items, seen), known))
    return found


def ahead(config: Config, datasets: list[str]) -> list[str]:
    """The table for people, with what it rests on below it. UserError where nothing is asked of a language model."""
    generator = config.generator
    if generator is None:
        raise UserError(
            "no section 'generator:' in the configuration, so nothing would be asked (docs/texts.md)"
        )
    found = rows(config, datasets)
    if not found:
        raise UserError("no data set has texts from the source 'llm', so nothing would be asked")
    prices, all_ = generator.prices, cost.total(row.ahead for row in found)
    notes = [
        f"{generator.model}; tokens are estimates, from {cost.ENOUGH} stored answers on by the length of those"
    ]
    if prices is not None:
        notes.append(
            f"prices of {prices.date}: {prices.input:g} and {prices.output:g} {prices.currency} per million tokens; "
            f"stored answers cost {cost.amount(store.spent(generator.answers))}"
        )
        if all_.at_most is not None:
            notes.append(
                f"at most {cost.amount(all_.at_most)} {prices.currency}, if every answer takes all of "
                f"{generator.token_limit} tokens, as models that reason may"
            )
        if generator.max_cost is not None:
            notes.append(f"a run stops at {cost.amount(generator.max_cost)} {prices.currency} (max_cost)")
    if len(datasets) > 1:
        notes.append("what two data sets ask alike counts once, for the first of them")
    if not all(row.known for row in found):
        notes.append("*: at most; which pairs stage one confuses is known after it has run")
    return [
        *_table(
            [*found, Row("all", "", all_, sum(r.stored for r in found))], prices.currency if prices else None
        ),
        *notes,
    ]


def _table(found: list[Row], currency: str | None) -> list[str]:
    """Aligned columns. currency: None without prices."""
    lines: list[tuple[str, ...]] = [(*HEAD, f"about {currency}" if currency else "(no prices)")]
    for row in found:
        e = row.ahead
        money = cost.amount(e.money or 0) if e.money is not None or not e.requests else "–"
        counts = (row.stored, e.requests, e.prompt_tokens, e.completion_tokens)
        lines.append((row.dataset, row.texts + " *" * (not row.known), *(f"{n:,}" for n in counts), money))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _classes(config: Config, name: str) -> list[str]:
    """Of the manifest where there is one, or of a published data set's entry: the images need not be here."""
    manifest = Paths(config.results).manifest(name)
    if manifest.is_file():
        return list(read_json(manifest)["classes"])
    if config.datasets[name].root is None and name in PUBLISHED:
        return entry(name).class_names()
    return list(load_dataset(name, config.datasets[name]).classes)


def _pairs(config: Config, name: str, classes: int, most: int | None) -> tuple[list[tuple[int, int]], bool]:
    """Pairs to ask for, and whether they are those that are confused; else the first that there could be."""
    path = Paths(config.results).confusable_pairs(name)
    if path.is_file():
        return [(p["a"], p["b"]) for p in read_json(path)["pairs"]][:most], True
    all_ = ((a, b) for a in range(classes) for b in range(a + 1, classes))
    limit = classes * (classes - 1) // 2 if most is None else most
    return [pair for _, pair in zip(range(limit), all_, strict=False)], False
