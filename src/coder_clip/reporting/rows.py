"""Find a row of a written table, or the table's configuration, by what a user types."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from ..errors import UserError, nearest
from ..foundation.artifacts import Paths
from ..pipeline.config import load_config


def row_of(path: Path, row: str) -> dict[str, str]:
    """A row of a table: column -> cell.

    row: its number from 1, or values of some columns ("dataset=rare,method=coder").
    """
    # Each error names what would have worked: tables that exist, columns, the nearest value, or
    # the column that tells several matching rows apart.
    rows = _rows(path)
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
        raise UserError(f"{len(matching)} rows of {path} have {row}; {_difference(matching)}")
    return matching[0]


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table. UserError, with the tables beside it, if there is no such table."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    except OSError as error:
        tables = sorted(str(p) for p in path.parent.glob("*.csv"))
        listed = ", ".join(tables) or f"none in {path.parent}"
        raise UserError(f"no table {path} (there are: {listed})") from error


def _difference(rows: list[dict[str, str]]) -> str:
    """The first column in which rows differ, with its values: it shows what to add."""
    for key in rows[0]:
        values = list(dict.fromkeys(r[key] for r in rows))
        if len(values) > 6:
            values = [*values[:6], "…"]
        if len(values) > 1:
            return f"they differ in {key} ({', '.join(values)})"
    return "they differ in nothing"


def config_of(table: str | Path) -> Path:
    """The configuration of config/ that writes the table. UserError if none or several do."""
    matching, every = [], sorted(Path("config").glob("*.yaml"))
    for path in every:
        try:
            results = load_config(path).results
        except UserError:
            continue  # an unfinished configuration is not the one
        # resolved paths, because a results folder may be a link
        if os.path.realpath(Paths(results).table(Path(table).stem)) == os.path.realpath(table):
            matching.append(path)
    if len(matching) != 1:
        said = "no configuration writes"
        if matching:
            said = "several configurations write"
        listed = ", ".join(map(str, matching or every)) or "none in config/"
        raise UserError(f"{said} {table} ({listed}); name one with --config")
    return matching[0]
