"""The embedded default, on fewer pictures, on nodes with 2 CPUs and 4,000 MB, and on this machine: the same bytes.

test_guide.py tells what nodes touch.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator

import pytest
import yaml

from cluster import Cluster, Job
from cluster_run import Run, quicken
from working_copy import PHASES, REPO, REPORT, SMALL, Work, duplicate, environment, few_pictures, working_copy

pytestmark = pytest.mark.rest

CONFIG = "config/reproduce.yaml"
DATASETS = yaml.safe_load((REPO / CONFIG).read_text(encoding="utf-8"))["datasets"]
ON_GPU = {
    "rule_encode_images": len(DATASETS),
    **{f"group_texts-{d}_encode_texts": 1 for d in DATASETS},
    **{f"group_pairs-{d}_encode_pairs": 1 for d in DATASETS},
}
ON_CPU = {
    "rule_list_images": len(DATASETS),
    "rule_confusable_pairs": len(DATASETS),
    **{f"group_scores-mini-{d}_build_coder_classify_evaluate": 1 for d in DATASETS},
    **{f"group_adapters-mini-{d}_fit_adapters": 1 for d in DATASETS},
    **{f"group_reranks-{d}_rerank_top": 1 for d in DATASETS},
}


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
    run.wait(3600)
    yield run
    tight.cancel_all()


def jobs(run: Run) -> list[tuple[str, Job]]:
    """Name of its rule or group, and what Slurm recorded."""
    submitted = re.findall(r"SLURM jobid (\d+) \(log: \S*/slurm/([^/]+)/", run.said())
    return [(name, run.job(id)) for id, name in submitted]


def test_everything_was_done(run: Run) -> None:
    assert run.status == 0, run.said()
    done, of = re.findall(r"^(\d+) of (\d+) steps \(100%\) done", run.said(), flags=re.M)[-1]
    assert done == of


def test_every_rule_that_is_not_the_heads_was_a_job_of_the_right_partition(run: Run) -> None:
    assert Counter(name for name, _ in jobs(run)) == {**ON_GPU, **ON_CPU}
    for name, job in jobs(run):
        assert job.state == "COMPLETED"
        if name in ON_GPU:
            assert (job.partition, job.node) == ("gpu", "g1")
        else:
            assert (job.partition, job.node) in (("cpu", "n1"), ("cpu", "n2"))


def test_nothing_else_ran_on_the_cluster(run: Run, tight: Cluster) -> None:
    ids = [int(job.id) for _, job in jobs(run)]
    assert [id for job in tight.jobs() if (id := int(job.id)) >= ids[0]] == ids


def test_the_bytes_are_those_of_a_local_run(
    run: Run, works: tuple[Work, Work], local: subprocess.Popen[bytes]
) -> None:
    there, here = works
    assert local.wait(1800) == 0, (here.folder / "run.log").read_text()[-6000:]
    assert len(here.hashes()) > 90
    assert there.hashes() == here.hashes()
