"""The application, shared options, and how commands find data sets, models and phases."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.models import CommandFunctionType

from ..errors import UserError, nearest, printable
from ..jobs import RULES
from ..old_words import instead


class _PlainOptions:
    """Makes help show the name of an option's value in place of its Python type (<list[str]>).

    A switch and an argument show none: an argument has a name already. Commands and options of
    earlier versions are answered with what to use instead.
    """

    def parse_args(self, context: Any, args: list[str]) -> list[str]:
        """Parse as typer does. UserError for a command or an option of an earlier version."""
        for word in [*args[:1], *(arg for arg in args if arg.startswith("--"))]:
            old = instead(f"{context.command_path} {word.partition('=')[0]}")
            if old:
                raise UserError(old)
        rest: list[str] = super().parse_args(context, args)  # type: ignore[misc]
        return rest

    def get_params(self, context: Any) -> list[Any]:
        """The parameters, as the help shows them: options with their longest form in capitals."""
        params: list[Any] = super().get_params(context)  # type: ignore[misc]
        # an argument shows its name alone, an option its longest form in capitals
        for option in params:
            if isinstance(option, TyperArgument):
                option.display_type_rich = lambda ctx: None  # type: ignore[method-assign]
            elif isinstance(option, TyperOption) and option.metavar is None:
                longest = max(option.opts, key=len, default="")
                option.metavar = "" if option.is_flag else longest.lstrip("-").upper()
        return params


class _Command(_PlainOptions, TyperCommand):
    pass


class CommandGroup(_PlainOptions, TyperGroup):
    pass


class App(typer.Typer):
    """A typer application whose help shows no Python types."""

    def command(
        self, name: str | None = None, **options: Any
    ) -> Callable[[CommandFunctionType], CommandFunctionType]:
        return super().command(name, cls=_Command, **options)


class _InOrder(CommandGroup):
    """A group that lists the phases in the order of the list of jobs."""

    def list_commands(self, context: Any) -> list[str]:
        """The names of the commands, those of phases in the order of the list of phases."""
        names = super().list_commands(context)
        order = list(dict.fromkeys(rule.command for rule in RULES))
        # phases take the place of the first one; commands that are no phase keep theirs
        first = min(i for i, name in enumerate(names) if name in order)
        others = [name for name in names[first:] if name not in order]
        return names[:first] + sorted(set(names) & set(order), key=order.index) + others


app = App(
    cls=_InOrder,
    help="Reproduce CODER (CVPR 2024): describe an image by its similarity to many texts.\n\n"
    "'make reproduce' runs everything. Each command below is one phase, in the order of the paper; "
    "it reads the artefacts of the phases before it below the results folder of the configuration, "
    "and writes its own. Without --dataset or --model it runs for all in the configuration.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

CONFIG = typer.Option(
    "--config",
    "-c",
    help="Configuration file.",
    envvar="CODER_CLIP_CONFIG",
    show_envvar=False,
    metavar="FILE",
)
ConfigOption = Annotated[Path, CONFIG]
DatasetOption = Annotated[
    str | None,
    typer.Option("--dataset", "-d", help="One data set of the configuration; default: all."),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", "-m", help="One model of the configuration; default: all.")
]
DEFAULT_CONFIG = Path("config/reproduce.yaml")
GENERAL, PHASES, OUTPUT = "General", "Phases, in order", "Tables, figures, report"
SHARING = "Sharing (docs/sharing.md)"


def chosen(kind: str, one: str | None, known: Collection[str]) -> list[str]:
    """The name that the user gave, as a list, or all known names. UserError for an unknown name.

    one: None if the user gave none. kind: what the names are, for the message.
    """
    if one is None:
        return list(known)
    if one not in known:
        raise UserError(f"no {kind} '{one}' in the configuration{nearest(one, list(known))}")
    return [one]


def print_lines(lines: Iterable[str]) -> None:
    """Print each line as soon as it is there, without characters that a terminal would obey."""
    for line in lines:
        typer.echo(printable(line))
