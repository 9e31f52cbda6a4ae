"""What is accepted depends on the answers alone: not on the order of classes, and not on when a run
was killed.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coder_clip.datasets.base import Templates
from coder_clip.pipeline.config import GeneratorConfig
from coder_clip.texts.llm import client, estimate
from coder_clip.texts.llm.generate import Generator
from coder_clip.texts.llm.prompts import Request
from coder_clip.texts.llm.requests import Answer, Item, class_items
from coder_clip.texts.sources import Asked, Task

CLASSES = [f"{letter}animal" for letter in "bcdfghjklmnp"]
POOL = [f"a {colour} {part}" for colour in ("red", "round", "long") for part in ("tail", "ear")]
NAMES = ["reynard", "jackal", "dhole"]
KINDS = ("attribute", "analogous", "synonym")
COUNTS = {"attribute": 2, "analogous": 1, "synonym": 1}
Said = dict[tuple[str, int], dict[str, list[str]]]  # class and attempt -> texts per kind


class Killed(Exception):
    """The process is gone."""


class Model:
    """Stands for `client.Client`: says what the test says, and dies after some answers.

    asked: how often each question was answered, over all runs.
    """

    said: Said = {}
    left = 10**9
    asked: Counter[str] = Counter()

    def __init__(self, generator: Any, budget: Any, keep: Any, patient: bool) -> None:
        self.keep = keep

    def ask(self, requests: Sequence[Request]) -> dict[str, str]:
        for request in requests:
            if Model.left == 0:
                raise Killed
            Model.left -= 1
            Model.asked[request.key] += 1
            (name,) = {item["fields"]["class"] for item in request.items}
            (attempt,) = {item["attempt"] for item in request.items}
            texts = Model.said.get((name, attempt), {})
            document = {item["kind"]: texts.get(item["kind"], []) for item in request.items}
            words = json.dumps({name: document})
            self.keep(request, Answer(text=words, finish="stop", served="m", date="2026-12-01"))
        return {}


def items_of(classes: Sequence[str]) -> list[Item]:
    return class_items(KINDS, classes, Templates(), COUNTS)


def texts_after(
    classes: Sequence[str], said: Said, kills: Sequence[int], max_shared: float
) -> dict[tuple[str, str], tuple[list[str], list[tuple[str, str]]]]:
    """Texts and refused texts by class and kind, of a run that dies after these numbers of answers
    and is started again each time. No question may be paid for twice.
    """
    Model.said, Model.asked = said, Counter()
    with tempfile.TemporaryDirectory() as folder:
        document = {"model": "m", "answers": folder, "max_reasks": 2, "on_failure": "skip"}
        generator = GeneratorConfig.model_validate({**document, "max_shared": max_shared})
        for left in [*kills, 10**9]:
            Model.left = left
            items = items_of(classes)
            try:
                Generator(generator, "animals").run(items)
            except Killed:
                continue
    assert set(Model.asked.values()) <= {1}
    return {
        (item.owner, item.kind): (
            item.texts.get("texts", []),
            [(refused.text, refused.why) for refused in item.refused],
        )
        for item in items
    }


texts_of_answer = st.fixed_dictionaries(
    {
        "attribute": st.lists(st.sampled_from([*POOL, NAMES[0]]), max_size=4),
        "analogous": st.lists(st.sampled_from([*NAMES, POOL[0]]), max_size=2),
        "synonym": st.lists(st.sampled_from(NAMES), max_size=2),
    }
)


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "Client", Model)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(CLASSES),
    kills=st.lists(st.integers(0, 15), max_size=4),
    said=st.dictionaries(
        st.tuples(st.sampled_from(CLASSES), st.integers(0, 2)), texts_of_answer, max_size=30
    ),
    max_shared=st.sampled_from([0.0, 0.1, 0.3, 1.0]),
)
def test_the_same_answers_give_the_same_texts_in_any_order_of_classes(
    order: list[str], kills: list[int], said: Said, max_shared: float
) -> None:
    """The first classes of CUB kept three times as many texts as the last ones, and reversing the
    list gave another set for the same money.
    """
    assert texts_after(order, said, kills, max_shared) == texts_after(CLASSES, said, [], max_shared)


@settings(max_examples=25, deadline=None)
@given(
    offered=st.lists(st.lists(st.sampled_from(POOL), unique=True), min_size=12, max_size=12),
    max_shared=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
)
def test_an_attribute_is_refused_where_too_many_classes_have_it(
    offered: list[list[str]], max_shared: float
) -> None:
    """Loops over classes and texts say the same."""
    said: Said = {(name, 0): {"attribute": a} for name, a in zip(CLASSES, offered, strict=True)}
    found = texts_after(CLASSES, said, [], max_shared)
    for name, own in zip(CLASSES, offered, strict=True):
        having = {text: sum(text in other for other in offered) for text in own}
        kept = [text for text in own if having[text] <= max(1, max_shared * len(CLASSES))][:2]
        assert found[(name, "attribute")][0] == kept


def test_the_dry_run_counts_what_will_be_asked_again(tmp_path: Path) -> None:
    """It said 200 questions where 515 were asked."""
    every = {"attribute": [POOL[0], POOL[1]], "analogous": ["jackal"], "synonym": []}
    Model.said = {(name, 0): every for name in CLASSES}
    Model.left, Model.asked = len(CLASSES), Counter()
    generator = GeneratorConfig.model_validate({"model": "m", "answers": tmp_path})
    task = Task("animals", CLASSES, Templates(), KINDS, generator, lambda _: None, "")  # type: ignore[arg-type,return-value]
    (row,) = estimate.rows([Asked(task, None, True)])
    assert (row.stored, row.ahead.requests, row.again) == (0, len(CLASSES), 0)
    counts = generator.texts_per_class.model_dump()
    with pytest.raises(Killed):  # after the first round
        Generator(generator, "animals").run(class_items(KINDS, CLASSES, Templates(), counts))
    (row,) = estimate.rows([Asked(task, None, True)])
    assert (row.ahead.requests, row.again) == (len(CLASSES), len(CLASSES))
    assert "12 of the requests ask again" in "\n".join(
        estimate.lines(generator, [Asked(task, None, True)], several=False)
    )


@pytest.mark.parametrize(
    ("kinds", "encoder", "said"),
    [
        (KINDS, "b32", True),
        (KINDS, "", False),  # from names alone: nothing is compared
        (("attribute", "synonym"), "b32", False),
    ],
)
def test_the_dry_run_says_that_an_encoder_may_ask_for_more(
    tmp_path: Path, kinds: tuple[str, ...], encoder: str, said: bool
) -> None:
    """Up to five more questions per class would come as a surprise; where no encoder compares, the
    note would be noise.
    """
    generator = GeneratorConfig.model_validate({"model": "m", "answers": tmp_path})
    task = Task("animals", CLASSES, Templates(), kinds, generator, lambda _: None, encoder)  # type: ignore[arg-type,return-value]
    shown = estimate.lines(generator, [Asked(task, None, True)], several=False)
    noted = [line for line in shown if line.startswith("not counted: up to 5 more requests")]
    assert len(noted) == said
