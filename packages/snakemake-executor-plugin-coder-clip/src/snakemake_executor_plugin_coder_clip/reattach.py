"""Jobs of an earlier run of this folder, whose head process died: none is lost, none runs beside its own copy.

Those that have ended since left files of which Snakemake has no record, because only the head process writes
records; they are written here, from the journal. Those still in the queue are watched by the new run as its own, or
cancelled where they would make something else than the new run wants.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coder_clip.errors import UserError
from coder_clip.tracking import ledger
from coder_clip.tracking.hashes import Hashes
from coder_clip.tracking.snakemake import Making, Records

from .journal import Entry, Journal
from .queue import Row, Unreachable, cancel, jobs

RUN = re.compile(r"([A-Za-z0-9_-]+_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # the plugin's job names
CLOCKS = 60.0  # seconds that the clocks of a node's file system and of this machine may differ
PATIENCE = 300.0  # seconds for a cancelled job to end


@dataclass
class Earlier:
    """Live jobs of earlier runs, as they were before Snakemake looked at the files."""

    entries: dict[str, Entry] = field(default_factory=dict)  # Slurm id -> what it makes
    unknown: list[str] = field(default_factory=list)  # submitted in the moment of the kill: ids alone

    def __bool__(self) -> bool:
        return bool(self.entries or self.unknown)

    def ids(self) -> list[str]:
        return sorted([*self.entries, *self.unknown], key=int)

    def take(self, makes: dict[str, Making], wanted: Collection[str]) -> Entry | None:
        """The job that already makes just this of all that is wanted; it belongs to the new run now.

        What else it makes is there already: a group some of whose members have ended.
        """
        found = next((e for e in self.entries.values() if e.same(makes, wanted)), None)
        return None if found is None else self.entries.pop(found.id)

    def cancel_others(self, paths: Iterable[str]) -> list[str]:
        """Cancel what would write some of these files, and return when it has ended: the ids.

        UserError where a job does not end.
        """
        wanted = set(paths)
        ids = [e.id for e in self.entries.values() if wanted & e.makes.keys()]
        return self._cancel(ids)

    def cancel_unknown(self) -> list[str]:
        """Cancel jobs of which nothing is known but that they are ours."""
        return self._cancel(self.unknown)

    def _cancel(self, ids: list[str]) -> list[str]:
        if not ids:
            return []
        cancel(ids)
        end = time.monotonic() + PATIENCE
        while left := [i for i, row in jobs().items() if i in ids and row.live]:
            if time.monotonic() > end:
                raise UserError(
                    f"job {', '.join(left)} of an earlier run was cancelled and does not end; look with "
                    f"'scontrol show job {left[0]}'"
                )
            time.sleep(1)
        self.unknown = [i for i in self.unknown if i not in ids]
        for i in ids:
            self.entries.pop(i, None)
        return list(ids)


def live(journal: Journal, folder: Path | None = None) -> Earlier:
    """What earlier runs of this folder still have in the queue. Unreachable where the controller gives no answer."""
    here = str((folder or Path.cwd()).resolve())
    rows = {i: row for i, row in jobs().items() if row.live and _mine(row, here)}
    if not rows:
        return Earlier()
    known = {e.id: e for e in journal.read() if e.id in rows and e.makes}
    return Earlier(known, sorted(rows.keys() - known.keys()))


def _mine(row: Row, here: str) -> bool:
    return RUN.fullmatch(row.name) is not None and os.path.realpath(row.folder) == here


def settle(journal: Journal) -> int:
    """Write Snakemake's records of files that jobs finished after their head process had died: how many.

    A file counts as finished by a job if it is younger than the submission, is not marked as being written (a node
    removes the mark when the job's outputs are whole), and has no record of its present state.
    """
    entries = journal.read()
    makes: dict[str, Entry] = {path: e for e in entries for path in e.makes}  # the youngest submission counts
    there = [p for p in makes if os.path.isfile(p)]
    if not there:
        return 0
    records, hashes = Records(), Hashes()
    marked = records.incomplete(there)
    count = 0
    for path in there:
        mtime = os.stat(path).st_mtime
        made = makes[path]
        making, known = made.makes[path], records.read(path)
        if path in marked or mtime < made.time - CLOCKS or (known and known[1] == mtime):
            continue
        if known and not making.same(known[0]) and known[1] > made.time:
            continue  # made again since, elsewhere than on the cluster
        records.write(path, making, mtime)
        changed = [p for p, sha in making.inputs.items() if not os.path.isfile(p) or hashes.sha256(p) != sha]
        if made.config and made.config != ledger.state_of(made.config.partition(" ")[2]):
            changed.append(made.config.partition(" ")[2])
        doubt = f"{changed[0]} changed while it was made" if changed else ""
        ledger.add({path: hashes.sha256(path)}, making, ledger.environment(here=False), doubt)
        count += 1
    return count


def look(journal: Journal | None = None) -> tuple[int, Earlier | None]:
    """For the start of every run: files settled, and live jobs; None instead where the controller is away."""
    journal = journal or Journal()
    if not journal.path.exists():
        return 0, Earlier()
    settled = settle(journal)
    try:
        return settled, live(journal)
    except Unreachable:
        return settled, None


# ---- the start of a run, from the Snakefile

_SEEN: list[Earlier | None] = []


def before_run() -> None:
    """At the start of every run, before Snakemake looks at files: what did an earlier run leave on the cluster?

    Nothing is asked of Slurm where no run of this folder ever used it.
    """
    try:
        settled, found = look()
    except (UserError, OSError) as error:
        print(f"coder-clip: jobs of an earlier run could not be looked for: {error}", file=sys.stderr)
        settled, found = 0, Earlier()
    if settled:
        print(f"coder-clip: {settled} files were finished by jobs of an earlier run", file=sys.stderr)
    _SEEN[:] = [found]


def seen_at_start() -> Earlier | None:
    """Live jobs of earlier runs at the start of this one; None where the controller gave no answer."""
    if not _SEEN:
        before_run()
    return _SEEN[0]


def before_jobs(workflow: Any) -> None:
    """Before the first job: no run beside live jobs of an earlier one that it cannot take over.

    WorkflowError, which Snakemake prints, where this run would work beside them.
    """
    from snakemake_interface_common.exceptions import WorkflowError

    from snakemake_executor_plugin_coder_clip.executor import Executor

    if isinstance(workflow.scheduler._executor, Executor):
        return
    if seen := seen_at_start():
        ids = " ".join(seen.ids())
        raise WorkflowError(
            f"jobs of an earlier run of this folder are still on the cluster: {ids}. Wait until they end, or stop them "
            f"with 'scancel {ids}', or go on with them: --profile workflow/profiles/slurm"
        )
    if seen is None:
        raise WorkflowError(
            "the Slurm controller gives no answer, and jobs of an earlier run of this folder may still be at work; try "
            "again when it is back, or remove .snakemake/coder-clip/slurm.jsonl if you know that none is"
        )
