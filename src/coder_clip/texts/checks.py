"""Checks of texts: the same rules for shipped sets, your own sets and a language model's texts.

None of them knows whether a text is true. They find what costs accuracy unseen: a class's own name,
a negation ("no stripes" is near "stripes" for an encoder), a text that two classes have. The
English words that they know are in templates/english.yaml (`english`); checks with an encoder are
in `similar`."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ..errors import nearest
from .english import english, plain, same_name, same_text, stems
from .kinds import KINDS, OF_CLASS
from .names import name_key, plain_name
from .sentences import spaces
from .spelling import misspelt

if TYPE_CHECKING:
    from .sets import PairSet, TextSet

FEWEST = 3  # attributes per class and texts per side of a pair
MAX_SHARED = 0.1  # share of the classes that may have the same attribute
MAX_NAMED = 3  # other classes in one message; more are counted
RULES = {  # rule: what to do
    "classes": "name the classes as the data set does, each once",
    "form": "write one plain phrase: no marks, brackets, quotes, lists or full stop",
    "unwritten": "write the text",
    "answer": "leave it out: it is an answer of a model and no text",
    "wording": "begin with the thing itself, as in 'a photo of a … which has a long tail'",
    "language": "write it in English, as the templates are",
    "own name": "describe the class without its name",
    "other name": "describe what is seen without the name of another class",
    "spelling": "correct the word",
    "unfit": "begin with a thing that it has, as in 'a red tail' or 'a coat of grey fur'",
    "itself": "say what it has, not what it is",
    "opposite": "keep the one that is true, or say where each is",
    "everyday": "look whether it means the class; if so, say it in other words",
    "negation": "say what is there instead",
    "comparative": "say 'long' or 'very long', or name what it is compared with",
    "unseen": "name what a photo shows",
    "vague": "say which shape, colour or part",
    "repeat": "leave one of the two out",
    "shared": "word what only one of the classes has, or leave it out",
    "synonym": "leave it out, or give the name to one class only",
    "analogous": "name something that is no class of the set, no synonym and no attribute",
    "alike": "word what only its class has, or leave it out",
    "sides": "give each side what only that class has; were the sides swapped?",
    "count": f"give at least {FEWEST} texts; leave out a key that has none",
    "exception": "remove it from 'exceptions'",
}
MAX_CHARACTERS, MAX_NAME_CHARACTERS = 200, 60  # of a text and of a name; longer ones are prose
MAX_WORDS = 20  # of a description
JOINERS = "\u200c\u200d"  # part of the spelling in Persian and Indic scripts
BY_ENCODER = ("alike", "sides")
# Rules that a text of a set may break for a reason that only a reader sees. A model's texts that
# break the first two are refused all the same.
WARNED = ("unfit", "itself", "everyday", "opposite")
DESCRIPTIONS = ("attribute", "one_to_one")
UNCHECKED = ("name", "sentence")
# markup, entities, marks of lists, abbreviations such as "etc", addresses
_MARKUP = re.compile(
    r"[*<>\[\]{}()|`\\#=~^]|%[0-9a-f]{2}|[;:](?:\s|$)|^\W*[-•–]\s|^\d+[.)]\s|\betc\b|…|\.\.\.|\be\.g\.|\bi\.e\.|&\w+;"
    r"|https?:|www\.|\w\.(?:com|org|net|jpe?g|png|html?)\b|\w@\w|(?:^|\s)@\w",
    re.I,
)
# a quoted text; after an s the last mark is an apostrophe
_QUOTED = re.compile(r'["“”„«»‹›「」]|^[\'‘’].*|.*(?<!s)[\'‘’]$')
_BROKEN = re.compile(
    "\ufffd|Ã[\u0080-\u00ff]|â€|Â[\u0080-\u00bf]"
)  # letters read in another encoding
_ECHO = re.compile(
    r"\bphotos? of\b|\bwhich (?:has|have)\b|^because of\b|\bis different from\b", re.I
)
_NO_WORD = re.compile(  # no vowel, a letter or syllable again and again, single letters
    r"\b[b-df-hj-np-tv-xz]{3,}\b|([a-wyz])\1\1|\b(\w{4,})\2+\b|(?:\b[a-z] ){2}[a-z]\b|\b\w{25,}"
)
# "a, b, c", "a/b/c" or "a & b & c"
_LIST = re.compile(r"\w+(?:, ?\w+)+|.*\w/\w+/\w.*|.*\s&\s.*\s&\s.*", re.S)
# "· a tail", "1/ a tail", "1 a tail", "a. a tail", "Nr. 1 a tail", "first, a tail"
_NUMBERED = re.compile(
    r"^[^\w'‘’$€£]|^\d+\s?[-/:]\s|^\d+ (?:an?|the)\s|^[a-z]{1,3}\.\s|^(?:no|nr)\.? ?\d"
    r"|^(?:first|second|third|last)(?:ly)?,",
    re.I,
)
_PARTS = re.compile(r"\w{3}[.!]\s|\s[-–—/]\s")  # two sentences, or a dash for a comma
# the same phrase before and after a comma or "and"; "half and half" is fine
_TWICE = re.compile(r"(?:an? |the )?(?!half and half)(.+?),?(?: and)? (?:an? |the )?\1", re.I)
_NO_NAME = re.compile(r"(?:with|similar to|like|also known as|aka)\s", re.I)
_ARTICLE = re.compile(r"an?\s")  # a synonym is put where the name is, after "a photo of a"
_SYMBOLS = "°№©®™×±´"
_NUMBERS = "½¼¾²³⅓⅔"  # in words; ① and the like number a list
_PREPOSITIONS = ("at", "in", "on", "with", "of", "from", "under", "near")
_FUNCTION_WORDS = {
    *("of", "the", "a", "an", "and", "in", "on", "with", "or", "for", "at", "to"),
    *("type", "indoor", "outdoor"),
}


@dataclass(frozen=True)
class Fault:
    """One text that breaks a rule. owner: its class, or its pair as "a / b". why: in words."""

    owner: str
    kind: str
    text: str
    rule: str
    why: str

    def __str__(self) -> str:
        text = f"'{self.text}': " if self.text else ""  # "" for a fault of the number of texts
        line = f"{self.owner}, {self.kind}: {text}{self.why} ({self.rule}): {RULES[self.rule]}"
        # an unprintable character is shown as its escape
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


# ---- one text


def control(text: str) -> str:
    """Characters that are not text: control, format and direction marks, private, unassigned, lone
    surrogates.
    """
    if text.isascii() and text.isprintable():  # nearly all texts
        return ""
    return "".join(
        c
        for c in text
        if c not in JOINERS and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn")
    )


def scripts(text: str) -> set[str]:
    """Writing systems of the letters of a text, by Unicode's names: LATIN, CYRILLIC, CJK, …"""
    if text.isascii():  # nearly all texts
        return {"LATIN"} if any(c.isalpha() for c in text) else set()
    letters = (c for c in text if unicodedata.category(c) in ("Lu", "Ll", "Lo"))
    first_words = {unicodedata.name(c, "unknown").split()[0] for c in letters}
    # µ, ª and º: their names do not begin with a script
    return first_words - {"MICRO", "FEMININE", "MASCULINE"}


