"""What a cluster lacks, told before a job is submitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coder_clip.errors import UserError
from coder_clip.pipeline.config import load_config
from coder_clip.slurm import check
from coder_clip.slurm.check import by_place, heaviest
from coder_clip.slurm.plan import Planned, find_profile

pytest.importorskip(
    "snakemake_executor_plugin_slurm_resilient", reason="the executor for Slurm is not installed"
)
from snakemake_executor_plugin_slurm_resilient import queue
from snakemake_executor_plugin_slurm_resilient.site import Site


def job(rule: str, **asked: Any) -> Planned:
    flags = {"mem_mb": "--mem", "runtime": "-t"}
    size = " ".join(f"{flags[k]} {asked[k]}" for k in flags if k in asked)
    call = f"sbatch --parsable -p {asked['partition']} {size} --cpus-per-task=2 -D /r"
    return Planned([rule], asked, call.split())


def test_one_question_for_jobs_that_differ_in_size() -> None:
    """Thousands of jobs must not be thousands of questions."""
    jobs = [
        job("a", partition="cpu", mem_mb=m, runtime=100 - m // 100) for m in range(1000, 5000, 100)
    ]
    places = by_place([*jobs, job("b", partition="gpu", mem_mb=1000)])
    assert [len(of) for of in places.values()] == [40, 1]
    most = heaviest(jobs)
    assert {(j.asked["mem_mb"], j.asked["runtime"]) for j in most} == {(4900, 51), (1000, 90)}
    assert "4900" not in next(iter(places))


@pytest.mark.parametrize(
    ("guessed", "most", "status"),
    [("", 9_000, "wrong"), ("; a guess", 9_000, "note"), ("; a guess", 0, "wrong")],
)
def test_an_amount_that_was_guessed_is_not_wrong_yet(
    guessed: str, most: int, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the images are listed, as many as ImageNet's are assumed; a wrong account is not a
    guess.
    """
    refuse = lambda job, asked: "no" if asked["mem_mb"] > most else ""  # noqa: E731
    monkeypatch.setattr(check, "_refusal", refuse)
    planned = Planned(["fit"], {"partition": "cpu", "mem_mb": 10_000, "cpus": 1}, ["sbatch"])
    (found,) = check._place([planned], Site(), guessed)
    assert found.status == status
    assert ("a guess" in found.text) == (status == "note")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("slrum", "did you mean 'slurm'?"),
        ("default", "lacks 'executor: slurm-resilient'"),
        ("src", "no profile 'src'"),
    ],
)
def test_a_profile_that_is_none(
    name: str, words: str, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repo)
    with pytest.raises(UserError) as error:
        find_profile(name)
    assert words in str(error.value)


def test_a_profile_by_name_and_by_path(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo)
    folder = Path("workflow/profiles/slurm")
    for name in ("slurm", str(folder), str(folder / "config.yaml"), str(repo / folder)):
        assert find_profile(name).resolve() == repo / folder


def test_without_slurm(repo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a machine without Slurm the check would end in a traceback."""
    monkeypatch.chdir(repo)
    monkeypatch.setenv("PATH", str(tmp_path))
    file = Path("config/reproduce.yaml")
    with pytest.raises(queue.SlurmError) as error:
        next(check.check_cluster(load_config(file), file, "slurm", True, 1))
    assert "no 'sinfo' on this machine" in str(error.value)
    assert "login node" in str(error.value)
