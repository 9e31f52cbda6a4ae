"""Find the source files that a phase depends on, so that a rule can list them as inputs.

An edit then reruns exactly the phases whose result it can change. Imports for types alone (`if TYPE_CHECKING:`) do not
count; imports inside functions do.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def sources(*modules: str) -> list[str]:
    """Files of the modules ("phases.zero_shot") and of all modules of this package that they import, transitively.

    Paths are relative to the repository (src/coder_clip/…), sorted. ValueError for an unknown module.
    """
    visited: set[Path] = set()
    waiting = [_file(tuple(m.split("."))) for m in modules]
    for name, path in zip(modules, waiting, strict=True):
        if path is None:
            raise ValueError(f"no module coder_clip.{name}")
    while waiting:
        path = waiting.pop()
        if path is None or path in visited:
            continue
        visited.add(path)
        waiting.extend(_imports(path))
    return sorted(p.relative_to(PACKAGE.parent.parent).as_posix() for p in visited)


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    package = (
        PACKAGE.name,
        *path.relative_to(PACKAGE).parts[:-1],
    )  # both for a module and for a package's __init__
    names = [".".join(package)]
    for node in _nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        else:
            base = resolve_name("." * node.level + (node.module or ""), names[0])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    found = []
    for parts in (name.split(".") for name in names):
        if parts[0] == PACKAGE.name:  # with the packages around it
            found += [_file(tuple(parts[1:i])) for i in range(2, len(parts) + 1)]
    return tuple(file for file in found if file is not None)


def _nodes(tree: ast.AST) -> Iterator[ast.ImportFrom | ast.Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.expr):
            continue  # expressions hold no imports
        if isinstance(node, (ast.ImportFrom, ast.Import)):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in node.orelse:
                yield from _nodes(ast.Module([other], []))
        else:
            yield from _nodes(node)


def _file(parts: tuple[str, ...]) -> Path | None:
    module = PACKAGE.joinpath(*parts).with_suffix(".py")
    package = PACKAGE.joinpath(*parts, "__init__.py")
    return module if module.is_file() else package if package.is_file() else None
