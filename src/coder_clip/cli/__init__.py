"""The command line. Each phase of the paper is one command, which also works without Snakemake."""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..baselines.methods import ABLATIONS, FEW_SHOT
from ..errors import UserError, nearest
from ..pipeline.config import ONLY_PRESENT, Config, load_config
from ..pipeline.config import schema as config_schema
from ..reporting.exhibits import FIGURES, TABLES
from . import data as cli_data
from . import photos as cli_photos
from . import texts as cli_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class _InOrder(TyperGroup):
    """Commands in the order of the paper: typer lists groups ("texts") behind all others."""

    def list_commands(self, context: Any) -> list[str]:
        names = [n for n in super().list_commands(context) if n != "texts"]
        names.insert(names.index("manifest") + 1, "texts")
        return names


app = typer.Typer(
    cls=_InOrder,
    help="Reproduce CODER (CVPR 2024): describe an image by its similarity to many texts.\n\n"
    "'make reproduce' runs everything. Each command below is one phase, in the order of the paper; it reads the "
    "artefacts of the phases before it below the results folder of the configuration, and writes its own. "
    "Without --dataset or --model it does all of the configuration.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        help="Configuration file.",
        envvar="CODER_CLIP_CONFIG",
        show_envvar=False,
        metavar="FILE",
    ),
]
DatasetOption = Annotated[
    str | None, typer.Option("--dataset", "-d", help="One data set of the configuration; default: all.")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", "-m", help="One model of the configuration; default: all.")
]
DEFAULT_CONFIG = Path("config/reproduce.yaml")
GENERAL, PHASES, OUTPUT = "General", "Phases, in order", "Tables, figures, report"
SHARING = "Sharing (docs/sharing.md)"
app.add_typer(cli_data.app, name="data", rich_help_panel=GENERAL)


def _phase(name: str) -> Any:
    """A phase's module, imported when it is needed: torch takes a second."""
    return importlib.import_module(f"coder_clip.phases.{name}")


def _chosen(kind: str, one: str | None, known: Iterable[str]) -> list[str]:
    known = list(known)
    if one is not None and one not in known:
        raise UserError(f"no {kind} '{one}' in the configuration{nearest(one, known)}")
    return known if one is None else [one]


def _each(
    config: Config,
    model: str | None,
    dataset: str | None,
    do: Callable[[Config, str, str], None],
    has: Callable[[str], bool] = lambda _: True,
) -> None:
    """For every model and data set; ``has`` says which data sets have what is done, where none is named."""
    for m in _chosen("model", model, config.models):
        for d in _chosen("data set", dataset, config.datasets):
            if dataset is not None or has(d):
                do(config, m, d)


@app.command(rich_help_panel=GENERAL)
def check(
    config: ConfigOption = DEFAULT_CONFIG,
    profile: Annotated[
        str | None,
        typer.Option(
            help="Check the Slurm cluster with this profile instead: a name below workflow/profiles, or a path.",
            metavar="NAME",
        ),
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="With --profile: look from nodes, too, by small jobs.")
    ] = True,
    wait: Annotated[
        float, typer.Option(help="With --profile: seconds to wait for a free node.", min=1)
    ] = 120,
    only_present: Annotated[
        bool, typer.Option("--only-present", help="Without the published data sets that are not here.")
    ] = False,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Decode every image, and look for copies across splits and classes."),
    ] = False,
) -> None:
    """What is missing, and what a run takes, before anything runs; with --profile, whether a Slurm cluster takes it.

    With --profile slurm, on a login node:

    - asks Slurm whether it would take every job of the configuration
      (partition, account, QOS, GPUs, constraint, reservation, memory, time);
    - sends one small job a partition, which looks whether the node sees the
      repository, results, images and weights, whether Python and the GPU
      work there, and whether it can write logs and scratch.

    A line is ok, note (the run goes on) or wrong (it would not, or not all
    of it). The status is 1 where something is wrong.
    """
    if only_present:  # Snakemake, where it is asked, has to know as well
        os.environ[ONLY_PRESENT] = "true"
    c = load_config(config)
    if profile is None:
        from ..preflight.checks import check

        _lines(check(c, config, deep))
        return
    from ..preflight.checks import check
    from ..slurm.check import check as check_cluster

    _lines(check(c, config, deep, here=False))
    wrong = 0
    for finding in check_cluster(c, config, profile, probe, wait):
        typer.echo(finding)
        wrong += finding.status == "wrong"
    if wrong:
        raise typer.Exit(1)


