"""The blocks of code of this program, and which of them a result depends on.

A block is the body of a function or method (``f()``, ``C.m()``), or one of a module's top-level
statements, by the name that it binds: the signature of a function (``f``), a class without its
methods (``C``), an assignment, an import. Its hash is that of the syntax tree without comments,
docstrings, layout and annotations of functions. Those of class bodies count, because pydantic and
dataclasses read them.

`closure` adds to executed bodies the statements that they use: those that bind a name which they
mention, and what such statements mention in turn. A statement runs when its module is imported,
with nobody watching, so the bodies of functions that it mentions count, too (`static`).
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from . import evidence
from .caches import user_cache

VERSION = 4  # of `parse`; part of the names in the cache
# statements that do more than give values to names: they count for whoever imports the module
OTHER = "(other statements)"
DEFINED = "?"  # after a name: whether a module defines it, and not how
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# decorators that hand a method to nobody else
PLAIN = {"property", "staticmethod", "classmethod", "cached_property", "abstractmethod", "cache"}
# classes of other programs that call no method which only a class of this program has
PASSIVE = {"object", "NamedTuple", "TypedDict", "Protocol", "Generic", "ABC", "Enum", "BaseModel"}
# fields of the syntax tree without a meaning for the program
NO_MEANING = {"ctx", "kind", "type_comment", "type_ignores"}
# what observes is not observed
OBSERVERS = {f"src/coder_clip/foundation/{name}.py" for name in ("blocks", "evidence", "tracing")}
Found = dict[str, dict[str, str]]  # path of a module below the clone -> block -> its hash


@dataclass
class Block:
    """A block. names: that it mentions; also ``name.attribute`` where a name stands before the dot.

    lines: first and last line of each of its statements. implicit: a method that is called, or
    handed on by a decorator, without its name being mentioned. decorators: names, of a function or
    class. target: of an import, the module and the name in it. computed: it reads attributes whose
    names it computes. bases: of a class.
    """

    hash: str = ""
    names: list[str] = field(default_factory=list)
    lines: list[list[int]] = field(default_factory=list)
    implicit: bool = False
    decorators: list[str] = field(default_factory=list)
    target: list[str] = field(default_factory=list)
    computed: bool = False
    bases: list[str] = field(default_factory=list)


@dataclass
class Module:
    """A parsed module. imported: modules that its top level imports, as dotted names."""

    blocks: dict[str, Block] = field(default_factory=dict)
    imported: list[str] = field(default_factory=list)

    def at(self, line: int) -> list[str]:
        """The blocks of top-level statements that hold a line."""
        return [
            key
            for key, block in self.blocks.items()
            if not key.endswith("()") and any(a <= line <= b for a, b in block.lines)
        ]


# ---- parsing -------------------------------------------------------------------------------------


def bodies(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Name and node of each function and method of a module that is a block of its own."""
    for node in tree.body:
        if isinstance(node, FUNCTIONS):
            yield f"{node.name}()", node
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, FUNCTIONS):
                    yield f"{node.name}.{member.name}()", member


def parse(source: bytes, package: str) -> Module:
    """Parse a module. package: dotted name of the package that it is in, for relative imports."""
    module = Module()
    for node in _Bare().visit(ast.parse(source)).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            _take_import(module, node, package)
        elif isinstance(node, FUNCTIONS):
            _take_function(module, node, "")
        elif isinstance(node, ast.ClassDef):
            _take_class(module, node)
        elif not _never_runs(node):
            _take_statement(module, node, package)
    return module


def _add(module: Module, key: str, nodes: list[Any], lines: Iterable[ast.stmt]) -> Block:
    """Add statements to a block; a name that several statements bind has one block of all."""
    block = module.blocks.setdefault(key, Block())
    meaning = f"{block.hash} {_meaning(nodes)}"
    block.hash = hashlib.sha256(meaning.encode(errors="surrogatepass")).hexdigest()[:32]
    block.names = sorted({*block.names, *_mentions(nodes)})
    block.lines += [[_first_line(node), node.end_lineno or node.lineno] for node in lines]
    block.computed |= any(map(_is_computed, _walk(nodes)))
    return block


