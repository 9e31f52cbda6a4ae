"""Blocks of code: which edits change what a job depends on, and which do not."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_clip.foundation.blocks import OTHER, Code, Found, bodies, parse

SOURCE = Path(__file__).parents[3] / "src"
HELPER = """
from dataclasses import dataclass, field

SCALE = 2
UNUSED = 3


@dataclass
class Size:
    width: int = 1
    names: list[str] = field(default_factory=list)

    def area(self) -> int:
        return self.width * SCALE

    def text(self):
        return "x"


def double(value: int) -> int:
    \"\"\"Twice.\"\"\"
    return value * SCALE


def unused():
    return UNUSED
"""
MAIN = """
from . import helper
from .helper import Size, double

LABELS = {"a": "A"}
TABLE = [double(2)]


def run(x: int) -> int:
    return double(x) + TABLE[0]


def other():
    return LABELS
"""
EXECUTED = [("src/toy/main.py", "run()"), ("src/toy/helper.py", "double()")]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(tmp_path / "src", "__init__", "")
    write(tmp_path / "src", "main", MAIN)
    write(tmp_path / "src", "helper", HELPER)
    return tmp_path / "src"


def write(source: Path, module: str, text: str) -> None:
    (source / "toy").mkdir(parents=True, exist_ok=True)
    (source / f"toy/{module}.py").write_text(text)


def changed(source: Path, module: str, old: str, new: str) -> set[str]:
    """The blocks, as module:block, that an edit changes for a job that executed EXECUTED."""
    before = Code(source).closure(EXECUTED)
    path = source / f"toy/{module}.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    # the judge starts from all blocks of the certificate
    now = Code(source).closure((path, key) for path in before for key in before[path])
    return _flat(before) ^ _flat(now)


def _flat(found: Found) -> Any:
    return {f"{Path(p).stem}:{k} {sha}" for p in found for k, sha in found[p].items()}


def test_a_job_depends_on_what_it_executed_and_what_this_mentions(source: Path) -> None:
    found = Code(source).closure(EXECUTED)
    assert {path: set(blocks) for path, blocks in found.items()} == {
        "src/toy/helper.py": {"SCALE", "double", "double()"},
        "src/toy/main.py": {"TABLE", "double", "run", "run()"},
    }


def test_whether_a_name_is_defined_counts_and_not_how(source: Path) -> None:
    """The list of exhibits asks which modules have a figure: without this, each table would count
    all that draws figures."""
    asked = [("src/toy/main.py", f"{name}?") for name in ("TABLE", "double", "absent")]
    before = Code(source).closure(asked)
    assert before == {"src/toy/main.py": {"TABLE?": "defined", "absent?": "", "double?": ""}}
    write(source, "main", MAIN.replace("double(2)", "double(3)"))
    assert Code(source).closure(asked) == before
    write(source, "main", MAIN.replace("TABLE", "LIST"))
    assert Code(source).closure(asked) != before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("main", "def run", "# a remark\ndef run"),
        ("helper", '"""Twice."""', '"""Two times."""'),
        ("helper", "SCALE = 2", "\n\n\nSCALE = 2"),
        ("helper", "value: int) -> int", "value: float) -> 'float'"),
        ("main", "LABELS = {", "LABELS = {'b': 'B', "),
        ("helper", "UNUSED = 3", "UNUSED = 4"),
        ("helper", "def unused", "def new():\n    return SCALE\n\n\ndef unused"),
        ("helper", "return UNUSED", "return 5"),
        ("main", "from . import helper", "import json"),
        ("helper", 'return "x"', 'return "y"'),
        ("helper", "width: int = 1", "width: float = 2"),
        ("main", "return double(x) + TABLE[0]", "return (double(x)\n            + TABLE[0])"),
        ("main", "TABLE = [", "TABLE: list[int] = ["),
    ],
)
def test_what_decides_nothing_changes_nothing(
    source: Path, module: str, old: str, new: str
) -> None:
    """Else a remark costs the days of a GPU again."""
    assert changed(source, module, old, new) == set()


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("main", "double(x) +", "double(x) -"),
        ("helper", "return value * SCALE", "return value"),
        ("helper", "SCALE = 2", "SCALE = 3"),
        ("main", "TABLE = [double(2)]", "TABLE = [double(3)]"),
        ("main", "from .helper import Size, double", "from .other import double"),
        ("main", "def run(x: int)", "def run(x: int = 1)"),
        ("main", "def run", "@print\ndef run"),
        ("main", "def other", "double = abs\n\n\ndef other"),
        ("helper", "def unused", "SCALE += 1\n\n\ndef unused"),
        ("helper", "def unused", "print(1)\n\n\ndef unused"),
        ("helper", "def unused", "globals()['SCALE'] = 5\n\n\ndef unused"),
    ],
)
def test_what_decides_is_seen(source: Path, module: str, old: str, new: str) -> None:
    assert changed(source, module, old, new)


@pytest.mark.parametrize(
    ("block", "old", "new"),
    [
        ("f", "def f(*, a=1): ...", "def f(*, b=1): ..."),
        ("f", "def f(*, a=1): ...", "def f(*, a=2): ..."),
        ("C", "class C(B, frozen=True): ...", "class C(B, frozen=False): ..."),
    ],
)
def test_how_a_block_is_called_or_made_is_part_of_it(block: str, old: str, new: str) -> None:
    """A default of a keyword, or a frozen model, decides a result without a body that changed."""
    before, after = (parse(text.encode(), "").blocks[block] for text in (old, new))
    assert before.hash != after.hash


def test_an_imported_name_that_is_bound_again_depends_on_both(source: Path) -> None:
    """`double = checked(double)`: what `checked` does decides, though `double` was imported."""
    text = "from .helper import double\n\nSTEP = 1\ndouble = (double, STEP)\n\n\ndef run():\n    return double\n"
    write(source, "main", text)
    before = Code(source).closure([("src/toy/main.py", "run()")])
    write(source, "main", text.replace("STEP = 1", "STEP = 2"))
    assert Code(source).closure([("src/toy/main.py", "run()")]) != before


def test_a_name_that_hides_a_builtin_is_seen(source: Path) -> None:
    write(source, "main", "def run(x):\n    return sorted(x)\n")
    before = Code(source).closure([("src/toy/main.py", "run()")])
    write(source, "main", "def run(x):\n    return sorted(x)\n\n\ndef sorted(x):\n    return x\n")
    assert Code(source).closure([("src/toy/main.py", "run()")]) != before


CLASSES = """
import abc
from pydantic import field_validator


