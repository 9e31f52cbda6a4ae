"""Phase report, figures: PDF and PNG."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from ..datasets import Dataset, load_dataset
from ..errors import UserError, nearest
from ..foundation.artifacts import Paths
from ..reporting.exhibits import FIGURES
from ..reporting.parts.style import Loader, write
from ..reporting.results import Results

if TYPE_CHECKING:
    from ..pipeline.config import Config


def run(config: Config, names: Sequence[str] = ()) -> None:
    """Write ``figures/{name}.pdf`` and ``.png``; without names, all figures.

    UserError for an unknown name, and if a figure shows images whose folder is not here.
    """
    for name in names:
        if name not in FIGURES:
            raise UserError(f"no figure '{name}'{nearest(name, FIGURES)}")
    results, load = Results.of(config), image_loader(config)
    for name in names or FIGURES:
        try:
            write(FIGURES[name].figure(results, load), Paths(config.results).figure(name, ""))
        except UserError as error:
            raise UserError(f"figure '{name}': {error}") from error


def image_loader(config: Config) -> Loader:
    """A function that loads an image by data set and image id.

    The function raises UserError if the data set is not on this machine.
    """

    # a data set is listed once, however many of its images a figure shows
    @cache
    def dataset_of(name: str) -> Dataset:
        return load_dataset(name, config.datasets[name], config.data_root)

    return lambda dataset, image_id: dataset_of(dataset).image(image_id)
