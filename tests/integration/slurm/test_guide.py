"""docs/slurm.md, command by command, as a person at a terminal of the cluster would give them: from
clone to results.

In between, what the run itself has to be: where each job ran, by Slurm's records, and what nodes
touched (that the
results are those of a local run: test_default.py). Replaced are `/shared` by a folder of the test,
the address to clone, the paper's configuration by a small one, and installing (`.ci/run` begins
with it) by the environment that is there.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import threading
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
from working_copy import SMALL, Work, duplicate, few_pictures, python_path, working_copy

pytestmark = pytest.mark.rest

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

GUIDE = (REPO / "docs/slurm.md").read_text(encoding="utf-8")
# A command that is added to the page has to be tried here.
CLONE, STAGE, CHECK, TMUX, HEAD, LOOK, OWN_CLUSTER = re.findall(
    r"^```sh\n(.*?)^```", GUIDE, flags=re.M | re.S
)
INLINE = re.findall(
    r"`((?:s(?:info|acctmgr|queue|cancel|control|batch)|snakemake|module|tmux|export) [^`]*)`",
    GUIDE,
)
LOOKED_UP = {
    "sinfo -s": "gpu ",
    "sinfo -o '%P %G'": "gpu gpu:h100:2",
    "sacctmgr show associations user=$USER": " lab ",
}
MODULES = Path("/usr/share/modules/init/bash")
CONFIG = "config/paper.yaml"
RESULTS = "results/paper"


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
            "SHELL": "/bin/bash",
            "TERM": "xterm",
            "MODULEPATH": str(self.shared / "modules"),
            "TMUX_TMPDIR": str(self.shared),
            "DVC_NO_ANALYTICS": "1",
        }

    def here(self, commands: str) -> str:
        return commands.replace("/shared", str(self.shared)).replace(
            "/tmp/cluster", f"{self.shared}/cluster"
        )

    def script(self, commands: str) -> str:
        """After the first step, in whose shell the later ones are given."""
        login = (
            f"source {MODULES}; cd {self.clone}; module load python/3.11; source .venv/bin/activate"
        )
        return f"{login}\n{self.here(commands)}"

    def run(self, commands: str, check: bool = True, login: bool = True) -> str:
        """What they say. The first that fails ends the test."""
        done = subprocess.run(
            ["bash", "-ec", self.script(commands) if login else self.here(commands)],
            cwd=self.shared,
            env=self.names,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1200,
        )
        assert done.returncode == 0 or not check, f"{commands}\n{done.stdout[-6000:]}"
        return done.stdout


class Terminal:
    """A terminal window in which a command runs and a person types."""

    def __init__(self, shell: Shell, command: str) -> None:
        self.shown = b""
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            os.execve("/bin/bash", ["bash", "-c", shell.script(command)], shell.names)
        fcntl.ioctl(self.screen, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 250, 0, 0))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while piece := os.read(self.screen, 4096):
                self.shown += piece
        except OSError:  # the command has ended
            pass

    def type(self, keys: str) -> None:
        os.write(self.screen, keys.encode())

    def ends(self) -> None:
        eventually("the terminal closes", lambda: os.waitpid(self.pid, os.WNOHANG)[0], 180)
        self._reader.join(20)
        assert not self._reader.is_alive(), (
            "it would read on from whatever gets the closed file's number next"
        )
        os.close(self.screen)


@dataclass
class Made:
    """A finished run. jobs: id -> the controller's record (scontrol's names). left: what Snakemake
    planned after it, by
    rule. watched: id or "head" -> what it did."""

    work: Work
    said: str
    jobs: dict[str, dict[str, str]]
    left: dict[str, int]
    watched: dict[str, set[str]]

    def rules(self, id: str) -> set[str]:
        """Rules of a job: one, or those of a group."""
        comment = self.jobs[id]["Comment"]
        return {r for r in ON_GPU | ON_CPU if re.search(rf"_{r}(_|$)", comment)}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Nothing was run."""
    document = {
        **SMALL,
        "results": RESULTS,
        "datasets": {"shapes": {"views": 1}},
        "adapter": {**SMALL["adapter"], "shots": [1]},
    }
    work = working_copy(tmp_path_factory.mktemp("guide") / "local", document)
    few_pictures(work.folder)
    (work.folder / work.config).rename(work.folder / CONFIG)
    work = Work(work.folder, CONFIG)
    quicken(work.folder)
    return work


