"""Estimate, before a run starts, what it still takes: jobs, hours and disk by phase.

From the numbers of images and classes and the sizes of encoders, at the speed of the last run here
or, before one, at speeds of known machines (USUAL; for GPUs `pipeline/costs.py`). Artefacts
that exist do not count."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..foundation import terminal
from ..foundation.artifacts import Paths
from ..jobs import RECORDS, RULES, Rule, jobs, place_of, rule_of
from ..pipeline import benchmarks, environment
from ..pipeline.costs import Speed, need
from ..pipeline.resources import Sizes, cores
from ..rerun.judge import Judge
from ..rerun.record import Job

if TYPE_CHECKING:
    from ..pipeline.config import Config

START = 5.0  # start-up seconds of a job that encodes; other jobs take half
# of a thread with AVX2 (an AMD EPYC): ViT-B-32 in float32, 9 to 11 images per second
# (benchmarks/features.py, docs/performance.md); photos of 500 x 375 pixels
USUAL = Speed(operations=7e10, decoded=250)
# Bytes of figures, tables, the page and certificates: once, and for each model and data set. The
# embedded default, whose figures show images, has 5.3 MB of two data sets.
REPORT_BYTES = (1e6, 2.2e6)
BENCHMARKS = "benchmarks"  # in the results folder
EVERY_RUN = ("tables", "figures_of_results", "figures_of_images", "page")  # made again by each run


@dataclass(frozen=True, eq=False)
class PlannedJob:
    """One job. place: wildcard -> value. size: bytes of all artefacts."""

    rule: Rule
    job: Job
    place: dict[str, str]
    size: float

    @property
    def benchmark(self) -> str:
        """The job's file below the folder of benchmarks: rule, and the values of the wildcards."""
        return "/".join([self.rule.name, *self.place.values()])


def planned(config: Config, sizes: Mapping[str, Sizes]) -> Iterator[PlannedJob]:
    """Yield the jobs that grow with models and data sets, done or not."""
    for job in jobs(config):
        rule, place = rule_of(job), place_of(job)
        if rule.name not in EVERY_RUN:
            yield PlannedJob(rule, job, place, need(config, rule.name, place, sizes=sizes).size)


def report(config: Config, sizes: Mapping[str, Sizes]) -> tuple[float, float]:
    """Seconds and gigabytes of tables, figures and the page, which every run makes again."""
    once, each = REPORT_BYTES
    size = once + each * len(config.models) * len(config.datasets)
    rules = [rule for rule in RULES if rule.name in EVERY_RUN]
    return sum(job_seconds(config, rule, {}, sizes=sizes) for rule in rules), size / 1e9


def ahead(
    config: Config, gpus: int, sizes: Mapping[str, Sizes] | None = None
) -> tuple[list[str], float, float]:
    """Estimate what is still to be done: lines with a table by phase, hours in all, gigabytes.

    gpus: number of GPUs that encode. sizes: of the data sets whose images were counted. The time of
    a language model is not known.
    """
    # Jobs are estimated one by one and scaled by what their phase took in the last run. Phases
    # count as if one followed the other; within a phase, as many jobs run at a time as there are
    # GPUs or groups of CPU cores.
    took = last_run(config, gpus > 0, sizes or {})
    totals: dict[Rule, list[float]] = {}  # jobs, seconds, gigabytes
    every = list(planned(config, sizes or {}))
    judge = Judge(config.results / RECORDS, [one.job for one in every])
    for one in every:
        if not judge.reason_to_run(one.job):
            continue  # done
        total = totals.setdefault(one.rule, [0, 0.0, 0.0])
        total[0] += 1
        seconds = job_seconds(config, one.rule, one.place, gpus > 0, sizes)
        total[1] += seconds * took.get(one.rule.name, 1.0)
        total[2] += one.size / 1e9
    if not totals:
        return [], 0.0, 0.0
    cpu_jobs = max(1, cores() // config.features.threads)
    hours = 0.0
    of_phase: dict[str, tuple[float, float, float]] = {}  # jobs, seconds, gigabytes
    for rule, (n, seconds, size) in totals.items():
        at_once = gpus if gpus and rule.gpu else cpu_jobs
        # a rule never has more jobs at a time than there are
        hours += seconds / min(at_once, n) / 3600
        before = of_phase.get(rule.phase, (0, 0.0, 0.0))
        of_phase[rule.phase] = (before[0] + n, before[1] + seconds, before[2] + size)
    # counted as one job, because the page waits for tables and figures
    seconds, size = report(config, sizes or {})
    hours += seconds / 3600
    of_phase["report"] = (1, seconds, size)
    encode = {rule.phase for rule in RULES if rule.gpu}
    head = ["phase", "jobs", "hours", "GB", "on"]
    rows = []
    for phase, (n, seconds, size) in of_phase.items():
        where = "GPU" if gpus and phase in encode else "CPU"
        rows.append([phase, f"{n:,.0f}", f"{seconds / 3600:,.2f}", f"{size:.1f}", where])
    table = terminal.table(head, rows, right=range(1, len(head) - 1))
    summary = (
        f"about {duration(hours)} in all, {_basis(config, took)}, with "
        f"{terminal.counted(cpu_jobs, 'CPU job')} at a time"
    )
    load = os.getloadavg()[0]
    if load > (os.cpu_count() or 1):
        summary += (
            f"; longer while other programs use this machine (load {load:.0f} on {os.cpu_count()} "
            "cores)"
        )
    if config.generator is not None:
        summary += "; without the answers of the language model"
    table.append(summary)
    return table, hours, sum(size for _, _, size in of_phase.values())


def last_run(config: Config, gpu: bool, sizes: Mapping[str, Sizes]) -> dict[str, float]:
    """Rule -> time that its jobs took in the last run, as a multiple of their estimates.

    Empty before a run.

    The times are in Snakemake's benchmark files in the results folder. Jobs that encode count only
    if they ran on the same kind of device.
    """
    # a device that is not known (None) counts as a CPU
    ran_on_gpu = environment.device(Paths(config.results)) not in ("cpu", None)
    same_device = ran_on_gpu == gpu
    found: dict[str, list[float]] = {}  # rule -> seconds taken, seconds estimated
    for one in planned(config, sizes):
        row = benchmarks.read(config.results / BENCHMARKS / f"{one.benchmark}.tsv")
        if row is not None and (same_device or not one.rule.gpu):
            taken, estimated = found.get(one.rule.name, [0.0, 0.0])
            seconds = job_seconds(config, one.rule, one.place, gpu, sizes)
            found[one.rule.name] = [taken + float(row["s"]), estimated + seconds]
    return {rule: taken / estimated for rule, (taken, estimated) in found.items()}


def job_seconds(
    config: Config,
    rule: Rule,
    place: Mapping[str, str],
    gpu: bool = False,
    sizes: Mapping[str, Sizes] | None = None,
) -> float:
    """Estimated seconds of a job, its start-up included. gpu: True if jobs that encode have one."""
    takes = need(config, rule.name, place, gpu and rule.gpu, sizes, USUAL).seconds
    if not rule.gpu:
        return START / 2 + takes
    return START + takes


def _basis(config: Config, took: Mapping[str, float]) -> str:
    """What an estimate was made from, in words."""
    if not took:
        return "at the usual speeds of machines"
    return f"at the speed of the last run ({config.results / BENCHMARKS}; of {', '.join(took)})"


def duration(hours: float) -> str:
    """Minutes or hours, in words."""
    if hours >= 1.5:
        return f"{hours:,.1f} h"
    return f"{max(1, round(hours * 60))} min"
