"""What would stop a run on this cluster is told before: `coder-clip check --profile` asks Slurm, and
`snakemake smoke` tries each place (a good cluster: test_guide.py).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from cluster import Cluster
from cluster_run import Run, quicken
from working_copy import SMALL, Work, environment, working_copy

pytest.importorskip(
    "snakemake_executor_plugin_slurm_resilient", reason="the executor for Slurm is not installed"
)
pytestmark = pytest.mark.rest
PROFILE = "workflow/profiles/slurm/config.yaml"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """A clone on the cluster, with one folder of photos, whose images are listed."""
    photos = {"marks": SMALL["datasets"]["marks"]}
    work = working_copy(tmp_path_factory.mktemp("site") / "clone", {**SMALL, "datasets": photos})
    quicken(work.folder)
    work.coder_clip("manifest", "--config", work.config)
    return work


def configured(site: Work, name: str, **more: Any) -> Work:
    """The clone with another configuration."""
    file = f"config/{name}.yaml"
    (site.folder / file).write_text(yaml.safe_dump({**SMALL, **more}))
    return Work(site.folder, file)


def checked(
    work: Work, cluster: Cluster, change: Change = lambda document: None
) -> tuple[int, list[str]]:
    """Exit status and lines, with a changed profile."""
    document = yaml.safe_load((work.folder / PROFILE).read_text())
    change(document)
    mine = work.folder / "workflow/profiles/mine/config.yaml"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text(yaml.safe_dump(document))
    own = environment(work.folder)
    path = f"{own['PATH']}:{cluster.environment['PATH']}"
    command = [sys.executable, "-m", "coder_clip.cli", "check", "--config", work.config]
    done = subprocess.run(
        [*command, "--profile", "mine"],
        cwd=work.folder,
        env={**own, **cluster.environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, [*done.stdout.splitlines(), *done.stderr.splitlines()]


def starting(lines: list[str], status: str) -> list[str]:
    return [line for line in lines if line.startswith(status)]


def test_small_nodes_take_the_default_and_a_guess_is_no_alarm(site: Work, tight: Cluster) -> None:
    """2 CPUs, 4,000 MB and an hour. Before images are counted, a job of minutes is taken for one of
    days, which no partition allows.
    """
    shards = {"features": {**SMALL["features"], "shards": 2}, "results": "results/unlisted"}
    status, lines = checked(configured(site, "shards", **shards), tight)
    assert status == 0, lines
    assert not [line for line in lines if "the most that there is" in line], lines
    for rule in ("merge_shards", "fit_adapters"):
        (line,) = [line for line in lines if rule in line]
        assert line.startswith("ok "), line


def test_everything_that_is_missing_is_told_and_the_cluster_first(
    site: Work, cluster: Cluster
) -> None:
    """Data, weights and key: else each is found only after the one before it was got."""
    (site.folder / "nowhere").mkdir()
    dtd = {"datasets": {"dtd": {"texts": "names"}}, "data_root": "nowhere"}
    status, lines = checked(configured(site, "absent", **dtd), cluster)
    assert status == 0, lines
    assert [line for line in lines if "jobs of encode_images" in line]
    assert starting(lines, "data set dtd: not here yet")
    nothing = {
        **dtd,
        "datasets": {"dtd": {"texts": {"attribute": "llm"}}},
        "models": {"mini": {"model": "hf-hub:no-one/no-such-model"}},
        "generator": {"model": "gpt-4o-mini"},
    }
    status, lines = checked(configured(site, "nothing", **nothing), cluster)
    assert status == 1
    after = "\n".join(lines).partition(": partitions ")[2]
    for words in ("data set dtd: not here yet", "no-such-model", "OPENAI_API_KEY"):
        assert words in after


def test_what_the_cluster_lacks(site: Work, cluster: Cluster) -> None:
    def change(document: dict[str, Any]) -> None:
        rules = document["set-resources"]
        rules["encode_images"]["slurm_partition"] = "gpux"
        rules["encode_texts"]["gpu_model"] = "a100"
        rules["encode_pairs"]["gpu"] = 3
        rules["fit_adapters"] = {"mem_mb": 99_000}
        rules["rerank_top"] = {"runtime": 500, "slurm_partition": "urgent"}
        rules["confusable_pairs"] = {"constraint": "avx512"}
        rules["tables"] = {"slurm_partition": "scavenge"}  # jobs, because they have a partition
        rules["classify"] = {"slurm_extra": "'--mail-type=FAIL --licenses=none:1'"}

    before = len(cluster.jobs())
    status, lines = checked(site, cluster, change)
    assert status == 1
    expected = {
        ("wrong", "encode_images"): "there is no such partition",
        ("wrong", "encode_texts"): "1 GPU, gpu_model a100, partition gpu",
        ("wrong", "encode_pairs"): "no node of the partition has that much memory",
        ("wrong", "confusable_pairs"): "Invalid feature specification",
        ("wrong", "classify"): "license",
        ("note", "fit_adapters"): "it gets 16000 MB, the most that there is, instead of",
        ("note", "rerank_top"): "it gets 120 min, the most that there is, instead of 500",
        ("ok", "1 jobs of tables"): "partition scavenge",
    }
    for (kind, rule), words in expected.items():
        found = [line for line in starting(lines, kind) if rule in line and words in line]
        assert len(found) == 1, (rule, lines)
    assert len(starting(lines, "wrong")) == 5
    assert len(cluster.jobs()) == before, "a job was submitted"


def test_an_account_and_a_qos_that_are_not_mine(site: Work, accounting: Cluster) -> None:
    def change(document: dict[str, Any]) -> None:
        document["set-resources"]["fit_adapters"] = {"slurm_account": "their-lab"}
        document["set-resources"]["encode_images"]["qos"] = "gold"

    status, lines = checked(site, accounting, change)
    assert status == 1
    account, qos = sorted(starting(lines, "wrong"))
    assert "account their-lab is not one of yours" in account
    assert "change slurm_account in the profile" in account
    assert "there is no QOS gold" in qos
    assert "change qos in the profile" in qos


# ---- snakemake smoke


def test_smoke_tries_each_place_each_time(site: Work, cluster: Cluster) -> None:
    """A real job of the executor on the CPU nodes and on the GPU node; nothing is recorded."""
    for _ in range(2):
        before = {job.id for job in cluster.jobs()}
        run = Run(site.folder, cluster, configfile=site.config).start("smoke")
        assert run.wait() == 0, run.said()
        jobs = [job for job in cluster.jobs() if job.id not in before]
        assert sorted((job.partition, job.state) for job in jobs) == [
            ("cpu", "COMPLETED"),
            ("gpu", "COMPLETED"),
        ]
        for job in jobs:
            assert f"{job.node}: Python " in run.said(), run.said()
        assert "torch sees no GPU, and Slurm gave GPU 0: install its build" in run.said()
        assert "recorded" not in run.said()
    git = subprocess.run(["git", "status", "--short"], cwd=site.folder, capture_output=True)
    assert b"smoke" not in git.stdout
    assert not list((site.folder / ".snakemake/coder-clip/smoke").rglob("smoke_*"))


def test_images_that_only_the_head_has(site: Work, cluster: Cluster) -> None:
    """A local disk: the head has a folder that nodes do not see."""
    (site.folder / "photos").rename(site.folder / "hidden")
    run = Run(site.folder, cluster, configfile=site.config).start("smoke")
    run.wait()
    (site.folder / "hidden").rename(site.folder / "photos")
    assert run.status == 1
    for node in ("n1", "g1"):
        line = f"\n{node}: the images of marks (photos/marks) cannot be read: it must be on a file"
        assert line in run.said()


def test_a_python_that_does_not_start_on_a_node(site: Work, cluster: Cluster) -> None:
    profile = site.folder / PROFILE
    text = profile.read_text()
    profile.write_text(text.replace("\nprecommand: ", "\nprecommand: export PYTHONHOME=/no && "))
    run = Run(site.folder, cluster, configfile=site.config).start("smoke")
    run.wait()
    profile.write_text(text)
    print(run.said())
    assert run.status == 1
