"""Options and fixtures of all tests."""

from __future__ import annotations

import random
import signal
from collections.abc import Generator
from typing import Any

import pytest

from fixtures import MISSING, command, repo, shared, web  # noqa: F401


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shuffle", metavar="SEED", help="run the tests in a random order")


def pytest_configure() -> None:
    """A shell starts a command behind & with Control-C ignored, and what tests start would inherit
    that: the tests of Control-C would wait for ever.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """No test depends on another one that ran before it: the same order in every process of one
    seed.
    """
    if seed := config.getoption("--shuffle"):
        random.Random(seed).shuffle(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Skip a test that failed because a removed part is not here, as the program's message says.

    Nothing in a whole clone: `tests/integration/test_rooms.py` removes each part in a copy.
    """
    report = yield
    said = str(report.longrepr) if report.failed else ""
    for room in MISSING:
        if room.advice in said or f"{room.offers} is not here" in said:
            report.outcome = "skipped"
            report.longrepr = (str(item.path), 0, f"Skipped: {room.folder} is not here")
    return report
