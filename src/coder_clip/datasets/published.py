"""The loader behind every entry of ``entries/``: a published data set below the data root.

Ids of images are paths relative to the image folder, so the root changes no result. Nothing is
downloaded here; ``coder-clip data get`` does that.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import UserError
from . import layouts
from .base import SPLITS, Dataset
from .entry import Entry, Rule, entry
from .folder import cut
from .images import read_image
from .layouts import Place, Splits
from .twins import MOST, Images, by_name, near_twins

ROOT_VARIABLE = "CODER_CLIP_DATA"


def data_root(configured: Path | None) -> Path:
    """The folder of the data sets: CODER_CLIP_DATA, else the configuration's ``data_root:``.

    The variable comes first: a configuration is shared, and the place of the images depends on the
    machine. UserError if neither is set.
    """
    given = os.environ.get(ROOT_VARIABLE) or configured
    if not given:
        raise UserError(
            f"where are the data sets? Set {ROOT_VARIABLE}=FOLDER, or data_root: FOLDER in the "
            "configuration"
        )
    return Path(given).expanduser()


def existing(root: Path) -> Path:
    """The root; UserError if it is not a folder."""
    if not root.is_dir():
        wrong = "is a file" if root.exists() else "does not exist"
        raise UserError(
            f"{root}, the folder of all data sets, {wrong}: name another ({ROOT_VARIABLE}, or "
            "data_root of the configuration); 'coder-clip data get' makes one"
        )
    return root


def find_place(name: str, found: Entry, root: Path) -> Place | None:
    """The first of the entry's folders that has an image folder; None if none has."""
    # copies have different layouts: the order in the entry decides
    for folder in found.folders:
        for images in found.images:
            if (root / folder / images).is_dir():
                return Place(name, root / folder, root / folder / images, found)
    return None


def refuse_published_layout(name: str, root: Path) -> None:
    """UserError if ``root`` has the published layout of the data set.

    It should hold a folder per class.
    """
    found = entry(name)
    # "." is there in every folder, so it proves nothing
    inside = any((root / images).is_dir() for images in found.images if images != ".")
    if not inside and find_place(name, found, root) is None:
        return
    # a folder per class is what 'root' is for, also with published folders beside it
    own = {_spoken(c) for c in found.class_names()}
    if any(_spoken(folder.name) in own for folder in root.iterdir() if folder.is_dir()):
        return  # class folders, beside something else
    # data_root is one folder above, and the entry must know the name of the folder below it
    below = root
    if inside:
        below = root.parent
        if root.name not in found.folders:
            below = root.parent / f"FOLDER (with {root} moved to FOLDER/{found.folders[0]})"
    raise UserError(
        f"data set '{name}': {root} has the published layout, and 'root' is for a folder with a "
        f"folder per class: write 'data_root: {below}' at the top of the configuration, and "
        f"'{name}: {{}}' below datasets"
    )


def _spoken(name: str) -> str:
    """A class or folder name, without case, underscores and hyphens."""
    return name.casefold().replace("_", " ").replace("-", " ")


def has_lists(rule: Rule, folder: Path) -> bool:
    """True if the files that the rule reads are all there."""
    return all((folder / file).is_file() for file in rule.needs)


def changed_files(found: Entry, folder: Path) -> list[str]:
    """The files that the first rule reads and that are not the published ones, by their checksums.

    Files without a published checksum are not looked at.
    """
    from .fetch import checksum_like  # imports an HTTP client, which a plan does without

    published = {d.gives: d.checksum for d in found.downloads if d.checksum and not d.unpack}
    needed = [file for file in found.splits[0].needs if file in published]
    return [f for f in needed if checksum_like(folder / f, published[f]) != published[f]]


def is_here(name: str, root: Path, split: str | None = None) -> bool:
    """True if the data set has an image folder and the files of this split (default: the first).

    Loading checks whether they are complete. Features have to be the published files, because
    nothing else tells whose features they are.
    """
    found = entry(name).only(split)
    place = find_place(name, found, root)
    if place is None or not has_lists(found.splits[0], place.folder):
        return False
    return found.loader != "features" or not changed_files(found, place.folder)


