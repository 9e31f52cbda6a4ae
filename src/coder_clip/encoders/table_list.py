"""Lists of text features: which arrays there are, from where, and for which data sets
(text_tables.py reads them).

`tables/` has published lists. Your own list is a YAML file of the same form; its files are beside
it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from ..datasets.entry import Checksum
from ..errors import UserError, nearest, one_line
from ..foundation.strict import Strict, explained

PREFIX = "features:"  # of a model's name: features:true_clip, or features:PATH.yaml
TABLES = Path(__file__).parent / "tables"
OF_CLASS = ("name", "prompt", "sentence")  # kinds of text that belong to a class
Use = Literal["vocabulary", "imagenet_names", "name", "prompt", "sentence"]


class TableSource(Strict):
    """A public repository.

    base: addresses that the path of a file is added to, tried in this order.
    """

    base: Annotated[list[str], Field(min_length=1)]
    licence: str


class File(Strict):
    """A file of the list."""

    file: str = Field(description="Path below the folder of the list's files.")
    source: str | None = Field(None, description="Where it may be fetched; default: it is here.")
    path: str = Field("", description="Path in the source; default: as file.")
    checksum: Checksum | None = None


class FeatureTable(File):
    """An array of text features (M, d), .npy or .pt, with a name for each row."""

    names: File | str | None = Field(
        None,
        description="A file of names, or the data set whose class names they are; default: "
        "numbers.",
    )
    rows: tuple[int, int] | None = Field(None, description="From, to (exclusive); default: all.")
    transpose: bool = False
    text: str = Field("{name}", description="The text that was encoded.")
    use: Annotated[list[Use], Field(min_length=1)] = Field(
        description="vocabulary: images are described by these texts; imagenet_names: projected on "
        "them; name, prompt, sentence: texts of the classes of the data sets in 'of'."
    )
    of: list[str] = Field(
        [], description="Data sets with texts of their classes here, found by name."
    )


class Tables(Strict):
    """The list."""

    sources: dict[str, TableSource] = {}
    tables: Annotated[list[FeatureTable], Field(min_length=1)]

    @property
    def files(self) -> list[File]:
        """All files, arrays and names, each once."""
        files: dict[str, File] = {}  # by path: several tables can use the same file
        for table in self.tables:
            files[table.file] = table
            # names can also be a data set, or absent
            if isinstance(table.names, File):
                files[table.names.file] = table.names
        return list(files.values())

    def name(self, dataset: str) -> bool:
        """True if a table has a text for each class of a data set."""
        return any("name" in table.use and dataset in table.of for table in self.tables)


def listed(model: str) -> Path:
    """The file that lists the tables of a model. UserError if there is none."""
    name = model.removeprefix(PREFIX)
    published = {p.stem: p for p in TABLES.glob("*.yaml")}
    # a published name comes before a file of the same name
    file = published.get(name, Path(name))
    if not file.is_file():
        raise UserError(f"model {model}: no list of text features{nearest(name, published)}")
    return file


@cache
def read_list(file: Path) -> Tables:
    """Read a list of tables. UserError, in one line, for a list with a mistake."""
    try:
        document = yaml.load(
            file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
        tables = Tables.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{file}: {explained(error.errors(), Tables)}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file} cannot be read: {one_line(error)}") from None
    for table_file in tables.files:
        source = table_file.source
        if source is not None and source not in tables.sources:
            raise UserError(f"{file}: unknown source '{source}'{nearest(source, tables.sources)}")
    return tables
