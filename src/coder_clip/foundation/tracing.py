"""Notes which blocks of this program's code a process executes (foundation/blocks.py).

Modules are compiled from their sources, never from bytecode, which can be that of another source of
the same size and time. Each body of a function begins with a line that notes its first execution,
which costs some nanoseconds a call. Also noted are attributes of modules that are read, because a
program can compute their names.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from . import evidence
from .blocks import bodies
from .evidence import FLAGS

NOTE = "__note_executed__"  # name in each module, for the line that is added to each body
_flags: list[list[bool]] = []  # of all modules: whether a body has been noted
_read: list[set[str]] = []  # of all modules: attributes that have been noted
_cached: list[list[Any]] = []  # what `_cached_functions` found, once


def install(package: Path) -> None:
    """Trace every module of a package in src/ that is imported from now on."""

    def finder(path: str) -> FileFinder:
        if Path(path) != package.parent and not Path(path).is_relative_to(package):
            raise ImportError(path)  # Python asks the next finder then
        return FileFinder(path, (_loader(package.parents[1]), SOURCE_SUFFIXES))

    # finders made before this hook would still read bytecode, so they are forgotten
    sys.path_hooks.insert(0, finder)
    sys.path_importer_cache.clear()


def start() -> None:
    """Forget what was executed so far, and all that functions keep: the work begins."""
    for flags in _flags:
        flags[:] = [False] * len(flags)
    for names in _read:
        names.clear()
    forget_caches()


def forget_caches() -> None:
    """Clear all caches of functions, so that what they execute and read again is noted."""
    for function in _cached_functions():
        function.cache_clear()


@contextmanager
def quiet() -> Iterator[None]:
    """`evidence.quiet`, which leaves nothing in caches of functions.

    Code that counts could find it there.
    """
    before = {id(function): function.cache_info().misses for function in _cached_functions()}
    try:
        with evidence.quiet():
            yield
    finally:
        for function in _cached_functions():
            if function.cache_info().misses != before.get(id(function), 0):
                function.cache_clear()


def _cached_functions() -> list[Any]:
    """The functions with a cache, of all traced modules; looked for again after an import."""
    if not _cached:
        # By exact type: an object of another library may fail if it is asked for its attributes.
        cached_function = type(lru_cache(forget_caches))
        with evidence.quiet():  # a look at a module's names is noted
            namespaces = [
                vars(module) for module in list(sys.modules.values()) if module is not None
            ]
        values = [v for n in namespaces if FLAGS in n for v in list(n.values())]
        _cached.append([value for value in values if type(value) is cached_function])
    return _cached[0]


class _Loader(SourceFileLoader):
    """Compiles a module from its source, with a line in each body."""

    root: Path  # of the clone
    _keys: list[str]  # of the bodies, by the index in their lines

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _module_class(self._place())(spec.name)

    def get_code(self, fullname: str) -> CodeType:
        """Compile the source with a line in each body that notes its first execution."""
        source = self.get_data(self.path)
        evidence.compiled(self._place(), hashlib.sha256(source).hexdigest())
        tree = ast.parse(source, self.path)
        self._keys = []
        for key, node in bodies(tree):
            node.body.insert(_after_docstring(node), _line(len(self._keys), node.body[0]))
            self._keys.append(key)
        return compile(tree, self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, without notes of what runs meanwhile."""
        # what runs while a module is imported counts if a statement that counts mentions it
        with quiet():
            code = self.get_code(module.__name__)
            flags = [False] * len(self._keys)
            _flags.append(flags)
            note = partial(_note, self._place(), self._keys, flags)
            vars(module).update({FLAGS: flags, NOTE: note})
            exec(code, vars(module))
            _cached.clear()

    def _place(self) -> str:
        """Path of the module below the clone."""
        return Path(self.path).relative_to(self.root).as_posix()


def _loader(clone: Path) -> type[_Loader]:
    """The loader for modules of a clone."""
    return type("_Loader", (_Loader,), {"root": clone})


def _note(place: str, keys: list[str], flags: list[bool], index: int) -> None:
    """Note that a body is executed. Called for each execution until it is noted."""
    if evidence.noting():
        flags[index] = True
        evidence.note("block", place, keys[index])


def _line(index: int, before: ast.stmt) -> ast.stmt:
    """``if not FLAGS[index]: NOTE(index)``."""
    line = ast.parse(f"if not {FLAGS}[{index}]: {NOTE}({index})").body[0]
    for node in ast.walk(line):
        if isinstance(node, (ast.stmt, ast.expr)):
            ast.copy_location(node, before)
    return line


def _after_docstring(node: Any) -> int:
    return int(ast.get_docstring(node, clean=False) is not None)


def _module_class(place: str) -> type[ModuleType]:
    """A class of modules that notes the attributes that are read, except by imports."""
    seen: set[str] = set()
    _read.append(seen)

    class Noted(ModuleType):
        def __getattribute__(self, name: str) -> Any:
            if name not in seen and evidence.noting():
                seen.add(name)
                if name == "__dict__" or not name.startswith("__"):
                    evidence.note("attribute", place, name, "", 0)
            return super().__getattribute__(name)

    return Noted
