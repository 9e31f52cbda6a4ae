"""Snakemake starts the jobs whose records do not hold, and no others."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import toy

SOURCES = Path(__file__).parents[3] / "src"
SNAKEMAKE = [sys.executable, "-m", "snakemake", "--cores", "1", "--rerun-triggers", "mtime"]
SNAKEMAKE += ["--rerun-incomplete", "--keep-going"]


@pytest.fixture
def workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    toy.make(tmp_path, SOURCES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def run(*arguments: str, **variables: str) -> list[str]:
    """Run the workflow; the rules of the jobs that ran."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), **variables}
    done = subprocess.run([*SNAKEMAKE, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return re.findall(r"^(?:local)?rule (upper|join):", done.stdout + done.stderr, flags=re.M)


def test_a_run_makes_everything_once(workflow: Path) -> None:
    assert sorted(run()) == ["join", "upper", "upper"]
    assert Path("results/all.txt").read_text() == "A B"
    assert run() == []
    assert run("-n") == []


def test_an_edit_starts_what_executed_it(workflow: Path) -> None:
    run()
    text = Path("toy/join.py").read_text()
    Path("toy/join.py").write_text(text.replace("separator.join", "separator[::-1].join"))
    assert run("-n") == run() == ["join"]
    Path("toy/join.py").write_text(text + "\n# a comment\n")
    assert run() == ["join"]  # the code is as at first, the record of the other code is not
    Path("toy/join.py").write_text(text + "\n# another comment\n")
    assert run() == []


def test_times_decide_nothing(workflow: Path) -> None:
    run()
    later = time.time() + 1000
    for path in ("data/a.txt", "toy/upper.py", "results/a.txt", "results/all.txt"):
        os.utime(path, (later, later))
    assert run() == []


def test_a_setting_starts_its_job(workflow: Path) -> None:
    run()
    Path("settings.json").write_text('{"separator": "-"}')
    assert run() == ["join"]
    assert Path("results/all.txt").read_text() == "A-B"


def test_a_job_behind_the_same_bytes_does_nothing(workflow: Path) -> None:
    run()
    before = os.stat("results/all.txt").st_ino
    text = Path("toy/upper.py").read_text()
    Path("toy/upper.py").write_text(text.replace("upper()", "lower().upper()"))
    run()
    assert os.stat("results/all.txt").st_ino == before
    assert run() == []


def test_a_new_set_is_made_and_joined(workflow: Path) -> None:
    run()
    Path("data/c.txt").write_text("c")
    Path("sets.json").write_text('["a", "b", "c"]')
    assert sorted(run()) == ["join", "upper"]
    assert Path("results/all.txt").read_text() == "A B C"


def test_forced_jobs_run(workflow: Path) -> None:
    run()
    assert run("--forcerun", "join") == ["join"]
    assert sorted(run("--forceall")) == ["join", "upper", "upper"]


@pytest.mark.parametrize(
    "missing", [[], ["results/b.txt"], ["results/all.txt"], ["results/a.more"]]
)
def test_a_killed_run_continues_to_the_same_bytes(missing: list[str], workflow: Path) -> None:
    run()
    Path("data/a.txt").write_text("x")
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), "WAIT": "60"}
    head = subprocess.Popen(
        SNAKEMAKE, env=environment, stderr=subprocess.PIPE, start_new_session=True
    )
    assert head.stderr is not None
    for line in head.stderr:
        if b"rule upper" in line:
            break
    time.sleep(1)
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()
    for path in missing:
        Path(path).unlink(missing_ok=True)
    subprocess.run([*SNAKEMAKE, "--unlock"], env=environment, capture_output=True, check=True)
    run("all", "uppers")
    assert Path("results/all.txt").read_text() == "X B"
    for path in ("results/a.txt", "results/a.more", "results/b.txt", "results/b.more"):
        assert Path(path).is_file()
    assert run("all", "uppers") == []
