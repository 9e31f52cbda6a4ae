"""Sentences of a model as descriptions: "Sushi is rolled in nori" is the clause "which is rolled in
nori", "Leaf shape: its leaves are narrow" the part "leaves that are narrow".

A clause takes the place of the template's "which has" (`sentences.described`). The words are
English, as the templates' "which has" is; under rules of another language there are no other forms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .english import english, plain
from .label_set import Names
from .sentences import spaces

_LABEL = re.compile(r"^[A-Z][A-Za-z ]{2,40}:\s+")  # "Leaf shape: "
_BE = re.compile(r"^(?:is|are)\s+(?!(?:known|called|named|considered|able|native)\b)", re.I)
_MAY = re.compile(r"^(?:can|may)\s+(?=be\s)", re.I)
_VERB = re.compile(r"^(?=contains\s)", re.I)
_DONE = re.compile(r"^(?=(?:made|served|topped|filled|covered|garnished|coated)\s)", re.I)
_HAVE = re.compile(r"^(?:has|have)\s+", re.I)
# "leaves are narrow" and "flowers have six petals": of a part, in the plural
_PARTS = re.compile(
    r"^(?:and\s+)?(?:the\s+|its\s+)?(feet|teeth|[a-z-]+s)\s+(are|have)\s+(?=\w)", re.I
)
_EACH = re.compile(r"^each\s+([a-z-]+)\s+has\s+(?=\w)", re.I)


def other_forms(text: str, name: str, names: Names) -> Iterator[str]:
    """Forms in which a text can follow the name of its class, none if it says nothing of the class.

    A sentence is of the class if its subject is the class's name, its last word, or "it". Without a
    subject only "may be", "contains", "made" and the like count: "is yellow" was said of a part
    that is not there any more. name: of the class. names: of all classes.
    """
    if not english().is_english:
        return
    rest = _LABEL.sub("", text)
    about = _subject(name).match(rest)
    if about:
        rest = rest[about.end() :]
        if _HAVE.match(rest):
            yield _HAVE.sub("", rest)
        elif _BE.match(rest):
            yield _BE.sub("which is ", rest)
    elif re.match(r"^\w+ed$", rest):
        yield f"which is {rest}"  # "fried"
    if _MAY.match(rest) or _VERB.match(rest):
        yield f"which {rest}"
    if _DONE.match(rest):
        yield f"which is {rest}"
    if _EACH.match(rest):
        yield _EACH.sub(r"\1s with ", rest)
    if _PARTS.match(rest):
        yield _PARTS.sub(lambda m: f"{m[1].lower()} that {m[2]} ", rest)
    # "a salad made with romaine lettuce" of a class that is a salad
    words = plain(spaces(name)).split()
    made = re.match(r"^an?\s+(?:[\w-]+\s+){0,3}?(\w+),?\s+(made (?:with|of|from)\s.+)", rest)
    if made and (made[1] in words[-1:] or names.kinds.fullmatch(made[1])):
        yield f"which is {made[2]}"


def _subject(name: str) -> re.Pattern[str]:
    """A pattern of the beginning of a sentence about a class: its name or the last word of it, in
    singular or plural, or "it".
    """
    *before, last = plain(spaces(name)).split() or [""]
    stem = last.removesuffix("s").removesuffix("y")
    forms = rf"{re.escape(stem)}(?:y|ies|s|es)?"
    full = "".join(rf"{re.escape(word)}\s+" for word in before)
    articles = "|".join(sorted(map(re.escape, english().articles)))
    return re.compile(rf"^(?:(?:(?:{articles}|each)\s+)?(?:{full})?{forms}|it|they)\s+", re.I)
