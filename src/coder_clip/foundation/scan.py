"""Read the declarations of a folder's modules without importing them.

A method or an exhibit is declared in its own module and nowhere else. Every start of the command
line and of Snakemake needs their names, labels and order; importing them would import torch, pandas
and matplotlib, which takes seconds. So module-level literals are read from the source, in about a
millisecond per file."""

from __future__ import annotations

import ast
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Module:
    """A module's declarations.

    Its name, its module-level literals, and all names that it defines at module level.
    """

    name: str
    path: Path
    _constants: dict[str, Any]
    _defines: frozenset[str]

    def defines(self, name: str) -> bool:
        """True if the module defines the name."""
        return name in self._defines

    def get(self, name: str, default: Any = None) -> Any:
        """The literal with a name; ``default`` if there is none."""
        return self._constants.get(name, default)

    def required(self, *names: str) -> list[Any]:
        """The literals with these names.

        ImportError, which names the file, if one is missing or not a literal.
        """
        missing = [name for name in names if self.get(name) is None]
        if missing:
            raise ImportError(f"{self.path} has to declare {' and '.join(missing)}, as a literal")
        return [self.get(name) for name in names]


def modules(folder: Path) -> list[Module]:
    """The modules of a folder except ``__init__``, by name."""
    return [module(path) for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]


def module(path: Path) -> Module:
    """The declarations in a source file."""
    constants: dict[str, Any] = {}
    defines = set()
    tree = ast.parse(path.read_bytes(), path)
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defines.add(node.name)
            continue
        # a plain assignment has a list of targets (a = b = 1), an annotated one a single target
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.expr):
            defines.add(target.id)
            # a computed value is no literal; only importing the module gives it
            with suppress(ValueError, TypeError):
                constants[target.id] = ast.literal_eval(value)
    return Module(path.stem, path, constants, frozenset(defines))
