"""One form for texts from outside: a model's answers and other people's files.

What models put around a text (bullets, bold, quotes, a full stop) goes in every language, and
English words that the template says already ("which has", "usually") where the rules in use are
English. What is left is judged by `checks`.
"""

from __future__ import annotations

import re
import unicodedata

from .english import english
from .kinds import KINDS

QUOTES = "\"'“”„‟‘’‚«»‹›「」『』《》`´"
_BULLET = re.compile(r"^\s*(?:[-*•–·]+\s+|\(?\d{1,2}[.)]\s+)")
_BOLD = re.compile(r"(\*\*|__|\*|`)(?=\S)(.+?)(?<=\S)\1")
# a word in double quotes in the middle, as in: a badge that says "Accord"
_QUOTED = re.compile(r"[\"“„«](\w[^\"“”„«»]*)[\"”“»]")
_REMARK = re.compile(r"\s*\([^()]*\)")
# how often something is so: a photo shows one case
_HEDGE = re.compile(
    r"(?:,\s+(?=(?:usually|typically|often|generally)\s*,))?"
    r"\b(?:usually|typically|often|generally)\b,?\s*",
    re.I,
)
# "which has", "may have", "with" and the like, which the template says already
_HAS = re.compile(
    r"^(?:(?:which|that|it|they)\s+)*(?:(?:may|might|can|will)\s+(?:also\s+)?)?"
    r"(?:has|have)\s+(?!been\b)",
    re.I,
)
# "leaves are narrow": a sentence about a part, which becomes the part
_SENTENCE = re.compile(
    r"^((?:the\s+)?(?!they\b|there\b|these\b|those\b|some\b|it\b)(?:[\w-]+\s+){0,2}?[\w-]+s)\s+"
    r"(?=(?:are|have)\s+(?!been\b))",
    re.I,
)
_WITH = re.compile(r"^(?:and\s+)?(?:with|having)\s+|^and\s+(?=an?\s)", re.I)


def clean(text: str, kind: str = "attribute") -> str:
    """A text without what is around it: NFC, single spaces, no bullet, bold, quotes or full stop.

    A description also loses remarks in brackets. In English it loses hedges, and a "which has" or
    "with" at its beginning, too; "leaves are narrow" becomes "leaves that are narrow".
    """
    # line breaks stay: two lines are two texts, which `checks` refuses
    text = _BOLD.sub(r"\2", unicodedata.normalize("NFC", text))
    lines = _BULLET.sub("", text.replace("_", " ").strip()).splitlines()
    text = "\n".join(" ".join(line.split()) for line in lines)
    describes = not KINDS[kind].are_names and kind != "sentence"
    if describes:
        # outside of the quotes that may enclose all of it
        text = _QUOTED.sub(r"\1", text)
        text = _REMARK.sub("", text) or text
    # words of other languages may look like these: a Danish garden is a "have"
    in_english = describes and english().is_english
    if in_english:
        text = _HEDGE.sub("", text)
    # quotes and full stops may enclose each other: strip until nothing changes
    bare = _bare(text)
    while bare != text:
        text, bare = bare, _bare(bare)
    if not in_english:
        return text
    text = _WITH.sub("", _HAS.sub("", text, count=1), count=1)
    return _SENTENCE.sub(r"\1 that ", text, count=1)


def _bare(text: str) -> str:
    """A text without one layer of spaces, quotes and full stops."""
    text = text.strip()
    # the marks of feet and inches (5'6") belong to the text, which is refused later
    inches = re.search(r"\d['\"]+$", text) and text[0] not in QUOTES
    if not inches:
        text = text.strip(QUOTES)
    return text.rstrip(".;,。；，")
