"""From class names to texts, in rounds: ask for what is missing, look at the answers, ask again for what will not do.

What is asked in a round depends on earlier answers alone, never on the order in which they came: the same stored
answers give the same texts, byte for byte.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import UserError
from ...progress import progress
from ..sentences import fill, spaces
from . import cost, parser, prompts
from .client import Question
from .cost import Budget, Estimate
from .parser import plain
from .prompts import LISTS, Request
from .store import Answer, Answers

if TYPE_CHECKING:
    from ...config import GeneratorConfig
    from ...datasets.base import Templates

log = logging.getLogger("coder_clip")

MOST_REASKS = 5  # for analogous classes, as published
LONGEST_NAME = 60  # characters of a name; what is longer is a sentence about it
MOST_EXCLUDED = 50

TooClose = Callable[[list[str]], list[bool]]
Keep = Callable[[Request, Answer], None]


class Asking(Protocol):
    """A way to get answers: `client.Client` (at once) or `batch.Batches` (cheaper, in hours)."""

    def ask(self, questions: Iterable[Question], keep: Keep) -> dict[str, str]: ...


@dataclass
class Item:
    """Texts of one kind for one class or pair: what was asked so far, and what came of it.

    owner: as people know it. fields: for the prompt, names first. names: plain forms of names that are no text of
    this item (its own; for names of other things, all of the label set). texts: one list a part of the answer.
    """

    kind: str
    owner: str
    fields: dict[str, str]
    names: frozenset[str]
    wanted: int
    texts: dict[str, list[str]] = field(default_factory=dict)
    rejected: list[str] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: int = 0
    refused: int = 0
    unusable: str = ""  # why the last answer gave nothing
    short: bool = False  # some texts of the last answer were rejected, and too few are left
    unanswered: bool = False

    def request(self, generator: GeneratorConfig, structured: bool) -> Request:
        """The next question."""
        have = [t for texts in self.texts.values() for t in texts]
        excluded = (self.rejected + have)[-MOST_EXCLUDED:]
        fields = {
            **self.fields,
            "count": str(self.wanted - len(have) if self.kind == "analogous" else self.wanted),
        }
        given = {"temperature": generator.temperature, "max_tokens": generator.max_tokens, **generator.extra}
        if generator.seed is not None:
            given["seed"] = (
                generator.seed + self.asked
            )  # a server that repeats itself would repeat its mistake
        if structured:
            given["response_format"] = prompts.schema(self.kind)
        return Request(
            generator.model,
            prompts.messages(self.kind, fields, excluded, structured),
            {k: v for k, v in given.items() if v is not None},
            prompts.template(self.kind).note(),
            self.asked,
        )

    def take(self, key: str, answer: Answer | str) -> None:
        """Look at an answer, or at why the server gave none.

        The latter is not counted as asked: a later run asks the same question, not the next one.
        """
        self.unusable, self.short = "", False
        if isinstance(answer, str):
            self.unusable, self.unanswered = answer, True
            return
        self.asked += 1
        self.answers[key] = answer
        found = parser.parse(answer.text, LISTS[self.kind], cut=answer.finish == "length")
        if found is None:
            refused = answer.refusal is not None or parser.refuses(answer.text or "")
            self.refused += refused
            said = answer.refusal or answer.text
            self.unusable = (
                f"refused: {said}" if refused else "no list of texts" if said else "an empty answer"
            )
            return
        for name, texts in found.items():
            self._add(name, texts)
        if self.kind in ("attribute", "one_to_one") and not all(self.texts.get(n) for n in LISTS[self.kind]):
            self.unusable = "only the name of the class" if any(found.values()) else "an empty list"

    def _add(self, name: str, texts: list[str]) -> None:
        kept = self.texts.setdefault(name, [])
        known, unwanted = set(map(plain, kept)), set(map(plain, self.rejected))
        named = self.kind in ("analogous", "synonym")
        for text in texts:
            if plain(text) in self.names | unwanted or (named and len(text) > LONGEST_NAME):
                self.reject(text)
            elif plain(text) not in known and len(kept) < self.wanted:
                known.add(plain(text))
                kept.append(text)

    def reject(self, text: str) -> None:
        """A text that will not do; it is not asked for again."""
        if plain(text) not in map(plain, self.rejected):
            self.rejected.append(text)
        if self.kind == "analogous":
            self.short = True

    def again(self, repeats: int) -> bool:
        """Whether to ask once more."""
        if self.unanswered:
            return False
        if self.kind == "analogous":
            have = sum(map(len, self.texts.values()))
            unmet = bool(self.unusable) or (self.short and have < self.wanted)
            return unmet and self.asked <= MOST_REASKS
        return bool(self.unusable) and self.asked <= repeats

    @property
    def failed(self) -> bool:
        """Nothing usable came. That a class has no synonym, or nothing like it, is an answer."""
        return bool(self.unusable) and not any(self.texts.values())


def class_items(
    kinds: Sequence[str], classes: Sequence[str], templates: Templates, counts: Mapping[str, int]
) -> list[Item]:
    """What to ask for the classes of a data set, kind by kind, in label order."""
    label_set = frozenset(plain(c) for c in classes)
    return [
        Item(
            kind,
            spaces(c),
            _fields(spaces(c), templates),
            label_set if kind in ("analogous", "synonym") else frozenset({plain(c)}),
            counts[kind],
        )
        for kind in kinds
        for c in classes
    ]


def pair_items(
    pairs: Iterable[tuple[int, int]], classes: Sequence[str], templates: Templates, wanted: int
) -> list[Item]:
    """What to ask for unordered pairs of class indices, in their order."""
    items = []
    for a, b in pairs:
        names = spaces(classes[a]), spaces(classes[b])
        fields = {**_fields(names[0], templates), "other": names[1]}
        items.append(Item("one_to_one", " / ".join(names), fields, frozenset(map(plain, names)), wanted))
    return items


def _fields(name: str, templates: Templates) -> dict[str, str]:
    sentence = fill(templates.attribute, name, attribute="…")
    return {"class": name, "photo": fill(templates.name, name), "sentence": sentence}


class Generator:
    """Texts for items, from stored answers as far as they go.

    asking: makes the way to ask, when something has to be asked; until then no key is needed.
    """

    def __init__(
        self,
        generator: GeneratorConfig,
        answers: Answers,
        budget: Budget,
        asking: Callable[[], Asking] | None = None,
    ) -> None:
        self.generator, self.answers, self.budget = generator, answers, budget
        self._make = asking
        self._asking: Asking | None = None
        self.new = 0  # answers of this run

    def ahead(self, items: Iterable[Item], seen: set[str]) -> tuple[Estimate, int]:
        """What the next round asks, and how many answers are there already. seen: keys that count no more."""
        missing: dict[str, Question] = {}
        have = set()
        for item in items:
            requests = self._requests(item)
            key, answer = self._stored(requests)
            if answer is None:
                missing[requests[0].key] = self._question(item, requests)
            else:
                have.add(key)
        new = [q for key, q in missing.items() if key not in seen]
        seen.update(missing)
        return cost.total(q.expected for q in new), len(have)

    def prepare(self, items: list[Item]) -> None:
        """Raise now what `run` would for want of a key, unless all answers are there."""
        if self.ahead(items, set())[0].requests:
            self._way()

    def run(self, items: list[Item], too_close: TooClose | None = None) -> None:
        """Ask until every item is done. too_close: of names, which are too similar to a class of the label set.

        UserError as the way to ask raises it; with ``on_failure: stop`` also where a class or pair got nothing.
        """
        waiting = items
        for number in range(1, 2 + max(MOST_REASKS, self.generator.repeats)):
            self._round(waiting, number)
            if too_close is not None:
                self._check([i for i in waiting if i.kind == "analogous"], too_close)
            waiting = [i for i in waiting if i.again(self.generator.repeats)]
            if not waiting:
                break
        self._report(items)
        answers = {key for item in items for key in item.answers}
        spent = f", {self.budget.shown()}" if self.generator.prices else ""
        log.info(
            "%d answers, %d of them new%s; %d asked again, %d refused",
            *(
                len(answers),
                self.new,
                spent,
                sum(max(0, i.asked - 1) for i in items),
                sum(i.refused for i in items),
            ),
        )

    def _way(self) -> Asking:
        if self._asking is None:
            if self._make is None:
                raise ValueError("no way to ask was given")
            self._asking = self._make()
        return self._asking

    def _round(self, items: list[Item], number: int) -> None:
        missing: dict[str, Question] = {}
        for item in items:
            requests = self._requests(item)
            if self._stored(requests)[1] is None:
                missing[requests[0].key] = self._question(item, requests)
        failed: dict[str, str] = {}
        if missing:
            asking = self._way()  # without a key the run ends before anything is announced
            ahead = cost.total(q.expected for q in missing.values())
            money = (
                "" if ahead.money is None else f", about {cost.amount(ahead.money)} {self.budget.currency}"
            )
            log.info(
                "round %d: %d questions to %s: about %d tokens to read and %d to write%s",
                *(
                    number,
                    ahead.requests,
                    self.generator.model,
                    ahead.prompt_tokens,
                    ahead.completion_tokens,
                    money,
                ),
            )
            self.budget.allows(ahead)
            with progress(len(missing), "answer", "asking") as bar:

                def keep(request: Request, answer: Answer) -> None:
                    self.new += 1
                    self.budget.paid(answer)
                    self.answers.add(request, answer)
                    if self.budget.limit is not None or answer.cost is not None:
                        bar.set_postfix_str(self.budget.shown(), refresh=False)
                    bar.update()

                failed = asking.ask(missing.values(), keep)
        for item in items:
            requests = self._requests(item)
            key, answer = self._stored(requests)
            item.take(key, answer or failed.get(requests[0].key, "no answer"))

    def _check(self, items: list[Item], too_close: TooClose) -> None:
        """Names that are too similar to a class go, and are not asked for again (paper, section 3.3)."""
        names = list(dict.fromkeys(t for i in items for t in i.texts.get("texts", ())))
        close = dict(zip(names, too_close(names), strict=True)) if names else {}
        for item in items:
            for text in [t for t in item.texts.get("texts", ()) if close[t]]:
                item.texts["texts"].remove(text)
                item.reject(text)

    def _requests(self, item: Item) -> list[Request]:
        """The ways to ask the next question whose stored answers count, the wanted one first."""
        ways = {"auto": [True, False], "json_schema": [True], "list": [False]}[self.generator.structured]
        return [item.request(self.generator, structured) for structured in ways]

    def _stored(self, requests: list[Request]) -> tuple[str, Answer | None]:
        for request in requests if self.answers.found else ():
            if (answer := self.answers.get(request)) is not None:
                return request.key, answer
        return "", None

    def _question(self, item: Item, requests: list[Request]) -> Question:
        first, *other = requests
        wanted = item.wanted * len(LISTS[item.kind])
        expected = cost.estimate(first, wanted, self.answers, self.generator.prices, self.generator.batch)
        return Question(first, expected, *other)

    def _report(self, items: list[Item]) -> None:
        """Those that got nothing, by name; the end, where that is configured."""
        lost = [item for item in items if item.failed]
        for item in lost:
            said = f"after {item.asked} answers ({_short(item.unusable)})"
            log.warning("no %s texts for '%s' %s", item.kind.replace("_", "-"), item.owner, said)
        if lost and self.generator.on_failure == "stop":
            names = ", ".join(f"'{i.owner}' ({i.kind})" for i in lost[:5]) + (" …" if len(lost) > 5 else "")
            raise UserError(
                f"{len(lost)} without texts: {names}: {_short(lost[0].unusable)}. All other answers are kept; "
                "'generator.on_failure: skip' goes on without them, a higher 'repeats' asks more often"
            )


def _short(text: str) -> str:
    """A model's words in a line of ours: no line breaks, no control characters, not long."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= 100 else text[:99] + "…"


