"""What sinfo, sacctmgr and sbatch say, read; and what a cluster lacks, told before a job is submitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coder_clip.errors import UserError
from coder_clip.pipeline.config import load_config
from coder_clip.slurm import check
from coder_clip.slurm.check import by_place, find_profile, heaviest
from coder_clip.slurm.plan import Planned
from snakemake_executor_plugin_coder_clip import reasons, site

SINFO = """\
cpu*|up|2:00:00|n1|idle|16000|4|(null)
cpu*|up|2:00:00|n2|mixed|32000+|8|(null)
gpu|up|1-00:00:00|g1|allocated|16000|4|gpu:h100:2(S:0-1)
gpu|up|1-00:00:00|g2|idle|64000|4|gpu:a100:4,shard:8
old|up|infinite|o1|down*|8000|4|gpu:2
old|up|infinite|o2|draining|8000|4|gpu:2
shut|down|30:00|n1|idle|16000|4|(null)
"""
HERE = site.parse_partitions(SINFO)


def lacks(**asked: Any) -> str:
    found = site.unmet(asked, HERE)
    return found.words if found else ""


def test_partitions() -> None:
    assert list(HERE) == ["cpu", "gpu", "old", "shut"]
    assert [p.name for p in HERE.values() if p.default] == ["cpu"]
    assert [p.name for p in HERE.values() if not p.up] == ["shut"]
    assert [n.memory_mb for n in HERE["cpu"].nodes] == [16000, 32000]
    assert [n.usable for p in ("gpu", "old") for n in HERE[p].nodes] == [True, True, False, False]


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("2:00:00", 120), ("1-00:00:00", 1440), ("1-12", 2160), ("30:00", 30), ("0:30", 0.5), ("45", 0.75)],
)
def test_time_limits(limit: str, minutes: float) -> None:
    assert site.minutes(limit) == minutes


def test_no_time_limit() -> None:
    assert site.minutes("infinite") == site.minutes("n/a") == float("inf")


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("gpu:h100:2(S:0-1)", (("h100", 2),)),
        ("gpu:a100:4(S:0,1),shard:8", (("a100", 4),)),
        ("gpu:2", (("", 2),)),
        ("gpu", (("", 1),)),
        ("gpu:1g.10gb:7,gpu:a100:1", (("a100", 1),)),
        ("(null)", ()),
        ("craynetwork:4", ()),
    ],
)
def test_gpus(gres: str, gpus: tuple[tuple[str, int], ...]) -> None:
    assert site.gpus(gres) == gpus


def test_nothing_lacks() -> None:
    """A check that always finds something would not be read."""
    assert lacks(partition="cpu", mem_mb=32000, cpus=8, runtime=120) == ""
    assert lacks(mem_mb=16000) == "", "the default partition"
    assert lacks(partition="gpu", gpu=2, gpu_model="H100", mem_mb=16000) == ""
    assert lacks(partition="gpu", gres="gpu:a100:4", mem_mb=64000) == ""
    assert lacks(partition="old,gpu", gpu=4) == "", "Slurm takes the first partition that can"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"partition": "gpus"}, "no partition 'gpus' (did you mean 'gpu'?)"),
        ({"partition": "shut"}, "closed"),
        ({"partition": "old", "gpu": 1}, "down or drained"),
        ({"partition": "cpu", "runtime": 121}, "121 min, partition cpu allows 120"),
        ({"partition": "cpu", "gpu": 1}, "no node of partition cpu has a GPU"),
        ({"partition": "gpu", "gpu_model": "v100"}, "no GPU of model 'v100' in partition gpu"),
        ({"partition": "gpu", "gres": "gpu:v100:1"}, "no GPU of model 'v100'"),
        ({"partition": "gpu", "gpu_model": "h100", "gpu": 3}, "3 GPUs, no node"),
        ({"partition": "cpu", "cpus": 9}, "9 CPUs, the largest node of partition cpu has 8"),
        ({"partition": "cpu", "mem_mb": 32001}, "32001 MB, the largest node of partition cpu has 32000"),
        ({"partition": "gpu", "gpu_model": "h100", "mem_mb": 20000}, "has 16000"),
    ],
)
def test_what_lacks(asked: dict[str, Any], words: str) -> None:
    assert words in lacks(**asked)


def test_no_default_partition() -> None:
    found = site.unmet({}, {"gpu": HERE["gpu"]})
    assert found is not None
    assert "no default" in found.words


def answers(monkeypatch: pytest.MonkeyPatch, of: dict[str, str]) -> None:
    monkeypatch.setattr(site, "ask", lambda *command: next(of[k] for k in of if k in command))


def test_submit_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"associations": "lab|500\nother|20\n", "qos": "normal|\nshort|100\n"})
    assert site.submit_limit("me", None, None) == 20
    assert site.submit_limit("me", "lab", None) == 500
    assert site.submit_limit("me", "lab", "short") == 100
    assert site.submit_limit("me", "lab", "normal") == 500
    assert site.submit_limit("me", "none", None) is None


def job(rule: str, **asked: Any) -> Planned:
    flags = {"mem_mb": "--mem", "runtime": "-t"}
    size = " ".join(f"{flags[k]} {asked[k]}" for k in flags if k in asked)
    return Planned(
        (rule,), asked, (), f"sbatch --parsable -p {asked['partition']} {size} --cpus-per-task=2 -D /r"
    )


def test_one_question_for_jobs_that_differ_in_size() -> None:
    """Thousands of jobs must not be thousands of questions."""
    jobs = [job("a", partition="cpu", mem_mb=m, runtime=100 - m // 100) for m in range(1000, 5000, 100)]
    places = by_place([*jobs, job("b", partition="gpu", mem_mb=1000)])
    assert [len(of) for of in places.values()] == [40, 1]
    most = heaviest(jobs)
    assert {(j.asked["mem_mb"], j.asked["runtime"]) for j in most} == {(4900, 51), (1000, 90)}
    assert "4900" not in next(iter(places))


def test_a_refusal_in_words() -> None:
    assert "no such reservation" in reasons.refused("sbatch: error: Requested reservation is invalid", {})


def place(guessed: str, *fixed: str) -> check.Finding:
    """What is said of a job with too much memory."""
    asked = {"partition": "cpu", "mem_mb": 99_000}
    (found,) = check._place([Planned(("fit",), asked, fixed, "sbatch")], HERE, guessed)
    return found


def test_an_amount_that_was_guessed_is_not_wrong_yet() -> None:
    """Before the images are listed, as many as ImageNet's are reckoned with."""
    assert place("").status == "wrong"
    assert place("; a guess").status == "note"
    assert place("; a guess").text.endswith("; a guess")
    assert place("; a guess", "mem_mb").status == "wrong", "the profile itself says how much"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("slrum", "did you mean 'slurm'?"),
        ("default", "no line 'executor: coder-clip'"),
        ("src", "no profile 'src'"),
    ],
)
def test_a_profile_that_is_none(name: str, words: str, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.chdir(repo)
    monkeypatch.setenv("PATH", str(tmp_path))
    file = Path("config/reproduce.yaml")
    with pytest.raises(UserError) as error:
        next(check.check(load_config(file), file, "slurm", True, 1))
    assert "no sbatch, squeue" in str(error.value)
    assert "login node" in str(error.value)


def test_weights_that_nodes_cannot_fetch(repo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(repo)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "c.yaml").write_text(
        "datasets: [shapes]\nmodels: {mini: {model: local-dir:data/mini}, b: {model: ViT-B-32, pretrained: openai}}\n"
    )
    (found,) = check._weights(load_config(tmp_path / "c.yaml"))
    assert found.status == "note"
    assert "model b: " in found.text
    assert "'prefetch'" in found.text
