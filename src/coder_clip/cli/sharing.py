"""Commands for sharing: record, push, pull, status, explain, verify."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Annotated, Any

import typer

from ..foundation.progress import progress
from ..pipeline.config import existing_file
from .options import CONFIG, DEFAULT_CONFIG, SHARING, ConfigOption, app, print_lines


@app.command(rich_help_panel=SHARING)
def record(
    config: ConfigOption = DEFAULT_CONFIG,
    set_aside: Annotated[
        bool,
        typer.Option(
            "--set-aside", help="First move files that no job makes out of the phases' folders."
        ),
    ] = False,
) -> None:
    """Record every finished phase in DVC. Every run does this automatically at its end."""
    from ..tracking.record import record

    outcome = record(existing_file(config), set_aside)
    print_lines(outcome.lines)
    if outcome.refused:
        raise typer.Exit(1)


RemoteOption = Annotated[
    str | None, typer.Option("--remote", "-r", help="Another remote than DVC's default.")
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", "-j", help="How many files at a time.", min=1)
]


@app.command(rich_help_panel=SHARING)
def push(
    config: ConfigOption = DEFAULT_CONFIG,
    remote: RemoteOption = None,
    jobs: JobsOption = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Verify the contents of all files in the remote, which may take long."
        ),
    ] = False,
) -> None:
    """Upload recorded results and verify the remote. A corrupt file is never sent."""
    from ..tracking.share import push

    _report(push(str(existing_file(config)), remote, jobs, verify))


@app.command(rich_help_panel=SHARING)
def pull(
    config: ConfigOption = DEFAULT_CONFIG, remote: RemoteOption = None, jobs: JobsOption = None
) -> None:
    """Download the results that this commit records, each file verified.

    Files in the cache need no remote.
    """
    from ..tracking.share import pull

    _report(pull(str(existing_file(config)), remote, jobs))


def _report(done: Any) -> None:
    """Print what push or pull did; status 1 if a phase failed."""
    print_lines(done.lines)
    if done.failed:
        raise typer.Exit(1)


@app.command(rich_help_panel=SHARING)
def status(
    config: ConfigOption = DEFAULT_CONFIG,
    remote: Annotated[bool, typer.Option(help="Ask the DVC remote what it holds.")] = True,
) -> None:
    """Show every phase: complete, recorded, pushed, and what would rerun and why.

    Changes nothing.
    """
    from ..tracking.status import status, table

    lines, notes = status(existing_file(config), remote)
    print_lines([*table(lines), *notes])


@app.command(rich_help_panel=SHARING)
def explain(
    table: Annotated[
        str, typer.Argument(help="A CSV file of the tables: results/tables/zero_shot.csv.")
    ],
    row: Annotated[
        str,
        typer.Argument(
            help="Row number from 1, or values of some columns (dataset, model, method, setting, "
            "shots, …): dataset=rare,method=coder.",
        ),
    ],
    column: Annotated[
        str,
        typer.Argument(
            help="Column of the number: accuracy, accuracy_low, mean_class_recall, …; see the "
            "header of the CSV file."
        ),
    ],
    config: Annotated[Path | None, CONFIG] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every file, with hashes and parameters.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show where one number comes from: files, parameters, code, texts, weights, and how to make it
    again.

    Without --config, the configuration is the one of config/ that writes the table.

    For example: coder-clip explain results/tables/few_shot.csv
    dataset=rare,method=coder_adapter,shots=4 accuracy
    """
    from ..tracking.explain import explain, lines

    found = explain(table, row, column, config)
    print_lines(
        [json.dumps(vars(found), indent=1, ensure_ascii=False)] if as_json else lines(found, every)
    )


@app.command(rich_help_panel=SHARING)
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Jobs (classify/mini/rare), rules, phases or outputs; default: a random sample.",
            metavar="[JOB]…",
        ),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    sample: Annotated[
        int, typer.Option("--sample", "-n", help="How many jobs, if none is named.", min=1)
    ] = 5,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of the random sample; default: a new one.")
    ] = None,
) -> None:
    """Run jobs again in a copy, and compare the bytes with their certificates. Changes nothing.

    A line for each job: same, differs or failed. Exits with 1 if a job differs, failed, or was
    named and cannot be verified. Features are encoded again; a language model is not asked, its
    stored answers are read.

    For example: coder-clip verify --sample 3, or coder-clip verify results/tables/zero_shot.csv"""
    from ..tracking.verify import Verification, summary

    seed = random.randrange(10_000) if seed is None else seed
    chosen = Verification(existing_file(config), names or (), sample, seed)
    print_lines(chosen.beginning())
    verdicts = []
    with progress(len(chosen.jobs), "job", "verify") as bar:
        for verdict in chosen.run():
            print_lines([str(verdict)])
            verdicts.append(verdict)
            bar.update()
    line, good = summary(verdicts, len(chosen.skipped) if names else 0)
    print_lines([line])
    if not good:
        raise typer.Exit(1)
