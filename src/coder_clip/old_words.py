"""Commands, options, configuration keys and values of earlier versions: what to use instead.

One table, one entry per word. A command or an option is written as it was typed; a key, a table, a
figure or a method by its bare name.
"""

from __future__ import annotations

OLD_WORDS = {
    "coder-clip index": "leave it out, classify, find and explore keep features by themselves",
    "shot_files": "leave it out",
    "structured": "leave it out",
}


def instead(word: str) -> str | None:
    """What to use instead of a word of an earlier version; None if no version had it."""
    advice = OLD_WORDS.get(word)
    return advice and f"'{word}' was removed: {advice}"
