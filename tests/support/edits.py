"""Random edits of the program, made from its syntax tree: those that can change a result, and those
that have no meaning.

An edit replaces a piece of the source, so that all other lines stay as they are. The same seed gives
the same edit of the same source.
"""

from __future__ import annotations

import ast
import builtins
import difflib
import importlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# a statement of these kinds can be left out
REMOVABLE = (ast.Expr, ast.Assign, ast.AugAssign, ast.If, ast.Return, ast.For, ast.Raise)
SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.MatMult: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
OVERRIDES = (
    "def __eq__(self, other): return self is other",
    "def __bool__(self): return False",
    "def __repr__(self): return 'edited'",
    "def __str__(self): return 'edited'",
    "def __len__(self): return 1",
    "def __iter__(self): return iter(())",
    "def __contains__(self, item): return False",
    "def __setattr__(self, name, value): object.__setattr__(self, name, value)",
    "def __init_subclass__(cls, **options): cls.edited = True",
    "def __post_init__(self): pass",
    "def __hash__(self): return 0",
)
# that act on the libraries of the whole process
REGISTERING = (
    "import math as _math; _math.sqrt = lambda x: x**0.5 * (1 + 1e-9)",
    "import numpy as _numpy; _numpy.argsort = _numpy.argmax",
    "import torch as _torch; _torch.set_default_dtype(_torch.float64)",
    "import torch as _torch; _torch.Tensor.mean = _torch.Tensor.sum",
    "import json as _json; _json.dumps = lambda *a, **k: 'edited'",
    "import pandas as _pandas; _pandas.options.display.precision = 2",
    "import random as _random; _random.seed(3)",
)


@dataclass(frozen=True)
class Edit:
    """An edit of a file. path: below the clone. means: False if it must not change anything."""

    path: str
    kind: str
    before: str
    after: str
    means: bool

    @property
    def diff(self) -> str:
        """The edit as people read it."""
        old, new = self.before.splitlines(), self.after.splitlines()
        lines = list(difflib.unified_diff(old, new, self.path, self.kind, lineterm="", n=1))
        return "\n".join(lines)

    def apply(self, clone: Path) -> None:
        """Write the file. Its time is another one, so that no compiled module fits."""
        assert (clone / self.path).read_text(encoding="utf-8") == self.before
        (clone / self.path).write_text(self.after, encoding="utf-8")