def refuses(text: str) -> bool:
    """True if a text is a refusal or an apology, in one of the common languages."""
    return english().refusal.search(text.replace("’", "'")[:400]) is not None


class Names:
    """The class names of a data set, and the texts that its classes have already, for `fault`.

    of: the stems of a name, joined -> the name. in_any_order: the same for words in any order.
    words: number of words of the longest name. count: number of different names.
    vocabulary: words of the names. kinds: matches a description that says what kind of thing the
    classes are. texts: kind -> key of a text -> owner that has the text -> the text in the words of
    this owner.
    """

    def __init__(self, classes: Iterable[str]) -> None:
        shown = [spaces(c) for c in classes]
        self.of = {"".join(stems(c)): c for c in shown if stems(c)}
        self.in_any_order = {same_name(c): c for c in shown if stems(c)}
        self.words = max((len(stems(c)) for c in shown), default=1)
        self.count = len({name_key(c) for c in shown})
        self.vocabulary = frozenset(w for c in shown for w in plain(c).split())
        self.kinds = english().itself(shown)
        self.texts: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))

    def same(self, text: str) -> str | None:
        """The class that a text names, in any form of its words; None if there is none."""
        words = stems(text)
        # "two dogs" names "dog"
        has_number = len(words) > 1 and words[0].isdigit()
        counted = words[1:] if has_number else words
        # "adult dog" names "dog"; a text of modifiers alone keeps them
        bare = [word for word in counted if word not in english().modifiers] or words
        named = self.in_any_order.get(same_name(text))
        for form in (words, counted, bare):
            # the first form that is a name counts
            named = named or self.of.get("".join(form))
        return named

    def within(self, text: str, own: str, head: bool = False) -> str | None:
        """Another class whose name is part of a text; None if there is none. Only names of two
        words or more are looked for, because single words are everyday ones.

        own: the name of the text's own class. head: only where the name is the thing itself, as in
        "a plastic bag at sea", and not in "a comic book shop"."""
        words, own_words = stems(text), " ".join(stems(own))
        # the thing itself stands before the first preposition
        if head:
            ends = [i for i, word in enumerate(words) if i > 0 and word in _PREPOSITIONS]
            words = words[: min(ends, default=len(words))]
        # every run of two words or more; a name that is part of the own name does not count
        for n in range(2, self.words + 1):
            for i in range(len(words) - n + 1):
                named = self.of.get("".join(words[i : i + n]))
                if named is None or len(stems(named)) < 2 or " ".join(stems(named)) in own_words:
                    continue
                # the thing itself is the last word
                if not head or i + n == len(words):
                    return named
        return None

    def single(self, text: str, own: str) -> str | None:
        """Another class of one word whose name a text has; None if there is none. Most of them are
        everyday words, as in "a hook at the end" beside a class "hook".

        own: the name of the text's own class.
        """
        others = (self.of.get(word) for word in stems(text) if word not in stems(own))
        return next((name for name in others if name is not None), None)

    def take(self, kind: str, owner: str, text: str) -> None:
        """Note that a class has a text."""
        self.texts[kind][_key(kind, text)].setdefault(owner, text)

    def owners(self, kind: str, text: str) -> list[str]:
        """The classes that have a text of a kind, in alphabetical order."""
        return sorted(self.texts[kind].get(_key(kind, text), {}))

    def having(self, kind: str, text: str, but: str) -> list[str]:
        """The classes that have a text of a kind, without the class ``but`` and classes of the same
        name.
        """
        return [o for o in self.owners(kind, text) if name_key(o) != name_key(but)]

    def named_as(self, attribute: str) -> str:
        """The kind of name that some class gives a text: an attribute must not be one. Empty if it
        is none.
        """
        kinds = (kind for kind in ("analogous", "synonym") if self.owners(kind, attribute))
        return next(kinds, "")

    def sharing(self, kind: str, text: str, name: str) -> str:
        """Who else has a text of a class, in words."""
        others = self.having(kind, text, but=name)
        if len(others) > MAX_NAMED:
            return f"{len(others) + 1} of {self.count} classes have it"
        return f"also a text of {' and of '.join(others)}"

    def is_common(self, attribute: str, max_shared: float) -> bool:
        """True if two classes or more have an attribute, and more than this share of all. Classes
        of one name count as one.
        """
        owners = {name_key(owner) for owner in self.owners("attribute", attribute)}
        return len(owners) > max(1.0, max_shared * self.count)


