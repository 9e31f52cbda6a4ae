"""The one way to name a results folder: `results`, or `results/NAME`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import UserError, one_line
from .phases import ABOUT_RUNS, PHASES

# commands of jobs name files below it, so a space or a quote would cut a path in two
ALLOWED = re.compile(r"results(/\w[\w.+@%:,=-]{0,99})?")


def refuse_misplaced(results: str | Path, file: str | Path) -> None:
    """UserError unless results are in `results` or `results/NAME`, which no phase makes.

    file: the configuration that names the folder.
    """
    folder = os.path.normpath(results)
    taken = {*ABOUT_RUNS, *(name for phase in PHASES for name in phase.makes)}
    if not ALLOWED.fullmatch(folder):
        raise UserError(
            f"{file}: results: '{one_line(results)}' is not 'results' or 'results/NAME'; write "
            f"results: results/{Path(file).stem}, and move a folder of earlier results there"
        )
    if Path(folder).name in taken:
        raise UserError(
            f"{file}: results: '{folder}' is a folder that a phase makes; choose another name"
        )
