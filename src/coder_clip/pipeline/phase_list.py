"""The list of phases, workflow/phases.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import UserError, one_line
from ..foundation.yaml_file import read_yaml

FILE = Path("workflow/phases.yaml")
OF_THIS_CODE = Path(__file__).parents[3] / FILE


@dataclass(frozen=True)
class Phase:
    """One phase.

    target: its name for Snakemake. makes, keeps: names below the results folder; the
    names in keeps are in Git. commands: rule -> command line.
    """

    name: str
    target: str
    makes: tuple[str, ...]
    keeps: tuple[str, ...]
    commands: dict[str, str]


def phases(file: Path = FILE) -> tuple[Phase, ...]:
    """All phases in order. UserError if the file is missing or incomplete."""
    try:
        return _phases(file.resolve(), file.stat().st_mtime_ns)
    except OSError as error:
        raise UserError(f"no {FILE} here; run this in the folder of the Snakefile") from error


@cache
def _phases(file: Path, _: int) -> tuple[Phase, ...]:
    """Read the list. The second argument, the file's time, only makes the cache read it again."""
    try:
        listed = read_yaml(file)["phases"]
        return tuple(
            Phase(
                name,
                phase["target"],
                tuple(phase["makes"]),
                tuple(phase.get("keeps", ())),
                # long commands are folded over several lines in the file
                {rule: " ".join(command.split()) for rule, command in phase["rules"].items()},
            )
            for name, phase in listed.items()
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} cannot be read: {one_line(error)}") from error
