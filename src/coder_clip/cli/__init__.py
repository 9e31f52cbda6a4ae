"""The command line. Each phase of the paper is one command that also works without Snakemake."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from ..foundation.failures import one_line_errors as one_line_errors

# in the order of the help: each module adds its commands to `app`
from . import data, general, phases, output, sharing, plugins  # noqa: F401  # isort: skip
from . import texts_weigh, texts_compare, texts_prompts  # noqa: F401  # isort: skip
from .options import GENERAL
from .options import app as app

plugins.load()
app.add_typer(data.app, name="data", rich_help_panel=GENERAL)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True)
    ] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point."""
    with one_line_errors():
        app(prog_name="coder-clip")
