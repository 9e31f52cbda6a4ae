"""Phase generate_pairs: one-to-one texts from a language model, for pairs that stage one confuses (section 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..datasets import load_templates
from ..foundation.artifacts import Paths, read_json, write_json
from ..texts.llm import store
from ..texts.llm.cost import Budget
from ..texts.llm.generate import Generator, pair_items, provenance
from ..texts.llm.review import Review
from ..texts.sentences import spaces
from ..texts.sets import Pair, PairSet
from .manifest import read_classes

if TYPE_CHECKING:
    from ..pipeline.config import Config


def run(config: Config, dataset: str) -> None:
    """Write ``one_to_one/generated/{dataset}.json``: texts of the first ``max_pairs`` of the pairs file.

    UserError as the phase generate_texts.
    """
    generator = config.generator
    assert generator is not None  # the configuration sees to it
    classes, paths = read_classes(config, dataset), Paths(config.results)
    listed = read_json(paths.confusable_pairs(dataset))["pairs"]
    chosen = [(p["a"], p["b"]) for p in listed[: generator.max_pairs]]
    templates = load_templates(dataset, config.datasets[dataset])
    items = pair_items(chosen, classes, templates, generator.counts.one_to_one)
    with store.opened(generator.answers, dataset) as answers:
        Generator(generator, answers, Budget.of(generator)).run(
            items, review=Review.of(generator.answers, dataset)
        )
        pairs = [
            Pair(
                a=spaces(classes[a]),
                b=spaces(classes[b]),
                a_index=a,
                b_index=b,
                a_not_b=item.texts["first"],
                b_not_a=item.texts["second"],
            )
            for (a, b), item in zip(chosen, items, strict=True)
            if not item.failed
        ]
        note = provenance("one_to_one", items, generator)
        note["pairs"] = {"confusable": len(listed), "asked": len(chosen)}
        written = PairSet(dataset=dataset, pairs=pairs, provenance={"one_to_one": note})
        write_json(paths.generated_pairs(dataset), written.dump())
