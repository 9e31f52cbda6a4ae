"""Phase one_to_one: texts for the pairs of classes that stage one can confuse (section 3.4)."""

# Apart from their features (pair_features.py): torch and the encoders take seconds to import.

from __future__ import annotations

import logging
from pathlib import Path

from ..foundation.artifacts import read_classes, read_json, sha256, shown, write_json
from ..texts.sets import PairSet, load_pair_set, select_pairs

log = logging.getLogger("coder_clip")


def run(
    *,
    manifest: str,
    pairs: str,
    texts: str | None,
    out: str,
    dataset: str,
    generated: bool,
) -> None:
    """Write all one-to-one texts of a data set, the most frequently confused pairs first.

    pairs: that stage one can confuse. texts: a file, which the phase generate_pairs wrote if
    ``generated``; None: there are none.
    """
    classes, wanted = read_classes(Path(manifest)), _read_pairs(Path(pairs))
    if texts is None:
        chosen = PairSet(dataset=dataset, pairs=[], provenance={"one_to_one": {"source": "none"}})
    else:
        path = Path(texts)
        available = load_pair_set(path, dataset, classes, made=generated)
        warning = available.one_sided()
        if warning:
            log.warning("%s: %s", path, warning)
        chosen = select_pairs(available, wanted)
        if not generated:
            chosen.provenance["file"] = {"path": shown(path), "sha256": sha256(path)}
    two_sided = [p for p in chosen.pairs if p.compares]  # with texts on both sides
    # comparisons of these pairs; a pair that is never compared counts 0
    covered = 0
    for p in two_sided:
        low, high = sorted((p.a_index, p.b_index))
        covered += wanted.get((low, high), 0)
    chosen.provenance["pairs"] = {
        "compared": len(wanted),
        "with_texts": len(two_sided),
        "share_of_comparisons": round(covered / max(1, sum(wanted.values())), 6),
    }
    write_json(out, chosen.dump())


def _read_pairs(path: Path) -> dict[tuple[int, int], int]:
    """Unordered pair (a < b) -> how often stage two compares the pair, in the order of the file."""
    document = read_json(path)
    return {(p["a"], p["b"]): p["compared"] for p in document["pairs"]}
