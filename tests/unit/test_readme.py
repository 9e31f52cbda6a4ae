"""What README says is what the last recorded run found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


def test_the_main_table_is_that_of_the_results() -> None:
    """Figures in README that no command gives would mislead."""
    table = REPO / "results/tables/zero_shot.md"
    if not table.is_file():
        pytest.skip("no results here: make reproduce")
    rows = [line for line in table.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    assert "\n".join(rows) in readme


def test_every_link_leads_somewhere() -> None:
    """A reader who follows a link of the documentation finds a file."""
    for page in [REPO / "README.md", *sorted((REPO / "docs").glob("*.md")), REPO / "data/texts/README.md"]:
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"
