"""Take over the jobs of an earlier head that died, so that none is lost and none runs twice.

The new head lets Snakemake make their files again; when Snakemake submits such a job, the head
watches the earlier one instead, which may have ended well meanwhile. So Snakemake writes its
records as for any job. Earlier jobs that would make a file with another command, parameters or
inputs than now are cancelled first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import adapter, heads, queue
from .journal import NEVER, Entry, Journal, first_to_start, journals, stamps
from .queue import Row, SlurmError

watched = False  # by the executor, which looks itself for jobs of earlier heads
PATIENCE = 300.0  # seconds for a cancelled job to end


@dataclass
class Earlier:
    """Jobs of earlier heads that are alive or have ended well, and that this head has not taken
    over yet.
    """

    entries: dict[str, tuple[Journal, Entry]] = field(default_factory=dict)  # by key
    rows: dict[str, Row] = field(default_factory=dict)  # by key, as far as Slurm knows them
    again: set[str] = field(
        default_factory=set
    )  # files of jobs that failed or whose end is not known
    given_up: list[Entry] = field(default_factory=list)  # jobs that failed, or Slurm did not know

    def is_live(self, key: str) -> bool:
        return key in self.rows and self.rows[key].live

    def live(self) -> list[str]:
        return [e.id for key, (_, e) in self.entries.items() if self.is_live(key)]

    def paths(self) -> set[str]:
        return {path for _, e in self.entries.values() for path in e.makes}

    def take(self, new: Entry) -> tuple[Journal, Entry] | None:
        """Take over the job that makes exactly these files; not one that waits and asks for
        something else.
        """
        for key, (_, e) in self.entries.items():
            waits = key in self.rows and self.rows[key].state == "PENDING"
            if e.same(new) and not (waits and e.asked != new.asked):
                return self.entries.pop(key)
        return None

    def cancel_others(self, paths: Iterable[str]) -> list[str]:
        """Cancel jobs that would write some of these files, wait until they have ended, and return
        their ids.
        """
        wanted = set(paths)
        keys = [key for key, (_, e) in self.entries.items() if wanted & e.makes.keys()]
        live = [self.entries[key][1].id for key in keys if self.is_live(key)]
        end(live)
        for key in keys:
            journal, _ = self.entries.pop(key)
            journal.settle(key, "failed")
        return live


def end(ids: list[str]) -> None:
    """Cancel jobs and wait until they have ended. SlurmError if one does not end."""
    if not ids:
        return
    queue.cancel(ids)
    latest = time.monotonic() + PATIENCE
    while True:
        rows = queue.jobs()
        now = {id: rows.get(id) or queue.known(id) for id in ids}
        left = [id for id, row in now.items() if row is not None and row.live]
        if not left:
            return
        if time.monotonic() > latest:
            raise SlurmError(
                f"job {', '.join(left)} of an earlier try or run was "
                "cancelled and does not end; look with "
                f"'scontrol show job {left[0]}'"
            )
        time.sleep(1)


def row_of(
    e: Entry, head: str, rows: Mapping[str, Row], keyed: Mapping[str, list[Row]]
) -> Row | None:
    """The job of a submission in the queue: by its key, never by its number alone. head: whose job
    it is.

    Where a site writes comments of its own, which have no key, number and name together must do.
    """
    found = keyed.get(e.key, [])
    if len(found) > 1 or any(row.id != e.id for row in found):
        # Slurm took it more than once, perhaps: the first to start is the job, the others end at
        # once
        first = first_to_start(e.key)
        found = [row for row in found if row.id == first or not first]
    if found:
        return found[0]
    row = rows.get(e.id)
    return row if row is not None and _ours(row, head) else None


def _ours(row: Row, head: str) -> bool:
    """True if a row without a key has the name of this head's jobs."""
    return not row.keys and row.name.endswith(head)


def missing(e: Entry, head: str) -> tuple[Row | None, bool]:
    """Ask for a job that squeue does not show; also returns whether the controller itself knows it.

    The controller is asked first, by the job's number, because an empty queue can be a mistake;
    then the accounting database. Unreachable if the controller gives no answer.
    """
    id = first_to_start(e.key) or e.id
    if not id:
        return None, False
    row = queue.known(id)
    if row is not None and (e.key in row.keys or _ours(row, head)):
        return row, True
    return queue.accounted(id, e.key), False


