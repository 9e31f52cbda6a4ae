"""`coder-clip check --profile slurm`: would a cluster take the jobs of a configuration?

Slurm itself answers, about the heaviest jobs of each place; no job is submitted. What jobs find on
nodes, `snakemake smoke` says (`workflow/rules/smoke.smk`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UserError, nearest, one_line
from ..foundation.artifacts import Paths, writable
from ..foundation.yaml_file import read_yaml
from ..jobs import REQUESTS
from ..pipeline.config import Config

if TYPE_CHECKING:
    from snakemake_executor_plugin_slurm_resilient.site import Site

# The executor's package is imported where it is used, because it may not be installed
# (`foundation.installed`).
EXECUTOR = "slurm-resilient"
PROFILES = Path("workflow/profiles")
LITTLE = {"mem_mb": 1000, "runtime": 5, "cpus": 1}
PLACE = ("partition", "account", "qos", "gres", "gpu", "gpu_model")  # resources that name a place


class Finding(NamedTuple):
    """One line of a check.

    status: "ok", "wrong" (would stop a run) or "note" (would not, but deserves a look).
    """

    status: str
    text: str

    def __str__(self) -> str:
        return f"{self.status:5}  {self.text}"


@dataclass
class Planned:
    """A job that a run would submit. settings: the executor's options in the profile."""

    rule: str
    threads: int
    resources: Mapping[str, Any]
    settings: SimpleNamespace
    attempt: int = 1

    @property
    def asked(self) -> dict[str, Any]:
        """Resource -> amount or name, as the executor asks for it."""
        from snakemake_executor_plugin_slurm_resilient import retry
        from snakemake_executor_plugin_slurm_resilient.journal import Tries

        return retry.asked(self, Tries())

    def call(self, asked: Mapping[str, Any]) -> list[str]:
        """The words of the executor's sbatch command with these resources."""
        from snakemake_executor_plugin_slurm_resilient import submit

        return submit.call(self, asked, self.settings, "check", "/dev/null", "check")


def findings(config: Config, file: Path, profile: str) -> Iterator[Finding]:
    """Yield findings as `check_cluster`; a last one if nothing more can be checked."""
    from snakemake_executor_plugin_slurm_resilient.queue import SlurmError

    try:
        yield from check_cluster(config, file, profile)
    except (SlurmError, UserError) as error:
        yield Finding("wrong", str(error))


def check_cluster(config: Config, file: Path, profile: str) -> Iterator[Finding]:
    """Yield findings as they come. file: the configuration.

    UserError or SlurmError if nothing can be checked: no such profile, no log folder, no plan, no
    Slurm here.
    """
    from snakemake_executor_plugin_slurm_resilient import queue, site

    folder, options = find_profile(profile)
    here = site.read()
    version = queue.ask("sinfo", "--version").strip()
    yield Finding("ok", f"{version}: partitions {', '.join(here.partitions)}")
    counted = all(Paths(config.results).manifest(d).is_file() for d in config.datasets)
    guessed = "; a guess, before 'snakemake manifest' has listed the images"
    if counted:
        guessed = ""
    settings = SimpleNamespace(**options)
    jobs = [Planned(**job, settings=settings) for job in requests(file, folder)]
    for of_place in by_place(jobs):
        yield from _place(of_place, here, guessed)
    writable(Path(settings.logdir or ".snakemake/slurm_logs").resolve(), "logs")


def find_profile(name: str) -> tuple[Path, dict[str, Any]]:
    """The folder of a Slurm profile, and its options of the executor.

    name: its path, its file, or its name below workflow/profiles. UserError if there is none.
    """
    places = (PROFILES / name / "config.yaml", Path(name) / "config.yaml", Path(name))
    file = next((f for f in places if f.is_file()), None)
    if file is None:
        known = [p.parent.name for p in PROFILES.glob("*/config.yaml")]
        raise UserError(
            f"no profile '{name}'{nearest(name, known)}: no folder with config.yaml, nor below "
            f"{PROFILES}"
        )
    document = read_yaml(file)
    if not isinstance(document, dict) or document.get("executor") != EXECUTOR:
        raise UserError(
            f"{file.parent} is not a Slurm profile: config.yaml lacks 'executor: {EXECUTOR}'"
        )
    from snakemake_executor_plugin_slurm_resilient import ExecutorSettings

    options = {
        name: document.get(f"{EXECUTOR}-{name.replace('_', '-')}")
        for name in ExecutorSettings.__dataclass_fields__
    }
    return file.parent, options


