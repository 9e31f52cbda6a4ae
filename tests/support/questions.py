"""Questions to the test server, and what was stored."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from coder_clip.datasets.base import Templates
from coder_clip.pipeline.config import GeneratorConfig
from coder_clip.texts.llm.generate import Generator
from coder_clip.texts.llm.requests import Item, class_items
from coder_clip.texts.llm.store import Answers
from llm_server import Server

CLASSES = [
    f"{colour} {animal}"
    for colour in ("red", "grey", "white")
    for animal in ("fox", "owl", "hare", "eel")
]
COUNTS = {"attribute": 4, "analogous": 3, "synonym": 2, "one_to_one": 2}
KEY = "sk-test-0123456789abcdef"
PRICES = {"date": "2026-11-01", "input": 1.0, "output": 2.0}
TAILS = ["a long tail", "white paws", "pointed ears", "a wet nose"]


def settings(server: Server, tmp_path: Path, **more: Any) -> GeneratorConfig:
    given = {
        "model": "tiny",
        "base_url": server.url,
        "timeout": 20.0,
        "answers": tmp_path / "answers",
    }
    return GeneratorConfig.model_validate({**given, **more})


def items_of(*kinds: str, classes: list[str] | None = None) -> list[Item]:
    return class_items(kinds or ("attribute", "synonym"), classes or CLASSES, Templates(), COUNTS)


def run(generator: GeneratorConfig, items: list[Item] | None = None, **more: Any) -> list[Item]:
    """What the phases do, without artefacts."""
    items = items_of() if items is None else items
    Generator(generator, "animals").run(items, **more)
    return items


def texts(items: list[Item]) -> list[dict[str, list[str]]]:
    return [item.texts for item in items]


def spent(generator: GeneratorConfig) -> float:
    return sum(Answers(generator.answers, "animals").spent.values())


def until_open(server: Server, n: int) -> None:
    """Wait until n requests were open at once: a busy machine takes its time. The first question is
    asked alone.
    """
    end = time.monotonic() + 20
    while len(server.asked) > 1 and server.most_open < n and time.monotonic() < end:
        time.sleep(0.01)


def stored(generator: GeneratorConfig) -> int:
    return len(Answers(generator.answers, "animals").kept)


def of_class(**kinds: Any) -> str:
    """An answer with texts of the class that is asked about."""
    return json.dumps({"{class}": kinds})


def attributes(*given: Any) -> str:
    return of_class(attribute=list(given))
