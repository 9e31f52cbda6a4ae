"""What is asked about: texts of one kind for one class or pair, and what came of the answers so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from ..kinds import KINDS, Kind
from ..sentences import fill, spaces
from . import checks, prompts
from .answers import Sides
from .checks import plain

if TYPE_CHECKING:
    from ...datasets.base import Templates
    from .similar import Rule
    from .store import Answer

MOST_REASKS = 5  # for analogous classes, as published
IDLE = 2  # answers in a row that gave no new name, after which no more are asked for
MOST_EXCLUDED = 50
MOST_LISTED = 200  # classes named in a prompt: small models have small contexts


@dataclass(frozen=True)
class Refused:
    """A text that was not accepted, why, and the key of the answer that it came from."""

    text: str
    why: str
    answer: str


@dataclass
class Item:
    """Texts of one kind for one class or pair.

    owner: as people know it. fields: for the prompt, names first. names: plain names that are no text of this item;
    within: those that must not even be part of one. first: the attempt to begin with, where a person has asked for
    others; rejected: plain texts that a person does not want. texts: one list per side of the answer, and for analogous
    names one per rule that chooses among them ("texts": the default rule). source: text -> key of its answer.
    """

    kind: str
    owner: str
    fields: dict[str, str]
    names: frozenset[str]
    within: frozenset[str]
    wanted: int
    first: int = 0
    rejected: frozenset[str] = frozenset()
    texts: Sides = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    attempt: int = 0
    idle: int = 0  # answers in a row that gave no new text
    wrong: str = ""  # why the last answer gave nothing, in words for the model
    short: bool = False  # some texts of the last answer were refused
    refusals: int = 0
    unanswered: str = ""

    @property
    def about(self) -> Kind:
        return KINDS[self.kind]

    @property
    def optional(self) -> bool:
        """Whether an empty list is an answer."""
        return self.about.least == 0

    @property
    def pair(self) -> tuple[str, ...]:
        """Both class names; empty for texts of one class."""
        return (self.fields["class"], self.fields["other"]) if self.about.of_pair else ()

    @property
    def sides(self) -> tuple[str, ...]:
        """Of the class and of the other one; other kinds have one list."""
        return ("first", "second") if self.about.of_pair else ("texts",)

    @property
    def key(self) -> str:
        """Where its texts are in the object of an answer."""
        return self.fields["other"] if self.about.of_pair else self.kind

    @property
    def missing(self) -> int:
        """How many texts to ask for."""
        return max(1, self.wanted - min((len(t) for t in self.texts.values()), default=0))

    @property
    def fewest(self) -> int:
        """How many of them an answer has to hold: half."""
        return 0 if self.optional else (self.missing + 1) // 2

    @property
    def excluded(self) -> list[str]:
        """What the next answer is not to repeat."""
        have = [t for side in self.texts.values() for t in side]
        return list(dict.fromkeys([r.text for r in self.refused] + have))[-MOST_EXCLUDED:]

    @property
    def enough(self) -> bool:
        least = (self.wanted + 1) // 2 if self.about.least is None else self.about.least
        return all(len(self.texts.get(side, ())) >= least for side in self.sides)

    @property
    def failed(self) -> str:
        """Why nothing usable came; empty where something did. Less than enough counts as nothing."""
        silent = self.optional and not any(self.texts.values()) and (self.wrong or self.unanswered)
        return "" if self.enough and not silent else self.unanswered or self.wrong or "nothing usable"

    def document(self) -> dict[str, Any]:
        """For the key and the store: all that the question is made of."""
        fields = dict(self.fields)
        if "classes" in fields:
            fields["classes"] = prompts.digest(fields["classes"])
        return {
            "kind": self.kind,
            "template": prompts.template(self.kind).sha256,
            "fields": fields,
            "count": self.missing,
            "attempt": self.attempt,
            "excluded": self.excluded,
            "wrong": self.wrong,
        }

    def again(self, repeats: int) -> bool:
        """Whether to ask once more."""
        asked = self.attempt - self.first
        if self.unanswered:
            return False
        full = all(len(texts) >= self.wanted for texts in self.texts.values())
        if self.kind == "analogous" and self.short and not full:
            return asked <= MOST_REASKS and self.idle < IDLE
        return (bool(self.wrong) or not self.enough) and asked <= repeats

    def take(self, answer: Answer, key: str, found: Sides | str, rules: Mapping[str, Rule]) -> None:
        """Look at the part of an answer that is about this item, or at what is wrong with it."""
        self.attempt += 1
        self.answers[key] = answer
        self.wrong, self.short, self.unanswered = "", False, ""
        before = sum(map(len, self.texts.values()))
        if answer.refusal is not None or (isinstance(found, str) and checks.refuses(answer.text or "")):
            self.refusals += 1
            self.wrong = f"it was refused ({in_line(answer.refusal or answer.text or '')})"
        elif isinstance(found, str):
            self.wrong = found
        else:
            self._add(found, key, rules)
        self.idle = 0 if sum(map(len, self.texts.values())) > before else self.idle + 1
        apology = not any(self.texts.values()) and any(r.why in checks.NO_ANSWER for r in self.refused)
        if (not self.enough or apology) and not self.wrong:
            shown = "; ".join(in_line(r.text) for r in self.refused[-3:]) or "none"
            self.wrong = f"too few usable texts ({shown})"

    def _add(self, found: Sides, key: str, rules: Mapping[str, Rule]) -> None:
        """Keep what the checks accept, each text once, as many as are wanted."""
        both = set.intersection(*({plain(checks.clean(t)) for t in texts} for texts in found.values()))
        for side, texts in found.items():
            have = [*self.texts.get(side, ()), *(r.text for r in self.refused)]
            seen, accepted = {plain(t) for t in have}, list[str]()
            for text in map(checks.clean, texts):
                why = self._fault(text, side)
                if self.pair and plain(text) in both:
                    why = why or "on both sides"
                if why:
                    self.refuse(text, why, key)
                elif plain(text) not in seen:
                    seen.add(plain(text))
                    accepted.append(text)
            self._choose(side, accepted[: self.wanted], key, rules)

    def _fault(self, text: str, side: str) -> str | None:
        """Why a text is not accepted."""
        if plain(text) in self.rejected:
            return "rejected in a review"
        other = {plain(self.pair[side == "first"])} if self.pair else set()
        written = " ".join(self.fields[k] for k in ("class", "photo", "other") if k in self.fields)
        return checks.fault(
            text,
            names=self.names,
            within=self.within | other,
            known=checks.scripts(written),
            longest=checks.LONGEST_NAME if self.about.are_names else checks.LONGEST,
        )

    def _choose(self, side: str, accepted: list[str], key: str, rules: Mapping[str, Rule]) -> None:
        """Every rule chooses among the new texts. The first rule's verdict is the one that is listed."""
        verdicts = {name: rule([(self.fields["class"], t) for t in accepted]) for name, rule in rules.items()}
        for number, (name, whys) in enumerate((verdicts or {side: [None] * len(accepted)}).items()):
            kept = self.texts.setdefault(name, [])
            for text, why in zip(accepted, whys, strict=True):
                if why is None and len(kept) < self.wanted:
                    kept.append(text)
                    self.source[text] = key
                elif why is not None and number == 0:
                    self.refuse(text, why, key)

    def refuse(self, text: str, why: str, key: str) -> None:
        """A text that will not do; it is not asked for again."""
        shown = "".join("\ufffd" if c in checks.control(text) else c for c in text[: checks.LONGEST])
        if shown not in (r.text for r in self.refused):
            self.refused.append(Refused(shown, why, key))
        self.short = True


