"""Find a seed's shots among the encoded training images."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import UserError
from .common import SplitFeatures, log


def drawn(pool: SplitFeatures, shots: int, seed: int) -> list[str]:
    """Image ids of a seed's shots, ``shots`` for each class: the beginning of its recorded draw.

    The metadata of the features has the draws. UserError if the draw of the seed is shorter.
    """
    draw = pool.meta.get("draws", {}).get(str(seed), [])[:shots]
    if len(draw) < shots:
        raise UserError(
            f"the image features hold no {shots}-shot draw of seed {seed}; encode the images again"
        )
    return [image for shot in draw for image in shot]


def different(seeds: list[int], pool: SplitFeatures, shots: int) -> list[int]:
    """The seeds whose shots differ; of seeds that draw the same images only the first.

    All seeds draw the same images if every class has only as many images as shots.
    """
    first: dict[frozenset[str], int] = {}
    for seed in seeds:
        # setdefault keeps the first seed of each set of images
        first.setdefault(frozenset(drawn(pool, shots, seed)), seed)
    return list(first.values())


def shot_rows(pool: SplitFeatures, shots: int, seed: int, skip: bool = False) -> Tensor:
    """Rows (K,) of a seed's shots in the pool, found by image id.

    skip: skip shots whose image could not be read. UserError for other shots without features, and
    if no shot is left.
    """
    images = drawn(pool, shots, seed)
    row = {image: i for i, image in enumerate(pool.ids)}
    skipped: set[str] = set()
    if skip:
        skipped = {image for image, _ in pool.meta["skipped"]}
    # a shot without features that was not skipped: the features were made for other shots
    lost = [image for image in images if image not in row and image not in skipped]
    if lost:
        raise UserError(f"no features of '{lost[0]}' ({len(lost)} shots); encode the images again")
    rows = torch.tensor([row[image] for image in images if image in row], dtype=torch.int64)
    if not len(rows):
        raise UserError(
            f"data set '{pool.meta['dataset']}': none of the {len(images)} images of the "
            f"{shots}-shot draw of seed {seed} can be read; replace them, or change adapter.seeds"
        )
    if len(rows) < len(images):
        log.warning(
            "seed %d: %d of %d shots could not be read and are skipped",
            seed,
            len(images) - len(rows),
            len(images),
        )
    return rows