def provenance(kind: str, items: Sequence[Item], generator: GeneratorConfig) -> dict[str, Any]:
    """What stands behind the texts of one kind. All of it comes from stored answers: the same whenever it is made."""
    answers: dict[str, Answer] = {}
    for item in items:
        answers.update(item.answers)
    days = sorted({a.date for a in answers.values()})
    costs = [a.cost for a in answers.values() if a.cost is not None]
    parameters = {
        "temperature": generator.temperature, "seed": generator.seed, "max_tokens": generator.max_tokens,
        **generator.extra,
    }  # fmt: skip
    found: dict[str, Any] = {
        "source": "llm",
        "model": generator.model,
        "served": sorted({a.served for a in answers.values()}),
        "prompt": prompts.template(kind).note(),
        "parameters": {k: v for k, v in parameters.items() if v is not None},
        "date": days[0] if days[:1] == days[-1:] and days else " to ".join(days[:1] + days[-1:]),
        "answers": len(answers),
        "asked_again": sum(max(0, i.asked - 1) for i in items),
        "refused": sum(i.refused for i in items),
        "tokens": {
            "prompt": sum(a.prompt_tokens or 0 for a in answers.values()),
            "completion": sum(a.completion_tokens or 0 for a in answers.values()),
        },
    }
    if costs and generator.prices:
        found["cost"] = {"money": round(sum(costs), 6), "currency": generator.prices.currency}
    if lost := [i.owner for i in items if i.failed]:
        found["without"] = lost
    if kind == "analogous" and (rejected := sum(len(i.rejected) for i in items)):
        found["rejected"] = rejected
    return found
