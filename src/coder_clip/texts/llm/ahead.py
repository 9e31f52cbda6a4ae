"""What a configuration would ask a language model, and what that costs: before anything is asked, without a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...artifacts import Paths, read_json
from ...datasets import PUBLISHED, load_dataset, load_templates
from ...datasets.entry import entry
from ...errors import UserError
from . import cost, store
from .cost import Budget, Estimate
from .generate import Generator, class_items, pair_items

if TYPE_CHECKING:
    from ...config import Config

FEW = 3  # data sets whose kinds have a line each


def ahead(config: Config, datasets: list[str]) -> list[str]:
    """A table for people: a line a data set and kind; of many data sets, general and one-to-one texts.

    Questions that depend on answers (what is asked again) are not in it. Which pairs stage one confuses is known
    after stage one; until then the most that can be asked counts.
    """
    generator = config.generator
    if generator is None:
        raise UserError(
            "no section 'generator:' in the configuration, so nothing would be asked (docs/texts.md)"
        )
    rows: list[tuple[str, str, Estimate, int]] = []
    most = False
    seen: set[str] = set()  # what two data sets ask is asked once (ImageNet-V2 has ImageNet's classes)
    counts = generator.counts.model_dump()
    prices = generator.prices
    budget = Budget(0, None, prices.currency if prices else "")
    for name in datasets:
        data = config.datasets[name]
        sources = data.text_sources(name)
        kinds = [kind for kind in data.generated(name) if sources[kind] == "llm"]
        if not kinds and not data.generates_pairs:
            continue
        classes, templates = _classes(config, name), load_templates(name, data)
        asking = Generator(generator, store.read(generator.answers, name), budget)
        groups = [[kind] for kind in kinds] if len(datasets) <= FEW else [kinds] if kinds else []
        for group in groups:
            label = group[0] if len(group) == 1 else "of classes"
            rows.append((name, label, *asking.ahead(class_items(group, classes, templates, counts), seen)))
        if data.generates_pairs:
            pairs, known = _pairs(config, name, len(classes), generator.max_pairs)
            most |= not known
            items = pair_items(pairs, classes, templates, counts["one_to_one"])
            rows.append((name, "one_to_one" if known else "one_to_one *", *asking.ahead(items, seen)))
    if not rows:
        raise UserError("no data set has texts from the source 'llm', so nothing would be asked")
    notes = [
        f"{generator.model}; tokens are estimates, 4 bytes each, and by stored answers where there are enough"
    ]
    if prices is not None:
        half = f", Batch API × {prices.batch:g}" if generator.batch else ""
        notes.append(
            f"prices of {prices.date}: {prices.input:g} and {prices.output:g} {prices.currency} a million tokens{half};"
            f" stored answers cost {cost.amount(store.spent(generator.answers))}"
        )
    if generator.max_cost is not None:
        notes.append(f"a run stops at {cost.amount(generator.max_cost)} {budget.currency} (max_cost)")
    if len(datasets) > 1:
        notes.append("what two data sets ask alike counts once, for the first of them")
    if most:
        notes.append("*: at most; which pairs stage one confuses is known after it has run")
    return cost.lines(rows, budget.currency or "(no prices)", "\n".join(notes))


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