def _key(kind: str, text: str) -> str:
    """A key that texts of one kind share if they say the same."""
    return same_name(text) if KINDS[kind].are_names else same_text(text)


def repeat_key(kind: str, text: str) -> str:
    """A key that two texts of one class share if one of them is enough. Synonyms may be spellings
    of one name.
    """
    return plain(text) if kind == "synonym" else _key(kind, text)


def fault(
    text: str, kind: str, name: str, names: Names, other: str = "", photo: str = ""
) -> tuple[str, str] | None:
    """The first rule that a text of a class breaks, and why; None if it breaks none.

    name: the class of the text. other: the other class of a pair. photo: the sentence with the
    name of the class; the text may be in its script.
    """
    straight = text.replace("’", "'")
    # damage and answers first, because the other rules would misread them
    found = _broken(text) or _answer(text, straight, kind)
    if found:
        return found
    # the names and the template may be in another script, and so may the text
    foreign = scripts(text) - scripts(name + other + photo) - {"LATIN"}
    if foreign:
        return "language", f"in another script ({', '.join(sorted(foreign)).lower()})"
    found = _form(text, straight, kind) or _names(text, kind, name, names, other)
    if found:
        return found
    e = english()
    if kind in DESCRIPTIONS:
        misfit = e.wording.search(straight)
        if misfit:
            return "wording", f"'{misfit[0].strip()}' in it"
    elif _NO_NAME.match(text) or (kind == "synonym" and _ARTICLE.match(text)):
        return "wording", f"begins with '{text.split()[0]}'"
    word = e.foreign(text, f"{name} {other} {photo}", KINDS[kind].are_names)
    if word:
        return "language", f"'{word}' is not English"
    found = _english_problem(straight, kind)
    if found is None and kind in DESCRIPTIONS:
        found = (
            _unfit(straight)
            or _itself(straight, name, names)
            or _spelling(straight, f"{name} {other} {photo}", names)
        )
    return found


