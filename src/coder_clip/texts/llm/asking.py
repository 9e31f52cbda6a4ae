"""The way to ask that the configuration names: at once, or by batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .batch import Batches
from .client import Client, api_key
from .cost import Budget
from .generate import Asking

if TYPE_CHECKING:
    from ...config import GeneratorConfig


def asking(generator: GeneratorConfig, budget: Budget, answers: Path) -> Callable[[], Asking]:
    """What makes the way to ask when it is needed. answers: their file; beside it stands what was submitted."""

    def make() -> Asking:
        api_key(generator)  # a missing one is missed now, not when the first question is sent
        if generator.batch:
            return Batches(generator, answers.with_suffix(".batches.json"))
        return Client(generator, budget)

    return make
