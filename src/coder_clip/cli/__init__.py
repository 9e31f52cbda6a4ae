"""The command line. Each phase of the paper is one command that also works without Snakemake."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from .. import __version__
from ..errors import UserError
from ..foundation import evidence

# In the order of the help: each module adds its commands to `app`. A job imports no more than its
# command needs, because all that it executes is in its certificate.
if evidence.command in ("table", "figure", "report"):
    from . import output
elif evidence.command:
    from . import phases
else:
    from . import data, general, phases, output, sharing, plugins  # noqa: F401  # isort: skip
from .options import GENERAL
from .options import app as app

if not evidence.command:
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


@contextmanager
def one_line_errors() -> Iterator[None]:
    """For bad input or a file that cannot be written, print one line on standard error and exit
    with status 1.
    """
    logging.basicConfig(
        level=logging.WARNING, format="coder-clip: %(levelname)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("coder_clip").setLevel(logging.INFO)
    try:
        yield
    except UserError as error:
        # one line, whatever line breaks the message holds
        line = " ".join(part.strip() for part in str(error).splitlines())
        print(f"coder-clip: error: {line}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        # only what the user can repair is a message; any other error keeps its traceback
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise
        advice = (
            "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check its permissions"
        )
        print(
            f"coder-clip: error: {error.filename or 'a file'}: {error.strerror}; {advice}",
            file=sys.stderr,
        )
        sys.exit(1)
    except SystemExit as end:
        if end.code == 130:  # how typer ends after Control-C
            print("coder-clip: stopped", file=sys.stderr)
        raise


def main() -> None:
    """Entry point."""
    with one_line_errors():
        app(prog_name="coder-clip")
