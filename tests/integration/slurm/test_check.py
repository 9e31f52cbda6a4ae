"""`coder-clip check --profile`: what would stop a run on this cluster is told before (a good one:
test_guide.py).
"""

from __future__ import annotations

import getpass
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import Cluster
from working_copy import SMALL, Work, environment, working_copy

pytest.importorskip(
    "snakemake_executor_plugin_slurm_resilient", reason="the executor for Slurm is not installed"
)
from coder_clip.slurm.probe import NAME, Finding, Folder, finding, script, submit

pytestmark = pytest.mark.rest
PROFILE = "workflow/profiles/slurm/config.yaml"
MODULES = ". /etc/profile.d/modules.sh && module load"  # as the profile has it


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Work:
    """A clone on the cluster, with one folder of photos, whose images are listed."""
    photos = {"marks": SMALL["datasets"]["marks"]}
    work = working_copy(tmp_path_factory.mktemp("site") / "clone", {**SMALL, "datasets": photos})
    work.coder_clip("manifest", "--config", work.config)
    return work


def checked(work: Work, cluster: Cluster, *options: str, before: str = "") -> tuple[int, list[str]]:
    """Exit status and lines. before: shell commands, in a mount namespace of their own."""
    command = [sys.executable, "-m", "coder_clip.cli", "check", "--config", work.config, *options]
    if before:
        command = ["unshare", "--mount", "sh", "-ec", f"{before}; exec {shlex.join(command)}"]
    done = subprocess.run(
        command,
        cwd=work.folder,
        env={**environment(work.folder), **cluster.environment, "PATH": path(work, cluster)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, [*done.stdout.splitlines(), *done.stderr.splitlines()]


def path(work: Work, cluster: Cluster) -> str:
    return f"{environment(work.folder)['PATH']}:{cluster.environment['PATH']}"


def profile(work: Work, folder: Path, change: Callable[[dict[str, Any]], object]) -> str:
    """A changed copy of the profile, elsewhere."""
    document = yaml.safe_load((work.folder / PROFILE).read_text())
    change(document)
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    return str(folder)


def test_the_default_fits_small_nodes_without_an_edit(site: Work, tight: Cluster) -> None:
    """2 CPUs and 4,000 MB: shards of one data set are merged in one job of Slurm, side by side if
    there is room.
    """
    (site.folder / "config/shards.yaml").write_text(
        yaml.safe_dump({**SMALL, "features": {**SMALL["features"], "shards": 2}})
    )
    work = Work(site.folder, "config/shards.yaml")
    _, lines = checked(work, tight, "--no-probe", "--profile", "slurm")
    assert not [line for line in lines if line.startswith("wrong")], lines
    assert [line for line in lines if "merge_shards" in line and line.startswith("ok")], lines


def test_a_guess_of_what_jobs_need_is_no_alarm(site: Work, tight: Cluster) -> None:
    """Before images are counted, a job of minutes is taken for one of days, which no partition
    allows.
    """
    (site.folder / "config/unlisted.yaml").write_text(
        yaml.safe_dump({**SMALL, "results": "results/unlisted"})
    )
    _, lines = checked(
        Work(site.folder, "config/unlisted.yaml"), tight, "--no-probe", "--profile", "slurm"
    )
    assert not [line for line in lines if "the most that there is" in line], lines
    (line,) = [line for line in lines if "fit_adapters" in line]
    assert line.startswith("ok ")


def test_everything_that_is_missing_is_told_and_the_cluster_first(
    site: Work, cluster: Cluster, tmp_path: Path
) -> None:
    """Data, weights and key: else each is found only after the one before it was got."""
    document = {
        **SMALL,
        "datasets": {"dtd": {"texts": {"attribute": "llm"}}},
        "models": {"mini": {"model": "hf-hub:no-one/no-such-model"}},
        "generator": {"model": "gpt-4o-mini"},
        "data_root": "nowhere",
    }
    (site.folder / "nowhere").mkdir()
    (site.folder / "config/nothing.yaml").write_text(yaml.safe_dump(document))
    work = Work(site.folder, "config/nothing.yaml")
    status, lines = checked(work, cluster, "--no-probe", "--profile", "slurm")
    print("\n".join(lines))
    assert status == 1
    slurm = next(i for i, line in enumerate(lines) if ": partitions " in line)
    for words in ("data set dtd: not here yet", "no-such-model", "OPENAI_API_KEY"):
        assert any(words in line for line in lines[slurm:]), (words, lines)


def test_what_the_cluster_lacks(site: Work, cluster: Cluster, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        rules = document["set-resources"]
        rules["encode_images"]["slurm_partition"] = "gpux"
        rules["encode_texts"]["gpu_model"] = "a100"
        rules["encode_pairs"]["gpu"] = 3
        rules["fit_adapters"] = {"mem_mb": 99_000}
        rules["rerank_top"] = {"runtime": 500, "slurm_partition": "urgent"}
        rules["confusable_pairs"] = {"constraint": "avx512"}

    before = len(cluster.jobs())
    status, lines = checked(
        site, cluster, "--no-probe", "--profile", profile(site, tmp_path / "mine", change)
    )
    assert status == 1
    wrong = [line for line in lines if line.startswith("wrong")]
    for rule, words in (
        ("encode_images", "there is no such partition"),
        ("encode_texts", "1 GPU, gpu_model a100, partition gpu"),
        (
            "encode_pairs",
            "no node of the partition has that much memory, so many CPUs or such GPUs",
        ),
        ("confusable_pairs", "Invalid feature specification"),
    ):
        assert len([line for line in wrong if rule in line and words in line]) == 1, (rule, wrong)
    assert len(wrong) == 4
    notes = [line for line in lines if line.startswith("note")]
    for rule, words in (
        ("fit_adapters", "it gets 16000 MB, the most that there is, instead of"),
        ("rerank_top", "it gets 120 min, the most that there is, instead of 500"),
    ):
        assert len([line for line in notes if rule in line and words in line]) == 1, (rule, notes)
    assert len(cluster.jobs()) == before, "a job was submitted"


def test_tables_and_figures_are_jobs_where_the_profile_names_a_partition(
    site: Work, cluster: Cluster, tmp_path: Path
) -> None:
    def change(document: dict[str, Any]) -> None:
        document["set-resources"]["tables"] = {"slurm_partition": "urgent"}
        document["default-resources"]["slurm_extra"] = (
            "'--mail-type=FAIL --licenses=none:1'"  # as the guide has it
        )

    mine = profile(site, tmp_path / "mine", change)
    _, lines = checked(site, cluster, "--no-probe", "--profile", mine)
    (line,) = [line for line in lines if "partition urgent" in line]
    assert "1 jobs of tables" in line or "tables: " in line
    assert all("license" in line for line in lines if line.startswith("wrong")), (
        "options go to sbatch"
    )
    _, lines = checked(site, cluster, "--no-probe", "--profile", "slurm")
    assert not [line for line in lines if "tables" in line], "else they are the head's"


def test_a_cluster_is_checked_before_the_images_are_there(site: Work, cluster: Cluster) -> None:
    document = {**SMALL, "datasets": {"dtd": {"texts": "names"}}, "data_root": "nowhere"}
    (site.folder / "config/absent.yaml").write_text(yaml.safe_dump(document))
    (site.folder / "nowhere").mkdir(exist_ok=True)
    absent = Work(site.folder, "config/absent.yaml")
    status, lines = checked(absent, cluster, "--no-probe", "--profile", "slurm")
    assert status == 0, lines
    assert any(line.startswith("data set dtd: not here yet") for line in lines), lines
    assert any("jobs of encode_images" in line for line in lines)


def test_an_account_and_a_qos_that_are_not_mine(
    site: Work, accounting: Cluster, tmp_path: Path
) -> None:
    def change(document: dict[str, Any]) -> None:
        rules = document["set-resources"]
        rules["fit_adapters"] = {"slurm_account": "their-lab"}
        rules["encode_images"]["qos"] = "gold"

    status, lines = checked(
        site, accounting, "--no-probe", "--profile", profile(site, tmp_path / "mine", change)
    )
    assert status == 1
    account, qos = sorted(line for line in lines if line.startswith("wrong"))
    assert "account their-lab is not one of yours" in account
    assert "change slurm_account in the profile" in account
    assert "there is no QOS gold" in qos
    assert "change qos in the profile" in qos


def test_each_node_of_the_partitions_is_tried(site: Work, cluster: Cluster) -> None:
    """One small job per partition goes to any node, and a bad one is found by the run."""
    status, lines = checked(site, cluster, "--profile", "slurm", "--all-nodes")
    assert status == 0, lines
    for place in (
        "partition cpu, asked for n1, node n1",
        "partition cpu, asked for n2, node n2",
        "partition gpu, gpu 1, asked for g1, node g1",
    ):
        (line,) = [line for line in lines if f" {place}: " in line]
        assert "sees every folder" in line


def test_a_profile_is_proposed_for_this_site(site: Work, accounting: Cluster) -> None:
    """And is good as it is: its check says nothing wrong."""
    proposed = site.folder / "workflow/profiles/site/config.yaml"
    status, lines = checked(site, accounting, "--no-probe", "--profile", "slurm", "--propose")
    assert status == 0, lines
    me = ("user", getpass.getuser(), "format=DefaultAccount")
    account = accounting.run("sacctmgr", "--noheader", "--parsable2", "show", *me).strip()
    words = f"jobs in partition cpu, account {account}, encoders in partition gpu; look at it"
    assert f"ok     proposed workflow/profiles/site/config.yaml: {words}" in lines[0]
    assert [line for line in lines if line.startswith(f"ok     partition cpu, account {account}: ")]
    status, lines = checked(site, accounting, "--no-probe", "--profile", "slurm", "--propose")
    assert status == 1
    assert "site/config.yaml exists: remove it for a new proposal" in lines[0]
    document = yaml.safe_load(proposed.read_text())
    assert document["default-resources"]["slurm_account"] == account
    proposed.unlink()
    proposed.parent.rmdir()


def test_images_that_only_the_head_has(site: Work, cluster: Cluster, tmp_path: Path) -> None:
    """A local disk: the head has something mounted where a node has an empty folder."""
    (site.folder / "photos").rename(hidden := site.folder / "hidden")
    (site.folder / "photos").mkdir()
    mount = f"mount -t tmpfs tmpfs photos; cp -r {hidden}/. photos"
    status, lines = checked(site, cluster, "--profile", "slurm", before=mount)
    (site.folder / "photos").rmdir()
    hidden.rename(site.folder / "photos")
    assert status == 1, lines
    assert any(line.startswith("ok     partition cpu: ") for line in lines), lines
    wrong = [line for line in lines if line.startswith("wrong")]
    assert len(wrong) == 2, "neither node sees them"
    assert all(
        "the images of marks" in line and "cannot be read there" in line for line in wrong
    ), wrong


def probe(
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    logs: Path,
    options: str = "-p cpu",
    seconds: float = 60,
    precommand: str = "",
) -> Finding:
    """What one small job says."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    logs.mkdir(exist_ok=True)
    text = script([Folder("the repository", Path.cwd())], precommand, gpu=False)
    sbatch = submit(["sbatch", "--parsable", *options.split()], text, logs)
    try:
        return finding("here", sbatch, logs, seconds)
    finally:
        cluster.run("scancel", "--me", f"--name={NAME}")


@pytest.mark.parametrize(
    ("precommand", "words"),
    [
        (
            "export PYTHONHOME=/nowhere",
            "No module named 'encodings'; Python does not work there",
        ),
        ("module load cuda", "module: not found; precommand fails"),
        (f"{MODULES} no-such-module", "Unable to locate a modulefile for 'no-such-module'"),
        (
            "export TMPDIR=/no-such-scratch/$SLURM_JOB_ID",
            "TMPDIR is not a folder that can be written",
        ),
        (
            "export HOME=/dev/null && unset XDG_CACHE_HOME",
            "the cache folder (/dev/null/.cache) cannot be written there; export XDG_CACHE_HOME",
        ),
        ("export XDG_CACHE_HOME=/proc/cache", "the cache folder (/proc/cache) cannot be written"),
        ("exit 0", "wrong"),
    ],
)
def test_a_node_on_which_jobs_would_fail(
    shared_folder: Path,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    precommand: str,
    words: str,
) -> None:
    found = probe(cluster, monkeypatch, shared_folder / "logs", precommand=precommand)
    assert words in str(found)
    assert found.status == "wrong"
    assert found.text.startswith(("here, node n1: ", "here, node n2: "))
    assert not list((shared_folder / "logs").iterdir())


def test_no_node_is_free(
    shared_folder: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full cluster is no fault of the profile; nothing stays in its queue."""
    found = probe(
        cluster, monkeypatch, shared_folder / "logs", "-p cpu --begin=now+1hour", seconds=3
    )
    assert (found.status, "no node was free" in found.text) == ("note", True)
    assert cluster.live() == []


def test_a_log_folder_that_nodes_do_not_share(
    shared_folder: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the node writes does not arrive; jobs of the run would have no logs either."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("coder_clip.slurm.probe.LATE", 2)
    sbatch = submit(["sbatch", "--parsable", "-p", "cpu"], script([], "", gpu=False), shared_folder)
    found = finding("here", sbatch, tmp_path / "elsewhere", 60)
    assert found.status == "wrong"
    assert f"cannot write the log folder ({tmp_path}/elsewhere)" in found.text
