"""`coder-clip usage` on a cluster that keeps accounts: what real jobs asked for, used, and failed of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, eventually

from coder_clip.slurm import usage
from snakemake_executor_plugin_coder_clip import site
from snakemake_executor_plugin_coder_clip.journal import FOLDER, Entry, Journal

pytestmark = pytest.mark.rest


@pytest.fixture
def here(accounting: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in accounting.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def submit(cluster: Cluster, rule: str, work: str, **asked: Any) -> str:
    """A job, and its line in the journal as the executor writes it."""
    size = ["--mem", str(asked["mem_mb"]), "-t", str(asked["runtime"])]
    job = cluster.run("sbatch", "--parsable", "-o", "/dev/null", *size, "--wrap", work).strip()
    journal = Journal(FOLDER / "head.jsonl")
    journal.intend(Entry(job, rule, {}, {}, asked, [f"{rule}.tsv"], 1.0))
    journal.note(job, id=job, log="log")
    return job


def test_what_slurm_measured(accounting: Cluster, here: Path) -> None:
    hold = "python3 -c \"import time; held = bytearray({}); held[::4096] = b'x' * len(held[::4096]); time.sleep(5)\""
    jobs = [
        submit(accounting, "good", hold.format(600_000_000), mem_mb=8000, runtime=60),
        submit(accounting, "greedy", hold.format(600_000_000), mem_mb=300, runtime=5),
    ]
    eventually("the jobs ended", lambda: not accounting.live())
    eventually("slurmdbd knows", lambda: set(usage.accounted(jobs)) == set(jobs))
    found = {row.rule: row for row in usage.usage(here / "results")}
    good, greedy = found["good"], found["greedy"]
    assert [(row.jobs, row.failed) for row in (good, greedy)] == [(1, 0), (0, 1)]
    assert (good.asked_mb, good.asked_minutes) == (8000, 60)
    assert good.used_mb is not None
    assert 600_000_000 / 2**20 - usage.AROUND <= good.used_mb < 700
    assert good.used_minutes is not None
    assert 4 / 60 <= good.used_minutes < 1
    assert good.better_minutes == 10
    assert greedy.used_mb is None, "what a failed job took is no measure"


def test_accounts_of_a_person(accounting: Cluster, here: Path) -> None:
    assert "lab (QOS normal)" in site.accounts("root")
