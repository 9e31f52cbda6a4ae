"""Runs of Snakemake on the test cluster that a test can watch and kill, and the toy whose jobs do
as told.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, Job, eventually, missing

TOY = Path(__file__).parents[1] / "toy"
QUICK = (
    *("--slurm-resilient-init-seconds-before-status-checks", "1"),
    *("--slurm-resilient-retry-pause", "1", "--latency-wait", "3"),
)

# The profile leaves changed parameters to certificates, and toys have none: then Snakemake's own
# records decide.
BY_RECORDS = ("--rerun-triggers", "mtime", "params", "input", "code")


@contextmanager
def running(name: str, accounting: bool = False, **options: Any) -> Iterator[Cluster]:
    """A cluster with these options until the block ends."""
    reason = missing(accounting=accounting)
    if reason:
        pytest.skip(reason)
    # munge refuses a socket below a folder that others may not enter, as pytest's own are
    folder = Path(tempfile.mkdtemp(prefix=f"slurm-{name}-"))
    found = Cluster(folder, accounting=accounting, **options)
    found.start()
    yield found
    found.stop()
    shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Run:
    """Snakemake on the head node, in one folder."""

    folder: Path
    cluster: Cluster
    snakefile: str = "Snakefile"
    config: dict[str, Any] = field(default_factory=dict)
    configfile: str = "config.json"  # made of config, where it is JSON
    more: dict[str, str] = field(default_factory=dict)  # environment variables
    log: str = "run.log"
    status: int | None = None
    process: subprocess.Popen[str] | None = None
    before: set[Path] = field(default_factory=set)  # logs of earlier runs

    def start(self, *more: str, profile: str = "slurm") -> Run:
        """In the background; what it says goes to its log."""
        if self.configfile.endswith(".json"):
            (self.folder / self.configfile).write_text(json.dumps(self.config))
        self.before = snakemake_logs(self.folder)
        command = [
            "env",
            "--default-signal=INT",
        ]  # tests that run in the background have it ignored
        with (self.folder / self.log).open("w") as log:
            self.process = subprocess.Popen(
                [*command, *self.command(*more, profile=profile)],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                text=True,
            )
        return self

    def command(self, *more: str, profile: str = "slurm") -> list[str]:
        files = ["--snakefile", self.snakefile, "--configfile", self.configfile]
        quick = QUICK if profile == "slurm" else ()
        settings = ["--profile", f"workflow/profiles/{profile}", *quick, *more]
        return [sys.executable, "-m", "snakemake", *files, *settings]

    @property
    def environment(self) -> dict[str, str]:
        return {**environment(self.folder, self.cluster), **self.more}

    def wait(self, seconds: float = 400) -> int:
        assert self.process is not None
        try:
            self.status = self.process.wait(seconds)
            return self.status
        except subprocess.TimeoutExpired:
            self.process.kill()  # SIGTERM waits for running jobs
            self.process.wait()
            pytest.fail(f"the run did not end in {seconds:g} s\n{self.said()[-6000:]}")

    def kill(self, how: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(how)

    def submit(self, minutes: int, *more: str) -> str:
        """As a job of Slurm, which hands over to its successor before its time limit; its id."""
        if self.configfile.endswith(".json"):
            (self.folder / self.configfile).write_text(json.dumps(self.config))
        self.before = snakemake_logs(self.folder)
        (self.folder / self.log).touch()  # Slurm makes it only when the job starts
        names = {"PATH", "PYTHONPATH", "SLURM_CONF", "XDG_CACHE_HOME", "MPLCONFIGDIR"}
        given = self.environment
        exports = [f"{name}={given[name]}" for name in sorted(names & given.keys())]
        head = [
            "sbatch",
            "--parsable",
            f"--time={minutes}",
            "--requeue",
            "--open-mode=append",
            "--partition=cpu",
        ]
        head += [
            "-D",
            str(self.folder),
            "-o",
            str(self.folder / self.log),
            "--mem=3000",
            "--job-name=head",
        ]
        call = f"exec env {shlex.join(exports)} {shlex.join(self.command(*more))}"
        return self.cluster.run(*head, "--wrap", call).strip()

    def hands_over(self, head: str, times: int) -> None:
        """Wait until a head that is a job has handed over so often, and give the next one time to
        the end.
        """
        log = self.folder / self.log
        eventually(
            f"{times} hand-overs",
            lambda: log.read_text().count("it is queued again") >= times,
            1200,
        )
        self.cluster.run("scontrol", "update", f"JobId={head}", "TimeLimit=60")

    def own_squeue(self) -> Path:
        """A copy of squeue that this run alone uses, so that a test can take its right to start.

        No other squeue may be behind it in PATH."""
        mine = self.folder / "programs"
        mine.mkdir()
        kept = []
        for folder in self.environment["PATH"].split(os.pathsep):
            if not (Path(folder) / "squeue").exists():
                kept.append(folder)
                continue
            for file in Path(folder).iterdir():
                if not (mine / file.name).exists():
                    (mine / file.name).symlink_to(file)
        (mine / "squeue").unlink()
        shutil.copy(shutil.which("squeue") or "", mine / "squeue")
        self.more["PATH"] = os.pathsep.join([*kept, str(mine)])
        return mine / "squeue"

    def said(self) -> str:
        """What it says."""
        return (self.folder / self.log).read_text()

    def said_by_all(self) -> str:
        """What all heads of this folder said of every job."""
        return "".join(
            log.read_text(errors="replace") for log in sorted(snakemake_logs(self.folder))
        )

    def submitted(self) -> list[Job]:
        """The jobs of all heads of this folder, but no head."""
        return [job for job in self.cluster.jobs() if f"_{self.folder.name}_" in job.name]

    def tries(self) -> Counter[tuple[str, str]]:
        """What each of these jobs makes, by its rule and wildcards, and how it ended -> how often."""
        return Counter((job.comment.rpartition(" ")[0], job.state) for job in self.submitted())

    def says(self, what: str, seconds: float = 400) -> None:
        self._eventually(f"'{what}'", lambda: what in self.said(), seconds)

    def _eventually(self, what: str, done: Callable[[], bool], seconds: float) -> None:
        """As long as the run lives."""
        assert self.process is not None
        try:
            eventually(what, lambda: done() or self.process.poll() is not None, seconds)  # type: ignore[union-attr]
        except TimeoutError as error:
            jobs = "\n".join(map(str, self.cluster.jobs()))
            pytest.fail(f"{error}\n{self.said()[-6000:]}\n{jobs}")
        assert done(), self.said()

    # ---- the toy ---

    def started(self, name: str) -> list[str]:
        """Slurm ids of the tries of a toy job so far."""
        path = self.folder / "started" / name
        return path.read_text().split() if path.exists() else []

    def starts(self, *names: str, tries: int = 1, seconds: float = 400) -> None:
        for name in names:
            self._eventually(
                f"try {tries} of {name}", lambda n=name: len(self.started(n)) >= tries, seconds
            )

    def go(self, *names: str) -> None:
        for name in names:
            (self.folder / "go" / name).touch()

    def job(self, id: str) -> Job:
        return next(job for job in self.cluster.jobs() if job.id == id)


def snakemake_logs(folder: Path) -> set[Path]:
    return set((folder / ".snakemake/log").glob("*.snakemake.log"))


def environment(folder: Path, cluster: Cluster) -> dict[str, str]:
    """Of the head: this process's own, with the cluster's."""
    ours = ("SNAKEMAKE", "PYTEST", "PYTHON", "SLURM")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    path = os.pathsep.join([str(Path(sys.executable).parent), cluster.environment["PATH"]])
    cache = {"XDG_CACHE_HOME": str(folder / ".cache")}
    return {**kept, **cluster.environment, "PATH": path, **cache}


@contextmanager
def small_disk(folder: Path, size: str = "size=64k,nr_inodes=1000") -> Iterator[Path]:
    """A small file system in this folder until the block ends; size: options of mount."""
    folder.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Use up the space of a small file system: files can be made, and not written.

    Returns the file to remove."""
    filler = folder / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(b"x" * 10**8)
    return filler


def toy(folder: Path, cluster: Cluster, **config: Any) -> Run:
    """A folder with the toy, whose jobs follow its configuration."""
    shutil.copytree(TOY, folder, dirs_exist_ok=True)
    for name in ("started", "go"):
        (folder / name).mkdir()
    return Run(folder, cluster, config=config)
