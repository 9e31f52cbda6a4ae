"""docs/slurm.md, block by block, as a person on a login node types it: from clone to results.

In between, what the run itself has to be: where each job ran, by Slurm's records, and what nodes
touched (that the results are those of a local run: test_default.py). Replaced are `/shared` by a
folder of the test, the address to clone, the paper's configuration by a small one, and installing
(`.ci/run` begins with it) by the environment that is there.
"""

from __future__ import annotations

import getpass
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import Cluster, Job, eventually
from cluster_run import REPO, environment, quicken, toy
from pages import PAGES, blocks
from working_copy import SMALL, Work, duplicate, few_pictures, python_path, working_copy

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
tell(f"starts {os.environ.get('CUDA_VISIBLE_DEVICES', '')}")
tell(f"loaded {os.environ.get('LOADEDMODULES', '')}")
tell(f"keeps temporary files in {os.environ.get('TMPDIR', '')}")
"""

GUIDE = PAGES["docs/slurm.md"]
LOOKED_UP = {
    "sinfo -s": "gpu ",
    "sinfo -o '%P %G'": "gpu gpu:h100:2",
    "sacctmgr show associations user=$USER": " lab ",
}
MODULES = Path("/usr/share/modules/init/bash")
CONFIG = "config/paper.yaml"
RESULTS = "results/paper"


def block(word: str) -> str:
    """The block of the guide that has a word."""
    (found,) = [text for text in blocks(GUIDE) if word in text]
    return found


@dataclass
class Shell:
    """A person's shell on a login node, in a folder that nodes see; the guide's /shared is the
    folder `shared`.
    """

    shared: Path
    cluster: Cluster
    user: str = field(default_factory=getpass.getuser)

    @property
    def clone(self) -> Path:
        return self.shared / self.user / "coder-clip"

    @property
    def names(self) -> dict[str, str]:
        return {
            **environment(self.clone, self.cluster),
            "HOME": str(self.shared),
            "XDG_CACHE_HOME": str(self.shared / ".cache"),
            "USER": self.user,
            "MODULEPATH": str(self.shared / "modules"),
            "DVC_NO_ANALYTICS": "1",
        }

    def run(self, commands: str, check: bool = True, login: bool = True) -> str:
        """What they say. The first that fails ends the test. login: after step 1 of the guide."""
        here = commands.replace("/shared", str(self.shared))
        here = here.replace("/tmp/cluster", f"{self.shared}/cluster")
        first = f"source {MODULES}; cd {self.clone}; module load python/3.11\n"
        done = subprocess.run(
            ["bash", "-ec", f"{first}source .venv/bin/activate\n{here}" if login else here],
            cwd=self.shared,
            env=self.names,
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
    """Steps 1 and 2 were done, with a profile that looks at the queue more often."""
    if not MODULES.exists():
        pytest.skip("no modules: apt-get install environment-modules")
    document = {
        **SMALL,
        "results": RESULTS,
        "datasets": {"shapes": {"views": 1}},
        "adapter": {**SMALL["adapter"], "shots": [1]},
    }
    original = working_copy(tmp_path_factory.mktemp("guide") / "local", document)
    few_pictures(original.folder)
    (original.folder / original.config).rename(original.folder / CONFIG)
    quicken(original.folder)
    shared = original.folder.parent / "site"
    shell = Shell(shared, cluster)
    for name in (shell.user, "data", "source", "modules/python"):
        (shared / name).mkdir(parents=True)
    source = shared / "source"
    duplicate(original, source)
    profile = source / "workflow/profiles/slurm/config.yaml"
    text = profile.read_text()
    load, temporary = re.findall(r"^#   (\. /etc.*|export TMPDIR.*)", text, flags=re.M)
    there = temporary.replace("/scratch/$USER", f"{shared}/scratch")
    profile.write_text(re.sub(r"(?m)^(precommand: .*)", rf"\1 && {load} && {there}", text))
    author = "-c user.name=A -c user.email=a@example.org"
    commit = f"cd {source}; git init -q; git add -A; git {author} commit -qm all"
    around = {**shell.names, "PYTHONPATH": python_path(source)}
    subprocess.run(["bash", "-ec", commit], env=around, check=True)
    (shared / "modules/python/3.11").write_text("#%Module1.0\nprepend-path PATH /opt/python\n")
    (shared / "modules/cuda").write_text("#%Module1.0\nprepend-path PATH /opt/cuda\n")
    (shared / "sitecustomize.py").write_text(WATCH)
    installed = f"""
        mkdir .venv; ln -s {Path(sys.executable).parent} .venv/bin; pwd -P > .venv/installed
        mv ../../sitecustomize.py src
        printf '/watched\\n/src/sitecustomize.py\\n' >> .git/info/exclude
    """
    first = block("make install").replace("git clone …", f"git clone -q {source}")
    first = re.sub(r"^git clone.*\n", lambda line: line[0] + installed, first, flags=re.M)
    said = shell.run(f"source {MODULES}\n{first}command -v coder-clip; echo $PATH", login=False)
    program, path = said.splitlines()[-2:]
    assert program == f"{Path(sys.executable).parent}/coder-clip"
    assert "/opt/python" in path.split(":")
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
    assert f"{shell.shared}/data" in missing
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


def test_no_two_jobs_shared_a_gpu(made: Made) -> None:
    on_gpu: dict[str, list[dict[str, str]]] = defaultdict(list)
    for id, job in made.jobs.items():
        starts = [what for what in made.watched[id] if what.startswith("starts ")]
        assert len(starts) == 1
        on_gpu[starts[0].removeprefix("starts ")].append(job)
    without = on_gpu.pop("")
    assert {job["Partition"] for job in without} == {"cpu"}, "a job without a GPU sees none"
    # on a busy machine a job may start after the one before has ended, and has the same GPU
    assert on_gpu.keys() <= {"0", "1"}
    for jobs in on_gpu.values():
        for one, other in combinations(sorted(jobs, key=lambda job: job["StartTime"]), 2):
            assert one["EndTime"] <= other["StartTime"]


def test_what_head_and_jobs_touch_and_have(made: Made, shell: Shell) -> None:
    """Records are the head's; jobs have its modules and their own, and the scratch that precommand
    made.
    """
    heads = {"calls git", "imports dvc", "writes .dvc", "writes .snakemake/metadata"}
    assert heads | {"loaded python/3.11"} <= made.watched["head"]
    for id in made.jobs:
        (gpu,) = [what for what in made.watched[id] if what.startswith("starts")]
        scratch = f"keeps temporary files in {shell.shared}/scratch/{id}"
        assert made.watched[id] == {gpu, "loaded python/3.11:cuda", scratch}


def test_results_are_recorded_and_shown(made: Made) -> None:
    assert "recorded in DVC: texts, image_features" in made.said
    assert f"report: {RESULTS}/report.html" in made.said
    lock = (made.work.folder / "tracked/paper/dvc.lock").read_text()
    locked: dict[str, Any] = yaml.safe_load(lock)
    assert {"adapter", "report"} <= locked["stages"].keys()
    assert made.work.planned() == {}, "nothing is left to do on this machine"


def test_the_head_as_a_job_of_its_own(made: Made, shell: Shell, cluster: Cluster) -> None:
    """It nears its time limit while its job runs, is queued again, and goes on with that job."""
    made.work.configure(lambda document: document["evaluation"].update(draws=3))
    before = {job.id for job in cluster.jobs()}

    def new(name: str) -> list[Job]:
        return [j for j in cluster.live() if j.id not in before and j.name.startswith(name)]

    submit = block("sbatch --job-name")
    assert "--time=1-00:00" in submit
    shell.run(submit.replace("--time=1-00:00", "--time=3"))
    (head,) = (job.id for job in new("coder-head"))
    eventually("the head's job", lambda: any(j.state == "RUNNING" for j in new("coder-clip_")), 180)
    (child,) = new("coder-clip_")
    cluster.run("scontrol", "suspend", child.id)
    watched = shell.run(block("squeue --me").replace("tail -f", "timeout 2 tail -f"), check=False)
    for words in ("evaluate", f"SLURM jobid {child.id}"):
        assert words in watched
    assert child.id in shell.run(f"squeue --me --name={child.name}")
    log = shell.clone / f"head-{head}.log"
    taken = f"is Slurm job {child.id} of an earlier run"
    eventually("the second head", lambda: log.exists() and taken in log.read_text(), 400)
    cluster.run("scontrol", "resume", child.id)
    ended = re.compile(r"^evaluation +1 job, ", flags=re.M)
    eventually("its job's end", lambda: ended.search(log.read_text()), 400)
    shell.run("scancel --me --name=coder-head")  # what it makes itself is as ever
    eventually("its end", lambda: not cluster.live(), 180)
    states = {job.id: job.state for job in cluster.jobs() if job.id not in before}
    assert states == {head: "CANCELLED", child.id: "COMPLETED"}, log.read_text()


def test_jobs_of_a_group_take_turns_on_a_gpu(shared_folder: Path, cluster: Cluster) -> None:
    names = ["ok", "ok_too"]
    given = {"partition": dict.fromkeys(names, "gpu"), "gpu": dict.fromkeys(names, 1)}
    run = toy(shared_folder, cluster, jobs=names, **given)
    run.start("--groups", "job=jobs", "--group-components", "jobs=100")
    assert run.wait() == 0, run.said()
    (one,) = {run.job(id) for name in names for id in run.started(name)}
    assert (one.cpus, one.memory) == ("1", "500M"), "of one at a time"
    assert "TresPerJob=gres/gpu:1\n" in cluster.run("scontrol", "show", "job", one.id)


@pytest.mark.parametrize(("command", "answer"), LOOKED_UP.items())
def test_what_a_site_has(accounting: Cluster, tmp_path: Path, command: str, answer: str) -> None:
    assert f"`{command}`" in " ".join(GUIDE.split())
    assert answer in Shell(tmp_path, accounting).run(command, login=False)


def test_a_cluster_to_try_things_on(cluster: Cluster) -> None:
    install, start, names, stop = block("cluster.py start").splitlines()
    packages = (REPO / ".ci/run").read_text(encoding="utf-8").split()
    assert set(install.split()[3:]) <= set(packages), "CI installs them"
    with tempfile.TemporaryDirectory(prefix="coder-clip-slurm-own-") as folder:
        Path(folder).chmod(0o755)  # munge wants it
        own = Shell(Path(folder), cluster)
        here = f'cd {REPO}; sudo() {{ "$@"; }}'
        try:
            said = own.run(f"{here}\n{start}\n{names}\nsinfo -s; scontrol show config", login=False)
            assert f"{folder}/cluster/slurm.conf" in said
        finally:
            own.run(f"{here}\n{stop}", login=False)
