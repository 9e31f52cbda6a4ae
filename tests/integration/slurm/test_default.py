"""The embedded default, on fewer pictures, on nodes with 2 CPUs and 4,000 MB, and on this machine:
the same bytes.

The head is killed once, and its successor is a job of Slurm that hands over before its time limit.
test_guide.py tells where jobs run and what nodes touch, tests/proofs/test_slurm_kills.py kills more
often."""

from __future__ import annotations

import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator

import pytest
import yaml

from cluster import Cluster, eventually
from cluster_run import Run, quicken
from working_copy import (
    PHASES,
    REPO,
    REPORT,
    SMALL,
    Work,
    duplicate,
    environment,
    few_pictures,
    working_copy,
)

pytest.importorskip(
    "snakemake_executor_plugin_slurm_resilient", reason="the executor for Slurm is not installed"
)
from snakemake_executor_plugin_slurm_resilient.queue import LIVE

pytestmark = pytest.mark.proof

CONFIG = "config/reproduce.yaml"
DATASETS = yaml.safe_load((REPO / CONFIG).read_text(encoding="utf-8"))["datasets"]
JOBS = ("rule_encode_images", "rule_list_images", "rule_confusable_pairs")  # each once per data set
GROUPS = (
    "texts-{}_encode_texts",
    "pairs-{}_encode_pairs",
    "scores-mini-{}_build_coder_classify_evaluate",
    "adapters-mini-{}_fit_adapters",
    "reranks-{}_rerank_top",
)


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> tuple[Work, Work]:
    """Two copies of the repository in which nothing was run: for the cluster and for this machine."""
    folder = tmp_path_factory.mktemp("default")
    original = working_copy(folder / "local", SMALL)
    few_pictures(original.folder)
    (folder / "cluster").mkdir()
    copy = duplicate(original, folder / "cluster")
    quicken(copy.folder)
    return Work(copy.folder, CONFIG), Work(original.folder, CONFIG)


@pytest.fixture(scope="module")
def local(works: tuple[Work, Work]) -> Iterator[subprocess.Popen[bytes]]:
    """Every phase by its command, in one process, in the background."""
    _, work = works
    command = work.in_one_process(*PHASES, *REPORT)
    with (work.folder / "run.log").open("w") as log:
        running = subprocess.Popen(
            command, cwd=work.folder, env=environment(work.folder), stdout=log, stderr=log
        )
    yield running
    running.kill()
    running.wait()


@pytest.fixture(scope="module")
def run(works: tuple[Work, Work], local: object, tight: Cluster) -> Iterator[Run]:
    work, _ = works
    run = Run(work.folder, tight, configfile=work.config).start()
    eventually(
        "two jobs at work", lambda: [job.state for job in tight.live()].count("RUNNING") > 1, 600
    )
    run.kill(signal.SIGKILL)
    run.wait()
    assert run.start("--dry-run").wait() == 0, run.said()
    head = run.submit(minutes=3)
    run.hands_over(head, 1)
    eventually("the end of the run", lambda: run.job(head).state not in LIVE, 3600)
    yield run
    tight.cancel_all()


def test_everything_was_done(run: Run) -> None:
    """A head that is itself a job would end before the run is done."""
    (head,) = (job for job in run.cluster.jobs() if job.name == "head")
    assert head.state == "COMPLETED", run.said()
    done, of = re.findall(r"^(\d+) of (\d+) steps \(100%\) done", run.said_by_all(), flags=re.M)[-1]
    assert done == of


def test_no_job_ran_twice_or_was_cancelled(run: Run) -> None:
    """Though one head was killed, and others ended before their time limit, while jobs were at
    work.
    """
    assert "it is queued again" in (run.folder / run.log).read_text()
    assert "of an earlier run" in run.said_by_all()
    tries = run.tries()
    assert len(tries) == (len(GROUPS) + len(JOBS)) * len(DATASETS)
    assert set(tries.values()) == {1}, tries
    assert {state for _, state in tries} == {"COMPLETED"}, tries


def test_a_failure_of_one_data_set_is_no_other_s(run: Run) -> None:
    """No job of Slurm holds the work of two data sets."""
    submitted = re.findall(r"SLURM jobid \d+ \(log: \S*/slurm/([^/]+)/", run.said_by_all())
    groups = Counter(f"group_{name.format(d)}" for name in GROUPS for d in DATASETS)
    assert Counter(submitted) == groups + Counter(dict.fromkeys(JOBS, len(DATASETS)))


def test_the_bytes_are_those_of_a_local_run(
    run: Run, works: tuple[Work, Work], local: subprocess.Popen[bytes]
) -> None:
    there, here = works
    assert local.wait(1800) == 0, (here.folder / "run.log").read_text()[-6000:]
    assert len(here.hashes()) > 90
    assert there.hashes() == here.hashes()