def _unfit(text: str) -> tuple[str, str] | None:
    """(rule, why) of a description that says how or where something is, and not what it has; None
    if it does not. The encoder reads it all the same.
    """
    e = english()
    found = e.unfit.search(text)
    if found:
        return "unfit", f"'{found[0].strip()}' in it"
    # "brown or grey", "yellow-green with brown streaks"; but "a white", "yellow light"
    looks = plain(text.split(" with ")[0]).split()
    article = re.match(r"an?\s", text, re.I) or looks[-1:] == ["light"]
    more = len(looks) > 1 or " with " in text
    if more and not article and {word.removesuffix("ish") for word in looks} <= e.looks:
        return "unfit", "it says how something is, and not what it has"
    return None


def _itself(text: str, name: str, names: Names) -> tuple[str, str] | None:
    """(rule, why) of a description that says what kind of thing something is; None if it does not.

    "which has a white seabird" puts a second bird into the photo, "which has a small, round cup" a
    second cup beside the tea cup.
    """
    head = names.kinds.match(text)
    if head is None:
        # the thing that the class is: the last word of its name, or the one before "of"
        words = plain(spaces(name)).split(" of ")[0].split()
        if words and "and" not in words:
            head = english().headed(frozenset(words[-1:])).match(text)
    return ("itself", f"'{head['kind']}' is the thing itself") if head else None


def _spelling(text: str, own: str, names: Names) -> tuple[str, str] | None:
    """(rule, why) of a misspelt word; None if there is none. own: names that the text may have."""
    found = misspelt(text, english().spelled | names.vocabulary, own)
    return ("spelling", f"'{found[0]}' is no word; is it '{found[1]}'?") if found else None


def _broken(text: str) -> tuple[str, str] | None:
    """(rule, why) of a character that belongs in no text; None if there is none."""
    if control(text):
        return "form", "control characters"
    if not plain(text):
        return "form", "no letters"
    damaged = _BROKEN.search(text)
    if damaged:
        return "form", f"'{damaged[0]}': letters were lost; was the file read in another encoding?"
    for c in text:
        # symbols outside ASCII, but for common ones such as ° and ×
        odd = (
            unicodedata.category(c) in ("So", "Sk", "Sm", "Lm")
            and not c.isascii()
            and c not in _SYMBOLS
        )
        if odd or unicodedata.name(c, "").startswith("FULLWIDTH LATIN"):
            return "form", f"'{c}' in it"
    return None


