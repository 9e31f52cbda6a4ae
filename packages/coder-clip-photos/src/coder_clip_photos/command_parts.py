"""Options and output that the commands of photos share."""

from __future__ import annotations

import math
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from coder_clip.encoders import families
from coder_clip.errors import UserError

if TYPE_CHECKING:
    from .files import Places

DEFAULT_MODEL = "ViT-B-32"
MODEL = f"Encoder: {families.names()}, or a folder; default: {DEFAULT_MODEL}"
LISTED = 20  # files that are listed for one reason
STREAMED = 256  # photos whose JSON Lines are written together
PANEL = "Your photos (docs/photos.md)"


PhotosArgument = Annotated[
    list[str],
    typer.Argument(
        help="Photos, folders of photos, or - for a list on standard input.", metavar="PHOTOS"
    ),
]
ClassesOption = Annotated[
    str | None,
    typer.Option(
        "--classes", help="Class names: cat,dog; one with a comma in quotes.", metavar="NAMES"
    ),
]
ClassesFileOption = Annotated[
    Path | None,
    typer.Option("--classes-file", help="Class names in a file, one per line.", metavar="FILE"),
]
TextsOption = Annotated[
    Path | None,
    typer.Option(
        "--texts",
        help="What the classes look like: a text set (docs/photos.md), or the name of one that "
        "comes with this package, such as oxford_pets.",
        metavar="FILE_OR_NAME",
    ),
]
TemplateOption = Annotated[
    list[str] | None,
    typer.Option(
        "--template",
        help="Prompt for class names: 'a satellite photo of a {class}.'; several times: their "
        "average.",
        metavar="TEXT",
    ),
]
RUN = typer.Option(
    "--run", help="A finished run: its results folder, or its configuration file.", metavar="PATH"
)
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help=f"{MODEL}. Of a run: which of its encoders."),
]
PretrainedOption = Annotated[
    str | None,
    typer.Option("--pretrained", help="Weights of a plain name: a tag or a file; default: openai."),
]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset", "-d", help="Of a run: which data set's classes; default: the only one."
    ),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="With --run: clip, coder, coder_rerank, …, a few-shot one as coder_adapter-16; "
        "default: what the run recommends (docs/method.md).",
    ),
]
CacheOption = Annotated[
    bool, typer.Option("--cache/--no-cache", help="Keep features for the next call.")
]
Format = Literal["table", "csv", "json", "jsonl"]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        help="Default: by the ending of --out, else a table.", metavar="table|csv|json|jsonl"
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Write here, not to the terminal.", metavar="FILE"),
]


def chosen_format(format: Format | None, out: Path | None) -> Format:
    """The format given by --format, or by the ending of --out. UserError for an unknown ending.

    With --format a file may have any ending except a photo's: a photo could be overwritten.
    """
    from coder_clip.datasets.folder import is_image

    endings: dict[str, Format] = {
        "": "table",
        ".txt": "table",
        ".csv": "csv",
        ".json": "json",
        ".jsonl": "jsonl",
    }
    ending = ""
    if out:
        ending = out.suffix
    if is_image(f"x{ending}"):
        raise UserError(
            f"--out {out}: this ending is a photo's; end it in .csv, .json, .jsonl or .txt"
        )
    if format is None and ending not in endings:
        raise UserError(f"--out {out}: end it in .csv, .json, .jsonl or .txt, or give --format")
    return format or endings[ending]


def refuse_no_number(option: str, value: float | None) -> None:
    """UserError for nan and infinity, which no score can be compared with."""
    if value is not None and not math.isfinite(value):
        raise UserError(f"{option} {value:g}: give a number")


def table_width(out: Path | None) -> int | None:
    """Columns of the terminal that a table is for.

    None for a file or pipe, whose lines can have any length.
    """
    if out is None and sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return None


def end(places: Places, n_kept: int, skipped: list[tuple[str, str]]) -> None:
    """List skipped photos.

    The exit status is 1 if the user named one of them, or if no photo could be read (n_kept is 0).
    """
    list_skipped(places, skipped)
    paths = {path for path, _ in places.skipped + skipped}
    if not n_kept or paths & places.named:
        raise typer.Exit(1)


def write(text: str, out: Path | None = None) -> None:
    """Write to a file, whole or not at all, or to the terminal.

    A reader that stops early (head) is not an error.
    """
    if out is not None:
        from coder_clip.foundation.artifacts import write_text

        from .files import shown

        write_text(out, text)
        note(f"written to {shown(out)}")
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it ends, so nothing may be wrong with standard output then
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def list_skipped(places: Places, unreadable: list[tuple[str, str]]) -> None:
    """Print a line per file that was left out; of a reason that many files have, one line.

    unreadable: (path, reason).
    """
    from .files import by_ending, shown

    for line in by_ending(places.others):
        note(line)
    of_reason: dict[str, list[str]] = {}
    for path, reason in [*places.skipped, *unreadable]:
        of_reason.setdefault(reason, []).append(path)
    for reason, paths in of_reason.items():
        for path in paths[:LISTED]:
            note(f"left out: {shown(path)}: {shown(reason)}")
        if len(paths) > LISTED:
            note(f"left out: {len(paths) - LISTED:,} more: {shown(reason)}")


def note(line: str) -> None:
    """Print a line about the run to standard error."""
    typer.echo(line, err=True)


def quiet_about_large_photos() -> None:
    """Silence Pillow's warning about photos over 89 megapixels, which are read all the same."""
    from PIL import Image

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
