# The configuration, its jobs, and what rules ask about them.
import json
import os
import re
import shutil
import sys
from pathlib import Path

# Jobs call the coder-clip of the environment that Snakemake runs in.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.getenv("PATH", "")])
)

HOME = Path(str(workflow.current_basedir)).parents[1]
if not HOME.is_dir() or not Path.cwd().samefile(HOME):
    sys.exit(
        f"coder-clip: error: this workflow reads and writes below its own folder: "
        f"snakemake -s {HOME}/Snakefile --directory {HOME} … runs it from anywhere; in another "
        "workflow make this command a rule, not a module"
    )
if "CONDA" in {m.name for m in workflow.deployment_settings.deployment_method}:
    sys.exit(
        "coder-clip: error: --sdm conda is not supported, because the Snakefile itself needs "
        "coder-clip: 'conda env create -f environment.yml' makes one environment for all; "
        "run snakemake in it, without --sdm"
    )
if "--containerize" in sys.argv:
    sys.exit(
        "coder-clip: error: --containerize is not supported, because all jobs share one "
        "environment: docs/slurm.md says how jobs run in an image with coder-clip"
    )

from coder_clip import jobs
from coder_clip.datasets.published import data_root
from coder_clip.errors import UserError
from coder_clip.foundation.artifacts import Paths
from coder_clip.pipeline import costs, resources
from coder_clip.pipeline.absent import to_download
from coder_clip.pipeline.config import LEFT_OUT, load_config
from coder_clip.reporting.all_exhibits import FIGURES, TABLES
from coder_clip.rerun import mark, run
from coder_clip.rerun.judge import Judge
from coder_clip.tracking import runs
from snakemake.exceptions import WorkflowError

_configfiles = [str(f) for f in workflow.config_settings.configfiles]
if workflow.config_settings.config:
    raise WorkflowError(
        "change values in the configuration file, not with --config: the jobs read the file;"
        " for only_present and fetch set CODER_CLIP_ONLY_PRESENT or CODER_CLIP_FETCH before the"
        " command"
    )
if len(_configfiles) > 1:
    raise WorkflowError(f"name one configuration file, not {len(_configfiles)}")
CONFIG_FILE = _configfiles[0] if _configfiles else "config/reproduce.yaml"
if Path(CONFIG_FILE).resolve().is_relative_to(Path.cwd()):
    CONFIG_FILE = os.path.relpath(CONFIG_FILE)
try:
    CONFIG = load_config(CONFIG_FILE)
except UserError as error:
    sys.exit(f"coder-clip: error: {error}")
if CONFIG.left_out:
    os.environ[LEFT_OUT] = ",".join(CONFIG.left_out)
if workflow.is_main_process and CONFIG.left_out:
    logger.info(f"Left out, because they are not here: {', '.join(CONFIG.left_out)}")

# Jobs on this machine's GPUs at a time: one on each, unless the profile or the command line says
# how many.
GPUS = resources.gpus(CONFIG) if workflow.is_main_process else 0
if GPUS and "on_gpu" not in workflow.global_resources:
    workflow.register_resource("on_gpu", GPUS)

# for downloads; jobs get their parts of the configuration
os.environ.update(CODER_CLIP_CONFIG=CONFIG_FILE)
# Of every job: that which Snakemake runs in.
ENVIRONMENT = "../../environment.yml"

# With --software-deployment-method apptainer jobs run in an image that has coder-clip installed
# (docs/slurm.md).
if _image := os.environ.get("CODER_CLIP_CONTAINER"):

    container: _image


if workflow.is_main_process:
    try:
        runs.before(CONFIG_FILE)
    except UserError as error:
        sys.exit(f"coder-clip: error: {error}")

