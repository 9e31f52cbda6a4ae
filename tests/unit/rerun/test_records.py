"""What a record says, when it holds, and which jobs a run starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from coder_clip.rerun import judge
from coder_clip.rerun.hashes import Hashes, of_code
from coder_clip.rerun.judge import Judge
from coder_clip.rerun.record import Job, read

SOURCES = Path(__file__).parents[3] / "src"
PROGRAM = """
import os
import sys
from pathlib import Path


def copy(source, out, times=1, slow=False):
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    text = Path(source).read_text() * times  # a comment
    if slow:
        Path(source).write_text("changed meanwhile")
    if times:
        Path(out).write_text(text)


def last(sources, out):
    copy(sources[-1], out)
"""


def copied(name: str, source: str, **settings: object) -> Job:
    """A job that copies a file to results/NAME.txt."""
    makes: dict[str, str | list[str]] = {"out": f"results/{name}.txt"}
    return Job(
        f"copies/copy/{name}", "program.work:copy", {"source": source}, makes, dict(settings)
    )


A, B = copied("a", "data/a.txt"), copied("b", "results/a.txt", times=2)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a program and its data, which is the working directory."""
    (tmp_path / "program").mkdir()
    (tmp_path / "program/__init__.py").touch()
    (tmp_path / "program/work.py").write_text(PROGRAM)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.txt").write_text("1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def work(*jobs: Job, fails: str = "") -> None:
    """Run jobs in processes of their own; with ``fails``, the last words of the error."""
    environment = {**os.environ, "PYTHONPATH": f"{SOURCES}{os.pathsep}{os.getcwd()}"}
    for job in jobs:
        command = [sys.executable, "-m", "coder_clip.rerun.run", "records", json.dumps(asdict(job))]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert bool(done.returncode) == bool(fails), done.stderr
        assert fails in done.stderr.strip().splitlines()[-1:].__str__()


def reasons(*jobs: Job) -> dict[str, str]:
    """What a run would start, by the last part of the jobs' names."""
    found = Judge("records", jobs).must_run()
    return {name.rpartition("/")[2]: why for name, why in found.items()}


def edit(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))


CHANGES: dict[str, tuple[Callable[[], object], str]] = {
    "an input": (lambda: Path("data/a.txt").write_text("2"), "an input changed (data/a.txt)"),
    "the code": (lambda: edit("program/work.py", "* times", "* (times + 1)"), "the code changed (program/work.py)"),
    "a module goes": (lambda: Path("program/work.py").unlink(), "the code changed (program/work.py)"),
    "a module that is no code": (lambda: Path("program/work.py").write_text("("), "the code changed (program/work.py)"),
    "a result": (lambda: Path("results/a.txt").write_text("2"), judge.OTHER_BYTES),
    "a result goes": (lambda: Path("results/a.txt").unlink(), judge.MISSING),
    "the record goes": (lambda: A.record("records").unlink(), judge.NONE),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_named(name: str, program: Path) -> None:
    work(A)
    assert reasons(A) == {}
    change, why = CHANGES[name]
    change()
    found = Judge("records", [A]).reason_to_run(A)
    assert found == why


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (replace(A, settings={"times": 2}), "a parameter changed (settings.times null → 2)"),
        (replace(A, call="program.work:last"), "a parameter changed (call \"program.work:copy\" → \"program.work:last\")"),
        (replace(A, reads={"source": "data/b.txt"}), 'a parameter changed (reads.source "data/a.txt" → "data/b.txt")'),
    ],
)  # fmt: skip
def test_another_call_is_another_job(job: Job, why: str, program: Path) -> None:
    work(A)
    assert Judge("records", [job]).reason_to_run(job) == why.replace("settings.", "")


def test_arguments_of_this_machine_change_nothing(program: Path) -> None:
    work(A)
    assert reasons(replace(A, here={"slow": False})) == {}


@pytest.mark.parametrize(
    ("old", "new"),
    [("  # a comment", ""), ("import sys\n", "import sys\n\n\n"), ("times=1", "times = 1"),
     ("def last(sources, out):\n", 'def last(sources, out):\n    """Now with a docstring."""\n')],
)  # fmt: skip
def test_comments_layout_and_docstrings_rerun_nothing(old: str, new: str, program: Path) -> None:
    work(A)
    edit("program/work.py", old, new)
    assert reasons(A) == {}


def test_what_follows_runs_unless_its_input_has_the_same_bytes(program: Path) -> None:
    work(A, B)
    edit("program/work.py", "def last", "def first")
    assert reasons(A, B) == {"a": "the code changed (program/work.py)", "b": judge.FOLLOWS}
    work(A)
    # the bytes of the input are as before, but the code of the second job changed, too
    assert reasons(A, B) == {"b": "the code changed (program/work.py)"}
    work(B)
    Path("data/a.txt").write_text("2")
    work(A)
    assert reasons(A, B) == {"b": "an input changed (results/a.txt)"}


def test_a_missing_file_counts_as_the_bytes_of_its_record(program: Path) -> None:
    work(A, B)
    Path("results/a.txt").unlink()
    assert reasons(A, B) == {"a": judge.MISSING, "b": judge.FOLLOWS}
    assert Judge("records", [A, B]).objection(B) == ""  # it would be made again as it was


