"""The commands of phases, made from the list of jobs, in the order of the paper."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UserError, nearest
from ..jobs import RULES, Rule, call, wildcards
from ..pipeline.config import Config, load_config
from . import texts
from .options import (
    DEFAULT_CONFIG,
    OUTPUT,
    PHASES,
    ConfigOption,
    DatasetOption,
    ModelOption,
    app,
    chosen,
    print_lines,
)

OPTIONS = {  # wildcard -> option
    "dataset": DatasetOption,
    "model": ModelOption,
    "shots": Annotated[str | None, typer.Option(help="One number of shots; default: all.")],
    "shard": Annotated[str | None, typer.Option(help="One shard of each split, from 0.")],
    "shards": Annotated[str | None, typer.Option(help="Number of shards (features.shards).")],
}
CALLED = {"dataset": "data set", "shots": "number of shots"}  # in messages
# command -> what its outputs are called, of commands that can make some of them alone
NAMED = {"table": "table", "figure": "figure", "image-features": "split"}
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be asked and its cost; needs no key.")
]


def _add(command: str, rules: list[Rule]) -> None:
    """Add the command of some rules: it does the work of their jobs, one after the other."""
    names = dict.fromkeys(name for rule in rules for name in rule.wildcards)
    options: dict[str, Any] = {name: OPTIONS[name] for name in names}
    if command in NAMED:
        options["names"] = _names(command, rules)
    if command == "generate-texts":
        options["dry_run"] = DryRun

    def run(config: Path, dry_run: bool = False, names: Any = None, **place: str | None) -> None:
        c = load_config(config)
        if dry_run:
            return _ask(c, place["dataset"])
        work(c, rules, place, names)

    parameters = [
        inspect.Parameter("config", KEYWORD, default=DEFAULT_CONFIG, annotation=ConfigOption)
    ]
    for name, annotation in options.items():
        default = False if name == "dry_run" else None
        parameters.append(inspect.Parameter(name, KEYWORD, default=default, annotation=annotation))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    panel = OUTPUT if rules[0].phase == "report" else PHASES
    about = rules[0].about
    short = about.partition("\n")[0]
    app.command(command, help=about, short_help=short, rich_help_panel=panel)(run)


KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _names(command: str, rules: list[Rule]) -> Any:
    """The argument or option that names some outputs of a command."""
    if command == "image-features":
        return Annotated[
            list[str] | None, typer.Option("--split", help="shots, val or test; default: all.")
        ]
    known = ", ".join(name for rule in rules for name in rule.named_outputs)
    return Annotated[
        list[str] | None, typer.Argument(help=f"Default: all of {known}.", metavar="NAME")
    ]


def work(
    config: Config, rules: list[Rule], given: dict[str, str | None], names: list[str] | None = None
) -> None:
    """Do the work of the jobs of some rules.

    given: wildcard -> value; None: all. names: of their outputs, if not all are wanted.
    """
    command, found = rules[0].command, 0
    for name, known in wildcards(config).items():
        chosen(CALLED.get(name, name), given.get(name), known)
    for rule in rules:
        for place in rule.places(config):
            if any(place.get(name, value) != value for name, value in given.items() if value):
                continue
            job = rule.job(config, place)
            if names:
                outputs = {
                    name: job.makes["out"][name] for name in names if name in job.makes["out"]
                }
                job = replace(job, makes={"out": outputs})
            if job.outputs:
                found += 1
                call(job)
    if names:
        outputs_of = [name for rule in rules for name in rule.named_outputs]
        for name in names:
            if name not in outputs_of:
                raise UserError(f"no {NAMED[command]} '{name}'{nearest(name, outputs_of)}")
    if not found and any(given.values()):
        where = " and ".join(f"{name} '{value}'" for name, value in given.items() if value)
        raise UserError(f"the configuration has nothing to do here for {where}")


def _ask(config: Config, dataset: str | None) -> None:
    """Print what a language model would be asked."""
    from ..preflight.questions import asked
    from ..texts.llm.estimate import lines

    named = chosen("data set", dataset, config.datasets)
    print_lines(lines(config.generator, asked(config, named), len(named) > 1))


def _add_all() -> None:
    by_command: dict[str, list[Rule]] = {}
    for rule in RULES:
        by_command.setdefault(rule.command, []).append(rule)
    for command, rules in by_command.items():
        if command == "texts":  # a group, which does the work of the phase without a command
            app.add_typer(texts.app, name="texts", rich_help_panel=PHASES)
        else:
            _add(command, rules)


_add_all()