@pytest.fixture(scope="module")
def shell(original: Work, cluster: Cluster) -> Iterator[Shell]:
    """Steps 1 and 2 were done, with a profile that looks at the queue more often."""
    if absent := [
        n for n, p in (("tmux", shutil.which("tmux")), ("modules", MODULES.exists())) if not p
    ]:
        pytest.skip(f"no {', '.join(absent)}: apt-get install tmux environment-modules")
    shared = original.folder.parent / "site"
    shell = Shell(shared, cluster)
    (shared / shell.user).mkdir(parents=True)
    (shared / "data").mkdir()
    source = shared / "source"
    source.mkdir()
    duplicate(original, source)
    profile = source / "workflow/profiles/slurm/config.yaml"
    around = {**shell.names, "PYTHONPATH": python_path(source)}
    offline, load, temporary = re.findall(
        r"^(?:precommand:|#  ) ((?:export|\. /etc).*)", profile.read_text(), flags=re.M
    )[-1:] + re.findall(r"^#   (\. /etc.*|export TMPDIR.*)", profile.read_text(), flags=re.M)
    there = temporary.replace("/scratch/$USER", f"{shared}/scratch")
    text = profile.read_text().replace(
        f"\nprecommand: {offline}", f"\nprecommand: {offline} && {load} && {there}"
    )
    profile.write_text(text)
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=source, env=around, check=True)

    (shared / "modules/python").mkdir(parents=True)
    (shared / "modules/python/3.11").write_text("#%Module1.0\nprepend-path PATH /opt/python\n")
    (shared / "modules/cuda").write_text("#%Module1.0\nprepend-path PATH /opt/cuda\n")
    (shared / "sitecustomize.py").write_text(WATCH)
    installed = f"""
        mkdir .venv; ln -s {Path(sys.executable).parent} .venv/bin; pwd -P > .venv/installed
        mv ../../sitecustomize.py src
        printf '/watched\\n/src/sitecustomize.py\\n' >> .git/info/exclude
    """
    first = CLONE.replace("git clone …", f"git clone -q {source}")
    first = re.sub(r"^git clone.*\n", lambda line: line[0] + installed, first, flags=re.M)
    said = shell.run(f"source {MODULES}\n{first}command -v coder-clip; echo $PATH", login=False)
    program, path = said.splitlines()[-2:]
    assert program == f"{Path(sys.executable).parent}/coder-clip"
    assert "/opt/python" in path.split(":")
    yield shell
    subprocess.run(["tmux", "kill-server"], env=shell.names, capture_output=True)
    cluster.cancel_all()


@pytest.fixture(scope="module")
def staged(shell: Shell) -> str:
    where, _, stage = STAGE.splitlines()
    return shell.run(f"{where}\n{stage}")


@pytest.fixture(scope="module")
def checked(staged: str, shell: Shell, cluster: Cluster) -> str:
    """Before the run, whatever the order of the tests."""
    said = shell.run(CHECK)
    assert cluster.live() == [], "a probe job was left"
    assert not list((shell.clone / RESULTS).glob("logs/slurm/*")), (
        "something of the probes was left"
    )
    assert {p.name for p in (shell.clone / RESULTS).iterdir()} == {"logs"}, "a rule was run"
    return said


def test_everything_is_staged(shell: Shell, staged: str) -> None:
    """The guide's commands would leave weights or data sets for nodes without network."""
    where, look, _ = STAGE.splitlines()
    missing = shell.run(f"{where}\ncd {REPO}\n{look}", check=False)  # the paper's own configuration
    assert "imagenet" in missing
    assert f"{shell.shared}/data" in missing
    assert "model mini: local-dir:data/mini is here" in staged
    assert "recorded" not in staged, "there is nothing to record yet"


def test_the_cluster_is_checked(checked: str) -> None:
    said = checked
    assert "wrong" not in said
    (first,) = [line for line in said.splitlines() if ": partitions " in line]
    assert "partitions cpu, gpu, scavenge, urgent" in first
    assert "partition gpu, gpu 1: 3 jobs of encode_images, encode_pairs, encode_texts" in said
    assert "partition cpu, node n1: sees every folder" in said
    assert "node g1: sees every folder" in said
    assert "Slurm gave GPU 0" in said


