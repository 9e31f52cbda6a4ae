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
from cluster_run import REPO, environment

pytestmark = pytest.mark.rest
EXAMPLE = REPO / "packages/snakemake-executor-plugin-slurm-resilient/example/Snakefile"


def test_the_example_goes_on_after_a_kill(shared_folder: Path, tight: Cluster) -> None:
    shutil.copy(EXAMPLE, shared_folder)
    (command,) = re.findall(r"^#   snakemake (.*)$", EXAMPLE.read_text(encoding="utf-8"), re.M)
    quick = ["--slurm-resilient-init-seconds-before-status-checks", "1"]
    run = [sys.executable, "-m", "snakemake", *command.split(), *quick]
    names = environment(shared_folder, tight)
    package = EXAMPLE.parents[1] / "src"
    names["PYTHONPATH"] = str(package)
    head = subprocess.Popen(run, cwd=shared_folder, env=names, stderr=subprocess.DEVNULL)
    eventually("two jobs", lambda: len(list(shared_folder.glob("ids-*"))) >= 2)
    head.send_signal(signal.SIGKILL)
    head.wait()
    done = subprocess.run(run, cwd=shared_folder, env=names, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "of an earlier run" in done.stderr
    assert (shared_folder / "all.txt").read_text() == "0\n1\n2\n3\n"
    assert [len((shared_folder / f"ids-{n}").read_text().split()) for n in range(4)] == [1] * 4