def requests(config: Path, profile: Path) -> list[dict[str, Any]]:
    """Rule, threads and resources of each job that a run would submit with a profile.

    UserError with Snakemake's message if Snakemake cannot read the workflow.
    """
    command = [sys.executable, "-m", "snakemake", "--list-rules", "--nolock", "--quiet", "all"]
    command += ["--profile", str(profile), "--configfile", str(config)]
    with tempfile.TemporaryDirectory(prefix="coder-clip-") as folder:
        noted = Path(folder) / "requests.json"
        # without downloads, which ask a cluster for nothing
        variables = {REQUESTS: str(noted), "CODER_CLIP_FETCH": "false"}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, **variables}
        )
        if done.returncode == 0 and noted.is_file():
            found: list[dict[str, Any]] = json.loads(noted.read_text(encoding="utf-8"))
            return found
    said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    said = [line.removeprefix("coder-clip: error: ") for line in said] or ["no answer"]
    raise UserError(f"Snakemake cannot plan: {one_line(said[-1], 500)}")


def by_place(jobs: Iterable[Planned]) -> list[list[Planned]]:
    """The jobs of each place, which differ only in memory, time and CPUs."""
    places: dict[tuple[str, ...], list[Planned]] = {}
    for job in jobs:
        places.setdefault(tuple(job.call(job.asked | LITTLE)), []).append(job)
    return list(places.values())


def heaviest(jobs: list[Planned]) -> list[Planned]:
    """The jobs with the most memory, time, CPUs and GPUs."""
    from snakemake_executor_plugin_slurm_resilient import retry

    most = [
        max(jobs, key=lambda j: retry.number(j.asked, k))
        for k in ("mem_mb", "runtime", "cpus", "gpu")
    ]
    # one job can be the heaviest in several ways
    return list({id(job): job for job in most}.values())


def _place(jobs: list[Planned], here: Site, guessed: str) -> list[Finding]:
    """Check that the cluster accepts the heaviest jobs of one place.

    jobs: of one place, alike but for memory, time and CPUs. guessed: words to add if amounts are
    guesses, else "".

    A job that asks for more than the nodes have gets the most that they have: a note, but nothing
    is said of a guess, because guesses are generous and made again before the job is submitted. A
    refused job is wrong; but if its amounts are guesses, and Slurm would accept it with small
    amounts, it is a note.
    """
    from snakemake_executor_plugin_slurm_resilient import retry

    named = [f"{key} {jobs[0].asked[key]}" for key in PLACE if key in jobs[0].asked]
    where = ", ".join(named) or "the default partition"
    found: list[Finding] = []
    largest = Counter[str]()  # resource -> the largest amount of a job
    for job in heaviest(jobs):
        name = f"{where}: {job.rule}"
        asked, cut = retry.capped(job.asked, here.most(job.asked))
        if cut and not guessed:
            found.append(Finding("note", f"{name}: it gets {', '.join(cut)}"))
        refusal = _refusal(job, asked)
        if refusal:
            # if Slurm accepts the job with LITTLE, it refuses only the amounts
            guess = guessed if not _refusal(job, job.asked | LITTLE) else ""
            # one refusal says enough of a place
            return [*found, Finding("note" if guess else "wrong", f"{name}: {refusal}{guess}")]
        # `|` keeps the larger amount of each kind
        largest |= Counter({k: retry.number(asked, k) for k in retry.UNITS})
    amounts = ", ".join(f"{largest[k]} {unit}" for k, unit in retry.UNITS.items())
    rules = ", ".join(sorted({job.rule for job in jobs}))
    return [
        *dict.fromkeys(found),
        Finding("ok", f"{where}: {len(jobs)} jobs of {rules}; at most {amounts}"),
    ]


def _refusal(job: Planned, asked: dict[str, Any]) -> str:
    """Why Slurm would refuse a job with these resources, without submitting it.

    "" if Slurm accepts it.
    """
    from snakemake_executor_plugin_slurm_resilient import queue, reasons

    try:
        queue.ask(*job.call(asked), "--test-only", stdin="#!/bin/sh\n")
    except queue.Unreachable as error:
        said = str(error).removeprefix("sbatch: error: ").removeprefix("allocation failure: ")
        return reasons.refused(said, asked)
    return ""
