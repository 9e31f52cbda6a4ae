"""Estimate, before a run starts, what it still takes: jobs, hours and disk by phase.

From the numbers of images and classes and the sizes of encoders, at the speed of the last run here
or, before one, at speeds of known machines (USUAL; for GPUs `pipeline/resources.py`). Artefacts
that exist do not count."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..foundation import terminal
from ..foundation.artifacts import Paths
from ..pipeline import benchmarks, environment
from ..pipeline.resources import STORED, Sizes, Speed, cores, counts, encoder_size, n_pairs, need

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
ENCODES = ("image_features", "text_features", "one_to_one")  # on the GPU, where there is one
# bytes on disk of a few-shot prediction; of a zero-shot one with its five scores
ROW, TOP5 = 5, 100
BASELINES = 4.0  # zero-shot methods that are the same in every setting


@dataclass(frozen=True, eq=False)
class PlannedJob:
    """One job. files: its artefacts. place: wildcard -> value. size: bytes of all artefacts."""

    phase: str
    files: tuple[Path, ...]
    place: dict[str, str]
    size: float

    @property
    def benchmark(self) -> str:
        """The job's file below the folder of benchmarks: phase, and the values of the wildcards."""
        return "/".join([self.phase, *self.place.values()])


def jobs(config: Config, sizes: Mapping[str, Sizes]) -> Iterator[PlannedJob]:
    """Yield the jobs of the phases that grow with models and data sets, done or not."""
    # Sizes follow from the shapes of what a phase writes: float32 rows for features and pairs, some
    # bytes per prediction. Tables, figures and the page, which every run makes again, are in
    # `report`.
    paths = Paths(config.results)
    for d in config.datasets:
        yield PlannedJob("manifest", (paths.manifest(d),), {"dataset": d}, 0.0)
    for m in config.models:
        dim = encoder_size(config, m).dim
        for d in config.datasets:
            place = {"model": m, "dataset": d}
            images, classes = counts(config, d, "test", sizes)
            size = 0.0
            for split in config.encoded(d):
                n = counts(config, d, split, sizes)[0]
                if split == "shots" and not config.of_features(
                    d
                ):  # the mean of the views, and some of them one by one
                    # n counts views; a number of the mean is float32, of a kept view float16
                    size += n / config.datasets[d].views * dim * (4 + 2 * config.views_stored(d))
                else:
                    size += 4.0 * n * dim
            features = tuple(paths.image_features(m, d, split) for split in config.encoded(d))
            yield PlannedJob("image_features", features, place, size)
            # of a draw of random words only the means are kept
            rows = classes * (STORED + config.evaluation.random_draws)
            yield PlannedJob("text_features", (paths.text_features(m, d),), place, 4.0 * rows * dim)
            settings = len(config.settings)
            # two variants of texts in float64: a matrix and its factor, means and names of classes
            size = 2 * 8.0 * dim * (2 * dim + 3 * classes)
            yield PlannedJob("coder", (paths.coder(m, d),), place, size)
            yield PlannedJob(
                "zero_shot", (paths.zero_shot(m, d),), place, TOP5 * images * (BASELINES + settings)
            )
            yield PlannedJob(
                "one_to_one",
                (paths.one_to_one(m, d),),
                place,
                4.0 * n_pairs(config, d, classes) * dim,
            )
            yield PlannedJob(
                "rerank", (paths.rerank(m, d),), place, TOP5 * images * float(settings)
            )
            if config.few_shot(d):
                a = config.adapter
                # one more than the methods: zero-shot CLIP is in the file, too
                rows = images * (len(a.methods) + 1) * settings * len(a.seeds)
                for n in a.shots:
                    at = {**place, "shots": str(n)}
                    yield PlannedJob("adapter", (paths.adapter(m, d, n),), at, ROW * float(rows))
            yield PlannedJob("evaluation", (paths.evaluation(m, d),), place, 0.0)


def report(config: Config, sizes: Mapping[str, Sizes]) -> tuple[float, float]:
    """Seconds and gigabytes of tables, figures and the page, which every run makes again."""
    phases = ("tables", "figures", "report")
    once, each = REPORT_BYTES
    size = once + each * len(config.models) * len(config.datasets)
    return sum(job_seconds(config, phase, {}, sizes=sizes) for phase in phases), size / 1e9


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
    totals: dict[str, list[float]] = {}  # phase -> jobs, seconds, gigabytes
    for job in jobs(config, sizes or {}):
        if all(file.is_file() for file in job.files):
            continue  # done
        total = totals.setdefault(job.phase, [0, 0.0, 0.0])
        total[0] += 1
        total[1] += job_seconds(config, job.phase, job.place, gpus > 0, sizes) * took.get(
            job.phase, 1.0
        )
        total[2] += job.size / 1e9
    if not totals:
        return [], 0.0, 0.0
    # counted as one job, because the page waits for tables and figures
    totals["report"] = [1, *report(config, sizes or {})]
    where = {p: "GPU" if gpus and p in ENCODES else "CPU" for p in totals}
    head = ["phase", "jobs", "hours", "GB", "on"]
    rows = [
        [phase, f"{n:,.0f}", f"{seconds / 3600:,.2f}", f"{size:.1f}", where[phase]]
        for phase, (n, seconds, size) in totals.items()
    ]
    table = terminal.table(head, rows, right=range(1, len(head) - 1))
    cpu_jobs = max(1, cores() // config.features.threads)
    at_once = {"GPU": gpus, "CPU": cpu_jobs}
    # a phase never runs more jobs at a time than it has
    phase_seconds = [s / min(at_once[where[p]], n) for p, (n, s, _) in totals.items()]
    hours = sum(phase_seconds) / 3600
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
    return table, hours, sum(size for _, _, size in totals.values())


def last_run(config: Config, gpu: bool, sizes: Mapping[str, Sizes]) -> dict[str, float]:
    """Phase -> time that its jobs took in the last run, as a multiple of their estimates.

    Empty before a run.

    The times are in Snakemake's benchmark files in the results folder. Jobs that encode count only
    if they ran on the same kind of device. Images that were encoded in shards do not count, because
    the benchmark file of that name is the merge's.
    """
    # a device that is not known (None) counts as a CPU
    ran_on_gpu = environment.device(Paths(config.results)) not in ("cpu", None)
    same_device = ran_on_gpu == gpu
    found: dict[str, list[float]] = {}  # phase -> seconds taken, seconds estimated
    for job in jobs(config, sizes):
        row = benchmarks.read(config.results / BENCHMARKS / f"{job.benchmark}.tsv")
        sharded = job.phase == "image_features" and config.features.shards > 1
        if row is not None and not sharded and (same_device or job.phase not in ENCODES):
            taken, estimated = found.get(job.phase, [0.0, 0.0])
            found[job.phase] = [
                taken + float(row["s"]),
                estimated + job_seconds(config, job.phase, job.place, gpu, sizes),
            ]
    return {phase: taken / estimated for phase, (taken, estimated) in found.items()}


def job_seconds(
    config: Config,
    phase: str,
    place: Mapping[str, str],
    gpu: bool = False,
    sizes: Mapping[str, Sizes] | None = None,
) -> float:
    """Estimated seconds of a job, its start-up included. gpu: True if jobs that encode have one."""
    encodes = phase in ENCODES
    takes = need(config, phase, gpu and encodes, sizes, USUAL, **place).seconds
    if not encodes:
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
