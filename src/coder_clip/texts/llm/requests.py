"""Items: texts of one kind for one class or pair, and what came of the answers so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from ...errors import one_line
from .. import checks
from ..checks import Names
from ..cleaning import clean
from ..english import plain
from ..kinds import KINDS, Kind
from ..names import name_key
from ..sentences import fill, spaces

if TYPE_CHECKING:
    from ...datasets.base import Templates
    from ..similar import Rule

Sides = dict[str, list[str]]  # texts of an answer: a list for each side of a pair, or one list
MAX_REASKS = 5  # for analogous classes, as published
MAX_IDLE = 2  # answers in a row without a new name, after which the model is not asked again
MAX_EXCLUDED = 50
NO_ANSWER = ("a refusal", "a question")  # of `checks`
MAX_LISTED = 200  # classes named in a prompt: small models have small contexts


# A negative cost in a file from somebody else would raise the limit on money.
Money = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Answer(BaseModel):
    """The answer of the model.

    text (None: it refused, or sent nothing), refusal and finish as the server says.

    served: the model's full name, as the server gives it. Tokens are None if the server does not
    count them. cost: money, at the prices of that day, in `currency`; None if unknown or without
    prices. at_most: counts in place of an unknown cost. date: ISO day. server: host and port.
    fingerprint: the system's, as OpenAI sends it.
    """

    model_config = ConfigDict(frozen=True)

    text: str | None = None
    refusal: str | None = None
    finish: str | None = None
    served: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: Money | None = None
    currency: str = ""
    date: str
    at_most: Money | None = None
    server: str = ""
    fingerprint: str | None = None

    @property
    def paid(self) -> float:
        """Money for the answer, or the most that it can be."""
        return self.cost or self.at_most or 0.0


class ReviewedText(NamedTuple):
    """A model's text.

    owner: class or pair. why: reason why the text was not accepted; empty if it is used.

    answer: key of the answer. side: the class of a pair that has the text; empty for texts of a
    class.
    """

    kind: str
    owner: str
    text: str
    why: str
    answer: str
    side: str = ""


@dataclass
class Offer:
    """A text that breaks no rule by itself.

    answer: key of the answer. refused: True once another class or kind forbids it, which stays so,
    because offers only grow.
    """

    text: str
    answer: str
    refused: bool = False


@dataclass
class Item:
    """Texts of one kind for one class or pair.

    owner: the class or pair, for messages. fields: values for the prompt, by name. indices: labels
    of the class or the two classes. names: class names of the label set, with what its classes
    offer; shared by all items. wanted: number of texts per list. rejected:
    plain texts that a reviewer rejected.
    rule: refuses analogous names that are too similar to another class. offered: side -> texts that
    break no rule by themselves. texts: side -> accepted texts, once the round is settled. source:
    text -> key of its answer. refused: texts that were not accepted. answers: by key. asked,
    refusals: number of answers, and of those in which the model refused. unanswered: why the last
    question has no answer.
    """

    kind: str
    owner: str
    fields: dict[str, str]
    indices: tuple[int, ...]
    names: Names
    wanted: int
    rejected: frozenset[str] = frozenset()
    rule: Rule | None = None
    offered: dict[str, list[Offer]] = field(default_factory=dict)
    texts: Sides = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)
    refused: list[ReviewedText] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: int = 0
    idle: int = 0  # answers in a row that gave no new text
    wrong: str = ""  # why the last answer gave nothing, in words for the model
    short: bool = False  # some texts of the last answer were refused
    refusals: int = 0
    unanswered: str = ""
    unsettled: bool = False  # an answer came, and the round is not settled

    @property
    def about(self) -> Kind:
        return KINDS[self.kind]

    @property
    def optional(self) -> bool:
        """True if an empty list is an answer."""
        return self.about.least == 0

    @property
    def pair(self) -> tuple[str, ...]:
        """Both class names; empty for texts of one class."""
        return (self.fields["class"], self.fields["other"]) if self.about.of_pair else ()

    @property
    def sides(self) -> tuple[str, ...]:
        """The lists of an answer: of the class and of the other one, or one list."""
        return ("first", "second") if self.about.of_pair else ("texts",)

    @property
    def key(self) -> str:
        """The key of its texts in the object of an answer.

        Its class, or the other class of a pair.
        """
        return self.fields["other" if self.about.of_pair else "class"]

    @property
    def lists(self) -> tuple[str, ...]:
        """The keys of its lists of texts, below ``key``; in the order of ``sides``."""
        return self.pair or (self.kind,)

    @property
    def missing(self) -> int:
        """Number of texts to ask for."""
        shortest = min((len(texts) for texts in self.texts.values()), default=0)
        return max(1, self.wanted - shortest)

    @property
    def excluded(self) -> list[str]:
        """Texts that the next answer must not repeat."""
        have = [t for side in self.texts.values() for t in side]
        # the newest ones: prompts must stay short
        return list(dict.fromkeys([r.text for r in self.refused] + have))[-MAX_EXCLUDED:]

    @property
    def least(self) -> int:
        """The number of texts that each side needs."""
        return (self.wanted + 1) // 2 if self.about.least is None else self.about.least

    @property
    def enough(self) -> bool:
        """True if each side has as many texts as its kind needs."""
        return all(len(self.texts.get(side, ())) >= self.least for side in self.sides)

    @property
    def few(self) -> bool:
        """True for a class with some attributes that are fewer than enough: they are kept."""
        texts = self.texts.get("texts", [])
        return self.kind == "attribute" and not self.unanswered and 0 < len(texts) < self.least

    @property
    def failed(self) -> str:
        """Why there are not enough texts; empty if there are."""
        # "there is none" counts only if the model said so
        silent = self.optional and not any(self.texts.values()) and (self.wrong or self.unanswered)
        if (self.enough or self.few) and not silent:
            return ""
        return self.unanswered or self.wrong or "nothing usable"

    def again(self, max_reasks: int) -> bool:
        """True if the model is to be asked once more."""
        if self.unanswered:
            return False
        full = all(len(texts) >= self.wanted for texts in self.texts.values())
        # many analogous names are refused as too similar, so these have reasks of their own
        if self.kind == "analogous" and self.short and not full:
            return self.asked <= MAX_REASKS and self.idle < MAX_IDLE
        return (bool(self.wrong) or not self.enough) and self.asked <= max_reasks

    def take(self, answer: Answer, key: str, found: Sides | str) -> None:
        """Add what an answer offers, or note what is wrong with it; `settle` ends the round.

        key: of the answer. found: its texts per side, or what is wrong with it (`generate.read`).
        """
        self.asked += 1
        self.answers[key] = answer
        self.wrong, self.short, self.unanswered = "", False, ""
        self.unsettled = True
        # servers report a refusal in a field, models say it in words
        if answer.refusal is not None or (
            isinstance(found, str) and checks.refuses(answer.text or "")
        ):
            self.refusals += 1
            self.wrong = f"it was refused ({one_line(answer.refusal or answer.text or '', 100)})"
        elif isinstance(found, str):
            self.wrong = found
        else:
            self._offer(found, key)

    def settle(self, max_shared: float) -> None:
        """Accept what is offered and no other class or kind forbids, as many texts as are wanted.

        `settle` calls it for all items, after `Names` knows what each of them offers. max_shared:
        the largest share of the classes that may have the same attribute.
        """
        before = sum(map(len, self.texts.values()))
        self.texts = {side: [] for side in self.offered}
        for side, offers in self.offered.items():
            for offer in offers:
                why = self._why_not(offer, max_shared)
                if why is not None and not offer.refused:
                    self.refuse(offer.text, why, offer.answer, side)
                    offer.refused = True
                elif why is None and len(self.texts[side]) < self.wanted:
                    self.texts[side].append(offer.text)
                    self.source[offer.text] = offer.answer
        if self.unsettled:
            self.idle = 0 if sum(map(len, self.texts.values())) > before else self.idle + 1
            self.unsettled = False
        # an apology in the list does not mean that there are no texts
        apology = not any(self.texts.values()) and any(r.why in NO_ANSWER for r in self.refused)
        if self.asked and (not self.enough or apology) and not self.wrong:
            shown = "; ".join(one_line(r.text, 100) for r in self.refused[-3:]) or "none"
            self.wrong = f"too few usable texts ({shown})"

    def usable(self, found: Sides | str) -> bool:
        """True if an answer has a text that breaks no rule.

        If texts are optional, also if it has none, or only says that there are none.
        """
        if isinstance(found, str):  # the reason why the answer could not be read
            return False
        whys = [
            self._fault(clean(t, self.kind), side) for side, texts in found.items() for t in texts
        ]
        if None in whys:
            return True
        return self.optional and all(why == "says nothing" for why in whys)

    def _offer(self, found: Sides, key: str) -> None:
        """Add each text that breaks no rule by itself, once. key: of the answer."""
        cleaned = {side: [clean(t, self.kind) for t in texts] for side, texts in found.items()}
        # what is on both sides of a pair tells nothing apart
        on_both = set.intersection(*({self._key(t) for t in texts} for texts in cleaned.values()))
        for side, texts in cleaned.items():
            offers = self.offered.setdefault(side, [])
            known = [offer.text for offer in offers] + [r.text for r in self.refused]
            seen = {self._key(text) for text in known}
            accepted: dict[str, str] = {}  # by the key of the text
            # a repeat is ignored, not refused
            for text in texts:
                why, key_of_text = self._fault(text, side), self._key(text)
                if why is None and self.pair and key_of_text in on_both:
                    why = "on both sides"
                if why is not None:
                    self.refuse(text, why, key, side)
                elif key_of_text not in seen:
                    accepted.setdefault(key_of_text, text)
            # the rule compares all names of an answer at once
            chosen = list(accepted.values())
            reasons: list[str | None] = [None] * len(chosen)
            if self.rule:
                reasons = self.rule([(self.fields["class"], text) for text in chosen])
            for text, why in zip(chosen, reasons, strict=True):
                if why is not None:
                    self.refuse(text, why, key, side)
                else:
                    offers.append(Offer(text, key))

    def _key(self, text: str) -> str:
        """A key that two texts share if one of them is enough."""
        return checks.repeat_key(self.kind, text)

    def _why_not(self, offer: Offer, max_shared: float) -> str | None:
        """Why another class or another kind forbids a text; None if none does."""
        if self.pair:
            return None
        found = checks.across(offer.text, self.kind, self.owner, self.names, max_shared)
        if found is None:
            return None
        _, why = found
        return why

    def _fault(self, text: str, side: str) -> str | None:
        """Why a text is not accepted; None if it is."""
        if plain(text) in self.rejected:
            return "rejected in a review"
        # a clause can stand in a text set, but here the question is for what fills the gap
        if self.kind == "attribute" and text.startswith("which "):
            return "it does not continue 'which has'"
        # the class that has the text, and the other class of a pair
        name, other = self.owner, ""
        if self.pair and side == "first":
            name, other = self.pair
        elif self.pair:
            other, name = self.pair
        found = checks.fault(text, self.kind, name, self.names, other, self.fields["photo"])
        if found is None:
            return None
        _, why = found
        return why

    def refuse(self, text: str, why: str, key: str, side: str = "texts") -> None:
        """List a text that is not accepted; later questions exclude it."""
        control = checks.control(text)
        shown = "".join("\ufffd" if c in control else c for c in text[: checks.MAX_CHARACTERS])
        if shown not in (r.text for r in self.refused):
            name = ""
            if self.pair:
                first, second = self.pair
                name = second if side == "second" else first
            self.refused.append(ReviewedText(self.kind, self.owner, shown, why, key, name))
        self.short = True


def settle(items: Sequence[Item], max_shared: float) -> None:
    """End a round: judge what all classes offer, for all of them alike.

    So the accepted texts depend on the answers and not on the order of the classes. items: all of a
    data set, also those that were not asked in this round. max_shared: see `Item.settle`.
    """
    for item in items:
        item.names.texts.clear()
    for item in items:
        for offers in item.offered.values():
            for offer in offers:
                item.names.take(item.kind, item.owner, offer.text)
    for item in items:
        item.settle(max_shared)


def class_items(
    kinds: Sequence[str], classes: Sequence[str], templates: Templates, counts: Mapping[str, int]
) -> list[Item]:
    """The items of a data set's classes: class by class in label order, kind by kind.

    counts: kind -> number of texts to ask for.
    """
    names = [spaces(c) for c in classes]
    label_set, items = Names(names), list[Item]()
    for i, name in enumerate(names):
        # a window of MAX_LISTED classes around this one, kept within the list
        start = max(0, min(i - MAX_LISTED // 2, len(names) - MAX_LISTED))
        listed = {"classes": ", ".join(dict.fromkeys(names[start : start + MAX_LISTED]))}
        for kind in kinds:
            fields = _fields(name, templates)
            if kind == "analogous":
                fields |= listed
            items.append(Item(kind, name, fields, (i,), label_set, counts[kind]))
    return items


def pair_items(
    pairs: Iterable[tuple[int, int]], classes: Sequence[str], templates: Templates, wanted: int
) -> list[Item]:
    """The items of unordered pairs of class indices, in their order.

    Pairs of one name (ImageNet has two classes "missile") are left out: nothing could tell their
    texts apart."""
    label_set, items = Names(map(spaces, classes)), list[Item]()
    for a, b in pairs:
        name, other = spaces(classes[a]), spaces(classes[b])
        if name_key(name) != name_key(other):
            fields = {**_fields(name, templates), "other": other}
            items.append(Item("one_to_one", f"{name} / {other}", fields, (a, b), label_set, wanted))
    return items


def _fields(name: str, templates: Templates) -> dict[str, str]:
    """Values for the prompt about a class: its name, and two sentences that show the templates."""
    sentence = fill(templates.attribute, name, attribute="…")
    return {"class": name, "photo": fill(templates.name, name), "sentence": sentence}