def _take_function(
    module: Module, node: ast.FunctionDef | ast.AsyncFunctionDef, prefix: str
) -> None:
    """Add two blocks of a function: its signature with the decorators, and its body."""
    arguments = node.args
    # in the order of the call: names, kinds and defaults
    signature = [
        type(node).__name__,
        *([a.arg for a in part] for part in (arguments.posonlyargs, arguments.args)),
        *(part and part.arg for part in (arguments.vararg, arguments.kwarg)),
        [a.arg for a in arguments.kwonlyargs],
        arguments.defaults,
        arguments.kw_defaults,
        node.decorator_list,
    ]
    name = f"{prefix}{node.name}"
    statement = _add(module, name, signature, [node])
    statement.decorators = [_name(decorator) for decorator in node.decorator_list]
    handed_on = {name.rpartition(".")[2] for name in statement.decorators} - PLAIN
    dunder = node.name.startswith("__") and node.name.endswith("__")
    # pydantic calls model_post_init
    called = dunder or node.name.startswith("model_") or bool(handed_on)
    statement.implicit = bool(prefix) and called
    _add(module, f"{name}()", node.body, [])


def _take_class(module: Module, node: ast.ClassDef) -> None:
    """Add a block of a class without its methods, and the blocks of each method."""
    methods = [member for member in node.body if isinstance(member, FUNCTIONS)]
    rest = [member for member in node.body if member not in methods]
    header = [node.decorator_list, node.bases, node.keywords]
    statement = _add(module, node.name, [*header, *rest], [node])
    # of `Base[T]` the name Base
    for base in node.bases:
        if isinstance(base, ast.Subscript):
            base = base.value
        statement.bases.append(_name(base))
    statement.decorators = [_name(decorator) for decorator in node.decorator_list]
    for method in methods:
        _take_function(module, method, f"{node.name}.")


def _take_import(module: Module, node: ast.Import | ast.ImportFrom, package: str) -> None:
    """An import: its meaning is where the name comes from."""
    for alias in node.names:
        if isinstance(node, ast.Import):
            # `import a.b` binds a
            bound, target = alias.name.partition(".")[0], [alias.name.partition(".")[0], ""]
            if alias.asname:
                bound, target = alias.asname, [alias.name, ""]
            module.imported.append(alias.name)
        else:
            outer: list[str] = []
            if node.level:
                parts = package.split(".")
                outer = parts[: len(parts) - node.level + 1]
            origin = ".".join([*outer, *filter(None, [node.module])])
            bound, target = alias.asname or alias.name, [origin, alias.name]
            module.imported += [origin, f"{origin}.{alias.name}"]
        if bound == "annotations" and target[0] == "__future__":
            continue
        block = _add(module, bound, target, [node])
        block.target = target


def _take_statement(module: Module, node: ast.stmt, package: str) -> None:
    """Another statement, under each name that it binds; functions in it are part of it."""
    inner = list(ast.walk(node))
    bound = {n.id for n in inner if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {n.name for n in inner if isinstance(n, (*FUNCTIONS, ast.ClassDef))}
    for n in inner:
        if isinstance(n, (ast.Import, ast.ImportFrom)):
            _take_import(module, n, package)
    keys = sorted(bound)
    if not _only_binds(node):
        keys.append(OTHER)
    for key in keys:
        _add(module, key, [node], [node])


def _only_binds(node: ast.stmt) -> bool:
    """True for a statement that gives a value to names.

    Another one, such as a loop, can change an object that others use.
    """
    if not isinstance(node, ast.Assign):
        return False
    names = [n for target in node.targets for n in ast.walk(target)]
    kinds = (ast.Name, ast.Tuple, ast.List, ast.Starred, ast.expr_context)
    kept = {n.id for n in names if isinstance(n, ast.Name)} - {"_"}
    return bool(kept) and all(isinstance(n, kinds) for n in names)


def _never_runs(node: ast.stmt) -> bool:
    """True for blocks of type checkers and of scripts, and for what `_Bare` left empty."""
    if isinstance(node, ast.If):
        never = ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
        return never and not node.orelse
    return isinstance(node, ast.Pass)


class _Bare(ast.NodeTransformer):
    """Removes what changes no result.

    Texts that stand alone, and annotations outside of class bodies.
    """

    def visit_Expr(self, node: ast.Expr) -> Any:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return ast.Pass()
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        self.generic_visit(node)
        if node.value is None:
            return ast.Pass()
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        fields = {id(member) for member in node.body if isinstance(member, ast.AnnAssign)}
        node.body = [m if id(m) in fields else self.visit(m) for m in node.body]
        return node

    def visit_arg(self, node: ast.arg) -> Any:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: Any) -> Any:
        node.returns = None
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef


