"""Options and fixtures of all tests."""

from __future__ import annotations

import random
import signal

import pytest

from fixtures import command, repo, shared, web  # noqa: F401


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
