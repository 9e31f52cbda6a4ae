"""From class names to texts, in rounds: ask for what is missing, check the answers, ask again for what will not do.

What is asked in a round depends on earlier answers alone, never on the order in which they came: the same stored
answers give the same texts, byte for byte.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...foundation.progress import progress
from . import answers as form_of
from . import budget, prompts
from .answers import Sides
from .budget import Budget, Estimate, Question, amount, total
from .items import MOST_REASKS, Item, in_line
from .prompts import Request, item_key
from .server import api_key
from .store import Answer, Answers, Stored

if TYPE_CHECKING:
    from ...pipeline.config import GeneratorConfig
    from .review import Review
    from .similar import Rule

log = logging.getLogger("coder_clip")

PAIRS = 10  # of one class in one request, if the limit on tokens allows


class Generator:
    """Texts for the items of a data set, from stored answers as far as they go."""

    def __init__(self, generator: GeneratorConfig, dataset: str) -> None:
        self.generator = generator
        self.answers = Answers(generator.answers, dataset)
        self.budget = Budget(generator, self.answers.spent)
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
        return total(question.expected for question in self._questions(missing.values())), len(have)

    def check(self, items: list[Item]) -> None:
        """UserError now, for want of a key, unless all answers are there."""
        if self._missing(items):
            api_key(self.generator)

    def run(
        self, items: list[Item], rules: Mapping[str, Rule] | None = None, review: Review | None = None
    ) -> None:
        """Ask until every item is done. rules: which analogous names are too similar to a class.

        UserError as `client.Client.ask`; with ``on_failure: stop`` also where a class or pair got nothing.
        """
        if review is not None:
            for item in items:
                item.first = item.attempt = review.attempts(item.kind, item.owner)
                item.rejected = review.texts_rejected(item.kind, item.owner)
        waiting = items
        for number in range(1, 2 + max(MOST_REASKS, self.generator.repeats)):
            self._round(waiting, number, rules or {})
            waiting = [item for item in waiting if item.again(self.generator.repeats)]
            if not waiting:
                break
        self._report(items)

    def _round(self, items: list[Item], number: int, rules: Mapping[str, Rule]) -> None:
        failed: dict[str, str] = {}
        if self._missing(items):
            api_key(self.generator)  # without a key the run ends before anything is announced
            with self.answers.open():  # other processes may have asked meanwhile
                if missing := self._missing(items):
                    failed = self._ask(missing, number)
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
            item.take(answer, stored.key, found, rules if item.kind == "analogous" else {})

    def _ask(self, missing: list[Item], number: int) -> dict[str, str]:
        """Ask all. Gives: digest of an item's document -> why it has no answer."""
        from .client import Client  # openai takes a second to import

        self.budget.spent = self.answers.spent
        questions = list(self._questions(missing))
        ahead = total(question.expected for question in questions)
        money = f", about {amount(ahead.money)} {self.budget.currency}" if self.generator.prices else ""
        log.info(
            f"round {number}: {ahead.requests} requests to {self.generator.model}: about {ahead.prompt_tokens} "
            f"tokens to read and {ahead.completion_tokens} to write{money}"
        )
        self.budget.allows(ahead)
        with progress(len(questions), "answer", "asking", terminal=True) as bar:

            def keep(request: Request, answer: Answer) -> None:
                self.new += 1
                self.answers.add(request, answer)
                if self.generator.prices:
                    bar.set_postfix_str(self.budget.shown(), refresh=False)
                bar.update()

            failed = Client(self.generator, self.budget, keep, self.answers.lose).ask(questions)
        return {
            prompts.digest(item): why
            for question in questions
            if (why := failed.get(question.request.key))
            for item in question.request.items
        }

    def _stored(self, item: Item) -> tuple[str, Stored | None]:
        parameters = self.generator.parameters(item.attempt)
        key = item_key(self.generator.model, parameters, self.generator.form, item.document())
        return key, self.answers.found.get(key)

    def _missing(self, items: Iterable[Item]) -> list[Item]:
        """Items without a stored answer, each question once."""
        found = {key: item for item in items for key, stored in [self._stored(item)] if stored is None}
        return list(found.values())

    def _questions(self, items: Iterable[Item]) -> Iterator[Question]:
        """Requests for what belongs together: all kinds of a class, several pairs of a class."""
        generator = self.generator
        for group in groups(items, generator):
            request = Request(
                generator.model,
                prompts.messages(group, generator.form),
                generator.parameters(group[0].attempt),
                tuple(item.document() for item in group),
                generator.form,
            )
            described = {"name": "texts", "strict": True, "schema": form_of.schema(group)}
            schema = described if generator.form == "json" else None
            yield Question(request, schema, budget.estimate(request, schema, self.answers, generator))

    def _report(self, items: list[Item]) -> None:
        """Those that got nothing, by name; the end, where that is configured."""
        log.info(
            "%d answers, %d of them new%s; %d texts asked for again, %d refused by the model, %d texts not accepted",
            len({key for item in items for key in item.answers}),
            self.new,
            f", {self.budget.shown()}" if self.generator.prices else "",
            sum(max(0, item.attempt - item.first - 1) for item in items),
            sum(item.refusals for item in items),
            sum(len(item.refused) for item in items),
        )
        lost = [item for item in items if item.failed]
        for item in lost:
            asked = f"after {item.attempt - item.first} answers ({in_line(item.failed)})"
            log.warning("no %s texts for '%s' %s", item.kind.replace("_", "-"), item.owner, asked)
            item.texts = {}
        if lost and self.generator.on_failure == "stop":
            names = ", ".join(f"'{i.owner}' ({i.kind})" for i in lost[:5]) + (" …" if len(lost) > 5 else "")
            raise UserError(
                f"{len(lost)} without texts: {names}: {in_line(lost[0].failed)}. All other answers are kept; "
                "'generator.on_failure: skip' goes on without them, a higher 'repeats' asks more often"
            )


