"""One command per phase, in the order of the paper, and the commands for text sets."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..baselines.methods import ABLATIONS, FEW_SHOT
from ..errors import UserError
from ..foundation import scan
from ..pipeline.config import load_config
from ..texts.sources import SOURCES
from . import texts
from .options import (
    DEFAULT_CONFIG,
    PHASES,
    ConfigOption,
    DatasetOption,
    ModelOption,
    app,
    chosen,
    for_each,
    phase,
    print_lines,
)


def _per_dataset(name: str, about: str, module: str) -> None:
    """Add the command of a phase that runs once per data set."""

    def command(config: ConfigOption = DEFAULT_CONFIG, dataset: DatasetOption = None) -> None:
        c = load_config(config)
        for d in chosen("data set", dataset, c.datasets):
            phase(module).run(c, d)

    app.command(name, help=about, rich_help_panel=PHASES)(command)


def _per_model(module: scan.Module) -> None:
    """Add the command of a phase that runs for each data set with each model.

    The phase is a module with ABOUT and ``run``.
    """

    def command(
        config: ConfigOption = DEFAULT_CONFIG,
        dataset: DatasetOption = None,
        model: ModelOption = None,
    ) -> None:
        for_each(load_config(config), model, dataset, phase(module.name).run)

    name = module.name.replace("_", "-")
    app.command(name, help=module.get("ABOUT"), rich_help_panel=PHASES)(command)


_per_dataset(
    "manifest",
    "List the images of a data set: counts, and path, size and hash of every file of a folder.",
    "manifest",
)


@app.command(
    rich_help_panel=PHASES,
    short_help="Generate texts with a language model or a dictionary.",
    help=(
        "Generate texts for data sets whose configuration names one of these sources "
        "(docs/texts.md):\n\n"
    )
    + "\n\n".join(f"- {name} ({', '.join(s.kinds)}): {s.about}" for name, s in SOURCES.items()),
)
def generate_texts(
    config: ConfigOption = DEFAULT_CONFIG,
    dataset: DatasetOption = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print what would be asked and its cost; needs no key."),
    ] = False,
) -> None:
    c = load_config(config)
    named = chosen("data set", dataset, c.datasets)
    if dry_run:
        from ..texts.llm.estimate import lines

        asked = phase("generate_texts").asked(c, named)
        print_lines(lines(c.generator, asked, len(named) > 1))
        return
    for d in named:
        if c.datasets[d].generated(d):
            phase("generate_texts").run(c, d)


app.add_typer(texts.app, name="texts", rich_help_panel=PHASES)
SplitOption = Annotated[
    list[str] | None,
    typer.Option("--split", help="shots, val or test; default: all that the data set needs."),
]


def _splits(split: list[str] | None) -> list[str] | None:
    """The splits that the user named, checked; None if the user named none."""
    for name in split or []:
        chosen("split", name, ("shots", "val", "test"))
    return split or None


@app.command(rich_help_panel=PHASES)
def image_features(
    config: ConfigOption = DEFAULT_CONFIG,
    dataset: DatasetOption = None,
    model: ModelOption = None,
    split: SplitOption = None,
    shard: Annotated[int, typer.Option(help="Index of the shard to encode, from 0.")] = 0,
    shards: Annotated[int, typer.Option(help="Number of shards of each split.", min=1)] = 1,
) -> None:
    """Encode images: val, test, and the shots of all seeds averaged over augmented views.

    Weights of a model are loaded once for all that is asked for.
    """
    if not 0 <= shard < shards:
        raise UserError(f"--shard {shard}: shards are numbered 0 to {shards - 1}")
    run = partial(phase("image_features").run, splits=_splits(split), shard=shard, shards=shards)
    for_each(load_config(config), model, dataset, run)


@app.command(rich_help_panel=PHASES)
def merge_shards(
    config: ConfigOption = DEFAULT_CONFIG,
    dataset: DatasetOption = None,
    model: ModelOption = None,
    shards: Annotated[int, typer.Option(help="Number of shards of each split.", min=2)] = 2,
) -> None:
    """Merge the shards of image features: the same bytes as one run."""
    run = partial(phase("merge_shards").run, shards=shards)
    for_each(load_config(config), model, dataset, run)


_per_dataset(
    "confusable-pairs",
    "List the pairs of classes that stage one can confuse, most frequent first.",
    "confusable_pairs",
)


@app.command(rich_help_panel=PHASES)
def generate_pairs(config: ConfigOption = DEFAULT_CONFIG, dataset: DatasetOption = None) -> None:
    """Write one-to-one texts with the source that the configuration names."""
    c = load_config(config)
    for d in chosen("data set", dataset, c.datasets):
        if c.datasets[d].pair_text_source:
            phase("generate_pairs").run(c, d)


_per_dataset("pair-texts", "Collect the one-to-one texts of these pairs.", "pair_texts")


@app.command(
    rich_help_panel=PHASES,
    short_help="Few-shot without training.",
    help=(
        "Few-shot without training, with the methods that the configuration names "
        "(adapter.methods):\n\n"
    )
    + "\n\n".join(
        f"- {name} ({m.label}): {m.about}" for name, m in {**FEW_SHOT, **ABLATIONS}.items()
    ),
)
def adapter(
    config: ConfigOption = DEFAULT_CONFIG,
    dataset: DatasetOption = None,
    model: ModelOption = None,
    shots: Annotated[int | None, typer.Option(help="One number of shots; default: all.")] = None,
) -> None:
    c = load_config(config)
    # has_shots is noted by its answer, so a job does not depend on the whole list; `chosen` raises,
    # and names the known numbers
    if shots is not None and not c.has_shots(str(shots)):
        chosen("number of shots", str(shots), [*map(str, c.adapter.shots)])
    for n in c.adapter.shots if shots is None else [shots]:
        for_each(c, model, dataset, partial(phase("adapter").run, shots=n), c.few_shot)


# a phase module with ABOUT becomes a command by itself: nothing else lists it
for module in scan.modules(Path(__file__).parents[1] / "phases"):
    if module.get("ABOUT") is not None:
        _per_model(module)
