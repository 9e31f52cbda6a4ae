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

watched = False  # True if the executor runs, which itself looks for jobs of earlier heads
PATIENCE = 300.0  # seconds for a cancelled job to end


@dataclass
class Earlier:
    """Jobs of earlier heads.

    ``entries``: jobs that are alive or have ended well, and that this head has not taken over yet.
    """

    entries: dict[str, tuple[Journal, Entry]] = field(default_factory=dict)  # by key
    rows: dict[str, Row] = field(default_factory=dict)  # by key, as far as Slurm knows them
    # files to make again: changed by jobs that failed, or whose end is not known
    again: set[str] = field(default_factory=set)
    given_up: list[Entry] = field(default_factory=list)  # jobs that failed, or Slurm did not know

    def is_live(self, key: str) -> bool:
        """True if the job with this key has not ended."""
        return key in self.rows and self.rows[key].live

    def live(self) -> list[str]:
        """Ids of jobs that have not ended."""
        return [e.id for key, (_, e) in self.entries.items() if self.is_live(key)]

    def paths(self) -> set[str]:
        """The outputs of all entries."""
        return {path for _, e in self.entries.values() for path in e.makes}

    def take(self, new: Entry) -> tuple[Journal, Entry] | None:
        """Remove and return the entry of an earlier job that does the same as a new one.

        None if there is none. A job that still waits must also ask for the same resources.
        """
        for key, (_, e) in self.entries.items():
            waits = key in self.rows and self.rows[key].state == "PENDING"
            if e.same(new) and not (waits and e.asked != new.asked):
                return self.entries.pop(key)
        return None

    def cancel_others(self, paths: Iterable[str]) -> list[str]:
        """Cancel jobs that would write some of these files, and return their ids.

        It waits until they have ended.
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
                f"job {', '.join(left)} of an earlier try or run was cancelled and does not end; "
                f"look with 'scontrol show job {left[0]}'"
            )
        time.sleep(1)


def row_of(
    e: Entry, head: str, rows: Mapping[str, Row], keyed: Mapping[str, list[Row]]
) -> Row | None:
    """The row of a submission in the queue; None if there is none.

    It is found by its key. If a site writes comments of its own, without the key, the number and
    the name of the head together must fit.
    head: the head that submitted it. rows: by id. keyed: by key.
    """
    candidates = keyed.get(e.key, [])
    candidates = [row for row in candidates if not row.refused] or candidates
    if len(candidates) > 1 or any(row.id != e.id for row in candidates):
        # Slurm perhaps took the submission more than once: the first job to start counts, and the
        # others end at once
        first = first_to_start(e.key)
        if first:
            candidates = [row for row in candidates if row.id == first]
    if candidates:
        return candidates[0]
    row = rows.get(e.id)
    if row is not None and _ours(row, head):
        return row
    return None


def _ours(row: Row, head: str) -> bool:
    """True if a row without a key has the name of this head's jobs."""
    return not row.keys and row.name.endswith(head)


def look_up_missing(e: Entry, head: str, by_database: bool = True) -> tuple[Row | None, bool]:
    """Ask for a job that squeue does not show; return its row, and True if the row comes from the
    controller.

    The controller is asked first, by the job's number, because an empty queue can be a mistake;
    then the accounting database, if wanted. Unreachable if one of them gives no answer.
    """
    # Slurm may have taken the submission more than once: the first job to start counts
    id = first_to_start(e.key) or e.id
    if not id:
        return None, False
    row = queue.known(id)
    # Slurm may have given the number to another job by now
    if row is not None and (e.key in row.keys or _ours(row, head)):
        return row, True
    if not by_database:
        return None, False
    return queue.accounted(id, e.key), False


def strays(rows: Iterable[Row], name: str, current: set[str]) -> list[str]:
    """Ids of live jobs of this head whose submissions do not count any more.

    name: of the head's jobs. current: keys of the submissions that count.
    """
    live = [row for row in rows if row.live and row.name == name]
    return [row.id for row in live if row.keys and current.isdisjoint(row.keys)]


