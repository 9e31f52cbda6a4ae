"""docs/slurm.md from step 3 on, block by block, as a person on a login node types it.

In between, what the run itself has to be: where each job ran, by Slurm's records, and what nodes
touched (that the results are those of a local run: test_default.py). Replaced are `/shared` by a
folder of the test, and the paper's configuration by a small one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import Cluster
from cluster_run import REPO, environment, quicken, toy
from pages import PAGES, blocks
from working_copy import SMALL, Work, few_pictures, working_copy

pytestmark = pytest.mark.rest

ON_GPU = {"encode_images", "encode_texts", "encode_pairs"}
SCORES = {"build_coder", "classify", "evaluate"}  # one group
ON_CPU = SCORES | {"list_images", "fit_adapters", "confusable_pairs", "rerank_top"}

# Every Python process of the run, on the head or in a job, tells what it does to the files that are
# the head's alone.
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
tell("starts")
"""

GUIDE = PAGES["docs/slurm.md"]
CONFIG = "config/paper.yaml"
RESULTS = "results/paper"


def block(word: str) -> str:
    """The block of the guide that has a word."""
    (found,) = [text for text in blocks(GUIDE) if word in text]
    return found


@dataclass
class Shell:
    """A person's shell on a login node, in a clone that nodes see; the guide's /shared is the
    folder above it.
    """

    clone: Path
    cluster: Cluster

    def run(self, commands: str, check: bool = True) -> str:
        """What they say. The first that fails ends the test."""
        done = subprocess.run(
            ["bash", "-ec", commands.replace("/shared", str(self.clone.parent))],
            cwd=self.clone,
            env={**environment(self.clone, self.cluster), "DVC_NO_ANALYTICS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
        )
        assert done.returncode == 0 or not check, f"{commands}\n{done.stdout[-6000:]}"
        return done.stdout


@dataclass
class Made:
    """A finished run. jobs: id -> the controller's record (scontrol's names). watched: id or "head"
    -> what it did.
    """

    work: Work
    said: str
    jobs: dict[str, dict[str, str]]
    watched: dict[str, set[str]]

    def rules(self, id: str) -> set[str]:
        """Rules of a job: one, or those of a group."""
        comment = self.jobs[id]["Comment"]
        return {r for r in ON_GPU | ON_CPU if re.search(rf"_{r}(_|$)", comment)}


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Shell]:
    """A clone after steps 1 and 2, with a profile that looks at the queue more often."""
    document = {
        **SMALL,
        "results": RESULTS,
        "datasets": {"shapes": {"views": 1}},
        "adapter": {**SMALL["adapter"], "shots": [1]},
    }
    work = working_copy(tmp_path_factory.mktemp("guide") / "clone", document)
    few_pictures(work.folder)
    (work.folder / work.config).rename(work.folder / CONFIG)
    quicken(work.folder)
    (work.folder / "src/sitecustomize.py").write_text(WATCH)
    shell = Shell(work.folder, cluster)
    author = "-c user.name=A -c user.email=a@example.org"
    shell.run(f"rm -rf .git; git init -q; git add -A; git {author} commit -qm all")
    shell.run(f"mkdir .venv; ln -s {Path(sys.executable).parent} .venv/bin; pwd > .venv/installed")
    shell.run("printf '/watched\\n/.cache\\n' >> .git/info/exclude; mkdir ../data")
    yield shell
    cluster.cancel_all()


@pytest.fixture(scope="module")
def staged(shell: Shell) -> str:
    """Without the second line, which shows what the paper lacks."""
    where, _, stage = block("snakemake prefetch").splitlines()
    return shell.run(f"{where}\n{stage}")


@pytest.fixture(scope="module")
def checked(staged: str, shell: Shell, cluster: Cluster) -> str:
    """Before the run, whatever the order of the tests."""
    said = shell.run(block("snakemake smoke"))
    assert cluster.live() == []
    assert {p.name for p in (shell.clone / RESULTS).iterdir()} == {"logs"}, "a phase was run"
    return said


