"""The whole DAG on the cluster, with `make reproduce PROFILE=slurm` and DVC: where each job ran, by Slurm's records,
what nodes touched, and that the results are those of a local run, byte for byte."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import Cluster
from cluster_run import environment, quicken
from working_copy import Work, duplicate

pytestmark = pytest.mark.slow

ON_GPU = {"encode_images", "encode_texts", "encode_pairs"}
ON_CPU = {
    "list_images",
    "build_coder",
    "classify",
    "evaluate",
    "fit_adapters",
    "confusable_pairs",
    "rerank_top",
}

# Every Python process of the run, on the head or in a job, tells what it does to the files that are the head's alone.
WATCH = """
import os, sys

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ME = os.environ.get("SLURM_JOB_ID", "head")
OUT = os.open(os.path.join(HERE, "watched"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
told = set()


def tell(what):
    if what not in told:
        told.add(what)
        os.write(OUT, f"{ME} {what}\\n".encode())


def watch(event, args):
    if event == "subprocess.Popen":
        command = args[1]
        name = os.path.basename(str(args[0] or (command if isinstance(command, str) else command[0])))
        if name in ("git", "dvc"):
            tell(f"calls {name}")
        return
    if event == "import" and args[0].partition(".")[0] == "dvc":
        return tell("imports dvc")
    if event == "open":
        writes = args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    else:
        writes = event.startswith("os.") and event.partition(".")[2] in (
            "rename", "remove", "mkdir", "rmdir", "link", "symlink", "truncate", "utime", "chmod"
        )
    if writes:
        for path in args[:2]:
            if isinstance(path, (str, bytes)):
                name = os.path.relpath(os.path.abspath(os.fsdecode(path)), HERE)
                for part in (".git", ".dvc", ".snakemake/metadata"):
                    if name.startswith(part + "/"):
                        tell(f"writes {part}")


sys.addaudithook(watch)
tell(f"starts {os.environ.get('CUDA_VISIBLE_DEVICES', '')}")
"""


@dataclass
class Made:
    """A finished run. jobs: id -> the controller's record (scontrol's names). watched: id or "head" -> what it did."""

    work: Work
    said: str
    jobs: dict[str, dict[str, str]]
    watched: dict[str, set[str]] = field(default_factory=dict)

    def rules(self, id: str) -> set[str]:
        """Rules of a job: one, or those of a group."""
        comment = self.jobs[id]["Comment"]
        return {r for r in ON_GPU | ON_CPU if re.search(rf"_{r}(_|$)", comment)}


@pytest.fixture(scope="module")
def made(finished: Work, tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("on-cluster") / "copy"
    folder.mkdir()
    work = duplicate(finished, folder)
    subprocess.run(["rm", "-r", "results", ".snakemake"], cwd=folder, check=True)
    quicken(folder)
    (folder / "src/sitecustomize.py").write_text(WATCH)
    # the environment that is there, as make's own
    (folder / "venv").mkdir()
    (folder / "venv/bin").symlink_to(Path(sys.executable).parent)
    (folder / "venv/installed").touch()
    (folder / ".git/info").mkdir(parents=True)
    (folder / ".git/info/exclude").write_text("/venv\n/watched\n/src/sitecustomize.py\n")
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    around = {**environment(folder, cluster), "DVC_NO_ANALYTICS": "1", "CODER_CLIP_TRACKING": "off"}
    described = subprocess.run(
        [sys.executable, "-m", "coder_clip.tracking.pipeline", work.config],
        **{"cwd": folder, "env": around, "stdout": subprocess.PIPE, "check": True},
    )
    (folder / "dvc.yaml").write_bytes(described.stdout)
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=folder, env=around, check=True)
    del around["CODER_CLIP_TRACKING"]
    (folder / "watched").unlink()
    done = subprocess.run(
        ["make", "reproduce", "PROFILE=slurm", f"CONFIG={work.config}", "VENV=venv"],
        **{
            "cwd": folder,
            "env": around,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
        },
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    ids = re.findall(r"SLURM jobid (\d+)", done.stdout)
    records = cluster.run("scontrol", "show", "job", "--oneliner").splitlines()
    jobs = {row["JobId"]: row for line in records if (row := dict(re.findall(r"(\w+)=(\S*)", line)))}
    found = Made(work, done.stdout, {i: jobs[i] for i in ids}, defaultdict(set))
    for line in (folder / "watched").read_text().splitlines():
        who, _, what = line.partition(" ")
        found.watched[who].add(what)
    yield found
    cluster.cancel_all()


def test_every_rule_that_is_not_the_heads_ran_in_a_job(made: Made) -> None:
    assert set().union(*(made.rules(i) for i in made.jobs)) == ON_GPU | ON_CPU
    assert {job["JobState"] for job in made.jobs.values()} == {"COMPLETED"}
    assert made.watched.keys() == {"head", *made.jobs}, "each ran, and nothing else did"


def test_small_jobs_share_an_allocation(made: Made) -> None:
    shared = [made.rules(i) for i in made.jobs if len(made.rules(i)) > 1]
    assert shared == [{"build_coder", "classify", "evaluate"}], "of both data sets"
    for rule in ("list_images", "fit_adapters"):
        assert len([i for i in made.jobs if rule in made.rules(i)]) == 1


def test_encoders_ran_on_the_gpu_node_and_nothing_else_did(made: Made) -> None:
    for id, job in made.jobs.items():
        where = (job["Partition"], job["NodeList"])
        if made.rules(id) & ON_GPU:
            assert where == ("gpu", "g1")
            assert "gpu:1" in job.get("TresPerJob", "") + job.get("TresPerNode", "")
        else:
            assert where in (("cpu", "n1"), ("cpu", "n2"))


def test_no_two_jobs_shared_a_gpu(made: Made) -> None:
    on_gpu: dict[str, list[dict[str, str]]] = defaultdict(list)
    for id, job in made.jobs.items():
        gpus = {what.removeprefix("starts ") for what in made.watched[id] if what.startswith("starts")}
        if made.rules(id) & ON_GPU:
            assert len(gpus) == 1
            on_gpu[gpus.pop()].append(job)
        else:
            assert gpus == {""}, "a job without a GPU sees none"
    assert on_gpu.keys() == {"0", "1"}
    for jobs in on_gpu.values():
        for one, other in combinations(sorted(jobs, key=lambda job: job["StartTime"]), 2):
            assert one["EndTime"] <= other["StartTime"]


def test_git_dvc_and_records_are_the_heads(made: Made) -> None:
    heads = {"calls git", "imports dvc", "writes .dvc", "writes .snakemake/metadata"}
    assert heads <= made.watched["head"]
    for id in made.jobs:
        assert {what for what in made.watched[id] if not what.startswith("starts")} == set()


def test_results_are_those_of_a_local_run(made: Made, finished: Work) -> None:
    assert made.work.hashes() == finished.hashes()


def test_results_are_recorded_and_shown(made: Made) -> None:
    assert "recorded in DVC: texts, image_features" in made.said
    assert "report: results/report.html" in made.said
    locked: dict[str, Any] = yaml.safe_load((made.work.folder / "dvc.lock").read_text())
    assert {"adapter", "report"} <= locked["stages"].keys()


def test_nothing_is_left_to_do_there_or_on_this_machine(made: Made) -> None:
    assert made.work.planned() == {}
