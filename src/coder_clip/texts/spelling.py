"""Words that are no English words and one letter away from a usual one.

The word list is pyspellchecker's: its words and how often films and books use them. It lacks names
of animals, plants and dishes, so a word that it does not know is only refused beside a usual word
that it could be meant to be, and not if it is made of two words.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

from ..errors import UserError

USUAL = 2e-7  # share of all words, from which on a word is a usual one
PART = 5e-6  # the same for the parts of a compound, such as "clownfish"
SHORTEST = 4  # letters: shorter words are one letter away from too many
_AFFIXES = re.compile(
    r"^(?:un|re|non|semi|multi|over|under|inter|sub|super|micro|mini)(?=\w{4})"
    r"|(?:like|less|wise|ish|ness|able|ed|ing|er|es|s|y|ly|let|lets)$"
)


def misspelt(
    text: str, known: frozenset[str], names: str, language: str = "en"
) -> tuple[str, str] | None:
    """A word of a text that is none, and the word that it could be meant to be.

    known: words that the word list lacks. names: class names, whose words are allowed. language: a
    word list of pyspellchecker (en, de, es, fr, it, nl, pt, …). UserError if it has none.
    """
    # names of people and places are not in the list, and have capitals
    words = re.findall(r"(?<![\w'’-])[a-z]{4,}(?![\w'’])", text)
    allowed = {word for word in re.findall(r"\w+", names.casefold())}
    for word in words:
        if word in known or {word, word.removesuffix("s")} & allowed:
            continue
        meant = _meant(language, word)
        if meant and meant not in known:
            return word, meant
    return None


@lru_cache(maxsize=65_536)
def _meant(language: str, word: str) -> str:
    """The usual word that a word is one letter away from; empty for a word, or if there is none."""
    speller = _speller(language)
    if len(word) < SHORTEST or word in speller or _is_made(language, word):
        return ""
    near = [w for w in speller.known(speller.edit_distance_1(word)) if w.isalpha()]
    usual = [w for w in near if len(w) >= SHORTEST and _share(language, w) >= USUAL]
    # letters in another order are the likeliest slip
    return max(
        sorted(usual),
        key=lambda w: (sorted(w) == sorted(word), _share(language, w)),
        default="",
    )


def _is_made(language: str, word: str) -> bool:
    """True if a word is one with an ending or beginning, or two words written as one."""
    bare = _AFFIXES.sub("", word)
    if bare != word and any(form in _speller(language) for form in (bare, f"{bare}e")):
        return True
    for i in range(3, len(word) - 2):
        parts = (word[:i], word[i:], word[i:].removesuffix("s"))
        if min(_share(language, part) for part in parts) >= PART:
            return True
    return False


def _share(language: str, word: str) -> float:
    """How usual a word is: its share of all words."""
    share: float = _speller(language).word_usage_frequency(word)
    return share


@cache
def _speller(language: str) -> Any:
    """The word list: it takes 0.4 s to read, and most commands need none."""
    from spellchecker import SpellChecker

    try:
        return SpellChecker(language=language)
    except ValueError:
        raise UserError(
            f"language.spelling: no word list '{language}' (one of "
            f"{', '.join(sorted(SpellChecker.languages()))}); null leaves the check out"
        ) from None
