"""Checks of texts: the same rules for shipped sets, your own sets and a language model's texts.

None of them knows whether a text is true. They find what costs accuracy unseen: a class's own name, a negation ("no
stripes" is near "stripes" for an encoder), a text that two classes have. The English words that they know are in
templates/english.yaml; checks with an encoder are in `similar`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .kinds import KINDS, OF_CLASS
from .names import name_key
from .sentences import spaces

if TYPE_CHECKING:
    from .sets import PairSet, TextSet

RULES = {  # rule: what to do
    "form": "write one plain phrase: no marks, brackets, lists or full stop",
    "answer": "leave it out: it is an answer of a model and no text",
    "wording": "begin with the thing itself, as in 'a photo of a … which has a long tail'",
    "language": "write it in English, as the templates are",
    "own name": "describe the class without its name",
    "other name": "describe what is seen without the name of another class",
    "negation": "say what is there instead",
    "comparative": "say 'long' or 'very long', or name what it is compared with",
    "unseen": "name what a photo shows",
    "vague": "say which shape, colour or part",
    "repeat": "leave one of the two out",
    "shared": "word what only one of the classes has, or leave it out",
    "synonym": "leave it out, or give the name to one class only",
    "analogous": "name something that is no class of the set",
    "alike": "word what only its class has, or leave it out",
    "sides": "give each side what only that class has; were the sides swapped?",
    "count": "add texts",
    "exception": "remove it from 'exceptions'",
}
FEWEST = 3  # attributes per class and texts per side of a pair
MAX_CHARACTERS, MAX_NAME_CHARACTERS = 200, 60  # of a text and of a name; longer ones are prose
JOINERS = "\u200c\u200d"  # part of the spelling in Persian and Indic scripts
BY_ENCODER = ("alike", "sides")
DESCRIPTIONS = ("attribute", "one_to_one")
UNCHECKED = ("name", "sentence")
_QUOTES = "\"'“”„‟‘’‚«»‹›「」『』《》`´"
_HAS = re.compile(r"^(?:(?:which|that|it|they)\s+)*(?:usually |often |typically )?(?:has|have)\s+", re.I)
_MARKUP = re.compile(
    r"[*<>\[\]{}()|`\\#=]|[;:](?:\s|$)|^\W*[-•–]\s|^\d+[.)]\s|\betc\b|…|\.\.\.|\be\.g\.|\bi\.e\.", re.I
)
_ECHO = re.compile(r"\bphotos? of\b|\bwhich (?:has|have)\b|^because of\b|\bis different from\b", re.I)
_MISFIT = re.compile(  # what does not continue "which has …"
    r"^(?:has|have|is|are|was|were|it|they|which|that|with|in|on|at|of|for|from|by|to|like|as|under|near|can)\s",
    re.I,
)
_FUNCTION_WORDS = set(re.findall(r"\w+", "of the a an and in on with or for at to type indoor outdoor"))
_VIETNAMESE = re.compile("[ăđơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ]", re.I)


@dataclass(frozen=True)
class Fault:
    """One text that breaks a rule. owner: its class, or its pair as "a / b". why: in words."""

    owner: str
    kind: str
    text: str
    rule: str
    why: str

    def __str__(self) -> str:
        return f"{self.owner}, {self.kind}: '{self.text}': {self.why} ({self.rule}): {RULES[self.rule]}"


# ---- one text


def clean(text: str) -> str:
    """Normalize a model's text: NFC, single spaces, no quotes around it, no full stop, no "has" of the template."""
    text = " ".join(unicodedata.normalize("NFC", text).replace("_", " ").split())
    while text and (bare := text.strip().strip(_QUOTES).rstrip(".;,。；，")) != text:
        text = bare
    return _HAS.sub("", text, count=1)


def plain(text: str) -> str:
    """Reduce a text for comparison: no case, punctuation or leading article."""
    words = re.sub(r"[\W_]+", " ", text.replace("'", "").casefold()).split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)


