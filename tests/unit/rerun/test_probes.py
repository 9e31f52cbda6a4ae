"""An edit that changes a result is never missed, in whatever way ordinary Python depends on it.

Each probe is a small program, one edit of it, and a job. The job runs, the program is edited, and the
judge must name the job; the job is forced in a copy to see that the edit really changes its bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from coder_clip.rerun.judge import Judge
from coder_clip.rerun.record import Job

SOURCES = Path(__file__).parents[3] / "src"
JOB = Job("phase/rule/a", "program.phase:run", makes={"out": "results/a.txt"})
# what every program has: the phase writes what `program.value.value()` returns
PHASE = """
from pathlib import Path

from program.value import value


def run(out):
    Path(out).parent.mkdir(exist_ok=True)
    Path(out).write_text(str(value()))
"""


@dataclass(frozen=True)
class Probe:
    """files: of the program, ``value`` in program/value.py. edit: file -> what replaces what.

    add: files that the edit adds. variables: that the edit sets.
    """

    value: str
    files: dict[str, str] = field(default_factory=dict)
    edit: tuple[str, str, str] | None = None
    add: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


VALUE = "program/value.py"
PROBES = {
    # ---- the environment
    "os.environ.get": Probe(
        "import os\ndef value():\n    return os.environ.get('PROBE')", variables={"PROBE": "2"}
    ),
    "os.getenv": Probe(
        "import os\ndef value():\n    return os.getenv('PROBE')", variables={"PROBE": "2"}
    ),
    "os.environ[…] at the top": Probe(
        "import os\nA = 'PROBE' in os.environ\ndef value():\n    return A", variables={"PROBE": "2"}
    ),
    # ---- names of other modules
    "import *": Probe(
        "from program.b import *\ndef value():\n    return K", {"b": "K = 1"}, ("b", "1", "2")
    ),
    "import a.b, a.b.K at the top": Probe(
        "import program.b\nA = program.b.K\ndef value():\n    return A",
        {"b": "K = 1"},
        ("b", "1", "2"),
    ),
    "import in a function": Probe(
        "def value():\n    from program.b import K\n    return K", {"b": "K = 1"}, ("b", "1", "2")
    ),
    "import by a computed name": Probe(
        "import importlib\ndef value():\n    return importlib.import_module('program.' + 'b').K",
        {"b": "K = 1"},
        ("b", "1", "2"),
    ),
    "operator.attrgetter at the top": Probe(
        "import operator\nimport program.b\nA = operator.attrgetter('b.K')(program)\ndef value():\n    return A",
        {"b": "K = 1"},
        ("b", "1", "2"),
    ),
    "vars(module)[…] at the top": Probe(
        "from program import b\nA = vars(b)['K']\ndef value():\n    return A",
        {"b": "K = 1"},
        ("b", "1", "2"),
    ),
    "a constant behind a constant": Probe(
        "from program.b import K\nA = K + 1\ndef value(x=A):\n    return x",
        {"b": "K = 1"},
        ("b", "1", "2"),
    ),
    # ---- registries and side effects of imports
    "A = register(…)": Probe(
        "import program.b\nfrom program.r import known\ndef value():\n    return known",
        {
            "r": "known = []\ndef register(x):\n    known.append(x)\n    return x",
            "b": "from program.r import register\nA = register(1)",
        },
        ("b", "(1)", "(2)"),
    ),
    "READY = _setup()": Probe(
        "import program.b\nfrom program.r import state\ndef value():\n    return state",
        {
            "r": "state = {}",
            "b": "from program.r import state\ndef _setup():\n    state['a'] = 1\nREADY = _setup()",
        },
        ("b", "= 1", "= 2"),
    ),
    "a patch by a call": Probe(
        "import program.b\nfrom program.r import C\ndef value():\n    return C.x",
        {"r": "class C:\n    x = 0", "b": "from program.r import C\nsetattr(C, 'x', 1)"},
        ("b", "1)", "2)"),
    ),
    "__init_subclass__": Probe(
        "from program.b import B\nclass C(B):\n    pass\ndef value():\n    return C.x",
        {"b": "class B:\n    def __init_subclass__(cls):\n        cls.x = 1"},
        ("b", "1", "2"),
    ),
    "__subclasses__(): an attribute": Probe(
        "import program.b\nfrom program.r import B\ndef value():\n    return [c.x for c in B.__subclasses__()]",
        {"r": "class B:\n    pass", "b": "from program.r import B\nclass C(B):\n    x = 1"},
        ("b", "1", "2"),
    ),
    "__subclasses__(): another class": Probe(
        "import program.b\nfrom program.r import B\ndef value():\n    return len(B.__subclasses__())",
        {"r": "class B:\n    pass", "b": "from program.r import B"},
        ("b", "import B", "import B\nclass C(B): pass"),
    ),
    "np.set_printoptions by assignment": Probe(
        "import program.b\nimport numpy as np\ndef value():\n    return np.array([1 / 3])",
        {"b": "import numpy as np\nA = np.set_printoptions(precision=3)"},
        ("b", "3)", "5)"),
    ),
    "a memo that an import warmed": Probe(
        "import program.b\nfrom program.r import memo\ndef value():\n    return memo(1)",
        {
            "r": "known = {}\ndef memo(x):\n    return known.setdefault(x, 0)",
            "b": "from program.r import known\nknown[1] = 1",
        },
        ("b", "] = 1", "] = 2"),
    ),
    "an lru_cache that an import warmed": Probe(
        "import program.b\nfrom program.r import f\ndef value():\n    return f()",
        {
            "r": "from functools import cache\nstate = [0]\n@cache\ndef f():\n    return state[0]",
            "b": "from program import r\nr.state[0] = 1\nr.f()",
        },
        ("b", "= 1", "= 2"),
    ),
    # ---- classes
    "an overriding method": Probe(
        "from program.b import C\ndef value():\n    return C().f()",
        {"b": "class B:\n    def f(self):\n        return 1\nclass C(B):\n    pass"},
        ("b", "    pass", "    def f(self):\n        return 2"),
    ),
    "__getattribute__": Probe(
        "from program.b import C\ndef value():\n    return C().x",
        {"b": "class C:\n    x = 1"},
        ("b", "x = 1", "x = 1\n    def __getattribute__(self, n):\n        return 2"),
    ),
    "a metaclass": Probe(
        "from program.b import C\ndef value():\n    return C.x",
        {"b": "class M(type):\n    x = 1\nclass C(metaclass=M):\n    pass"},
        ("b", "1", "2"),
    ),
    "a descriptor": Probe(
        "from program.b import D\nclass C:\n    x = D()\ndef value():\n    return C().x",
        {"b": "class D:\n    def __get__(self, a, b):\n        return 1"},
        ("b", "1", "2"),
    ),
    "the order of fields": Probe(
        "from program.b import C\ndef value():\n    return C(1, 2)",
        {"b": "from dataclasses import dataclass\n@dataclass\nclass C:\n    a: int\n    b: int"},
        ("b", "a: int\n    b", "b: int\n    a"),
    ),
    "Enum._missing_": Probe(
        "from program.b import E\ndef value():\n    try:\n        return E(5)\n    except ValueError:\n        return 0",
        {"b": "from enum import Enum\nclass E(Enum):\n    A = 1"},
        ("b", "A = 1", "A = 1\n    @classmethod\n    def _missing_(cls, v):\n        return cls.A"),
    ),
    "Enum._generate_next_value_": Probe(
        "from program.b import E\ndef value():\n    return E.A.value",
        {
            "b": "from enum import Enum, auto\nclass E(Enum):\n    def _generate_next_value_(name, *_):\n        return name\n    A = auto()"
        },
        ("b", "return name", "return name.lower()"),
    ),
    "match": Probe(
        "from program.b import C\ndef value():\n    match C():\n        case C(a):\n            return a",
        {"b": "class C:\n    __match_args__ = ('x',)\n    x, y = 1, 2"},
        ("b", "('x',)", "('y',)"),
    ),
    "annotations: singledispatch": Probe(
        "from program.b import f\ndef value():\n    return f(1)",
        {
            "b": "from functools import singledispatch\n@singledispatch\ndef f(x):\n    return 1\n@f.register\ndef _(x: str):\n    return 2"
        },
        ("b", "x: str", "x: int"),
    ),
    "annotations: __annotations__": Probe(
        "from program.b import f\ndef value():\n    return f.__annotations__",
        {"b": "def f(x: 'a'):\n    pass"},
        ("b", "'a'", "'b'"),
    ),
    "a docstring used as text": Probe(
        "from program.b import f\ndef value():\n    return f.__doc__",
        {"b": "def f():\n    'one'"},
        ("b", "one", "two"),
    ),
    # ---- files
    "open": Probe(
        "def value():\n    return open('data/a.txt').read()",
        {"data/a.txt": "1"},
        ("data/a.txt", "1", "2"),
    ),
    "a file that was absent": Probe(
        "import os\ndef value():\n    return os.path.exists('data/b.txt')",
        {"data/a.txt": "1"},
        add={"data/b.txt": "1"},
    ),
    "a glob": Probe(
        "from pathlib import Path\ndef value():\n    return sorted(Path('data').glob('*'))",
        {"data/a.txt": "1"},
        add={"data/b.txt": "1"},
    ),
    "linecache": Probe(
        "import linecache\ndef value():\n    return linecache.getline('data/a.txt', 1)",
        {"data/a.txt": "1"},
        ("data/a.txt", "1", "2"),
    ),
    "pkgutil.get_data": Probe(
        "import pkgutil\ndef value():\n    return pkgutil.get_data('program', 'a.txt')",
        {"program/a.txt": "1"},
        ("program/a.txt", "1", "2"),
    ),
    "importlib.resources": Probe(
        "from importlib.resources import files\ndef value():\n    return files('program').joinpath('a.txt').read_text()",
        {"program/a.txt": "1"},
        ("program/a.txt", "1", "2"),
    ),
    "os.path.getsize": Probe(
        "import os\ndef value():\n    return os.path.getsize('data/a.txt')",
        {"data/a.txt": "1"},
        ("data/a.txt", "1", "22"),
    ),
    "pyarrow.csv.read_csv": Probe(
        "def value():\n    import pyarrow.csv\n    return pyarrow.csv.read_csv('data/a.csv').to_pydict()",
        {"data/a.csv": "x\n1\n"},
        ("data/a.csv", "1", "2"),
    ),
    "from pyarrow.csv import read_csv": Probe(
        "from pyarrow.csv import read_csv\ndef value():\n    return read_csv('data/a.csv').to_pydict()",
        {"data/a.csv": "x\n1\n"},
        ("data/a.csv", "1", "2"),
    ),
    "sqlite3": Probe(
        "import sqlite3\ndef value():\n    try:\n        return sqlite3.connect('file:data/a.db?mode=ro', uri=True)"
        ".execute('select 1').fetchall()\n    except sqlite3.Error:\n        return 0",
        add={"data/a.db": ""},
    ),
    "a file read while a module is imported": Probe(
        "from program.b import K\ndef value():\n    return K",
        {"b": "K = open('data/a.txt').read()", "data/a.txt": "1"},
        ("data/a.txt", "1", "2"),
    ),
    "a plug-in by spec_from_file_location": Probe(
        "from importlib.util import module_from_spec, spec_from_file_location\ndef value():\n"
        "    spec = spec_from_file_location('plugin', 'data/plugin.py')\n"
        "    plugin = module_from_spec(spec)\n    spec.loader.exec_module(plugin)\n    return plugin.K",
        {"data/plugin.py": "K = 1"},
        ("data/plugin.py", "1", "2"),
    ),
    "exec of a file": Probe(
        "def value():\n    names = {}\n    exec(open('data/plugin.py').read(), names)\n    return names['K']",
        {"data/plugin.py": "K = 1"},
        ("data/plugin.py", "1", "2"),
    ),
    "a reader in a module named like one of the observers": Probe(
        "from program.note import f\ndef value():\n    return f()",
        {"note": "def f():\n    return open('data/a.txt').read()", "data/a.txt": "1"},
        ("data/a.txt", "1", "2"),
    ),
    # ---- other threads and processes of the job
    "a thread": Probe(
        "from concurrent.futures import ThreadPoolExecutor\ndef read(p):\n    return open(p).read()\ndef value():\n"
        "    with ThreadPoolExecutor() as pool:\n        return list(pool.map(read, ['data/a.txt']))",
        {"data/a.txt": "1"},
        ("data/a.txt", "1", "2"),
    ),
    "a fork": Probe(
        "import multiprocessing as m\ndef read(p):\n    return open(p).read()\ndef value():\n"
        "    with m.get_context('fork').Pool(1) as pool:\n        return pool.map(read, ['data/a.txt'])",
        {"data/a.txt": "1"},
        ("data/a.txt", "1", "2"),
    ),
    "a worker process that starts from nothing": Probe(
        "import multiprocessing as m\nfrom program.b import read\ndef value():\n"
        "    with m.get_context('spawn').Pool(1) as pool:\n        return pool.map(read, ['data/a.txt'])",
        {"b": "def read(p):\n    from program.c import K\n    return K", "c": "K = 1"},
        ("c", "1", "2"),
    ),
}


def place(name: str) -> str:
    """A module of the program by its name, any other file by its path."""
    return name if "/" in name else f"program/{name}.py"


def plant(folder: Path, probe: Probe) -> None:
    """Write the program of a probe."""
    files = {place(name): text for name, text in probe.files.items()}
    program = {"program/__init__.py": "", VALUE: probe.value, "program/phase.py": PHASE}
    for name, text in {**program, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def work(folder: Path, variables: dict[str, str]) -> str:
    """Run the job of a folder; return what it wrote."""
    command = [sys.executable, "-m", "coder_clip.rerun.run", "records", json.dumps(asdict(JOB))]
    environment = {**os.environ, "PYTHONPATH": f"{SOURCES}{os.pathsep}{folder}", **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (folder / "results/a.txt").read_text()


@pytest.mark.parametrize("name", PROBES)
def test_what_decides_a_result_is_never_missed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe, here = PROBES[name], tmp_path / "here"
    plant(here, probe)
    before = work(here, {})
    monkeypatch.chdir(here)
    assert Judge("records", [JOB]).objection(JOB) == ""
    if probe.edit:
        path, old, new = (here / place(probe.edit[0]), *probe.edit[1:])
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))
    for added, text in probe.add.items():
        (here / added).parent.mkdir(exist_ok=True)
        (here / added).write_text(text)
    for variable, value in probe.variables.items():
        monkeypatch.setenv(variable, value)
    # the edit changes the result, so a judge that finds nothing would be wrong; Python takes a
    # compiled module for current if its source has the same size and second
    ignored = shutil.ignore_patterns("records", "results", "__pycache__")
    copy = shutil.copytree(here, tmp_path / "copy", ignore=ignored)
    assert work(copy, probe.variables) != before
    assert Judge("records", [JOB]).objection(JOB) != ""
