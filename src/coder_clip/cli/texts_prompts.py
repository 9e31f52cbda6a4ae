"""`coder-clip texts prompts`: the shipped prompts and rules, to edit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..foundation.artifacts import write_bytes
from .texts import app


@app.command("prompts")
def write_prompts(
    folder: Annotated[Path, typer.Argument(help="Folder to write them to.", metavar="FOLDER")],
) -> None:
    """Write the prompts for the language model, and the rules for its texts, to a folder, to edit
    them for your project.

    One file per kind of text, and rules.yaml, which names the language. Delete those that you do
    not change: what has no file is as shipped. Existing files are never overwritten.
    """
    from ..texts.english import OWN, SHIPPED
    from ..texts.llm.prompts import FOLDER

    shipped = {path.name: path for path in sorted(FOLDER.glob("*.txt"))} | {OWN: SHIPPED}
    for name in shipped:
        if (folder / name).exists():
            raise UserError(f"{folder / name} exists; name another folder")
    for name, path in shipped.items():
        write_bytes(folder / name, path.read_bytes())
    typer.echo(f"{folder}: {', '.join(shipped)}; edit them, and raise 'version' in the prompts")
    typer.echo(f"to use them: generator: {{prompts: {folder}}}")
