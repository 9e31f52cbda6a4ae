"""Phase generate_pairs: one-to-one texts that a source makes for the pairs that stage one confuses
(paper, section 3.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..foundation.artifacts import Paths, read_classes, read_json, write_json
from ..texts.sentences import spaces
from ..texts.sources import module_of
from .generate_texts import task

if TYPE_CHECKING:
    from ..pipeline.config import Config


def run(config: Config, dataset: str) -> None:
    """Write ``one_to_one/generated/{dataset}.json``: texts for the first ``generator.max_pairs``
    pairs of the pairs file.

    UserError as in the phase generate_texts.
    """
    paths = Paths(config.results)
    classes = [spaces(name) for name in read_classes(paths.manifest(dataset))]
    listed = read_json(paths.confusable_pairs(dataset))["pairs"]
    generator = config.generator
    most = generator.max_pairs if generator else None  # None: all pairs
    chosen = [(p["a"], p["b"]) for p in listed[:most]]
    source = config.datasets[dataset].pair_text_source
    assert source is not None
    made = module_of(source).make_pairs(task(config, dataset, classes, ("one_to_one",)), chosen)
    made.provenance["one_to_one"]["pairs"] = {"confusable": len(listed), "asked": len(chosen)}
    write_json(paths.generated_pairs(dataset), made.dump())
