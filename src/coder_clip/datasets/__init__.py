"""Data sets by name. A new one is a module here and an entry in BUILTIN, or a folder in the configuration."""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING

from ..errors import UserError, nearest
from .base import SPLITS, Dataset, Split, Templates

if TYPE_CHECKING:
    from ..config import DatasetConfig

# name -> (module, class); imported only when asked for, so that reading a configuration stays quick
BUILTIN = {
    "digits": ("digits", "Digits"),
    "shapes": ("shapes", "Shapes"),
}

__all__ = ["BUILTIN", "SPLITS", "Dataset", "Split", "Templates", "load_dataset", "load_templates"]


def load_dataset(name: str, config: DatasetConfig) -> Dataset:
    """The data set ``name`` as configured.

    Raises UserError for an unknown name, a missing or empty folder.
    """
    if config.root is not None:
        from .folder import FolderDataset

        return FolderDataset(
            name,
            config.root,
            classes=config.classes,
            templates=load_templates(name, config),
        )
    dataset: Dataset = _builtin(name)()
    dataset.templates = load_templates(name, config)
    return dataset


def _builtin(name: str) -> type[Dataset]:
    if name not in BUILTIN:
        raise UserError(f"no built-in data set '{name}'{nearest(name, BUILTIN)}")
    module, attribute = BUILTIN[name]
    found: type[Dataset] = getattr(importlib.import_module(f".{module}", __package__), attribute)
    return found


def load_templates(name: str, config: DatasetConfig) -> Templates:
    """The templates of the data set ``name`` as configured; its images need not be there."""
    base = Templates() if config.root is not None else _builtin(name).templates
    given = {
        key: tuple([value] if isinstance(value, str) else value)
        if key in ("one_to_one", "prompts")
        else value
        for key, value in config.templates.items()
    }
    if "name" in given and "prompts" not in given:  # what the images are stands in the name's sentence
        given["prompts"] = (str(given["name"]), *base.prompts)
    return dataclasses.replace(base, **given)  # type: ignore[arg-type]