@app.command(hidden=True)
def preflight(config: ConfigOption, model: Annotated[list[str], typer.Option("--model")]) -> None:
    """What a run says before its first job: models, device, how long it takes. Status 1 where it would fail."""
    from ..preflight.checks import before_run

    _lines(before_run(load_config(config), model))


@app.command(rich_help_panel=GENERAL)
def prefetch(
    config: ConfigOption = DEFAULT_CONFIG,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The weights of this model alone.")
    ] = None,
) -> None:
    """Download weights and published data sets now, for machines without network (docs/slurm.md)."""
    from ..preflight.prefetch import prefetch

    c = load_config(config)
    _lines(prefetch(c) if model is None else prefetch(c, _chosen("model", model, c.models), []))


@app.command(hidden=True)
def stage(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Former name of ``prefetch``."""
    prefetch(config)


@app.command(rich_help_panel=GENERAL)
def schema() -> None:
    """Print the JSON schema of the configuration file, for editors (config/schema.json)."""
    typer.echo(json.dumps(config_schema(), indent=1))


@app.command(rich_help_panel=GENERAL)
def usage(
    config: ConfigOption = DEFAULT_CONFIG,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Show what the jobs of each rule asked for and used, after a run, and what to ask for next time.

    asked: of a cluster. A run on this machine asks for the same, and gets
    what there is.

    used: the most that a job of the rule took, by the benchmark files in
    results/benchmarks and, where a site keeps it, Slurm's accounting
    (sacct), which also knows failed jobs. busy CPUs: CPU time by time.

    Below stand lines for set-resources: in the profile: asking for less
    lets jobs start sooner, asking for more saves a second try.
    """
    import csv

    from ..slurm.usage import lines, table, usage

    rows = usage(Path(load_config(config).results))
    if as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows(table(rows))
    else:
        _lines(lines(rows))


@app.command(rich_help_panel=PHASES)
def manifest(config: ConfigOption = DEFAULT_CONFIG, dataset: DatasetOption = None) -> None:
    """List the images of a data set: counts, and path, size and hash of every file of a folder."""
    c = load_config(config)
    for d in _chosen("data set", dataset, c.datasets):
        _phase("manifest").run(c, d)


@app.command(rich_help_panel=PHASES)
def generate_texts(
    config: ConfigOption = DEFAULT_CONFIG,
    dataset: DatasetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be asked and what it costs; needs no key.")
    ] = False,
) -> None:
    """Texts from a language model or WordNet, where the configuration names them as a source (docs/texts.md)."""
    c = load_config(config)
    chosen = _chosen("data set", dataset, c.datasets)
    if dry_run:
        from ..texts.llm.ahead import ahead

        _lines(ahead(c, chosen))
        return
    for d in chosen:
        if c.datasets[d].generated(d):
            _phase("generate_texts").run(c, d)


