"""`coder-clip usage`: what jobs asked for and used, and what to ask for next time."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coder_clip.slurm import usage
from snakemake_executor_plugin_coder_clip.journal import FOLDER, Entry, Journal

HEADER = "s\th:m:s\tmax_rss\tcpu_time\tjobid\trule_name\tparams\tthreads\tresources\n"
SACCT = """\
7|COMPLETED|90|
7.batch|COMPLETED|90|2048K
8|OUT_OF_MEMORY|30|
8.batch|OUT_OF_MEMORY|30|3.9G
9|CANCELLED by 0|5|
10|RUNNING|5|
11|TIMEOUT|600|
11.batch|CANCELLED|600|812.5M
"""


def benchmark(path: Path, rule: str, seconds: float, mem: str, asked: str, cpu: str = "4.0") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{HEADER}{seconds}\t0:00:00\t{mem}\t{cpu}\t3\t{rule}\t"\t2\t{asked}\n')


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(usage, "ask", lambda *_: SACCT)
    folder = tmp_path / "results"
    benchmark(
        folder / "benchmarks/f/a.tsv",
        "encode",
        60,
        "900.5",
        "{'mem_mb': 8000, 'runtime': 120, 'mem': '8 GB'}",
    )
    benchmark(folder / "benchmarks/f/b.tsv", "encode", 120, "1000", "{'runtime': 120, 'mem_mb': 8000}")
    benchmark(folder / "benchmarks/g.tsv", "score", 3300, "1900", "{'mem_mb': 2000, 'runtime': 60}")
    benchmark(folder / "benchmarks/i.tsv", "small", 6, "100", "{'mem_mb': 2000, 'runtime': 30}")
    benchmark(folder / "benchmarks/h.tsv", "quick", 0.01, "NA", "{'mem_mb': 1000, 'runtime': 10}", "NA")
    return folder


def rows(results: Path) -> dict[str, usage.Usage]:
    return {row.rule: row for row in usage.usage(results)}


def test_the_largest_job_of_a_rule_counts(results: Path) -> None:
    row = rows(results)["encode"]
    assert (row.jobs, row.asked_mb, row.used_mb) == (2, 8000, 1000)
    assert (row.asked_minutes, row.used_minutes) == (120, 2)


def test_advice(results: Path) -> None:
    found = rows(results)
    assert (found["encode"].better_mb, found["encode"].better_minutes) == (2000, 10)
    assert (found["score"].better_mb, found["score"].better_minutes) == (3000, 110), "more, before it fails"
    assert (found["small"].better_mb, found["small"].better_minutes) == (None, None), "not worth a line"
    assert (found["quick"].better_mb, found["quick"].better_minutes) == (None, None)


def test_advice_that_was_followed_is_not_given_again(results: Path) -> None:
    for row in rows(results).values():
        asked = {"asked_mb": row.better_mb, "asked_minutes": row.better_minutes}
        followed = replace(row, **{key: n for key, n in asked.items() if n is not None})
        assert (followed.better_mb, followed.better_minutes) == (None, None), row.rule


def test_accounts() -> None:
    found = usage.parse_accounts(SACCT)
    assert {i: (a.state, a.mem_mb) for i, a in found.items()} == {
        "7": ("COMPLETED", 2.0),
        "8": ("OUT_OF_MEMORY", pytest.approx(3993.6)),
        "9": ("CANCELLED", None),
        "11": ("TIMEOUT", 812.5),
    }


def submitted(job: str, rule: str, *files: str, **asked: Any) -> None:
    journal = Journal(FOLDER / "head.jsonl")
    journal.intend(Entry(job, rule, {}, {}, asked, list(files), 1.0))
    journal.note(job, id=job)


def test_slurm_s_accounting_joins_in(results: Path) -> None:
    """Jobs that failed leave no benchmark file; a group is a job of its own."""
    submitted("8", "encode", str(results / "benchmarks/f/a.tsv"), mem_mb=4000, runtime=60)
    submitted("7", "both-mini-shapes_a_b", "a.tsv", "b.tsv", mem_mb=16000, runtime=240, cpus=5)
    submitted("9", "encode", str(results / "benchmarks/f/b.tsv"), mem_mb=4000)
    found = rows(results)
    assert (found["encode"].jobs, found["encode"].failed) == (2, 2)
    assert found["encode"].used_mb == 1000, "what a failed job took is no measure"
    group = found["both"]
    assert (group.group, group.jobs, group.asked_mb, group.used_minutes, group.cpus) == (
        True,
        1,
        16000,
        1.5,
        5,
    )
    assert group.better_mb is group.better_minutes is None, "what its members ask for makes it up"


def test_a_site_without_accounting(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from snakemake_executor_plugin_coder_clip.queue import Unreachable

    def refuse(*_: str) -> str:
        raise Unreachable("Slurm accounting storage is disabled")

    monkeypatch.setattr(usage, "ask", refuse)
    submitted("8", "encode", mem_mb=4000)
    submitted("9", "encode", mem_mb=4000)
    Journal(FOLDER / "head.jsonl").note("9", settled="failed")
    assert rows(results)["encode"].failed == 1


def test_half_written_files_and_those_without_a_rule_are_passed_over(results: Path) -> None:
    (results / "benchmarks/half.tsv").write_text(HEADER + "3.1\t0:0")
    (results / "benchmarks/empty.tsv").write_text("")
    (results / "benchmarks/short.tsv").write_text("s\tmax_rss\n1\t2\n")
    assert set(rows(results)) == {"encode", "score", "quick", "small"}


def test_command(results: Path, command: Callable[..., Any], repo: Path) -> None:
    Path("c.yaml").write_text("datasets: [shapes]\nmodels: [mini]\n")
    Path("data").symlink_to(repo / "data")
    answer = command("usage", "--config", "c.yaml")
    assert answer.code == 0, answer.err
    assert "    mem_mb: attempt * 2000 # used 1000 of 8000" in answer.out
    table = list(csv.DictReader(io.StringIO(command("usage", "--config", "c.yaml", "--csv").out)))
    assert [row["rule"] for row in table] == ["encode", "quick", "score", "small"]
    assert table[0]["advice"] == "less memory, less time"
    assert table[1]["used MB"] == ""


def test_before_any_run(
    tmp_path: Path, command: Callable[..., Any], repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("datasets: [shapes]\nmodels: [mini]\n")
    Path("data").symlink_to(repo / "data")
    answer = command("usage", "--config", "c.yaml")
    assert answer.code == 1
    assert "no benchmark files" in answer.err
