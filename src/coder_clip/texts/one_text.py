"""The rules for one text, whatever other texts its class has."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

from .english import english, plain, same_name, stems
from .kinds import KINDS
from .label_set import Names
from .sentences import spaces

MAX_CHARACTERS, MAX_NAME_CHARACTERS = 200, 60  # of a text and of a name; longer ones are prose
MAX_WORDS = 20  # of a description
JOINERS = "\u200c\u200d"  # part of the spelling in Persian and Indic scripts
DESCRIPTIONS = ("attribute", "one_to_one")
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
_SYMBOLS = "°№©®™×±´"
_NUMBERS = "½¼¾²³⅓⅔"  # in words; ① and the like number a list
_FUNCTION_WORDS = {
    "of",
    "the",
    "a",
    "an",
    "and",
    "in",
    "on",
    "with",
    "or",
    "for",
    "at",
    "to",
    "type",
    "indoor",
    "outdoor",
}


def control(text: str) -> str:
    """Characters that are not text.

    Control, format and direction marks, private, unassigned, lone surrogates.
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


def fault(
    text: str, kind: str, name: str, names: Names, other: str = "", photo: str = ""
) -> tuple[str, str] | None:
    """The first rule that a text of a class breaks, and why; None if it breaks none.

    name: the class of the text. other: the other class of a pair. photo: the sentence with the
    name of the class; the text may be in its script.
    """
    straight = text.replace("’", "'")
    # damage and answers first, because the other rules would misread them
    found = broken(text) or answer_of(text, straight, kind)
    if found:
        return found
    # the names and the template may be in another script, and so may the text
    foreign = scripts(text) - scripts(name + other + photo) - {"LATIN"}
    if foreign:
        return "form", f"in another script ({', '.join(sorted(foreign)).lower()})"
    # a clause says what the class is: "which is a small bird"
    clause = kind == "attribute" and straight.startswith("which ")
    found = (
        _form(text, straight, kind)
        or _names(text, kind, name, names, other)
        or _wording(text, straight, kind, clause)
    )
    if found:
        return found
    said = straight
    if clause:
        said = straight.removeprefix("which ")
    found = _english_problem(said, kind)
    if found or clause or kind not in DESCRIPTIONS:
        return found
    return _unfit(straight) or _itself(straight, name, names)


def _wording(text: str, straight: str, kind: str, clause: bool) -> tuple[str, str] | None:
    """(rule, why) of words that do not fit behind "has", or of words before a name; None if none.

    clause: True for an attribute that begins with "which".
    """
    if kind in DESCRIPTIONS and not clause:
        misfit = english().wording.search(straight)
        if misfit:
            return "wording", f"'{misfit[0].strip()}' in it"
        return None
    begins = not clause and english().no_synonym.match(text)
    # a synonym is put where the name is, after "a photo of a"
    if begins or (kind == "synonym" and english().article.match(text)):
        return "wording", f"begins with '{text.split()[0]}'"
    return None


def _unfit(text: str) -> tuple[str, str] | None:
    """(rule, why) of a description that says how or where something is, and not what it has.

    None if it does not. The encoder reads it all the same.
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


def broken(text: str) -> tuple[str, str] | None:
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


def answer_of(text: str, straight: str, kind: str) -> tuple[str, str] | None:
    """(rule, why) of words that a model says in place of a text; None if there are none.

    straight: the text with straight apostrophes.
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
    if e.echo.search(text):
        return "answer", "an echo of the template"
    return None


def _form(text: str, straight: str, kind: str) -> tuple[str, str] | None:
    """(rule, why) of a mark, of a wrong length, or of something that is not made of words.

    None if there is none.
    """
    are_names = KINDS[kind].are_names
    longest, checked = MAX_CHARACTERS, text
    if are_names:
        # names may have brackets
        longest, checked = MAX_NAME_CHARACTERS, text.replace("(", "").replace(")", "")
    if len(text) > longest:
        return "form", f"longer than {longest} characters"
    if not are_names and len(text.split()) > MAX_WORDS:
        return "form", f"longer than {MAX_WORDS} words"
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
    return _form_of_description(text, straight)


def _form_of_description(text: str, straight: str) -> tuple[str, str] | None:
    """(rule, why) of a description that is not made of words, or is a list; None if it is not."""
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
    odd = _NO_WORD.search(text)
    if odd and text.isascii():
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
    """(rule, why) of a synonym or an analogous thing that is not the name of a class.

    None if nothing is wrong.
    """
    if kind == "synonym":
        return None
    if _mentions(text, name):
        return "own name", "its class's name in it"
    within = names.within(text, spaces(name), head=True)
    if within:
        return "analogous", f"the name of a class in it ({within})"
    return None


def _mentions(text: str, name: str) -> bool:
    """True if a text has the name, in singular or plural.

    As it is, written as one word, or all of its words in any order.
    """
    wanted, words = stems(spaces(name)), stems(text)
    if not wanted or not any(word.strip() for word in wanted):
        return False
    # the words of the name in a row, as one word, or all significant ones in any order
    whole = f" {' '.join(wanted)} " in f" {' '.join(words)} " or "".join(wanted) in words
    significant = [w for w in wanted if w not in _FUNCTION_WORDS and len(w) > 2]
    return whole or (len(significant) > 1 and set(significant) <= set(words))


def _english_problem(text: str, kind: str) -> tuple[str, str] | None:
    """(rule, why) of words that a photo cannot show or an encoder cannot read.

    English words of a description; None if there are none.
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