class Base:
    LIMIT = 1

    def __len__(self):
        return self.LIMIT

    def named(self):
        return 1

    def never(self):
        return 2


class Derived(Base):
    limit: int = 3

    @field_validator("limit")
    def check(cls, value):
        return value


def run(make):
    return make(Derived).named()
"""
ROOTS = [("src/toy/main.py", "run()"), ("src/toy/main.py", "Base.named()")]


@pytest.mark.parametrize(
    ("old", "new", "seen"),
    [
        ("LIMIT = 1", "LIMIT = 2", True),
        ("limit: int = 3", "limit: float = 3", True),  # pydantic reads annotations of fields
        ("def never(self)", "def never(self, x=1)", False),
        ("def check(cls, value)", "def check(cls, value, x=1)", True),
        ("limit: int = 3", "limit: int = 3\n\n    def named(self):\n        return 5", True),
        ("limit: int = 3", "limit: int = 3\n\n    def __getattr__(self, x):\n        pass", True),
        ("limit: int = 3", "limit: int = 3\n\n    def more(self):\n        return 5", False),
        ("class Derived(Base)", "class Derived(abc.ABC, Base)", True),
    ],
)
def test_methods_count_by_their_names(source: Path, old: str, new: str, seen: bool) -> None:
    """A method that overrides another one takes its place, though nothing that ran was edited."""
    write(source, "main", CLASSES)
    before = Code(source).closure(ROOTS)
    write(source, "main", CLASSES.replace(old, new, 1))
    after = Code(source).closure((path, key) for path in before for key in before[path])
    assert (after != before) == seen


def test_a_module_that_registers_at_import_counts(source: Path) -> None:
    """Its statements bind no name, so nothing mentions them."""
    write(source, "registry", "KNOWN = {}\n")
    write(source, "main", "from .registry import KNOWN\n\n\ndef run():\n    return KNOWN\n")
    roots = [("src/toy/main.py", "run()")]
    before = Code(source).closure(roots)
    write(source, "plugin", "from .registry import KNOWN\n\nKNOWN['x'] = 1\n")
    assert Code(source).closure(roots) == before, "nobody imports it"
    text = "from . import plugin\nfrom .registry import KNOWN\n\n\ndef run():\n    return KNOWN\n"
    write(source, "main", text)
    after = Code(source).closure(roots)
    assert OTHER in after["src/toy/plugin.py"]


@pytest.mark.parametrize(
    "statement",
    [
        "for name in 'ab':\n    KNOWN[name] = 1",
        "KNOWN.update({name: 1 for name in 'ab'})",
        "KNOWN |= {'x': 1}",
        "if KNOWN:\n    size = KNOWN.clear()",
        "_ = KNOWN.setdefault('x', 1)",
        "KNOWN['x'] = size = 1",
        "@KNOWN.add\ndef added():\n    return 1",
        "@KNOWN.add\nclass Added:\n    pass",
        "if TYPE_CHECKING:\n    pass\nelse:\n    KNOWN['x'] = 1",
    ],
)
def test_a_statement_that_binds_a_name_can_register_too(source: Path, statement: str) -> None:
    """Nobody mentions the name that it binds, and still another method is in the table."""
    write(source, "registry", "KNOWN = {}\n")
    text = "from . import plugin\nfrom .registry import KNOWN\n\n\ndef run():\n    return KNOWN\n"
    write(source, "main", text)
    roots = [("src/toy/main.py", "run()")]
    write(source, "plugin", "from .registry import KNOWN\n")
    before = Code(source).closure(roots)
    write(source, "plugin", f"from .registry import KNOWN\n\n{statement}\n")
    assert Code(source).closure(roots) != before


@pytest.mark.parametrize(
    ("base", "seen"),
    [
        ("Unpickler", True),
        ("pickle.Unpickler", True),
        ("dict[str, int]", True),
        ("Middle", True),
        ("NamedTuple", False),
        ("ValueError", False),
        ("Own", False),
        ("helper.Size", False),
    ],
)
def test_a_method_that_another_program_calls_by_itself_is_seen(
    source: Path, base: str, seen: bool
) -> None:
    """A new find_class of an Unpickler decides, though no code here mentions its name."""
    top = (
        "import pickle\nfrom pickle import Unpickler\nfrom typing import NamedTuple\n"
        "from . import helper\n\n\nclass Own:\n    pass\n\n\nclass Middle(pickle.Unpickler):\n"
        f"    pass\n\n\nclass Last({base}):\n    x = 1\n"
    )
    end = "\n\ndef run(file):\n    return Last(file)\n"
    roots = [("src/toy/main.py", "run()")]
    write(source, "main", f"{top}{end}")
    before = Code(source).closure(roots)
    write(source, "main", f"{top}\n    def find_class(self, *names):\n        return print\n{end}")
    assert (Code(source).closure(roots) != before) == seen


def test_a_decorator_of_this_program_can_register(source: Path) -> None:
    """A function that nobody mentions becomes a method of the table that the job reads."""
    registry = "KNOWN = {}\n\n\ndef known(f):\n    KNOWN[f.__name__] = f\n    return f\n"
    write(source, "registry", registry)
    text = "from functools import cache\nfrom .registry import KNOWN, known\n"
    run = "\n\ndef run():\n    return KNOWN\n"
    roots = [("src/toy/main.py", "run()")]
    write(source, "main", text + run)
    before = Code(source).closure(roots)
    write(source, "main", f"{text}{run}\n\n@cache\ndef more():\n    return 1\n")
    assert Code(source).closure(roots) == before, "functools registers nothing here"
    write(source, "main", f"{text}{run}\n\n@known\ndef more():\n    return 1\n")
    assert "more" in Code(source).closure(roots)["src/toy/main.py"]
    assert "more()" in Code(source).closure(roots, static=True)["src/toy/main.py"]


def test_what_was_read_and_is_not_there_is_seen_when_it_appears(source: Path) -> None:
    """A method's module without KINDS has the default; with it, the method is another one."""
    roots = [("src/toy/main.py", "KINDS")]
    before = Code(source).closure(roots)
    assert before == {"src/toy/main.py": {"KINDS": ""}}
    write(source, "main", f"{MAIN}\nKINDS = ('a',)\n")
    assert Code(source).closure(roots) != before


