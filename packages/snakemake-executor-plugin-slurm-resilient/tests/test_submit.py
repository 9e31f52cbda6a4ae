"""What sbatch, and with it a job, gets of the head's environment."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from snakemake_executor_plugin_slurm_resilient import submit


@pytest.mark.parametrize(
    ("name", "value", "passes"),
    [
        ("HF_TOKEN", "x", False),
        ("OPENAI_API_KEY", "x", False),
        ("GITHUB_PAT", "x", False),
        ("PGPASSFILE", "x", False),
        ("SLACK_WEBHOOK", "https://hooks.example.org/x", False),
        ("MY_JWT", "x", False),
        ("DATABASE_URL", "postgres://db/x", False),
        ("SENTRY_DSN", "x", False),
        ("SNAKEMAKE_STORAGE_S3_SECRET_KEY", "x", True),
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
    assert (name in submit.environment(SimpleNamespace(resources={}), {})) == passes
    assert name in submit.environment(SimpleNamespace(resources={"needs_env": f"A,{name}"}), {})
    assert name in submit.environment(SimpleNamespace(resources={}), {name: value}), (
        "declared by envvars:"
    )


@pytest.mark.parametrize("file", ["README.md", "../../docs/slurm.md"])
def test_the_documents_list_what_is_withheld(file: str) -> None:
    """Else a user looks for hours why a job lacks a variable, or believes that no secret leaves the
    head.
    """
    path = Path(__file__).parents[1] / file
    if not path.is_file():
        pytest.skip("the package alone")
    words = {
        word for word in re.findall(r"[A-Z_]{3,}", re.sub(r"\(\?.*?\)", "", submit.SECRET.pattern))
    }
    listed = set(re.findall(r"[A-Z_]{3,}", path.read_text(encoding="utf-8")))
    assert words | {"PAT", "PWD", "DSN"} <= listed | {word.strip("_") for word in listed}


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({"gres": "gpu:1"}, " --gres=gpu:1"),
        ({"gres": "gpu:a100-40:1"}, " --gres=gpu:a100-40:1"),
        ({"gres": "gpu:1,lscratch:100"}, " --gres=gpu:1,lscratch:100"),
        ({"gres": "gres/gpu:a100_3g.20gb:2"}, " --gres=gres/gpu:a100_3g.20gb:2"),
        ({"gres": "gpu:1(S:0);rm"}, " --gres='gpu:1(S:0);rm'"),
        ({"gpu": 2}, " --gpus=2"),
        ({"gpu_model": "a100-40"}, " --gpus=a100-40:1"),
        ({"gpu_model": "h100", "gpu": 2, "gres": "lscratch:5"}, " --gres=lscratch:5 --gpus=h100:2"),
        ({}, ""),
    ],
)
def test_generic_resources_of_any_form_reach_slurm(asked: dict[str, Any], options: str) -> None:
    settings = SimpleNamespace(
        exclude_failed_nodes="", requeue=False, no_requeue=False, qos=None, reservation=None
    )
    resources = submit.Values({**asked, "slurm_extra": ""})
    job = SimpleNamespace(resources=resources, threads=1, is_group=lambda: False)
    call = submit.call(job, {"cpus": 1, **asked}, settings, "name", "log", "comment")
    assert call.endswith(options)
    assert call.count("gpu") == options.count("gpu")


@pytest.mark.parametrize(
    ("said", "id"),
    [
        ("12\n", "12"),
        ("12;cluster\n", "12"),
        ("Welcome!\n12\n", "12"),
        ("12\n4711\n", ""),  # which of them? Slurm's queue will tell
        ("Submitted batch job 12\n", ""),
        ("", ""),
    ],
)
def test_a_number_is_believed_only_if_no_other_can_be_it(said: str, id: str) -> None:
    assert submit.job_id(said) == id
