"""Errors for users: what is wrong, where, what to do; one line, no traceback."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Bad input or environment.

    The command line prints its message as one line and exits with 1.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


# Characters that a terminal obeys, or that turn the direction of what follows; half of a pair.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Write out control characters and lone surrogates, which names and texts of others can hold.

    Line breaks and tabs stay."""
    return _OBEYED.sub(lambda found: ascii(found[0])[1:-1], text)


# The form of secret keys of services, which must never be in a configuration, a message or an
# artefact.
KEYS = (
    r"\b(?:(?:sk|pk|xai|pplx|nvapi|key)-|hf_|gsk_|r8_|gh[pous]_|github_pat_|AIza|AKIA)[\w*.…-]{4,}"
)
MANY = 20  # known words that are all listed; of more words only the nearest are


def nearest(word: str, known: Iterable[str], listed: bool = True) -> str:
    """``" (did you mean 'x'?)"`` if a known word is near.

    Else, if ``listed``, the known words; else "". For a word of an earlier version, what to use
    instead.
    """
    from .old_words import instead  # not above: every job imports this module

    old = instead(word)
    if old:
        return f" ({old})"
    known = sorted(known)
    lower = {k.lower(): k for k in known}
    close = get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    if close:
        return f" (did you mean '{lower[close[0]]}'?)"
    if listed and len(known) > MANY:
        some = get_close_matches(word.lower(), lower, n=5, cutoff=0)
        return f" ({len(known)} are known, the nearest: {', '.join(lower[k] for k in some)})"
    return f" (known: {', '.join(known) or 'none'})" if listed else ""


def one_line(text: object, at_most: int | None = 200) -> str:
    """Shorten a text or an error's message to one line, without control characters.

    Cut with "…" if too long.
    """
    printable = "".join(c if c.isprintable() else " " for c in str(text))
    line = " ".join(printable.split())
    # an error without a message
    if not line and isinstance(text, BaseException):
        line = type(text).__name__
    if at_most is None or len(line) <= at_most:
        return line
    return line[: at_most - 1] + "…"
