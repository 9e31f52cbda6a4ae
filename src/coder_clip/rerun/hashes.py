"""Hashes of files, of names in folders and of code, kept until a file changes."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

STATE = Path(".snakemake/rerun")  # beside Snakemake's own state: of this machine, ignored by Git
SUMS = STATE / "sums.json"
# what reads docstrings; in a job with such code docstrings count
DOCSTRINGS = {"__doc__", "getdoc", "get_docstring"}
# fields of the syntax tree that say nothing about what the program does
NO_MEANING = {"ctx", "kind", "type_comment", "type_ignores"}
T = TypeVar("T")


class Hashes:
    """Hashes of the files of a working tree. Those of unchanged files are kept in STATE."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Any]] = {}  # path -> its stamp, and hash by kind
        self._changed = False
        with suppress(OSError, ValueError, AttributeError):  # a damaged file is the same as none
            self._known = dict(json.loads(SUMS.read_text(encoding="utf-8")))

    def file(self, path: str) -> str:
        """sha256 of a file; of the sorted names in a folder, if the path ends with "/".

        "" if it is not there.
        """
        if path.endswith("/"):
            return names(path)
        if not os.path.isfile(path):
            return ""
        return self.sums(path)["sha256"]

    def sums(self, path: str) -> dict[str, str]:
        """md5 (which DVC compares) and sha256 of a file. OSError if it is not there."""
        return self._of("sums", path, _sums)

    def md5(self, path: str) -> str:
        """md5 of a file. OSError if it is not there."""
        return self.sums(path)["md5"]

    def code(self, path: str) -> dict[str, Any]:
        """`of_code` of a Python file. OSError if it is not there, SyntaxError if it is no code."""
        return self._of("code with packages", path, lambda place: of_code(Path(place).read_bytes()))

    def save(self) -> None:
        """Keep new hashes for the next process."""
        if not self._changed:
            return
        here = {path: known for path, known in self._known.items() if os.path.exists(path)}
        write(SUMS, json.dumps(here))
        self._changed = False

    def _of(self, kind: str, path: str, compute: Callable[[str], T]) -> T:
        """What is known of a file, computed only if the file is new or changed."""
        now = stamp(path)
        known = self._known.get(path)
        if not isinstance(known, dict) or known.get("stamp") != now:
            known = self._known[path] = {"stamp": now}
        if kind not in known:
            known[kind] = compute(path)
            self._changed = True
        value: T = known[kind]
        return value


def stamp(path: str) -> list[int]:
    """Times, size and inode of a file, one of which changes with every write and every move.

    Tools can restore the mtime of a changed file, but not its ctime.
    """
    s = os.stat(path)
    return [s.st_mtime_ns, s.st_size, s.st_ino, s.st_ctime_ns]


def names(folder: str) -> str:
    """sha256 of the names in a folder, without hidden ones; "" if the folder is not there."""
    if not os.path.isdir(folder):
        return ""
    found = sorted(name for name in os.listdir(folder) if not name.startswith((".", "__pycache__")))
    return hashlib.sha256("\n".join(found).encode(errors="surrogateescape")).hexdigest()


def of_code(source: bytes) -> dict[str, Any]:
    """Hashes of a Python source: ``code`` without docstrings and ``all`` with them.

    Comments and layout do not count. ``docstrings``: True if the code reads docstrings.
    ``packages``: that it imports. The same in every version of Python.
    """
    tree = ast.parse(source)
    reads = any(_names(node) & DOCSTRINGS for node in ast.walk(tree))
    whole = _sha(_meaning(tree))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            node.body = body[1:]  # type: ignore[attr-defined]
    packages = sorted({name for node in ast.walk(tree) for name in _packages(node)})
    return {"code": _sha(_meaning(tree)), "all": whole, "docstrings": reads, "packages": packages}


def _packages(node: ast.AST) -> list[str]:
    """The packages that a statement imports; none of the program's own by relative imports."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level and node.module:
        return [node.module.partition(".")[0]]
    return []


def _names(node: ast.AST) -> set[str]:
    """What a node mentions: a name, an attribute, a string, the names of an import."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Attribute):
        return {node.attr}
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    if isinstance(node, ast.alias):
        return {node.name}
    return set()


def _is_text(node: ast.stmt) -> bool:
    """True for a docstring."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return False
    return isinstance(node.value.value, str)


def _meaning(value: Any) -> str:
    """A syntax tree as text, without positions and empty fields."""
    if isinstance(value, list):
        return f"[{','.join(map(_meaning, value))}]"
    if not isinstance(value, ast.AST):
        return f"{type(value).__name__} {value!r}"
    parts = [type(value).__name__]
    for name, part in ast.iter_fields(value):
        if name not in NO_MEANING and part is not None and part != []:
            parts.append(f"{name}={_meaning(part)}")
    return f"({' '.join(parts)})"


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def _sums(path: str) -> dict[str, str]:
    """Both hashes of a file, in one reading."""
    md5, sha = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            md5.update(block)
            sha.update(block)
    return {"md5": md5.hexdigest(), "sha256": sha.hexdigest()}


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all: under a temporary name, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with open(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
