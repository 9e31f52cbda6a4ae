"""What an administrator sees of a run: few questions to the controller, no keys on nodes, nothing
of others deleted.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from cluster import Cluster
from toy_run import toy

pytestmark = pytest.mark.rest

SPY = '#!/bin/sh\necho "{name} $*" >> {calls}\nexec {real} "$@"\n'


def test_the_controller_is_asked_for_my_jobs_alone(shared_folder: Path, cluster: Cluster) -> None:
    """Else an administrator stops a run of many jobs, which slows Slurm down for everybody."""
    run = toy(shared_folder / "toy", cluster, jobs=["ok", "brief", "keys_plain"])
    spies, calls = shared_folder / "spies", shared_folder / "calls"
    spies.mkdir()
    for name in ("scontrol", "squeue", "sbatch", "sinfo", "sacct"):
        spy = spies / name
        spy.write_text(SPY.format(name=name, calls=calls, real=shutil.which(name)))
        spy.chmod(0o755)
    run.more["PATH"] = f"{spies}{os.pathsep}{run.environment['PATH']}"
    assert run.start().wait() == 0, run.said()
    asked = [line.split() for line in calls.read_text().splitlines()]
    assert {name for name, *_ in asked} == {"sbatch", "squeue", "sinfo", "scontrol"}
    assert all("--me" in options for name, *options in asked if name == "squeue")
    counts = Counter(name for name, *_ in asked)
    assert counts["sbatch"] == 3
    assert (counts["sinfo"], counts["scontrol"]) == (1, 1), "the site is read once"
    path = (run.folder / "started/keys_plain.env").read_text()
    assert str(spies) in path, "jobs would have been seen, too"


def test_keys_are_only_where_they_are_needed(shared_folder: Path, cluster: Cluster) -> None:
    run = toy(
        shared_folder, cluster, jobs=["keys_plain", "keys_needed"], keys={"keys_needed": "HF_TOKEN"}
    )
    run.more |= {"OPENAI_API_KEY": "sk-1", "HF_TOKEN": "hf-2", "MY_SETTING": "3"}
    run.more |= {
        "GITHUB_PAT": "sk-1",
        "PGPASSFILE": "sk-1",
        "MYSQL_PWD": "sk-1",
        "http_proxy": "http://me:sk-1@proxy:80",
    }
    run.more |= {"https_proxy": "http://proxy:80"}
    assert run.start().wait() == 0, run.said()
    plain, needed = (
        (shared_folder / f"started/{n}.env").read_text() for n in ("keys_plain", "keys_needed")
    )
    assert "sk-1" not in plain + needed
    assert "hf-2" not in plain
    assert "HF_TOKEN=hf-2" in needed
    assert "MY_SETTING=3" in plain
    assert "https_proxy=http://proxy:80" in plain


def test_a_request_for_several_generic_resources(shared_folder: Path, cluster: Cluster) -> None:
    names = {"gres": {"keys_gpu": "gpu:h100:1,lscratch:100"}, "partition": {"keys_gpu": "gpu"}}
    run = toy(shared_folder, cluster, jobs=["keys_gpu"], **names)
    assert run.start("--retries", "0").wait() == 0, run.said()
    assert "CUDA_VISIBLE_DEVICES=" in (shared_folder / "started/keys_gpu.env").read_text()


def test_gpus_that_no_node_has_are_refused_in_one_line(
    shared_folder: Path, cluster: Cluster
) -> None:
    """Slurm keeps a failed job of a refused call: it read "ended by signal 1", and was retried."""
    names = {"gres": {"ok": "gpu:9"}, "partition": {"ok": "gpu"}}
    run = toy(shared_folder, cluster, jobs=["ok"], **names)
    assert run.start().wait() == 1
    (line,) = [line for line in run.said().splitlines() if "Slurm refused it" in line]
    assert "no node of the partition has that much memory, so many CPUs or such GPUs" in line
    assert "signal" not in run.said()
    assert len(run.submitted()) == 1, "it was not tried again"


DECLARED = """
envvars:
    "MY_TOKEN",


