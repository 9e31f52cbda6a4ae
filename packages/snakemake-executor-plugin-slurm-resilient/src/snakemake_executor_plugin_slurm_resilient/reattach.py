"""Jobs of an earlier head of this folder that died: none is lost, none runs beside its own copy.

The new head lets Snakemake make their files again; when Snakemake submits such a job, the head watches the earlier one
instead, which may have ended well meanwhile. So Snakemake writes its records as for any job. Earlier jobs that would
make a file with another command, parameters or inputs than now are cancelled first.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import adapter, heads, queue
from .journal import Entry, Journal, journals, stamps
from .queue import Row, SlurmError

KEY = re.compile(r" [0-9a-f]{12}$")  # at the end of a job's comment
watched = False  # by the executor, which looks itself for jobs of earlier heads
PATIENCE = 300.0  # seconds for a cancelled job to end


@dataclass
class Earlier:
    """Jobs that are live or have ended well, of which Snakemake knows nothing yet."""

    entries: dict[str, tuple[Journal, Entry]] = field(default_factory=dict)  # by id
    rows: Mapping[str, Row] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)  # ours by name, and not in the journal
    again: set[str] = field(default_factory=set)  # files of jobs that failed or whose end is not known

    def live(self) -> list[str]:
        return [id for id in self.entries if id in self.rows and self.rows[id].live] + self.unknown

    def paths(self) -> set[str]:
        return {path for _, e in self.entries.values() for path in e.makes}

    def take(self, new: Entry) -> tuple[Journal, Entry] | None:
        """Take over the job that makes exactly these files, if there is one.

        A job that still waits is not taken if the profile asks for something else now.
        """
        for id, (_, e) in self.entries.items():
            waits = id in self.rows and self.rows[id].state == "PENDING"
            if e.same(new) and not (waits and e.asked != new.asked):
                return self.entries.pop(id)
        return None

    def cancel_others(self, paths: Any) -> list[str]:
        """Cancel jobs that would write some of these files, wait until they have ended, and return their ids."""
        wanted = set(paths)
        ids = [id for id, (_, e) in self.entries.items() if wanted & e.makes.keys()]
        live = self._end([id for id in ids if id in self.live()])
        for id in ids:
            journal, e = self.entries.pop(id)
            journal.note(e.key, settled="failed")
        return live

    def cancel_unknown(self) -> list[str]:
        ids, self.unknown = self._end(self.unknown), []
        return ids

    def _end(self, ids: list[str]) -> list[str]:
        """SlurmError if a job does not end."""
        if not ids:
            return []
        queue.cancel(ids)
        end = time.monotonic() + PATIENCE
        while left := [i for i, row in queue.jobs().items() if i in ids and row.live]:
            if time.monotonic() > end:
                raise SlurmError(
                    f"job {', '.join(left)} of an earlier run was cancelled and does not end; look with "
                    f"'scontrol show job {left[0]}'"
                )
            time.sleep(1)
        return ids


def find(workflow: Any, name: str = "") -> Earlier:
    """Jobs of earlier heads that make files of this run. name: of this head's jobs, to find lost ones by it.

    Nothing is asked of Slurm where no such job is known. Unreachable if the controller gives no answer; SlurmError
    where a head of another configuration that makes the same files is alive.
    """
    jobs = {str(path): job for job in workflow.dag.jobs for path in job.output}
    mine, known = heads.name(workflow), {}
    for journal in journals():
        for e in journal.read():
            if not e.settled and e.makes.keys() & jobs.keys():
                known[e.key] = (journal, e)
    if not known:
        return Earlier()
    if others := {j.path.stem for j, _ in known.values() if j.path.stem != mine and heads.alive(j.path.stem)}:
        raise SlurmError(f"the run {others.pop()} of this folder is alive and makes some of the same files")
    rows = queue.jobs()
    here = os.path.realpath(os.getcwd())
    ours = {id: row for id, row in rows.items() if os.path.realpath(row.folder) == here}
    by_key = {row.comment.rpartition(" ")[2]: row for row in ours.values()}
    found = Earlier(rows=rows)
    for key, (journal, e) in known.items():
        row = by_key.pop(key, None)
        if (
            row is None and e.id in ours and not KEY.search(ours[e.id].comment)
        ):  # a site may overwrite comments
            row = ours[e.id]
        if row is not None:
            journal.note(key, id=row.id)
            e = replace(e, id=row.id)
        if (row is not None and row.live) or _ended_well(e, row, workflow, jobs):
            found.entries[e.id] = (journal, e)
        else:
            changed = {path for path, now in stamps(e.makes).items() if now != e.before.get(path)}
            for job in {jobs[path] for path in changed & jobs.keys()}:
                workflow.persistence.started(
                    job
                )  # as half-written, if this head should die before it makes them again
            found.again |= changed & jobs.keys()
            journal.note(key, settled="failed")
    lost = (row for row in by_key.values() if row.name == name and row.live)
    noted = {e.id for journal in journals() for e in journal.read()}
    found.unknown = [row.id for row in lost if row.id not in noted and row.id not in found.entries]
    return found


def _ended_well(e: Entry, row: Row | None, workflow: Any, jobs: Mapping[str, Any]) -> bool:
    if row is not None:
        return row.state == queue.COMPLETED
    if not e.id:  # it never came to Slurm
        return False
    if (account := queue.accounted(e.id)) and account[0] not in queue.LIVE:
        return account[0] == queue.COMPLETED
    own = {id(jobs[path]): jobs[path] for path in e.makes if path in jobs}
    return whole(e, workflow, own.values())


def whole(e: Entry, workflow: Any, jobs: Any) -> bool:
    """True if all files exist, were written since, and are not marked as being written.

    A node removes Snakemake's mark. No clock is asked, because the head's may be wrong.
    """

    async def marked() -> list[Any]:
        return [path for job in jobs for path in await workflow.persistence.incomplete(job)]

    now = stamps(e.makes)
    return now.keys() == e.makes.keys() and now != e.before and not asyncio.run(marked())


# ---- from the Snakefile, on whatever a run is executed


def before_jobs(workflow: Any) -> None:
    """Check, before the first job, that there is one head, and no live job of an earlier one that it cannot take over.

    SlurmError, which Snakemake prints, if there is.
    """
    if watched:
        return
    adapter.check(workflow)
    if any(job.output for job in workflow.dag.needrun_jobs()):
        heads.claim(workflow)
    try:
        found = find(workflow)
    except queue.Unreachable:
        raise SlurmError(
            "the Slurm controller gives no answer, and jobs of an earlier run of this folder may still be at work; try "
            "again when it is back, or remove .snakemake/slurm-resilient/jobs if you know that none is"
        ) from None
    if ids := " ".join(found.live()):
        raise SlurmError(
            f"jobs of an earlier run of this folder are still on the cluster: {ids}. Wait until they end, or stop them "
            f"with 'scancel {ids}', or go on with them on Slurm (--executor slurm-resilient, or your profile)"
        )
    if files := found.paths():
        raise SlurmError(
            f"jobs of an earlier run wrote {min(files)} while there was no head; start the run once on Slurm "
            "(--executor slurm-resilient, or your profile), which records it"
        )
    if found.again:
        raise SlurmError(
            f"a job of an earlier run left {min(found.again)} half-written: start again, and it is made again"
        )