def _meaning(value: Any) -> str:
    """A syntax tree as text, the same in every version of Python.

    Without positions and without fields that are empty.
    """
    if isinstance(value, list):
        return f"[{','.join(_meaning(v) for v in value if not isinstance(v, ast.Pass))}]"
    if not isinstance(value, ast.AST):
        return f"{type(value).__name__} {value!r}"
    parts = [type(value).__name__]
    for name, part in ast.iter_fields(value):
        if name not in NO_MEANING and part is not None and part != []:
            parts.append(f"{name}={_meaning(part)}")
    return f"({' '.join(parts)})"


def _walk(nodes: list[Any]) -> Iterator[ast.AST]:
    """All nodes below the nodes in a list, whose entries can be lists and values, too."""
    for node in nodes:
        if isinstance(node, list):
            yield from _walk(node)
        elif isinstance(node, ast.AST):
            yield from ast.walk(node)


def _mentions(nodes: list[Any]) -> set[str]:
    """Names in a block.

    ``.attribute`` for an attribute of any object, ``name.attribute`` of a name.
    """
    found: set[str] = set()
    for node in _walk(nodes):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.update((f".{node.attr}", _name(node)))
        elif isinstance(node, ast.Call) and _name(node.func) in ("getattr", "hasattr"):
            constant = node.args[1] if len(node.args) > 1 else None
            if isinstance(constant, ast.Constant):
                attribute = str(constant.value)
                found.update((f".{attribute}", f"{_name(node.args[0])}.{attribute}"))
    return found


def _is_computed(node: ast.AST) -> bool:
    """True for a call that reads names which the program computes."""
    if not isinstance(node, ast.Call):
        return False
    if _name(node.func) in ("globals", "eval", "exec"):
        return True
    by_name = _name(node.func) in ("getattr", "hasattr") and len(node.args) > 1
    return by_name and not isinstance(node.args[1], ast.Constant)


def _name(node: ast.AST) -> str:
    """``a`` or ``a.b`` of a name, an attribute of a name, or a call of these; else ""."""
    if isinstance(node, ast.Call):
        return _name(node.func)
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


# ---- what counts ---------------------------------------------------------------------------------


class Code:
    """The code of a program as it is now, read once.

    source: the folder src. package: the only one that counts, where the folder is that of all
    installed packages; "": all packages of the folder.
    """

    def __init__(self, source: Path, package: str = "") -> None:
        self._source, self._package = source, package
        self._modules: dict[str, Module] = {}
        self._paths: dict[str, str] = {}  # dotted name -> path, "" for other programs' modules

    def module(self, path: str) -> Module:
        """The parsed module at a path below the clone (src/…); an empty one if it is not there."""
        if path not in self._modules:
            self._modules[path] = Module()
            file = self._source.parent / path
            # a path can come from another person's certificate
            own = re.fullmatch(rf"{self._source.name}(/\w+)+\.py", path)
            if own and file.is_file():
                self._modules[path] = _parsed(file.read_bytes(), path)
        return self._modules[path]

    def path(self, dotted: str) -> str:
        """Path of a module by its dotted name; "" if it is not of this program."""
        if self._package and dotted.partition(".")[0] != self._package:
            return ""
        if dotted not in self._paths:
            below = self._source.joinpath(*dotted.split("."))
            files = (below / "__init__.py", below.with_name(f"{below.name}.py"))
            file = next((file for file in files if dotted and file.is_file()), None)
            self._paths[dotted] = ""
            if file is not None:
                self._paths[dotted] = file.relative_to(self._source.parent).as_posix()
        return self._paths[dotted]

    def closure(self, roots: Iterable[tuple[str, str]], static: bool = False) -> Found:
        """The blocks that count if these do: path of a module -> block -> hash.

        roots: path and block, such as the bodies that a job executed; one that is not there has the
        hash "". ``name?`` asks only whether a module defines a name. static: nobody watched them,
        so the bodies of the functions that they mention count as well.
        """
        with evidence.unseen():
            return _Closure(self).of(roots, static)


