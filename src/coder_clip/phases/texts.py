"""Phase texts: the general text set of a data set (paper, section 3.3)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..foundation.artifacts import Paths, read_classes, sha256, shown, write_json
from ..texts.sets import TextSet, load_text_set, names_only, with_kinds

if TYPE_CHECKING:
    from ..pipeline.config import Config


def run(config: Config, dataset: str) -> None:
    """Check the texts against the data set's classes and write ``texts/{dataset}.json``.

    The texts come from one file, or from the class names alone; or each kind has its own source: a
    file, or the phase generate_texts.
    """
    entry, paths = config.datasets[dataset], Paths(config.results)
    classes = read_classes(paths.manifest(dataset))
    sources = entry.text_sources(dataset)
    files = {path: _load(path, dataset, classes) for path in entry.text_files(dataset)}
    if len(files) == 1 and entry.text_source(dataset) is not None:
        (texts,) = files.values()
    else:
        texts = names_only(dataset, classes)
        generated = None
        if entry.generated(dataset):
            generated = load_text_set(paths.generated_texts(dataset), dataset, classes, made=True)
        # start from the names and add each kind from its own source
        for kind, source in sources.items():
            text_set = generated
            if isinstance(source, Path):
                text_set = files[source]
            assert text_set is not None
            texts = with_kinds(texts, text_set, kind)
    write_json(paths.texts(dataset), texts.dump())


def _load(path: Path, dataset: str, classes: list[str]) -> TextSet:
    """Read a text set, and note the file's path and hash in its provenance."""
    texts = load_text_set(path, dataset, classes)
    note: dict[str, Any] = {"path": shown(path), "sha256": sha256(path)}
    texts.provenance["file"] = note
    return texts