def control(text: str) -> str:
    """Characters that are not text: control, format and direction marks, private, unassigned, lone surrogates."""
    return "".join(
        c for c in text if c not in JOINERS and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn")
    )


def scripts(text: str) -> set[str]:
    """Writing systems of the letters of a text, by Unicode's names: LATIN, CYRILLIC, CJK, …"""
    letters = (c for c in text if unicodedata.category(c) in ("Lu", "Ll", "Lo"))
    return {unicodedata.name(c, "unknown").split()[0] for c in letters} - {"MICRO", "FEMININE", "MASCULINE"}


def refuses(text: str) -> bool:
    """True if a text is a refusal or an apology, in one of the common languages."""
    return _english().refusal.search(text.replace("’", "'")[:400]) is not None


class Names:
    """The class names of a data set, for `fault`."""

    def __init__(self, classes: Iterable[str]) -> None:
        self.of = {plain(spaces(c)): spaces(c) for c in classes}
        self.words = max((len(n.split()) for n in self.of), default=1)

    def same(self, text: str) -> str | None:
        """The class that a plain text names, in singular or plural."""
        return self.of.get(text) or self.of.get(text.removesuffix("s"))

    def within(self, text: str, own: str) -> str | None:
        """Another class whose name, of two words or more, is part of a plain text; single words are everyday ones."""
        words = text.split()
        spans = (
            " ".join(words[i : i + n]) for n in range(2, self.words + 1) for i in range(len(words) - n + 1)
        )
        return next((self.of[s] for s in spans if s in self.of and s not in own), None)


def fault(
    text: str, kind: str, name: str, names: Names, other: str = "", photo: str = ""
) -> tuple[str, str] | None:
    """The first rule that a text of a class breaks, and why; None if it breaks none.

    name: of its class; other: of the class that it is told from. photo: the sentence of the name, whose script is
    allowed.
    """
    e, bare, are_names = _english(), plain(text), KINDS[kind].are_names
    straight = text.replace("’", "'")
    longest = MAX_NAME_CHARACTERS if are_names else MAX_CHARACTERS
    if control(text):
        return "form", "control characters"
    if not bare:
        return "form", "no letters"
    if len(text) > longest:
        return "form", f"longer than {longest} characters"
    if refuses(text):
        return "answer", "a refusal"
    if e.question.search(text):
        return "answer", "a question"
    if e.nothing.fullmatch(bare) or (are_names and e.no_name.search(e.harmless.sub("", straight.casefold()))):
        return "answer", "says nothing"
    if foreign := scripts(text) - scripts(name + other + photo) - {"LATIN"}:
        return "language", f"in another script ({', '.join(sorted(foreign)).lower()})"
    if _ECHO.search(text):
        return "answer", "an echo of the template"
    if marks := _MARKUP.search(text if not are_names else text.replace("(", "").replace(")", "")):
        return "form", f"'{marks[0].strip()}' in it"
    if text != text.strip() or (text[-1] in ".,!" and not are_names):
        return "form", "it ends with a mark"
    if named := _names(bare, kind, name, names, other):
        return named
    if (kind in DESCRIPTIONS and _MISFIT.match(text)) or (
        are_names and re.match(r"(?:with|similar to|like)\s", text, re.I)
    ):
        return "wording", f"begins with '{text.split()[0]}'"
    if word := e.foreign(text, name + " " + other):
        return "language", f"'{word}' is not English"
    return _english_of(straight, bare, kind)


def _names(bare: str, kind: str, name: str, names: Names, other: str) -> tuple[str, str] | None:
    """Class names in a plain text."""
    own, named = plain(spaces(name)), names.same(bare)
    if KINDS[kind].are_names:
        if bare == own or (named is not None and plain(named) != own):
            return kind, "the name of a class"
        return (
            ("own name", "its class's name in it") if kind == "analogous" and _mentions(bare, name) else None
        )
    if _mentions(bare, name):
        return "own name", "the name of its class in it"
    if kind == "attribute":
        named = named or names.within(bare, own)
    else:
        named = spaces(other) if _mentions(bare, other) else None
    return ("other name", f"names the class {named}") if named else None