def find(workflow: Any) -> Earlier:
    """Jobs of earlier heads that make files of this run.

    Slurm is asked only if the journals have such jobs. Unreachable if the controller gives no
    answer; SlurmError if a head of another configuration that makes the same files is alive.
    """
    jobs = {str(path): job for job in workflow.dag.jobs for path in job.output}
    noted = _noted(jobs)
    unsettled = [(journal, e) for journal, e in noted if not e.settled]
    failed = [e for _, e in noted if e.settled == "failed"]
    if not unsettled:
        return Earlier(given_up=failed)
    _refuse_alive({journal.path.stem for journal, _ in unsettled} - {heads.name(workflow)})
    rows = queue.jobs()
    keyed = queue.by_key(rows.values())
    found = Earlier(given_up=failed)
    for journal, e in unsettled:
        row = row_of(e, journal.path.stem, rows, keyed)
        asked = row is None
        if row is None:
            if not e.id:
                # the submission did not reach Slurm, or reaches it late: the job must not start
                e = replace(e, id=first_to_start(e.key, NEVER))
            row, _ = look_up_missing(e, journal.path.stem)
        if row is not None:
            found.rows[e.key] = row
            journal.note(e.key, id=row.id)
            e = replace(e, id=row.id)
        own = {id(jobs[path]): jobs[path] for path in e.makes if path in jobs}  # each job once
        if found.is_live(e.key) or ended_well(e, row, asked, workflow, own.values()):
            found.entries[e.key] = (journal, e)
            continue
        found.again |= _half_written(e, workflow, jobs)
        found.given_up.append(e)
        journal.settle(e.key, "failed")
    return found


def _noted(jobs: Mapping[str, Any]) -> list[tuple[Journal, Entry]]:
    """What all journals have about these files (file -> the job of this run that makes it)."""
    noted = [(journal, e) for journal in journals() for e in journal.read()]
    return [(journal, e) for journal, e in noted if e.makes.keys() & jobs.keys()]


def _refuse_alive(other_heads: Iterable[str]) -> None:
    for other in sorted(other_heads):
        if heads.alive(other):
            raise SlurmError(
                f"the run {other} of this folder is alive and makes some of the same files"
            )


def _half_written(e: Entry, workflow: Any, jobs: Mapping[str, Any]) -> set[str]:
    """Files that a failed job changed. Snakemake gets them marked as incomplete.

    jobs: file -> the job of this run that makes it.
    """
    now = stamps(e.makes)
    changed = {path for path in now if path in jobs and now[path] != e.before.get(path)}
    for job in {jobs[path] for path in changed}:
        # in case this head dies before it makes them again
        workflow.persistence.started(job)
    return changed


def ended_well(e: Entry, row: Row | None, asked: bool, workflow: Any, jobs: Iterable[Any]) -> bool:
    """True if a job that is not live made its files.

    row: None if Slurm does not know the job. asked: the row is not from the queue.
    """
    if row is None:
        return bool(e.id) and whole(e, workflow, jobs)
    if row.state != queue.COMPLETED:
        return False
    return not asked or not _marked(workflow, jobs)


def whole(e: Entry, workflow: Any, jobs: Iterable[Any]) -> bool:
    """True if all outputs exist, changed since the submission, and are not marked as incomplete.

    Their times are only compared with earlier times of the same files, because clocks can be wrong.
    """
    now = stamps(e.makes)
    return now.keys() == e.makes.keys() and now != e.before and not _marked(workflow, jobs)


def _marked(workflow: Any, jobs: Iterable[Any]) -> bool:
    """True if Snakemake marks an output as incomplete.

    The job's node removes the mark at the end of the job.
    """

    async def marked() -> list[Any]:
        return [path for job in jobs for path in await workflow.persistence.incomplete(job)]

    return bool(asyncio.run(marked()))


# ---- called by the Snakefile, with any executor


def before_jobs(workflow: Any) -> None:
    """Check, in a run without this executor, that no earlier head left something.

    Before the first job: no other head is alive, and none left jobs, or files that are not
    recorded.

    SlurmError, which Snakemake prints, if one did.
    """
    if watched:
        return
    adapter.check(workflow)
    if any(job.output for job in workflow.dag.needrun_jobs()):
        heads.claim(workflow)
    try:
        found = find(workflow)
    except queue.Unreachable as error:
        raise SlurmError(
            f"Slurm gives no answer ({error}), and jobs of an earlier run of this folder may still "
            "be at work; try again when it is back, or remove .snakemake/slurm-resilient/jobs if "
            "you know that none is"
        ) from None
    ids = " ".join(found.live())
    if ids:
        raise SlurmError(
            f"jobs of an earlier run of this folder are still on the cluster: {ids}. Wait until "
            f"they end, or stop them with 'scancel {ids}', or go on with them on Slurm (--executor "
            "slurm-resilient, or your profile)"
        )
    files = found.paths()
    if files:
        raise SlurmError(
            f"jobs of an earlier run wrote {min(files)} while there was no head; start the run "
            "once on Slurm (--executor slurm-resilient, or your profile), which records it"
        )
    if found.again:
        raise SlurmError(
            f"a job of an earlier run left {min(found.again)} half-written: start again, and it is "
            "made again"
        )
