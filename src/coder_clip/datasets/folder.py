"""A folder of images as a data set: one folder per class, with or without train/val/test above.

Two layouts, distinguished by what is there:

- ``root/{train,val,test}/<class>/…`` (``valid`` and ``validation`` mean val). Without val, val is
  carved from train (20 %); with train alone, all three are carved from train. Without test, there
  is no test split.
- ``root/<class>/…``: train 50 %, val 20 %, test 30 %.

Carving: inside every class the images are ordered by the sha256 of their id; the first share is
train, the next val, the rest test. So every class is in every split as soon as it has a few images.
Near twins (``twins``) stay in one split; without near twins the split depends on nothing but file
names."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from PIL import Image

from coder_clip.datasets.base import SPLITS, Dataset
from coder_clip.datasets.images import read_image
from coder_clip.errors import UserError, nearest

if TYPE_CHECKING:
    from .corrections import Correction

EXTENSIONS = {
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".webp",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".jp2",
    ".avif",
    ".heic",
    ".heif",
}
SPLIT_FOLDERS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
SHARES = {"train": 0.5, "val": 0.2, "test": 0.3}  # of each class, for images without split folders
VAL_FROM_TRAIN = {"train": 0.8, "val": 0.2}
LEFT_OUT = -1  # label of an image that a correction takes out


class ManifestEntry(NamedTuple):
    """One image file: its id (relative POSIX path), size in bytes, sha256 of its content."""

    path: str
    size: int
    sha256: str


class FolderDataset(Dataset):
    """Class folders below ``root`` as a data set (see the module's text for layouts and splits).

    name: of the data set. classes: class names or folder names in label order; default all folders,
    sorted. Folders outside the list are left out. Class names are folder names with underscores as
    spaces. ids are paths relative to ``root`` with "/", Unicode-normalised (NFC).
    corrections: a file of corrected labels (``corrections``); no correction moves an image to
    another split.
    twins: groups of near twins, if they are known (the manifest has them); None: every image is
    opened when near twins, or a split that is carved, are first needed.
    groups: a CSV file of groups (``groups``) in place of near twins; no image is opened then.

    Raises UserError: root missing, no class folders, a class folder without images, a listed class
    without a folder, a correction of an unknown image or class.
    """

    def __init__(
        self,
        name: str,
        root: str | os.PathLike[str],
        classes: Sequence[str] | None = None,
        corrections: Path | None = None,
        twins: Sequence[Sequence[str]] | None = None,
        groups: Path | None = None,
    ) -> None:
        # Splits that the folders lack are cut from the others, by hashes of ids, so that everybody
        # with these images has the same splits. They are cut on first use: near twins stay
        # together, and to find near twins takes a look at every image.
        self.name = name
        self.root = Path(root)
        if not self.root.is_dir():
            what = "does not exist"
            if self.root.exists():
                what = "is not a folder"
            raise UserError(f"data set '{name}': folder {self.root} {what}")
        layout = _layout(self.root, name)
        folders = _class_folders(layout, classes, name, self.root)
        # every folder below the root is a class
        self.classes = [class_name(f) for f in folders]
        self._paths: dict[str, Path] = {}  # image -> file
        # class -> the folders inside the class folder that hold images; "" for the class folder
        self.below: dict[str, set[str]] = {}
        # image -> the class of its folder, also if the label is corrected
        self.folder_class: dict[str, str] = {}
        # "all", or each split -> image ids of each class, in label order
        self._images_of = {
            split: self._images(classes_of, folders) for split, classes_of in layout.items()
        }
        self.corrections = {} if corrections is None else self._read_corrections(corrections)
        self._known_twins = twins
        self._groups = groups
        self._manifest: list[ManifestEntry] | None = None

    @cached_property
    def twins(self) -> Sequence[Sequence[str]]:
        """Groups of two or more near twins in the whole folder."""
        if self._known_twins is not None:
            return self._known_twins
        # imported here: an encoding knows the twins of its manifest
        if self._groups is not None:
            from .groups import of_images

            return of_images(self._groups, self._paths)
        from .twins import near_twins

        return near_twins(sorted(self._paths), self.small)

    @property
    def grouped_by(self) -> str:
        return "pixels" if self._groups is None else "declared"

    @cached_property
    def _as_in_folders(self) -> dict[str, list[tuple[str, int]]]:
        """Split -> (image id, label) pairs, with the labels of the folders, not corrected."""
        images = dict(self._images_of)
        # one set of images is cut into all splits; where only val is missing, test stays as it is
        if set(images) == {"all"} or set(images) == {"train"}:
            images = cut(next(iter(images.values())), SHARES, self.twins)
        elif "train" in images and "val" not in images:
            images |= cut(images["train"], VAL_FROM_TRAIN, self.twins)
        return {
            split: [(i, label) for label, ids in enumerate(images[split]) for i in ids]
            for split in SPLITS
            if split in images
        }

    @cached_property
    def split_of(self) -> dict[str, str]:
        """Image -> split, also for images that a correction leaves out."""
        return {i: split for split, pairs in self._as_in_folders.items() for i, _ in pairs}

    @cached_property
    def splits(self) -> dict[str, list[tuple[str, int]]]:  # type: ignore[override]
        """Split -> (image id, label) pairs, with corrected labels, without excluded images."""
        # The splits are cut before, so a correction changes nothing about the other images.
        if not self.corrections:
            return dict(self._as_in_folders)
        label_of = {name: label for label, name in enumerate(self.classes)}
        splits = {}
        for split, pairs in self._as_in_folders.items():
            labels = dict(pairs)
            # `after` is empty for an image that is taken out, and no class has an empty name
            for image in labels.keys() & self.corrections.keys():
                labels[image] = label_of.get(self.corrections[image].after, LEFT_OUT)
            kept = [(label, i) for i, label in labels.items() if label != LEFT_OUT]
            splits[split] = [(i, label) for label, i in sorted(kept)]
        return splits

    def path(self, image_id: str) -> Path:
        """The file of an image. UserError for an unknown id."""
        if image_id not in self._paths:
            raise UserError(f"data set '{self.name}': no image '{image_id}' in {self.root}")
        return self._paths[image_id]

    def image(self, image_id: str) -> Image.Image:
        """The image as RGB, upright (read_image); UserError for an unknown id or an unreadable
        file.
        """
        return read_image(self.path(image_id))

    def manifest(self) -> list[ManifestEntry]:
        """Every image of the data set by id.

        Reads all files the first time; UserError if one cannot be read.
        """
        if self._manifest is None:
            self._manifest = [file_entry(i, self._paths[i]) for i in sorted(self._paths)]
        return self._manifest

    def fingerprint(self) -> str:
        """sha256 over the lines ``path TAB size TAB sha256`` of images, and ``path TAB from TAB
        to`` of corrections.

        Where there are near twins, also over the paths of each group, because they decide the
        split.
        """
        lines = "".join(f"{e.path}\t{e.size}\t{e.sha256}\n" for e in self.manifest())
        lines += "".join(
            f"{i}\t{c.before}\t{c.after}\n" for i, c in sorted(self.corrections.items())
        )
        lines += "".join("\t".join(group) + "\n" for group in self.twins)
        return hashlib.sha256(lines.encode()).hexdigest()

    def _images(self, classes_of: dict[str, Path], folders: list[str]) -> list[list[str]]:
        """Image ids of each class of one split, in label order.

        Fills ``_paths``, ``below`` and ``folder_class``.

        classes_of: folder name -> class folder of this split. folders: folder names in label order.
        """
        per_class: list[list[str]] = []
        for folder in folders:
            ids = []
            of_class = classes_of.get(folder)
            if of_class:
                _refuse_links(of_class, self.name, self.root)
                for path in image_files(of_class):
                    image_id = nfc(path.relative_to(self.root).as_posix())
                    # two names that differ on disk can be the same in NFC
                    if self._paths.setdefault(image_id, path) != path:
                        raise UserError(
                            f"data set '{self.name}': two files are called '{image_id}'"
                        )
                    ids.append(image_id)
                    self.folder_class[image_id] = class_name(folder)
                    # the folder of the class that the image is in; "" for the class folder itself
                    inside = path.relative_to(of_class).parts
                    self.below.setdefault(class_name(folder), set()).add(
                        inside[0] if len(inside) > 1 else ""
                    )
                if not ids:
                    raise UserError(f"data set '{self.name}': no images in class folder {of_class}")
            per_class.append(sorted(ids))
        return per_class

    def _read_corrections(self, file: Path) -> dict[str, Correction]:
        """Image -> correction; UserError for an unknown image or class, or if ``from`` is not the
        class of the image's folder.
        """
        from .corrections import read_corrections  # most folders have none

        found = read_corrections(file)
        for image, (before, after) in found.items():
            if image not in self.folder_class:
                near = nearest(image, self.folder_class, listed=False)
                raise UserError(
                    f"{file}: no image '{image}' in {self.root}{near}; remove or correct the line"
                )
            folder_class = self.folder_class[image]
            if before != folder_class:
                raise UserError(
                    f"{file}: '{image}' is in the folder of '{folder_class}', not '{before}'; "
                    "correct the line"
                )
            if after and after not in self.classes:
                raise UserError(
                    f"{file}: '{image}': no class '{after}'{nearest(after, self.classes)}"
                )
        return found


def class_name(folder: str) -> str:
    """The class name of a folder: NFC, underscores as spaces."""
    return " ".join(nfc(folder).replace("_", " ").split())


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def is_unicode(path: str) -> bool:
    """False for a path with bytes that are not UTF-8, which Python reads as surrogates."""
    return path == path.encode(errors="replace").decode()


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def _members(folder: Path) -> list[Path]:
    """The members of a folder, sorted; UserError if it cannot be listed."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        _refuse_unreadable(error)


def _subfolders(folder: Path, name: str) -> dict[str, Path]:
    """NFC name -> folder, for visible folders (also through links), sorted.

    UserError if two have the same NFC name. name: of the data set, for messages.
    """
    found: dict[str, Path] = {}
    for path in _members(folder):
        if not is_unicode(path.name):
            raise UserError(f"file name is not valid Unicode: {str(path)!r}")
        if _hidden(path.name) or not path.is_dir():
            continue
        # `setdefault` returns the first folder of this name: any other one is a second spelling
        if found.setdefault(nfc(path.name), path) != path:
            raise UserError(
                f"data set '{name}': two folders in {folder} are called '{nfc(path.name)}', in two "
                "Unicode forms; make them one"
            )
    return dict(sorted(found.items()))


def is_image(name: str) -> bool:
    """True for a visible file with an image's ending; its content is not read."""
    return not _hidden(name) and os.path.splitext(name)[1].lower() in EXTENSIONS


def _refuse_unreadable(error: OSError) -> NoReturn:
    """Raise UserError for a folder that cannot be listed."""
    raise UserError(
        f"cannot read folder {error.filename}: {error.strerror}; check its permissions"
    ) from None


def _refuse_name(path: str) -> None:
    """UserError for an image file whose path is not valid Unicode; other files pass."""
    if is_image(os.path.basename(path)):
        raise UserError(f"file name is not valid Unicode: {path!r}")


def image_files(
    folder: Path,
    unreadable: Callable[[OSError], None] = _refuse_unreadable,
    other: Callable[[str], None] = _refuse_name,
) -> Iterator[Path]:
    """Yield the visible image files below a folder at any depth; links are followed, loops are not.

    unreadable: called for a folder that cannot be listed; its images would be missed silently.
    other: called with the path of a visible file that is left out, because it has no image's ending
    or its path is not valid Unicode.
    """
    seen: set[str] = set()
    for here, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        # links can lead in circles: each real folder is read once
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        # in place: os.walk goes on in this order, and skips hidden folders
        folders[:] = sorted(f for f in folders if not _hidden(f))
        for name in sorted(f for f in files if not _hidden(f)):
            path = os.path.join(here, name)
            if is_image(name) and is_unicode(path):
                yield Path(path)
            else:
                other(path)


def _layout(root: Path, name: str) -> dict[str, dict[str, Path]]:
    """Split -> {folder name: class folder}; without split folders, the only key is "all"."""
    # A class may be called "train" or "test", too. Such a folder is a split only if it holds
    # folders and no images.
    top = _subfolders(root, name)
    holds_images = {f: any(is_image(p.name) for p in _members(path)) for f, path in top.items()}
    splits: dict[str, dict[str, Path]] = {}
    for folder, path in top.items():
        split = SPLIT_FOLDERS.get(folder.lower())
        if split is None or holds_images[folder]:
            continue
        classes = _subfolders(path, name)
        if not classes:
            continue
        if split in splits:
            raise UserError(f"data set '{name}': two folders for the split '{split}' in {root}")
        splits[split] = classes
    if not splits:
        if not top:
            raise UserError(
                f"data set '{name}': no class folders in {root} (expected one folder of images per "
                "class, or train/, val/ and test/ with such folders)"
            )
        return {"all": top}
    mixed = [f for f, images in holds_images.items() if images]
    if mixed:
        raise UserError(
            f"data set '{name}': {root} has split folders ({', '.join(splits)}) beside the class "
            f"folder '{mixed[0]}'; keep one layout"
        )
    return splits


def _class_folders(
    layout: dict[str, dict[str, Path]], classes: Sequence[str] | None, name: str, root: Path
) -> list[str]:
    """Folder names in label order: all folders, sorted, or the folders that ``classes`` lists."""
    # `classes` decides which folders count and their labels. Both sides are compared as class
    # names, so that "red fox" in the list finds the folder red_fox.
    _refuse_two_spellings(layout, name, root)
    by_name: dict[str, list[str]] = defaultdict(list)
    for folder in sorted({folder for split in layout.values() for folder in split}):
        by_name[class_name(folder)].append(folder)
    chosen: list[str] = []
    for wanted in list(by_name) if classes is None else classes:
        folders = by_name.get(class_name(wanted), [])
        if not folders:
            near = nearest(wanted, by_name)
            raise UserError(f"data set '{name}': no folder for class '{wanted}' in {root}{near}")
        if len(folders) > 1:  # `red_fox` and `red fox`: no text can tell them apart
            both = " and ".join(f"'{f}'" for f in folders)
            of_class = class_name(wanted)
            raise UserError(
                f"data set '{name}': folders {both} in {root} are both the class '{of_class}'; "
                "make them one"
            )
        if folders[0] in chosen:
            raise UserError(f"data set '{name}': class '{wanted}' is listed twice")
        chosen += folders
    if not chosen:
        raise UserError(f"data set '{name}': the list of classes is empty")
    return chosen


def _refuse_two_spellings(layout: dict[str, dict[str, Path]], name: str, root: Path) -> None:
    """UserError for folders of two splits that differ only in case.

    `train/dog` and `test/Dog` would be two classes, each without half of its images.
    """
    seen: dict[str, tuple[str, Path]] = {}
    for classes_of in layout.values():
        for folder, path in classes_of.items():
            other, first = seen.setdefault(folder.casefold(), (folder, path))
            # if one split has both spellings, the user means two classes
            if other != folder and not any(other in c and folder in c for c in layout.values()):
                raise UserError(
                    f"data set '{name}': {first.relative_to(root)} and {path.relative_to(root)} "
                    "differ in upper and lower case only; give both one name"
                )


def _refuse_links(folder: Path, name: str, root: Path) -> None:
    """UserError for a link in a class folder to another class, or to a folder above.

    It would add the images of other classes.
    """
    whole, own = root.resolve(), folder.resolve()  # the data set, this class
    for here, folders, _ in os.walk(folder):
        for link in (Path(here, f) for f in folders if not _hidden(f)):
            target = link.resolve()
            # a link may lead to a folder outside of the data set
            elsewhere = target.is_relative_to(whole) and not target.is_relative_to(own)
            if link.is_symlink() and (elsewhere or whole.is_relative_to(target)):
                raise UserError(
                    f"data set '{name}': {link} leads to {target}, which holds images of other "
                    "classes; remove the link"
                )


def cut(
    per_class: Iterable[list[str]], shares: dict[str, float], twins: Iterable[Sequence[str]] = ()
) -> dict[str, list[list[str]]]:
    """Cut each class's ids, ordered by hash, at the cumulated shares, rounded half up in exact
    integers. Returns split -> ids of each class.

    shares: split -> share. twins: groups that stay together, also if they are in several classes. A
    group is ordered by the first of its ids, and goes to the split that its middle is in.
    """
    group_of = {image_id: tuple(group) for group in twins for image_id in group}
    placed: dict[tuple[str, ...], str] = {}  # group -> its split, by the first class that has it
    found: dict[str, list[list[str]]] = {split: [] for split in shares}
    for ids in per_class:
        # an order that is the same on every machine and does not follow the names
        order = sorted(ids, key=lambda i: hashlib.sha256(i.encode()).digest())
        # group -> its images of this class, in the order of each group's first image
        units: dict[tuple[str, ...], list[str]] = {}
        for image_id in order:
            units.setdefault(group_of.get(image_id, (image_id,)), []).append(image_id)
        of_class: dict[str, list[str]] = {split: [] for split in shares}
        start = 0
        for group, members in units.items():
            middle = start + len(members) / 2
            split = placed.setdefault(group, _split_at(middle, len(order), shares))
            of_class[split] += members
            start += len(members)
        for split, chosen in of_class.items():
            found[split].append(sorted(chosen))
    return found


def _split_at(middle: float, n: int, shares: dict[str, float]) -> str:
    """The split of a position among n images that are ordered by hash."""
    percent = 0
    for split, share in shares.items():
        percent += round(100 * share)
        # half up in integers: a share as a float would round differently on the boundary
        if middle < (n * percent + 50) // 100:
            return split
    return split  # the last one


def file_entry(image_id: str, path: Path) -> ManifestEntry:
    """Size and sha256 of an image file. UserError if it cannot be read."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait forever
            raise UserError(
                f"image file cannot be read: {path}: a pipe, socket or device, not a file"
            )
        # the size of the open file: the path may be another file by now
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return ManifestEntry(image_id, os.fstat(file.fileno()).st_size, digest)
    except OSError as error:
        raise UserError(f"image file cannot be read: {path}: {error.strerror}") from None
