"""A sheet for a second reader, and the agreement of two."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import cohen_kappa_score

from coder_clip.cli.texts_sheet import drawn, kappa, page
from coder_clip.texts.sets import ClassTexts, TextSet

Command = Callable[..., Any]
ROWS = [
    {"class": f"class {i % 3}", "index": i % 3, "kind": "attribute", "text": f"mark {i}"}
    for i in range(10)
]


def saved(path: Path, rejected: set[int], rows: list[dict[str, Any]] = ROWS) -> Path:
    """Decisions as the sheet saves them."""
    decisions = [
        {**row, "decision": "reject" if i in rejected else "accept"} for i, row in enumerate(rows)
    ]
    path.write_text(
        json.dumps({"format": 1, "dataset": "foxes", "reader": "x", "decisions": decisions})
    )
    return path


def test_two_readers_are_compared(command: Command, tmp_path: Path) -> None:
    """A rate of the texts that one reader skipped would look like disagreement."""
    a, b = saved(tmp_path / "a.json", {0, 1}), saved(tmp_path / "b.json", {1, 2}, ROWS[:9])
    answer = command("texts", "agreement", a, b)
    assert answer.code == 0, answer.err
    assert "9 texts; accepted: 78% and 78%" in answer.out
    assert re.search(r"agreement 78% \[\d+%, \d+%\], kappa 0.36", answer.out)
    assert "rejected by A: class 0, attribute: mark 0" in answer.out
    assert "rejected by A and B: class 1, attribute: mark 1" in answer.out
    assert "1 texts were decided by one reader alone" in answer.out


def test_bad_files_are_named(command: Command, tmp_path: Path) -> None:
    a = saved(tmp_path / "a.json", set())
    (tmp_path / "b.json").write_text('{"format": 1, "dataset": "foxes"}')
    assert "b.json" in command("texts", "agreement", a, tmp_path / "b.json").err
    assert "no file" in command("texts", "agreement", a, tmp_path / "c.json").err
    twice = saved(tmp_path / "d.json", set(), ROWS[:1] * 2)
    assert "decided twice" in command("texts", "agreement", a, twice).err
    others = [{**row, "text": "other"} for row in ROWS[:1]]
    nothing = command("texts", "agreement", a, saved(tmp_path / "e.json", set(), others))
    assert "no text in common" in nothing.err
    assert nothing.code == 1


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_kappa_is_cohens(decisions: list[tuple[bool, bool]]) -> None:
    """The agreement of judges would be another number than the one its name promises."""
    accepts = np.array(decisions)
    found = kappa(accepts)
    if found is None:
        assert len(np.unique(accepts)) == 1
    else:
        assert found == pytest.approx(cohen_kappa_score(accepts[:, 0], accepts[:, 1]))


class Rows(HTMLParser):
    """The data of a sheet, and the tags that are in it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.data = ""
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside = ("id", "rows") in attrs

    def handle_data(self, data: str) -> None:
        self.data += data * self._inside

    def handle_endtag(self, tag: str) -> None:
        self._inside = False


def test_a_text_is_no_program() -> None:
    """Texts come from language models and strangers; a sheet is opened in a browser."""
    text = "</script><script>alert(1)</script><b>"
    rows = [{**ROWS[0], "text": text}]
    parser = Rows()
    parser.feed(page("foxes", rows, {}))
    assert parser.tags.count("script") == 2
    assert "b" not in parser.tags
    assert json.loads(parser.data) == {"dataset": "foxes", "rows": rows}


def test_a_sheet_has_the_drawn_texts_and_photos(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("fox", "wolf"):
        for split in ("train", "test"):
            (tmp_path / f"photos/{split}/{name}").mkdir(parents=True)
            for i in range(4):
                colour = (40 * i, 200 * (name == "fox"), 90 * (split == "test"))
                Image.new("RGB", (40, 30), colour).save(f"photos/{split}/{name}/{i}.png")
    texts = TextSet(
        dataset="foxes",
        classes=[
            ClassTexts(name=n, attribute=[f"{n} {i}" for i in range(6)]) for n in ("fox", "wolf")
        ],
    )
    Path("t.json").write_text(json.dumps(texts.dump()))
    Path("c.yaml").write_text(
        "results: results/f\n"
        "datasets: {foxes: {root: photos, texts: t.json}}\n"
        "models: {m: {model: 'hf-hub:a/b'}}\n"
    )
    answer = command("texts", "sheet", "foxes", "--config", "c.yaml", "--sample", "8")
    assert answer.code == 0, answer.err
    written = Path("foxes.sheet.html").read_text()
    assert written.count("data:image/jpeg") == 8, answer.err
    parser = Rows()
    parser.feed(written)
    assert json.loads(parser.data)["rows"] == drawn(texts, 8, 0)
    assert drawn(texts, 8, 0) != drawn(texts, 8, 1)
    assert len(drawn(texts, 100, 0)) == 12
    assert "exists" in command("texts", "sheet", "foxes", "--config", "c.yaml").err
