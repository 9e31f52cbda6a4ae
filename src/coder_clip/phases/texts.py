"""Phase texts: the general text set of a data set (paper, section 3.3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..foundation.artifacts import read_classes, sha256, shown, write_json
from ..texts.sets import TextSet, load_text_set, names_only, with_kinds


def run(
    *,
    manifest: str,
    files: list[str],
    generated: str | None,
    out: str,
    dataset: str,
    kinds: dict[str, str],
) -> None:
    """Check the texts against the data set's classes, and write its text set.

    files: text sets; one file that has all kinds, if ``kinds`` is empty. generated: what the phase
    generate_texts wrote. kinds: kind -> one of these files; a kind that is not named has no texts.
    """
    classes = read_classes(Path(manifest))
    read = {file: _load(Path(file), dataset, classes) for file in files}
    if files and not kinds:
        (texts,) = read.values()
    else:
        if generated is not None:
            read[generated] = load_text_set(generated, dataset, classes, made=True)
        # start from the names and add each kind from its own file
        texts = names_only(dataset, classes)
        for kind, file in kinds.items():
            texts = with_kinds(texts, read[file], kind)
    write_json(out, texts.dump())


def _load(path: Path, dataset: str, classes: list[str]) -> TextSet:
    """Read a text set, and note the file's path and hash in its provenance."""
    texts = load_text_set(path, dataset, classes)
    note: dict[str, Any] = {"path": shown(path), "sha256": sha256(path)}
    texts.provenance["file"] = note
    return texts
