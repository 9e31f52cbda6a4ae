"""General commands: check, prefetch, schema."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ..errors import UserError
from ..foundation.installed import slurm_advice
from ..pipeline.config import load_config
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
    # only a cluster needs the executor, and a wheel of coder-clip does not bring it
    advice = slurm_advice()
    if profile is not None and advice:
        raise UserError(advice)
    from ..preflight.check import Run, everything

    run = Run(
        c,
        config,
        [*c.datasets],
        [*c.models],
        asks=True,
        here=profile is None,
        thorough=True,
        deep=deep,
        profile=profile,
    )
    print_lines(everything(run))


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
