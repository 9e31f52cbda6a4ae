"""Locks of a killed run: cleared where nobody can hold them, and only there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CLEAR = """
import sys
from pathlib import Path
from coder_clip.pipeline.locks import clear_stale_locks
print(clear_stale_locks(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def run(folder: Path) -> subprocess.Popen[str]:
    child = [sys.executable, "-c", CLEAR, str(folder)]
    return subprocess.Popen(child, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


def test_locks_of_a_killed_run_are_cleared_and_those_of_a_living_one_stay(tmp_path: Path) -> None:
    """Two living runs would write the same files; after a kill the person would be asked to unlock."""
    lock = tmp_path / "locks/0.input.lock"
    lock.parent.mkdir()
    first = run(tmp_path)
    assert said(first) == "False"
    lock.write_text("results/x")  # the first run works
    second = run(tmp_path)
    assert said(second) == "False"
    assert lock.exists()
    end(second)
    end(first)
    third = run(tmp_path)
    assert said(third) == "True"
    assert not lock.exists()
    end(third)


def test_locks_of_another_machine_stay(tmp_path: Path) -> None:
    """A cluster's login nodes share the folder, but not always its file locks."""
    lock = tmp_path / "locks/0.input.lock"
    lock.parent.mkdir()
    lock.write_text("results/x")
    (tmp_path / "alive").write_text("another-machine")
    for _ in range(2):
        child = run(tmp_path)
        assert said(child) == "False"
        assert lock.exists()
        end(child)