def test_a_group_without_files_is_made_only_where_it_is_needed(program: Path) -> None:
    other = replace(B, name="others/copy/b")
    assert reasons(A, other) == {}
    assert reasons() == {}
    work(A)
    assert reasons(A, other) == {}
    edit("data/a.txt", "1", "2")
    assert reasons(A, other) == {"a": "an input changed (data/a.txt)", "b": judge.FOLLOWS}


def test_a_job_whose_record_holds_does_nothing(program: Path) -> None:
    work(A)
    before = os.stat("results/a.txt").st_mtime_ns
    work(A)
    assert os.stat("results/a.txt").st_mtime_ns == before


def test_an_input_that_changes_during_the_work_makes_the_record_doubtful(program: Path) -> None:
    work(replace(A, here={"slow": True}))
    assert reasons(A) == {"a": "data/a.txt changed while it was made"}


def test_an_output_that_was_not_written_has_no_record(program: Path) -> None:
    work(replace(A, settings={"times": 0}), fails="results/a.txt was not written")
    Path("results").mkdir(exist_ok=True)
    Path("results/a.txt").write_text("of somebody else")
    work(replace(A, settings={"times": 0}), fails="results/a.txt was not written")
    assert read(A.record("records")) is None


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"\xff", b'{"format": 4}', b"[" * 100_000],
)
def test_a_damaged_record_is_none(damage: bytes, program: Path) -> None:
    work(A)
    A.record("records").write_bytes(damage)
    assert reasons(A) == {"a": judge.NONE}


@pytest.mark.parametrize(
    ("key", "value"),
    [("modules", {}), ("modules", {"program/work.py": 1}), ("inputs", []), ("call", "x"),
     ("outputs", {"results/a.txt": None}), ("format", 3), ("more", 1), ("docstrings", "no")],
)  # fmt: skip
def test_a_record_of_another_form_is_none(key: str, value: object, program: Path) -> None:
    work(A)
    document = json.loads(A.record("records").read_text())
    A.record("records").write_text(json.dumps({**document, key: value}))
    assert reasons(A) == {"a": judge.NONE}


def test_a_record_that_hides_its_code_does_not_hold(program: Path) -> None:
    work(A)
    document = json.loads(A.record("records").read_text())
    document["modules"] = {"program/__init__.py": document["modules"]["program/__init__.py"]}
    A.record("records").write_text(json.dumps(document))
    assert "its record does not name" in reasons(A)["a"]


def test_a_list_of_inputs_counts_in_its_order(program: Path) -> None:
    (program / "data/b.txt").write_text("2")
    files = ["data/a.txt", "data/b.txt"]
    job = Job("lists/last/c", "program.work:last", {"sources": files}, {"out": "results/c.txt"})
    work(job)
    assert Path("results/c.txt").read_text() == "2"
    assert reasons(replace(job, reads={"sources": files[::-1]})).keys() == {"c"}


def test_secrets_are_not_in_records(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit("program/work.py", "def copy", "SECRET = os.environ.get('SECRET')\n\n\ndef copy")
    monkeypatch.setenv("SECRET", "of nobody's business")
    work(A)
    text = A.record("records").read_text()
    assert '"SECRET"' in text
    assert "nobody" not in text
    monkeypatch.setenv("SECRET", "another")
    assert reasons(A) == {"a": "an environment variable changed (SECRET)"}
    assert reasons(replace(A, ignore={"variables": ["SEC*"]})).keys() == {"a"}  # as recorded


def test_ignored_folders_and_variables_are_not_noted(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(
        "program/work.py",
        "def copy",
        "SECRET = os.environ.get('SECRET')\nopen('data/b.txt').close()\n\n\ndef copy",
    )
    Path("data/b.txt").touch()
    work(replace(A, ignore={"variables": ["SEC*"], "folders": ["data"]}))
    record = read(A.record("records"))
    assert record is not None
    assert record.variables == {}
    assert record.files == {}
    assert record.inputs.keys() == {"data/a.txt"}


def test_code_has_the_same_hash_in_every_version_of_python() -> None:
    """Two people with other versions of Python would make each other's results again."""
    newer = "/usr/bin/python3"
    if not Path(newer).exists():
        pytest.skip(f"no {newer}")
    script = (
        "import sys, json, pathlib; sys.path.insert(0, sys.argv[1])\n"
        "from coder_clip.rerun.hashes import of_code\n"
        "print(json.dumps({str(p): of_code(p.read_bytes()) for p in pathlib.Path(sys.argv[1]).rglob('*.py')}))"
    )
    said = subprocess.run(
        [newer, "-c", script, str(SOURCES)], capture_output=True, text=True, check=True
    )
    for path, hashes in json.loads(said.stdout).items():
        assert of_code(Path(path).read_bytes()) == hashes, path


def test_kept_hashes_follow_the_files(program: Path) -> None:
    hashes = Hashes()
    first = hashes.file("data/a.txt")
    hashes.save()
    assert Hashes().file("data/a.txt") == first
    stat = os.stat("data/a.txt")
    Path("data/a.txt").write_text("2")
    os.utime("data/a.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as an archive does it
    assert Hashes().file("data/a.txt") != first
