"""Captions stand once, beside the table or figure; `snakemake --report` shows the same."""

from __future__ import annotations

from pathlib import Path

from coder_clip.captions import FOLDER, captions


def test_captions_of_snakemakes_report_are_those_of_the_tables_and_figures(repo: Path) -> None:
    """After an edit, or a new table or figure: `python -m coder_clip.captions` writes them."""
    there = {p.name: p.read_text(encoding="utf-8") for p in (repo / FOLDER).iterdir()}
    assert there == captions()
    rules = (repo / "workflow/rules/report.smk").read_text(encoding="utf-8")
    for kind in ("table", "figure"):
        assert f'caption=f"../report/{kind}_{{name}}.rst"' in rules
