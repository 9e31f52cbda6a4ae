"""Phase texts: the general text set of a data set (paper, section 3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..artifacts import Paths, sha256, shown, write_json
from ..errors import UserError
from ..texts.sets import load_text_set, names_only
from .manifest import read_classes

if TYPE_CHECKING:
    from ..config import Config


def run(config: Config, dataset: str) -> None:
    """Check the text set against the data set's classes and write ``texts/{dataset}.json``."""
    classes = read_classes(config, dataset)
    path = config.datasets[dataset].text_source(dataset)
    if path is None:
        texts = names_only(dataset, classes)
    elif not path.is_file():
        raise UserError(
            f"no text set {path} for data set '{dataset}'; write one (data/texts/README.md), name another with "
            f"'texts:', or say 'texts: names' to use the class names alone"
        )
    else:
        texts = load_text_set(path, dataset, classes)
        texts.provenance["file"] = {"path": shown(path), "sha256": sha256(path)}
    write_json(Paths(config.results).texts(dataset), texts.dump())
