"""Options and fixtures of all tests."""

from __future__ import annotations

import random
import signal
from collections.abc import Generator
from typing import Any

import pytest

from fixtures import command, repo, shared, told, web  # noqa: F401


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
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, Any, Any]:
    """Skip a test that failed because a removed part is not here, as the program's message says.

    The error itself must say it, of a part whose folder is not in this copy. Nothing is skipped in
    a whole clone: `tests/integration/test_rooms.py` removes each part in a copy, and counts what
    is skipped there.
    """
    report = yield
    if report.failed and call.excinfo is not None:
        reason = told(str(call.excinfo.value))
        if reason:
            report.outcome = "skipped"
            report.longrepr = (str(item.path), 0, f"Skipped: {reason}")
    return report
