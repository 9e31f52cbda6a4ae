"""The pages of the site that are made from the code."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parents[3] / "tools/site.py"
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="tools/ is not here")
pytest.importorskip("mkdocs")


@pytest.fixture(scope="module")
def site() -> ModuleType:
    """The hook, loaded by its file, as mkdocs loads it."""
    spec = importlib.util.spec_from_file_location("hook_of_the_site", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_explained_message_is_one_that_the_code_says(site: ModuleType) -> None:
    """Who looks up a message finds words about today's."""
    page = "# T\n\n## Data sets and more\n\n- `no class '…'`: words.\n"
    assert site.explained(page) == {"no class '…'": "data-sets-and-more"}
    with pytest.raises(ValueError, match="the code does not say 'nobody says …'"):
        site.explained(page + "- `nobody says …`: words.\n")


def test_a_docstring_is_no_message(site: ModuleType) -> None:
    """It could hold the words long after the message is gone."""
    with pytest.raises(ValueError, match="does not say"):
        site.explained("\n## T\n\n- `Every message with which a command ends`: words.\n")


def test_every_explanation_is_linked_from_a_message_or_is_a_warning(site: ModuleType) -> None:
    """About twenty messages need more words than they have."""
    page = (FILE.parents[1] / "docs/troubleshooting.md").read_text(encoding="utf-8")
    assert len(site.explained(page)) >= 30
    assert site.messages().count("([more](../troubleshooting.md#") >= 20