@pytest.fixture(scope="module")
def made(checked: str, shell: Shell, cluster: Cluster) -> Made:
    (shell.clone / "watched").unlink()
    before = {job.id for job in cluster.jobs()}
    said = shell.run(block("tmux").splitlines()[-1])
    records = cluster.run("scontrol", "show", "job", "--oneliner").splitlines()
    rows = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in records]
    jobs = {row["JobId"]: row for row in rows if row["JobId"] not in before}
    watched: dict[str, set[str]] = defaultdict(set)
    for line in (shell.clone / "watched").read_text().splitlines():
        who, _, what = line.partition(" ")
        watched[who].add(what)
    return Made(Work(shell.clone, CONFIG), said, jobs, watched)


def test_everything_is_staged(shell: Shell, staged: str) -> None:
    """The guide's commands would leave weights or data sets for nodes without network."""
    where, look, _ = block("snakemake prefetch").splitlines()
    missing = shell.run(f"{where}\ncd {REPO}\n{look}", check=False)  # the paper's configuration
    assert "imagenet" in missing
    assert "model mini: local-dir:data/mini is here" in staged
    assert "recorded" not in staged, "there is nothing to record yet"


def test_the_cluster_is_checked(checked: str) -> None:
    """Slurm takes all jobs, and a small one works on each place."""
    assert "wrong" not in checked
    assert ": partitions cpu, gpu, scavenge, urgent\n" in checked
    assert "partition gpu, gpu 1: 3 jobs of encode_images, encode_pairs, encode_texts" in checked
    assert re.search(r"^n[12]: Python .* work$", checked, flags=re.M), checked
    assert re.search(r"^g1: .* Slurm gave GPU 0: install its build", checked, flags=re.M)


def test_every_rule_ran_in_a_job_of_its_place(made: Made) -> None:
    """Encoders on the GPU node and nothing else there; what is not the head's in a job."""
    assert set().union(*map(made.rules, made.jobs)) == ON_GPU | ON_CPU
    assert [made.rules(i) for i in made.jobs if len(made.rules(i)) > 1] == [SCORES]
    assert made.watched.keys() == {"head", *made.jobs}, "each ran, and nothing else did"
    for id, job in made.jobs.items():
        assert job["JobState"] == "COMPLETED"
        where = (job["Partition"], job["NodeList"])
        if made.rules(id) & ON_GPU:
            assert where == ("gpu", "g1")
        else:
            assert where in (("cpu", "n1"), ("cpu", "n2"))


def test_records_are_the_heads(made: Made) -> None:
    """Two processes that write Git's and DVC's files would spoil them."""
    heads = {"calls git", "imports dvc", "writes .dvc", "writes .snakemake/metadata"}
    assert heads <= made.watched["head"]
    for id in made.jobs:
        assert made.watched[id] == {"starts"}


def test_results_are_recorded_and_shown(made: Made) -> None:
    assert "recorded in DVC: texts, image_features" in made.said
    assert f"report: {RESULTS}/report.html" in made.said
    lock = (made.work.folder / "tracked/paper/dvc.lock").read_text()
    locked: dict[str, Any] = yaml.safe_load(lock)
    assert {"adapter", "report"} <= locked["stages"].keys()
    assert made.work.planned() == {}, "nothing is left to do on this machine"


def test_jobs_of_a_group_take_turns_on_a_gpu(shared_folder: Path, cluster: Cluster) -> None:
    names = ["ok", "ok_too"]
    given = {"partition": dict.fromkeys(names, "gpu"), "gpu": dict.fromkeys(names, 1)}
    run = toy(shared_folder, cluster, jobs=names, **given)
    run.start("--groups", "job=jobs", "--group-components", "jobs=100")
    assert run.wait() == 0, run.said()
    (one,) = {run.job(id) for name in names for id in run.started(name)}
    assert (one.cpus, one.memory) == ("1", "500M"), "of one at a time"
    assert "TresPerJob=gres/gpu:1\n" in cluster.run("scontrol", "show", "job", one.id)