PATHS = Paths(CONFIG.results)
LOGS = CONFIG.results / "logs"
BENCHMARKS = CONFIG.results / "benchmarks"
RECORDS = CONFIG.results / jobs.RECORDS
RULES = [kind for kind in jobs.RULES if kind.places(CONFIG)]
# On a node only the job runs that the node was given.
JOBS = jobs.jobs(CONFIG) if workflow.is_main_process else []
MARKS = mark.Marks(
    Judge(RECORDS, JOBS), workflow, lambda reasons: runs.planned(CONFIG_FILE, reasons)
)
TARGETS = jobs.targets(JOBS)
# resources that name a place where jobs run
PLACE = (
    *("slurm_partition", "slurm_account", "qos", "constraint"),
    *("gres", "gpu", "gpu_model", "slurm_extra"),
)


wildcard_constraints:
    **{
        name: "|".join(map(re.escape, values))
        for name, values in jobs.wildcards(CONFIG).items()
    },


def job_of(kind, wildcards):
    """The job of a rule at a place."""
    return kind.job(CONFIG, {name: wildcards[name] for name in kind.wildcards})


def inputs_of(kind):
    """The inputs of a rule's jobs, which wait for downloads."""

    def inputs(wildcards):
        if "images" in kind.waits:
            fetched_images(wildcards)
        for name in models_of(kind, wildcards):
            fetched_weights(name)
        job = job_of(kind, wildcards)
        if "images" in kind.waits and wildcards.dataset in TO_FETCH:
            # what was downloaded meanwhile decides the job's arguments
            run.hand_out(RECORDS, [job])
        return MARKS.inputs(job)

    return inputs


def models_of(kind, wildcards):
    """The models whose weights a job needs."""
    if "weights" in kind.waits:
        return [wildcards.model]
    if "text encoder" in kind.waits and CONFIG.compares_names(wildcards.dataset):
        return [CONFIG.text_encoder()]
    return []


def file_of(folder, kind, end):
    """The log or the benchmark file of a rule, with wildcards."""
    parts = [kind.name, *(f"{{{name}}}" for name in kind.wildcards)]
    return folder.joinpath(*parts[:-1], parts[-1] + end)


def with_wildcards(message):
    return re.sub(r"{(\w+)}", r"{wildcards.\1}", message)


def file_of_job(kind):
    """The file with the arguments of a job, which `begin` writes."""
    return lambda wildcards: str(
        run.handed(RECORDS, kind.name_at(dict(wildcards.items())))
    )


def typed_of(kind):
    return lambda wildcards: kind.typed(dict(wildcards.items()))


def need_of(kind, what):
    """Memory (mem_mb) or time (minutes) of a rule's jobs: more with every attempt."""

    def amount(wildcards, attempt):
        place = dict(wildcards.items())
        gpu = asks_for_gpu(kind.name)
        need = costs.need(CONFIG, kind.name, place, gpu)
        return getattr(need, what) * attempt

    return amount


def threads_of(kind):
    """CPUs of a job: those it computes with, or those that decode images where these are more."""

    def threads(wildcards):
        gpu = kind.gpu and (GPUS > 0 or asks_for_gpu(kind.name))
        job = job_of(kind, wildcards)
        decode = resources.workers(CONFIG, gpu) if "workers" in job.here else 1
        return max(job.settings.get("threads", 1), decode)

    return threads


def on_gpu(kind):
    """1 for jobs on a GPU; 0 where features are read in place of images."""

    def number(wildcards):
        if not kind.gpu or (
            "images" in kind.waits and CONFIG.of_features(wildcards.dataset)
        ):
            return 0
        return int(GPUS > 0 or asks_for_gpu(kind.name))

    return number


def asks_for_gpu(kind):
    """True if the profile requests a GPU of a cluster for a rule's jobs."""
    given = workflow.resource_settings.overwrite_resources.get(kind, {})
    return not {"gpu", "gpu_model", "gres"}.isdisjoint(given)


def is_local(kind):
    """True if the head node runs a rule's jobs."""
    if kind.local == "unless placed":
        given = workflow.resource_settings.overwrite_resources.get(kind.name, {})
        return "slurm_partition" not in given
    return kind.local


