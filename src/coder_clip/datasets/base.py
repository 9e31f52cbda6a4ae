"""The interface of data sets: class names in label order, splits, images by id, text templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UserError
from .images import WORKED_ON, read_image

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """The images of one split, in a fixed order.

    ids: N names that stay the same between runs and machines ("test/3/0007.png").
    labels: (N,) int64, indices into the data set's class names.
    """

    ids: list[str]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Templates:
    """Sentences that texts are put into before they are encoded.

    Fields: ``{class}``, or ``{a_class}`` with its "a" or "an", and one named after the kind.

    name: the one prompt of stage one, also used for synonyms (paper, section 3.2).
    prompts: the prompt ensemble of the few-shot zero-shot term and of the CLIP-ensemble baseline;
    by default the seven that OpenAI's CLIP repository recommends for ImageNet.
    attribute, analogous: one template each. one_to_one: one or more, every text is put into each;
    ``{other}`` is the class it is compared with. one_to_one_as_published: what the published code
    puts them into, where it differs.
    attribute_few_shot, analogous_few_shot: for few-shot methods, if the authors use other
    sentences; else empty.
    class_names_as_published: in label order, what the authors' texts call the classes; empty if
    they agree.
    """

    name: str = "a photo of a {class}."
    attribute: str = "a photo of a {class} which has {attribute}."
    analogous: str = "a photo of a {class} similar to {analogous}."
    one_to_one: tuple[str, ...] = (
        "a photo of a {class} which has {one_to_one}.",
        "a {class} with {one_to_one}.",
    )
    one_to_one_as_published: tuple[str, ...] = ()
    attribute_few_shot: str = ""
    analogous_few_shot: str = ""
    class_names_as_published: tuple[str, ...] = ()
    prompts: tuple[str, ...] = (
        "itap of a {class}.",
        "a bad photo of the {class}.",
        "a origami {class}.",
        "a photo of the large {class}.",
        "a {class} in a video game.",
        "art of the {class}.",
        "a photo of the small {class}.",
    )

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Templates:
        """From plain JSON, where tuples are lists."""
        lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        return cls(**{**fields, **lists})


class Described(Protocol):
    """The part of a data set's configuration that loading it needs.

    `pipeline.sections.DatasetConfig` has it.
    """

    @property
    def root(self) -> Path | None: ...
    @property
    def features(self) -> Path | None: ...
    @property
    def classes(self) -> list[str] | None: ...
    @property
    def corrections(self) -> Path | None: ...
    @property
    def groups(self) -> Path | None: ...
    @property
    def split_file(self) -> Path | None: ...
    @property
    def split(self) -> str | None: ...
    @property
    def templates(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Source:
    """The part of a data set's configuration that loading it needs, as a job gets it."""

    root: Path | None = None
    features: Path | None = None
    classes: list[str] | None = None
    corrections: Path | None = None
    groups: Path | None = None
    split_file: Path | None = None
    split: str | None = None
    templates: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Source:
        """From plain JSON, where paths are texts."""
        paths = ("root", "features", "corrections", "groups", "split_file")
        as_paths = {name: Path(fields[name]) for name in paths if fields.get(name)}
        return cls(**{**fields, **as_paths})


class Dataset:
    """Base of all data sets. Everything is deterministic; images are decoded only when asked for.

    classes: names in label order; may hold duplicates, so key by index. splits: name of a split ->
    its (image id, label) pairs, ordered by label, then id.
    """

    name: str
    classes: list[str]
    splits: dict[str, list[tuple[str, int]]]

    as_stored = False  # True: images are neither turned nor laid on white (read_image)

    @property
    def twins(self) -> Sequence[Sequence[str]]:
        """Groups of two or more ids of near twins (module ``twins``), over all splits."""
        raise NotImplementedError

    @property
    def grouped_by(self) -> str:
        """Where the groups come from: one of `twins.GROUPED_BY`."""
        return "pixels"

    def small(self, image_id: str) -> Image.Image:
        """The image, decoded at a fraction of its size if its format allows, for thumbnails.

        UserError if the image cannot be decoded.
        """
        path = self.path(image_id)
        if path.exists() and not path.is_file():  # reading a pipe would wait forever
            raise UserError(
                f"image file cannot be read: {path}: a pipe, socket or device, not a file"
            )
        # thumbnails are compared at WORKED_ON pixels per side, so no more needs decoding
        return read_image(path, self.as_stored, least=WORKED_ON)

    def path(self, image_id: str) -> Path:
        """The file of an image."""
        raise NotImplementedError

    def image(self, image_id: str) -> Image.Image:
        """The image as RGB.

        `read_image` makes it of the file (`path`, `as_stored`), if there is one. UserError if the
        image cannot be decoded.
        """
        raise NotImplementedError

    def split(self, name: str) -> Split:
        """The images of a split; UserError if the data set has no such split."""
        if name not in self.splits:
            names = ", ".join(self.splits)
            raise UserError(f"data set '{self.name}' has no {name} images (it has: {names})")
        pairs = self.splits[name]
        return Split([i for i, _ in pairs], np.array([label for _, label in pairs], dtype=np.int64))

    @property
    def counts(self) -> dict[str, int]:
        """Split -> number of images."""
        return {split: len(pairs) for split, pairs in self.splits.items()}

    def fingerprint(self) -> str:
        """sha256 that changes when an image or a split changes."""
        raise NotImplementedError


def numbers(ids: Sequence[str], groups: Sequence[Sequence[str]]) -> dict[str, int]:
    """Image id -> group number: the position in ``ids`` of the first image of its group."""
    position = {image_id: i for i, image_id in enumerate(ids)}
    number_of = dict(position)
    for group in groups:
        # the images of the group that are in `ids`
        members = [i for i in group if i in position]
        for image_id in members:
            number_of[image_id] = min(position[i] for i in members)
    return number_of
