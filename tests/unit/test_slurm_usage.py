"""`coder-clip usage`: what jobs asked for and used, and what to ask for next time."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from coder_clip.slurm.usage import usage

HEADER = "s\th:m:s\tmax_rss\tcpu_time\tjobid\trule_name\tparams\tthreads\tresources\n"


def benchmark(path: Path, rule: str, seconds: float, mem: str, asked: str, cpu: str = "4.0") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{HEADER}{seconds}\t0:00:00\t{mem}\t{cpu}\t3\t{rule}\t"\t2\t{asked}\n')


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
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


def amounts(rows: pd.DataFrame, rule: str, *names: str) -> list[float | None]:
    return [None if pd.isna(rows.loc[rule, name]) else float(rows.loc[rule, name]) for name in names]


def test_the_largest_job_of_a_rule_counts(results: Path) -> None:
    found = amounts(usage(results), "encode", "jobs", "asked MB", "used MB", "asked min", "used min", "CPUs")
    assert found == [2, 8000, 1000, 120, 2, 2]


def test_advice(results: Path) -> None:
    rows = usage(results)
    better = {rule: amounts(rows, rule, "better MB", "better min") for rule in rows.index}
    assert better == {
        "encode": [2000, 10],
        "score": [3000, 110],  # more, before it fails
        "small": [None, None],  # not worth a line
        "quick": [None, None],  # its memory was not measured
    }


def test_advice_that_was_followed_is_not_given_again(results: Path) -> None:
    """Else every run would change the profile."""
    for file in results.rglob("*.tsv"):
        text = file.read_text()
        for old, new in (
            ("8000", "2000"),
            ("120}", "10}"),
            ("120,", "10,"),
            ("'runtime': 60", "'runtime': 110"),
        ):
            text = text.replace(old, new)
        file.write_text(text.replace("'mem_mb': 2000, 'runtime': 110", "'mem_mb': 3000, 'runtime': 110"))
    rows = usage(results)
    assert rows["asked MB"].to_dict() == {"encode": 2000, "quick": 1000, "score": 3000, "small": 2000}
    assert rows[["better MB", "better min"]].isna().all(axis=None)


def test_half_written_files_and_those_without_a_rule_are_passed_over(results: Path) -> None:
    (results / "benchmarks/half.tsv").write_text(HEADER + "3.1\t0:0")
    (results / "benchmarks/empty.tsv").write_text("")
    (results / "benchmarks/short.tsv").write_text("s\tmax_rss\n1\t2\n")
    assert set(usage(results).index) == {"encode", "score", "quick", "small"}


def test_command(results: Path, command: Callable[..., Any], repo: Path) -> None:
    Path("c.yaml").write_text("datasets: [shapes]\nmodels: [mini]\n")
    Path("data").symlink_to(repo / "data")
    answer = command("usage", "--config", "c.yaml")
    assert answer.code == 0, answer.err
    assert "    mem_mb: attempt * 2000 # used 1000 of 8000" in answer.out
    table = list(csv.DictReader(io.StringIO(command("usage", "--config", "c.yaml", "--csv").out)))
    assert [row["rule"] for row in table] == ["encode", "quick", "score", "small"]
    assert table[0]["better MB"] == "2000.0"
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