def _mentions(bare: str, name: str) -> bool:
    """True if a plain text has the name, in singular or plural, or all of its words."""
    whole = plain(spaces(name))
    words = [w for w in whole.split() if w not in _FUNCTION_WORDS and len(w) > 2]
    parts = [whole, *(words if len(words) > 1 else ())]
    there = [re.search(rf"(?<!\w){re.escape(p)}(?:s|es)?(?!\w)", bare) is not None for p in parts]
    return bool(whole) and (there[0] or (len(there) > 1 and all(there[1:])))


def _english_of(text: str, bare: str, kind: str) -> tuple[str, str] | None:
    """What English words say that a photo cannot show or an encoder cannot read."""
    e, lower = _english(), text.casefold()
    if kind not in DESCRIPTIONS:
        return None
    if found := e.negation.search(e.harmless.sub("", lower)):
        return "negation", f"'{found[0].strip()}'"
    if found := next((m for m in e.comparative.finditer(lower) if not e.compared(m, lower)), None):
        return "comparative", f"'{found[0]}'"
    if found := e.unseen.search(lower):
        return "unseen", f"'{found[0]}' cannot be seen"
    if set(bare.split()) <= e.vague:
        return "vague", "it describes nothing"
    return None


class _English:
    """The patterns of templates/english.yaml."""

    def __init__(self, words: dict[str, Any]) -> None:
        def patterns(section: str) -> str:
            return "|".join(words[section]["patterns"].split("\n")[:-1])

        less = "|".join(words["negation"]["less"].split())
        adjectives = [_comparative(a) for a in words["comparative"]["adjectives"].split()]
        self.things = set(words["comparative"]["things"].split())
        self.negation = re.compile(rf"{patterns('negation')}|\b(?!(?:{less})\b)\w{{3,}}less\b")
        self.harmless = re.compile("|".join(words["negation"]["harmless"].split()))
        self.comparative = re.compile(
            rf"(?<!-)\b(?:{'|'.join(adjectives)}|(?<!or )more|(?<!or )less|fewer)\b(?!-)"
        )
        unseen = "|".join(words["unseen"]["words"].split())
        self.unseen = re.compile(rf"\b(?:{unseen})s?\b|{patterns('unseen')}")
        self.vague = set(words["vague"]["words"].split())
        self.refusal, self.question, self.nothing = (
            re.compile(patterns(section), re.I) for section in ("refusal", "question", "nothing")
        )
        first, anywhere = ("|".join(map(re.escape, words["names"][w].split())) for w in ("first", "anywhere"))
        self.no_name = re.compile(rf"^[\s\"'(]*(?:{first})(?![\w'-])|(?<![\w'-])(?:{anywhere})(?![\w'-])")
        self.foreign_words = set(words["foreign"].split())

    def compared(self, found: re.Match[str], text: str) -> bool:
        """True if a comparative has its reference ("longer than its body", "darker at the tip") or is a thing."""
        after = text[found.end() :]
        reference = re.match(r"\s+(?:\w+\s+)?than\s+(?!usual|normal|most|other|average)", after) or re.search(
            r"\sthan\s+(?:its|their|the|a|an|it|they|wide|tall|long|high|broad|deep)\b", after
        )
        place = re.match(
            r"\s+(?:towards?|at|near|below|above|along|around|beneath|under|behind|on|in|to)\b", after
        )
        return bool(reference or place) or (found[0] in self.things and not re.match(r"\s+\w", after))

    def foreign(self, text: str, names: str) -> str | None:
        """A word of another language; names: class names, which may have it."""
        if letter := _VIETNAMESE.search(text):
            return None if _VIETNAMESE.search(names) else next(w for w in text.split() if letter[0] in w)
        words = [w for w in re.findall(r"\w+", text.casefold()) if w in self.foreign_words]
        return words[0] if len(words) > 1 or (words and len(text.split()) <= 3) else None


