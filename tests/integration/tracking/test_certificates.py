"""Certificates: what nobody but a job's process can say, and what need not run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from project import BIN, ROOT, Project

pytestmark = pytest.mark.rest

# ---- what a certificate states


def test_stale_bytecode_is_neither_run_nor_vouched_for(toy: Project) -> None:
    """Python takes the bytecode of another source that has the same size and time."""
    source = toy / "src/toy/score.py"
    toy.edit("src/toy/score.py", "% 100", "% 500")
    toy.run(str(BIN / "python"), "-c", "import sys; sys.path.insert(0, 'src'); import toy.score")
    assert list((toy / "src/toy/__pycache__").glob("score.*.pyc"))
    stat = source.stat()
    source.write_text(source.read_text().replace("% 500", "% 700"))
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert toy.honest() == ["page", "score", "score"]
    features = (toy / "results/features/m/a.bin").read_bytes()
    import zlib

    expected = zlib.crc32(features) % 700 + 5
    assert json.loads((toy / "results/scores/m/a.json").read_text()) == {"accuracy": expected}


def test_every_command_gives_the_same_answer(toy: Project) -> None:
    """Three judges could disagree: a run, a record and a pull each compared in its own way."""
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    why = "a parameter changed (threshold 5 → 6)"
    scores = "phase scores is not recorded: results/scores/m/a.json (and 3 more)"
    assert toy.planned() == ["page", "score", "score"]
    assert f"{why} (4)" in toy.run("coder-clip", "status").stdout
    assert f"{scores} {why}" in toy.run("coder-clip", "record", ok=False).stdout
    assert (
        "results/scores/m/a.json (and 3 more) will be made again"
        in toy.run("coder-clip", "pull").stdout
    )


def test_a_reason_of_somebody_else_s_is_no_command_to_the_terminal(toy: Project) -> None:
    """Certificates come with a pull, and their doubts were printed as they are."""
    path = toy / "results/certificates/scores/score/a.json"
    stated = json.loads(path.read_text())
    path.unlink()
    path.write_text(json.dumps({**stated, "doubt": "\x1b[2J\x1b]0;mine \ud800"}))
    for command in ("status", "record", "pull"):
        done = toy.run("coder-clip", command, ok=False)
        assert "Traceback" not in done.stdout
        assert "\x1b" not in done.stdout
        if command != "pull":
            assert r"\x1b[2J\x1b]0;mine \ud800" in done.stdout
    assert "\x1b[2J" not in toy.snakemake("-n")


# ---- what need not run


def started(project: Project) -> dict[str, int]:
    """Output -> inode: a file that was made again has another one."""
    return {path: os.stat(project / path).st_ino for path in project.bytes()}


def recorded(project: Project) -> dict[str, str]:
    """Out -> hash in dvc.lock."""
    stages = yaml.safe_load(project.lock())["stages"].values()
    return {out["path"]: out["md5"] for stage in stages for out in stage["outs"]}


def test_an_edit_without_effect_stops_behind_its_phase(toy: Project) -> None:
    """Jobs behind unchanged bytes end at once, and no hash of a later phase moves."""
    toy.edit("src/toy/text.py", "[:words]", "[:words + 0]")
    before, lock = started(toy), recorded(toy)
    said = toy.snakemake("--verbose")
    assert {p for p, inode in started(toy).items() if inode != before[p]} == {
        "results/texts/a.json",
        "results/texts/b.json",
    }
    after = recorded(toy)
    assert [path for path in after if after[path] != lock[path]] == ["results/certificates/texts"]
    assert "recorded in DVC: texts;" in said
    assert (toy.planned(), toy.stale()) == ([], [])


def test_a_forced_job_runs_though_its_certificate_holds(toy: Project) -> None:
    before = started(toy)
    toy.snakemake("--forcerun", "feature")
    changed = {p for p, inode in started(toy).items() if inode != before[p]}
    assert changed == {"results/features/m/a.bin", "results/features/m/b.bin"}
    assert (toy.planned(), toy.stale()) == ([], [])


# ---- sharing


def test_tables_of_git_come_back_with_a_pull(toy: Project) -> None:
    before = toy.bytes()
    shutil.rmtree(toy / "results")
    toy.run("coder-clip", "pull")
    assert toy.bytes() == before
    assert toy.planned() == []


def test_the_record_of_a_renamed_configuration_is_named_and_kept(toy: Project) -> None:
    """DVC refuses two records of the same results; a colleague's record was removed because his
    file was not there.
    """
    text = (toy / "config/reproduce.yaml").read_text()
    (toy / "config/other.yaml").write_text(f"{text}results: results/other\n")
    toy.snakemake("--configfile", "config/other.yaml")
    toy.commit("other")
    toy.git("mv", "config/other.yaml", "config/better.yaml")
    said = toy.snakemake("--configfile", "config/better.yaml")
    assert "Nothing to be done" in said
    said = toy.run("coder-clip", "record", "--config", "config/better.yaml").stdout
    assert "tracked/other/ is the record of config/other.yaml, which is gone" in said
    assert (toy / "tracked/other/dvc.lock").is_file()
    toy.git("rm", "-r", "tracked/other")
    assert toy.stale() == []


def test_a_moved_clone_makes_its_environment_again(tmp_path: Path) -> None:
    """Its programs hold the old path: `.venv/bin/snakemake: No such file`."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (
        "pyproject.toml",
        "constraints.txt",
        "packages/coder-clip-photos/pyproject.toml",
        "packages/snakemake-executor-plugin-slurm-resilient/pyproject.toml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    program = tmp_path / ".venv/bin/python"

    def plan(folder: str) -> str:
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch()
        (tmp_path / ".venv/installed").write_text(f"{folder}\n")
        command = ["make", "--dry-run", "install"]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    assert "-m venv" not in plan(os.path.realpath(tmp_path))
    assert "-m venv" in plan("/elsewhere")
