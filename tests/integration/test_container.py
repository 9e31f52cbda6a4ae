"""Apptainer next to conda: the command line that would run a job in an image. No image is run here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from working_copy import SMALL, working_copy

pytestmark = pytest.mark.rest

APPTAINER = """#!/bin/sh
[ "$1" = --version ] && {{ echo "apptainer version 1.3.0"; exit; }}
echo "$@" >> {calls}
for command; do :; done # the last argument
exec bash -c "$command"
"""


def test_a_job_s_command_runs_in_the_image(tmp_path: Path) -> None:
    work = working_copy(tmp_path / "work", {**SMALL, "datasets": {"shapes": {"views": 2}}})
    programs, calls = tmp_path / "programs", tmp_path / "calls"
    programs.mkdir()
    (programs / "apptainer").write_text(APPTAINER.format(calls=calls))
    (programs / "apptainer").chmod(0o755)
    (tmp_path / "coder-clip.sif").touch()
    names = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "CODER_CLIP_CONTAINER": str(tmp_path / "coder-clip.sif"),
    }
    work.snakemake("manifest", "--software-deployment-method", "apptainer", **names)
    call = calls.read_text()
    assert call.startswith("exec ")
    assert call.count("exec ") == 1
    assert f"--home {work.folder}" in call
    assert f" {tmp_path}/coder-clip.sif bash -c " in call
    assert "\npython -m coder_clip.job results/certificates " in call
    calls.unlink()
    (work.folder / "results/manifests/shapes.json").unlink()
    work.snakemake("manifest", **names)
    assert not calls.exists(), "an image that is named and not asked for changes nothing"
