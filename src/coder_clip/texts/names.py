"""Class names as people write them: spellings of the same name are recognized."""

from __future__ import annotations

import re
import unicodedata


def plain_name(name: str) -> str:
    """The name with single spaces for underscores."""
    return " ".join(name.replace("_", " ").split())


def name_key(name: str) -> str:
    """A key that ignores case, underscores, hyphens and runs of spaces.

    "English_Cocker-Spaniel" and "english cocker spaniel" have the same key. Other punctuation
    counts: "scissors" and "scissor's" are two names.
    """
    # NFKC makes wide and composed forms of a letter equal
    plain = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(re.sub(r"[_\-‐‑–]", " ", plain).split())