def listing(name: str, configured: Path | None, split: str | None = None) -> str | None:
    """Hash over the rule that splits the images and the files that the rule reads.

    None if the data set is not on this machine.

    These files decide everything except the pixels, so a DAG is planned without a walk through a
    million images.
    """
    try:
        found, root = entry(name).only(split), data_root(configured)
    except UserError:
        return None
    place, rule = find_place(name, found, root), found.splits[0]
    if place is None or not has_lists(rule, place.folder):
        return None
    digest = hashlib.sha256(rule.rule.encode())
    for file in rule.needs:
        digest.update(hashlib.sha256((place.folder / file).read_bytes()).digest())
    return digest.hexdigest()


class PublishedDataset(Dataset):
    """A data set of ``entries/`` with the interface of all data sets: splits, images by id,
    templates, fingerprint.

    Raises UserError if images or split files are missing, or if a split file belongs to another
    data set.
    """

    as_stored = True  # images are neither turned nor laid on white (read_image)

    def __init__(self, name: str, found: Entry, root: Path) -> None:
        self.name, self.entry, self.root = name, found, root
        help_ = f"'coder-clip data check {name}' says what is missing and how to get it"
        place = find_place(name, found, root)
        if place is None:
            where = ", ".join(str(root / f / found.images[0]) for f in found.folders)
            raise UserError(f"data set '{name}': no images in {where}; {help_}")
        rule = found.splits[0]
        if not has_lists(rule, place.folder):
            lists = " + ".join(rule.needs)
            raise UserError(f"data set '{name}': no split file {lists} in {place.folder}; {help_}")
        self.place, self.rule = place, rule
        self.classes = place.classes
        self.splits = _finished(place, rule, self.published_splits())
        self._ids = frozenset(i for pairs in self.splits.values() for i, _ in pairs)
        self._listings: dict[Path, dict[str, str]] = {}

    @cached_property
    def twins(self) -> Images:  # type: ignore[override]
        """Groups of near twins, by the entry's pattern, else by pixels, without splits of more than
        MOST images.
        """
        if self.entry.group is not None:
            return by_name(
                [i for pairs in self.splits.values() for i, _ in pairs], self.entry.group
            )
        compared = [pairs for pairs in self.splits.values() if len(pairs) <= MOST]
        return near_twins([i for pairs in compared for i, _ in pairs], self.small)

    @property
    def grouped_by(self) -> str:
        return "pixels" if self.entry.group is None else "names"

    def published_splits(self) -> Splits:
        """Read the splits from the files, before val is carved out and images are ordered."""
        read: Callable[[Place], Splits] = getattr(layouts, self.rule.rule)
        return read(self.place)

    def image(self, image_id: str) -> Image.Image:
        """The image as RGB, as others read published images: not turned, transparency dropped
        (read_image). UserError for an unknown id or an unreadable file.
        """
        if image_id not in self._ids:
            raise UserError(f"data set '{self.name}': no image '{image_id}'")
        return read_image(self.path(image_id), self.as_stored)

    def path(self, image_id: str) -> Path:
        """The file of an image.

        Names on disk may differ from the lists in case and Unicode form.
        """
        # most names are as listed; the folder is searched only for the others
        path = self.place.images / image_id
        return path if path.exists() else self._resolve(image_id) or path

    def missing(self) -> list[str]:
        """Ids of listed images whose file is not on disk or is empty, sorted."""
        # sizes only: to open every image would take hours
        missing = []
        for image_id in sorted(self._ids):
            path = self._resolve(image_id)
            if path is None or not path.stat().st_size:
                missing.append(image_id)
        return missing

    def miscounted(self) -> str | None:
        """A message if the splits have other sizes than the published ones, else None."""
        if self.counts == self.rule.counts:
            return None
        expected = ", ".join(f"{split} {n:,}" for split, n in self.rule.counts.items())
        return f"expected {expected}: some of it is missing, or it is another version"

    def fingerprint(self, *splits: str) -> str:
        """sha256 over the lines ``split TAB id TAB label`` of these splits, by default of all;
        pixels do not count.
        """
        digest = hashlib.sha256()
        for split in splits or self.splits:
            digest.update(
                "".join(f"{split}\t{i}\t{label}\n" for i, label in self.splits[split]).encode()
            )
        return digest.hexdigest()

    def verified(self, skip: bool = False) -> dict[str, Any]:
        """More entries for the manifest: which split this is, the bytes of the val and test images,
        and with ``skip`` the missing images.

        skip: the run goes on without missing images. Without skip, UserError if images are missing:
        before hours of encoding, not in the middle.
        """
        missing = self.missing()
        if missing and not skip:
            raise UserError(
                f"data set '{self.name}': {len(missing)} of {len(self._ids)} images are missing or "
                f"empty in {self.place.images}, the first: {missing[0]}; see 'coder-clip data "
                f"check {self.name}'"
            )
        absent = set(missing)
        evaluated = [*self.splits.get("val", []), *self.splits.get("test", [])]
        size = sum(self.path(i).stat().st_size for i, _ in evaluated if i not in absent)
        document = {**self.about(), "bytes": size}
        if missing:
            document["missing"] = missing
        return document

    def about(self) -> dict[str, Any]:
        """Provenance of the split: its description, by which published numbers are looked up."""
        return {"split": self.rule.what}

    def _resolve(self, image_id: str) -> Path | None:
        """The file behind an id, folder by folder; None if there is none.

        Copies of a data set have a folder inside one of the same name (Kaggle's
        cars_train/cars_train), or images without their class folders (ImageNet's official val):
        both are found."""
        path = self.place.images
        *folders, file = image_id.split("/")
        # a listed folder may be missing, or hold a second one of its own name
        for part in folders:
            path = path / (self._name(path, part) or "")
            deeper = self._name(path, part) if self._name(path, file) is None else None
            if deeper:
                path = path / deeper
        name = self._name(path, file)
        if name is None:
            return None
        return path / name

    def _name(self, folder: Path, name: str) -> str | None:
        """The name on disk of a folder's member; None if there is none.

        A broken link does not count.

        name: from a list; on disk, case and Unicode form can differ.
        """
        # one listing per folder: a look-up per image is slow on a network disk
        if folder not in self._listings:
            try:
                members = list(os.scandir(folder)) if folder.is_dir() else []
            except OSError as error:
                raise UserError(
                    f"cannot read folder {folder}: {error.strerror}; check its permissions"
                ) from None
            names = [e.name for e in members if not e.is_symlink() or os.path.exists(e.path)]
            # an exact name wins over one that differs in case or Unicode form
            self._listings[folder] = {_folded(n): n for n in names} | {n: n for n in names}
        names_here = self._listings[folder]
        return names_here.get(name) or names_here.get(_folded(name))


