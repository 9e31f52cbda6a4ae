"""Read what the modules of a folder declare, without importing them.

A method or an exhibit is declared in its own module and nowhere else. Every start of the command line and of Snakemake
needs their names, labels and order; importing all of them would bring torch, pandas and matplotlib, which take seconds.
So module-level literals are read from the source, a millisecond for a file.
"""

from __future__ import annotations

import ast
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Module:
    """name: of the file. constants: its module-level literals. defines: every name it defines at module level."""

    name: str
    constants: dict[str, Any]
    defines: frozenset[str]


def modules(folder: Path) -> list[Module]:
    """The modules of a folder but ``__init__``, by name."""
    return [_read(path) for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]


def required(folder: Path, module: Module, *names: str) -> list[Any]:
    """The constants of these names. ImportError, which names the file, where one is missing or not a literal."""
    if missing := [name for name in names if name not in module.constants]:
        raise ImportError(f"{folder / module.name}.py has to declare {' and '.join(missing)}, as a literal")
    return [module.constants[name] for name in names]


def _read(path: Path) -> Module:
    constants: dict[str, Any] = {}
    defines = set()
    for node in ast.parse(path.read_text(encoding="utf-8"), path).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defines.add(node.name)
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.expr):
            defines.add(target.id)
            with suppress(ValueError, TypeError):  # computed: the module has it, the scan does not
                constants[target.id] = ast.literal_eval(value)
    return Module(path.stem, constants, frozenset(defines))