def strays(rows: Iterable[Row], name: str, current: set[str]) -> list[str]:
    """Live jobs of this head, by their name, of submissions that do not count any more."""
    live = [row for row in rows if row.live and row.name == name]
    return [row.id for row in live if row.keys and current.isdisjoint(row.keys)]


def find(workflow: Any) -> Earlier:
    """Jobs of earlier heads that make files of this run.

    Nothing is asked of Slurm where no such job is known. Unreachable if the controller gives no
    answer; SlurmError where a head of another configuration that makes the same files is alive.
    """
    jobs = {str(path): job for job in workflow.dag.jobs for path in job.output}
    mine = heads.name(workflow)
    noted = [(journal, e) for journal in journals() for e in journal.read()]
    known = [(journal, e) for journal, e in noted if not e.settled and e.makes.keys() & jobs.keys()]
    failed = [e for _, e in noted if e.settled == "failed" and e.makes.keys() & jobs.keys()]
    if not known:
        return Earlier(given_up=failed)
    other_heads = {journal.path.stem for journal, _ in known} - {mine}
    for other in sorted(other_heads):
        if heads.alive(other):
            raise SlurmError(
                f"the run {other} of this folder is alive and makes some of the same files"
            )
    rows = queue.jobs()
    keyed = queue.by_key(rows.values())
    found = Earlier(given_up=failed)
    for journal, e in known:
        head = journal.path.stem
        row = row_of(e, head, rows, keyed)
        if row is None and not e.id:  # it did not come to Slurm, or does so late
            e = replace(e, id=first_to_start(e.key, NEVER))
        asked = row is None
        if asked:
            row, _ = missing(e, head)
        if row is not None:
            found.rows[e.key] = row
            journal.note(e.key, id=row.id)
            e = replace(e, id=row.id)
        own = {id(jobs[path]): jobs[path] for path in e.makes if path in jobs}
        if found.is_live(e.key) or ended_well(e, row, asked, workflow, own.values()):
            found.entries[e.key] = (journal, e)
            continue
        changed = {
            path for path, now in stamps(e.makes).items() if now != e.before.get(path)
        } & jobs.keys()
        for job in {jobs[path] for path in changed}:
            # as half-written, if this head should die before it makes them again
            workflow.persistence.started(job)
        found.again |= changed
        found.given_up.append(e)
        journal.settle(e.key, "failed")
    return found


def ended_well(e: Entry, row: Row | None, asked: bool, workflow: Any, jobs: Iterable[Any]) -> bool:
    """True if a job that is not live made its files. asked: the row is not from the queue."""
    if row is None:
        return bool(e.id) and whole(e, workflow, jobs)
    good = row.state == queue.COMPLETED
    return good and not (asked and _marked(workflow, jobs))


def whole(e: Entry, workflow: Any, jobs: Iterable[Any]) -> bool:
    """True if all files exist, were written since, and are not marked as being written.

    No clock is asked, because the head's may be wrong.
    """
    now = stamps(e.makes)
    return now.keys() == e.makes.keys() and now != e.before and not _marked(workflow, jobs)


def _marked(workflow: Any, jobs: Iterable[Any]) -> bool:
    """True if a file has Snakemake's mark of one that is being written, which a node removes at its
    job's end.
    """

    async def marked() -> list[Any]:
        return [path for job in jobs for path in await workflow.persistence.incomplete(job)]

    return bool(asyncio.run(marked()))


# ---- from the Snakefile, on whatever a run is executed


def before_jobs(workflow: Any) -> None:
    """Check, before the first job, that there is one head, and no live job of an earlier one that
    it cannot take over.

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
            "the Slurm controller gives no answer, and jobs of an earlier run of this folder may "
            "still be at work; try "
            "again when it is back, or remove "
            ".snakemake/slurm-resilient/jobs if you know that none "
            "is"
        ) from None
    ids = " ".join(found.live())
    if ids:
        raise SlurmError(
            f"jobs of an earlier run of this folder are still on the cluster: {ids}. Wait until "
            "they end, or stop them "
            f"with 'scancel {ids}', or go on with them on Slurm (--executor slurm-resilient, or "
            "your profile)"
        )
    files = found.paths()
    if files:
        raise SlurmError(
            f"jobs of an earlier run wrote {min(files)} while there was no head; start the run "
            "once on Slurm "
            "(--executor slurm-resilient, or your profile), which records it"
        )
    if found.again:
        raise SlurmError(
            f"a job of an earlier run left {min(found.again)} half-written: start again, and it "
            "is made again"
        )