rule all:
    default_target: True
    output:
        "seen",
    shell:
        "echo $MY_TOKEN $SNAKEMAKE_STORAGE_S3_SECRET_KEY ${{OTHER_TOKEN:-none}} > {output}"
"""


def test_what_a_workflow_declares_reaches_its_jobs(shared_folder: Path, cluster: Cluster) -> None:
    """Else it cannot run here at all: Snakemake asks for each name of `envvars:` in every job."""
    run = toy(shared_folder, cluster)
    (shared_folder / "Snakefile").write_text(DECLARED)
    run.more |= {
        "MY_TOKEN": "one",
        "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "two",
        "OTHER_TOKEN": "three",
    }
    assert run.start().wait() == 0, run.said()
    assert (shared_folder / "seen").read_text() == "one two none\n"


def test_a_request_is_not_cut_where_no_partition_is_named(
    shared_folder: Path, cluster: Cluster
) -> None:
    """A site may choose the partition by what a job asks for: the default one alone has a limit of
    120 minutes.
    """
    run = toy(shared_folder, cluster, jobs=["ok"], runtime={"ok": 300}, partition={"ok": None})
    profile = shared_folder / "workflow/profiles/slurm/config.yaml"
    profile.write_text(
        profile.read_text().replace("  slurm_partition: cpu #", "  # slurm_partition: cpu #")
    )
    assert run.start("--retries", "0").wait() == 1
    assert "the most that there is" not in run.said()
    assert "Asked for: 500 MB, 300 min, 1 CPUs" in run.said()


def test_no_log_is_deleted(shared_folder: Path, cluster: Cluster) -> None:
    """Programs keep their logs below the same folder, for years."""
    run = toy(shared_folder, cluster, jobs=["ok"])
    old = shared_folder / "results/logs/old.log"
    old.parent.mkdir(parents=True)
    old.write_text("of a program")
    os.utime(old, (0, time.time() - 40 * 86400))
    assert run.start("--slurm-resilient-logdir", "results/logs").wait() == 0, run.said()
    assert old.exists()
    assert list((shared_folder / "results/logs/rule_job/ok").glob("*.log"))


def test_a_failure_does_not_show_the_log_of_an_earlier_success(
    shared_folder: Path, cluster: Cluster
) -> None:
    run = toy(shared_folder, cluster, jobs=["ok"])
    log = shared_folder / "log/ok.log"
    log.parent.mkdir()
    log.write_text("all went well")
    assert run.start("--precommand", "exit 7", "--retries", "0").wait() == 1
    assert "ended with status 7" in run.said()
    assert "all went well" not in run.said()
    assert (log.parent / "ok.log.before").read_text() == "all went well"


def test_why_a_group_was_not_submitted_is_told_and_its_tries_are_not_used_at_once(
    shared_folder: Path, cluster: Cluster
) -> None:
    run = toy(shared_folder, cluster, jobs=["ok", "brief"])
    (shared_folder / "results").mkdir()
    (shared_folder / "results/logs").write_text("in the way")
    groups = [
        "--groups",
        "job=jobs",
        "--group-components",
        "jobs=100",
        "--slurm-resilient-retry-pause",
        "4",
    ]
    start = time.monotonic()
    run.start(*groups)
    run.says("Group jobs_job (job): could not be submitted:")
    run.says("File exists" if "File exists" in run.said() else "Not a directory")
    os.unlink(shared_folder / "results/logs")
    assert run.wait() == 0, run.said()
    assert time.monotonic() - start > 4
    assert "Trying to restart" in run.said()


def test_names_that_slurm_would_replace(shared_folder: Path, cluster: Cluster) -> None:
    """With a %j in the path of its log, or a name too long for a folder, no job could start."""
    names = ["ok_50%j", "ok_grün", "ok_" + "".join(f"{i:03d}" for i in range(75))]
    run = toy(shared_folder / "100%j ü", cluster, jobs=names)
    assert run.start("--slurm-resilient-jobname-prefix", "a|b").wait() == 0, run.said()
    logs = re.findall(r"\(log: (.*)\)\. It asks for", run.said())
    assert [Path(log).is_file() for log in logs] == [True] * 3, logs
    assert [len(run.started(name)) for name in names] == [1] * 3