texts_app = typer.Typer(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
app.add_typer(texts_app, name="texts", rich_help_panel=PHASES)
texts_app.command("import")(cli_texts.import_texts)
texts_app.command("report")(cli_texts.report)
texts_app.command("review")(cli_texts.review)


@texts_app.callback()
def texts(
    context: typer.Context, config: ConfigOption = DEFAULT_CONFIG, dataset: DatasetOption = None
) -> None:
    """Text sets: name, attribute, analogous and synonym texts a class, checked against the data set."""
    if command := context.invoked_subcommand:
        given = {
            name
            for name in context.params
            if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
        }
        if given:
            raise UserError(
                f"options of 'texts {command}' stand behind it: coder-clip texts {command} --config …"
            )
        return
    c = load_config(config)
    for d in _chosen("data set", dataset, c.datasets):
        _phase("texts").run(c, d)


@app.command(rich_help_panel=PHASES)
def image_features(
    config: ConfigOption = DEFAULT_CONFIG,
    dataset: DatasetOption = None,
    model: ModelOption = None,
    split: Annotated[str | None, typer.Option(help="shots, val or test; default: all three.")] = None,
    shard: Annotated[int, typer.Option(help="Which shard to do, from 0.")] = 0,
    shards: Annotated[int, typer.Option(help="How many shards the split is cut into.", min=1)] = 1,
) -> None:
    """Encode images: val, test, and the shots of all seeds averaged over augmented views."""
    c = load_config(config)
    if not 0 <= shard < shards:
        raise UserError(f"--shard {shard}: shards are numbered 0 to {shards - 1}")
    for s in _chosen("split", split, ("shots", "val", "test")):
        do = partial(_phase("image_features").run, split=s, shard=(shard, shards))
        _each(c, model, dataset, do, lambda d, s=s: split is not None or s in c.encoded(d))  # type: ignore[misc]


@app.command(rich_help_panel=PHASES)
def merge_shards(
    config: ConfigOption = DEFAULT_CONFIG,
    dataset: DatasetOption = None,
    model: ModelOption = None,
    split: Annotated[str | None, typer.Option(help="shots, val or test; default: all three.")] = None,
    shards: Annotated[int, typer.Option(help="How many shards the split was cut into.", min=2)] = 2,
) -> None:
    """Put the shards of image features together: the same bytes as one run."""
    c = load_config(config)
    for s in _chosen("split", split, ("shots", "val", "test")):
        do = partial(_phase("image_features").merge_shards, split=s, shards=shards)
        _each(c, model, dataset, do, lambda d, s=s: split is not None or s in c.encoded(d))  # type: ignore[misc]


@app.command(rich_help_panel=PHASES)
def text_features(
    config: ConfigOption = DEFAULT_CONFIG, dataset: DatasetOption = None, model: ModelOption = None
) -> None:
    """Encode every sentence: the text set in its templates, prompt ensemble, random-word control."""
    _each(load_config(config), model, dataset, _phase("text_features").run)


@app.command(rich_help_panel=PHASES)
def coder(
    config: ConfigOption = DEFAULT_CONFIG, dataset: DatasetOption = None, model: ModelOption = None
) -> None:
    """Build the compact CODER of a data set: class sums, name features, Gram matrix."""
    _each(load_config(config), model, dataset, _phase("coder").run)


@app.command(rich_help_panel=PHASES)
def zero_shot(
    config: ConfigOption = DEFAULT_CONFIG, dataset: DatasetOption = None, model: ModelOption = None
) -> None:
    """Stage one and its baselines on the test split."""
    _each(load_config(config), model, dataset, _phase("zero_shot").run)


@app.command(rich_help_panel=PHASES)
def confusable_pairs(config: ConfigOption = DEFAULT_CONFIG, dataset: DatasetOption = None) -> None:
    """Pairs of classes that stage one can confuse, most frequent first."""
    c = load_config(config)
    for d in _chosen("data set", dataset, c.datasets):
        _phase("pairs").run(c, d)


@app.command(rich_help_panel=PHASES)
def generate_pairs(config: ConfigOption = DEFAULT_CONFIG, dataset: DatasetOption = None) -> None:
    """One-to-one texts from a language model, where the configuration names it as their source."""
    c = load_config(config)
    for d in _chosen("data set", dataset, c.datasets):
        if c.datasets[d].generates_pairs:
            _phase("generate_pairs").run(c, d)


@app.command(rich_help_panel=PHASES)
def one_to_one_texts(config: ConfigOption = DEFAULT_CONFIG, dataset: DatasetOption = None) -> None:
    """One-to-one texts there are for these pairs."""
    c = load_config(config)
    for d in _chosen("data set", dataset, c.datasets):
        _phase("one_to_one").run_texts(c, d)


@app.command(rich_help_panel=PHASES)
def one_to_one(
    config: ConfigOption = DEFAULT_CONFIG, dataset: DatasetOption = None, model: ModelOption = None
) -> None:
    """Encode the one-to-one texts: one difference vector an unordered pair."""
    _each(load_config(config), model, dataset, _phase("one_to_one").run)


@app.command(rich_help_panel=PHASES)
def rerank(
    config: ConfigOption = DEFAULT_CONFIG, dataset: DatasetOption = None, model: ModelOption = None
) -> None:
    """Stage two: rerank the top five of uncertain images with one-to-one texts."""
    _each(load_config(config), model, dataset, _phase("rerank").run)


@app.command(
    rich_help_panel=PHASES,
    short_help="Few-shot without training.",
    help="Few-shot without training; of these methods, those that the configuration names (adapter.methods):\n\n"
    + "\n\n".join(f"- {name} ({m.label}): {m.about}" for name, m in {**FEW_SHOT, **ABLATIONS}.items()),
)
def adapter(
    config: ConfigOption = DEFAULT_CONFIG,
    dataset: DatasetOption = None,
    model: ModelOption = None,
    shots: Annotated[int | None, typer.Option(help="One number of shots; default: all.")] = None,
) -> None:
    c = load_config(config)
    for n in _chosen("number of shots", None if shots is None else str(shots), map(str, c.adapter.shots)):
        _each(c, model, dataset, partial(_phase("adapter").run, shots=int(n)), c.few_shot)


@app.command(rich_help_panel=PHASES)
def evaluation(
    config: ConfigOption = DEFAULT_CONFIG, dataset: DatasetOption = None, model: ModelOption = None
) -> None:
    """Ablations over texts, k-NN and retrieval on CODER against original features, t-SNE, corrections."""
    _each(load_config(config), model, dataset, _phase("evaluation").run)


@app.command(rich_help_panel=OUTPUT)
def table(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Default: all of {', '.join(TABLES)}.", metavar="[NAME]...")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write tables as CSV, Markdown and LaTeX."""
    _phase("tables").run(load_config(config), names or ())


@app.command(rich_help_panel=OUTPUT)
def figure(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Default: all of {', '.join(FIGURES)}.", metavar="[NAME]...")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Draw figures as PDF and PNG."""
    _phase("figures").run(load_config(config), names or ())


@app.command(rich_help_panel=OUTPUT)
def report(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Write report.html, one self-contained page, and metrics.json."""
    _phase("report").run(load_config(config), config)


@app.command(rich_help_panel=OUTPUT)
def show(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Print the main table and where the report lies."""
    typer.echo(_phase("report").show(load_config(config)))


cli_photos.register(app)


@app.command(rich_help_panel=SHARING)
def record(
    config: ConfigOption = DEFAULT_CONFIG,
    set_aside: Annotated[
        bool,
        typer.Option("--set-aside", help="First move files that no job makes out of the phases' folders."),
    ] = False,
) -> None:
    """Record every finished phase in DVC. Every run does this by itself at its end."""
    from ..tracking.record import record

    tracked, outcome = record(config, set_aside)
    _lines(outcome.lines(tracked))
    if outcome.refused:
        raise typer.Exit(1)


@app.command(rich_help_panel=SHARING)
def adopt(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Make Snakemake know files that plain DVC brought. 'pull' and every run do this by themselves."""
    from ..tracking.adopt import adopt
    from ..tracking.stages import tracked

    _lines(adopt(tracked(config)).lines() or ["nothing to adopt"])


RemoteOption = Annotated[
    str | None, typer.Option("--remote", "-r", help="Another remote than DVC's default.")
]
JobsOption = Annotated[int | None, typer.Option("--jobs", "-j", help="How many files at a time.", min=1)]


@app.command(rich_help_panel=SHARING)
def push(
    config: ConfigOption = DEFAULT_CONFIG,
    remote: RemoteOption = None,
    jobs: JobsOption = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read back everything from the remote, whatever that costs.")
    ] = False,
) -> None:
    """Share what is recorded, and make sure that the remote holds it. A corrupt file is never sent."""
    from ..tracking.share import push

    _told(push(str(config), remote, jobs, verify))


@app.command(rich_help_panel=SHARING)
def pull(config: ConfigOption = DEFAULT_CONFIG, remote: RemoteOption = None, jobs: JobsOption = None) -> None:
    """Bring what this commit records, each file verified. Needs no remote for what was here before."""
    from ..tracking.share import pull

    _told(pull(str(config), remote, jobs))


def _told(done: Any) -> None:
    """What push or pull did; status 1 where a phase was left."""
    _lines(done.lines)
    if done.failed:
        raise typer.Exit(1)


@app.command(rich_help_panel=SHARING)
def merge(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Settle a dvc.lock in conflict: for each phase the side that fits the merged code, parameters and inputs."""
    from ..tracking.merge import merge

    _lines(merge(str(config)))


@app.command(rich_help_panel=SHARING)
def gc(
    cloud: Annotated[
        bool, typer.Option("--cloud", help="In the remote, not in this machine's cache.")
    ] = False,
    remote: RemoteOption = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete, not only tell.")] = False,
) -> None:
    """Delete files that no commit of anybody's branches and tags needs. 'dvc gc' looks at the branches here alone."""
    from ..tracking.share import clean

    _lines(clean(cloud, remote, delete))


@app.command(rich_help_panel=SHARING)
def status(
    config: ConfigOption = DEFAULT_CONFIG,
    remote: Annotated[bool, typer.Option(help="Ask the DVC remote what it holds.")] = True,
) -> None:
    """Show every phase: complete, recorded, pushed, and what would rerun and why. Changes nothing."""
    from ..tracking.status import status, table

    lines, notes = status(config, remote)
    _lines([*table(lines), *notes])


@app.command(rich_help_panel=SHARING)
def explain(
    table: Annotated[str, typer.Argument(help="A CSV file of the tables: results/tables/zero_shot.csv.")],
    row: Annotated[
        str,
        typer.Argument(
            help="Its number from 1, or what stands in some of its columns (dataset, model, method, setting, shots, "
            "…): dataset=rare,method=coder.",
        ),
    ],
    column: Annotated[
        str,
        typer.Argument(
            help="The number's: accuracy, accuracy_low, mean_class_recall, …; CSV files name theirs."
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="Configuration file; default: the one of config/ that writes the table.",
            envvar="CODER_CLIP_CONFIG",
            show_envvar=False,
            metavar="FILE",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what stands behind one number: files, parameters, code, texts, weights, and how to make it again.

    For example: coder-clip explain results/tables/few_shot.csv dataset=rare,method=coder_adapter,shots=4 accuracy
    """
    from ..tracking.explain import explain, lines

    found = explain(table, row, column, config)
    _lines([json.dumps(vars(found), indent=1, ensure_ascii=False)] if as_json else lines(found))


def _lines(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point: bad input is one line on standard error and exit status 1."""
    logging.basicConfig(
        level=logging.WARNING, format="coder-clip: %(levelname)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("coder_clip").setLevel(logging.INFO)
    try:
        app(prog_name="coder-clip")
    except UserError as error:
        line = " ".join(part.strip() for part in str(error).splitlines())
        print(f"coder-clip: error: {line}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:
        if end.code == 130:  # how typer ends after Control-C
            print("coder-clip: stopped", file=sys.stderr)
        raise