def _answer(text: str, straight: str, kind: str) -> tuple[str, str] | None:
    """(rule, why) of words that a model says around its texts, or of a placeholder that nobody
    replaced; None if there are none. straight: the text with straight apostrophes.
    """
    e, bare, are_names = english(), plain(text), KINDS[kind].are_names
    if refuses(text):
        return "answer", "a refusal"
    if e.question.search(text):
        return "answer", "a question"
    if e.nothing.fullmatch(bare):
        return "answer", "says nothing"
    if are_names and e.no_name.search(e.harmless.sub("", straight.casefold())):
        return "answer", "says nothing"
    unwritten = e.unwritten.search(text)
    if unwritten:
        return "unwritten", f"'{unwritten[0].strip()}' stands for a text"
    if _ECHO.search(text):
        return "answer", "an echo of the template"
    return None


def _form(text: str, straight: str, kind: str) -> tuple[str, str] | None:
    """(rule, why) of a mark, of a wrong length, or of something that is not made of words; None if
    there is none.
    """
    are_names = KINDS[kind].are_names
    longest = MAX_NAME_CHARACTERS if are_names else MAX_CHARACTERS
    if len(text) > longest:
        return "form", f"longer than {longest} characters"
    if not are_names and len(text.split()) > MAX_WORDS:
        return "form", f"longer than {MAX_WORDS} words"
    # names may have brackets
    checked = text.replace("(", "").replace(")", "") if are_names else text
    marks = _MARKUP.search(checked)
    if marks:
        return "form", f"'{marks[0].strip()}' in it"
    if any(unicodedata.category(c) == "No" and c not in _NUMBERS for c in text):
        return "form", "a number of a list in it"
    if text != " ".join(text.split()):
        return "form", "white space around it or twice in it"
    # a name may end with an abbreviation such as "Jr."
    if text[-1] in ".,!-/&+" and not (are_names and re.search(r"\b\w{1,3}\.$", text)):
        return "form", "it ends with a mark"
    if are_names:
        return None
    if "_" in text:
        return "form", "'_' in it"
    if _QUOTED.search(straight):
        return "form", "quotes in it"
    words = plain(text).split()
    if not any(len(word) > 1 and word.isalpha() for word in words) and text.isascii():
        return "form", "no word in it"
    # one word, or one phrase that is all of the text
    repeated = [a for a, b in pairwise(text.casefold().split()) if a == b]
    if repeated:
        return "form", f"'{repeated[0]}' twice in a row"
    if _TWICE.fullmatch(text):
        return "form", f"'{text}' twice in a row"
    parts = _NUMBERED.search(text) or _PARTS.search(text)
    if parts:
        return "form", f"'{parts[0].strip()}' in it: a number, or more than one phrase"
    if _LIST.fullmatch(text):
        return "form", "a list"
    odd = _NO_WORD.search(text) if text.isascii() else None
    if odd:
        return "form", f"'{odd[0]}' is not a word"
    if len(words) > 2 and text.isupper():
        return "form", "capital letters alone"
    return None


def _names(text: str, kind: str, name: str, names: Names, other: str) -> tuple[str, str] | None:
    """(rule, why) of a name in a text, of its class or of something else; None if there is none.

    name: of the text's class. other: the other class of a pair, "" without one. The rule for texts
    that are names (synonyms, analogous classes) is called like their kind.
    """
    own, named = same_name(spaces(name)), names.same(text)
    if KINDS[kind].are_names:
        if _is_own(text, kind, name):
            return kind, "the name of its class"
        if named is not None and same_name(named) != own:
            return kind, f"the name of a class ({named})"
        return _analogous_fault(text, kind, name, names)
    if _mentions(text, name):
        return "own name", "the name of its class in it"
    if kind == "attribute":
        # the name of another class, alone or as a part of two words or more
        named = named or names.within(text, spaces(name))
    else:
        # a text of a pair may name any class but these two
        named = spaces(other) if other and _mentions(text, other) else None
    if named:
        return "other name", f"names the class {named}"
    return None


