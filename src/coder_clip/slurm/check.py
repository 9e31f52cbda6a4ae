"""`coder-clip check --profile slurm`: whether a cluster has what a profile and a configuration ask of it.

First what Slurm itself says (its partitions, its verdict on the heaviest jobs), then what small jobs see on nodes.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from snakemake_executor_plugin_coder_clip import queue, site

from ..datasets import PUBLISHED
from ..datasets.published import data_root
from ..errors import UserError, nearest
from ..foundation.artifacts import Paths
from ..pipeline.config import Config
from ..pipeline.yaml_file import read_yaml
from ..tracking.certificates import PLAN
from . import plan
from .plan import Plan, Planned
from .probe import Answer, Folder, Probes

PROFILES = Path("workflow/profiles")
UNITS = {"mem_mb": "MB", "runtime": "min"}  # of what the size of the work decides
COMMANDS = ("sbatch", "squeue", "sinfo", "scontrol", "scancel")


@dataclass(frozen=True)
class Finding:
    """One line of the check. wrong: it would stop a run. note: it would not, but deserves a look."""

    status: Literal["ok", "note", "wrong"]
    text: str

    def __str__(self) -> str:
        return f"{self.status:5}  {self.text}"


def check(config: Config, file: Path, profile: str, probe: bool, patience: float) -> Iterator[Finding]:
    """Findings, as they come. patience: seconds to wait for a node.

    UserError if nothing can be said: no Slurm here, no such profile, a workflow that cannot be planned.
    """
    if absent := [c for c in COMMANDS if shutil.which(c) is None]:
        raise UserError(
            f"no {', '.join(absent)} on this machine; run this where you submit Slurm jobs (a login node), perhaps "
            "after 'module load slurm'"
        )
    folder = find_profile(profile)
    here = {"": site.partitions()}  # by cluster
    yield Finding("ok", f"{queue.ask('sinfo', '--version').strip()}: partitions {', '.join(here[''])}")
    planned = planned_by(folder, file)
    for cluster in {str(job.asked["cluster"]) for job in planned.jobs if "cluster" in job.asked}:
        here[cluster] = site.partitions(cluster)
    guessed = ""
    if not all(Paths(config.results).manifest(d).is_file() for d in config.datasets):
        guessed = (
            "; a guess, made before the images are listed: run "
            f"'snakemake manifest --profile {folder} --configfile {file}', and check again"
        )
    usable = {}
    for place, jobs in by_place(planned.jobs).items():
        findings = list(_place(jobs, here[str(jobs[0].asked.get("cluster", ""))], guessed))
        yield from findings
        if all(f.status != "wrong" for f in findings):
            usable[place] = jobs
    logs = Path(planned.log_folder).resolve()
    try:
        logs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=logs):
            pass
    except OSError as error:
        yield Finding("wrong", f"log folder {logs} cannot be written: {error.strerror or error}")
        return
    yield Finding("ok", f"log folder {logs}")
    if probe and usable:
        yield from _probe(planned, usable, logs, shared(config, file), patience)


# ---- what would be asked -----------------------------------------------------------------------------


def find_profile(name: str) -> Path:
    """The folder of a Slurm profile, by its path, its file, or its name below workflow/profiles. UserError if none."""
    path = Path(name)
    folders = [path.parent if path.is_file() else path, PROFILES / name]
    file = next((f / "config.yaml" for f in folders if (f / "config.yaml").is_file()), None)
    if file is None:
        known = [p.parent.name for p in PROFILES.glob("*/config.yaml")]
        raise UserError(
            f"no profile '{name}'{nearest(name, known)}: neither a folder with config.yaml nor below {PROFILES}"
        )
    document = read_yaml(file)
    if not isinstance(document, dict) or document.get("executor") != "coder-clip":
        raise UserError(
            f"{file.parent} is not a Slurm profile: config.yaml lacks the line 'executor: coder-clip'"
        )
    return file.parent


def planned_by(profile: Path, file: Path) -> Plan:
    """All jobs of the DAG. UserError with Snakemake's words where it cannot be planned."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "plan.json"
        command = [sys.executable, "-m", "coder_clip.slurm.plan", str(target)]
        command += ["--profile", str(profile), "--configfile", str(file), "--forceall"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, PLAN: os.devnull}
        )
        if done.returncode or not target.is_file():
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no answer"]
            raise UserError(f"Snakemake cannot plan with {profile}: {' '.join(lines[-3:])[-400:]}")
        return plan.read(target)


def by_place(jobs: Iterable[Planned]) -> dict[str, list[Planned]]:
    """Group jobs that differ only in memory, time and CPUs."""
    places = defaultdict(list)
    for job in jobs:
        places[job.place].append(job)
    return places


def heaviest(jobs: list[Planned]) -> list[Planned]:
    """The jobs with the most memory, time, CPUs and GPUs."""
    most = [max(jobs, key=lambda j: int(j.asked.get(k, 0))) for k in ("mem_mb", "runtime", "cpus", "gpu")]
    return list({job.call: job for job in most}.values())


def _where(asked: dict[str, object]) -> str:
    kinds = (("partition", "partition"), ("account", "account"), ("qos", "QOS"))
    words = [f"{word} {asked[key]}" for key, word in kinds if key in asked]
    if "gres" in asked:
        words.append(str(asked["gres"]))
    elif "gpu" in asked or "gpu_model" in asked:
        words.append(f"{asked.get('gpu', 1)} GPU {asked.get('gpu_model', '')}".strip())
    return ", ".join(words) or "the default partition"


