"""The published data sets: one YAML file each in ``entries/``, which declares everything about it.

Where to get it and on what terms, its layout on disk, its class names in label order, its split
files and how many images they should list, and the sentences its texts are put into. ``coder-clip
data check`` and ``data get`` read the same file as the loader, and a test compares the table of
docs/data.md with it."""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from ..errors import UserError, nearest
from ..foundation.strict import Strict
from . import PUBLISHED, entry_file, imagenet_words, nearest_dataset
from .base import SPLITS, Templates

Text = Annotated[str, Field(min_length=1)]

# The paper's sentences for a data set without its own (the authors' template.py); the few-shot
# prompt is Tip-Adapter's. An entry's ``templates`` replaces what differs.
PAPER = Templates(
    name="a photo of {class}",
    attribute="{class} which has {attribute}",
    analogous="a {class} similar to {analogous}.",
    one_to_one=(
        "Because of {one_to_one}, {class} is different from {other}.",
        "{class} is characterized by a distinct {one_to_one}, while {other} isn't.",
        "The distinctive way in which {class} handles {one_to_one} separates it significantly from "
        "{other}.",
        "{class} stands out in {one_to_one} compared to {other}.",
        "The way {class} approaches {one_to_one} distinguishes it from {other}.",
        "In {one_to_one} expression, {class} deviates from {other}.",
        "Differences in {one_to_one} usage separate {class} from {other}.",
    ),
    prompts=("a photo of a {class}.",),
)
# git: the name of a file in a Git repository, the SHA-1 of "blob SIZE", a zero byte and the content
Checksum = Annotated[
    str, Field(pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}|git:[0-9a-f]{40})$")
]
SplitName = Literal["train", "val", "test"]
Counts = dict[SplitName, Annotated[int, Field(ge=1)]]