def _is_own(text: str, kind: str, name: str) -> bool:
    """True if a name is that of its own class. A synonym may be another spelling or form of it."""
    if kind == "synonym":
        return plain(text).removeprefix("some ") == plain(spaces(name))
    # equal in any order of words, or written as one word
    return same_name(text) == same_name(name) or "".join(stems(text)) == "".join(
        stems(spaces(name))
    )


def _analogous_fault(text: str, kind: str, name: str, names: Names) -> tuple[str, str] | None:
    """(rule, why) of a synonym or an analogous thing that is not the name of a class; None if
    nothing is wrong.
    """
    if kind == "synonym":
        return None
    if _mentions(text, name):
        return "own name", "its class's name in it"
    within = names.within(text, spaces(name), head=True)
    if within:
        return "analogous", f"the name of a class in it ({within})"
    return None


def across(
    text: str, kind: str, name: str, names: Names, max_shared: float = MAX_SHARED
) -> tuple[str, str] | None:
    """(rule, why) of what other classes or other kinds have as well; None if nothing forbids it.

    It depends on the texts in ``names`` and not on their order. name: the class of the text.
    max_shared: the largest share of the classes that may have the same attribute.
    """
    if kind == "attribute":
        named_as = names.named_as(text)
        if named_as:
            return "other name", f"it is a name ({named_as}) and not what something has"
        if names.is_common(text, max_shared):
            return "shared", names.sharing(kind, text, name)
    if kind == "analogous":
        for other, article in (("synonym", "a"), ("attribute", "an")):
            owners = names.owners(other, text)
            if owners:
                return "analogous", f"{article} {other} of {owners[0]}"
    if kind == "synonym" and names.having(kind, text, but=name):
        return "synonym", names.sharing(kind, text, name)
    return None


def _mentions(text: str, name: str) -> bool:
    """True if a text has the name, in singular or plural: as it is, written as one word, or all of
    its words in any order.
    """
    wanted, words = stems(spaces(name)), stems(text)
    if not wanted or not any(word.strip() for word in wanted):
        return False
    # the words of the name in a row, as one word, or all significant ones in any order
    whole = f" {' '.join(wanted)} " in f" {' '.join(words)} " or "".join(wanted) in words
    significant = [w for w in wanted if w not in _FUNCTION_WORDS and len(w) > 2]
    return whole or (len(significant) > 1 and set(significant) <= set(words))


def _english_problem(text: str, kind: str) -> tuple[str, str] | None:
    """(rule, why) of English words of a description that a photo cannot show or an encoder cannot
    read; None if there are none.
    """
    e, lower = english(), text.casefold()
    if kind not in DESCRIPTIONS:
        return None
    # phrases that sound like a negation and are none
    lower = e.harmless.sub("", lower)
    negation = e.negation.search(lower)
    if negation:
        return "negation", f"'{negation[0].strip()}'"
    # "older brothers" does not compare what is seen
    graded = e.people.sub("", lower)
    for comparative in e.comparative.finditer(graded):
        if not e.compared(comparative, graded):
            return "comparative", f"'{comparative[0]}'"
    unseen = e.measure.search(lower) or e.unseen.search(lower)
    if unseen:
        return "unseen", f"'{unseen[0].strip()}' cannot be seen"
    words = plain(text).split()
    if set(words) <= e.vague:
        return "vague", "it describes nothing"
    # A single word is enough as a plural, such as "stripes", and as a material, such as "gravy". A
    # word with other letters than ASCII is not judged.
    alone = kind == "attribute" and len(text.split()) == 1 and words[0].isascii()
    if alone and not words[0].endswith("s") and words[0] not in e.enough:
        return "vague", "one word says too little"
    return None


# ---- a text set and its pairs


