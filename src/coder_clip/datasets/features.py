"""Data sets that are features instead of images: a folder in the form of Tip-Adapter's caches.

    val_f.pt, val_l.pt, test_f.pt, test_l.pt    features (N, d) and labels (N,)
    keys_16shots.pt, values_16shots.pt          shots, (d, K), and their labels, one-hot (K, C)

Shots are drawn from the largest of the caches, or, without one, from the validation images; then
the shots of a seed are not among the images that it chooses on. Files come from other people: they
are opened as plain tensors only, and everything that can be checked is checked.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import UserError, one_line
from . import entry_file, layouts
from .base import Dataset
from .entry import Entry, entry
from .groups import of_rows
from .layouts import Place
from .published import PublishedDataset, changed_files, find_place, has_lists
from .twins import Images, alike, by_name, together


@dataclass(frozen=True)
class Part:
    """The features of one split: features (N, d) float32, labels (N,), and an id for each row."""

    features: Tensor
    labels: NDArray[np.int64]
    ids: list[str]

    def rows(self, chosen: NDArray[Any]) -> Part:
        """A part with some of the rows. chosen: row numbers or a mask."""
        ids = [self.ids[i] for i in np.arange(len(self.ids))[chosen]]
        return Part(self.features[torch.from_numpy(chosen)], self.labels[chosen], ids)

    def named(self, ids: list[str]) -> Part:
        """The same rows with other ids."""
        return Part(self.features, self.labels, ids)


Parts = dict[str, Part]
CACHE = re.compile(r"keys_(\d+)shots\.pt")


class FeatureDataset(Dataset):
    """A data set of features, with the interface of all data sets, but without images to open.

    parts: split -> its features. groups: a file of groups (``groups``). pattern: of image names,
    whose brackets tell the group (`twins.by_name`). Without both, groups are near twins by
    features.
    """

    def __init__(
        self,
        name: str,
        classes: list[str],
        parts: Parts,
        groups: Path | None = None,
        pattern: str | None = None,
    ) -> None:
        self.name, self.classes, self.parts = name, classes, parts
        self._groups, self._pattern = groups, pattern
        self.splits = {
            s: list(zip(p.ids, p.labels.tolist(), strict=True)) for s, p in parts.items()
        }

    def features(self, split: str, ids: Sequence[str]) -> Tensor:
        """Features of some images of a split, by id: (N, d) float32."""
        row = {image: i for i, image in enumerate(self.parts[split].ids)}
        return self.parts[split].features[
            torch.tensor([row[image] for image in ids], dtype=torch.int64)
        ]

    def image(self, image_id: str) -> Image.Image:
        """Raise UserError, because there are features and no images."""
        raise UserError(f"data set '{self.name}' is features; it has no images to show")

    def fingerprint(self, *splits: str) -> str:
        """sha256 over ids, labels and features of these splits (default: all)."""
        digest = hashlib.sha256()
        for split in splits or self.parts:
            digest.update(repr((split, self.splits[split])).encode())
            digest.update(self.parts[split].features.contiguous().numpy().data)
        return digest.hexdigest()

    @property
    def grouped_by(self) -> str:
        """What the near twins were found by: "declared" (a file of groups), "names" (the pattern of
        the ids) or "features".
        """
        if self._groups is not None:
            return "declared"
        if self._pattern is None:
            return "features"
        return "names"

    @cached_property
    def twins(self) -> Images:  # type: ignore[override]
        """Groups of near twins: as declared, by image names, or by the cosine of their features."""
        if self._groups is not None:
            return of_rows(self._groups, {split: part.ids for split, part in self.parts.items()})
        if self._pattern is not None:
            # shots of a cache have no image names; shots from val are the images of val
            names = [i for split in ("val", "test") for i in self.parts[split].ids]
            return by_name(names, self._pattern)
        # over all splits at once: near twins in different splits are the ones that do harm
        # by id, because train and val can be the same images
        known: set[str] = set()
        ids: list[str] = []
        features: list[Tensor] = []
        for part in self.parts.values():
            new = []  # rows of images that no row before is of
            for row, image in enumerate(part.ids):
                if image not in known:
                    known.add(image)
                    ids.append(image)
                    new.append(row)
            features.append(part.features[new])
        return together(ids, alike(torch.cat(features).numpy()))

    def verified(self, skip: bool = False) -> dict[str, Any]:
        """More entries for the manifest: which split this is.

        skip: not used (see `PublishedDataset`).
        """
        return {"split": "own"}

    def miscounted(self) -> str | None:
        """None: your own features have no published sizes to compare with."""
        return None


class PublishedFeatures(FeatureDataset, PublishedDataset):
    """A set of features with an entry.

    UserError if files are missing, damaged, or not of this data set.
    """

    def __init__(self, name: str, own_entry: Entry, root: Path) -> None:
        """Check the files below the root and read them.

        own_entry: of this set; for published features of another data set, its ``of`` names the
        entry that has the class names and the split file.
        """
        help_ = f"'coder-clip data check {name}' says what is missing and how to get it"
        place = find_place(name, own_entry, root)
        rule = own_entry.splits[0]
        if place is None or not has_lists(rule, place.folder):
            folder = root / own_entry.folders[0]
            raise UserError(f"data set '{name}': not all of its files are in {folder}; {help_}")
        wrong = changed_files(own_entry, place.folder)
        if wrong:
            raise UserError(
                f"data set '{name}': {place.folder / wrong[0]} is not the published file (its "
                f"checksum is another one), so it is not opened; 'coder-clip data get {name}' "
                "replaces it"
            )
        self.entry, self.place, self.rule, self.root = own_entry, place, rule, root
        # the data set whose images these are: its entry has the labels and the split file
        source = own_entry
        if own_entry.of:
            source = entry(own_entry.of)
        names = source.class_names()
        # only the caches that the entry lists: the folder may hold more of them
        caches_of_entry = [file for file in rule.needs if CACHE.fullmatch(file)]
        parts = RULES[rule.rule](place.folder, names, caches_of_entry)
        split_files = [file for file in rule.needs if file.endswith(".json")]
        pattern = None
        # with a split file, ids are image names in place of row numbers
        if split_files:
            pattern = source.group
            parts = _named(parts, Place(name, place.folder, place.images, source), split_files[0])
        # this set may have only some of the classes of the source
        classes = own_entry.class_names()
        super().__init__(name, classes, _relabelled(parts, names, classes), pattern=pattern)

    def missing(self) -> list[str]:
        """Empty: a data set of features needs no images."""
        return []

    def verified(self, skip: bool = False) -> dict[str, Any]:
        return {"split": self.rule.what}

    def miscounted(self) -> str | None:
        """A message if the splits have other sizes than the published ones, else None."""
        expected = ", ".join(f"{split} {n:,}" for split, n in self.rule.counts.items())
        if self.counts == self.rule.counts:
            return None
        return f"expected {expected}: it is another version"


def of_folder(
    name: str,
    folder: Path,
    classes: list[str] | None,
    split_file: Path | None = None,
    groups: Path | None = None,
) -> FeatureDataset:
    """Load your own folder of caches. UserError, with the file's name, if a file does not fit.

    classes: names in label order; None: those of the entry ``name``. split_file: in the form of
    CoOp's, which names the images of the rows; without one, ids are row numbers. groups: a file of
    groups (``groups``); None: by the image names if the entry ``name`` has a pattern for them, else
    near twins by features.
    """
    if not folder.is_dir():
        raise UserError(f"data set '{name}': no folder {folder}; correct 'features'")
    known = entry(name) if entry_file(name) else None
    classes = classes or entry(name).class_names()
    parts = caches(folder, classes, [path.name for path in folder.iterdir()])
    pattern = None
    if split_file is not None:
        parts = _with_names(parts, layouts.coop_file(name, split_file, classes), folder, split_file)
        pattern = known.group if known else None
    return FeatureDataset(name, classes, parts, groups, pattern)


def listing(folder: Path) -> str:
    """Hash over the files of a folder of caches."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.pt")):
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


