"""Checks of texts: the same rules for shipped sets, your own sets and a language model's texts.

None of them knows whether a text is true. They find what costs accuracy unseen: a class's own name,
a negation ("no stripes" is near "stripes" for an encoder), a text that two classes have. The
rules for one text are in `one_text`, what classes say of each other's texts in `label_set`, the
English words that they know in templates/english.yaml (`english`); checks with an encoder are in
`similar`. This module has the rules for a set.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import nearest
from .english import same_text
from .kinds import OF_CLASS
from .label_set import MAX_SHARED as MAX_SHARED
from .label_set import Names as Names
from .label_set import across as across
from .label_set import repeat_key as repeat_key
from .names import name_key, plain_name
from .one_text import JOINERS as JOINERS
from .one_text import MAX_CHARACTERS as MAX_CHARACTERS
from .one_text import answer_of, broken
from .one_text import control as control
from .one_text import fault as fault
from .one_text import refuses as refuses
from .sentences import spaces

if TYPE_CHECKING:
    from .sets import PairSet, TextSet

FEWEST = 3  # attributes per class and texts per side of a pair
RULES = {  # rule: what to do
    "classes": "name the classes as the data set does, each once",
    "form": "write one plain phrase: no marks, brackets, quotes, lists or full stop",
    "answer": "leave it out: it is an answer of a model and no text",
    "wording": "begin with the thing itself, as in 'a photo of a … which has a long tail'",
    "own name": "describe the class without its name",
    "other name": "describe what is seen without the name of another class",
    "unfit": "begin with a thing that it has, as in 'a red tail' or 'a coat of grey fur'",
    "itself": "say what it has, not what it is",
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
BY_ENCODER = ("alike", "sides")
# Rules that a text of a set may break for a reason that only a reader sees. A model's texts that
# break the first two are refused all the same.
WARNED = ("unfit", "itself", "everyday")
UNCHECKED = ("name", "sentence")


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
    for c in texts.classes:
        owner = spaces(c.name)
        damage = broken(c.name)
        if not owner.strip() or (damage and damage[1] != "no letters"):
            yield Fault(owner, "name", c.name, *(damage or ("form", "no letters")))
        for text in c.sentence:
            wrong = broken(text) or answer_of(text, text, "sentence")
            if wrong:
                yield Fault(owner, "sentence", text, *wrong)
    # key of a name -> its spellings, in order
    spellings = defaultdict[str, dict[str, None]](dict)
    for c in texts.classes:
        spellings[name_key(c.name)][c.name] = None
    for same in spellings.values():
        if len(same) > 1:
            first, *others = same
            yield Fault(first, "name", others[0], "classes", "the same class in another spelling")
    if classes is not None:
        yield from _of_other_names(texts, classes)


def _of_other_names(texts: TextSet, classes: Sequence[str]) -> Iterator[Fault]:
    """Faults of class names beside the data set's: missing, unknown, or more often than there."""
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
    """Faults of the texts of classes.

    Of each text, of their number, and of texts that classes share.
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
                effect = ", so the pair changes nothing"
                if side:
                    effect = ""
                why = f"{_number(len(side))} of {name}{effect}"
                yield Fault(owner, "one_to_one", "", "count", why)


def _number(n: int) -> str:
    """A number of texts, in words."""
    if n == 1:
        return "1 text"
    return f"{n} texts"


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
