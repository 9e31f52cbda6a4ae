"""`coder-clip texts prompts`: the shipped prompts, to edit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..foundation import rooms
from ..foundation.artifacts import write_bytes
from .texts import app


@app.command("prompts")
def write_prompts(
    folder: Annotated[Path, typer.Argument(help="Folder to write them to.", metavar="FOLDER")],
) -> None:
    """Write the prompts for the language model to a folder, to edit them for your project.

    One file per kind of text. Delete those that you do not change: a kind without a file has the
    shipped prompt. Existing files are never overwritten.
    """
    rooms.LANGUAGE_MODEL.require()
    from ..texts.llm.prompts import FOLDER

    shipped = sorted(FOLDER.glob("*.txt"))
    for path in shipped:
        if (folder / path.name).exists():
            raise UserError(f"{folder / path.name} exists; name another folder")
    for path in shipped:
        write_bytes(folder / path.name, path.read_bytes())
    names = ", ".join(path.name for path in shipped)
    typer.echo(f"{folder}: {names}; edit them, and raise 'version'")
    typer.echo(f"to use them: generator: {{prompts: {folder}}}")