# ---- the ways to split


def caches(folder: Path, classes: Sequence[str], files: Sequence[str]) -> Parts:
    """val and test as they are; train from the largest cache among ``files`` (`_shots`)."""
    val, test = (_read(folder, split, len(classes)) for split in ("val", "test"))
    return _checked(
        folder, {"train": _shots(folder, files, val, len(classes)), "val": val, "test": test}
    )


def halved(folder: Path, classes: Sequence[str], files: Sequence[str]) -> Parts:
    """Split val into val and test, for sets without features of test; train as in `caches`."""
    whole = _read(folder, "val", len(classes))
    # alternate in the order of labels, so that both halves have about as many of each class
    order = np.argsort(whole.labels, kind="stable")
    val, test = (whole.rows(np.sort(half)) for half in (order[::2], order[1::2]))
    return _checked(
        folder, {"train": _shots(folder, files, val, len(classes)), "val": val, "test": test}
    )


RULES: dict[str, Callable[[Path, Sequence[str], Sequence[str]], Parts]] = {
    "caches": caches,
    "halved": halved,
}


# ---- files


def load_tensor(path: Path) -> Tensor:
    """The tensor in a file of torch.save, or of NumPy (.npy), on the CPU.

    Nothing else is opened, because a pickle can run code.
    """
    try:
        if path.suffix == ".npy":
            return torch.from_numpy(np.load(path, allow_pickle=False))
        found = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise UserError(f"no file {path}") from None
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
    ) as error:
        raise UserError(
            f"{path}: not a plain tensor file, so it is not opened ({one_line(error)})"
        ) from None
    if not isinstance(found, Tensor):
        raise UserError(f"{path}: holds a {type(found).__name__}, not a tensor")
    return found.detach()


