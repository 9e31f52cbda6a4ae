"""Texts from the language model of the section ``generator:`` (paper, section 3.3): texts/llm."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from ..sets import PairSet
from . import Made, Task

ABOUT = "the language model of the section `generator:`"
KINDS = ("attribute", "analogous", "synonym", "one_to_one")
ORDER = 10
COMPARES = ("analogous",)


def check(task: Task) -> None:
    """Check that there is a key, unless all answers are stored. UserError if not."""
    _source().check(task)


def make(task: Task) -> dict[str, Made]:
    """Texts per kind and class (`texts.llm.source`)."""
    made: dict[str, Made] = _source().make(task)
    return made


def make_pairs(task: Task, pairs: Sequence[tuple[int, int]]) -> PairSet:
    """Texts of these pairs of class indices (`texts.llm.source`)."""
    made: PairSet = _source().make_pairs(task, pairs)
    return made


def _source() -> Any:
    """The module `texts.llm.source`, imported where it is used: it needs the extra 'texts'."""
    return import_module("coder_clip.texts.llm.source")
