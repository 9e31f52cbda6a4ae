"""Data sets by name.

A new one is a YAML file in entries/ (a published one), or a folder in the configuration.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, nearest
from ..foundation.yaml_file import read_yaml
from .base import SPLITS, Dataset, Described, Split, Templates

if TYPE_CHECKING:
    from .published import PublishedDataset

# folders of pictures in a clone, each beside a file of facts about it
EMBEDDED = ("rare", "shapes")
PICTURES = Path(__file__).resolve().parents[3] / "data/embedded"
ENTRIES = Path(__file__).parent / "entries"
PUBLISHED = tuple(sorted(p.stem for p in ENTRIES.glob("*.yaml")))
# published features of published data sets, which need neither images nor weights
FEATURE_SETS = tuple(sorted(p.stem for p in (ENTRIES / "features").glob("*.yaml")))
WITH_ENTRY = (*PUBLISHED, *FEATURE_SETS)
BUILTIN = (*EMBEDDED, *WITH_ENTRY)
# loader of an entry -> (module, class)
LOADERS = {
    "files": ("published", "PublishedDataset"),
    "torchvision": ("cifar", "Cifar"),
    "features": ("features", "PublishedFeatures"),
}

__all__ = ["SPLITS", "Dataset", "Split", "Templates"]  # the rest is defined here


def entry_file(name: str) -> Path | None:
    """The entry of a published data set, or of published features; None for another name.

    Looks for one file, so that the jobs of a data set do not depend on the list of all.
    """
    # a name is not a path
    files = [ENTRIES / folder / f"{Path(name).name}.yaml" for folder in ("", "features")]
    return next((file for file in files if file.stem == name and file.is_file()), None)


def is_published(name: str) -> bool:
    """True for a published data set, whose images are read."""
    file = entry_file(name)
    return file is not None and file.parent == ENTRIES


def is_part(name: str) -> bool:
    """True for published features of some classes of another data set.

    Its images would count twice.
    """
    file = entry_file(name)
    if file is None or file.parent == ENTRIES:
        return False
    return bool(_module("entry").entry(name).part)


def image_folder(name: str, config: Described) -> Path | None:
    """The folder of class folders of the data set ``name``; None if it has another form."""
    if config.root is None and config.features is None and name in EMBEDDED:
        return PICTURES / name
    return config.root


def load_dataset(
    name: str,
    config: Described,
    data_root: Path | None = None,
    twins: Sequence[Sequence[str]] | None = None,
) -> Dataset:
    """The data set ``name`` as configured.

    Published ones are below ``data_root`` (CODER_CLIP_DATA comes first).

    twins: groups of near twins of a folder, if they are known; None: they are found by a look at
    the images, when they are first needed.

    Raises UserError for an unknown name, a missing or empty folder.
    """
    from .folder import FolderDataset

    if config.root is not None:
        if is_published(name):
            _module("published").refuse_published_layout(name, config.root)
        return FolderDataset(
            name, config.root, config.classes, config.corrections, twins, config.groups
        )
    dataset: Dataset
    if config.features is not None:
        dataset = _module("features").of_folder(
            name, config.features, config.classes, config.split_file, config.groups
        )
    elif entry_file(name) is not None:
        published = _module("published")
        root = published.existing(published.data_root(data_root))
        dataset = load_below(name, root, config.split)
    else:
        facts = _facts(name)
        # each picture was made alone, so there are no near-duplicates to look for
        groups = PICTURES / "groups.csv"
        dataset = FolderDataset(name, PICTURES / name, facts["classes"], groups=groups)
    return dataset


def load_below(name: str, root: Path, split: str | None = None) -> PublishedDataset:
    """Load a published data set below this root.

    UserError, with the command that helps, if the data set is not there.

    split: name of the rule that splits the data set; None: the first rule.
    """
    found = _module("entry").entry(name).only(split)
    module, kind = LOADERS[found.loader]
    dataset: PublishedDataset = getattr(_module(module), kind)(name, found, root)
    return dataset


def load_templates(name: str, config: Described) -> Templates:
    """The templates of the data set ``name`` as configured; its images need not be there."""
    given = _as_tuples(config.templates)
    base = Templates()
    # your own classes start from the default sentences; a built-in data set has sentences
    own_classes = config.root is not None or (
        config.features is not None and not is_published(name)
    )
    if not own_classes:
        base = (
            _module("entry").entry(name).make_templates()
            if entry_file(name) is not None
            else Templates(**_as_tuples(_facts(name)["templates"]))
        )
    if "name" in given and "prompts" not in given:  # the name's sentence says what the images are
        given["prompts"] = (str(given["name"]), *base.prompts)
    if "one_to_one" in given:  # there is no published variant of these, with its bug
        given["one_to_one_as_published"] = ()
    for kind in ("attribute", "analogous"):
        if kind in given:  # replaces the few-shot wording, too
            given[f"{kind}_few_shot"] = ""
    templates = dataclasses.replace(base, **given)  # type: ignore[arg-type]
    if own_classes:
        return with_articles(templates)
    return templates


def _as_tuples(sentences: Mapping[str, Any]) -> dict[str, Any]:
    """Templates as a file has them, with tuples for the two that are several sentences."""
    found = dict(sentences)
    # a configuration may give a single one as plain text
    for key in {"one_to_one", "prompts"} & found.keys():
        value = found[key]
        found[key] = (value,) if isinstance(value, str) else tuple(value)
    return found


def with_articles(templates: Templates) -> Templates:
    """Let each class name choose between "a" and "an": "a photo of an airplane".

    Only for your own classes: published numbers of published data sets were made with "a".
    """

    # only an article right before the name: elsewhere "a" is part of the sentence
    def change(sentence: str) -> str:
        return re.sub(r"\b(?:a|an) \{class\}", "{a_class}", sentence)

    changed = {
        field: change(value) if isinstance(value, str) else tuple(map(change, value))
        for field, value in vars(templates).items()
        if field != "class_names_as_published"
    }
    return dataclasses.replace(templates, **changed)  # type: ignore[arg-type]


def listing(name: str, config: Described, data_root: Path | None) -> str | None:
    """Hash of a published data set's lists of images, read without the images.

    None for another data set, or if the lists are not on this machine.
    """
    if entry_file(name) is None:
        return None
    found: str | None = _module("published").listing(name, data_root, config.split)
    return found


def about(name: str) -> str:
    """A phrase on a data set: the title of a published one, what the pictures of an embedded one
    show, for any other its name.
    """
    if entry_file(name) is not None:
        return str(_module("entry").entry(name).title)
    return str(_facts(name)["about"]) if _has_facts(name) else name


def named_pictures(name: str) -> dict[str, int | None] | None:
    """Class -> number of the embedded model's training pictures whose captions had its name.

    None for a class: all of them. Returns None for a data set that does not declare these numbers.
    """
    return _facts(name).get("named") if _has_facts(name) else None


def nearest_dataset(name: str) -> str:
    """Suggest a known data set, ``" (did you mean 'x'?)"``, by another common name ("cars") or else
    by spelling.
    """
    # another common name is a surer hint than a similar spelling
    wanted = name.lower().replace("-", "_")
    for known in PUBLISHED:
        if wanted in _module("entry").entry(known).also:
            return f" (did you mean '{known}'?)"
    return nearest(name, BUILTIN)


def zero_shot_only(name: str, split: str | None = None) -> bool:
    """True for a published data set that has only a test split.

    split: name of a rule, or None for all rules of the entry.
    """
    if not is_published(name):
        return False
    rules = _module("entry").entry(name).only(split).splits
    return all(set(rule.counts) == {"test"} for rule in rules)


def test_alone(root: Path) -> bool:
    """True for a folder with only test images.

    It has ``root/test`` with class folders, and no folder beside ``test``.
    """
    try:
        top = [p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__"))]
        # a lone "test" must hold class folders, else it is a class of that name
        return (
            len(top) == 1
            and top[0].name.lower() == "test"
            and any(p.is_dir() for p in top[0].iterdir())
        )
    except OSError:  # not there, or not readable: whoever loads it says so
        return False


def _has_facts(name: str) -> bool:
    """True for an embedded data set that is on this machine."""
    return name in EMBEDDED and (PICTURES / f"{name}.yaml").is_file()


def _facts(name: str) -> dict[str, Any]:
    """Classes in label order, templates and the like of an embedded data set."""
    if name not in EMBEDDED:
        raise UserError(f"no built-in data set '{name}'{nearest_dataset(name)}")
    if not _has_facts(name):
        raise UserError(
            f"data set '{name}': no {PICTURES}; its pictures are in a clone of coder-clip, where "
            "'git checkout data/embedded' brings them back"
        )
    facts: dict[str, Any] = read_yaml(PICTURES / f"{name}.yaml")
    return facts


def _module(name: str) -> Any:
    """A module of this package, imported only now."""
    return importlib.import_module(f".{name}", __package__)
