"""Class names as people write them, so that two spellings of one name are found to be one."""

from __future__ import annotations

import re
import unicodedata


def name_key(name: str) -> str:
    """What two spellings of one name share: case, underscores, hyphens and runs of spaces do not count.

    "English_Cocker-Spaniel" and "english cocker spaniel" have one key. Punctuation counts: "scissors" and
    "scissor's" are two names, and so are names that differ in a word.
    """
    plain = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(re.sub(r"[_\-‐‑–]", " ", plain).split())
