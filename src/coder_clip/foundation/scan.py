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
    """A module's declarations: its name, its module-level literals, and all names that it defines
    at module level.
    """

    name: str
    constants: dict[str, Any]
    defines: frozenset[str]


def modules(folder: Path) -> list[Module]:
    """The modules of a folder except ``__init__``, by name."""
    return [_read(path) for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]


def required(folder: Path, module: Module, *names: str) -> list[Any]:
    """The constants with these names. ImportError, which names the file, if one is missing or not a
    literal.
    """
    missing = [name for name in names if name not in module.constants]
    if missing:
        raise ImportError(
            f"{folder / module.name}.py has to declare {' and '.join(missing)}, as a literal"
        )
    return [module.constants[name] for name in names]


def _read(path: Path) -> Module:
    """Parse a source file into its declarations, without importing it."""
    constants: dict[str, Any] = {}
    defines = set()
    for node in ast.parse(path.read_text(encoding="utf-8"), path).body:
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
    return Module(path.stem, constants, frozenset(defines))
