"""CIFAR-10 and CIFAR-100 through torchvision.

Their files are pickles, which run code when opened. torchvision first compares each with its
published MD5, so only the authors' own files are ever opened.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from PIL import Image

from ..errors import UserError
from .layouts import Splits
from .published import PublishedDataset

KINDS = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}


class Cifar(PublishedDataset):
    """CIFAR-10 or CIFAR-100. Ids look like ``test/00123``: the image's position in its file."""

    def image(self, image_id: str) -> Image.Image:
        if image_id not in self._ids:
            raise UserError(f"data set '{self.name}': no image '{image_id}'")
        half, _, number = image_id.partition("/")
        return Image.fromarray(self._halves[half].data[int(number)])

    def small(self, image_id: str) -> Image.Image:
        return self.image(image_id)

    def missing(self) -> list[str]:
        return []  # torchvision refuses files that lack an image

    def verified(self, skip: bool = False) -> dict[str, Any]:
        return self.about()

    def published_splits(self) -> Splits:
        return {
            half: [(f"{half}/{i:05d}", int(label)) for i, label in enumerate(images.targets)]
            for half, images in self._halves.items()
        }

    @cached_property
    def _halves(self) -> dict[str, Any]:
        """torchvision's data set of each half, "train" and "test"."""
        from torchvision import datasets

        kind = getattr(datasets, KINDS[self.name])
        # torchvision compares MD5s here, before it opens a pickle
        try:
            return {
                half: kind(str(self.place.folder), train=half == "train")
                for half in ("train", "test")
            }
        except (RuntimeError, OSError) as error:
            raise UserError(
                f"data set '{self.name}': {self.place.images} is incomplete or damaged ({error}); "
                f"remove it and run 'coder-clip data get {self.name}'"
            ) from None