class _Closure:
    """One computation of `Code.closure`."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._seen: set[tuple[str, str, bool]] = set()
        self._waiting: list[tuple[str, str, bool]] = []
        # attributes that are mentioned, and classes whose methods they can name; by `static`
        self._attributes: set[tuple[str, bool]] = set()
        self._classes: set[tuple[str, str, bool]] = set()

    def of(self, roots: Iterable[tuple[str, str]], static: bool) -> Found:
        found: Found = {}
        for path, key in roots:
            if path not in OBSERVERS:
                found.setdefault(path, {})[key] = self._defined(path, key)
                self._visit(path, key, static)
        self._finish()
        for path in self._imported():
            self._registering(path, static)
        self._finish()
        for path, key, _ in self._seen:
            found.setdefault(path, {})[key] = self._code.module(path).blocks[key].hash
        return {path: dict(sorted(found[path].items())) for path in sorted(found)}

    def _defined(self, path: str, key: str) -> str:
        """The hash of a root without a block: "defined" for ``name?`` if the module defines it.

        An import does not count as a definition, like in `scan`.
        """
        block = self._code.module(path).blocks.get(key.removesuffix(DEFINED))
        if key.endswith(DEFINED) and block and not block.target:
            return "defined"
        return ""

    def _registering(self, path: str, static: bool) -> None:
        """Count what acts by being imported.

        Statements that bind no name, and what a decorator of this program can hand to others.
        """
        for key, block in self._code.module(path).blocks.items():
            handed_on = any(self._is_own(path, name) for name in block.decorators)
            if key == OTHER or (handed_on and "." not in key):
                self._visit(path, key, True)
                if static:
                    self._visit(path, f"{key}()", True)

    def _visit(self, path: str, key: str, static: bool) -> None:
        """Count a block, if there is one."""
        if path in OBSERVERS or key not in self._code.module(path).blocks:
            return
        if not {(path, key, static), (path, key, True)} & self._seen:
            self._seen.add((path, key, static))
            self._waiting.append((path, key, static))

    def _name(self, path: str, name: str, static: bool) -> None:
        """Count a statement; if nobody watched, the body of its function, too."""
        self._visit(path, name, static)
        if static:
            self._visit(path, f"{name}()", True)

    def _finish(self) -> None:
        """Follow what the waiting blocks mention, until no block waits."""
        while self._waiting:
            path, key, static = self._waiting.pop()
            module = self._code.module(path)
            block, statement = module.blocks[key], key.removesuffix("()")
            self._visit(path, statement, False)
            outer = statement.partition(".")[0]
            if outer in module.blocks:
                self._visit(path, outer, False)
                self._class(path, outer, static)
            if block.target:
                self._name(self._code.path(block.target[0]), block.target[1], static)
            # a statement runs when its module is imported
            unwatched = static or key == statement
            for name in block.names:
                self._mention(path, name, unwatched)
            if block.computed and (unwatched or "globals" in block.names):
                self._whole(path)

    def _mention(self, path: str, name: str, static: bool) -> None:
        """Count what a name, ``.attribute`` or ``name.attribute`` in a module can mean."""
        first, dot, attribute = name.rpartition(".")
        if not dot:
            self._name(path, name, static)
        elif first:
            # of a module that is imported by this name
            block = self._code.module(path).blocks.get(first)
            if block and block.target:
                imported = self._code.path(".".join(filter(None, block.target)))
                self._name(imported, attribute, static)
        elif (attribute, static) not in self._attributes:
            self._attributes.add((attribute, static))
            for of, cls, unwatched in list(self._classes):
                self._name(of, f"{cls}.{attribute}", static and unwatched)

    def _class(self, path: str, cls: str, static: bool) -> None:
        """Count a class's methods that are called without being named, or are mentioned."""
        if (path, cls, static) in self._classes:
            return
        self._classes.add((path, cls, static))
        handed_on = self._is_handed_on(path, cls)
        for key, block in self._code.module(path).blocks.items():
            if not key.startswith(f"{cls}.") or key.endswith("()"):
                continue
            if block.implicit or handed_on:
                self._name(path, key, static)
            for unwatched in (False, True):
                if (key.removeprefix(f"{cls}."), unwatched) in self._attributes:
                    self._name(path, key, static and unwatched)

    def _is_handed_on(self, path: str, cls: str, depth: int = 0) -> bool:
        """True if a class has a base of another program, which can call each of its methods."""
        blocks = self._code.module(path).blocks
        if cls not in blocks:
            return False
        for base in blocks[cls].bases:
            place, name = self._place(path, base)
            if place and depth < 20:
                if self._is_handed_on(place, name, depth + 1):
                    return True
            elif name.rpartition(".")[2] not in PASSIVE and not name.endswith(
                ("Error", "Exception")
            ):
                return True
        return False

    def _place(self, path: str, base: str) -> tuple[str, str]:
        """The module of this program that defines a base, or "", and the base's name there."""
        blocks = self._code.module(path).blocks
        first, _, rest = base.partition(".")
        if first in blocks and blocks[first].target:
            target = blocks[first].target
            if rest:  # of `from . import module`
                return self._code.path(".".join(filter(None, target))), rest
            return self._code.path(target[0]), target[1]  # of `from .module import Base`
        if base in blocks:
            return path, base
        return "", base

    def _is_own(self, path: str, decorator: str) -> bool:
        """True for a decorator of this program at the top level of a module."""
        block = self._code.module(path).blocks.get(decorator.partition(".")[0])
        if block is None:
            return False
        return not block.target or bool(self._code.path(block.target[0]))

    def _whole(self, path: str) -> None:
        """Count a module whole, and all that it imports."""
        imported = map(self._code.path, self._code.module(path).imported)
        for other in (path, *imported):
            for key in self._code.module(other).blocks:
                self._visit(other, key, True)

    def _imported(self) -> set[str]:
        """All modules that the counting ones import, directly and in turn."""
        waiting = list({path for path, _, _ in self._seen})
        found = set(waiting)
        for path in waiting:  # the list grows in the loop
            for dotted in self._code.module(path).imported:
                parts = dotted.split(".")
                # an import of a.b.c also imports a and a.b
                for n in range(len(parts)):
                    other = self._code.path(".".join(parts[: n + 1]))
                    if other and other not in found:
                        found.add(other)
                        waiting.append(other)
        return found


# ---- parsed modules, kept ------------------------------------------------------------------------


@cache
def _cache_folder() -> Path:
    return user_cache() / "coder-clip" / f"blocks-{VERSION}"


def _parsed(source: bytes, path: str) -> Module:
    """`parse`, kept in the user's cache by content, because parsing all modules takes a second."""
    name = hashlib.sha256(path.encode() + b"\0" + source).hexdigest()
    file = _cache_folder() / f"{name}.json"
    try:
        kept = json.loads(file.read_bytes())
        blocks = {key: Block(**block) for key, block in kept["blocks"].items()}
        return Module(blocks, kept["imported"])
    except (OSError, ValueError, TypeError, KeyError):
        pass
    dotted = Path(path).with_suffix("").parts[1:]  # without src
    try:
        module = parse(source, ".".join(dotted[:-1]))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # half-written by an editor, or another person's riddle: no block of it is as it was
        return Module()
    document = {
        "blocks": {key: vars(block) for key, block in module.blocks.items()},
        "imported": module.imported,
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(document), encoding="utf-8")
        part.replace(file)
    except OSError:
        pass  # a cache folder that cannot be written: parsed again next time
    return module
