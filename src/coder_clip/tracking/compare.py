"""Tables and metrics beside other ones: which numbers differ, and by how much."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import one_line

SIZE = 5_000_000  # bytes of a table
SHOWN = 3  # differences of a file that are shown, the largest first
Cells = dict[str, Any]  # place in a file -> number or text


def differences(theirs: Mapping[str, Path], ours: Mapping[str, Path]) -> Iterator[str]:
    """Lines about files by name: CSV tables, and JSON of numbers."""
    names = [n for n in sorted({*theirs, *ours}) if n.endswith((".csv", ".json"))]
    same = 0
    for name in names:
        if name not in theirs or name not in ours:
            yield f"  {one_line(name)}: only {'ours' if name in ours else 'theirs'}"
            continue
        lines = _differ(name, theirs[name], ours[name])
        same += not lines
        yield from lines
    yield f"  {same} of {len(names)} tables and metrics are the same"


def _differ(name: str, theirs: Path, ours: Path) -> list[str]:
    """Lines about two versions of a file; none if they have the same bytes."""
    if max(theirs.stat().st_size, ours.stat().st_size) > SIZE:
        return [f"  {one_line(name)}: too large to compare"]
    if theirs.read_bytes() == ours.read_bytes():
        return []
    try:
        there, here = _cells(theirs), _cells(ours)
    except (ValueError, RecursionError, csv.Error) as error:
        return [f"  {one_line(name)}: cannot be compared ({one_line(error)})"]
    both = [place for place in there if place in here]
    changed = [place for place in both if there[place] != here[place]]
    changed.sort(key=lambda place: -_distance(there[place], here[place]))
    lines = [f"  {one_line(name)}: {len(changed)} of {len(both)} values differ"]
    only = [(len(there) - len(both), "theirs"), (len(here) - len(both), "ours")]
    lines[0] += "".join(f", {n} only {whose}" for n, whose in only if n)
    for place in changed[:SHOWN]:
        step = there[place], here[place]
        by = ""
        if all(isinstance(value, float) for value in step):
            by = f" ({step[0] - step[1]:+.6g})"
        lines.append("    " + one_line(f"{place}: {step[0]}, ours {step[1]}{by}", 300))
    return lines


def _distance(one: Any, other: Any) -> float:
    """How far two values are apart; text that differs comes first."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) if math.isfinite(one - other) else math.inf
    return math.inf


def _cells(path: Path) -> Cells:
    """The values of a table by row and column, or of a document by the keys above them."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json" or text.lstrip().startswith("{"):
        return dict(_leaves(json.loads(text), ""))
    rows = list(csv.DictReader(text.splitlines()))
    found: Cells = {}
    for n, row in enumerate(rows, start=1):
        # words say which row it is: data set, model, method
        words = [v for v in row.values() if isinstance(v, str) and v and _number(v) == v]
        for column, value in row.items():
            found[f"row {n} ({', '.join(words[:4])}) {column}"] = _number(value)
    return found


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Each value inside a document, with the keys and positions that lead to it as its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path} {key}".strip())
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from _leaves(inner, f"{path} {n}".strip())
    else:
        yield path, _number(value)


def _number(value: Any) -> Any:
    """A number as float; all else as it is."""
    try:
        return value if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return value
