"""The list of phases, workflow/phases.yaml, and their commands, which stand in workflow/rules."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import UserError, one_line
from ..foundation.yaml_file import read_yaml

FILE = Path("workflow/phases.yaml")
COUNTS = ("shots", "shard", "shards")  # options that are numbers
# a rule of a file, and the text of its command: strings one after the other
RULE = re.compile(r"^ *rule (\w+):\n(.*?)(?=^ *rule |\Z)", flags=re.M | re.S)
COMMAND = re.compile(r"\bcertify\(\s*((?:\"[^\"]*\"\s*)+)\)")
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


@dataclass(frozen=True)
class Call:
    """The function of a phase's command: ``run`` of its module in `coder_clip.phases`, with its
    options as arguments.
    """

    module: str
    names: list[str]
    options: dict[str, str | int]

    @classmethod
    def of(cls, command: str) -> Call:
        """From a command line, "coder-clip zero-shot --model mini --dataset rare"; UserError for
        another one.
        """
        try:
            return cls._of(shlex.split(command))
        except ValueError as error:
            raise UserError(f"not a command of a phase: '{command}' ({error})") from error

    @classmethod
    def _of(cls, line: list[str]) -> Call:
        """From the words of a command line; ValueError if they are none."""
        _, name, *words = line
        names: list[str] = []
        options: dict[str, str | int] = {}
        waiting = iter(words)
        for word in waiting:
            if word.startswith("--"):
                option, value = word.removeprefix("--"), next(waiting, "")
                options[option] = int(value) if option in COUNTS else value
            else:
                names.append(word)
        return cls(name.replace("-", "_"), names, options)

    @property
    def arguments(self) -> list[Any]:
        """Arguments of ``run`` after the configuration, besides the options."""
        if not self.names:
            return []
        return [self.names]

    def __str__(self) -> str:
        given = [repr(value) for value in self.arguments]
        given += [f"{option}={value!r}" for option, value in self.options.items()]
        return f"coder_clip.phases.{self.module}.run({', '.join(given)})"

    def function(self) -> Callable[..., None]:
        """The function ``run``, imported now."""
        run: Callable[..., None] = importlib.import_module(f"coder_clip.phases.{self.module}").run
        return run


def phases(file: Path = FILE) -> tuple[Phase, ...]:
    """All phases in order. UserError if a file is missing or incomplete."""
    try:
        rules = sorted((file.parent / "rules").glob("*.smk"))
        times = tuple(path.stat().st_mtime_ns for path in (file, *rules))
        return _phases(file.resolve(), times)
    except OSError as error:
        raise UserError(f"no {FILE} here; run this in the folder of the Snakefile") from error


@cache
def _phases(file: Path, _: tuple[int, ...]) -> tuple[Phase, ...]:
    """Read the list. The second argument, times of files, only makes the cache read them again."""
    try:
        listed = read_yaml(file)["phases"]
        return tuple(
            Phase(
                name,
                phase["target"],
                tuple(phase["makes"]),
                tuple(phase.get("keeps", ())),
                _commands(file.parent / f"rules/{name}.smk"),
            )
            for name, phase in listed.items()
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} cannot be read: {one_line(error)}") from error


def _commands(file: Path) -> dict[str, str]:
    """Rule -> command, of the rules in a file that certify what they write."""
    commands = {}
    for rule, body in RULE.findall(file.read_text(encoding="utf-8")):
        found = COMMAND.search(body)
        if found:
            commands[rule] = "".join(re.findall(r'"([^"]*)"', found[1]))
    return commands
