"""Estimate what a configuration would ask a language model, and the cost: before anything is asked, without a key."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, islice
from typing import TYPE_CHECKING

from ...datasets import PUBLISHED, load_dataset, load_templates
from ...datasets.entry import entry
from ...errors import UserError
from ...foundation import terminal
from ...foundation.artifacts import Paths, read_json
from .budget import Estimate, amount, total
from .generate import Generator
from .requests import class_items, pair_items
from .store import Answers

if TYPE_CHECKING:
    from ...pipeline.config import Config, GeneratorConfig


@dataclass(frozen=True)
class Row:
    """A line of the table: requests to make, and answers that are stored. known: False for an upper bound."""

    dataset: str
    texts: str
    ahead: Estimate
    stored: int
    known: bool = True


def rows(config: Config, datasets: list[str]) -> list[Row]:
    """Requests by data set, for classes and for pairs.

    Requests that depend on answers (questions asked again) are not included. The pairs that stage one confuses are
    known after stage one; until then the largest possible number counts.
    """
    # Requests are made as in a run and counted, not computed by a formula: so stored answers, and requests that
    # data sets share, are left out exactly as a run leaves them out.
    generator = config.generator
    if generator is None:
        return []
    found: list[Row] = []
    seen: set[str] = set()  # what two data sets ask is asked once (ImageNet-V2 has ImageNet's classes)
    counts = generator.texts_per_class.model_dump()
    for name in datasets:
        data = config.datasets[name]
        kinds = [kind for kind, source in data.generated(name).items() if source == "llm"]
        pairs_too = data.pair_text_source == "llm"
        if not kinds and not pairs_too:
            continue
        classes, templates = _classes(config, name), load_templates(name, data)
        asking = Generator(generator, name)
        if kinds:
            items = class_items(kinds, classes, templates, counts)
            found.append(Row(name, "classes", *asking.ahead(items, seen)))
        if pairs_too:
            pairs, known = _pairs(config, name, len(classes), generator.max_pairs)
            items = pair_items(pairs, classes, templates, counts["one_to_one"])
            found.append(Row(name, "one_to_one", *asking.ahead(items, seen), known))
    return found


def lines(config: Config, datasets: list[str]) -> list[str]:
    """The table, with its assumptions below it. UserError if nothing is asked of a language model."""
    # Rows that are an upper bound have an asterisk, and the notes say what every estimate assumes.
    generator = config.generator
    if generator is None:
        raise UserError(
            "no section 'generator:' in the configuration, so nothing would be asked (docs/texts.md)"
        )
    found = rows(config, datasets)
    if not found:
        raise UserError("no data set has texts from the source 'llm', so nothing would be asked")
    every = Row("all", "", total(row.ahead for row in found), sum(row.stored for row in found))
    notes = [
        f"{generator.model}; tokens are estimates, for a model that does not reason before it answers",
        *_money(generator, every.ahead),
    ]
    if len(datasets) > 1:
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


def _money(generator: GeneratorConfig, ahead: Estimate) -> list[str]:
    """The assumptions behind the costs."""
    prices = generator.prices
    if prices is None:
        return []
    spent = Answers(generator.answers, "").spent.get(prices.currency, 0.0)
    notes = [
        f"prices of {prices.date}: {prices.input:g} and {prices.output:g} {prices.currency} per million tokens; "
        f"stored answers cost {amount(spent)}"
    ]
    if generator.token_limit is not None:
        notes.append(
            f"at most {amount(ahead.at_most)} {prices.currency}, if every answer takes all of "
            f"{generator.token_limit} tokens, as models that reason may"
        )
    if generator.max_cost is not None:
        notes.append(f"a run stops at {amount(generator.max_cost)} {prices.currency} (max_cost)")
    return notes


def _classes(config: Config, name: str) -> list[str]:
    """Class names from the manifest, if there is one, or a published data set's entry; no images are needed."""
    manifest = Paths(config.results).manifest(name)
    if manifest.is_file():
        return list(read_json(manifest)["classes"])
    if config.datasets[name].root is None and name in PUBLISHED:
        return entry(name).class_names()
    return list(load_dataset(name, config.datasets[name]).classes)


def _pairs(config: Config, name: str, classes: int, most: int | None) -> tuple[list[tuple[int, int]], bool]:
    """Pairs to ask for, and True if stage one confuses them; before stage one, as many pairs as possible."""
    path = Paths(config.results).confusable_pairs(name)
    if path.is_file():
        return [(p["a"], p["b"]) for p in read_json(path)["pairs"]][:most], True
    return list(islice(combinations(range(classes), 2), most)), False
