"""What a cluster lacks, told before a job is submitted, and what a job of `smoke` says of a node."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coder_clip.errors import UserError
from coder_clip.pipeline.config import load_config
from coder_clip.preflight import cluster, smoke
from coder_clip.preflight.cluster import Planned, find_profile

pytest.importorskip(
    "snakemake_executor_plugin_slurm_resilient", reason="the executor for Slurm is not installed"
)
from snakemake_executor_plugin_slurm_resilient import queue
from snakemake_executor_plugin_slurm_resilient.site import Site


def job(rule: str, **resources: Any) -> Planned:
    fields = ("qos", "reservation", "requeue", "no_requeue", "exclude_failed_nodes")
    return Planned(rule, 2, resources, SimpleNamespace(**dict.fromkeys(fields)))


def test_one_question_for_jobs_that_differ_in_size() -> None:
    """Thousands of jobs must not be thousands of questions."""
    jobs = [job("a", slurm_partition="cpu", mem_mb=m, runtime=5000 - m) for m in range(1000, 5000)]
    places = cluster.by_place([*jobs, job("b", slurm_partition="gpu", mem_mb=1000)])
    assert [len(of) for of in places] == [4000, 1]
    most = {(j.asked["mem_mb"], j.asked["runtime"]) for j in cluster.heaviest(jobs)}
    assert most == {(4999, 1), (1000, 4000)}


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
    monkeypatch.setattr(cluster, "_refusal", refuse)
    (found,) = cluster._place([job("fit", slurm_partition="cpu", mem_mb=10_000)], Site(), guessed)
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
        found, options = find_profile(name)
        assert found.resolve() == repo / folder
        assert (options["requeue"], options["reservation"]) == (True, None)


def test_without_slurm(repo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a machine without Slurm the check would end in a traceback."""
    monkeypatch.chdir(repo)
    monkeypatch.setenv("PATH", str(tmp_path))
    file = Path("config/reproduce.yaml")
    with pytest.raises(queue.SlurmError) as error:
        next(cluster.check_cluster(load_config(file), file, "slurm"))
    assert "no 'sinfo' on this machine" in str(error.value)
    assert "login node" in str(error.value)


@pytest.mark.parametrize(
    ("asks", "given", "seen", "says"),
    [
        (False, None, None, " work"),
        (True, "0", "H100", " work on H100"),
        (True, "0", None, ", but torch sees no GPU, and Slurm gave GPU 0: install its build"),
        (True, None, None, "Slurm gave no GPU; look at gpu, gpu_model or gres in the profile"),
    ],
)
def test_smoke_on_a_node(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    repo: Path,
    asks: bool,
    given: str | None,
    seen: str | None,
    says: str,
) -> None:
    """A job that silently encodes on a CPU takes days."""
    photos = tmp_path / "photos"
    model = {"model": f"local-dir:{repo}/data/mini"}
    document = {"datasets": {"mine": {"root": str(photos), "texts": "names"}}}
    (tmp_path / "c.yaml").write_text(json.dumps({**document, "models": {"mini": model}}))
    monkeypatch.setenv("CODER_CLIP_CONFIG", str(tmp_path / "c.yaml"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    monkeypatch.setattr("torch.cuda.is_available", lambda: bool(seen))
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: seen)
    with pytest.raises(UserError, match=r"the images of mine \(.*photos\) cannot be read"):
        smoke.main(asks)
    photos.mkdir()
    try:
        said = smoke.main(asks)
    except UserError as error:
        said = str(error)
    assert says in said
