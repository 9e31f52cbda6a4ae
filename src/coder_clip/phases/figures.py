"""Phase report, figures: PDF and PNG."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image

from ..datasets import load_dataset
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
    results = Results.of(config)

    load = image_loader(config)

    for each in names or FIGURES:

        def image(dataset: str, image_id: str, figure: str = each) -> Image.Image:
            try:
                return load(dataset, image_id)
            except UserError as error:
                raise UserError(f"figure '{figure}' shows images: {error}") from error

        write(FIGURES[each].figure(results, image), Paths(config.results).figure(each, ""))


def image_loader(config: Config) -> Loader:
    """Images by data set and id. UserError where the data set is not on this machine."""
    dataset_of = cache(lambda dataset: load_dataset(dataset, config.datasets[dataset], config.data_root))
    return lambda dataset, image_id: dataset_of(dataset).image(image_id)