class Rule(Strict):
    """One way to split the images.

    The first rule of an entry is used unless a configuration names another.
    """

    rule: Text = Field(description="A function of layouts.py.")
    what: Text = Field(description="What this split is, in words.")
    needs: list[str] = Field([], description="Files below the data set's folder that it reads.")
    counts: Counts = Field(description="Images per split.")
    val_share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="Share of each class's training images that becomes val (by hash of the id).",
    )
    val_per_class: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Number of training images per class that become val (by hash of the id)."
    )
    fingerprints: dict[SplitName, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = Field(
        {}, description="sha256 of each split's list of images, if known from the original files."
    )
    sums: dict[str, Checksum] = Field(
        {}, description="Published checksums of the files that it reads."
    )

    @property
    def carves(self) -> bool:
        """True if val is taken out of the training images."""
        return bool(self.val_share or self.val_per_class)


class Download(Strict):
    """A file that anyone may download.

    into: the folder to unpack into, relative to the data set's folder.
    """

    url: Text
    mirrors: list[Text] = Field(
        [], description="Other addresses of the same file, tried in this order."
    )
    name: str = Field("", description="File name, if the address does not end in it.")
    checksum: Checksum | None = Field(description="Of the whole file; null if none is published.")
    into: str = "."
    unpack: bool = True
    inner: list[str] = Field([], description="Archives inside it that are unpacked too, in place.")
    gives: Text = Field(description="What it creates below the data set's folder.")
    brings: list[str] = Field([], description="Files in it that splits need.")
    gigabytes: Annotated[float, Field(gt=0)]

    @property
    def file(self) -> str:
        """The file's name on disk."""
        return self.name or self.url.rsplit("/", 1)[-1]


class Archive(Strict):
    """An archive to download by hand; ``data get`` unpacks it if it is below the root."""

    file: Text
    checksum: Checksum | None = None
    nested: bool = Field(
        False, description="Holds a tar per class, unpacked into a folder of its name."
    )
    has_folder: bool = Field(
        False, description="Holds the folder that it gives, not the files of that folder."
    )


class ByHand(Strict):
    """A part to download by hand, and how."""

    gives: Text
    how: Text
    archive: Archive | None = None


class PublishedNames(Strict):
    """Class names of the authors' lists, where they differ from ``classes``.

    The lists are datasets/class_name/*.txt.
    """

    pattern: str = Field("", description="Regular expression that every other name matches.")
    becomes: str = Field("", description="What it becomes.")
    but: dict[str, str] = Field({}, description="Names one by one.")

    def of(self, names: list[str]) -> tuple[str, ...]:
        """The published spelling of class names, in the same order."""
        # the pattern changes many names alike; `but` overrides single ones
        spelling = {name: name for name in names}
        if self.pattern:
            spelling = {name: re.sub(self.pattern, self.becomes, name) for name in names}
        spelling |= self.but
        return tuple(spelling[name] for name in names)


class Entry(Strict):
    """All about one published data set."""

    title: Text
    homepage: Text
    licence: Text
    folders: Annotated[list[str], Field(min_length=1)] = Field(
        description="Where it may be below the root; downloads go to the first."
    )
    images: Annotated[list[str], Field(min_length=1)] = Field(
        description="Where the images may be below that; ids of images are relative to it."
    )
    gigabytes: Annotated[float, Field(gt=0)] = Field(description="On disk, unpacked.")
    classes: list[Text] | Literal["curated"] | None = Field(
        None,
        description="Names in label order; curated: those of ImageNet (imagenet_words.py); "
        "default: those of the data set that these are features of.",
    )
    of: str | None = Field(
        None,
        description="The published data set whose images these are features of; its labels and "
        "templates.",
    )
    part: bool = Field(
        False,
        description="Only some classes of another set of features: its neighbours are not compared "
        "again.",
    )
    texts: str | None = Field(
        None,
        description="The data set of the same classes whose texts it shares; default: it has its "
        "own.",
    )
    loader: Literal["files", "torchvision", "features"] = "files"
    also: list[str] = Field([], description="Other common names.")
    splits: Annotated[list[Rule], Field(min_length=1)]
    downloads: list[Download] = []
    by_hand: list[ByHand] = []
    templates: dict[
        Literal[
            "name",
            "attribute",
            "analogous",
            "one_to_one",
            "one_to_one_as_published",
            "attribute_few_shot",
            "analogous_few_shot",
            "prompts",
        ],
        str | list[str],
    ] = {}
    names_as_published: PublishedNames | None = None
    group: str | None = Field(
        None,
        description="Regular expression with brackets: images whose ids have the same parts there "
        "are near twins, such as frames of one video. Default: near twins are found by pixels.",
    )

    def class_names(self) -> list[str]:
        """C names in label order. May hold duplicates (ImageNet has two), so key by index."""
        if self.classes is None:  # features: the classes of their data set
            return entry(self.of or "").class_names()
        if self.classes == "curated":
            return imagenet_words.class_names()
        return list(self.classes)

    @property
    def n_classes(self) -> int:
        """Number of classes, without the seconds that ImageNet's names take."""
        if self.classes == "curated":
            return imagenet_words.N_CLASSES
        return len(self.class_names())

    def make_templates(self) -> Templates:
        """The paper's sentences, replaced where the entry has its own.

        For a set of features those of the data set of its images.
        """
        if self.of is not None:
            # the published names are in the order of all classes, and a set may have only some
            return dataclasses.replace(entry(self.of).make_templates(), class_names_as_published=())
        # YAML has lists where templates have tuples
        own = {k: tuple(v) if isinstance(v, list) else v for k, v in self.templates.items()}
        published: tuple[str, ...] = ()
        if self.names_as_published:
            published = self.names_as_published.of(self.class_names())
        return dataclasses.replace(PAPER, class_names_as_published=published, **own)  # type: ignore[arg-type]

    def only(self, split: str | None) -> Entry:
        """The entry with only the rule of this name; None: with all rules.

        UserError for an unknown rule.
        """
        if split is None:
            return self
        chosen = [r for r in self.splits if r.rule == split]
        if not chosen:
            known = [r.rule for r in self.splits]
            raise UserError(f"{self.title} has no split '{split}'{nearest(split, known)}")
        return self.model_copy(update={"splits": chosen})


@cache
def entry(name: str) -> Entry:
    """The entry of a published data set.

    UserError for an unknown name or an entry that is wrong.
    """
    path = entry_file(name)
    if path is None:
        raise UserError(f"no published data set '{name}'{nearest_dataset(name)}")
    # the loader in C takes a tenth of the time for a thousand names
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return Entry.model_validate(yaml.load(path.read_text(encoding="utf-8"), Loader=loader))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {where}: {first['msg']}") from None


def table() -> str:
    """All data sets as docs/data.md shows them: a table of numbers, and a list of the rest.

    ``python -m coder_clip.datasets.entry`` prints it.
    """
    rows = ["| name | classes | split | train / val / test | GB on disk | from |"]
    rows.append("| --- | ---: | --- | --- | ---: | --- |")
    notes = []
    for name in PUBLISHED:
        e = entry(name)
        fetched = "by hand"
        if e.downloads:
            fetched = "data get"
        needed = [f"`{h.gives}`" for h in e.by_hand]
        if needed and e.downloads:
            fetched = f"data get; by hand: {', '.join(needed)}"
        # a data set with several rules: its own columns are in the first row only
        first = (f"`{name}`", f"{len(e.class_names()):,}")
        last = (f"{e.gigabytes:g}", fetched)
        for rule in e.splits:
            numbers = dict.fromkeys(SPLITS, "–") | {s: f"{n:,}" for s, n in rule.counts.items()}
            counts = " / ".join(numbers[split] for split in SPLITS)
            rows.append("| " + " | ".join((*first, f"`{rule.rule}`", counts, *last)) + " |")
            first = last = ("", "")
        rules = "; ".join(f"`{rule.rule}`: {rule.what}" for rule in e.splits)
        notes += [f"- `{name}`, [{e.title}]({e.homepage}). {rules}.", f"  Licence: {e.licence}."]
    return "\n".join([*rows, "", *notes]) + "\n"


if __name__ == "__main__":
    print(table(), end="")
