"""Commands, options, configuration keys and values of earlier versions: what to use instead.

One table, one entry per word. A command or an option is written as it was typed; a key, a table, a
figure or a method by its bare name.
"""

from __future__ import annotations

OLD_WORDS = {
    "again": "reject the texts instead; where too few are left, the next run asks for others",
    "coder-clip texts agreement": "compare the two lists with sklearn.metrics.cohen_kappa_score",
    "coder-clip texts review --again": (
        "reject the texts with --reject; where too few are left, the next run asks for others"
    ),
    "coder-clip texts review --undo": (
        "delete the text from NAME.review.json in the folder of the answers"
    ),
    "coder-clip texts sheet": (
        "read the file of the set beside photos; 'coder-clip texts weigh' ranks its texts by effect"
    ),
    "coder-clip texts skeleton": "write the file by hand, as docs/texts_writing.md shows",
    "foreign": "leave the section out: texts of other languages are not looked for",
    "hues": "leave the section out: opposite texts are not looked for",
    "opposites": "leave the section out: opposite texts are not looked for",
    "shot_files": "leave it out",
    "spelled": "leave the section out: spelling is not checked",
    "structured": "leave it out",
    "unwritten": "leave the section out; patterns of whole texts go into the section nothing",
}


def instead(word: str) -> str | None:
    """What to use instead of a word of an earlier version; None if no version had it."""
    advice = OLD_WORDS.get(word)
    return advice and f"'{word}' was removed: {advice}"