def class_items(
    kinds: Sequence[str], classes: Sequence[str], templates: Templates, counts: Mapping[str, int]
) -> list[Item]:
    """What to ask for the classes of a data set, class by class in label order, kind by kind."""
    names = [spaces(c) for c in classes]
    label_set = frozenset(map(plain, names))
    items = []
    for i, name in enumerate(names):
        start = max(0, min(i - MOST_LISTED // 2, len(names) - MOST_LISTED))
        listed = {"classes": ", ".join(dict.fromkeys(names[start : start + MOST_LISTED]))}
        # Of names within a text those of several words count: one word is often an everyday one.
        own = plain(name)
        within = frozenset(n for n in label_set if " " in n and n not in own)
        for kind in kinds:
            fields = _fields(name, templates) | (listed if kind == "analogous" else {})
            no_part = within if kind == "attribute" else frozenset[str]()
            items.append(Item(kind, name, fields, label_set, no_part, counts[kind]))
    return items


def pair_items(
    pairs: Iterable[tuple[int, int]], classes: Sequence[str], templates: Templates, wanted: int
) -> list[Item]:
    """What to ask for unordered pairs of class indices, in their order."""
    label_set = frozenset(plain(spaces(c)) for c in classes)
    items = []
    for a, b in pairs:
        name, other = spaces(classes[a]), spaces(classes[b])
        fields = {**_fields(name, templates), "other": other}
        items.append(Item("one_to_one", f"{name} / {other}", fields, label_set, frozenset(), wanted))
    return items


def _fields(name: str, templates: Templates) -> dict[str, str]:
    sentence = fill(templates.attribute, name, attribute="…")
    return {"class": name, "photo": fill(templates.name, name), "sentence": sentence}


def in_line(text: str) -> str:
    """A model's words in a line of ours: no line breaks, no control characters, not long."""
    return shorten("".join(c if c.isprintable() else " " for c in text), 100, placeholder="…")