# ---- what Slurm says ---------------------------------------------------------------------------------


def _place(jobs: list[Planned], here: dict[str, site.Partition], guessed: str) -> Iterator[Finding]:
    """Check whether the cluster takes the jobs of one place. guessed: a note for amounts that are only guesses."""
    where, rules = _where(jobs[0].asked), sorted({rule for job in jobs for rule in job.rules})
    refused = []
    for job in heaviest(jobs):
        name, most = " + ".join(job.rules), site.most(job.asked, here)
        over = [k for k in UNITS if int(job.asked.get(k, 0)) > most.get(k, math.inf)]
        if over:
            words = [
                f"it asks for {job.asked[k]} {UNITS[k]}, the partition has at most {most[k]:g}" for k in over
            ]
            guess = "" if set(over) & set(job.fixed) else guessed
            refused.append(
                Finding("note" if guess else "wrong", f"{where}: {name}: {', '.join(words)}{guess}")
            )
        elif said := _refusal(job):
            refused.append(Finding("wrong", f"{where}: {name}: {said}"))
            break  # the same for all
    yield from dict.fromkeys(refused)
    if not refused:
        most = {k: max(int(job.asked.get(k, 0)) for job in jobs) for k in ("mem_mb", "runtime", "cpus")}
        yield Finding(
            "ok",
            f"{where}: {len(jobs)} jobs of {', '.join(rules)}; at most {most['mem_mb']} MB, {most['runtime']} min, "
            f"{most['cpus']} CPUs",
        )


def _refusal(job: Planned) -> str:
    """Why Slurm would refuse a job, without submitting it; "" if it would not."""
    try:
        queue.ask("sh", "-c", f"{job.call} --test-only", stdin="#!/bin/sh\n")
    except queue.Unreachable as error:
        said = str(error).removeprefix("sbatch: error: ").removeprefix("allocation failure: ")
        return site.refused(said, job.asked)
    return ""


# ---- what nodes see ----------------------------------------------------------------------------------


def shared(config: Config, file: Path) -> list[Folder]:
    """The folders that jobs read and write, as far as they are on this machine."""
    results = Path(config.results)
    found = [
        Folder("the repository", Path.cwd() / "Snakefile"),
        Folder("the folder of the run", Path.cwd(), written=True),  # Snakemake's marks of files in the making
        Folder("the configuration", file),
        Folder("the results folder", results, written=True),
        Folder("Python's environment", Path(sys.executable)),
        Folder("the package", Path(__file__).parent.parent),
    ]
    for name, data in config.datasets.items():
        if data.root is not None:
            found.append(Folder(f"the images of {name}", data.root))
    if any(n in PUBLISHED and d.root is None for n, d in config.datasets.items()):
        found.append(Folder("the data sets", data_root(config.data_root)))
    hub = False
    for name, model in config.models.items():
        kind, _, rest = model.model.partition(":")
        weights = Path(rest if kind == "local-dir" else model.pretrained or "")
        if kind == "local-dir" or (model.pretrained and weights.exists()):
            found.append(Folder(f"the weights of {name}", weights))
        else:
            hub = True
    if hub:
        from huggingface_hub.constants import HF_HUB_CACHE

        found.append(Folder("the weights from the Hugging Face hub", Path(HF_HUB_CACHE)))
    return [replace(f, path=f.path.absolute()) for f in found if f.path.exists()]


def _probe(
    planned: Plan, places: dict[str, list[Planned]], logs: Path, folders: list[Folder], patience: float
) -> Iterator[Finding]:
    probes = Probes(planned, logs, folders)
    try:
        for place, jobs in places.items():
            try:
                probes.submit(place)
            except queue.Unreachable as error:
                yield Finding("wrong", f"{_where(jobs[0].asked)}: a small job: {error}")
        for place, answer in probes.answers(patience).items():
            yield _seen(places[place][0].asked, answer, patience)
    finally:
        probes.end()


def _seen(asked: dict[str, object], answer: Answer, patience: float) -> Finding:
    where = _where(asked)
    if answer.waiting:
        return Finding(
            "note",
            f"{where}: no node was free for a small job within {patience:g} s (Slurm says: {answer.waiting}), so no "
            "node was checked; try again later, or with a longer --wait",
        )
    where, seen, problem = f"{where}, node {answer.node}", answer.seen or {}, answer.problem
    on_gpu = not {"gpu", "gpu_model", "gres"}.isdisjoint(asked)
    if not problem and seen["package"] != str(Path(__file__).resolve().parent.parent):
        problem = f"Python imports coder_clip from {seen['package']} there"
    elif not problem and on_gpu and not seen["gpus"]:
        problem = "Slurm gave no GPU (CUDA_VISIBLE_DEVICES is not set); look at gpu, gpu_model or gres in the profile"
    if problem:
        return Finding("wrong", f"{where}: {problem}")
    works = f"{where}: sees every folder, Python {seen['python']} and torch {seen['torch']} work"
    if on_gpu and not seen["torch_sees"]:
        return Finding(
            "note",
            f"{works}; Slurm gave GPU {seen['gpus']}, but torch sees none and would use CPUs: install a build of "
            "torch for the node's driver",
        )
    return Finding("ok", f"{works}; GPU: {seen['torch_sees']}" if on_gpu else works)
