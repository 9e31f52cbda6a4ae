"""Generate texts for class names, in rounds.

Ask for what is missing, check the answers, ask again if they do not fit.

A round's questions depend only on earlier answers, never on their order in time: the same stored
answers give the same texts, byte for byte.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import UserError, one_line
from ...foundation.progress import progress
from ..english import own_rules
from . import answers as form_of
from . import budget, prompts
from .budget import Budget, CostEstimate, amount
from .prompts import Request, item_key
from .requests import Answer, Item, Sides, settle
from .server import api_key, same_model
from .store import Answers, Stored

if TYPE_CHECKING:
    from ..generator import GeneratorConfig
    from ..similar import Rule
    from .review import Review

log = logging.getLogger("coder_clip")

MAX_PAIRS = 10  # of one class in one request, if the limit on tokens allows


class Generator:
    """Texts for the items of a data set, from stored answers as far as possible."""

    def __init__(self, generator: GeneratorConfig, dataset: str) -> None:
        self.generator = generator
        self.answers = Answers(generator.answers, dataset)
        self.budget = Budget(generator, self.answers)
        self.paid = 0.0  # for the answers of this run
        self.useful = False  # some answer of this run had a usable text
        self.served: set[str] = set()  # names under which models answered
        self.said: dict[str, str] = {}  # words of an answer -> the class they were first said of

    def ahead(
        self, items: Sequence[Item], seen: set[str], review: Review | None = None
    ) -> tuple[CostEstimate, int, int]:
        """Estimate what is left to ask, as far as the stored answers tell.

        Count stored answers, and requests that ask again.

        The stored answers are judged as in a run, so what they make necessary is included, but for
        analogous names. seen: keys of items to leave out; those of this estimate are added.
        """
        if review is not None:
            review.apply(items)
        missing: dict[str, Item] = {}
        stored = set[str]()
        waiting = items
        while waiting:
            answered = []
            for item in waiting:
                key, found = self._stored(item)
                if found is not None:
                    stored.add(key)
                    item.take(found.answer, found.key, read(found.answer, item))
                    answered.append(item)
                elif key not in seen:
                    missing[key] = item
            settle(items, self.generator.max_shared)
            # which analogous names are too similar only an encoder tells, so of them no later
            # round is known here
            judged = [item for item in answered if item.kind != "analogous"]
            waiting = [item for item in judged if item.again(self.generator.max_reasks)]
        seen.update(missing)
        requests = list(self._requests(missing.values()))
        again = sum(group[0].asked > 0 for _, group in requests)
        estimate = budget.estimate((request for request, _ in requests), self.generator)
        return estimate, len(stored), again

    def check(self, items: list[Item]) -> None:
        """Check that there is a key, unless all answers are stored. UserError if not."""
        if self._missing(items):
            api_key(self.generator)

    def run(
        self, items: list[Item], rule: Rule | None = None, review: Review | None = None
    ) -> None:
        """Ask until every item is done. rule: which analogous names are too similar to a class.

        UserError as in `client.Client.ask`; with ``on_failure: stop`` also if a class or pair has
        too few texts."""
        if review is not None:
            review.apply(items)
        for item in items:
            item.rule = rule if item.kind == "analogous" else None
        waiting, number = items, 0
        # this ends, because each item is asked a limited number of times
        while waiting:
            number += 1
            self._round(waiting, number)
            settle(items, self.generator.max_shared)
            # of all items: one that had enough texts may lose some that many classes turn out to
            # have
            waiting = [item for item in items if item.again(self.generator.max_reasks)]
        self._report(items)

    def _round(self, items: list[Item], number: int) -> None:
        """Ask for what is missing, and add the answers to the items."""
        failed: dict[str, str] = {}
        if self._missing(items):
            api_key(self.generator)  # without one, stop before anything is announced
            with self.answers.open():  # other processes may have asked meanwhile
                missing = self._missing(items)
                if missing:
                    failed = self._ask(list(missing.values()), number)
        for item in items:
            key, stored = self._stored(item)
            if stored is None:
                # the next run asks the same question
                item.unanswered = failed.get(key, "no answer")
                continue
            item.take(stored.answer, stored.key, read(stored.answer, item))

    def _ask(self, missing: list[Item], number: int) -> dict[str, str]:
        """Ask for items. Returns key of an item -> why it has no answer."""
        from .client import Client  # openai takes a second to import

        # key of a request -> the request and its items
        asked = {request.key: (request, group) for request, group in self._requests(missing)}
        requests = [request for request, _ in asked.values()]
        ahead = budget.estimate(requests, self.generator)
        money = ""
        if self.generator.prices:
            money = f", about {amount(ahead.money)} {self.budget.currency}"
        log.info(
            f"round {number}: {ahead.requests} requests to {self.generator.model}: about "
            f"{ahead.prompt_tokens} prompt tokens and {ahead.completion_tokens} answer "
            f"tokens{money}"
        )
        self.budget.check(ahead)
        with progress(len(requests), "answer", "asking", terminal=True) as bar:

            def keep(request: Request, answer: Answer) -> bool:
                """Store an answer; True if it has a usable text."""
                self.answers.add(request, answer)
                self.paid += answer.paid
                self._note_model(answer)
                bar.set_postfix_str(self._cost(), refresh=False)
                bar.update()
                return self._useful(answer, asked[request.key][1])

            # later rounds ask what the model has failed at, so useless answers do not end the run
            patient = number > 1 and self.useful
            failed_requests = Client(self.generator, self.budget, keep, patient).ask(requests)
        failed: dict[str, str] = {}
        for request in requests:
            if request.key in failed_requests:
                failed.update(dict.fromkeys(request.item_keys, failed_requests[request.key]))
        return failed

    def _cost(self) -> str:
        """What this run has spent so far, in words; empty without prices."""
        return f"{amount(self.paid)} {self.budget.currency}" if self.generator.prices else ""

    def _note_model(self, answer: Answer) -> None:
        """Warn, once per model, that another model answers than the one that was asked."""
        asked, served = self.generator.model, answer.served
        if served not in self.served and not same_model(asked, served):
            log.warning(
                "%s was asked and '%s' answers: the texts are of that model",
                asked,
                one_line(served, 60),
            )
        self.served.add(served)

    def _useful(self, answer: Answer, items: list[Item]) -> bool:
        """True if an answer has a usable text and repeats no earlier answer about another class."""
        # equal words about two classes describe neither, so the name is taken out to compare
        subject = items[0].owner
        words = (answer.text or "").replace(items[0].fields["class"], "")
        repeats = self.said.setdefault(words, subject) != subject
        # that there are no texts may be said of many classes in the same words
        all_optional = all(item.optional for item in items)
        if repeats and not all_optional:
            return False
        if any(item.usable(read(answer, item)) for item in items):
            self.useful = True
            return True
        return False

    def _stored(self, item: Item) -> tuple[str, Stored | None]:
        """The key of the next question of an item, and the stored answer, or None."""
        parameters = self.generator.parameters(item.asked)
        key = item_key(
            self.generator.model, parameters, prompts.document(item, self.generator.prompts)
        )
        return key, self.answers.found.get(key)

    def _missing(self, items: Iterable[Item]) -> dict[str, Item]:
        """Items without a stored answer, by key."""
        missing: dict[str, Item] = {}
        for item in items:
            key, stored = self._stored(item)
            if stored is None:
                missing[key] = item
        return missing

    def _requests(self, items: Iterable[Item]) -> Iterator[tuple[Request, list[Item]]]:
        """The requests that ask for items, each with its items."""
        return (
            (prompts.request(group, self.generator), group)
            for group in groups(items, self.generator)
        )

    def _report(self, items: list[Item]) -> None:
        """Log counts and name the items without texts.

        UserError for these with ``on_failure: stop``.
        """
        log.info(
            "%d answers, %d of them new%s; %d texts asked for again, %d refused by the model, %d "
            "texts not accepted",
            len({key for item in items for key in item.answers}),
            self.answers.added,
            f", {self._cost()}" if self.generator.prices else "",
            sum(max(0, item.asked - 1) for item in items),
            sum(item.refusals for item in items),
            sum(len(item.refused) for item in items),
        )
        for item in items:
            if item.few:
                log.warning(
                    "only %d %s texts for '%s' after %d answers",
                    len(item.texts["texts"]),
                    item.kind,
                    item.owner,
                    item.asked,
                )
        lost = [item for item in items if item.failed]
        for item in lost:
            kind, why = item.kind.replace("_", "-"), one_line(item.failed, 100)
            log.warning(
                "no %s texts for '%s' after %d answers (%s)", kind, item.owner, item.asked, why
            )
            item.texts = {}
        if lost and self.generator.on_failure == "stop":
            names = ", ".join(f"'{i.owner}' ({i.kind})" for i in lost[:5]) + (
                " …" if len(lost) > 5 else ""
            )
            raise UserError(
                f"{len(lost)} without texts: {names}: {one_line(lost[0].failed, 100)}. All other "
                "answers are kept; 'generator.on_failure: skip' continues without them, a higher "
                "'max_reasks' asks more often"
            )


def read(answer: Answer, item: Item) -> Sides | str:
    """The texts of an item in an answer, or words for the model on what is wrong with it."""
    if answer.finish is not None and form_of.CUT_OFF.search(answer.finish):
        return "it was cut off at the limit on its tokens; be brief"
    return form_of.read(answer.text, item) if answer.text else "it was empty"


def groups(items: Iterable[Item], generator: GeneratorConfig) -> Iterator[list[Item]]:
    """Groups of items, each for one request.

    Of one class and attempt, as many as an answer has room for.
    """
    together: dict[tuple[Any, ...], list[Item]] = {}
    for item in items:
        subject = (bool(item.pair), item.fields["class"], item.fields["photo"], item.asked)
        together.setdefault(subject, []).append(item)
    # as many pairs as half of the token limit has room for: some models write more than estimated
    room = (generator.token_limit or 10**9) / 2
    for group in together.values():
        most = len(group)
        if group[0].pair:
            fit = min(
                MAX_PAIRS,
                int(room // budget.guess([prompts.document(group[0], generator.prompts)])),
            )
            # half as many with each attempt, because the last answer may have been cut off
            most = max(1, fit >> group[0].asked)
        yield from (group[i : i + most] for i in range(0, len(group), most))


def provenance(
    kind: str,
    items: Sequence[Item],
    generator: GeneratorConfig,
    counted: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Provenance of the texts of one kind.

    All of it comes from stored answers, so it is always the same.

    counted: key of an answer -> the kind whose provenance has its tokens and cost; those of this
    kind are added. Kinds that are asked together share their answers, and money counts once.

    rules: language and hash of the project's own rules, if it has them.
    from: per class, the key of the stored answer of each text. few: classes with fewer than half of
    their attributes.
    asked_with: kinds whose questions asked for this kind too, and whose provenance has the tokens
    and cost of these answers. not_accepted: [class, text, why, key, side] of every text that was
    not accepted; without side for texts of a class.
    """
    # each answer once: items share the answers of their request
    by_key = {key: answer for item in items for key, answer in item.answers.items()}
    answers = by_key.values()
    if counted is None:
        counted = {}
    shared = sorted({counted[key] for key in by_key if key in counted})
    own = [answer for key, answer in by_key.items() if key not in counted]
    counted.update(dict.fromkeys(by_key.keys() - counted.keys(), kind))
    note: dict[str, Any] = {
        "source": "llm",
        "model": generator.model,
        **_origins(answers),
        "prompt": prompts.template(kind, generator.prompts).note,
        "rules": own_rules(),
        "parameters": generator.parameters(0),
        "date": _days(answers),
        "answers": len(answers),
        "asked_again": sum(max(0, i.asked - 1) for i in items),
        "refused": sum(i.refusals for i in items),
        "tokens": _tokens(own),
        "asked_with": shared,
        "without": [i.owner for i in items if i.failed],
        "few": [i.owner for i in items if i.few],
        "not_accepted": _not_accepted(items),
        "from": {i.owner: _sources(i) for i in items if any(i.texts.values())},
        "cost": _cost(own, generator),
    }
    # empty fields are left out, but not counts of 0
    return {key: value for key, value in note.items() if value not in ([], {}, "")}