def test_without_watching_the_bodies_that_a_body_mentions_count(source: Path) -> None:
    """The store of features has nobody who watches: it asks for all that can be executed."""
    found = Code(source).closure([("src/toy/main.py", "run()")], static=True)
    assert "double()" in found["src/toy/helper.py"]
    assert "unused()" not in found["src/toy/helper.py"]


def test_what_a_job_reads_its_configuration_by_counts() -> None:
    """`deciding` makes a part of the report's page, and the wrapper can hand on another order."""
    roots = [
        ("src/coder_clip/foundation/reads.py", body) for body in ("deciding()", "_Table.__iter__()")
    ]
    found = Code(SOURCE).closure(roots)["src/coder_clip/foundation/reads.py"]
    assert all(found[body] for _, body in roots)


def test_paths_of_other_people_are_of_this_program(source: Path) -> None:
    """A certificate names modules; reading any file of the machine as code would hang on a pipe."""
    for path in ("../x.py", "/etc/passwd", "src/../../x.py", "src/toy/x.txt", "", "src"):
        assert Code(source).module(path).blocks == {}


def test_a_half_written_module_has_no_blocks(source: Path) -> None:
    """Somebody saves while the plan is made: the job runs again, and nothing crashes."""
    before = Code(source).closure(EXECUTED)
    write(source, "main", "def run(:\n")
    assert Code(source).closure(EXECUTED) != before


NAMES = st.sampled_from(["a", "b", "f", "g"])


@st.composite
def modules(draw: Any) -> str:
    """Small modules of assignments and functions that use each other."""
    lines = []
    for name in draw(st.lists(NAMES, min_size=1, max_size=5)):
        used, number = draw(NAMES), draw(st.integers(0, 3))
        lines.append(
            draw(
                st.sampled_from(
                    [
                        f"{name} = {number}",
                        f"def {name}(x={number}):\n    return {used}",
                        f"class {name}:\n    n = {number}\n\n    def m(self):\n        return {used}",
                    ]
                )
            )
        )
    return "\n\n".join(lines) + "\n"


@given(modules())
def test_layout_and_remarks_are_no_meaning(text: str) -> None:
    """Beside a plain reference: the same program written again from its syntax tree."""
    again = "# a remark\n" + ast.unparse(ast.parse(text)).replace("    ", "        ")
    hashes = [
        {key: b.hash for key, b in parse(t.encode(), "toy").blocks.items()} for t in (text, again)
    ]
    assert hashes[0] == hashes[1]
    tree = ast.parse(text)
    assert {key for key, _ in bodies(tree)} == {key for key in hashes[0] if key.endswith("()")}
