"""The example of the executor's package, as a newcomer has it: no profile, nothing of this project."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import Cluster, eventually
from toy_run import environment

pytestmark = pytest.mark.rest
EXAMPLE = Path(__file__).parents[2] / "example/Snakefile"


LINES = re.compile(r"^from snakemake_executor.*?^rule all", re.M | re.S)  # what the README asks for


def head(folder: Path, cluster: Cluster, *options: str) -> tuple[list[str], dict[str, str]]:
    """The command of the example, and its environment."""
    (command,) = re.findall(r"^#   snakemake (.*)$", EXAMPLE.read_text(encoding="utf-8"), re.M)
    quick = ["--slurm-resilient-init-seconds-before-status-checks", "1"]
    names = environment(folder, cluster)
    return [sys.executable, "-m", "snakemake", *command.split(), *quick, *options], names


def killed(folder: Path, cluster: Cluster) -> None:
    """A run whose head is killed while two jobs are at work."""
    command, names = head(folder, cluster)
    process = subprocess.Popen(command, cwd=folder, env=names, stderr=subprocess.DEVNULL)
    eventually("two jobs", lambda: len(list(folder.glob("ids-*"))) >= 2)
    process.send_signal(signal.SIGKILL)
    process.wait()


def again(folder: Path, cluster: Cluster, *options: str) -> subprocess.CompletedProcess[str]:
    command, names = head(folder, cluster, *options)
    return subprocess.run(
        command, cwd=folder, env=names, capture_output=True, text=True, timeout=300
    )


def nothing_ran_twice(folder: Path) -> None:
    assert (folder / "all.txt").read_text() == "0\n1\n2\n3\n"
    assert [len((folder / f"ids-{n}").read_text().split()) for n in range(4)] == [1] * 4


def test_the_example_goes_on_after_a_kill(shared_folder: Path, tight: Cluster) -> None:
    shutil.copy(EXAMPLE, shared_folder)
    killed(shared_folder, tight)
    done = again(shared_folder, tight)
    assert done.returncode == 0, done.stderr
    assert "of an earlier run" in done.stderr
    nothing_ran_twice(shared_folder)


def test_a_snakefile_without_our_lines_is_told_what_to_do_about_the_lock(
    shared_folder: Path, tight: Cluster
) -> None:
    """A newcomer's own Snakefile, with the executor alone."""
    text, count = LINES.subn("rule all", EXAMPLE.read_text(encoding="utf-8"))
    assert count == 1
    (shared_folder / "Snakefile").write_text(text)
    killed(shared_folder, tight)
    done = again(shared_folder, tight)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "that was killed" in line]
    assert "'snakemake --unlock'" in line
    assert "'heads.follow' and 'reattach.before_jobs'" in line
    assert "Traceback" not in done.stderr, done.stderr
    assert again(shared_folder, tight, "--unlock").returncode == 0
    done = again(shared_folder, tight)
    assert done.returncode == 0, done.stderr
    nothing_ran_twice(shared_folder)
