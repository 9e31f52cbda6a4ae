"""`make first` on an empty machine: images, weights and texts to the report, from servers on this
machine.
"""

from __future__ import annotations

import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from first import FIRST, first
from warm import warm

pytestmark = pytest.mark.rest


@dataclass
class Made:
    """said: by the run that made everything; short: by the run before it, which could not get DTD,
    and the data sets of its tables.
    """

    folder: Path
    said: str
    short: str
    without: set[str]


def rows(folder: Path, table: str) -> set[tuple[str, str]]:
    """Data sets and methods of a table."""
    file = folder / f"results/first/tables/{table}.csv"
    with file.open(encoding="utf-8", newline="") as stream:
        return {(row["dataset"], row["method"]) for row in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """As people type it: make, in an environment that is installed already."""
    folder = tmp_path_factory.mktemp("first")
    with first(folder) as here, warm(folder / "bin", fresh=True, **here.names) as programs:
        work, web = here.work, here.web
        names = {**here.names, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        make = ("make", "first", f"BIN={programs}")
        archive = next(path for path in web.files if path.endswith("dtd-r1.0.1.tar.gz"))
        whole = web.files[archive]
        web.files[archive] = whole[:-1] + b"!"  # what a server gives, and a checksum refuses
        short = work.run(*make, check=False, **names)
        assert short.returncode != 0, "a status that says so"
        without = {dataset for dataset, _ in rows(work.folder, "zero_shot")}
        web.files[archive] = whole
        done = work.run(*make, **names)
        asked = len(web.asked)
        again = work.run(*make, **names)
        assert "Nothing to be done" in again.stdout + again.stderr
        assert len(web.asked) == asked
    return Made(work.folder, done.stdout + done.stderr, short.stdout + short.stderr, without)


def test_a_data_set_that_cannot_be_downloaded_is_left_out_by_name(made: Made) -> None:
    """A file that is damaged on its server cost the whole report."""
    assert "could not be downloaded, so the run goes on without: dtd" in made.short
    left_out = (
        r"left out, because they could not be downloaded.*\n.*dtd-r1\.0\.1\.tar\.gz: checksum"
    )
    assert re.search(left_out, made.short)
    assert made.without - {"(average)"} == set(FIRST["datasets"]) - {"dtd"}


def test_time_and_progress_are_shown(made: Made) -> None:
    """Half a gigabyte without a word looks like a run that hangs."""
    before, _, after = made.short.partition("download dtd")
    assert "in all, at the usual speeds of machines" in before
    assert re.search(r"open_clip_model\.safetensors: +\d+%", before + after), made.short[-3000:]


def test_the_report_is_there_without_another_step(made: Made) -> None:
    assert (made.folder / "results/first/report.html").is_file()
    assert "results/first/report.html" in made.said
    for table in ("zero_shot", "few_shot"):
        assert {dataset for dataset, _ in rows(made.folder, table)} >= set(FIRST["datasets"])
    methods = {("dtd", method) for method in ("clip", "coder", "coder_rerank")}
    assert methods <= rows(made.folder, "zero_shot")
    assert (made.folder / "data/published/oxford_pets/images").is_dir()
    assert "/data/published/" in (made.folder / ".gitignore").read_text().splitlines()