@pytest.fixture(scope="module")
def made(checked: str, shell: Shell, cluster: Cluster) -> Made:
    """Under tmux, with the terminal closed while jobs run."""
    start, run = (line.split("#")[0].strip() for line in TMUX.splitlines())
    (shell.clone / "watched").unlink()
    before = {job.id for job in cluster.jobs()}
    terminal = Terminal(shell, start)
    eventually("tmux", lambda: "coder" in shell.run("tmux ls", check=False, login=False))
    terminal.type(f"{run}; echo ended with $?\n")
    eventually("a job", lambda: {job.id for job in cluster.live()} - before, 180)
    terminal.type("\x02d")
    terminal.ends()

    def said() -> str:
        return shell.run("tmux capture-pane -pJt coder -S -", login=False)

    eventually(
        "the end of the run", lambda: re.search(r"^ended with \d", said(), flags=re.M), 1800, 2
    )
    terminal = Terminal(shell, "tmux attach -t coder")
    eventually("the run on the screen", lambda: b"ended with" in terminal.shown)
    everything = said()
    terminal.type("exit\n")
    terminal.ends()
    assert "\nended with 0" in everything, everything[-6000:]
    logs = sorted(
        (shell.clone / ".snakemake/log").glob("*.snakemake.log")
    )  # of the staging, and of the run
    ids = re.findall(r"SLURM jobid (\d+)", "".join(log.read_text() for log in logs))
    records = cluster.run("scontrol", "show", "job", "--oneliner").splitlines()
    jobs = {
        row["JobId"]: row for line in records if (row := dict(re.findall(r"(\w+)=(\S*)", line)))
    }
    watched: dict[str, set[str]] = defaultdict(set)
    for line in (shell.clone / "watched").read_text().splitlines():
        who, _, what = line.partition(" ")
        watched[who].add(what)
    work = Work(shell.clone, CONFIG)
    return Made(work, everything, {i: jobs[i] for i in ids}, work.planned(), watched)


def test_every_rule_that_is_not_the_heads_ran_in_a_job(made: Made) -> None:
    assert set().union(*(made.rules(i) for i in made.jobs)) == ON_GPU | ON_CPU
    assert {job["JobState"] for job in made.jobs.values()} == {"COMPLETED"}
    assert made.watched.keys() == {"head", *made.jobs}, "each ran, and nothing else did"


def test_small_jobs_share_an_allocation(made: Made) -> None:
    shared = [made.rules(i) for i in made.jobs if len(made.rules(i)) > 1]
    assert shared == [{"build_coder", "classify", "evaluate"}]


def test_jobs_of_a_group_take_turns_on_a_gpu(shared_folder: Path, cluster: Cluster) -> None:
    names = ["ok", "ok_too"]
    given = {"partition": dict.fromkeys(names, "gpu"), "gpu": dict.fromkeys(names, 1)}
    run = toy(shared_folder, cluster, jobs=names, **given)
    assert run.start("--groups", "job=jobs", "--group-components", "jobs=100").wait() == 0, (
        run.said()
    )
    (one,) = {run.job(id) for name in names for id in run.started(name)}
    assert (one.cpus, one.memory) == ("1", "500M"), "of one at a time"
    assert "TresPerJob=gres/gpu:1\n" in cluster.run("scontrol", "show", "job", one.id)


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
        gpus = {
            what.removeprefix("starts ") for what in made.watched[id] if what.startswith("starts")
        }
        if made.rules(id) & ON_GPU:
            assert len(gpus) == 1
            on_gpu[gpus.pop()].append(job)
        else:
            assert gpus == {""}, "a job without a GPU sees none"
    # on a busy machine a job may start after the one before has ended, and has the same GPU
    assert on_gpu.keys() <= {"0", "1"}
    assert sum(map(len, on_gpu.values())) > 1
    for jobs in on_gpu.values():
        for one, other in combinations(sorted(jobs, key=lambda job: job["StartTime"]), 2):
            assert one["EndTime"] <= other["StartTime"]


def test_git_dvc_and_records_are_the_heads(made: Made) -> None:
    heads = {"calls git", "imports dvc", "writes .dvc", "writes .snakemake/metadata"}
    assert heads <= made.watched["head"]
    for id in made.jobs:
        assert {
            what for what in made.watched[id] if not what.startswith(("starts", "loaded", "keeps"))
        } == set()


def test_jobs_have_the_modules_that_the_head_had_and_their_own(made: Made) -> None:
    assert "loaded python/3.11" in made.watched["head"]
    assert all("loaded python/3.11:cuda" in made.watched[id] for id in made.jobs)


def test_temporary_files_are_on_the_scratch_that_precommand_made(made: Made, shell: Shell) -> None:
    for id in made.jobs:
        assert f"keeps temporary files in {shell.shared}/scratch/{id}" in made.watched[id]


