"""The gallery of the documentation: what the results have, and how to get the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_clip.reporting.exhibits import EXHIBITS

pytest.importorskip("tools.gallery")
from tools.gallery import first_sentence, gallery

HEAD = "**Classes.** How many are right. Bold: more words."
ROWS = "| class | right |\n| --- | --- |\n| 5 | 1.0 [0.9, 1.1] |\n"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results with one table and one figure."""
    for name in ("tables", "figures"):
        (tmp_path / "results" / name).mkdir(parents=True)
    (tmp_path / "results/tables/classes.md").write_text(f"{HEAD}\n\n{ROWS}")
    (tmp_path / "results/figures/tsne.png").write_bytes(b"a picture")
    return tmp_path / "results"


def test_a_table_and_a_figure_are_shown_with_a_sentence(results: Path) -> None:
    page, pictures = gallery(results)
    assert f"### Classes\n\nHow many are right.\n\n{ROWS}" in page
    assert "Bold" not in page, "the report has the rest of the caption"
    assert pictures == {"gallery-tsne.png": b"a picture"}
    assert "](gallery-tsne.png)" in page


def test_what_is_not_here_is_named_with_the_command(results: Path) -> None:
    """A clone has no figures, and a fresh copy no results at all."""
    page, _ = gallery(results)
    for name in ("tables/zero_shot.md", "figures/text_count.png"):
        assert f"`results/{name}` is not here: `make pull` or `make reproduce` brings it." in page
    absent = page.count("is not here")
    assert absent == sum(e.has_table + e.has_figure for e in EXHIBITS) - 2


def test_a_long_table_is_folded(results: Path) -> None:
    """Seventy rows would hide the next picture."""
    (results / "tables/classes.md").write_text(f"{HEAD}\n\n{ROWS}" + "| 6 | 1.0 |\n" * 12)
    page, _ = gallery(results)
    assert "<summary>13 rows</summary>" in page


@pytest.mark.parametrize(
    ("caption", "sentence"),
    [
        ("Accuracy, 95.2 % of it. α weighs.", "Accuracy, 95.2 % of it."),
        ("One only", "One only"),
    ],
)
def test_the_first_sentence_of_a_caption(caption: str, sentence: str) -> None:
    """A decimal point ends no sentence."""
    assert first_sentence(caption) == sentence
