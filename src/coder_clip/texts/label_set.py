"""The class names of a data set, and what its classes say of each other's texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from .english import english, plain, same_name, same_text, stems
from .kinds import KINDS
from .names import name_key
from .sentences import spaces

MAX_SHARED = 0.1  # share of the classes that may have the same attribute
MAX_NAMED = 3  # other classes in one message; more are counted
_PREPOSITIONS = ("at", "in", "on", "with", "of", "from", "under", "near")


class Names:
    """The class names of a data set, and the texts that its classes have already, for `fault`.

    of: the stems of a name, joined -> the name. in_any_order: the same for words in any order.
    words: number of words of the longest name. count: number of different names.
    kinds: matches a description that says what kind of thing the classes are. texts: kind -> key of
    a text -> owner that has the text -> the text in the words of this owner.
    """

    def __init__(self, classes: Iterable[str]) -> None:
        shown = [spaces(c) for c in classes]
        self.of = {"".join(stems(c)): c for c in shown if stems(c)}
        self.in_any_order = {same_name(c): c for c in shown if stems(c)}
        self.words = max((len(stems(c)) for c in shown), default=1)
        self.count = len({name_key(c) for c in shown})
        self.kinds = english().itself(shown)
        self.texts: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))

    def same(self, text: str) -> str | None:
        """The class that a text names, in any form of its words; None if there is none."""
        words = stems(text)
        # "two dogs" names "dog"
        has_number = len(words) > 1 and words[0].isdigit()
        counted = words
        if has_number:
            counted = words[1:]
        # "adult dog" names "dog"; a text of modifiers alone keeps them
        bare = [word for word in counted if word not in english().modifiers] or words
        named = self.in_any_order.get(same_name(text))
        for form in (words, counted, bare):
            # the first form that is a name counts
            named = named or self.of.get("".join(form))
        return named

    def within(self, text: str, own: str, head: bool = False) -> str | None:
        """Another class whose name is part of a text; None if there is none.

        Only names of two words or more are looked for, because single words are everyday ones.

        own: the name of the text's own class. head: only where the name is the thing itself, as in
        "a plastic bag at sea", and not in "a comic book shop".
        """
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
        """Another class of one word whose name a text has; None if there is none.

        Most of them are everyday words, as in "a hook at the end" beside a class "hook".

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
        """The classes that have a text of a kind, without ``but`` and classes of the same name."""
        return [o for o in self.owners(kind, text) if name_key(o) != name_key(but)]

    def named_as(self, attribute: str) -> str:
        """The kind of name that some class gives a text: an attribute must not be one.

        Empty if it is none.
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
        """True if two classes or more have an attribute, and more than this share of all.

        Classes of one name count as one.
        """
        owners = {name_key(owner) for owner in self.owners("attribute", attribute)}
        return len(owners) > max(1.0, max_shared * self.count)


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


def _key(kind: str, text: str) -> str:
    """A key that texts of one kind share if they say the same."""
    if KINDS[kind].are_names:
        return same_name(text)
    return same_text(text)


def repeat_key(kind: str, text: str) -> str:
    """A key that two texts of one class share if one of them is enough.

    Synonyms may be spellings of one name.
    """
    if kind == "synonym":
        return plain(text)
    return _key(kind, text)
