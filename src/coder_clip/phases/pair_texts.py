"""Phase one_to_one: texts for the pairs of classes that stage one can confuse (section 3.4)."""

# Apart from their features (pair_features.py): torch and the encoders take seconds to import.

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ..foundation.artifacts import Paths, read_classes, read_json, sha256, shown, write_json
from ..texts.sets import PairSet, load_pair_set, select_pairs

if TYPE_CHECKING:
    from ..pipeline.config import Config

log = logging.getLogger("coder_clip")


def run(config: Config, dataset: str) -> None:
    """Write ``one_to_one/{dataset}.json``: all one-to-one texts, the most frequently confused pairs
    first.

    The texts come from a file, or from the phase generate_pairs.
    """
    entry, paths = config.datasets[dataset], Paths(config.results)
    classes = read_classes(paths.manifest(dataset))
    wanted = _read_pairs(paths.confusable_pairs(dataset))
    path = paths.generated_pairs(dataset) if entry.pair_text_source else entry.pair_source(dataset)
    if path is None:
        pairs = PairSet(dataset=dataset, pairs=[], provenance={"one_to_one": {"source": "none"}})
    else:
        available = load_pair_set(path, dataset, classes, made=entry.pair_text_source is not None)
        warning = available.one_sided()
        if warning:
            log.warning("%s: %s", path, warning)
        pairs = select_pairs(available, wanted)
        if not entry.pair_text_source:
            pairs.provenance["file"] = {"path": shown(path), "sha256": sha256(path)}
    two_sided = [p for p in pairs.pairs if p.compares]  # with texts on both sides
    # comparisons of these pairs; a pair that is never compared counts 0
    covered = 0
    for p in two_sided:
        low, high = sorted((p.a_index, p.b_index))
        covered += wanted.get((low, high), 0)
    pairs.provenance["pairs"] = {
        "compared": len(wanted),
        "with_texts": len(two_sided),
        "share_of_comparisons": round(covered / max(1, sum(wanted.values())), 6),
    }
    write_json(paths.one_to_one_texts(dataset), pairs.dump())


def _read_pairs(path: Path) -> dict[tuple[int, int], int]:
    """Unordered pair (a < b) -> how often stage two compares the pair, in the order of the file."""
    document = read_json(path)
    return {(p["a"], p["b"]): p["compared"] for p in document["pairs"]}
