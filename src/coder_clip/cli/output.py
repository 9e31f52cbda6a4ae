"""Commands for results: table, figure, report, summary."""

from __future__ import annotations

from typing import Annotated

import typer

from ..pipeline.config import load_config
from ..reporting.exhibits import FIGURES, TABLES
from .options import DEFAULT_CONFIG, OUTPUT, ConfigOption, app, phase


@app.command(rich_help_panel=OUTPUT)
def table(
    names: Annotated[
        list[str] | None,
        typer.Argument(help=f"Default: all of {', '.join(TABLES)}.", metavar="NAME"),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write tables as CSV, Markdown and LaTeX."""
    phase("table").run(load_config(config), names or ())


@app.command(rich_help_panel=OUTPUT)
def figure(
    names: Annotated[
        list[str] | None,
        typer.Argument(help=f"Default: all of {', '.join(FIGURES)}.", metavar="NAME"),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Draw figures as PDF and PNG."""
    phase("figure").run(load_config(config), names or ())


@app.command(rich_help_panel=OUTPUT)
def report(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Write report.html, one self-contained page, and metrics.json."""
    phase("report").run(load_config(config))


@app.command(rich_help_panel=OUTPUT)
def summary(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Print the claims with their verdicts, and the paths of the report."""
    typer.echo(phase("report").summary(load_config(config)))
