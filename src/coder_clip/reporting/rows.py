"""Find a row of a written table, and the configuration that writes a table, by what a user
types.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

from ..errors import UserError, nearest
from ..foundation.artifacts import Paths
from ..pipeline.config import load_config


def row_of(path: Path, row: str) -> dict[str, str]:
    """Column -> cell of a row: its number from 1, or values of some columns
    ("dataset=rare,method=coder").
    """
    # Each refusal names what would have worked: tables that exist, columns, the nearest value, or
    # the column that tells several matching rows apart.
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        there = (
            ", ".join(sorted(str(p) for p in Path("results/tables").glob("*.csv"))) or "none yet"
        )
        raise UserError(f"no table {path} (there are: {there})") from error
    if row.isdecimal():
        if not 1 <= int(row) <= len(rows):
            raise UserError(f"{path} has rows 1 to {len(rows)}, not {row}")
        return rows[int(row) - 1]
    wanted = dict(part.split("=", 1) for part in row.split(",") if "=" in part)
    if not wanted:
        raise UserError(f"row '{row}': give a number from 1, or column=value,column=value")
    for key in wanted:
        if rows and key not in rows[0]:
            raise UserError(f"{path} has no column '{key}'{nearest(key, rows[0])}")
    matching = rows
    for key, value in wanted.items():  # one after the other, to name the first without a match
        known = {r[key] for r in matching}
        matching = [r for r in matching if r[key] == value]
        if not matching:
            raise UserError(
                f"no row of {path} has {row}: {key} '{value}' is not there{nearest(value, known)}"
            )
    if len(matching) > 1:
        # the first column in which they differ shows what to add
        key = next((k for k in matching[0] if len({r[k] for r in matching}) > 1), "nothing")
        values = list(dict.fromkeys(r[key] for r in matching if key in r))
        shown = ", ".join([*values[:6], *["…"] * (len(values) > 6)])
        raise UserError(
            f"{len(matching)} rows of {path} have {row}; they differ in {key} ({shown})"
        )
    return matching[0]


def config_of(table: str | Path) -> Path:
    """The configuration of config/ that writes the table. UserError if none or several do."""
    found, known = [], sorted(Path("config").glob("*.yaml"))
    for path in known:
        try:
            results = load_config(path).results
        except UserError:
            continue  # another one that is being written
        # resolved paths, because a results folder may be a link
        if os.path.realpath(Paths(results).table(Path(table).stem)) == os.path.realpath(table):
            found.append(path)
    if len(found) != 1:
        these = ", ".join(map(str, found or known)) or "none in config/"
        said = "no configuration writes" if not found else "several configurations write"
        raise UserError(f"{said} {table} ({these}); name one with --config")
    return found[0]
