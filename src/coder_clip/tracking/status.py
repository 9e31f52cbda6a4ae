"""`coder-clip status`: a table of the phases.

Complete, recorded, pushed, what would rerun and why.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from ..foundation import dvc, terminal
from ..foundation.artifacts import Paths
from ..pipeline import environment
from ..pipeline.environment import foreign_code
from ..rerun.judge import FOLLOWS
from ..rerun.record import installed
from .record import State, Workspace
from .share import in_remote
from .stages import tracked


class Line(NamedTuple):
    """One row of the table."""

    phase: str
    files: str
    complete: str
    recorded: str
    pushed: str
    why: str


def status(config: str | Path, remote: bool = True) -> tuple[list[Line], list[str]]:
    """One row per phase, and notes.

    remote: ask the DVC remote (may need the network). Changes nothing.
    """
    t = tracked(config)
    reason = dvc.unavailable() or foreign_code()
    notes = [f"not recorded: {reason} (docs/sharing.md)"] if reason else []
    try:
        t.recorded()
    except UserError as error:
        notes.append(str(error))
    here = Workspace(t)
    # without a record there is nothing that the remote could hold
    pushed: str | dict[str, bool] = "no"
    if not remote or reason:
        pushed = "not asked"
    elif here.recorded:
        pushed = in_remote(t)
    moved = set[str]()  # files that will be made again
    states = here.states()
    lines = [_line(here, state, pushed, moved) for state in states]
    notes += _other_versions(here, states)
    ran = environment.line(Paths(t.root))
    if ran:
        notes.append(ran)
    return lines, notes


def _line(here: Workspace, state: State, pushed: str | dict[str, bool], moved: set[str]) -> Line:
    """The row of one phase.

    pushed: phase -> True if it is in the remote, or a text for all phases. moved: files that will
    be made again; those of this phase are added.
    """
    name = state.phase.name
    why = dict(state.problems)  # output -> why it will be made again
    for job in state.jobs:
        # an input of the job will be made again
        if not moved.isdisjoint(job.inputs):
            for path in job.outputs:
                why.setdefault(path, FOLLOWS)
    moved.update(why)
    entry = here.recorded.get(name)
    recorded = sent = "no"
    if entry is not None:
        recorded = "an earlier version"
        if not why and not state.extra and here.hashes_of_outs(state) == entry:
            recorded = "yes"
        # a text says for all phases why the remote is not known
        if isinstance(pushed, str):
            sent = pushed
        elif pushed.get(name):
            sent = "yes"
    counts = Counter(why.values())
    # a reason of its own says more than one that follows from an earlier phase
    own = {text: n for text, n in counts.items() if text != FOLLOWS} or counts
    said = [f"{text} ({n})" for text, n in Counter(own).most_common()]
    if state.extra:
        said.append(f"{len(state.extra)} files that this configuration does not make")
    present = sum(Path(p).is_file() for p in state.outputs)
    files = f"{present}/{len(state.outputs)}"
    return Line(name, files, "no" if why else "yes", recorded, sent, "; ".join(said))


def _other_versions(here: Workspace, states: list[State]) -> list[str]:
    """A line for each package whose version is another than a phase was made with.

    Such results stay current, because versions make no job run again.
    """
    phases: dict[str, list[str]] = {}  # what differs -> the phases
    for state in states:
        records = filter(None, map(here.judge.record, state.jobs))
        made = {item for record in records for item in record.versions.items()}
        for package, then in sorted(made):
            now = installed(package)
            if now not in ("", then):
                phases.setdefault(f"{package} {then}, here {now}", []).append(state.phase.name)
    return [f"made with {what}: {', '.join(names)}" for what, names in phases.items()]


def table(lines: list[Line]) -> list[str]:
    """The table as text, with its heading."""
    head = ("phase", "files", "complete", "recorded", "pushed", "what would rerun, and why")
    return terminal.table(head, lines)
