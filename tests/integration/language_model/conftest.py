"""A server of a language model with faults on demand, and a project that asks it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from llm_server import Server, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(
        "openai._base_client.INITIAL_RETRY_DELAY", 0.02
    )  # the waits of openai itself are not tested
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.05)
    with serving() as found:
        yield found


@pytest.fixture
def project(tmp_path: Path, repo: Path, server: Server) -> Path:
    """A folder with a configuration of `shapes` and texts from the server; the images were listed."""
    from questions import CLASSES

    (tmp_path / "data").mkdir()
    (tmp_path / "data/mini").symlink_to(repo / "data/mini")
    (tmp_path / "data/texts").mkdir()
    document = {
        "datasets": {"shapes": {"texts": {"attribute": "llm", "synonym": "llm"}}},
        "models": ["mini"],
        "generator": {
            "model": "tiny",
            "base_url": server.url,
            "key_variable": "MY_KEY",
            "max_in_flight": 3,
        },
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(document))
    for results in ("results", "results/other"):
        listed = {"classes": CLASSES[:10]}
        (tmp_path / results / "manifests").mkdir(parents=True)
        (tmp_path / results / "manifests/shapes.json").write_text(json.dumps(listed))
    return tmp_path
