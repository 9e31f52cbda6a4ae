"""What README and docs show runs as printed and is what the project does."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from coder_clip.texts.sets import load_pair_set, load_text_set
from pages import PAGES, REPO, blocks


@pytest.mark.parametrize(
    ("page", "table"), [("docs/claims.md", "claims"), ("docs/embedded.md", "zero_shot")]
)
def test_a_table_of_a_page_is_that_of_the_results(page: str, table: str) -> None:
    """Figures that no command gives would mislead."""
    file = REPO / f"results/tables/{table}.md"
    if not file.is_file():
        pytest.skip("no results here: make reproduce")
    rows = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    text = (REPO / page).read_text(encoding="utf-8")
    shown = text.partition("<!-- table: begin -->\n")[2].partition("<!-- table: end -->")[0]
    assert len(shown.splitlines()) > 8
    assert [line for line in rows if line in shown.splitlines()] == shown.splitlines(), (
        "a line that is not in the table, or another order"
    )


def test_the_first_table_has_the_numbers_of_the_page_behind_it() -> None:
    """Who skims quotes README; its numbers are those of docs/true_clip.md, which tells of them."""
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    page = (REPO / "docs/true_clip.md").read_text(encoding="utf-8")
    intervals = re.findall(r"[+−][\d.]+ \[[+−][\d.]+, [+−][\d.]+\]", readme)
    assert len(intervals) >= 8
    assert [interval for interval in intervals if interval not in page] == []


def test_readme_is_read_in_minutes() -> None:
    """First what was found and what to type; all else has a page of its own."""
    lines = (REPO / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 120
    assert any(line.startswith("make true-clip ") for line in lines[:25])


def test_every_link_leads_somewhere() -> None:
    """A reader who follows a link of the documentation finds a file."""
    for page in [
        *REPO.glob("*.md"),
        *sorted((REPO / "docs").glob("*.md")),
        REPO / "data/texts/README.md",
    ]:
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" in link:
                continue
            target = (page.parent / link).resolve()
            assert target.exists(), f"{page.name}: {link}"


def test_the_library_block_runs_as_printed() -> None:
    """It is what people paste first."""
    (block,) = blocks(PAGES["docs/library.md"], "python")
    seen: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(compile(block, "docs/library.md", "exec"), seen)
    images, classes = len(seen["images"]), seen["C"]
    assert seen["scores"].shape == seen["logits"].shape == (images, classes)
    assert seen["predictions"].shape == (images,)
    assert len(seen["differences"]) == classes * (classes - 1), "one-sided pairs count nothing"
    assert seen["looked_at"].any(), "the rerank had nothing to do"
    assert seen["clip_logits"].abs().max() <= 100
    assert seen["clip_logits"].abs().max() > 1, "logits are 100 times a cosine"
    hits = (seen["logits"].argmax(dim=1) == seen["labels"]).double().mean()
    assert float(hits) == pytest.approx(seen["best"].accuracy)


def test_the_text_sets_shown_for_own_photos_are_read(tmp_path: Path) -> None:
    """People copy them and change the words."""
    classes = ["red_fox", "arctic_fox"]
    (texts,) = blocks(PAGES["docs/photos_labelling.md"], "json")
    (pairs,) = blocks(PAGES["docs/photos_measuring.md"], "json")
    for name, block in (("photos.json", texts), ("photos.one_to_one.json", pairs)):
        (tmp_path / name).write_text(block)
        assert json.loads(block)["dataset"] == "my-photos"
    assert [
        c.name for c in load_text_set(tmp_path / "photos.json", "my-photos", classes).classes
    ] == [
        "red fox",
        "arctic fox",
    ]
    (pair,) = load_pair_set(tmp_path / "photos.one_to_one.json", "my-photos", classes).pairs
    assert pair.a_not_b
    assert pair.b_not_a


def test_each_line_of_the_profile_for_clusters_is_explained() -> None:
    """The one file to edit: a line that nobody explains is left alone, or guessed at."""
    lines = (REPO / "workflow/profiles/slurm/config.yaml").read_text(encoding="utf-8").splitlines()
    bare = [
        line.partition(":")[0]
        for before, line in pairwise(lines)
        if re.match(r"[a-z][\w-]+:", line) and "#" not in line and not before.startswith("#")
    ]
    assert bare == [
        "default-resources",
        "printshellcmds",
        "quiet",
    ]  # the lines in it, and above, tell
