"""Class names and files of text sets, for the commands about texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import UserError
from ...pipeline.config import load_config
from ...texts.english import OWN, use
from ...texts.kinds import OF_CLASS
from ...texts.sets import TextSet


def use_rules(folder: Path) -> None:
    """Judge and clean texts by the rules of a folder. UserError if it has none."""
    if not (folder / OWN).is_file():
        raise UserError(
            f"no {folder / OWN}; 'coder-clip texts prompts {folder}' writes the shipped one"
        )
    use(folder)


def class_names(dataset: str, given: Path | None, config: Path) -> list[str]:
    """Class names: from a file, an entry, a data set of ours, or the configuration's images."""
    from ...datasets import PUBLISHED, load_dataset, nearest_dataset
    from ...datasets.entry import entry

    name = Path(dataset).name  # a text set from elsewhere names no file outside of the folder
    path = given or Path(f"data/classes/{name}.txt")
    if given is None and dataset in PUBLISHED:
        return entry(dataset).class_names()
    if given or path.is_file():
        return lines_of(path)
    c = load_config(config)
    if dataset not in c.datasets:
        raise UserError(
            f"no class names of data set '{dataset}'{nearest_dataset(dataset)}; name a file with "
            "--classes, or the configuration of the data set with --config"
        )
    return list(load_dataset(dataset, c.datasets[dataset]).classes)


def lines_of(path: Path) -> list[str]:
    """Class names from a file, one per line, without empty lines and comments (#)."""
    try:
        # utf-8-sig, because some editors write a byte order mark
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"class names cannot be read: {path}: {error}; write one per line"
        ) from error
    return [line for line in lines if line and not line.startswith("#")]


def renames_of(given: Sequence[str]) -> dict[str, str]:
    """Parse the values of --rename: name in the source -> name in the data set.

    UserError for another form.
    """
    renames: dict[str, str] = {}
    for text in given:
        if "=" not in text:
            raise UserError(f"--rename {text}: write THEIRS=OURS, two class names")
        # only the first = divides: the second name may hold another
        theirs, ours = text.split("=", 1)
        renames[theirs.strip()] = ours.strip()
    return renames


def pair_file(path: Path) -> Path:
    """Path of the file of one-to-one texts that belongs to a text set."""
    return path.with_name(f"{path.stem}.one_to_one.json")


def counted(texts: TextSet) -> str:
    """In words: the classes of a text set, and its texts of each kind besides names."""
    counts = {kind: sum(len(c.of(kind)) for c in texts.classes) for kind in OF_CLASS}
    of_kind = (f"{n} {kind}" for kind, n in counts.items() if n)
    return ", ".join([f"{len(texts.classes)} classes", *of_kind])


def refuse_existing(targets: Sequence[Path], force: bool) -> None:
    """UserError if a file to write exists, unless ``force``."""
    for target in targets:
        if target.exists() and not force:
            raise UserError(f"{target} exists; --force overwrites it, --out names another")
