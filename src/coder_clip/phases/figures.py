"""Phase report, figures: PDF and PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from ..artifacts import Paths
from ..datasets import load_dataset
from ..errors import UserError, nearest
from ..figures import FIGURES, write
from ..results import Results

if TYPE_CHECKING:
    from ..config import Config


def run(config: Config, name: str | None = None) -> None:
    """Write ``figures/{name}.pdf`` and ``.png``; without a name, all figures."""
    if name is not None and name not in FIGURES:
        raise UserError(f"no figure '{name}'{nearest(name, FIGURES)}")
    results = Results(config.results, list(config.datasets), list(config.models), list(config.adapter.shots))

    def image(dataset: str, image_id: str) -> Image.Image:
        return load_dataset(dataset, config.datasets[dataset]).image(image_id)

    for each in FIGURES if name is None else [name]:
        write(FIGURES[each](results, image), Paths(config.results).figure(each, ""))