def test_results_are_recorded_and_shown(made: Made) -> None:
    assert "recorded in DVC: texts, image_features" in made.said
    assert f"report: {RESULTS}/report.html" in made.said
    locked: dict[str, Any] = yaml.safe_load(
        (made.work.folder / "tracked/paper/dvc.lock").read_text()
    )
    assert {"adapter", "report"} <= locked["stages"].keys()


def test_nothing_is_left_to_do_there_or_on_this_machine(made: Made) -> None:
    assert made.left == {}


def test_the_head_as_a_job_of_its_own(made: Made, shell: Shell, cluster: Cluster) -> None:
    """It nears its time limit while its job runs, is queued again, and goes on with that job."""
    made.work.configure(lambda document: document["evaluation"].update(draws=3))
    before = {job.id for job in cluster.jobs()}

    def new(name: str) -> list[Job]:
        return [j for j in cluster.live() if j.id not in before and j.name.startswith(name)]

    assert "--time=1-00:00" in HEAD
    shell.run(HEAD.replace("--time=1-00:00", "--time=3"))
    (head,) = (job.id for job in new("coder-head"))
    eventually("the head's job", lambda: any(j.state == "RUNNING" for j in new("coder-clip_")), 180)
    (child,) = new("coder-clip_")
    cluster.run("scontrol", "suspend", child.id)
    look(shell, child)
    log = shell.clone / f"head-{head}.log"
    taken = f"is Slurm job {child.id} of an earlier run"
    eventually("the second head", lambda: log.exists() and taken in log.read_text(), 400)
    cluster.run("scontrol", "resume", child.id)
    eventually(
        "its job's end",
        lambda: re.search(r"^evaluation +1 job, ", log.read_text(), flags=re.M),
        400,
    )
    cluster.run("scancel", head)  # what it makes itself is as ever
    eventually("its end", lambda: not cluster.live(), 180)
    states = {job.id: job.state for job in cluster.jobs() if job.id not in before}
    assert states == {head: "CANCELLED", child.id: "COMPLETED"}, log.read_text()


def look(shell: Shell, child: Job) -> None:
    """What to watch, while a head and its job are there."""
    queue, log, program, failed, left = LOOK.splitlines()
    assert "evaluate" in shell.run(queue)
    assert f"SLURM jobid {child.id}" in shell.run(f"timeout 2 {log}", check=False)
    assert "100%" in shell.run(program)
    shell.run(failed)
    assert "evaluate" in shell.run(left)
    assert child.id in shell.run(f"squeue --me --name={child.name}")


def test_jobs_of_a_run_are_stopped_by_its_name(shell: Shell, cluster: Cluster) -> None:
    shell.run("sbatch --job-name=coder-clip_1 --output=/dev/null --wrap 'sleep 600'")
    shell.run("scancel --me --name=coder-clip_1")
    eventually("its end", lambda: not cluster.live())


@pytest.mark.parametrize(("command", "answer"), LOOKED_UP.items())
def test_what_a_site_has(accounting: Cluster, tmp_path: Path, command: str, answer: str) -> None:
    assert answer in Shell(tmp_path, accounting).run(command, login=False)


def test_a_cluster_to_try_things_on(cluster: Cluster) -> None:
    install, start, names, stop = OWN_CLUSTER.splitlines()
    wanted = set(install.split()[3:])
    assert wanted <= set((REPO / ".ci/run").read_text(encoding="utf-8").split()), "CI installs them"
    with tempfile.TemporaryDirectory(prefix="coder-clip-slurm-own-") as folder:
        Path(folder).chmod(0o755)  # munge wants it
        own = Shell(Path(folder), cluster)
        here = f'cd {REPO}; sudo() {{ "$@"; }}'
        try:
            said = own.run(f"{here}\n{start}\n{names}\nsinfo -s; scontrol show config", login=False)
            assert f"{folder}/cluster/slurm.conf" in said
        finally:
            own.run(f"{here}\n{stop}", login=False)


def test_the_rest_is_tried_elsewhere() -> None:
    assert set(INLINE) - LOOKED_UP.keys() == {
        "squeue --me --name=…",
        "scancel --me --name=…",
        "scontrol release",  # test_faults.py
        "scontrol resume",  # test_faults.py
        "scontrol show job",  # test_answers.py
        "scontrol show partition",  # test_guest.py
        "scontrol update",  # test_faults.py
        "sbatch --test-only",  # test_check.py
        "export HF_HOME=/shared/$USER/huggingface",  # test_staging.py
    }
