"""`coder-clip usage`: what the jobs of each rule asked for and used, by Snakemake's benchmark files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError
from ..foundation import terminal
from ..pipeline import benchmarks
from ..pipeline.resources import LEAST

AROUND = 300  # MB of the Snakemake around a job, which Slurm counts and a benchmark file does not
WORTH_MB, WORTH_MINUTES = 2000, 30  # smaller savings let no job start sooner


def usage(results: Path) -> pd.DataFrame:
    """Compare what jobs requested and used: one row per rule. UserError if no run has left benchmark files.

    Columns: number of jobs, the largest amounts requested and used, better requests. NaN: unknown, or no change needed.
    """
    # A profile has one request per rule, so the largest job decides. The better request has a margin (a quarter
    # of the memory, twice the time), and is shown only if the present one is nearly used up or much too large.
    folder = results / "benchmarks"
    files = [row for path in folder.rglob("*.tsv") if (row := benchmarks.read(path))]
    if not files:
        raise UserError(f"no benchmark files in {folder}: run with a profile of workflow/profiles first")
    found = pd.DataFrame(files)
    seconds = _numbers(found["s"])
    jobs = pd.DataFrame(
        {
            "rule": found["rule_name"],
            "asked MB": _numbers(found["resources"].str.extract(r"'mem_mb': '?(\d+)")[0]),
            "used MB": _numbers(found["max_rss"]),
            "asked min": _numbers(found["resources"].str.extract(r"'runtime': '?(\d+)")[0]),
            "used min": seconds / 60,
            "CPUs": _numbers(found["threads"]),
            "busy CPUs": (_numbers(found["cpu_time"]) / seconds).where(seconds > 1),
        }
    )
    rules = jobs.groupby("rule")
    rows = rules.max()
    rows.insert(0, "jobs", rules.size())
    asked, used = rows["asked MB"], rows["used MB"]
    need = np.ceil((used * 1.25 + AROUND) / 500) * 500
    rows["better MB"] = need.where((used + AROUND > 0.9 * asked) | (asked - need >= WORTH_MB))
    asked, used = rows["asked min"], rows["used min"]
    need = (np.ceil(used * 2 / 5) * 5).clip(lower=LEAST)
    rows["better min"] = need.where((used > 0.8 * asked) | (asked - need >= WORTH_MINUTES))
    return rows


def _numbers(texts: pd.Series[str]) -> pd.Series[float]:
    return pd.to_numeric(texts, errors="coerce")  # "NA" and "-": not measured


def lines(rows: pd.DataFrame) -> Iterator[str]:
    """Format the comparison as a table, with the lines to write into the profile."""
    shown = rows.drop(columns=["better MB", "better min"])
    text = shown.map("{:.0f}".format).assign(
        **{c: shown[c].map("{:.1f}".format) for c in ("used min", "busy CPUs")}
    )
    cells = text.replace("nan", "").reset_index().to_numpy().tolist()
    yield from terminal.table(["rule", *map(str, shown)], cells, right=range(1, 1 + shown.shape[1]))
    advised = rows[rows["better MB"].notna() | rows["better min"].notna()]
    if advised.empty:
        return
    yield "\nFor the profile (the largest job of a rule decides; a quarter more memory, twice the time):"
    yield "set-resources:"
    for rule, row in advised.iterrows():
        yield f"  {rule}:"
        for resource, of, digits in (("mem_mb", "MB", 0), ("runtime", "min", 1)):
            better, used, asked = (row[f"{what} {of}"] for what in ("better", "used", "asked"))
            if better > 0:
                yield f"    {resource}: attempt * {better:.0f} # used {used:.{digits}f} of {asked:.0f}"
