"""Which blocks a process executes is noted: threads, forks, worker processes, caches, imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from coder_clip.foundation import evidence

SOURCE = Path(evidence.__file__).resolve().parents[2]
# as cli/job.py does it, with the work of a test
SCRIPT = """
import json, sys
from pathlib import Path

if __name__ in ("__main__", "__mp_main__"):
    sys.path[:0] = [SOURCE, str(Path("src").absolute())]
    from coder_clip.foundation import evidence, tracing

    evidence.watch()
    tracing.install(Path("src/toy").absolute())
    if evidence.NOTES in __import__("os").environ:
        evidence.attach()
if __name__ == "__main__":
    from toy import main

    tracing.start()
    evidence.begin([])
    WORK
    print(json.dumps(evidence.end()))
"""
MAIN = """
import functools
import importlib
import multiprocessing
import threading

import toy.lists
from . import labels


def plain():
    return 1


@functools.cache
def kept():
    return plain()


def at_import():
    return 2


VALUE = at_import() + kept()


def generator():
    yield 1


class Thing:
    @property
    def size(self):
        return 1

    @classmethod
    def make(cls):
        return cls().size


def in_thread():
    thread = threading.Thread(target=plain)
    thread.start()
    thread.join()


def in_process(kind):
    context = multiprocessing.get_context(kind)
    with context.Pool(1) as pool:
        pool.apply(plain)


def computed(name):
    return getattr(labels, name)


def lazily():
    from . import late

    return late.NUMBER


def whole():
    return vars(labels)
"""
FILES = {
    "__init__": "",
    "main": MAIN,
    "labels": "ONE = 1\nTWO = 2\n",
    "late": "def number():\n    return 3\n\n\nNUMBER = number()\n",
    "lists": "from pathlib import Path\n\nWORDS = Path('data/words.txt').read_text()\nOTHER = 1\n",
}


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "src/toy").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/words.txt").write_text("words")
    for name, text in FILES.items():
        (tmp_path / f"src/toy/{name}.py").write_text(text)
    return tmp_path


def notes(toy: Path, work: str) -> list[list[object]]:
    script = SCRIPT.replace("SOURCE", repr(str(SOURCE))).replace("WORK", work)
    (toy / "script.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": ""}
    environment.pop(evidence.NOTES, None)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=toy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[list[object]] = json.loads(done.stdout)
    return found


def blocks(toy: Path, work: str) -> set[object]:
    return {note[2] for note in notes(toy, work) if note[0] == "block"}


@pytest.mark.parametrize(
    ("work", "executed"),
    [
        ("main.plain()", {"plain()"}),
        ("main.Thing.make()", {"Thing.make()", "Thing.size()"}),
        ("list(main.generator())", {"generator()"}),
        ("main.generator()", set()),
        ("main.in_thread()", {"in_thread()", "plain()"}),
        ("main.in_process('fork')", {"in_process()", "plain()"}),
        ("main.in_process('spawn')", {"in_process()", "plain()"}),
        ("main.in_process('forkserver')", {"in_process()", "plain()"}),
        ("main.kept()", {"kept()", "plain()"}),
        ("main.kept(); main.kept()", {"kept()", "plain()"}),
        ("pass", set()),
    ],
)
def test_what_is_executed_is_noted(toy: Path, work: str, executed: set[str]) -> None:
    """At import `kept` has run already: without a cleared cache nobody would see that it counts."""
    assert blocks(toy, work) == executed


def test_what_runs_at_import_is_not_of_the_work(toy: Path) -> None:
    """It counts if a statement mentions it (blocks.py); else every import would count whole."""
    assert blocks(toy, "main.lazily()") == {"lazily()"}


def test_in_a_quiet_place_nothing_is_noted_and_later_it_is(toy: Path) -> None:
    """Of a derived value the result counts; the same code counts when the job itself calls it."""
    quiet = """with evidence.quiet():
        main.plain()
"""
    assert blocks(toy, quiet) == set()
    assert blocks(toy, f"{quiet}    main.plain()") == {"plain()"}


def test_a_quiet_place_reads_no_module_whole(toy: Path) -> None:
    """To empty caches all modules are looked at; noted, every label would count for every job."""
    work = """with tracing.quiet():
        main.plain()
"""
    assert [note for note in notes(toy, work) if note[0] in ("block", "attribute")] == []


def test_attributes_with_computed_names_are_noted(toy: Path) -> None:
    found = notes(toy, "main.computed('T' + 'WO')")
    assert ["attribute", "src/toy/labels.py", "TWO", "", 0] in found
    assert not [note for note in found if note[:3] == ["attribute", "src/toy/labels.py", "ONE"]]
    assert ["attribute", "src/toy/labels.py", "__dict__", "", 0] in notes(toy, "main.whole()")


def test_a_file_that_a_statement_reads_at_import_is_noted_with_its_line(toy: Path) -> None:
    """It counts if the statement does: `toy.lists` is imported and not used here."""
    (read,) = [note for note in notes(toy, "pass") if note[0] == "read"]
    assert read[1] == "data/words.txt"
    assert read[3:] == ["src/toy/lists.py", 3]


def test_what_a_library_looks_for_at_import_counts_for_all(toy: Path) -> None:
    """As matplotlib for matplotlibrc. The first import can be of a module that does not count."""
    (toy / "library.py").write_text("import os\n\nHERE = os.path.exists('settings.txt')\n")
    lists = toy / "src/toy/lists.py"
    lists.write_text(f"import library\n{lists.read_text()}")
    assert ["absent", "settings.txt", [], "", 0] in notes(toy, "pass")


def test_a_module_that_is_read_as_text_is_noted_and_an_import_is_not(toy: Path) -> None:
    work = "Path('src/toy/labels.py').read_text(); main.lazily()"
    assert [note[1] for note in notes(toy, work) if note[0] == "read" and not note[3]] == [
        "src/toy/labels.py"
    ]


def test_stale_bytecode_is_never_executed(toy: Path) -> None:
    """`rsync -t` and archives restore times: bytecode can be that of another source."""
    import py_compile

    path = toy / "src/toy/labels.py"
    py_compile.compile(str(path), doraise=True)
    then = path.stat()
    path.write_text("ONE = 7\nTWO = 8\n")
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert notes(toy, "assert main.computed('TWO') == 8")
