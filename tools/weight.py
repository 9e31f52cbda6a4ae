"""Syntax nodes of the code by room: ``make weight``, and a part of ``make check``.

Nodes and not lines, because dense lines gain nothing. The limits are in pyproject.toml; exit
status 1 if the code or the tests are above theirs.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

# contexts and operators, which every expression has; they say nothing about its size
LEAVES = (ast.expr_context, ast.operator, ast.cmpop, ast.boolop, ast.unaryop)


def main() -> int:
    """Print the nodes of each room and both sums; 1 if a sum is above its limit."""
    limits = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["weight"]
    listed = subprocess.run(["git", "ls-files", "*.py"], capture_output=True, text=True, check=True)
    rooms: Counter[str] = Counter()
    for name in listed.stdout.splitlines():
        if Path(name).is_file():
            rooms[room(Path(name))] += nodes(Path(name).read_text(encoding="utf-8"))
    for name, count in rooms.most_common():
        print(f"{count:8,d}  {name}")
    sums = {"code": rooms.total() - rooms["tests"], "tests": rooms["tests"]}
    for name, count in sums.items():
        print(f"{count:8,d}  all {name}, at most {limits[name]:,d}")
    heavy = [name for name, count in sums.items() if count > limits[name]]
    if heavy:
        print(
            f"more {' and '.join(heavy)} than [tool.weight] of pyproject.toml allows: take away as "
            "much elsewhere, or raise the limit in a commit of its own that says why",
            file=sys.stderr,
        )
    return len(heavy)


def room(path: Path) -> str:
    """A package of coder_clip, its modules at the top, another distribution, a folder, or tests."""
    parts = path.parts
    if "tests" in parts:
        return "tests"
    if parts[0] == "src":
        return "/".join(parts[1:3]) if len(parts) > 3 else "coder_clip (the paper's modules)"
    return parts[1] if parts[0] == "packages" else parts[0]


def nodes(source: str) -> int:
    """The number of syntax nodes of a module."""
    return sum(not isinstance(node, LEAVES) for node in ast.walk(ast.parse(source)))


if __name__ == "__main__":
    sys.exit(main())