def check_texts(
    texts: TextSet,
    pairs: PairSet | None = None,
    more: Iterable[Fault] = (),
    classes: Sequence[str] | None = None,
    max_shared: float = MAX_SHARED,
    warnings: list[Fault] | None = None,
) -> list[Fault]:
    """All faults of a text set and its pairs, but for the exceptions that they list.

    more: faults that an encoder found (`similar.faults`). classes: names of the data set, if they
    are known. max_shared: the largest share of the classes that may have the same attribute. An
    exception that nothing needs is a fault itself, unless its rule depends on the encoder.
    warnings: gets what breaks a rule of WARNED.
    """
    found = [*_of_names(texts, classes), *_of_classes(texts, max_shared)]
    exceptions = list(texts.exceptions)
    if pairs is not None:
        found += _of_pairs(texts, pairs)
        exceptions += pairs.exceptions
    # keys in order: each fault once
    faults = dict.fromkeys([*found, *more])
    for e in exceptions:
        covered = [f for f in faults if e.covers(f.owner, f.text, f.rule)]
        for f in covered:
            del faults[f]
        if not covered and e.rule not in BY_ENCODER:
            why = f"nothing breaks the rule '{e.rule}'"
            faults[Fault(e.owner, "exceptions", e.text, "exception", why)] = None
    if warnings is not None:
        warnings += [fault for fault in faults if fault.rule in WARNED]
    return [fault for fault in faults if fault.rule not in WARNED]


def _of_names(texts: TextSet, classes: Sequence[str] | None) -> Iterator[Fault]:
    """Faults of class names (damaged, unknown, missing, or repeated) and of whole sentences."""
    # key of a name -> its spellings, in order
    spellings = defaultdict[str, dict[str, None]](dict)
    for c in texts.classes:
        owner = spaces(c.name)
        spellings[name_key(c.name)][c.name] = None
        broken = _broken(c.name)
        if not owner.strip() or (broken and broken[1] != "no letters"):
            yield Fault(owner, "name", c.name, *(broken or ("form", "no letters")))
        elif english().unwritten.search(owner) and (classes is None or c.name not in classes):
            yield Fault(owner, "name", c.name, "unwritten", "it stands for a name")
        for text in c.sentence:
            wrong = _broken(text) or _answer(text, text, "sentence")
            if wrong:
                yield Fault(owner, "sentence", text, *wrong)
    for same in spellings.values():
        if len(same) > 1:
            first, *others = same
            yield Fault(first, "name", others[0], "classes", "the same class in another spelling")
    if classes is None:
        return
    # a data set may have a name several times, and then the file may, too
    wanted = Counter(plain_name(c) for c in classes)
    given = Counter(plain_name(c.name) for c in texts.classes)
    for name, n in given.items():
        if n > max(1, wanted[name]):
            yield Fault(name, "name", name, "classes", f"it is there {n} times")
    for name in wanted:
        if name not in given:
            why = "the data set has this class, and the file has no entry for it"
            yield Fault(name, "name", "", "classes", why)
    for name in given:
        if name not in wanted:
            close = nearest(name, wanted, listed=False)
            yield Fault(name, "name", name, "classes", f"the data set has no such class{close}")


def _of_classes(texts: TextSet, max_shared: float) -> Iterator[Fault]:
    """Faults of the texts of classes: of each text, of their number, and of texts that classes
    share.
    """
    names = Names(c.name for c in texts.classes)
    kinds = [kind for kind in OF_CLASS if kind not in UNCHECKED]
    # note all texts first: a text is judged by those of other classes, too
    for c in texts.classes:
        for kind in kinds:
            for text in c.of(kind):
                names.take(kind, spaces(c.name), text)
    # a set without any attributes is complete; with some, each class needs FEWEST
    described = any(c.attribute for c in texts.classes)
    for c in texts.classes:
        for kind in kinds:
            yield from _of_list(spaces(c.name), kind, c.of(kind), c.name, names)
        for kind in kinds:
            # given in the file, but as an empty list
            empty = kind in c.model_fields_set and not c.of(kind)
            few = kind == "attribute" and described and len(c.attribute) < FEWEST
            if empty or few:
                yield Fault(spaces(c.name), kind, "", "count", _number(len(c.of(kind))))
    # once for all classes that share a text
    for kind, rule in (("attribute", "shared"), ("synonym", "synonym")):
        for text_of in names.texts[kind].values():  # owner -> the text in the words of this owner
            owner = next(iter(text_of))
            text = text_of[owner]
            found = across(text, kind, owner, names, max_shared)
            if found and found[0] == rule:
                yield Fault(owner, kind, text, *found)