def _finished(place: Place, rule: Rule, splits: Splits) -> Splits:
    """Carve val out of train if the rule says so, and order each split by label, then id.

    splits: as read; changed in place. UserError for an empty split, or an image that is listed
    twice.
    """
    if rule.carves:
        train = splits["train"]
        val = _val_ids(train, rule)
        splits["train"] = [pair for pair in train if pair[0] not in val]
        splits["val"] = [pair for pair in train if pair[0] in val]
    # an image in two splits would be seen before it is tested
    owner: dict[str, str] = {}
    for split, pairs in splits.items():
        if not pairs:
            raise UserError(f"data set '{place.name}': no {split} images in {place.images}")
        for image, _ in pairs:
            if image in owner:
                raise UserError(
                    f"data set '{place.name}': '{image}' is listed twice ({owner[image]} and "
                    f"{split})"
                )
            owner[image] = split
    return {
        s: sorted(splits[s], key=lambda pair: (pair[1], pair[0])) for s in SPLITS if s in splits
    }


def _val_ids(train: list[tuple[str, int]], rule: Rule) -> set[str]:
    """Ids of the training images that become val, chosen in every class by the hash of the id, as
    for folders.
    """
    per_class: dict[int, list[str]] = defaultdict(list)
    for image, label in train:
        per_class[label].append(image)
    val: set[str] = set()
    for ids in per_class.values():
        order = sorted(ids, key=lambda i: hashlib.sha256(i.encode()).digest())
        n = rule.val_per_class or 0
        if rule.val_share:  # the last ones of the order, as `cut` has it
            order.reverse()
            n = len(cut([ids], {"train": 1 - rule.val_share, "val": rule.val_share})["val"][0])
        val.update(order[:n])
    return val


def _folded(name: str) -> str:
    """A file name without differences of case and Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()
