"""From class names to texts, in rounds: ask for what is missing, check the answers, ask again for what will not do.

What is asked in a round depends on earlier answers alone, never on the order in which they came: the same stored
answers give the same texts, byte for byte.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...foundation.progress import progress
from ..sentences import fill, spaces
from . import answers as form_of
from . import checks, cost, prompts
from .answers import Sides, sides
from .checks import plain
from .cost import Budget, Estimate, Question
from .prompts import Request, item_key
from .server import api_key
from .store import Answer, Answers, Stored

if TYPE_CHECKING:
    from ...datasets.base import Templates
    from ...pipeline.config import GeneratorConfig
    from .review import Review
    from .similar import Rule

log = logging.getLogger("coder_clip")

MOST_REASKS = 5  # for analogous classes, as published
IDLE = 2  # answers in a row that gave no new name, after which no more are asked for
MOST_EXCLUDED = 50
MOST_LISTED = 200  # classes named in a prompt: small models have small contexts
PAIRS = 10  # of one class in one request, if the limit on tokens allows


@dataclass(frozen=True)
class Refused:
    """A text that was not accepted, why, and the key of the answer that it came from."""

    text: str
    why: str
    answer: str


@dataclass
class Item:
    """Texts of one kind for one class or pair: what was asked so far, and what came of it.

    owner: as people know it. fields: for the prompt, names first. names: plain names that are no text of this item;
    within: those that must not even be part of one. texts: one list per side of the answer, and for analogous names
    one per rule that chooses among them ("texts": the default rule). source: text -> key of its answer.
    """

    kind: str
    owner: str
    fields: dict[str, str]
    names: frozenset[str]
    within: frozenset[str]
    wanted: int
    texts: Sides = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    unjudged: list[str] = field(default_factory=list)  # names that no rule has seen yet
    rejected: frozenset[str] = frozenset()  # plain texts that a person does not want
    attempt: int = 0
    first: int = 0  # attempt to begin with: a person may have asked for others
    idle: int = 0
    wrong: str = ""  # why the last answer gave nothing, in words for the model
    short: bool = False  # some texts of the last answer were refused
    refusals: int = 0
    unanswered: str = ""

    @property
    def missing(self) -> int:
        """How many texts to ask for."""
        return max(1, self.wanted - min((len(t) for t in self.texts.values()), default=0))

    @property
    def excluded(self) -> list[str]:
        """What the next answer is not to repeat."""
        have = [t for side in self.texts.values() for t in side]
        return list(dict.fromkeys([r.text for r in self.refused] + have))[-MOST_EXCLUDED:]

    @property
    def enough(self) -> bool:
        """Half of what was asked for; of analogous names one, because there may be no more. No synonym is an answer."""
        least = {"synonym": 0, "analogous": 1}.get(self.kind, (self.wanted + 1) // 2)
        return all(len(self.texts.get(side, ())) >= least for side in sides(self.kind))

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

    def take(self, answer: Answer, key: str, found: Sides | str) -> None:
        """Look at the part of an answer that is about this item, or at what is wrong with it."""
        self.attempt += 1
        self.answers[key] = answer
        self.wrong, self.short, self.unanswered = "", False, ""
        if answer.refusal is not None or (isinstance(found, str) and checks.refuses(answer.text or "")):
            self.refusals += 1
            self.wrong = f"it was refused ({_short(answer.refusal or answer.text or '')})"
        elif isinstance(found, str):
            self.wrong = found
        else:
            self._add(found, key)
        apology = not any(self.texts.values()) and any(r.why in checks.NO_ANSWER for r in self.refused)
        if (not self.enough or apology) and not self.wrong and not self.unjudged:
            self.wrong = (
                f"too few usable texts ({'; '.join(_short(r.text) for r in self.refused[-3:]) or 'none'})"
            )

    def _add(self, found: Sides, key: str) -> None:
        both = set.intersection(*({plain(checks.clean(t)) for t in texts} for texts in found.values()))
        known = checks.scripts(
            " ".join(self.fields[k] for k in ("class", "photo", "other") if k in self.fields)
        )
        named = self.kind in ("analogous", "synonym")
        for side, texts in found.items():
            kept = self.texts.setdefault(side, []) if self.kind != "analogous" else self.unjudged
            seen = {plain(t) for t in [*kept, *self.texts.get(side, ()), *(r.text for r in self.refused)]}
            within = set(self.within)
            if self.kind == "one_to_one":
                within |= {plain(self.fields["other" if side == "first" else "class"])}
            for text in map(checks.clean, texts):
                why = checks.fault(
                    text, names=self.names, within=within, known=known,
                    longest=checks.LONGEST_NAME if named else checks.LONGEST,
                )  # fmt: skip
                if len(found) > 1 and plain(text) in both:
                    why = why or "on both sides"
                if plain(text) in self.rejected:
                    why = why or "rejected in a review"
                if why:
                    self.refuse(text, why, key)
                elif plain(text) not in seen and len(kept) < self.wanted:
                    seen.add(plain(text))
                    kept.append(text)
                    self.source[text] = key

    def refuse(self, text: str, why: str, key: str) -> None:
        """A text that will not do; it is not asked for again."""
        shown = "".join("\ufffd" if c in checks.control(text) else c for c in text[: checks.LONGEST])
        if shown not in (r.text for r in self.refused):
            self.refused.append(Refused(shown, why, key))
        self.short = True

    def judge(self, rules: Mapping[str, Rule]) -> None:
        """Let every rule choose among the new names. The first rule's verdict is the one that is listed."""
        names, self.unjudged = self.unjudged, []
        before = sum(map(len, self.texts.values()))
        for number, (rule, verdicts) in enumerate(rules.items()):
            kept = self.texts.setdefault(rule, [])
            for name, why in zip(names, verdicts([(self.fields["class"], n) for n in names]), strict=True):
                if why is None and len(kept) < self.wanted:
                    kept.append(name)
                elif why is not None and number == 0:
                    self.refuse(name, why, self.source[name])
        if not rules:
            self.texts.setdefault("texts", []).extend(names[: self.missing])
        self.idle = 0 if sum(map(len, self.texts.values())) > before else self.idle + 1
        if not self.enough and not self.wrong:
            self.wrong = "too few usable names"

    def again(self, repeats: int) -> bool:
        """Whether to ask once more."""
        asked = self.attempt - self.first
        if self.unanswered:
            return False
        if self.kind == "analogous" and self.short and not self.enough_names:
            return asked <= MOST_REASKS and self.idle < IDLE
        return (bool(self.wrong) or not self.enough) and asked <= repeats

    @property
    def enough_names(self) -> bool:
        return all(len(t) >= self.wanted for t in self.texts.values())

    @property
    def failed(self) -> str:
        """Why nothing usable came; empty where something did. Less than enough counts as nothing."""
        none_is_fine = (
            self.kind != "synonym" or any(self.texts.values()) or not (self.wrong or self.unanswered)
        )
        return "" if self.enough and none_is_fine else self.unanswered or self.wrong or "nothing usable"


