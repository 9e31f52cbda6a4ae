"""Runs of Snakemake on the test cluster that a test can watch and kill, and the toy DAG whose jobs do as told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, Job, eventually

HERE = Path(__file__).parent
REPO = HERE.parents[2]
QUICK = ("--coder-clip-init-seconds-before-status-checks", "1", "--latency-wait", "3")


@dataclass
class Run:
    """Snakemake on the head node, in one folder."""

    folder: Path
    cluster: Cluster
    snakefile: str = "Snakefile"
    config: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def start(self, *more: str, profile: str = "slurm") -> Run:
        """In the background; what it says goes to the file run.log."""
        (self.folder / "config.json").write_text(json.dumps(self.config))
        quick = QUICK if profile == "slurm" else ()
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            self.snakefile,
            "--configfile",
            "config.json",
        ]
        command += ["--profile", f"workflow/profiles/{profile}", *quick, *more]
        with (self.folder / "run.log").open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment(self), stdout=log, stderr=log, text=True
            )
        return self

    def wait(self, seconds: float = 120) -> int:
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()  # SIGTERM waits for running jobs
            self.process.wait()
            pytest.fail(f"the run did not end in {seconds:g} s\n{self.said()[-6000:]}")

    def kill(self, how: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(how)

    def said(self) -> str:
        return (self.folder / "run.log").read_text()

    def says(self, what: str, seconds: float = 60) -> None:
        eventually(f"'{what}'", lambda: what in self.said(), seconds)

    # ---- the toy ----------------------------------------------------------------------------------

    def started(self, name: str) -> list[str]:
        """Slurm ids of the tries of a toy job so far."""
        path = self.folder / "started" / name
        return path.read_text().split() if path.exists() else []

    def starts(self, *names: str, tries: int = 1) -> None:
        for name in names:
            eventually(f"try {tries} of {name}", lambda n=name: len(self.started(n)) >= tries, 60)

    def go(self, *names: str) -> None:
        for name in names:
            (self.folder / "go" / name).touch()

    def job(self, id: str) -> Job:
        return next(job for job in self.cluster.jobs() if job.id == id)


def environment(run: Run) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SNAKEMAKE", "PYTEST", "SLURM"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), run.cluster.environment["PATH"]])
    return {
        **kept,
        **run.cluster.environment,
        "PATH": path,
        "PYTHONPATH": str(run.folder / "src" if (run.folder / "src").is_dir() else REPO / "src"),
        "XDG_CACHE_HOME": str(run.folder / ".cache"),
    }


def toy(folder: Path, cluster: Cluster, **config: Any) -> Run:
    """A folder with the toy DAG and this repository's profile and rules for Slurm."""
    shutil.copytree(HERE / "toy", folder, dirs_exist_ok=True)
    for part in ("profiles", "rules/slurm.smk"):
        target = folder / "workflow" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (REPO / "workflow" / part).is_dir() else shutil.copy
        copy(REPO / "workflow" / part, target)
    for name in ("started", "go"):
        (folder / name).mkdir()
    return Run(folder, cluster, config=config)
