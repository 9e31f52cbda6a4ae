# The configuration, and functions that several rule files use.
import os
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

from coder_clip.pipeline import phase_list
from coder_clip.pipeline import resources as work
from coder_clip.foundation.artifacts import Paths
from coder_clip.pipeline.config import LEFT_OUT, known_folders, load_config
from coder_clip.datasets.published import data_root
from coder_clip.pipeline.absent import to_download
from coder_clip.errors import UserError
from coder_clip.texts import sets as text_sets
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
GPUS = work.gpus(CONFIG) if workflow.is_main_process else 0
if GPUS and "on_gpu" not in workflow.global_resources:
    workflow.register_resource("on_gpu", GPUS)

# Jobs find the configuration here. If it were part of the command, renaming the file would make
# them run again.
os.environ.update(CODER_CLIP_CONFIG=CONFIG_FILE)
# Of every job: that which Snakemake runs in.
ENVIRONMENT = "../../environment.yml"

# With --software-deployment-method apptainer jobs run in an image that has coder-clip installed
# (docs/slurm.md).
if _image := os.environ.get("CODER_CLIP_CONTAINER"):

    container: _image


PATHS = Paths(CONFIG.results)
DATASETS = list(CONFIG.datasets)
MODELS = list(CONFIG.models)
SPLITS = ["shots", "val", "test"]  # of image features
SHOTS = list(CONFIG.adapter.shots)
FEW_SHOT = [d for d in DATASETS if CONFIG.few_shot(d)]
# all, unless a model brings its texts as features and has none for the classes
WITH_TEXTS = [d for d in DATASETS if CONFIG.class_texts(d)]
LOGS = CONFIG.results / "logs"
BENCHMARKS = CONFIG.results / "benchmarks"
RESULTS_FOLDER = CONFIG.results
KNOWN_FOLDERS = known_folders(CONFIG)  # whose files certificates do not name
# resources that name a place where jobs run
PLACE = (
    *("slurm_partition", "slurm_account", "qos", "constraint"),
    *("gres", "gpu", "gpu_model", "slurm_extra"),
)
ENCODE_IMAGES = ("encode_images", "encode_shard")
JOB_PROGRAM = "src/coder_clip/cli/job.py"  # certifies what the command of a job writes


CONSTRAINTS = {
    "dataset": "|".join(map(re.escape, DATASETS)),
    "model": "|".join(map(re.escape, MODELS)),
    "split": "|".join(SPLITS),
    "shots": "|".join(map(str, SHOTS)),
}


wildcard_constraints:
    **CONSTRAINTS,


def corrections_file(wildcards):
    """Corrected labels of a folder of photos."""
    path = CONFIG.datasets[wildcards.dataset].corrections
    return [str(path)] if path else []


def review_file(wildcards):
    """People's decisions about a language model's texts, if there are any."""
    if CONFIG.generator is None:
        return []
    path = text_sets.review_file(CONFIG.generator.answers, wildcards.dataset)
    return [path] if path.is_file() else []


def certify(command):
    """A command of a phase, in a process that certifies what it writes. `phase_list` reads it here,
    so it is written out: strings one after the other.
    """
    job = f"python {JOB_PROGRAM} {{params.job:q}}"
    return f"{job} --inputs {{input:q}} --outputs {{output:q}} -- {command} 2> {{log}}"


def text_encoder_files(wildcards):
    if not CONFIG.compares_names(wildcards.dataset):
        return []
    return [str(file) for file in CONFIG.models[CONFIG.text_encoder()].files]


def to_fetch():
    """Published data sets that this run downloads."""
    try:
        return to_download(CONFIG)
    except UserError as error:
        sys.exit(f"coder-clip: error: {error}")


def weights_note(name):
    """A note of the downloaded weights and their cache."""
    cache = os.getenv("HF_HUB_CACHE") or os.getenv("HF_HOME") or "default cache"
    return f"{CONFIG.models[name].model} {CONFIG.models[name].pretrained} {cache}"


def forget_fetched(folder):
    """Forget earlier downloads that are missing now, so that they are downloaded again, and what
    failed before.
    """
    shutil.rmtree(folder / "failed", ignore_errors=True)
    for name in to_fetch():
        (folder / "images" / name).unlink(missing_ok=True)
    for name in MODELS:
        note = folder / "weights" / name
        if note.is_file() and note.read_text() != weights_note(name):
            note.unlink()


def encoder_files(wildcards):
    return [str(file) for file in CONFIG.models[wildcards.model].files]