def groups(items: Iterable[Item], generator: GeneratorConfig) -> Iterator[list[Item]]:
    """Items that are asked for in one request: of one class and attempt, as many as an answer has room for."""
    together: dict[tuple[Any, ...], list[Item]] = {}
    for item in items:
        subject = (bool(item.pair), item.fields["class"], item.fields["photo"], item.attempt)
        together.setdefault(subject if generator.form == "json" else (id(item),), []).append(item)
    room = (generator.token_limit or 10**9) / 2  # half, because some models write more
    for group in together.values():
        most = len(group)
        if group[0].pair:
            fit = min(PAIRS, int(room // budget.guess([group[0].document()])))
            most = max(1, fit >> group[0].attempt)  # fewer where an answer was cut off
        yield from (group[i : i + most] for i in range(0, len(group), most))


def provenance(kind: str, items: Sequence[Item], generator: GeneratorConfig) -> dict[str, Any]:
    """What stands behind the texts of one kind. All of it comes from stored answers: the same whenever it is made.

    from: for each class the key of the stored answer that each of its texts came from. not_accepted: [class, text, why,
    key] of every text that was not accepted.
    """
    answers = {key: answer for item in items for key, answer in item.answers.items()}.values()
    days = sorted({a.date for a in answers})
    costs = [a.cost for a in answers if a.cost is not None]
    found: dict[str, Any] = {
        "source": "llm",
        "model": generator.model,
        "served": sorted({a.served for a in answers}),
        "server": sorted({a.server for a in answers if a.server}),
        "system_fingerprint": sorted({a.fingerprint for a in answers if a.fingerprint}),
        "prompt": prompts.template(kind).note(),
        "parameters": generator.parameters(0),
        "date": " to ".join(dict.fromkeys(days[:1] + days[-1:])),
        "answers": len(answers),
        "asked_again": sum(max(0, i.attempt - i.first - 1) for i in items),
        "refused": sum(i.refusals for i in items),
        "tokens": {
            "prompt": sum(a.prompt_tokens or 0 for a in answers),
            "completion": sum(a.completion_tokens or 0 for a in answers),
        },
        "without": [i.owner for i in items if i.failed],
        "not_accepted": [[i.owner, r.text, r.why, r.answer] for i in items for r in i.refused],
        "from": {i.owner: _sources(i) for i in items if any(i.texts.values())},
    }
    if generator.prices:
        found["cost"] = {"money": round(sum(costs), 6), "currency": generator.prices.currency}
        found["cost"] |= {"unknown_for": n} if (n := len(answers) - len(costs)) else {}
    return {key: value for key, value in found.items() if value not in ([], {}, "")}


def _sources(item: Item) -> str | list[str]:
    """The key of each text's answer; one where all came with it."""
    keys = [item.source[t] for t in dict.fromkeys(t for side in item.texts.values() for t in side)]
    return keys[0] if len(set(keys)) == 1 else keys
