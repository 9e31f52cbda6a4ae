"""The pages of the site that are made from the code."""

from __future__ import annotations

import importlib.util

import pytest

from pages import PAGES, REPO

FILE = REPO / "tools/site.py"
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="tools/ is not here")
pytest.importorskip("mkdocs")


def test_an_explained_message_is_one_that_the_code_says() -> None:
    """Who looks up a message finds words about today's; a docstring could hold its words long after
    it is gone.
    """
    spec = importlib.util.spec_from_file_location("hook_of_the_site", FILE)
    assert spec
    assert spec.loader
    site = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(site)
    page = "# T\n\n## Data sets and more\n\n- `no class '…'`: words.\n"
    assert site.explained(page) == {"no class '…'": "data-sets-and-more"}
    for words in ("nobody says …", "Every message with which a command ends"):
        with pytest.raises(ValueError, match="the code does not say"):
            site.explained(f"{page}- `{words}`: words.\n")
    assert len(site.explained(PAGES["docs/troubleshooting.md"])) >= 30
    assert site.messages().count("([more](../troubleshooting.md#") >= 20
