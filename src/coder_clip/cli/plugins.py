"""Commands of other distributions: entry points of the group ``coder_clip.commands``.

The name of an entry point is a command. Its value is the module that adds the command to
`coder_clip.cli.options.app`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from ..errors import UserError, one_line
from ..foundation.installed import distribution_advice
from .options import app

GROUP = "coder_clip.commands"
# commands that this repository has in a package of their own
PHOTOS = ("classify", "find", "explore", "duplicates")
# Such a command takes any options, because nobody is here who knows its own.
ANY = {"ignore_unknown_options": True, "allow_extra_args": True}


def load() -> None:
    """Add the commands that are installed, and hidden ones for the others.

    A hidden command only says how to install it.
    """
    # command -> advice; the advice of a command that can be loaded is removed
    missing = {name: distribution_advice(f"'{name}'", "coder-clip-photos") for name in PHOTOS}
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:  # a broken package must not take the other commands with it
            reason = one_line(f"{type(error).__name__}: {error}")
            missing[point.name] = (
                f"'{point.name}' of {point.value} cannot be loaded: {reason}; install it again"
            )
        else:
            missing.pop(point.name, None)
    for name, reason in missing.items():
        app.command(name, hidden=True, add_help_option=False, context_settings=ANY)(_refuse(reason))


def _refuse(reason: str) -> Callable[[], None]:
    """A command that only raises UserError with the reason."""

    def refuse() -> None:
        raise UserError(reason)

    return refuse
