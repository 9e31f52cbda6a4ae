"""`make first` on an empty machine: images, weights and texts to the report, from servers on this
machine.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
from dataclasses import dataclass

import pytest

from first import FIRST, first
from warm import warm
from working_copy import Work

pytestmark = pytest.mark.rest


@dataclass
class Made:
    """said: by the run that made everything; short: the run before it, which could not get DTD, and
    its data sets.
    """

    work: Work
    said: str
    short: subprocess.CompletedProcess[str]
    without: set[str]


def results_of(work: Work) -> set[str]:
    """The data sets of its zero-shot table."""
    with (work.folder / "results/first/tables/zero_shot.csv").open(
        encoding="utf-8", newline=""
    ) as stream:
        return {r["dataset"] for r in csv.DictReader(stream)}


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
        without = results_of(work)
        web.files[archive] = whole
        done = work.run(*make, **names)
        asked = len(web.asked)
        again = work.run(*make, **names)
        assert "Nothing to be done" in again.stdout + again.stderr
        assert len(web.asked) == asked
    return Made(work, done.stdout + done.stderr, short, without)


def test_a_data_set_that_cannot_be_downloaded_is_left_out_by_name(made: Made) -> None:
    """A file that is damaged on its server cost the whole report."""
    said = made.short.stdout + made.short.stderr
    assert made.short.returncode != 0, "a status that says so"
    assert "could not be downloaded, so the run goes on without: dtd" in said
    assert re.search(
        r"left out, because they could not be downloaded.*\n.*dtd-r1\.0\.1\.tar\.gz: checksum", said
    )
    assert {d for d in made.without if d != "(average)"} == set(FIRST["datasets"]) - {"dtd"}


def test_the_report_is_there_without_another_step(made: Made) -> None:
    work, said = made.work, made.said
    results = work.folder / "results/first"
    assert (results / "report.html").is_file()
    assert "results/first/report.html" in said
    for table in ("zero_shot", "few_shot"):
        with (results / f"tables/{table}.csv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert {r["dataset"] for r in rows} >= set(FIRST["datasets"])
    with (results / "tables/zero_shot.csv").open(encoding="utf-8", newline="") as stream:
        methods = {r["method"] for r in csv.DictReader(stream) if r["dataset"] == "dtd"}
    assert {"clip", "coder", "coder_rerank"} <= methods


def test_it_says_how_long_it_takes_before_the_first_job(made: Made) -> None:
    said = made.short.stdout + made.short.stderr
    assert "in all, at the usual speeds of machines" in said
    assert said.index("in all, at the usual speeds of machines") < said.index("download dtd")


def test_the_weights_show_their_progress(made: Made) -> None:
    """Half a gigabyte without a word looks like a run that hangs."""
    said = made.short.stdout + made.short.stderr
    assert re.search(r"open_clip_model\.safetensors: +\d+%", said), said[-3000:]


def test_the_images_are_where_git_does_not_look(made: Made) -> None:
    work = made.work
    assert (work.folder / "data/published/oxford_pets/images").is_dir()
    assert "/data/published/" in (work.folder / ".gitignore").read_text().splitlines()
