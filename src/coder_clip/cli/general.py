"""General commands: check, prefetch, schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..foundation.installed import slurm_advice
from ..pipeline.config import Config, load_config
from ..pipeline.config import schema as config_schema
from .options import DEFAULT_CONFIG, GENERAL, ConfigOption, app, chosen, print_lines


@app.command(rich_help_panel=GENERAL)
def check(
    config: ConfigOption = DEFAULT_CONFIG,
    profile: Annotated[
        str | None,
        typer.Option(
            help="Check the Slurm cluster with this profile instead: a name below "
            "workflow/profiles, or a path.",
            metavar="NAME",
        ),
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Decode every image, also those that seem whole.")
    ] = False,
) -> None:
    """Check what is missing and what a run will need.

    With --profile slurm, on a login node, it asks Slurm whether it would take every job of the
    configuration (partition, account, QOS, GPUs, constraint, reservation, memory, time).
    'snakemake smoke --profile workflow/profiles/slurm' then tries one job on each place.

    Each line on the cluster is ok, note (the run works all the same) or wrong (jobs would fail).
    The exit status is 1 if a line is wrong.
    """
    c = load_config(config)
    from ..preflight.checks import check_config

    wrong = profile is not None and _cluster_is_wrong(c, config, profile)
    print_lines(check_config(c, config, deep, here=profile is None))
    if wrong:
        raise typer.Exit(1)


def _cluster_is_wrong(c: Config, config: Path, profile: str) -> bool:
    """Print what the cluster lacks for a run; True if something would stop it."""
    advice = slurm_advice()  # only a cluster needs it, and a wheel of coder-clip does not bring it
    if advice:
        raise UserError(advice)
    from ..slurm.check import findings

    wrong = False
    for finding in findings(c, config, profile):
        typer.echo(finding)
        wrong |= finding.status == "wrong"
    return wrong


@app.command(rich_help_panel=GENERAL)
def prefetch(
    config: ConfigOption = DEFAULT_CONFIG,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Only the weights of this model.")
    ] = None,
) -> None:
    """Download weights and published data sets now, for machines without network."""
    from ..preflight.prefetch import prefetch

    c = load_config(config)
    print_lines(prefetch(c, None if model is None else chosen("model", model, c.models)))


@app.command(rich_help_panel=GENERAL)
def schema() -> None:
    """Print the JSON schema of the configuration file, for editors (config/schema.json)."""
    typer.echo(json.dumps(config_schema(), indent=1))
