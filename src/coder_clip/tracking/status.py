"""`coder-clip status`: one screen about the phases: complete, recorded, pushed, and what would rerun and why."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .. import environment
from ..artifacts import Paths
from ..errors import UserError
from . import dvc, provenance
from .gate import Planned, check, describe, plan
from .hashes import Hashes
from .records import Records
from .stages import Stage, mend_lock, read_lock, read_stages, why_untracked


@dataclass(frozen=True)
class Line:
    """One phase. Columns that could not be found out say so in their own words."""

    phase: str
    files: str
    complete: str
    recorded: str
    pushed: str
    why: str


def status(config: str | Path, remote: bool = True) -> tuple[list[Line], list[str]]:
    """A line a phase, and notes. remote: ask the DVC remote what it holds (may need the network)."""
    reason = why_untracked(config)
    notes = [f"not recorded: {reason} (docs/sharing.md)"] if reason else []
    if not Path("dvc.yaml").is_file():
        raise UserError("no dvc.yaml here; run this in the folder of the Snakefile")
    if mended := mend_lock():
        notes.append(mended)
    stages, lock, planned = read_stages(), read_lock(), plan(config)
    if reason and not any(stage.holds(p.path) for stage in stages for p in planned):
        raise UserError(f"nothing to show: {reason}")
    absent = _not_pushed() if remote and not reason else "not asked"
    records, hashes = Records(), Hashes()
    lines = [_line(stage, planned, lock, absent, records, hashes) for stage in stages]
    results = Path(stages[0].outs[0]).parent
    if ran := environment.line(Paths(results)):
        notes.append(ran)
    hashes.save()
    return lines, notes


def _line(
    stage: Stage,
    planned: list[Planned],
    lock: dict[str, dict[str, str]],
    absent: str | set[str],
    records: Records,
    hashes: Hashes,
) -> Line:
    checked = check(stage, planned, records, hashes)
    here = sum(Path(p.path).is_file() for p in checked.outputs)
    entry, whole = lock.get(stage.name), not checked.problems and not checked.foreign
    if entry is None:
        recorded = pushed = "no"
    else:
        same = whole and describe(checked, records, hashes).outs == entry and _noted(stage) == entry
        recorded = "yes" if same else "an earlier version"
        pushed = (
            absent if isinstance(absent, str) else "no" if any(_touches(stage, p) for p in absent) else "yes"
        )
    why = Counter(_reason(p) for p in checked.outputs if p.pending or p.status == "missing")
    own = {text: n for text, n in why.items() if text != FOLLOWS} or why
    rest = [f"{text} ({n})" for text, n in Counter(own).most_common()] or checked.problems
    if checked.foreign:
        rest = [*rest, f"{len(checked.foreign)} files that this configuration does not make"]
    complete = "no" if checked.problems else "yes"
    return Line(stage.name, f"{here}/{len(checked.outputs)}", complete, recorded, pushed, "; ".join(rest))


FOLLOWS = "follows from a phase before it"


def _reason(p: Planned) -> str:
    return {
        "ok": FOLLOWS,
        "params changed": "a parameter changed",
        "updated input files": "an input changed",
        "set of input files changed": "other inputs than before",
        "rule implementation changed": "the command changed",
    }.get(p.status, p.status)


def _noted(stage: Stage) -> dict[str, str] | None:
    found = provenance.read(stage.name)
    return found.outs if found else None


def _touches(stage: Stage, path: str) -> bool:
    return stage.holds(path) or any(out.startswith(path.rstrip("/") + "/") for out in stage.outs)


def _not_pushed() -> str | set[str]:
    """Recorded paths that the remote lacks; or why that is not known."""
    done = dvc.call("status", "--cloud", "--json")
    if done.returncode:
        return "no remote" if "no remote" in done.stderr.lower() else "remote not reached"
    try:
        return {path for path, what in json.loads(done.stdout or "{}").items() if what in ("new", "missing")}
    except ValueError:
        return "remote not reached"


def table(lines: list[Line]) -> list[str]:
    """The lines under a heading, in columns."""
    rows = [("phase", "files", "complete", "recorded", "pushed", "what would rerun, and why")]
    rows += [(x.phase, x.files, x.complete, x.recorded, x.pushed, x.why) for x in lines]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return ["  ".join([*(row[i].ljust(widths[i]) for i in range(5)), row[5]]).rstrip() for row in rows]
