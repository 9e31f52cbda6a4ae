"""Partial runs by one flag: of two published data sets one is not here. The other runs, and the
tables name the one.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from trees import plant
from working_copy import Work, programs, working_copy

pytestmark = pytest.mark.rest

FLAG = {"CODER_CLIP_ONLY_PRESENT": "1"}
NAMED = "Left out, because they are not here: dtd."


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("root")
    plant("eurosat", found, 2)
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Work:
    """As people type it: make, in an environment that is installed already."""
    document: dict[str, Any] = {
        "data_root": str(root),
        "datasets": {"eurosat": {"texts": "names", "views": 1}, "dtd": {"texts": "names", "views": 1}},
        "models": ["mini"],
        "adapter": {"methods": ["tip_adapter"], "shots": [1], "seeds": [1], "betas": [1, 2, 2], "alphas": [1, 2, 2]},
        "evaluation": {"tsne_images": 40, "text_counts": [1], "draws": 1},
    }  # fmt: skip
    work = working_copy(tmp_path_factory.mktemp("only") / "copy", document)
    (work.folder / ".venv").mkdir()
    (work.folder / ".venv/bin").symlink_to(Path(sys.executable).parent)
    (work.folder / ".venv/installed").write_text(f"{work.folder}\n")
    refused = work.coder_clip("check", "--config", work.config, check=False)
    assert refused.returncode == 1
    assert "coder-clip data get dtd" in refused.stdout + refused.stderr
    work.coder_clip("check", "--config", work.config, **FLAG)
    make = ("make", "reproduce", f"BIN={programs()}")
    done = work.run(*make, f"CONFIG={work.config}", "ONLY_PRESENT=1")
    assert "eurosat" in done.stdout
    return work


def test_the_rest_runs_and_what_is_not_here_is_named(run: Work) -> None:
    """An average over fewer data sets would pass for the average over all."""
    results = run.folder / "results"
    assert not list(results.rglob("*dtd*"))
    for table in ("zero_shot", "few_shot"):
        for suffix in (".md", ".tex"):
            assert NAMED in (results / f"tables/{table}{suffix}").read_text(encoding="utf-8")
    assert NAMED in (results / "report.html").read_text(encoding="utf-8")


def plan(work: Work, *arguments: str, check: bool = True, **more: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--configfile", work.config, *arguments]
    done = work.run(*command, "--dry-run", "--cores", "1", check=check, **more)
    return done.stdout + done.stderr


def test_the_variable_switches_every_program(run: Work, root: Path) -> None:
    said = plan(run, **FLAG)
    assert "Nothing to be done" in said
    assert "Left out, because they are not here: dtd" in said
    without = plan(run, CODER_CLIP_ONLY_PRESENT="false")
    assert "images of dtd" in without
    assert "Left out" not in without
    refused = plan(run, "--config", "only_present=true", check=False)
    assert "with --config: the jobs read the file" in refused
    assert "set CODER_CLIP_ONLY_PRESENT" in refused
    said = plan(run, check=False, CODER_CLIP_ONLY_PRESENT="perhaps")
    assert "CODER_CLIP_ONLY_PRESENT: 'perhaps' is neither" in said


def test_a_run_without_the_flag_stops_before_the_first_job(run: Work) -> None:
    """One line for all, instead of a screen for each."""
    command = [sys.executable, "-m", "snakemake", "--configfile", run.config, "--cores", "1"]
    done = run.run(*command, check=False)
    assert done.returncode == 1
    assert "1 of 2 published data sets are not in" in done.stderr
    assert "RuleException" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "jobid" not in done.stdout + done.stderr, "no job began"


def test_data_sets_that_come_later_are_taken_in(run: Work, root: Path) -> None:
    """The tables grow, and what is there keeps its numbers."""
    plant("dtd", root, 1)
    said = plan(run, **FLAG)
    shutil.rmtree(root / "dtd")
    assert "images of dtd" in said
    for rule in ("list_images", "classify", "fit_adapters", "tables"):
        assert re.search(rf"^{rule} +1$", said, flags=re.M), rule
    # the controls of the others describe by its images, too
    assert re.search(r"^evaluate +[2-9]$", said, flags=re.M)
