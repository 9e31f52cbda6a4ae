"""Commands of other distributions: one that is not here, or broken, takes no other with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bare
from working_copy import SHAPES_ALONE, working_copy

ENTRY = "[coder_clip.commands]\nclassify = {module}\n"
HELLO = """
from coder_clip.cli.options import app

@app.command()
def classify() -> None:
    print("hello")
"""


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`coder-clip` with the entry points of ``folder`` alone."""
    code = (
        "import importlib.metadata as m, sys\n"
        "found = m.distributions(path=[sys.argv.pop(1)])\n"
        "points = m.EntryPoints(p for d in found for p in d.entry_points)\n"
        "m.entry_points = lambda **chosen: points.select(**chosen)\n"
        "from coder_clip.cli import main\n"
        "main()\n"
    )
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-c", code, str(folder), *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


def install(folder: Path, source: str | None) -> None:
    """A distribution whose command `classify` is in the module ``hello``."""
    (folder / "hello-1.dist-info").mkdir()
    (folder / "hello-1.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: hello\nVersion: 1\n"
    )
    (folder / "hello-1.dist-info/entry_points.txt").write_text(ENTRY.format(module="hello"))
    if source is not None:
        (folder / "hello.py").write_text(source)


@pytest.mark.parametrize(
    "arguments", [("classify",), ("find", "photos", "--top", "3"), ("explore", "--help")]
)
def test_a_command_that_is_not_installed_says_how_to_get_it(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """ "No such command" would send people to a registry, where anybody could have this name."""
    said = start(tmp_path, *arguments)
    assert said.returncode == 1
    assert said.stderr == (
        f"coder-clip: error: '{arguments[0]}' is not installed: "
        "pip install ./packages/coder-clip-photos in a clone of coder-clip (make does it)\n"
    )
    assert said.stdout == ""


def test_help_lists_only_what_is_installed(tmp_path: Path) -> None:
    assert " classify " not in start(tmp_path, "--help").stdout
    install(tmp_path, HELLO)
    assert " classify " in start(tmp_path, "--help").stdout
    assert start(tmp_path, "classify").stdout == "hello\n"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "ModuleNotFoundError: No module named 'hello'"),
        ("import coder_clip.nowhere", "ModuleNotFoundError: No module named 'coder_clip.nowhere'"),
        ("raise ValueError('a\\nb')", "ValueError: a b"),
        ("def (", "SyntaxError: "),
    ],
)
def test_a_command_that_cannot_be_loaded_is_one_line(
    tmp_path: Path, source: str | None, reason: str
) -> None:
    """A half-installed package would end every command of coder-clip in a traceback."""
    install(tmp_path, source)
    said = start(tmp_path, "classify", "photos", "--classes", "cat,dog")
    assert said.returncode == 1
    assert said.stderr.startswith(
        f"coder-clip: error: 'classify' of hello cannot be loaded: {reason}"
    )
    assert said.stderr.count("\n") == 1, said.stderr
    assert start(tmp_path, "--version").returncode == 0


def test_without_the_executor_for_slurm(tmp_path: Path) -> None:
    """A run is planned, a check of a cluster says how to install it, and jobs that may be on one
    are not made twice: a run here and a job there would write the same files.
    """
    work = working_copy(tmp_path / "copy", SHAPES_ALONE)
    sources = [work.folder / "src", work.folder / "packages/coder-clip-photos/src"]
    packages = ("coder_clip", "snakemake_logger_plugin_coder_clip", "coder_clip_photos")
    python = bare.make(tmp_path, packages, sources)
    install = "pip install ./packages/snakemake-executor-plugin-slurm-resilient in a clone"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python), "-m", *arguments],
            cwd=work.folder,
            env=bare.environment(tmp_path),
            capture_output=True,
            text=True,
        )

    snakemake = ("snakemake", "--cores", "1", "--configfile", work.config)
    planned = run(*snakemake, "-n")
    assert planned.returncode == 0, planned.stderr
    assert "fit_adapters" in planned.stdout + planned.stderr
    asked = run("coder_clip.cli", "check", "--profile", "slurm", "--config", work.config)
    assert asked.returncode == 1
    assert asked.stderr.startswith(
        f"coder-clip: error: the executor for Slurm is not installed: {install}"
    )
    assert asked.stderr.count("\n") == 1
    journal = work.folder / ".snakemake/slurm-resilient/jobs/head.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_text("{}\n")
    stopped = run(*snakemake)
    assert stopped.returncode != 0
    assert "jobs of an earlier run of this folder may be on a Slurm cluster" in stopped.stderr
    assert install in stopped.stderr
    assert not (work.folder / "results").exists(), "no job ran"