def encoded_shots(wildcards):
    """Features of the shots, where the data set has few-shot methods."""
    path = PATHS.image_features(wildcards.model, wildcards.dataset, "shots")
    return [path] if wildcards.dataset in FEW_SHOT else []


def other_images(wildcards):
    """Validation images of the data set, and of the others, which describe images in place of
    texts.
    """
    datasets = CONFIG.others(wildcards.dataset)
    if CONFIG.has_val(wildcards.dataset):
        datasets = [wildcards.dataset, *datasets]
    return [PATHS.image_features(wildcards.model, d, "val") for d in datasets]


def figure_files(names):
    return [PATHS.figure(name, suffix) for name in names for suffix in (".png", ".pdf")]


def shown(exhibit, path):
    """A main table or figure, which `snakemake --report` shows under its section of the page."""
    if exhibit.detail:
        return path
    labels = {"shows": exhibit.name.replace("_", " "), "as": Path(path).suffix[1:]}
    return report(str(path), category=exhibit.section, labels=labels)


def drawn(figures, names):
    """Files of figures, as outputs. figures: exhibit by name."""
    return [
        file
        for name in names
        for file in (
            shown(figures[name], PATHS.figure(name, ".png")),
            PATHS.figure(name, ".pdf"),
        )
    ]


def asks_for_gpu(rule):
    """True if the profile requests a GPU of a cluster for a rule's jobs."""
    given = workflow.resource_settings.overwrite_resources.get(rule, {})
    return not {"gpu", "gpu_model", "gres"}.isdisjoint(given)


def on_head(rule):
    """True if the head node runs a rule's jobs, because the profile names no partition for them.

    rule: the name of the rule that asks. Snakemake takes no function for ``localrule``, and knows
    a rule only behind its last line, so the name cannot be observed here.
    """
    given = workflow.resource_settings.overwrite_resources.get(rule, {})
    return "slurm_partition" not in given


def smoke_places():
    """A rule of each place, and the resources that name the place."""
    found = {"default": {}}
    for name, given in workflow.resource_settings.overwrite_resources.items():
        place = {key: given[key].raw for key in PLACE if key in given}
        if place not in found.values():
            found[name] = place
    return found


def on_gpu(wildcards, rulename):
    """1 for jobs on a GPU; 0 where features are read in place of images."""
    if rulename in ENCODE_IMAGES and not work.opens_images(
        CONFIG, wildcards.model, wildcards.dataset
    ):
        return 0
    return int(GPUS > 0 or asks_for_gpu(rulename))


def encoding_threads():
    """CPUs of a job that encodes images: its own threads, or those that decode where these are
    more.
    """
    gpu = GPUS > 0 or any(map(asks_for_gpu, ENCODE_IMAGES))
    return max(CONFIG.features.threads, work.workers(CONFIG, gpu))


def preflight():
    """Report, before the first job, everything that would stop the run, and how long it takes."""
    from coder_clip.preflight.run import before_run

    jobs = list(workflow.dag.needrun_jobs())
    encodes = (*ENCODE_IMAGES, "encode_texts", "encode_pairs")
    opens = (*ENCODE_IMAGES, "list_images")
    datasets = {j.wildcards.dataset for j in jobs if j.rule.name in opens}
    models = {j.wildcards.model for j in jobs if j.rule.name in encodes}
    asks = any(j.rule.name in ("generate_texts", "generate_pairs") for j in jobs)
    try:
        before_run(
            CONFIG,
            Path(CONFIG_FILE),
            sorted(datasets),
            sorted(models),
            asks,
            here=workflow.local_exec,
        )
    except UserError as error:
        raise WorkflowError(str(error)) from None
    stop_without_network()


def stop_without_network():
    """Stop before the first job if nothing that is missing can be downloaded. `make reproduce` then
    goes on with the data sets that are here.
    """
    from coder_clip.preflight.quick_checks import unreachable

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


def need(name, wildcards):
    """Memory and time of one job of a rule; less time if the profile requests a GPU for it."""
    # jobs of a phase that do something else than its other ones
    own = {
        "merge_shards": "merge",
        "list_images": "manifest",
        "confusable_pairs": "confusable_pairs",
    }
    phase = own.get(name) or next(
        p.name for p in phase_list.phases() if name in p.commands
    )
    return work.need(CONFIG, phase, asks_for_gpu(name), **dict(wildcards.items()))


def memory(wildcards, attempt, rulename):
    """MB of a job; more with every attempt."""
    return need(rulename, wildcards).mem_mb * attempt


def minutes(wildcards, attempt, rulename):
    """Time limit of a job; longer with every attempt."""
    return need(rulename, wildcards).minutes * attempt
