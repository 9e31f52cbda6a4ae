"""The sheet for a second reader in a real browser: what is decided there is what is compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from browser import needs_browser, requests, show
from coder_clip.cli.texts_sheet import page, read_decisions

pytestmark = [needs_browser, pytest.mark.rest]
ROWS = [
    {"class": "fox", "index": 0, "kind": "attribute", "text": text}
    for text in ("a bushy tail", 'ears "like" <b>bats</b> & owls', "white paws")
]


def test_decisions_are_saved_as_they_were_made(
    browser: Any, tmp_path: Path, command: Callable[..., Any]
) -> None:
    """A saved file that lacks a decision, or has it at another text, would count as disagreement."""
    sheet = tmp_path / "s.html"
    sheet.write_text(page("foxes", ROWS, {}))
    show(browser, sheet)
    behavior = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.execute_cdp_cmd("Page.setDownloadBehavior", behavior)
    assert "3 of 3 texts" in browser.find_element("id", "left").text
    for row, decision in ((0, "accept"), (1, "reject")):
        browser.find_element("css selector", f"input[name=d{row}][value={decision}]").click()
    assert "1 of 3 texts" in browser.find_element("id", "left").text
    browser.find_element("id", "reader").send_keys("Ada")
    browser.find_element("id", "save").click()
    saved = tmp_path / "foxes.decisions.json"
    for _ in range(50):
        if saved.is_file():
            break
        time.sleep(0.1)
    decisions = read_decisions(saved)
    assert (decisions.dataset, decisions.reader) == ("foxes", "Ada")
    assert [(d.text, d.decision) for d in decisions.decisions] == [
        (ROWS[0]["text"], "accept"),
        (ROWS[1]["text"], "reject"),
    ]
    assert "agreement 100%" in command("texts", "agreement", saved, saved).out
    assert [url for url in requests(browser) if not url.startswith(("file:", "blob:"))] == []
