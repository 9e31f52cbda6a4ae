"""The authors' attributes, which are GPT-3's, as the answers of a server. They are not in the
repository.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coder_clip.datasets.entry import entry
from coder_clip.texts.authors import import_all
from coder_clip.texts.checks import check_texts
from coder_clip.texts.llm.generate import Generator
from coder_clip.texts.llm.requests import Item, class_items
from coder_clip.texts.sources import Made, text_set
from fixtures import SHARED
from llm_server import Server, named
from questions import attributes, settings

TEXTS = SHARED / "data/authors_texts"
pytestmark = [
    pytest.mark.rest,
    pytest.mark.skipif(
        not TEXTS.is_dir(),
        reason=f"no authors' texts in {TEXTS}; CODER_CLIP_SHARED names another folder of fixtures",
    ),
]
SIX = ["cub200", "food101", "dtd", "oxford_flowers", "stanford_cars", "fgvc_aircraft"]
# dishes and flowers whose answers are whole sentences, or empty; how many is what they have said
FAILED = {"food101": 12, "oxford_flowers": 5}


def answered(name: str, server: Server, tmp_path: Path, order: int, **more: Any) -> list[Item]:
    """A run over the classes of a data set, in their order (1) or reversed (-1)."""
    (imported,) = (
        found
        for found in import_all(TEXTS / "expert_knowledge", [name], TEXTS / "classes", {}, True)
        if found.texts is not None
    )
    assert imported.texts is not None
    of_class = {c.name: c.attribute for c in imported.texts.classes}
    server.answer = lambda body: attributes(*of_class[named(body)])
    generator = settings(server, tmp_path / str(order), on_failure="skip", max_reasks=1, **more)
    classes = [c.replace("_", " ") for c in of_class][::order]
    of_class = {c.replace("_", " "): texts for c, texts in of_class.items()}
    items = class_items(["attribute"], classes, entry(name).make_templates(), {"attribute": 4})
    Generator(generator, name).run(items)
    return items


def made(items: list[Item]) -> Made:
    return Made([item.texts.get("texts", []) for item in items], {})


@pytest.mark.parametrize("name", SIX)
def test_no_class_fails_because_others_have_its_attributes(
    server: Server, tmp_path: Path, name: str
) -> None:
    """With the rule that the first class keeps a text, 105 of the 200 classes of CUB failed, and
    the last fifty had a third of the texts of the first fifty.
    """
    items = answered(name, server, tmp_path, 1)
    failed = [item for item in items if item.failed]
    assert len(failed) == FAILED.get(name, 0)
    assert not any(item.offered.get("texts") for item in failed)
    # the check finds too few texts in some classes, and nothing else
    texts = text_set(name, [i.owner for i in items], {"attribute": made(items)})
    assert {fault.rule for fault in check_texts(texts)} <= {"count"}
    reversed_items = answered(name, server, tmp_path, -1)
    assert {i.owner: i.texts for i in items} == {i.owner: i.texts for i in reversed_items}
