"""Phase generate_pairs: one-to-one texts that a source makes for the pairs that stage one confuses
(paper, section 3.4).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..foundation.artifacts import read_classes, read_json, write_json
from ..texts.sentences import spaces
from ..texts.sources import module_of
from .generate_texts import task


def run(
    *,
    manifest: str,
    pairs: str,
    review: str | None,
    out: str,
    source: str,
    most: int | None,
    **of_task: Any,
) -> None:
    """Write the texts that a source makes for the first pairs of a pairs file.

    review: people's decisions about the texts. source: of texts. most: number of pairs; None: all.
    of_task: as in the phase generate_texts, as are the errors.
    """
    classes = [spaces(name) for name in read_classes(Path(manifest))]
    listed = read_json(pairs)["pairs"]
    chosen = [(p["a"], p["b"]) for p in listed[:most]]
    made = module_of(source).make_pairs(task(classes, ("one_to_one",), **of_task), chosen)
    made.provenance["one_to_one"]["pairs"] = {"confusable": len(listed), "asked": len(chosen)}
    write_json(out, made.dump())
