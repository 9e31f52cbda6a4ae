"""``coder-clip data``: check and download published data sets (docs/data.md)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..datasets import PUBLISHED, WITH_ENTRY, nearest_dataset
from ..errors import UserError
from ..pipeline.config import load_config
from .options import App, CommandGroup

if TYPE_CHECKING:
    from ..datasets.availability import Findings

app = App(
    cls=CommandGroup,
    help="Check and download published data sets (docs/data.md).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DEFAULT_ROOT = Path("data/published")  # where the shipped configurations look

Names = Annotated[list[str] | None, typer.Argument(help="Published data sets.", metavar="NAME")]
Everything = Annotated[bool, typer.Option("--all", help="All published data sets.")]
OfConfig = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The data sets of this configuration.", metavar="FILE"),
]


@app.command()
def check(names: Names = None, everything: Everything = False, config: OfConfig = None) -> None:
    """Report what is there, what is missing, and how to get it.

    Exit status 1 if a data set cannot be used.
    """
    from ..datasets.availability import look_at
    from ..datasets.published import existing

    chosen, root_folder = _chosen(names, everything, config, default=DEFAULT_ROOT)
    # a folder that is not there yet is empty; a file in its place is an error
    if root_folder.exists():
        existing(root_folder)
    if not _print_findings([look_at(name, root_folder) for name in chosen]):
        raise typer.Exit(1)


@app.command()
def get(
    names: Names = None,
    everything: Everything = False,
    config: OfConfig = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the downloaded archives.")] = False,
    url: Annotated[
        list[str] | None,
        typer.Option(
            help="Another address of a file, which ends in its name, tried first (the checksum is "
            "the same).",
            metavar="URL",
        ),
    ] = None,
) -> None:
    """Download what may be downloaded, check it and unpack it.

    A broken download continues where it stopped.
    """
    from ..datasets import availability

    chosen, root_folder = _chosen(names, everything, config)
    urls = availability.addresses(url or [], chosen, root_folder)
    findings, failed = [], []
    # The failure of one data set does not stop the others. With a single data set, its error is
    # raised.
    for name in chosen:
        try:
            findings.append(
                availability.get(name, root_folder, keep=keep, say=typer.echo, urls=urls)
            )
        except UserError as error:
            if len(chosen) == 1:
                raise
            typer.echo(f"{name}: {error}", err=True)
            failed.append(name)
    all_usable = _print_findings(findings)
    if failed:
        raise UserError(f"could not be fetched, see above: {', '.join(failed)}")
    if not all_usable:
        raise typer.Exit(1)


def _chosen(
    names: list[str] | None,
    everything: bool,
    config: Path | None,
    default: Path | None = None,
) -> tuple[list[str], Path]:
    """The data sets that a command is about, and the folder that holds them.

    default: the folder if nothing names one; None: UserError then.
    """
    from ..datasets.published import ROOT_VARIABLE, data_root

    c = load_config(config, absent=True) if config else None
    chosen = list(PUBLISHED) if everything else list(dict.fromkeys(names or []))
    unknown = [n for n in chosen if n not in WITH_ENTRY]
    if unknown:
        raise UserError(f"no published data set '{unknown[0]}'{nearest_dataset(unknown[0])}")
    # data sets named by the user come before those of the configuration
    if not chosen and c:
        chosen = [name for name in c.datasets if c.published(name)]
    if not chosen:
        raise UserError("name data sets, or give --all, or --config with published data sets in it")
    configured = c.data_root if c else None
    if default is not None and configured is None and not os.environ.get(ROOT_VARIABLE):
        return chosen, default
    return chosen, data_root(configured)


def _print_findings(findings: list[Findings]) -> bool:
    """Print all findings; True if all data sets can be used."""
    for of_dataset in findings:
        for line in of_dataset.lines():
            typer.echo(line)
    return all(of_dataset.usable for of_dataset in findings)