def checked_features(path: Path, features: Tensor) -> Tensor:
    """Features (N, d) float32 of a file.

    UserError for another shape or type, NaN, infinity or a row of zeros.
    """
    if features.ndim != 2 or not features.is_floating_point() or 0 in features.shape:
        raise UserError(
            f"{path}: {tuple(features.shape)} {features.dtype}, where features (N, d) are needed"
        )
    rows = features.float().contiguous()
    # a row of zeros has no direction, so it has no cosine either
    wrong = (~rows.isfinite()).any(dim=1) | (rows == 0).all(dim=1)
    if wrong.any():
        raise UserError(
            f"{path}: NaN, infinity or nothing but zeros in row {int(wrong.nonzero()[0])}"
        )
    return rows


def _read(folder: Path, split: str, n_classes: int) -> Part:
    """Read a split from its two files: features {split}_f.pt, and labels {split}_l.pt or .npy."""
    files = folder / f"{split}_f.pt", folder / f"{split}_l.pt"
    if not files[1].is_file() and files[1].with_suffix(".npy").is_file():
        files = files[0], files[1].with_suffix(".npy")
    features, labels = checked_features(files[0], load_tensor(files[0])), load_tensor(files[1])
    # another type means another file, such as features, scores or a mask
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise UserError(f"{files[1]}: {labels.dtype}, where labels are whole numbers")
    return _part(features, labels.flatten().long(), files[1], n_classes, split)


def _shots(folder: Path, files: Sequence[str], val: Part, n_classes: int) -> Part:
    """The images to draw shots from: the largest cache among ``files``; without a cache, val."""
    cache_of: dict[int, str] = {}  # shots -> name of the cache
    for name in files:
        match = CACHE.fullmatch(name)
        if match:
            cache_of[int(match[1])] = name
    if not cache_of:
        return val
    # fewer shots are drawn from the largest cache
    keys = folder / cache_of[max(cache_of)]
    values = keys.with_name(keys.name.replace("keys", "values"))
    # Tip-Adapter stores keys as columns; all other features here are rows
    features, one_hot = checked_features(keys, load_tensor(keys).T), load_tensor(values)
    if one_hot.ndim != 2 or one_hot.shape[1] != n_classes:
        raise UserError(
            f"{values}: {tuple(one_hot.shape)}, where (shots, {n_classes} classes) are needed"
        )
    # argmax would silently turn soft or several labels into one
    single_one = ((one_hot == 1).sum(dim=1) == 1).all()
    rest_zero = (one_hot != 0).sum() == len(one_hot)
    if not bool(single_one and rest_zero):
        raise UserError(f"{values}: its rows are not one-hot labels")
    return _part(features, one_hot.argmax(dim=1), values, n_classes, keys.stem)


