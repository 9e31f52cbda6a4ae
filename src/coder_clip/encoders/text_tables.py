"""Texts as features: arrays of text features, with the names of their rows, in place of a text
tower.

A YAML file lists them (`table_list.py`). Nothing is computed: a text that no table has is not
there, and what needs it is not run.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..datasets.entry import entry
from ..datasets.features import checked_features, load_tensor, plain
from ..datasets.fetch import checksum_like, fetch
from ..datasets.published import data_root
from ..errors import UserError, one_line
from .table_list import OF_CLASS, FeatureTable, File, listed, read_list

FOLDER = "clip_features/texts"  # below the folder of published data


class Text(NamedTuple):
    """A text with its feature (d,), unit.

    owner: its class; −1 for one of the vocabulary.
    """

    text: str
    kind: str
    owner: int
    feature: Tensor


class TextTables:
    """The tables of a list, as an encoder of texts. UserError for a missing or wrong file."""

    def __init__(self, model: str, root: Path | None) -> None:
        """Find the list and its folder of files.

        model: name as in `listed`. root: the folder of published data as the configuration names
        it (`published.data_root`), with the files of a published list. The files of your own list
        are beside the list, and no folder of published data is needed.
        """
        file = listed(model)
        self.model, self.list = model, read_list(file)
        self.folder = file.parent
        if self.list.sources:
            self.folder = data_root(root) / FOLDER

    def fetch(self) -> Iterator[str]:
        """Download what is missing, with a line on each source and its licence."""
        for name, source in self.list.sources.items():
            of_source = [f for f in self.list.files if f.source == name]
            lacking = [f for f in of_source if not (self.folder / f.file).is_file()]
            if lacking:
                yield f"texts: {len(lacking)} files of {name} (licence: {source.licence})"
            for f in lacking:
                fetch(
                    [f"{base}/{f.path or f.file}" for base in source.base],
                    self.folder / f.file,
                    f.checksum,
                )

    def metadata(self) -> dict[str, str]:
        """The list, the width d, and a hash over all files."""
        digest = hashlib.sha256(
            "".join(checksum_like(self._path(f), "sha256:") for f in self.list.files).encode()
        )
        return {"model": self.model, "texts_sha256": digest.hexdigest(), "dim": str(self.dim)}

    @property
    def dim(self) -> int:
        return int(self._rows(self.list.tables[0])[1].shape[1])

    def texts(self, dataset: str, classes: list[str]) -> list[Text]:
        """The vocabulary, and the texts of a data set's classes that the tables have.

        UserError if a table of names or prompts lacks a class, because a classifier needs all
        classes."""
        texts = []
        for table in self.list.tables:
            names, features = self._rows(table)
            if "vocabulary" in table.use:
                for name, feature in zip(names, features, strict=True):
                    text = table.text.replace("{name}", name)
                    texts.append(Text(text, "vocabulary", -1, feature))
            if dataset not in table.of:
                continue
            # reversed: of several rows with one name the first one counts
            row = {plain(name): i for i, name in reversed(list(enumerate(names)))}
            lacking = [name for name in classes if plain(name) not in row]
            # names and prompts are classifiers, which need every class; sentences are not
            if lacking and {"name", "prompt"} & set(table.use):
                raise UserError(
                    f"{self.folder / table.file}: no text of class '{lacking[0]}' of {dataset}"
                )
            for kind in OF_CLASS:
                if kind not in table.use:
                    continue
                for i, name in enumerate(classes):
                    if plain(name) in row:
                        text = table.text.replace("{name}", name)
                        texts.append(Text(text, kind, i, features[row[plain(name)]]))
        return texts

    def imagenet_names(self) -> Tensor:
        """ImageNet's class names in one sentence: (1000, d) unit; (0, d) if no table has them."""
        features = [
            self._rows(table)[1] for table in self.list.tables if "imagenet_names" in table.use
        ]
        # the empty tensor gives (0, d) if no table has the names
        return torch.cat([torch.zeros(0, self.dim), *features])

    def _rows(self, table: FeatureTable) -> tuple[list[str], Tensor]:
        """The names of a table and its features (M, d), unit."""
        path = self._path(table)
        array = _array(path)
        array = array.T if table.transpose else array
        first, last = table.rows or (0, len(array))
        features = torch.nn.functional.normalize(checked_features(path, array[first:last]), dim=1)
        if table.names is None:
            names = [f"{path.stem} {i + 1}" for i in range(len(features))]
        elif isinstance(table.names, str):
            names = entry(table.names).class_names()
        else:
            names = read_names(self._path(table.names))
        if len(names) != len(features):
            raise UserError(f"{path}: {len(features)} rows for {len(names)} names")
        return names, features

    def _path(self, file: File) -> Path:
        """The path of a file; UserError if it is missing or has another checksum than published."""
        path = self.folder / file.file
        if not path.is_file():
            raise UserError(
                f"no file {path}; 'coder-clip prefetch' downloads what may be downloaded"
            )
        if file.checksum:
            checksum = checksum_like(path, file.checksum)
            if checksum != file.checksum:
                raise UserError(
                    f"{path}: checksum {checksum}, published: {file.checksum}; remove it and run "
                    "again"
                )
        return path


@cache
def _array(path: Path) -> Tensor:
    """The array of a file of torch.save or NumPy; UserError for other files, also for pickled
    objects.
    """
    if path.suffix == ".pt":
        return load_tensor(path)
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise UserError(
            f"{path}: not a plain array, so it is not opened ({one_line(error)})"
        ) from None


def read_names(path: Path) -> list[str]:
    """The names of the rows of a table: a JSON list of names, or of {"id", "name"}.

    The last column of a CSV file; else the lines of the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".csv":
            return [row[-1] for row in csv.reader(text.splitlines()) if row]
        if path.suffix != ".json":
            return text.split("\n")
        names = json.loads(text)
        # rows are in the order of ids, whatever the order in the file
        if names and isinstance(names[0], dict):
            names = [row["name"] for row in sorted(names, key=lambda row: row["id"])]
        return [str(name) for name in names]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path}: not a list of names ({one_line(error)})") from None
