"""What models really send, made into lists of texts. Pure functions; nothing that comes in makes them fail.

A structured answer is a JSON object of lists; the paper's is one line with underscores. Around either come code
fences, preambles, numbering, bullets, Markdown, quotes, reasoning; some answers are cut off, refuse or are empty.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import jiter

LONGEST = 200  # characters of one text; what is longer is prose, not an item of a list
MOST_ITEMS = 10_000  # of an answer that does not stop
MOST_CHARACTERS = 1_000_000

_REFUSAL = re.compile(
    r"\b(i('| a)?m|we('| a)?re) (really |very |so )?(sorry|unable|afraid|not able)\b|\bi apologi[sz]e\b"
    r"|\bas an? (ai|large)\b|\bi (can('|no)?t|cannot|won('|no)?t|must decline|do not|don't)\b",
    flags=re.I,
)
_FENCE = re.compile(r"^\s*(```|~~~)[^\n`]*$", flags=re.M)
_THINKING = re.compile(r"<(think|thinking|reasoning)>.*?(</\1>|\Z)", flags=re.S | re.I)
_BULLET = re.compile(
    r"^(?:[-*+•‣▪◦●○■–—·・>#|]+\s+|[•‣▪◦●○■·・|]\s*|#+\s*"  # bullets, headings, quotes, table bars
    r"|[(（\[]?\d{1,4}[)）\].．:、](?!\d)\s*"  # 1. (1) 1、, not 1.5
    r"|[(（\[]?[a-zA-Z][)）\].](?:\s+|$))"  # a) b.
)
_QUOTES = "\"'“”„‟‘’‚«»‹›「」『』《》`´"
_EDGE = " \t,;.:。、，；：…*_~\u200c\u200d" + _QUOTES
_JOINERS = "\u200c\u200d"  # part of the spelling in Persian and Indic scripts
_HAS = re.compile(r"^(?:(?:which|that|it|they)\s+)*(?:usually |often |typically )?(?:has|have|with)\s+", re.I)
_NOTHING = {"none", "n/a", "no synonyms", "empty", "null", "nothing"}


def refuses(text: str) -> bool:
    """Whether an answer that holds no list says that it will give none."""
    return _REFUSAL.search(text.replace("’", "'")[:400]) is not None


def parse(
    answer: str | None, lists: Sequence[str] = ("texts",), cut: bool = False
) -> dict[str, list[str]] | None:
    """Lists of texts of an answer, cleaned and without repeats; None where there is nothing to be used.

    lists: names of the lists that were asked for. cut: the server says that it stopped at its token limit, so
    the last text may be half. With one list asked for, an explicit "none" (or an empty JSON list) is an empty
    list; of several, each has to hold something.
    """
    text = _THINKING.sub("", (answer or "")[:MOST_CHARACTERS]).strip()
    if not text:
        return None
    text = _FENCE.sub("", text).strip()
    found = _from_json(text, lists)
    if found is None and not _is_json(text):
        found = _from_lines(text, lists, cut)
    if found is None:
        return None
    cleaned = {name: distinct([c for t in found.get(name, []) if (c := clean(t))]) for name in lists}
    if len(lists) == 1 and found.get(lists[0]) == []:
        return cleaned
    return cleaned if all(cleaned.values()) else None


def clean(text: str) -> str | None:
    """One text without what stands around it; None where it is none: too long, or no letter or digit in it."""
    text = unicodedata.normalize("NFC", text)
    text = "".join(" " if unicodedata.category(c) in ("Zs", "Zl", "Zp", "Cc") else c for c in text)
    text = "".join(
        c for c in text if c in _JOINERS or unicodedata.category(c) not in ("Cf", "Cs", "Co", "Cn")
    )
    before = None
    while text != before:  # "1. **"a tail"**," has several layers
        before = text
        text = re.sub(r"^(\*\*|__|\*|_|~~)(?=\S)(.+?)\1(?=$|[\s:,.;])", r"\2", text.strip())
        text = _BULLET.sub("", text).strip(_EDGE)
    text = _HAS.sub("", " ".join(text.replace("_", " ").split()), count=1)
    if not any(c.isalnum() for c in text) or len(text) > LONGEST:
        return None
    return text


def distinct(texts: Sequence[str]) -> list[str]:
    """Without repeats, also in other case; the first stays."""
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(plain(text), text)
    return list(first.values())


def plain(text: str) -> str:
    """For comparison: case, underscores and an article in front make no difference."""
    words = text.replace("_", " ").replace("-", " ").casefold().split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)


# ---- JSON ------------------------------------------------------------------------------------------


def _from_json(text: str, lists: Sequence[str]) -> dict[str, list[str]] | None:
    """Lists of the JSON in an answer, also where it is cut off; None where there is no JSON."""
    for start in [m.start() for m in re.finditer(r"[{\[]", text)][:20]:
        whole = True
        try:
            document = jiter.from_json(text[start:].encode())
        except ValueError:
            document = _before_the_rest(text[start:])
        if document is None:
            whole = False
            try:  # what is cut off ends at its last whole string
                document = jiter.from_json(text[start:].encode(), partial_mode=True)
            except ValueError:
                continue
        found = _lists_of(document, lists)
        if found is not None and (whole or any(found.values())):
            return found
    return None


def _is_json(text: str) -> bool:
    """Whether an answer is JSON and nothing else, if broken: its braces would become texts."""
    if text.startswith("{"):
        return True
    try:
        return text.startswith("[") and jiter.from_json(text.encode(), partial_mode=True) is not None
    except ValueError:
        return False


def _before_the_rest(text: str) -> Any:
    """JSON that is followed by other words."""
    closing = "}" if text[0] == "{" else "]"
    for end in [m.end() for m in re.finditer(re.escape(closing), text)][:-51:-1]:
        try:
            return jiter.from_json(text[:end].encode())
        except ValueError:
            continue
    return None


def _lists_of(document: Any, lists: Sequence[str]) -> dict[str, list[str]] | None:
    if isinstance(document, list) and len(lists) == 1:
        strings = _strings(document)
        return {lists[0]: strings} if strings or not document else None
    if not isinstance(document, dict):
        return None
    lower = {str(k).casefold(): v for k, v in document.items()}
    found = {name: s for name in lists if (s := _maybe(lower.get(name))) is not None}
    if len(found) == len(lists):
        return found
    values = [s for v in document.values() if isinstance(v, (list, dict)) and (s := _maybe(v)) is not None]
    if len(values) == len(lists):  # the right shape under other names
        return dict(zip(lists, values, strict=True))
    if len(lists) == 1 and document and all(isinstance(v, str) for v in document.values()):
        return {lists[0]: _strings(list(document.values()))}  # {"1": "a tail", "2": …}
    return None


def _maybe(value: Any) -> list[str] | None:
    if isinstance(value, str):
        return value.split("_")
    if isinstance(value, dict):
        value = list(value.values())
    return _strings(value) if isinstance(value, list) and (_strings(value) or not value) else None


def _strings(items: list[Any]) -> list[str]:
    """Strings of a list; of an object in it the first string ({"feature": "a tail", "why": …})."""
    found = []
    for item in items[:MOST_ITEMS]:
        if isinstance(item, dict):
            item = next((v for v in item.values() if isinstance(v, str)), None)
        if isinstance(item, str):
            found.append(item)
    return found


# ---- lines -----------------------------------------------------------------------------------------


def _from_lines(text: str, lists: Sequence[str], cut: bool) -> dict[str, list[str]] | None:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    sections = {lists[0]: lines} if len(lists) == 1 else _sections(lines, lists)
    found = {name: _items(part) for name, part in sections.items()}
    if cut:
        last = [name for name in lists if found.get(name)]
        if last:
            found[last[-1]].pop()
    if len(lists) == 1 and [plain(t.strip(_EDGE)) for t in found[lists[0]]] in [[n] for n in _NOTHING]:
        return {lists[0]: []}
    return found if any(found.values()) else None


def _sections(lines: list[str], lists: Sequence[str]) -> dict[str, list[str]]:
    """Lines below their labels: "first: …", "**Second (the wolf)**". Without labels, one line a list."""
    sections: dict[str, list[str]] = {}
    current = None
    for line in lines:
        bare = line.lstrip("#*_->• \t")
        for name in lists:
            if label := re.match(rf"{name}\b[^:：_]{{0,80}}(?:[:：]\**|$)", bare, flags=re.I):
                current = name
                line = bare[label.end() :].strip()
                break
        if current is not None and line:
            sections.setdefault(current, []).append(line)
    if not sections and len(lines) == len(lists):
        sections = {name: [line] for name, line in zip(lists, lines, strict=True)}
    return sections


def _items(lines: list[str]) -> list[str]:
    if len(lines) > 1:
        lines = [line for line in lines if not line.startswith("#")]  # headings
    marked = [line for line in lines if _BULLET.match(line)]
    if len(marked) > 1:  # a list; what is not marked is talk around it
        lines = marked
    elif len(lines) > 1:
        joined = [line for line in lines if line.count("_") > 1]
        lines = joined or [line for line in lines if not line.endswith((":", "："))]
    found: list[str] = []
    for line in lines:
        bare = _BULLET.sub("", line).strip()
        if refuses(bare):
            continue
        if "_" in bare.strip("_*"):
            found += bare.split("_")
        elif len(lines) == 1:
            separator = next((s for s in (";", "；", "、", ",", "，") if bare.count(s) > 0), None)
            found += bare.split(separator) if separator else [bare]
        else:
            found.append(bare)
        if len(found) > MOST_ITEMS:
            break
    return [t for t in found[:MOST_ITEMS] if t.strip()]