def _origins(answers: Collection[Answer]) -> dict[str, list[str]]:
    """The models and servers that answered, as they say."""
    return {
        "served": sorted({a.served for a in answers}),
        "server": sorted({a.server for a in answers if a.server}),
        "system_fingerprint": sorted({a.fingerprint for a in answers if a.fingerprint}),
    }


def _days(answers: Collection[Answer]) -> str:
    """The first and the last day of answers, or one if these are the same."""
    days = sorted({a.date for a in answers})
    return " to ".join(dict.fromkeys(days[:1] + days[-1:]))


def _tokens(answers: Collection[Answer]) -> dict[str, int]:
    return {
        "prompt": sum(a.prompt_tokens or 0 for a in answers),
        "completion": sum(a.completion_tokens or 0 for a in answers),
    }


def _cost(answers: Collection[Answer], generator: GeneratorConfig) -> dict[str, Any]:
    """What answers cost, and the number of those whose cost is unknown; {} without prices."""
    if not generator.prices:
        return {}
    costs = [a.cost for a in answers if a.cost is not None]
    cost: dict[str, Any] = {"money": round(sum(costs), 6), "currency": generator.prices.currency}
    if len(costs) < len(answers):
        cost["unknown_for"] = len(answers) - len(costs)
    return cost


def _not_accepted(items: Sequence[Item]) -> list[list[str]]:
    """[class, text, why, key of the answer] of refused texts, and the side of a text of a pair."""
    rows = []
    for item in items:
        for v in item.refused:
            row = [v.owner, v.text, v.why, v.answer]
            if v.side:
                row.append(v.side)
            rows.append(row)
    return rows


def _sources(item: Item) -> str | list[str]:
    """The key of the answer of each text; one key if it is the same for all."""
    texts = dict.fromkeys(text for side in item.texts.values() for text in side)  # each once
    keys = [item.source[text] for text in texts]
    return keys[0] if len(set(keys)) == 1 else keys
