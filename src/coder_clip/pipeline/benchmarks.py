"""Read Snakemake's benchmark files, one per job: time and memory used, and resources requested."""

from __future__ import annotations

import csv
from pathlib import Path


def read(path: Path) -> dict[str, str] | None:
    """The columns of the file's last row; None if the file is missing, half-written or without a
    rule's name.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows:
        return None
    last = rows[-1]
    # DictReader fills the cells that a half-written row lacks with None
    is_whole = bool(last.get("rule_name")) and None not in last.values()
    if not is_whole:
        return None
    return last