def smoke_places():
    """A rule of each place, and the resources that name the place."""
    found = {"default": {}}
    for name, given in workflow.resource_settings.overwrite_resources.items():
        place = {key: given[key].raw for key in PLACE if key in given}
        if place not in found.values():
            found[name] = place
    return found


EXHIBITS = {
    str(path): exhibit
    for found, file, end in (
        (TABLES, PATHS.table, ".csv"),
        (FIGURES, PATHS.figure, ".png"),
    )
    for exhibit in found.values()
    for path in [file(exhibit.name, end)]
    if not exhibit.detail
}


def shown(path):
    """An output; `snakemake --report` shows a main table or figure under its section of the page."""
    if path == str(PATHS.report):
        return report(path, category="The whole page", labels={"shows": "everything"})
    if path not in EXHIBITS:
        return path
    exhibit = EXHIBITS[path]
    labels = {"shows": exhibit.name.replace("_", " "), "as": Path(path).suffix[1:]}
    return report(path, category=exhibit.section, labels=labels)


def note_requests(file):
    """Write threads and resources of each job that a cluster would run, for `coder-clip check`."""
    from snakemake.iocontainers import Wildcards

    found = []
    for kind in (kind for kind in RULES if not is_local(kind)):
        for place in kind.places(CONFIG):
            known = workflow.get_rule(kind.name)
            asked = known.expand_resources(Wildcards(fromdict=place), [], attempt=1)
            named = {
                key: value for key, value in asked.items() if not key.startswith("_")
            }
            found.append(
                {"rule": kind.name, "threads": asked["_cores"], "resources": named}
            )
    Path(file).write_text(json.dumps(found))


def begin():
    """Before the first job: report everything that would stop the run, and how long it takes."""
    from coder_clip.preflight.check import Run, before_run

    look_for_slurm_jobs()
    if not workflow.touch:  # --touch opens no image and asks no language model
        rules = {kind.name: kind for kind in RULES}
        planned = [
            (rules[job.rule.name], job.wildcards)
            for job in workflow.dag.needrun_jobs()
            if job.rule.name in rules
        ]
        listed = {place.dataset for kind, place in planned if "images" in kind.waits}
        encoding = {place.model for kind, place in planned if kind.gpu}
        asks = any(kind.name.startswith("generate_") for kind, _ in planned)
        try:
            before_run(
                Run(
                    CONFIG,
                    Path(CONFIG_FILE),
                    sorted(listed),
                    sorted(encoding),
                    asks,
                    here=workflow.local_exec,
                )
            )
        except UserError as error:
            raise WorkflowError(str(error)) from None
        stop_without_network()
    run.hand_out(RECORDS, JOBS)
    mark.start(workflow)


def record_phases():
    """Record the phases at the end of a run that had a job of one: not after `prefetch` or `smoke`
    alone.
    """
    of_phases = {kind.name for kind in RULES}
    if any(made.rule.name in of_phases for made in workflow.dag.jobs):
        try:
            runs.after(CONFIG_FILE)
        except UserError as error:
            sys.exit(f"coder-clip: error: {error}")


def stop_without_network():
    """Stop before the first job if nothing that is missing can be downloaded. `make reproduce` then
    goes on with the data sets that are here.
    """
    from coder_clip.preflight.quick import unreachable

    reasons = unreachable(CONFIG)
    if not reasons:
        return
    hosts = ", ".join(sorted(set(reasons.values())))
    failed = FETCHED / ("stopped" if CONFIG.fetch == "strict" else "failed")
    failed.mkdir(parents=True, exist_ok=True)
    for name, reason in reasons.items():
        (failed / name).write_text(f"{name}: {reason}\n")
    raise WorkflowError(
        f"{', '.join(reasons)} cannot be downloaded: {hosts}; go on without them with "
        "'make … ONLY_PRESENT=1 FETCH=0', or start this where the network is"
    )
