"""The replay of past commits: what a commit changes, and what that reruns."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import lasting
from coder_clip.tracking.certificates import Certificate

MODULE = "src/coder_clip/module.py"


def commit(folder: Path, text: str) -> None:
    (folder / MODULE).write_text(text)
    person = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["add", "--all"], [*person, "commit", "--quiet", "-m", "next"]):
        subprocess.run(["git", *command], cwd=folder, check=True)


def test_a_commit_changes_blocks_and_a_remark_changes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / "src/coder_clip").mkdir(parents=True)
    commit(tmp_path, "A = 1\n\n\ndef f():\n    return A\n")
    commit(tmp_path, "# a remark\nA = 1\n\n\ndef f():\n    return A\n")
    commit(tmp_path, "A = 2\n\n\ndef f(x=1):\n    return A\n")
    monkeypatch.setattr(lasting, "ROOT", tmp_path)
    last, remark, first = lasting.commits("HEAD", 9)
    assert last.blocks == {(MODULE, "A"), (MODULE, "f")}
    assert (remark.modules, remark.blocks) == ({MODULE}, set())
    assert first.blocks == {(MODULE, key) for key in ("A", "f", "f()")}


def test_jobs_that_depend_on_a_touched_one_run_again() -> None:
    """Of three jobs in a row, the second one and the third one: 5 of 6 seconds."""
    run = []
    for n in (1, 2, 3):
        inputs, outputs = {f"{n - 1}.txt": "sha"}, {f"{n}.txt": "sha"}
        made = Certificate("rule", "command", "call", {}, {}, {}, inputs, {}, outputs)
        run.append(lasting.Job(made, {(MODULE, f"f{n}()")}, float(n)))
    assert lasting.share(run, lambda job: (MODULE, "f2()") in job.blocks) == 5 / 6
    assert lasting.share(run, lambda job: False) == 0
