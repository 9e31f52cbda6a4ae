"""`coder-clip check --profile slurm`: can a cluster run a configuration with a profile?

Slurm's own answers come first (its partitions, its verdict on the heaviest jobs), then what small
jobs see on nodes.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.published import data_root
from ..errors import UserError
from ..foundation.artifacts import Paths, writable
from ..pipeline.config import Config
from .plan import Planned, find_profile, plan
from .probe import NAME, Finding, Folder, finding, script, submit
from .propose import TARGET, propose

if TYPE_CHECKING:
    from snakemake_executor_plugin_slurm_resilient.site import Site

# The executor's package is imported where it is used, because it may not be installed
# (`foundation.installed`).
LITTLE = {"mem_mb": 1000, "runtime": 5, "cpus": 1}
GPU = {"gpu", "gpu_model", "gres"}
PLACE = ("partition", "account", "qos", "gres", "gpu", "gpu_model")  # resources that name a place


def findings(
    config: Config,
    file: Path,
    profile: str,
    probe: bool,
    patience: float,
    all_nodes: bool,
    proposes: bool,
) -> Iterator[Finding]:
    """Yield findings as `check_cluster`; a last one if nothing more can be checked.

    proposes: write a profile for this cluster first, say so, and check that one.
    """
    from snakemake_executor_plugin_slurm_resilient.queue import SlurmError

    try:
        if proposes:
            yield propose(profile)
            profile = TARGET.parent.name
        yield from check_cluster(config, file, profile, probe, patience, all_nodes)
    except (SlurmError, UserError) as error:
        yield Finding("wrong", str(error))


def check_cluster(
    config: Config,
    file: Path,
    profile: str,
    probe: bool,
    patience: float,
    all_nodes: bool = False,
) -> Iterator[Finding]:
    """Yield findings as they come.

    file: the configuration. probe: also run small jobs on nodes; all_nodes: on each node of a
    partition. patience: seconds to wait for a node.

    UserError or SlurmError if nothing can be checked: no such profile, no log folder, no plan, no
    Slurm here."""
    # Slurm's own verdict on the jobs costs nothing, so it comes first; small jobs test only places
    # that Slurm accepts. All small jobs are submitted before the first one is waited for, because
    # they wait in the queue together.
    from snakemake_executor_plugin_slurm_resilient import queue, site

    folder, here = find_profile(profile), site.read()
    version = queue.ask("sinfo", "--version").strip()
    yield Finding("ok", f"{version}: partitions {', '.join(here.partitions)}")
    planned = plan(folder, file)
    counted = all(Paths(config.results).manifest(d).is_file() for d in config.datasets)
    guessed = "; a guess, before 'snakemake manifest' has listed the images"
    if counted:
        guessed = ""
    accepted = {}  # place -> resources of one of its jobs
    for place, jobs in by_place(planned.jobs).items():
        of_place = _place(jobs, here, guessed)
        yield from of_place
        if all(f.status != "wrong" for f in of_place):
            accepted[place] = jobs[0].asked
    logs = Path(planned.log_folder).resolve()
    writable(logs, "logs")
    if not probe:
        return
    logs.mkdir(parents=True, exist_ok=True)
    folders, end = shared(config, file), time.monotonic() + patience
    try:
        small_jobs = []
        for place, asked in accepted.items():
            asks_gpu = not GPU.isdisjoint(asked)
            text = script(folders, planned.precommand, asks_gpu)
            if not all_nodes:
                small_jobs.append((_named(asked), submit(place, text, logs)))
                continue
            for node in sorted({n.name for p in here.places(asked) for n in p.nodes}):
                sbatch = submit([*place, f"--nodelist={node}"], text, logs)
                small_jobs.append((f"{_named(asked)}, asked for {node}", sbatch))
        for name, sbatch in small_jobs:
            yield finding(name, sbatch, logs, max(end - time.monotonic(), 0.1))
    finally:
        queue.ask("scancel", "--me", f"--name={NAME}")  # small jobs that still wait


def by_place(jobs: Iterable[Planned]) -> dict[tuple[str, ...], list[Planned]]:
    """Place -> its jobs, which differ only in memory, time and CPUs."""
    places: dict[tuple[str, ...], list[Planned]] = {}
    for job in jobs:
        places.setdefault(job.place, []).append(job)
    return places


def heaviest(jobs: list[Planned]) -> list[Planned]:
    """The jobs with the most memory, time, CPUs and GPUs."""
    from snakemake_executor_plugin_slurm_resilient import retry

    most = [
        max(jobs, key=lambda j: retry.number(j.asked, k))
        for k in ("mem_mb", "runtime", "cpus", "gpu")
    ]
    # one job can be the heaviest in several ways
    return list({tuple(job.call): job for job in most}.values())


def _named(asked: dict[str, object]) -> str:
    """The name of a place in messages, from the resources of a job there."""
    named = [f"{key} {asked[key]}" for key in PLACE if key in asked]
    return ", ".join(named) or "the default partition"


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

    where = _named(jobs[0].asked)
    found: list[Finding] = []
    largest = Counter[str]()  # resource -> the largest amount of a job
    for job in heaviest(jobs):
        name = f"{where}: {' + '.join(job.rules)}"
        asked, cut = retry.capped(job.asked, here.most(job.asked))
        if cut and not guessed:
            found.append(Finding("note", f"{name}: it gets {', '.join(cut)}"))
        refusal = _refusal(job, asked)
        if refusal:
            # if Slurm accepts the job with LITTLE, it refuses only the amounts
            only_amounts = not _refusal(job, job.asked | LITTLE)
            guess = ""
            if only_amounts:
                guess = guessed
            # one refusal says enough of a place
            return [*found, Finding("note" if guess else "wrong", f"{name}: {refusal}{guess}")]
        # `|` keeps the larger amount of each kind
        largest |= Counter({k: retry.number(asked, k) for k in retry.UNITS})
    amounts = ", ".join(f"{largest[k]} {unit}" for k, unit in retry.UNITS.items())
    rules = ", ".join(sorted({rule for job in jobs for rule in job.rules}))
    return [
        *dict.fromkeys(found),
        Finding("ok", f"{where}: {len(jobs)} jobs of {rules}; at most {amounts}"),
    ]


def _refusal(job: Planned, asked: dict[str, Any]) -> str:
    """Why Slurm would refuse a job with these resources, without submitting it.

    "" if Slurm accepts it.
    """
    from snakemake_executor_plugin_slurm_resilient import queue, reasons

    sizes = {"mem_mb": "--mem={}", "runtime": "--time={}", "cpus": "--cpus-per-task={}"}
    # only amounts that differ are given again; the job's call has the others
    less = [
        option.format(asked[k]) for k, option in sizes.items() if asked.get(k) != job.asked.get(k)
    ]
    try:
        queue.ask(*job.call, *less, "--test-only", stdin="#!/bin/sh\n")
    except queue.Unreachable as error:
        said = str(error).removeprefix("sbatch: error: ").removeprefix("allocation failure: ")
        return reasons.refused(said, asked)
    return ""


def shared(config: Config, file: Path) -> list[Folder]:
    """The files and folders that jobs need on every node, as far as they exist on this machine."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folders = [
        # Snakemake marks unfinished files there
        Folder("the repository", Path.cwd(), written=True),
        Folder("the configuration", file),
        Folder("the results folder", Path(config.results), written=True),
        Folder("Python's environment", Path(sys.executable)),
    ]
    for name, data in config.datasets.items():
        if data.root or config.published(name):
            root = data.root or data_root(config.data_root)
            folders.append(Folder(f"the images of {name}", root))
    for name, model in config.models.items():
        # "local-dir:FOLDER" or "hf-hub:NAME"; otherwise `pretrained` can be a file
        named = model.pretrained
        if ":" in model.model:
            named = model.model.removeprefix("local-dir:")
        place = Path(named or HF_HUB_CACHE)
        # weights that are not a file or folder here come from the hub's cache
        weights = place
        if not place.exists():
            weights = Path(HF_HUB_CACHE)
        folders.append(Folder(f"the weights of {name}", weights))
    return [f._replace(path=f.path.absolute()) for f in folders if f.path.exists()]