def _of_pairs(texts: TextSet, pairs: PairSet) -> Iterator[Fault]:
    """Faults of one-to-one texts: of each text, of the two sides, and of their number."""
    names = Names(c.name for c in texts.classes)
    attributes = {spaces(c.name): {same_text(t) for t in c.attribute} for c in texts.classes}
    for p in pairs.pairs:
        a, b = spaces(p.a), spaces(p.b)
        owner = f"{a} / {b}"
        # a text on both sides tells nothing apart
        on_both = {same_text(t) for t in p.a_not_b} & {same_text(t) for t in p.b_not_a}
        for name, other, side in ((a, b, p.a_not_b), (b, a, p.b_not_a)):
            yield from _of_list(owner, "one_to_one", side, name, names, other)
            # if most texts are attributes of the other class alone, the sides look swapped
            theirs = attributes.get(other, set()) - attributes.get(name, set())
            swapped = [text for text in side if same_text(text) in theirs]
            if len(swapped) > len(side) / 2:
                yield Fault(
                    owner, "one_to_one", "; ".join(swapped), "sides", f"attributes of {other}"
                )
            for text in side:
                if same_text(text) in on_both:
                    yield Fault(owner, "one_to_one", text, "sides", "on both sides")
            if len(side) < FEWEST:
                effect = "" if side else ", so the pair changes nothing"
                why = f"{_number(len(side))} of {name}{effect}"
                yield Fault(owner, "one_to_one", "", "count", why)


def _number(n: int) -> str:
    """A number of texts, in words."""
    return "1 text" if n == 1 else f"{n} texts"


def _of_list(
    owner: str, kind: str, texts: Sequence[str], name: str, names: Names, other: str = ""
) -> Iterator[Fault]:
    """Faults of the texts of one kind of a class, or of one side of a pair.

    owner: the class or pair, for messages. name: the class of the texts. other: the other class of
    a pair.
    """
    seen = set[str]()
    for text in texts:
        found = fault(text, kind, name, names, other)
        if found is None and kind in OF_CLASS:
            found = across(text, kind, name, names)
            # what classes share is reported once, for all of them
            if found and found[0] in ("shared", "synonym"):
                found = None
        if found:
            yield Fault(owner, kind, text, *found)
        elif kind == "attribute":
            everyday = names.single(text, spaces(name))
            if everyday:
                yield Fault(owner, kind, text, "everyday", f"a word of it names {everyday}")
        key = repeat_key(kind, text)
        if key in seen:
            yield Fault(owner, kind, text, "repeat", "it is there twice")
        seen.add(key)
    if kind in DESCRIPTIONS:
        for text, other_text in _opposite(texts):
            yield Fault(owner, kind, text, "opposite", f"beside '{other_text}'")


def _opposite(texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of texts of one class that say opposite things of the same part: "a long tail" and "a
    short tail". Only texts of an adjective and a noun are compared: of "a black bill with a red
    tip" and "a red bill" both may be true.
    """
    parts: dict[str, list[tuple[str, str]]] = defaultdict(list)  # noun -> adjective and text
    for text in texts:
        words = stems(text)
        if len(words) == 2:
            adjective, noun = words
            for other, other_text in parts[noun]:
                if frozenset((adjective, other)) in english().opposites:
                    yield text, other_text
            parts[noun].append((adjective, text))
