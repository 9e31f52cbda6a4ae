"""Find the source files that a phase depends on, so that a rule can list them as inputs.

An edit then reruns exactly the phases whose result it can change. Imports for types alone (`if TYPE_CHECKING:`) do not
count; imports inside functions do.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
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
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    package = parts[:-1]  # both for a module and for a package's __init__
    wanted: list[Path | None] = [_file((*package[:i], "__init__")) for i in range(1, len(package) + 1)]
    for node in _nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first, *rest = alias.name.split(".")
                if first == "coder_clip":
                    wanted.extend(_file((*rest[:i], "__init__")) for i in range(1, len(rest)))
                    wanted.append(_file(tuple(rest)) if rest else None)
            continue
        if node.level == 0:
            names = (node.module or "").split(".")
            if names[0] != "coder_clip":
                continue
            base = tuple(names[1:])
        else:
            base = package[: len(package) - node.level + 1] + tuple(
                (node.module or "").split(".") if node.module else ()
            )
        wanted.append(_file(base) if base else None)
        wanted.extend(_file((*base, alias.name)) for alias in node.names)
    return tuple(p for p in wanted if p is not None)


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
