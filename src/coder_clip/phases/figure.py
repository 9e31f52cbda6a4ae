"""Phase report, figures: PDF and PNG."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..datasets import Dataset, load_dataset
from ..datasets.base import Source
from ..errors import UserError
from ..reporting.exhibits import exhibit
from ..reporting.parts.style import Loader, write
from ..reporting.results import Results


def run(
    *,
    inputs: list[str],
    out: dict[str, list[str]],
    scope: dict[str, Any],
    sources: dict[str, dict[str, Any]],
    data_root: str | None,
) -> None:
    """Draw figures. UserError if a figure shows images whose folder is not here.

    inputs: what they show. out: name -> its files. scope: of the results. sources: data set ->
    fields of `Source`.
    """
    results, load = Results(**scope), image_loader(sources, data_root)
    for name, files in out.items():
        try:
            write(exhibit(name).figure(results, load), Path(files[0]).with_suffix(""))
        except UserError as error:
            raise UserError(f"figure '{name}': {error}") from error


def image_loader(sources: Mapping[str, Mapping[str, Any]], data_root: str | None) -> Loader:
    """A function that loads an image by data set and image id.

    The function raises UserError if the data set is not on this machine.
    """

    # a data set is listed once, however many of its images a figure shows
    @cache
    def dataset_of(name: str) -> Dataset:
        return load_dataset(name, Source.of(sources[name]), Path(data_root) if data_root else None)

    return lambda dataset, image_id: dataset_of(dataset).image(image_id)