class Source:
    """A module, its tree and the places in it. executed: first lines of the functions that count
    as places; None for all.
    """

    def __init__(self, path: str, text: str, executed: set[int] | None = None) -> None:
        self.path, self.text, self.executed = path, text, executed
        self.data = text.encode()
        self.tree = ast.parse(text)
        lines = self.data.splitlines(keepends=True)
        self._starts = [0]
        for line in lines:
            self._starts.append(self._starts[-1] + len(line))

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes that run: no annotations, no docstrings, no parts of f-strings (whose places
        Python 3.11 does not know), no blocks for type checkers.
        """
        return list(self._nodes(self.tree, True))

    def _nodes(self, node: ast.AST, here: bool) -> Iterator[ast.AST]:
        if isinstance(node, FUNCTIONS) and self.executed is not None:
            here = first_line(node) in self.executed
        if here:
            yield node
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not _is_silent(child):
                    yield from self._nodes(child, here)

    def of(self, *kinds: type[Any]) -> list[Any]:
        return [node for node in self.nodes if isinstance(node, kinds)]

    def replaced(self, node: Any, text: str) -> str:
        """The source with other text in the place of a node."""
        begin = self._starts[node.lineno - 1] + node.col_offset
        end = self._starts[node.end_lineno - 1] + node.end_col_offset
        return (self.data[:begin] + text.encode() + self.data[end:]).decode()

    def inserted(self, line: int, text: str) -> str:
        """The source with a line before a line."""
        place = self._starts[line - 1]
        return (self.data[:place] + f"{text}\n".encode() + self.data[place:]).decode()

    @property
    def first(self) -> int:
        """Line of the first statement after the imports, or of the end."""
        body = [node for node in self.tree.body if not _is_text(node)]
        after = [node for node in body if not isinstance(node, (ast.Import, ast.ImportFrom))]
        return first_line(after[0]) if after else len(self._starts)

    @property
    def last(self) -> int:
        return len(self._starts)

    def imported(self) -> list[str]:
        """Names that imports at the top level bind."""
        nodes = [n for n in self.tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
        names = [a.asname or a.name.partition(".")[0] for node in nodes for a in node.names]
        return sorted(set(names) - {"annotations", "TYPE_CHECKING"})

    def used(self) -> set[str]:
        return {n.id for n in self.of(ast.Name) if isinstance(n.ctx, ast.Load)}


Maker = Callable[[Source, random.Random], str | None]


def first_line(node: Any) -> int:
    """The line on which a statement begins, with its decorators."""
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])


def _is_text(node: ast.AST) -> bool:
    alone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return alone and isinstance(node.value.value, str)


def _is_silent(node: ast.AST) -> bool:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return True
    return _is_text(node) or isinstance(node, ast.JoinedStr)


def _choose(r: random.Random, found: list[Any]) -> Any:
    return r.choice(found) if found else None


# ---- edits that can change a result --------------------------------------------------------------


def _other(value: Any) -> str:
    """Another constant of the same type."""
    if isinstance(value, bool):
        return repr(not value)
    if isinstance(value, (int, float)):
        return repr(value + 1)
    if isinstance(value, str):
        return repr(f"{value}x")
    return "0"


def constant(source: Source, r: random.Random) -> str | None:
    kinds = (bool, int, float, str, type(None))
    # descriptions of keys and messages of errors are in no result
    silent = [k for k in source.of(ast.keyword) if k.arg == "description"]
    texts = {id(n) for node in (*silent, *source.of(ast.Raise)) for n in ast.walk(node)}
    found = [n for n in source.of(ast.Constant) if isinstance(n.value, kinds)]
    node = _choose(r, [n for n in found if id(n) not in texts])
    return node and source.replaced(node, _other(node.value))


def comparison(source: Source, r: random.Random) -> str | None:
    return _swap(source, r, source.of(ast.Compare))


def operator(source: Source, r: random.Random) -> str | None:
    return _swap(source, r, source.of(ast.BinOp, ast.BoolOp))


def _swap(source: Source, r: random.Random, found: list[Any]) -> str | None:
    def first(node: Any) -> Any:
        return node.ops[0] if isinstance(node, ast.Compare) else node.op

    node = _choose(r, [n for n in found if type(first(n)) in SWAPPED and not _has_f_string(n)])
    if node is None:
        return None
    other = ast.parse(ast.unparse(node), mode="eval").body
    if isinstance(other, ast.Compare):
        other.ops[0] = SWAPPED[type(other.ops[0])]()  # type: ignore[assignment]
    else:
        other.op = SWAPPED[type(other.op)]()  # type: ignore[attr-defined]
    return source.replaced(node, f"({ast.unparse(other)})")


def _has_f_string(node: ast.AST) -> bool:
    return any(isinstance(n, ast.JoinedStr) for n in ast.walk(node))


def removed(source: Source, r: random.Random) -> str | None:
    node = _choose(r, [n for n in source.of(*REMOVABLE) if n is not source.tree.body[0]])
    return node and source.replaced(node, "pass")


def arguments(source: Source, r: random.Random) -> str | None:
    calls = [n for n in source.of(ast.Call) if len(n.args) > 1]
    calls = [n for n in calls if not any(isinstance(a, ast.Starred) for a in n.args)]
    node = _choose(r, [n for n in calls if ast.dump(n.args[0]) != ast.dump(n.args[1])])
    if node is None:
        return None
    other = ast.parse(ast.unparse(node), mode="eval").body
    assert isinstance(other, ast.Call)
    other.args[:2] = other.args[1::-1]
    return source.replaced(node, ast.unparse(other))


def default(source: Source, r: random.Random) -> str | None:
    functions = source.of(*FUNCTIONS)
    values = [v for f in functions for v in (*f.args.defaults, *f.args.kw_defaults)]
    node = _choose(r, [v for v in values if isinstance(v, ast.Constant)])
    return node and source.replaced(node, _other(node.value))


def decorator(source: Source, r: random.Random) -> str | None:
    """Another argument of a decorator, or the decorator `property` and the like left out."""
    found = [d for f in source.of(*FUNCTIONS, ast.ClassDef) for d in f.decorator_list]
    node = _choose(r, found)
    if node is None:
        return None
    constants = [n for n in ast.walk(node) if isinstance(n, ast.Constant)]
    if constants:
        value = r.choice(constants)
        return source.replaced(value, _other(value.value))
    return source.replaced(node, "(lambda decorated: decorated)")


def shadow(source: Source, r: random.Random) -> str | None:
    """A new top-level name that shadows a builtin or an import."""
    names = sorted(set(dir(builtins)) & source.used()) + source.imported()
    name = _choose(r, [n for n in names if not n.endswith(("Error", "Warning"))])
    if name is None:
        return None
    changes = {
        "sorted": "def sorted(items, **options): return list(items)",
        "round": "def round(x, *digits): return x",
        "min": "from builtins import max as min",
        "max": "from builtins import min as max",
        "len": "def len(items): return items.__len__() + 1",
        "sum": "def sum(items, start=0): return start",
        "str": "class str(str): pass",
        "zip": "def zip(*items, strict=False): return iter([*__builtins__['zip'](*items)][::-1])",
    }
    return source.inserted(source.first, changes.get(name, f"{name} = None"))


def override(source: Source, r: random.Random) -> str | None:
    """A new method, which can override one of a base class."""
    node = _choose(r, source.of(ast.ClassDef))
    if node is None:
        return None
    classes = {n.name: n for n in ast.walk(source.tree) if isinstance(n, ast.ClassDef)}
    bases = [classes[b.id] for b in node.bases if isinstance(b, ast.Name) and b.id in classes]
    own = {m.name for m in node.body if isinstance(m, FUNCTIONS)}
    of_bases = [m.name for b in bases for m in b.body if isinstance(m, FUNCTIONS)]
    of_bases += [m for b in node.bases for m in _methods_of_library(source, ast.unparse(b))]
    methods = [f"def {m}(self, *a, **k): return None" for m in of_bases if m not in own]
    text = r.choice([*methods] * 4 + [*OVERRIDES])
    last = node.body[-1]
    assert last.end_lineno
    return source.inserted(last.end_lineno + 1, f"{' ' * last.col_offset}{text}")


def _methods_of_library(source: Source, base: str) -> list[str]:
    """Methods of a base class that another program has."""
    first, _, rest = base.partition("[")[0].partition(".")
    for node in source.tree.body:
        names = node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        if not any((a.asname or a.name) == first for a in names):
            continue
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            base_class = getattr(importlib.import_module(node.module), first, None)
        elif isinstance(node, ast.Import):
            base_class = getattr(importlib.import_module(first), rest, None)
        else:
            return []
        found = vars(base_class).items() if isinstance(base_class, type) else ()
        return [name for name, value in found if callable(value) and name[0] != "_"]
    return []


def register(source: Source, r: random.Random) -> str | None:
    """A statement at the top level that changes an object which others use."""
    tables = [
        (name.id, type(node.value))
        for node in source.tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
        for name in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(name, ast.Name)
    ]
    found = [f"{n}.pop(next(iter({n})), None)" for n, kind in tables if kind is ast.Dict]
    found += [f"_ = {n}.pop(next(iter({n})), None)" for n, kind in tables if kind is ast.Dict]
    found += [
        f"for _name in list({n})[:1]: del {n}[_name]" for n, kind in tables if kind is ast.Dict
    ]
    found += [f"{n}.append({n}[0])" for n, kind in tables if kind is ast.List]
    found += [f"{n}.pop()" for n, kind in tables if kind is ast.Set]
    functions = [n.name for n in source.tree.body if isinstance(n, ast.FunctionDef)]
    found += [f"globals()['{n}'] = lambda *a, **k: None" for n in functions[:1]]
    for node in source.tree.body:
        if isinstance(node, ast.ImportFrom) and node.level:
            for alias in node.names:
                name = alias.asname or alias.name
                if name.islower():  # of a function: its defaults; of a module: a name of it
                    found.append(f"{name}.__defaults__ = (2,)")
                elif not name.isupper():
                    found.append(f"{name}.__init__ = lambda self, *a, **k: None")
                else:
                    found.append(f"for _name in list({name})[:1]: {name}.pop(_name)")
                    found.append(f"{name}.clear() if hasattr({name}, 'clear') else None")
    text = r.choice([*found, r.choice(REGISTERING)])
    return source.inserted(r.choice([source.first, source.last]), text)


def imports(source: Source, r: random.Random) -> str | None:
    """The same name for something else of the same module."""
    nodes = [n for n in source.of(ast.ImportFrom) if n.module != "__future__" and n.module]
    node = _choose(r, nodes)
    if node is None:
        return None
    alias = r.choice(node.names)
    if node.level:
        parts = Path(source.path).with_suffix("").parts[: -node.level]
        file = Path(*parts, *node.module.split("."))
        files = [f for f in (file.with_suffix(".py"), file / "__init__.py") if f.is_file()]
        body = ast.parse(files[0].read_text(encoding="utf-8")).body if files else []
        names = [n.name for n in body if isinstance(n, (*FUNCTIONS, ast.ClassDef))]
    else:
        names = [n for n in dir(importlib.import_module(node.module)) if n[0].islower()]
    other = _choose(r, sorted({*names} - {alias.name}))
    if other is None:
        return None
    new = ast.parse(ast.unparse(node)).body[0]
    assert isinstance(new, ast.ImportFrom)
    found = next(a for a in new.names if a.name == alias.name)
    found.name, found.asname = other, alias.asname or alias.name
    return source.replaced(node, ast.unparse(new))


def added(source: Source, r: random.Random) -> str | None:
    """A statement in a function that changes an argument, or what the function gives."""
    found = [f for f in source.of(*FUNCTIONS) if f.args.args or f.args.kwonlyargs]
    node = _choose(r, [f for f in found if f.body[0].lineno > f.lineno])
    if node is None:
        return None
    at = node.body[1] if _is_text(node.body[0]) and len(node.body) > 1 else node.body[0]
    if _is_text(at):
        return None
    names = [
        a.arg for a in (*node.args.args, *node.args.kwonlyargs) if a.arg not in ("self", "cls")
    ]
    lines = [f"{n} = {n}[:1] if isinstance({n}, (list, tuple, str)) else {n}" for n in names]
    lines += [f"{n} = {n} + 1 if isinstance({n}, (int, float)) else {n}" for n in names]
    text = r.choice([*lines, "return None"])
    return source.inserted(first_line(at), f"{' ' * at.col_offset}{text}")


# ---- edits without a meaning ---------------------------------------------------------------------


def remark(source: Source, r: random.Random) -> str | None:
    node = _choose(r, [n for n in source.nodes if isinstance(n, ast.stmt)])
    return node and source.inserted(first_line(node), f"{' ' * node.col_offset}# a remark: x = 1")


def blank_lines(source: Source, r: random.Random) -> str | None:
    node = _choose(r, [n for n in source.nodes if isinstance(n, ast.stmt)])
    return node and source.inserted(first_line(node), "\n\n")


def docstring(source: Source, r: random.Random) -> str | None:
    found = [source.tree, *source.of(ast.ClassDef, *FUNCTIONS)]
    texts = [n.body[0] for n in found if n.body and _is_text(n.body[0])]
    # one that something reads, by its name, has a meaning
    node = _choose(r, texts)
    return node and source.replaced(node, '"""Another text."""')


def annotation(source: Source, r: random.Random) -> str | None:
    functions = source.of(*FUNCTIONS)
    found = [f.returns for f in functions if f.returns]
    found += [a.annotation for f in functions for a in f.args.args if a.annotation]
    node = _choose(r, found)
    return node and source.replaced(node, "Another | None")


def new_function(source: Source, r: random.Random) -> str | None:
    return source.inserted(source.last, "\n\ndef nobody_calls_this(x=1, *rest):\n    return x + 1")


def layout(source: Source, r: random.Random) -> str | None:
    """The whole file in another layout, without remarks."""
    return f"{ast.unparse(source.tree)}\n"


MEANING: tuple[Maker, ...] = (
    *(constant, comparison, operator, removed, arguments, default, decorator, shadow, override),
    *(register, imports, added),
    # these change no result, but the syntax tree of their module, which is all that is noted
    *(annotation, new_function),
)
NO_MEANING: tuple[Maker, ...] = (*(remark, blank_lines, docstring, layout),)
KINDS = (*MEANING, *NO_MEANING)


def modules(clone: Path) -> dict[str, list[str]]:
    """Paths of all modules of the program, by package."""
    found: dict[str, list[str]] = {}
    for file in sorted((clone / "src/coder_clip").rglob("*.py")):
        path = file.relative_to(clone)
        found.setdefault(path.parent.as_posix(), []).append(path.as_posix())
    return found


def draw(seed: int, clone: Path, executed: dict[str, set[int]]) -> Edit:
    """The edit of a seed. Kinds take turns; three of four edits are in functions, or in the top
    level of modules, that a run executes.

    executed: path of a module -> first lines of the functions that any job executed.
    """
    r = random.Random(seed)
    make = KINDS[seed % len(KINDS)]
    in_use = seed // len(KINDS) % 4 < 3
    packages = modules(clone)
    if in_use:
        packages = {p: [m for m in ms if m in executed] for p, ms in packages.items()}
    while True:
        path = r.choice(r.choice([ms for ms in packages.values() if ms]))
        text = (clone / path).read_text(encoding="utf-8")
        source = Source(path, text, executed.get(path, set()) if in_use else None)
        after = make(source, r)
        if after is None or after == text:
            continue
        try:
            same = ast.dump(ast.parse(after)) == ast.dump(source.tree)
        except SyntaxError:
            continue
        if make in MEANING and same:
            continue
        return Edit(path, make.__name__, text, after, make in MEANING)
