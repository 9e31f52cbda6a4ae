"""Refuse while jobs of this folder are, or may be, at work.

    python -m snakemake_executor_plugin_slurm_resilient.unsettled

For what removes .snakemake, and with it the journal by which the next run finds these jobs."""

from __future__ import annotations

import sys

from . import queue, reattach
from .journal import Entry, Journal, journals


def alive(noted: list[tuple[Journal, Entry]]) -> list[str]:
    """The ids of jobs that have not ended. SlurmError if Slurm does not say."""
    rows = queue.jobs()
    keyed = queue.by_key(rows.values())
    found = []
    for journal, e in noted:
        head = journal.path.stem
        row = reattach.row_of(e, head, rows, keyed)
        if row is None:
            row, _ = reattach.look_up_missing(e, head, by_database=False)
        if row is not None and row.live:
            found.append(row.id)
    return found


def main() -> None:
    """Exit with an error, and one line, if jobs are or may be at work."""
    noted = [(journal, e) for journal in journals() for e in journal.read() if not e.settled]
    if not noted:
        return
    try:
        ids = alive(noted)
        words = "are at work"
    except queue.SlurmError as error:
        ids = [e.id or "?" for _, e in noted]
        words = f"may be at work ({' '.join(str(error).split())})"
    if ids:
        named = " ".join(ids)
        sys.exit(
            f"jobs of a run {words}: {named}. Without .snakemake the next run would make their "
            "files beside them: start the run once, which goes on with them, or stop them first "
            f"('scancel {named}')"
        )


if __name__ == "__main__":
    main()