def _part(features: Tensor, labels: Tensor, file: Path, n_classes: int, name: str) -> Part:
    """A part of features (N, d) and labels (N,), with ids "{name}/{row}".

    UserError for wrong labels. file: of the labels, for messages.
    """
    if len(labels) != len(features):
        raise UserError(f"{file}: {len(labels)} labels for {len(features)} features")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= n_classes:
        raise UserError(
            f"{file}: labels from {low} to {high}, where the data set has {n_classes} classes"
        )
    return Part(features, labels.numpy(), [f"{name}/{i:05d}" for i in range(len(labels))])


def _checked(folder: Path, parts: Parts) -> Parts:
    """The parts; UserError if features differ in width, or if val or test lacks a class that the
    other one has.
    """
    widths = {split: part.features.shape[1] for split, part in parts.items()}
    if len(set(widths.values())) > 1:
        raise UserError(f"{folder}: features of several widths, so of several encoders: {widths}")
    labels = {split: set(parts[split].labels.tolist()) for split in ("val", "test")}
    for split, present in labels.items():
        lacking = (labels["val"] | labels["test"]) - present
        if lacking:
            raise UserError(f"{folder}: no {split} image of class {min(lacking)}")
    return parts


def _named(parts: Parts, place: Place, file: str) -> Parts:
    """Parts with the image ids of the published split file instead of row numbers.

    place: of the data set whose images these are. UserError as in `_with_names`.
    """
    return _with_names(parts, layouts.coop(place), place.folder, Path(file))


def _with_names(parts: Parts, published: layouts.Splits, folder: Path, split_file: Path) -> Parts:
    """Parts with the image ids of a split file instead of row numbers.

    published: the splits of the file. UserError if it has more or fewer images than the features,
    or another label.
    """
    file = split_file.name
    # each image once: train and val can be the same images
    ids = {image for part in parts.values() for image in part.ids}
    for source, n in Counter(image.split("/")[0] for image in ids).items():
        if source in published and len(published[source]) != n:
            raise UserError(
                f"{folder}: {n:,} features of {source}, where {file} has "
                f"{len(published[source]):,} images: the features are of another split"
            )
    found = {}
    for split, part in parts.items():
        pairs: list[tuple[str, int | None]] = []  # (id, label) of each row, by the split file
        for image in part.ids:
            source, row = image.split("/")
            if source in published:
                pairs.append(published[source][int(row)])
            else:
                # shots of a cache keep their ids: the split file has no line for them
                pairs.append((image, None))
        wrong = [i for i, (_, label) in enumerate(pairs) if label not in (None, part.labels[i])]
        if wrong:
            raise UserError(
                f"{folder}: label {part.labels[wrong[0]]} of {split} row {wrong[0]}, where {file} "
                f"has {pairs[wrong[0]][1]} ('{pairs[wrong[0]][0]}'): the features are of another "
                "split or order"
            )
        found[split] = part.named([image for image, _ in pairs])
    return found


def _relabelled(parts: Parts, names: Sequence[str], classes: Sequence[str]) -> Parts:
    """Keep the images of ``classes``, and make labels indices into ``classes``.

    names: the class names that the labels of ``parts`` stand for.
    """
    if list(names) == list(classes):
        return parts
    label = {plain(name): i for i, name in enumerate(classes)}
    # -1 marks a class that is not wanted
    new = np.array([label.get(plain(name), -1) for name in names])
    found = {}
    for split, part in parts.items():
        chosen = part.rows(new[part.labels] >= 0)
        found[split] = Part(chosen.features, new[chosen.labels], chosen.ids)
    return found


def plain(name: str) -> str:
    """A class name without case, underscores and hyphens, in which lists of names differ."""
    return re.sub(r"[ _-]+", " ", name).strip().casefold()
