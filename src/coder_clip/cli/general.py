"""General commands: check, prefetch, schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..foundation import rooms
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
    probe: Annotated[
        bool,
        typer.Option(
            "--probe/--no-probe", help="With --profile: also check from the nodes, with small jobs."
        ),
    ] = True,
    all_nodes: Annotated[
        bool,
        typer.Option(
            "--all-nodes", help="With --profile: a small job on each node of the partitions."
        ),
    ] = False,
    propose: Annotated[
        bool,
        typer.Option(
            "--propose",
            help="With --profile: write workflow/profiles/site for this cluster, and check it.",
        ),
    ] = False,
    wait: Annotated[
        float, typer.Option(help="With --profile: seconds to wait for a free node.", min=1)
    ] = 120,
    deep: Annotated[
        bool, typer.Option("--deep", help="Decode every image, also those that seem whole.")
    ] = False,
) -> None:
    """Check what is missing and what a run will need.

    With --profile, whether a Slurm cluster accepts it.

    With --profile slurm, on a login node:

    - asks Slurm whether it would take every job of the configuration
      (partition, account, QOS, GPUs, constraint, reservation, memory, time);
    - sends one small job to each partition, which checks whether the node
      sees the repository, results, images and weights, whether Python and
      the GPU work there, and whether it can write logs and scratch.

    Each line is ok, note (the run works all the same) or wrong (jobs would fail). The exit status
    is 1 if a line is wrong.
    """
    c = load_config(config)
    rooms.PREFLIGHT.require()
    from ..preflight.checks import check_config

    if (all_nodes or propose) and profile is None:
        raise UserError("--all-nodes and --propose need a profile of Slurm: --profile slurm")
    options = (probe, wait, all_nodes, propose)
    wrong = profile is not None and _cluster_is_wrong(c, config, profile, *options)
    print_lines(check_config(c, config, deep, here=profile is None))
    if wrong:
        raise typer.Exit(1)


def _cluster_is_wrong(
    c: Config,
    config: Path,
    profile: str,
    probe: bool,
    wait: float,
    all_nodes: bool,
    proposes: bool,
) -> bool:
    """Print what the cluster lacks for a run; True if something would stop it."""
    rooms.SLURM.require()  # only a cluster needs it, and a wheel of coder-clip does not bring it
    from ..slurm.check import findings

    wrong = False
    # they appear as they come, because small jobs wait for nodes
    for finding in findings(c, config, profile, probe, wait, all_nodes, proposes):
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
    rooms.PREFLIGHT.require()
    from ..preflight.prefetch import prefetch

    c = load_config(config)
    print_lines(prefetch(c, None if model is None else chosen("model", model, c.models)))


@app.command(rich_help_panel=GENERAL)
def schema() -> None:
    """Print the JSON schema of the configuration file, for editors (config/schema.json)."""
    typer.echo(json.dumps(config_schema(), indent=1))
