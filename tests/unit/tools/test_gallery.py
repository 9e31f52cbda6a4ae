"""The gallery of the documentation: what the results have, and how to get the rest."""

from __future__ import annotations

from pathlib import Path

from coder_clip.reporting.all_exhibits import EXHIBITS
from tools.gallery import gallery

HEAD = "**Classes.** Right are 95.2 %. Oracle: more words."
ROWS = "| class | right |\n| --- | --- |\n| 5 | 1.0 [0.9, 1.1] |\n"


def test_what_is_here_is_shown_and_what_is_not_is_named(tmp_path: Path) -> None:
    """A clone has no figures, and a fresh copy no results at all."""
    results = tmp_path / "results"
    table, figure = results / "tables/zero_shot.md", results / "figures/tsne.png"
    for file in (table, figure):
        file.parent.mkdir(parents=True)
    table.write_text(f"{HEAD}\n\n{ROWS}")
    figure.write_bytes(b"a picture")
    page, pictures = gallery(results)
    assert f"### Classes\n\nRight are 95.2 %.\n\n{ROWS}" in page
    assert "Oracle" not in page, "the report has the rest of the caption"
    assert pictures == {"gallery-tsne.png": b"a picture"}
    assert "](gallery-tsne.png)" in page
    absent = "`results/tables/few_shot.md` is not here: `make pull` or `make reproduce` brings it."
    assert absent in page
    shown = sum(e.has_table + e.has_figure for e in EXHIBITS)
    assert page.count("is not here") == shown - 2
    table.write_text(f"{HEAD}\n\n{ROWS}" + "| 6 | 1.0 |\n" * 12)
    assert "<summary>13 rows</summary>" in gallery(results)[0], "it would hide the next picture"
