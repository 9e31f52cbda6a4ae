"""The source ``llm`` (texts/sources/llm.py).

Texts from the language model of the section ``generator:``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..english import use
from ..sets import Pair, PairSet
from ..sources import Made, Task
from .generate import Generator, provenance
from .requests import Item, class_items, pair_items
from .review import Review

if TYPE_CHECKING:
    from ..generator import GeneratorConfig

RULE = (
    "nearer to another class than to its own and than that class's nearest neighbour in the label "
    "set"
)


def check(task: Task) -> None:
    """Check that there is a key, unless all answers are stored. UserError if not."""
    generator, items = _asked(task)
    Generator(generator, task.dataset).check(items)


def make(task: Task) -> dict[str, Made]:
    """Texts per kind and class.

    UserError if the server, the key or the limit on money ends it (every answer is kept), and,
    unless configured otherwise, if a class has no texts.
    """
    generator, items = _asked(task)
    rule = None
    compared = "analogous" in task.kinds and task.model
    if compared:
        from .. import similar  # imports torch, which other kinds do not need

        rule = similar.rule(task.encoder(task.model), task.classes)
    Generator(generator, task.dataset).run(items, rule, Review.of(generator.answers, task.dataset))
    made = {}
    counted: dict[str, str] = {}  # each answer once
    for kind in task.kinds:
        of_kind = [item for item in items if item.kind == kind]
        note = provenance(kind, of_kind, generator, counted)
        if kind == "analogous" and compared:
            note["too_similar"] = {"rule": RULE, "encoder": task.encoder_identity()}
        made[kind] = Made([item.texts.get("texts", []) for item in of_kind], note)
    return made


def make_pairs(task: Task, pairs: Sequence[tuple[int, int]]) -> PairSet:
    """Texts of pairs of class indices.

    Without pairs that get no texts and without pairs of two classes of the same name. UserError:
    see `make`.
    """
    generator, _ = _asked(task)
    wanted = generator.texts_per_class.model_dump()["one_to_one"]
    items = pair_items(pairs, task.classes, task.templates, wanted)
    Generator(generator, task.dataset).run(items, review=Review.of(generator.answers, task.dataset))
    made = [
        Pair(
            a=task.classes[item.indices[0]],
            b=task.classes[item.indices[1]],
            a_index=item.indices[0],
            b_index=item.indices[1],
            a_not_b=item.texts["first"],
            b_not_a=item.texts["second"],
        )
        for item in items
        if not item.failed
    ]
    note = provenance("one_to_one", items, generator)
    return PairSet(dataset=task.dataset, pairs=made, provenance={"one_to_one": note})


def _asked(task: Task) -> tuple[GeneratorConfig, list[Item]]:
    """The section ``generator:`` and the items of a task's classes."""
    generator = task.generator
    assert generator is not None, "the configuration requires it"
    use(generator.prompts)
    kinds = [kind for kind in task.kinds if kind != "one_to_one"]
    counts = generator.texts_per_class.model_dump()
    return generator, class_items(kinds, task.classes, task.templates, counts)
