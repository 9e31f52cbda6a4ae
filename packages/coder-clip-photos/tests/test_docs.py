"""The examples for own photos show what they say."""

from __future__ import annotations

import re
from pathlib import Path

from coder_clip.texts.sets import read_text_set

PACKAGE = Path(__file__).resolve().parents[1]


def test_examples_that_ask_why_have_texts(repo: Path) -> None:
    """With names alone there are no reasons, and the first command that people try would show
    nothing.
    """
    pages = [
        repo / "README.md",
        repo / "docs/photos.md",
        PACKAGE / "src/coder_clip_photos/commands.py",
    ]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    asked = [line for line in lines if "classify photos" in line and "--why" in line]
    assert len(asked) >= 3
    for line in asked:
        assert re.search("--(texts|run) ", line), line
        for file in re.findall(r"--texts (data/\S+)", line):
            assert all(c.attribute for c in read_text_set(repo / file).classes)