def _comparative(adjective: str) -> str:
    """The comparative of an adjective: "paler", "bigger", "heavier"."""
    if adjective.endswith("e"):
        return f"{adjective}r"
    if adjective.endswith("y") and adjective not in ("grey",):
        return f"{adjective[:-1]}ier"
    double = re.fullmatch(r"[^aeiou]*[aeiou][bdgmnpt]", adjective) is not None
    return f"{adjective}{adjective[-1]}er" if double else f"{adjective}er"


@cache
def _english() -> _English:
    path = Path(__file__).parents[1] / "templates" / "english.yaml"
    return _English(yaml.safe_load(path.read_text(encoding="utf-8")))


# ---- a text set and its pairs


def check(texts: TextSet, pairs: PairSet | None = None, more: Iterable[Fault] = ()) -> list[Fault]:
    """All faults of a text set and its pairs, but for the exceptions that they list.

    more: faults that an encoder found (`similar.faults`). An exception that nothing needs is a fault itself, unless its
    rule depends on the encoder.
    """
    found = dict.fromkeys([*_of_classes(texts), *(_of_pairs(texts, pairs) if pairs else ()), *more])
    for e in [*texts.exceptions, *(pairs.exceptions if pairs else ())]:
        covered = [f for f in found if e.covers(f.owner, f.text, f.rule)]
        for f in covered:
            del found[f]
        if not covered and e.rule not in BY_ENCODER:
            found[
                Fault(e.owner, "exceptions", e.text, "exception", f"nothing breaks the rule '{e.rule}'")
            ] = None
    return list(found)


def _of_classes(texts: TextSet) -> Iterator[Fault]:
    names = Names(c.name for c in texts.classes)
    kinds = [kind for kind in OF_CLASS if kind not in UNCHECKED]
    for c in texts.classes:
        for kind in kinds:
            yield from _of_list(spaces(c.name), kind, c.of(kind), c.name, names)
        if 0 < len(c.attribute) < FEWEST:
            yield Fault(spaces(c.name), "attribute", "", "count", f"{len(c.attribute)} texts")
    for kind in ("attribute", "synonym"):
        rule = "shared" if kind == "attribute" else "synonym"
        for owners in shared([(spaces(c.name), c.of(kind)) for c in texts.classes]):
            owner, *others = owners
            yield Fault(owner, kind, owners[owner], rule, f"also a text of {' and of '.join(others)}")


def _of_pairs(texts: TextSet, pairs: PairSet) -> Iterator[Fault]:
    names = Names(c.name for c in texts.classes)
    for p in pairs.pairs:
        owner = f"{spaces(p.a)} / {spaces(p.b)}"
        both = {plain(t) for t in p.a_not_b} & {plain(t) for t in p.b_not_a}
        for name, other, side in ((p.a, p.b, p.a_not_b), (p.b, p.a, p.b_not_a)):
            yield from _of_list(owner, "one_to_one", side, name, names, other)
            for text in (t for t in side if plain(t) in both):
                yield Fault(owner, "one_to_one", text, "sides", "on both sides")
            if 0 < len(side) < FEWEST:
                yield Fault(owner, "one_to_one", "", "count", f"{len(side)} texts of {spaces(name)}")


def _of_list(
    owner: str, kind: str, texts: Sequence[str], name: str, names: Names, other: str = ""
) -> Iterator[Fault]:
    """Faults of the texts of one kind of a class, or of one side of a pair."""
    seen = set[str]()
    for text in texts:
        if found := fault(text, kind, name, names, other):
            yield Fault(owner, kind, text, *found)
        if plain(text) in seen:
            yield Fault(owner, kind, text, "repeat", "it is there twice")
        seen.add(plain(text))


def shared(of: Iterable[tuple[str, Sequence[str]]]) -> list[dict[str, str]]:
    """Texts that several classes have, in any spelling: for each, owner -> the text as it has it.

    Classes of one name may have the same texts.
    """
    found: dict[str, dict[str, str]] = {}
    for owner, texts in of:
        for text in texts:
            found.setdefault(plain(text), {}).setdefault(owner, text)
    return [owners for owners in found.values() if len({name_key(o) for o in owners}) > 1]
