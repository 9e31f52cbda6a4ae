"""The command that a run prints for a job does its work."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from working_copy import SMALL, few_pictures, working_copy

pytestmark = pytest.mark.rest
TYPED = """
import json, sys
from coder_clip.jobs import jobs, place_of, rule_of
from coder_clip.pipeline.config import load_config
every = jobs(load_config(sys.argv[1]))
print(json.dumps([rule_of(job).typed(place_of(job)).split() for job in every]))
"""
TYPE = """
import json, sys
from coder_clip.cli import app
for program, *words in json.loads(sys.argv[2]):
    assert program == "coder-clip"
    if code := app([*words, "--config", sys.argv[1]], standalone_mode=False):
        sys.exit(code)
"""


def test_each_printed_command_makes_the_bytes_of_its_job(tmp_path: Path) -> None:
    """Whoever copies it from a log would get something else, or an error."""
    work = working_copy(tmp_path / "copy", {**SMALL, "features": {"batch_size": 32, "shards": 2}})
    few_pictures(work.folder)
    work.make()
    before = work.hashes()
    shutil.rmtree(work.folder / "results")
    typed = json.loads(work.run(sys.executable, "-c", TYPED, work.config).stdout)
    assert len({words[1] for words in typed}) > 15, "every kind of job"
    work.run(sys.executable, "-c", TYPE, work.config, json.dumps(typed))
    assert work.hashes() == before
