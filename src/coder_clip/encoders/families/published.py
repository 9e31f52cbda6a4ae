"""Published features: texts as arrays of features, for data sets of features; nothing is encoded
(`encoders.text_tables`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import UserError
from ..spec import EncoderSpec, Size
from ..table_list import listed, read_list

if TYPE_CHECKING:
    from ..text_tables import TextTables

PREFIXES = ("features:",)
NAMES = "for data sets of features, features:LIST of text features (docs/true_clip.md)"


def tables(model: str, configured: Path | None) -> TextTables:
    """The texts of a model.

    configured: the folder of published data, as in the configuration; a list of your own needs
    none. UserError as in `TextTables`.
    """
    from ..text_tables import TextTables  # imports torch

    return TextTables(model, configured)


def fetch(spec: EncoderSpec, configured: Path | None) -> Iterator[str]:
    """Download what is missing, with a line on each source and its licence."""
    yield from tables(spec.model, configured).fetch()


def problems(spec: EncoderSpec, root: Path) -> Iterator[tuple[str, str]]:
    """Yield (key, problem): a list that is not there or has a mistake."""
    try:
        read_list(listed(spec.model))
    except UserError as error:
        yield "", str(error)


def files(spec: EncoderSpec) -> list[Path]:
    """Your own list and its files; [] for a published list."""
    list_file = listed(spec.model)
    read = read_list(list_file)
    if read.sources:
        return []
    return [list_file, *(list_file.parent / table.file for table in read.files)]


def size(model: str, closely: bool) -> Size:
    """No operations, because nothing is encoded."""
    return Size(0, 512, 0, 0, 0)
