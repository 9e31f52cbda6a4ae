"""Families of encoders: one module each, which declares, as literals::

    PREFIXES = ("siglip:",)          how names of its models begin; "": names without a prefix
    NAMES = "siglip:PATH"            how its models are named, for the schema and the help
    LIBRARIES = ("transformers",)    optional: packages whose versions can change features
    MAKERS = ("encoders/NAME",)      optional: modules that make features, as in `encoders.store`;
                                     default: the family's own

and defines ``load``, from a `spec.EncoderSpec` and whether downloads are forbidden to
`towers.Towers`. A family that brings texts as features defines ``tables`` instead, from a model and
``data_root`` of the configuration to `text_tables.TextTables`, and encodes nothing.

Functions that a family may define, which need neither torch nor a model, and what happens without:

    problems(spec, root)    yields (key, problem) of a model's section; without: none
    files(spec)             the user's own files of a model; without: none
    unreadable(spec)        raises UserError for files that cannot be read; without: nothing
    size(model, closely)    `spec.Size`; without: that of a large model
    look(spec)              raises `hub.Absent` if the files are not here; without: nothing
    fetch(spec, data_root)  downloads, and yields lines, before ``load``; without: nothing

A configuration names a model by its prefix. It is listed nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...foundation import scan

if TYPE_CHECKING:
    from ..text_tables import TextTables

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Family:
    """The declarations of a module."""

    name: str
    prefixes: tuple[str, ...]
    names: str
    libraries: tuple[str, ...]
    makers: tuple[str, ...]
    module: scan.Module = field(repr=False, compare=False)

    @property
    def encodes(self) -> bool:
        """False for a family that brings texts as features."""
        return self.module.defines("load")

    def call(self, function: str, *arguments: Any, default: Any = None) -> Any:
        """The result of one of the family's functions; ``default`` if it does not define it."""
        if not self.module.defines(function):
            return default
        return getattr(import_module(f"{__package__}.{self.name}"), function)(*arguments)


def _scanned() -> dict[str, Family]:
    """The families by name, from the declarations of the modules in this folder."""
    families = {}
    for module in scan.modules(FOLDER):
        prefixes, names = module.required("PREFIXES", "NAMES")
        makers = module.get("MAKERS", (f"encoders/families/{module.name}",))
        libraries = module.get("LIBRARIES", ())
        families[module.name] = Family(module.name, prefixes, names, libraries, makers, module)
    return families


FAMILIES = _scanned()
_BY_PREFIX = {prefix: family for family in FAMILIES.values() for prefix in family.prefixes}


def of(model: str) -> Family:
    """The family of a model's name; that of names without a prefix if no other has its prefix."""
    prefix, colon, _ = model.partition(":")
    return _BY_PREFIX.get(prefix + colon if colon else "", _BY_PREFIX[""])


def encodes(model: str) -> bool:
    """False for a model whose texts are features."""
    return of(model).encodes


def tables(model: str, data_root: Path | None) -> TextTables:
    """The texts of a model that brings them as features. data_root: of the configuration."""
    of_model: TextTables = of(model).call("tables", model, data_root)
    return of_model


def names() -> str:
    """The forms that names of models can have, of all families, for a message."""
    return "; ".join(family.names for family in FAMILIES.values())
