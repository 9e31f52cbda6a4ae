"""What sbatch, and with it a job, gets of the head's environment."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from snakemake_executor_plugin_slurm_resilient import submit
from snakemake_executor_plugin_slurm_resilient.queue import SlurmError


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


def call(asked: dict[str, Any], *avoid: str, **resources: Any) -> list[str]:
    """The sbatch command of a job with these resources."""
    settings = SimpleNamespace(
        exclude_failed_nodes="n8, n9", requeue=True, no_requeue=False, qos=None, reservation=None
    )
    job = SimpleNamespace(resources={**asked, **resources}, threads=1, is_group=lambda: False)
    asked = {"cpus": 2, **asked}
    return submit.call(job, asked, settings, "name", "logs/a b.log", "comment", avoid)


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({"gres": "gpu:1"}, ["--gres=gpu:1"]),
        ({"gres": "gpu:a100-40:1"}, ["--gres=gpu:a100-40:1"]),
        ({"gres": "gpu:1,lscratch:100"}, ["--gres=gpu:1,lscratch:100"]),
        ({"gres": "gres/gpu:a100_3g.20gb:2"}, ["--gres=gres/gpu:a100_3g.20gb:2"]),
        ({"gres": "gpu:1(S:0);rm"}, ["--gres=gpu:1(S:0);rm"]),
        ({"gpu": 2}, ["--gpus=2"]),
        ({"gpu_model": "a100-40"}, ["--gpus=a100-40:1"]),
        ({"gpu_model": "h100", "gpu": 2, "gres": "tmp:5"}, ["--gres=tmp:5", "--gpus=h100:2"]),
        ({}, []),
    ],
)
def test_generic_resources_of_any_form_reach_slurm(
    asked: dict[str, Any], options: list[str]
) -> None:
    words = call(asked)
    assert [word for word in words if re.match("--(gres|gpus)=", word)] == options


def test_the_sbatch_command_of_a_job() -> None:
    """Each resource becomes one word for Slurm, whatever characters it has: no shell reads it."""
    asked = {"mem_mb": 500, "runtime": 20, "partition": "cpu,gpu", "account": "my lab"}
    words = call(asked, "n1", constraint="a&b", slurm_extra="--mail-type=FAIL --nice=5")
    log = words.index("logs/a b.log")
    account = words.index("my lab")
    assert (words[log - 1], words[account - 1]) == ("--output", "-A")
    others = [word for i, word in enumerate(words) if i not in (log, account)]
    assert others == (
        f"sbatch --parsable --job-name name --output --export=ALL --comment comment -D {os.getcwd()} "
        "-A -p cpu,gpu -t 20 -C a&b --mem 500 --requeue --exclude=n1,n8,n9 --ntasks=1 "
        "--cpus-per-task=2 --mail-type=FAIL --nice=5"
    ).split(" ")


@pytest.mark.parametrize(
    ("resources", "options"),
    [
        ({}, ["--ntasks=1", "--cpus-per-task=2"]),
        ({"tasks": 3}, ["--ntasks=3", "--cpus-per-task=2"]),
        ({"cpus_per_task": 1}, ["--ntasks=1", "--cpus-per-task=1"]),
        ({"cpus_per_task": 9}, ["--ntasks=1", "--cpus-per-task=2"]),  # cut to what there is
        ({"cpus_per_task": -1}, ["--ntasks=1"]),
        ({"mpi": "mpiexec", "tasks": 8}, ["--ntasks=8", "--cpus-per-task=2"]),
        (
            {"mpi": "mpiexec", "tasks_per_node": 4, "nodes": 2},
            ["--nodes=2", "--ntasks-per-node=4", "--cpus-per-task=2"],
        ),
    ],
)
def test_tasks_and_cpus(resources: dict[str, Any], options: list[str]) -> None:
    """As with the official plugin, whose resources workflows are written for."""
    found = [w for w in call({}, **resources) if re.match("--(nodes|ntasks|cpus)", w)]
    assert found == options


@pytest.mark.parametrize(
    ("resources", "options"),
    [
        ({}, ["--cpus-per-task=2"]),
        ({"tasks_per_gpu": 2}, ["--ntasks-per-gpu=2", "--cpus-per-task=2"]),
        ({"cpus_per_gpu": 6}, ["--cpus-per-gpu=6"]),
        ({"cpus_per_gpu": -1}, []),
    ],
)
def test_tasks_and_cpus_on_gpus(resources: dict[str, Any], options: list[str]) -> None:
    found = [w for w in call({"gpu": 1}, **resources) if re.match("--(nodes|ntasks|cpus)", w)]
    assert found == options


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"slurm_extra": "--mem=5"}, "option --mem is set by a resource"),
        ({"slurm_extra": "-p gpu"}, "option -p is set by a resource"),
        ({"slurm_extra": "--comment 'a"}, "slurm_extra: No closing quotation"),
        ({"clusters": "east"}, "resource clusters is not supported"),
        ({"nodes": 0}, "resource nodes must be a number of at least 1"),
        ({"mpi": True, "tasks": 1}, "tasks or tasks_per_node"),
    ],
)
def test_what_sbatch_cannot_be_asked_is_said_in_one_line(
    resources: dict[str, Any], words: str
) -> None:
    with pytest.raises(SlurmError) as error:
        call({}, **resources)
    assert words in str(error.value)


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
