"""What sbatch, and with it a job, gets of the head's environment."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_slurm_resilient import submit


@pytest.mark.parametrize(
    ("name", "value", "passes"),
    [
        ("HF_TOKEN", "x", False),
        ("OPENAI_API_KEY", "x", False),
        ("GITHUB_PAT", "x", False),
        ("PGPASSFILE", "x", False),
        ("http_proxy", "http://me:secret@proxy:80", False),
        ("http_proxy", "http://proxy:80", True),
        ("TOKENIZERS_PARALLELISM", "false", True),
        ("GIT_AUTHOR_NAME", "Ann", True),
        ("COMPASS_HOME", "/opt/compass", True),
        ("SLURM_CONF", "/etc/slurm.conf", True),
        ("SLURM_JOB_ID", "12", False),
    ],
)
def test_keys_stay_with_the_head_and_settings_go_to_jobs(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, passes: bool
) -> None:
    monkeypatch.setattr(os, "environ", {name: value})
    assert (name in submit.environment(SimpleNamespace(resources={}))) == passes
    assert name in submit.environment(SimpleNamespace(resources={"needs_env": f"A,{name}"}))