def class_items(
    kinds: Sequence[str], classes: Sequence[str], templates: Templates, counts: Mapping[str, int]
) -> list[Item]:
    """What to ask for the classes of a data set, class by class in label order, kind by kind."""
    names = [spaces(c) for c in classes]
    label_set = frozenset(map(plain, names))
    items = []
    for i, name in enumerate(names):
        fields = _fields(name, templates)
        start = max(0, min(i - MOST_LISTED // 2, len(names) - MOST_LISTED))
        listed = {"classes": ", ".join(dict.fromkeys(names[start : start + MOST_LISTED]))}
        within = frozenset(
            n for n in label_set if " " in n and n not in plain(name)
        )  # one word is often an everyday one
        for kind in kinds:
            given = fields | (listed if kind == "analogous" else {})
            no_part = within if kind == "attribute" else frozenset[str]()
            items.append(Item(kind, name, given, label_set, no_part, counts[kind]))
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


class Generator:
    """Texts for items, from stored answers as far as they go."""

    def __init__(self, generator: GeneratorConfig, answers: Answers, budget: Budget) -> None:
        self.generator, self.answers, self.budget = generator, answers, budget
        self.new = 0  # answers of this run

    def ahead(self, items: Iterable[Item], seen: set[str]) -> tuple[Estimate, int]:
        """What the next round asks, and how many answers are there already. seen: item keys that count no more."""
        missing: dict[str, Item] = {}
        have = set()
        for item in items:
            key, stored = self._stored(item)
            if stored is not None:
                have.add(key)
            elif key not in seen:
                missing.setdefault(key, item)
        seen.update(missing)
        return cost.total(q.expected for q in self._questions(missing.values())), len(have)

    def prepare(self, items: list[Item]) -> None:
        """UserError now, for want of a key, unless all answers are there."""
        if self.ahead(items, set())[0].requests:
            api_key(self.generator)

    def run(
        self, items: list[Item], rules: Mapping[str, Rule] | None = None, review: Review | None = None
    ) -> None:
        """Ask until every item is done. rules: which analogous names are too similar to a class.

        UserError as `client.Client.ask`; with ``on_failure: stop`` also where a class or pair got nothing.
        """
        for item in items if review else ():
            assert review is not None
            item.first = item.attempt = review.attempts(item.kind, item.owner)
            item.rejected = review.rejected(item.kind, item.owner)
        waiting = items
        for number in range(1, 2 + max(MOST_REASKS, self.generator.repeats)):
            self._round(waiting, number)
            for item in waiting:
                if item.kind == "analogous":
                    item.judge(rules or {})
            waiting = [i for i in waiting if i.again(self.generator.repeats)]
            if not waiting:
                break
        self._report(items)

    def _round(self, items: list[Item], number: int) -> None:
        missing = {key: item for item in items for key, stored in [self._stored(item)] if stored is None}
        failed: dict[str, str] = {}
        if missing:
            api_key(self.generator)  # without a key the run ends before anything is announced
            questions = list(self._questions(missing.values()))
            ahead = cost.total(q.expected for q in questions)
            money = (
                "" if ahead.money is None else f", about {cost.amount(ahead.money)} {self.budget.currency}"
            )
            log.info(
                f"round {number}: {ahead.requests} requests to {self.generator.model}: about {ahead.prompt_tokens} "
                f"tokens to read and {ahead.completion_tokens} to write{money}"
            )
            self.budget.allows(ahead)
            failed = self._ask(questions)
        for item in items:
            stored = self._stored(item)[1]
            if stored is None:
                # not counted as asked: a later run asks the same question, not the next one
                item.unanswered = failed.get(prompts.digest(item.document()), "no answer")
                continue
            answer = stored.answer
            found: Sides | str = "it was empty"
            if answer.finish == "length":
                found = "it was cut off at the limit on its tokens; be brief"
            elif answer.text:
                found = form_of.read(answer.text, item, self.generator.form)
            item.take(answer, stored.key, found)

    def _ask(self, questions: list[Question]) -> dict[str, str]:
        """Ask all. Gives: digest of an item's document -> why it has no answer."""
        from .client import Client  # openai takes a second to import

        with progress(len(questions), "answer", "asking", terminal=True) as bar:

            def keep(request: Request, answer: Answer) -> None:
                self.new += 1
                self.answers.add(request, answer)
                if self.generator.prices:
                    bar.set_postfix_str(self.budget.shown(), refresh=False)
                bar.update()

            failed = Client(self.generator, self.budget, keep, self.answers.lose).ask(questions)
        return {prompts.digest(i): failed[q.request.key] for q in questions if q.request.key in failed
                for i in q.request.items}  # fmt: skip

    def _stored(self, item: Item) -> tuple[str, Stored | None]:
        parameters = self.generator.parameters(item.attempt)
        key = item_key(self.generator.model, parameters, self.generator.form, item.document())
        return key, self.answers.found.get(key)

    def _questions(self, items: Iterable[Item]) -> Iterator[Question]:
        """Requests for what belongs together: all kinds of a class, several pairs of a class."""
        generator = self.generator
        for group in groups(items, generator):
            form = generator.form
            request = Request(
                generator.model, prompts.messages(group, form), generator.parameters(group[0].attempt),
                tuple(i.document() for i in group), form,
            )  # fmt: skip
            described = {"name": "texts", "strict": True, "schema": form_of.schema(group)}
            schema = described if form == "json" else None
            yield Question(request, schema, cost.estimate(request, schema, self.answers, generator))

    def _report(self, items: list[Item]) -> None:
        """Those that got nothing, by name; the end, where that is configured."""
        answers = {key for item in items for key in item.answers}
        log.info(
            "%d answers, %d of them new%s; %d texts asked for again, %d refused by the model, %d texts not accepted",
            *(len(answers), self.new, f", {self.budget.shown()}" if self.generator.prices else ""),
            *(sum(max(0, i.attempt - i.first - 1) for i in items), sum(i.refusals for i in items)),
            sum(len(i.refused) for i in items),
        )
        lost = [item for item in items if item.failed]
        for item in lost:
            said = f"after {item.attempt - item.first} answers ({_short(item.failed)})"
            log.warning("no %s texts for '%s' %s", item.kind.replace("_", "-"), item.owner, said)
            item.texts = {}
        if lost and self.generator.on_failure == "stop":
            names = ", ".join(f"'{i.owner}' ({i.kind})" for i in lost[:5]) + (" …" if len(lost) > 5 else "")
            raise UserError(
                f"{len(lost)} without texts: {names}: {_short(lost[0].failed)}. All other answers are kept; "
                "'generator.on_failure: skip' goes on without them, a higher 'repeats' asks more often"
            )


def groups(items: Iterable[Item], generator: GeneratorConfig) -> Iterator[list[Item]]:
    """Items that are asked for in one request: of one class and attempt, as many as an answer has room for."""
    together: dict[tuple[Any, ...], list[Item]] = {}
    for item in items:
        pair = item.kind == "one_to_one"
        subject = (pair, item.fields["class"], item.fields["photo"], item.attempt)
        together.setdefault(subject if generator.form == "json" else (id(item),), []).append(item)
    room = (generator.token_limit or 10**9) / 2  # half, because some models write more
    for group in together.values():
        each = cost.guess([group[0].document()])
        pairs = max(1, min(PAIRS, int(room // each)) >> group[0].attempt)  # fewer where an answer was cut off
        most = pairs if group[0].kind == "one_to_one" else len(group)
        yield from (group[i : i + most] for i in range(0, len(group), most))


def _short(text: str) -> str:
    """A model's words in a line of ours: no line breaks, no control characters, not long."""
    return shorten("".join(c if c.isprintable() else " " for c in text), 100, placeholder="…")


def provenance(kind: str, items: Sequence[Item], generator: GeneratorConfig) -> dict[str, Any]:
    """What stands behind the texts of one kind. All of it comes from stored answers: the same whenever it is made.

    from: for each class the key of the stored answer that each of its texts came from. not_accepted: [class, text, why,
    key] of every text that was not accepted.
    """
    answers: dict[str, Answer] = {}
    for item in items:
        answers.update(item.answers)
    days = sorted({a.date for a in answers.values()})
    costs = [a.cost for a in answers.values() if a.cost is not None]
    found: dict[str, Any] = {
        "source": "llm",
        "model": generator.model,
        "served": sorted({a.served for a in answers.values()}),
        "server": sorted({a.server for a in answers.values() if a.server}),
        "system_fingerprint": sorted({a.fingerprint for a in answers.values() if a.fingerprint}),
        "prompt": prompts.template(kind).note(),
        "parameters": generator.parameters(0),
        "date": days[0] if days[:1] == days[-1:] and days else " to ".join(days[:1] + days[-1:]),
        "answers": len(answers),
        "asked_again": sum(max(0, i.attempt - i.first - 1) for i in items),
        "refused": sum(i.refusals for i in items),
        "tokens": {
            "prompt": sum(a.prompt_tokens or 0 for a in answers.values()),
            "completion": sum(a.completion_tokens or 0 for a in answers.values()),
        },
    }
    if generator.prices:
        found["cost"] = {"money": round(sum(costs), 6), "currency": generator.prices.currency}
        found["cost"] |= {"unknown_for": n} if (n := len(answers) - len(costs)) else {}
    if lost := [i.owner for i in items if i.failed]:
        found["without"] = lost
    if rejected := sum(len(i.refused) for i in items if kind == "analogous"):
        found["rejected"] = rejected
    if refused := [[i.owner, r.text, r.why, r.answer] for i in items for r in i.refused]:
        found["not_accepted"] = refused
    found["from"] = {i.owner: _sources(i) for i in items if any(i.texts.values())}
    return {k: v for k, v in found.items() if v not in ([], {})}


def _sources(item: Item) -> str | list[str]:
    """The key of each text's answer; one where all came with it."""
    keys = [item.source[t] for t in dict.fromkeys(t for side in item.texts.values() for t in side)]
    return keys[0] if len(set(keys)) == 1 else keys
