"""Words and their forms, for `checks`.

They tell what a text says, whatever its spelling, order of words or number.

The words are in templates/english.yaml; a project may have its own, also in another language
(`use`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError, nearest, one_line

SHIPPED = Path(__file__).parents[1] / "templates" / "english.yaml"
OWN = "rules.yaml"  # name of a project's file, in its folder of prompts
KEPT = 65_536  # results of a function, as the checks compare each text with many others
NOTHING = "(?!)"  # a pattern that nothing matches
_SHARE = 0.1  # of the classes that belong to a group of things, for the group's kinds to count
_FEW = 3  # words, up to which their order says nothing: "a long bushy tail" and "a bushy long tail"


@lru_cache(maxsize=KEPT)
def plain(text: str) -> str:
    """Reduce a text for comparison: no case, punctuation or leading article."""
    words = re.sub(r"[\W_]+", " ", text.replace("'", "").casefold()).split()
    has_article = len(words) > 1 and words[0] in english().articles
    return " ".join(words[1:] if has_article else words)


def stems(text: str) -> list[str]:
    """The words of a text without determiners before them.

    Singular, in American spelling, numbers in digits.
    """
    return list(_stems(text))


@lru_cache(maxsize=KEPT)
def _stems(text: str) -> tuple[str, ...]:
    """The result of `stems` as a tuple, because a caller could change a list in the cache."""
    e, words = english(), plain(text).split()
    while len(words) > 1 and words[0] in e.determiners:
        del words[0]
    return tuple(_stem(word) for word in words)


@lru_cache(maxsize=KEPT)
def same_text(text: str) -> str:
    """A key shared by texts that say the same in other forms of words.

    Short texts also in another order of words.
    """
    e, words = english(), stems(text)
    # few words in any order say the same; of more words the order counts
    content = [word for word in words if word not in e.small]
    return " ".join(sorted(content) if len(content) <= _FEW else words)


@lru_cache(maxsize=KEPT)
def same_name(text: str) -> str:
    """A key shared by names that differ only in number, spelling, hyphens or order of words."""
    e, words = english(), stems(text)
    content = sorted(word for word in words if word not in e.small)
    # a name of small words alone keeps them
    return "".join(content or words)


@cache
def _stem(word: str) -> str:
    """One form for all numbers and spellings of a word.

    It need not be a word itself ("bu" for "bus"), but singular and plural have the same.
    """
    e = english()
    word = str(e.digits.get(word, word))
    if not e.has_english_plurals:
        other: str = e.irregular.get(word, word)
        return other
    word = word.replace("grey", "gray").replace("colour", "color")
    word = e.american.get(word, word)
    if len(word) < 4 or not word.isalpha():
        short: str = e.irregular.get(word, word)
        return short
    singular = _engine().singular_noun(word)
    # not the s of "glass" or "iris", which inflect takes for plurals of "glas" and "iri"
    if singular and not word.endswith(("ss", "us", "is")):
        word = str(singular)
    # "cactu", "firemen" and what else inflect leaves
    word = e.irregular.get(word, word)
    found: str = e.american.get(word, word)
    return found


@cache
def _engine() -> Any:
    """The library for plurals, imported when a text is compared."""
    import inflect

    return inflect.engine()


def _measure(number: str, unit: str, sized: str) -> re.Pattern[str]:
    """A pattern of measures: "twenty inches", "5 kg" and "an inch long".

    Not "a 12-inch disc", which people write below photos. The arguments are patterns of words.
    """
    # digits, a range of them, or a number in words, but not after "every"
    amount = rf"(?<!every )(?:\d[\d.,]*(?:\s?(?:-|–|to)\s?\d[\d.,]*)?|\b(?:{number}))"
    long = r"(?:long|tall|wide|high|deep|thick|across|in (?:length|width|height|diameter|size))"
    units = rf"(?:{unit}|inche)s?"
    return re.compile(
        rf"{amount}(?:\s|(?<=\d)){units}(?!\w)"
        rf"|{amount}[\s-](?:{units}|foot|feet)[\s-](?:{sized})s?\b"
        rf"|{amount}-{units}(?=$|[\s,]*(?:and|or|with|of|in)\b)"
        rf"|\b(?:{number}|\d[\d.,]*)[\s-](?:feet|foot|{units})[\s-]{long}\b"
        rf"|\b(?:(?:half )?an?|one) (?:foot|{units}) {long}\b"
        r"|\b(?:many|several|few|dozens of|couple of|hundreds of) "
        rf"(?:feet|{units}) (?:{long}|of)\b"
        r"|\bhalf an? (?:inch|meter|metre)\b"
    )


class English:
    """The patterns of a file of rules, such as templates/english.yaml.

    name: of the language. is_english: whether it is English, whose wording `cleaning` knows.
    has_english_plurals: whether "tails" is "tail".
    """

    def __init__(self, words: dict[str, Any]) -> None:
        def patterns(section: str, key: str = "patterns") -> str:
            """The patterns of a section as one, one per line; nothing matches an empty one."""
            return "|".join(words[section][key].splitlines()) or NOTHING

        def listed(section: str, key: str) -> list[str]:
            """The words of a list."""
            found: list[str] = words[section][key].split()
            return found

        language = words["language"]
        self.name: str = language["name"]
        self.is_english = "English" in self.name  # also "British English"
        self.has_english_plurals: bool = language["english_plurals"]
        forms = words["forms"]
        self.articles = set(forms["articles"].split())
        self.article = re.compile(rf"(?:{any_of(listed('forms', 'indefinite'))})\s")
        self.determiners = set(forms["determiners"].split())
        self.small = set(forms["small"].split())
        self.modifiers = set(forms["modifiers"].split())
        self.irregular, self.american, self.digits = (
            dict[str, str](pair.split(":") for pair in forms[key].split())
            for key in ("irregular", "american", "digits")
        )
        self.measure = _measure(
            *(any_of(listed("measure", key)) for key in ("numbers", "units", "sized"))
        )
        # "hairless" and "spot free" deny what an encoder reads; "a spotless kitchen" denies nothing
        parts = any_of(listed("negation", "parts"))
        clean = any_of(listed("negation", "clean"))
        less = rf"\b(?!spotless (?:{clean})\b)(?:{parts})s?(?:less| free)\b"
        self.negation = re.compile(f"{patterns('negation')}|{less}")
        self.harmless = re.compile(patterns("negation", "harmless"))
        adjectives = listed("comparative", "adjectives")
        more = any_of(graded(a, "er") for a in adjectives)
        most = any_of(graded(a, "est") for a in adjectives)
        self.things = set(listed("comparative", "things"))
        self.people = re.compile(
            rf"\b(?:older|younger|elder) (?:{any_of(listed('comparative', 'people'))})s?\b"
        )
        # not in "or more" and "or less", and not beside a hyphen
        self.comparative = re.compile(
            rf"(?<!-)\b(?:{more}|{most}|{patterns('comparative', 'alone')})\b(?!-)"
            rf"|{patterns('comparative')}"
        )
        unseen = any_of(listed("unseen", "words"))
        self.unseen = re.compile(rf"\b(?:{unseen})s?\b|{patterns('unseen')}")
        self.looks = {*adjectives, *words["colors"].split()}
        self.kinds: dict[str, dict[str, str]] = words["itself"]
        self.vague = set(listed("vague", "words"))
        self.enough = set(listed("vague", "enough"))
        self.refusal, self.question, self.nothing, self.wording, self.unfit = (
            re.compile(patterns(section), re.I)
            for section in ("refusal", "question", "nothing", "wording", "unfit")
        )
        self.echo = re.compile(patterns("echo"), re.I)
        self.no_synonym = re.compile(patterns("names"), re.I)
        first, anywhere = (
            any_of(map(re.escape, listed("names", w))) for w in ("first", "anywhere")
        )
        self.no_name = re.compile(
            rf"^[\s\"'(]*(?:{first})(?![\w'-])|(?<![\w'-])(?:{anywhere})(?![\w'-])"
        )

    def itself(self, classes: Sequence[str]) -> re.Pattern[str]:
        """A pattern of descriptions that name the kind of thing that the classes are.

        The kind is in the group ``kind``: "a white seabird", "a small bird with a long tail".

        Such nouns are those that are hardly ever parts of something ("seabird"), and those of the
        groups that a tenth of the classes belong to by their names ("bird" for sparrows).
        """
        nouns = set(self.kinds["always"]["kinds"].split())
        words = [set(plain(name).split()) for name in classes]

        def share(members: set[str]) -> float:
            """The share of the classes whose name has one of these words, in singular or plural."""
            belonging = [
                {word for name in of_class for word in (name, name.removesuffix("s"))} & members
                for of_class in words
            ]
            return sum(map(bool, belonging)) / max(1, len(words))

        for group in self.kinds.values():
            members = set(group.get("names", "").split())
            without = set(group.get("without", "").split())
            if share(members) >= _SHARE or (without and share(without) < _SHARE):
                nouns |= set(group["kinds"].split())
        return self.headed(frozenset(nouns))

    @staticmethod
    @lru_cache(maxsize=4096)
    def headed(nouns: frozenset[str]) -> re.Pattern[str]:
        """A pattern of descriptions whose thing is one of these nouns, in the group ``kind``."""
        listed = "|".join(sorted(map(re.escape, nouns)))
        # an article, up to five words before the noun, and its end or what tells more of it
        outside = (
            r"with|of|on|in|like|for|from|at|by|to|behind|under|near|around|above|over|that|which"
        )
        before = rf"(?!(?:{outside})\b)[\w,'-]+\s+"
        after = r"with|that|which|who|made|from|covered|having|used"
        place = r"\s+(?:in|of) (?:the\b|many\b|north|south)"
        return re.compile(
            rf"(?:an?\s|the\s|any\s|type of\s)?(?:{before}){{0,5}}?(?P<kind>{listed})"
            rf"(?:$|,|\s+(?:{after})\b|{place})",
            re.I,
        )

    def compared(self, found: re.Match[str], text: str) -> bool:
        """True if a comparative has its reference in the text ("longer than its body", "darker at
        the tip") or is the name of a thing ("a cooler"). found: the match of the comparative.
        """
        after = text[found.end() :]
        if found[0].endswith("est") or found[0] == "most":
            # "widest at the shoulder" and "its widest point" are of one photo.
            return (
                re.match(r"\s+(?:at|near|towards?|in the middle|point|part|end)\b", after)
                is not None
            )
        # "than its body" is seen in the photo, "than usual" is not
        reference = re.match(
            r"\s+(?:\w+\s+)?than\s+(?!usual|normal|most|other|average)", after
        ) or re.search(
            r"\sthan\s+(?:its|their|the|a|an|it|they|wide|tall|long|high|broad|deep)\b", after
        )
        place = re.match(
            r"\s+(?:towards?|at|near|below|above|along|around|beneath|under|behind|on|to|"
            r"in(?! size| length| height"
            r"| width| build| number| color| colour))\b",
            after,
        )
        thing = found[0] in self.things and re.match(
            r"\s*$|\s+(?:full|with|of|and|for|box)\b", after
        )
        return bool(reference or place or thing)


def graded(adjective: str, end: str) -> str:
    """The comparative or superlative of an adjective: "paler", "bigger", "heaviest"."""
    if adjective.endswith("e"):
        return f"{adjective}{end[1:]}"
    if adjective.endswith("y") and adjective not in ("grey", "gray"):
        return f"{adjective[:-1]}i{end}"
    # a consonant after a single vowel is doubled: "bigger", "thinner"
    double = re.fullmatch(r"[^aeiou]*[aeiou][bdgmnpt]", adjective) is not None
    if double:
        return f"{adjective}{adjective[-1]}{end}"
    return f"{adjective}{end}"


def any_of(alternatives: Iterable[str]) -> str:
    """Alternatives of a pattern; one that nothing matches if there are none."""
    return "|".join(alternatives) or NOTHING


class _Rules:
    """The file of rules in use, which is read when a text is judged."""

    path = SHIPPED


def use(folder: Path | None) -> None:
    """From now on judge texts by the rules of a folder.

    Of None, or without a file there, by the shipped ones.

    folder: ``generator.prompts``. Its language decides what is the same text, so what was compared
    under other rules is forgotten.
    """
    path = SHIPPED
    if folder is not None and (folder / OWN).is_file():
        path = folder / OWN
    if path != _Rules.path:
        _Rules.path = path
        for function in (english, plain, _stems, same_text, same_name, _stem):
            function.cache_clear()


def own_rules() -> dict[str, str]:
    """The language of a project's rules and the SHA-256 of their file, for provenance.

    Empty for the shipped ones.
    """
    if _Rules.path == SHIPPED:
        return {}
    return {
        "language": english().name,
        "sha256": hashlib.sha256(_Rules.path.read_bytes()).hexdigest(),
    }


@cache
def english() -> English:
    """The words of the rules in use.

    UserError if the file is not YAML, lacks a section, has one that nothing reads, or has a pattern
    that is not one.
    """
    path = _Rules.path
    try:
        words = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path != SHIPPED:
            known = yaml.safe_load(SHIPPED.read_text(encoding="utf-8")).keys()
            for section in words.keys() - known:
                raise UserError(f"{path}: no section '{section}'{nearest(str(section), known)}")
        return English(words)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML in UTF-8 ({one_line(str(error), 100)})") from None
    except re.error as error:
        raise UserError(
            f"{path}: '{one_line(str(error.pattern), 60)}' is not a pattern ({error.msg}); correct "
            "it"
        ) from None
    except KeyError as error:
        raise UserError(
            f"{path}: {error} is missing; 'coder-clip texts prompts' writes a complete one"
        ) from None
    except (AttributeError, TypeError, ValueError):
        raise UserError(
            f"{path}: a section or list has another form than in the shipped file; 'coder-clip "
            "texts prompts' writes a complete one"
        ) from None
