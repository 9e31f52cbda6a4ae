"""The executor: submit jobs, watch them, and go on after faults of the cluster.

It reads the resources of snakemake-executor-plugin-slurm. Beyond that plugin, it waits while the
controller is away, keeps a journal by which the next head takes over the jobs of a killed one,
retries by cause, and explains failures. A job is known by the key in its comment, not by its
number, so that no answer of Slurm makes it run twice."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.utils import format_cli_arg

from . import adapter, heads, queue, reasons, reattach, retry, site, submit
from .journal import FOLDER, Entry, Journal, Tries, entry, first_to_start, guard, members
from .lines import Lines
from .queue import SlurmError

SLOWEST = 60  # seconds between two looks at the queue, at most
# seconds before a job is submitted again that was preempted or lost its node, at most
LONGEST = 3600
NO_ID = "sbatch printed no job id"
# seconds after which a job is lost that the database calls alive and the controller does not know
LOST = 300


class Executor(RemoteExecutor):  # type: ignore[misc]
    """Submit and watch the jobs of one run, through Snakemake's executor interface."""

    def __init__(self, workflow: Any, logger: Any) -> None:
        self._settings = workflow.executor_settings
        self._interval = self._settings.init_seconds_before_status_checks
        head = heads.name(workflow)
        self._name = f"{self._settings.jobname_prefix}_{head}".strip("_")
        self._journal = Journal(FOLDER / f"{head}.jsonl")
        self._entries: dict[str, Entry] = {}  # by key: jobs that are not over yet
        self._current: set[str] = (
            set()
        )  # keys that count: those of entries, and of jobs that sbatch has now
        self._of: dict[Any, tuple[Journal, str]] = {}  # a job of Snakemake -> where it is noted
        self._tries: dict[Any, Tries] = {}
        self._due: dict[Any, float] = {}  # when a job that failed may be submitted again
        self._lost: dict[Any, list[str]] = {}  # states of tries that ended by no fault of the job
        self._absent: dict[str, float] = {}  # since when a key was not seen in the queue
        self._waiting: dict[str, int] = {}  # how often a job was seen to wait for a person
        self._site: dict[str, site.Partition] = {}
        self._asking: dict[Any, dict[str, Any]] = {}  # what a job's next sbatch asks for
        self._earlier = reattach.Earlier()
        self._stop = threading.Event()
        self._away_since: float | None = None
        self._lines = Lines(self._submit, self._not_submitted, self._stop)
        super().__init__(workflow, logger)  # the thread that looks starts

    def __post_init__(self) -> None:
        self.next_seconds_between_status_checks = self._interval
        folder = self._settings.logdir or ".snakemake/slurm_logs"
        self._logs = Path(self.workflow.workdir_init) / folder
        try:
            adapter.check(self.workflow)
            reattach.watched = True
            self._take_over()
        except BaseException:
            self.shutdown()
            raise

    def _take_over(self) -> None:
        submits = any(not job.is_local for job in self.dag.needrun_jobs())
        if submits:
            heads.claim(self.workflow)
        found = self._patiently(lambda: reattach.find(self.workflow))
        if not submits and not found.entries:
            return  # as for `prefetch`
        heads.claim(self.workflow)
        self._journal.path.parent.mkdir(parents=True, exist_ok=True)
        self._journal.shrink()
        self._earlier = found
        # jobs of other targets go on, too
        self._current |= {
            e.key for e in self._journal.read() if not e.settled
        } | found.entries.keys()
        live = found.live()
        if live:
            self.logger.info(
                f"{len(live)} jobs of an earlier run are still in the queue: {', '.join(live)}. "
                "They go on as jobs of "
                "this run; none is submitted twice."
            )
        self._patiently(lambda: self._cancel_strays(queue.jobs()))
        if found.entries or found.again:
            # Snakemake asks for their files again; `_submit` then takes over the jobs that make
            # them
            adapter.make_again(self.workflow, found.paths() | found.again)
            local = {str(p) for job in self.dag.needrun_jobs() if job.is_local for p in job.output}
            self._patiently(lambda: found.cancel_others(local & found.paths()))
        left = heads.seconds_left()
        if left is not None:
            margin = min(self._settings.head_margin, left / 2)
            timer = threading.Timer(left - margin, self._hand_over, [margin / 2])
            timer.daemon = True
            timer.start()

    # ---- submission ---

    def additional_general_args(self) -> str:
        """The job's own Snakemake works in the batch step: a nested srun would cost a process and
        lose SLURM_CONF.
        """
        return "--executor local"

    def get_job_exec_prefix(self, job: Any) -> str:
        """Shell command before each job."""
        # what is buffered when Python ends and cannot be written, in a full log folder, makes a
        # good job fail
        return "export PYTHONUNBUFFERED=1"

    def get_job_args(self, job: Any) -> str:
        """Pass the cores that the job asked for ('all' could be the whole node's) and the attempt
        of its memory.

        No file of the head is passed: a job that outlives the head would miss it.
        """
        asked = self._asking[job]
        args = RealExecutor.get_job_args(self, job, cores=asked["cpus"])
        if job.is_group() and "mem_mb" in asked:  # those that run at a time
            most = [f"mem_mb={asked['mem_mb']}"]
            args = f"{args} {format_cli_arg('--resources', most)}"
        args = re.sub(r"--attempt \d+", f"--attempt {self._tries.get(job, Tries()).memory}", args)
        return f"{args} {format_cli_arg('--wait-for-files', list(job.get_wait_for_files()))}"

    def run_job(self, job: Any) -> None:
        """Let a job wait for its submission, after a pause if it failed before."""
        self._lines.add(job, self._due.pop(job, 0) - time.monotonic())

    def _not_submitted(self, job: Any, error: Exception) -> None:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        self._fail(SubmittedJobInfo(job), f"could not be submitted: {said}")

    def _submit(self, job: Any) -> None:
        """Submit a job, or take over the one of an earlier run. Runs in the thread of the job's
        line.
        """
        tries = self._tries.get(job, Tries())
        here = self._partitions()
        whole = retry.asked(job, tries)
        wanted = retry.fitted(job, tries, site.nodes(whole, here))
        if wanted != whole:
            self.logger.info(
                f"Group {job.name}: its jobs take turns, because no "
                f"node has {reasons.wanted(whole)}."
            )
        asked, cut = retry.capped(wanted, site.most(wanted, here))
        if cut:
            self.logger.warning(
                f"Job {job.name}: asks for {' and '.join(cut)} (partition {_where(asked)})."
            )
        new = entry(members(job), job.name, self.workflow.persistence, asked, tries)
        found = self._earlier.take(new)
        if found is not None:
            journal, old = found
            live = self._earlier.is_live(old.key)
            known = "" if live else ", which has ended"
            self.logger.info(
                f"Job {job.jobid} is Slurm job {old.id} of an earlier run{known} (log: {old.log})."
            )
            self._watch(job, journal, old, live)
            return
        gone = self._patiently(lambda: self._earlier.cancel_others(new.makes))
        if gone:
            self.logger.info(
                f"Cancelled {', '.join(gone)} of an earlier run: its files have another command, "
                "parameters or inputs "
                "now, or the profile asks for something else."
            )
        self._patiently(lambda: self._end_earlier_tries(new))
        _set_aside([str(path) for member in members(job) for path in member.log])
        said = self._sbatch(job, new)
        if said and self._stop.is_set():
            return  # the next head finds out whether Slurm took it
        if said:
            job.attempt = max(
                job.attempt, job.restart_times + 1
            )  # asking again will not please Slurm
            self._fail(SubmittedJobInfo(job), reasons.refused(said, new.asked))

    def _end_earlier_tries(self, new: Entry) -> None:
        """Cancel what is alive of earlier tries, whatever Slurm said of them before, and wait for
        its end.
        """
        earlier = [old for old in self._earlier.given_up if old.makes.keys() & new.makes.keys()]
        if not earlier:
            return
        ids = reattach.strays(queue.jobs().values(), self._name, self._current)
        found = [reattach.missing(old, self._name)[0] for old in earlier]
        ids += [row.id for row in found if row is not None and row.live]
        reattach.end(sorted(set(ids)))

    def _sbatch(self, job: Any, new: Entry) -> str:
        """Submit, and wait while the controller is away. Returns Slurm's words if it refuses the
        job, else "".
        """
        what, wildcards = submit.what(job)
        log = self._logs / what / wildcards / "%j.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        comment = f"{what}{f'_wildcards_{wildcards}' if wildcards else ''} {new.key}"
        call = submit.call(job, new.asked, self._settings, self._name, log, comment)
        self._asking[job] = new.asked
        script = f"#!/bin/sh\n{guard(new.key)}{self.format_job_exec(job)}\n"
        environment = submit.environment(job, self.envvars())
        self._journal.intend(new)
        self._current.add(new.key)
        # marks its files as incomplete before it can run, and end: its node removes the marks
        job.register()
        pause = 5.0
        while True:
            id, said = "", NO_ID
            try:
                id = submit.job_id(
                    queue.ask("sh", "-c", f"exec {call}", stdin=script, env=environment)
                )
            except queue.Unreachable as error:
                said = str(error)
            if self._stop.is_set() and not id:
                return said  # it may have been taken: the next head will know
            id = id or self._taken(new)
            if id:
                break
            if said != NO_ID and not reasons.LATER.search(said):
                self._current.discard(new.key)
                self._journal.settle(new.key, "failed")
                return said
            if pause == 5:
                self.logger.warning(
                    f"Slurm takes no job now (job {job.jobid}, partition {_where(new.asked)}: "
                    f"{' '.join(said.split())[:200]}); trying again, nothing is lost. Jobs of "
                    "other partitions go on."
                )
            self._lines.pause(pause)
            if self._stop.is_set():
                return said
            pause = min(pause * 2, SLOWEST)
            id = self._taken(new)
            if id:
                break
        new = replace(new, id=id, log=str(log).replace("%j", id))
        with suppress(OSError):  # it runs: the next head finds it by its comment
            self._journal.note(new.key, id=id, log=new.log)
        self.logger.info(
            f"Job {job.jobid} has been submitted with SLURM jobid {id} (log: {new.log}). "
            f"It asks for {reasons.wanted(new.asked)}."
        )
        self._watch(job, self._journal, new)
        return ""

    def _taken(self, new: Entry) -> str:
        """The number of the job that Slurm made of a submission, whatever sbatch answered; "" if it
        made none yet.
        """
        rows = self._patiently(queue.jobs)
        row = reattach.row_of(new, self._journal.path.stem, rows, queue.by_key(rows.values()))
        return row.id if row is not None else first_to_start(new.key)

    def _watch(self, job: Any, journal: Journal, of: Entry, live: bool = True) -> None:
        info = SubmittedJobInfo(job, external_jobid=of.id)
        self._of[job], self._tries[job] = (journal, of.key), of.tries
        if live:
            self._entries[of.key] = of
            self._current.add(of.key)
            self.report_job_submission(info, register_job=False)
        else:
            RealExecutor.report_job_submission(self, info, register_job=False)
            self.report_job_success(info)

    def _partitions(self) -> dict[str, site.Partition]:
        """The partitions by name; empty as long as Slurm does not say."""
        if not self._site:
            with suppress(SlurmError):
                self._site = site.partitions()
        return self._site

    def _patiently(self, do: Any) -> Any:
        """Call ``do`` as soon as the controller answers."""
        while True:
            try:
                return do()
            except queue.Unreachable as error:
                self._away(str(error))
                if self._stop.wait(10):
                    raise SlurmError(
                        f"stopped while the Slurm controller was away ({error})"
                    ) from None

    # ---- status ---

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Report jobs that have ended, yield the others: all of them if the controller does not
        answer.
        """
        if not active_jobs:
            self.next_seconds_between_status_checks = self._interval
            return
        try:
            async with self.status_rate_limiter:
                rows = await asyncio.to_thread(queue.jobs)
        except queue.Unreachable as error:
            self._away(str(error))
            for info in active_jobs:
                yield info
            return
        self._back()
        ended = False
        await asyncio.to_thread(self._cancel_strays, rows)
        keyed = queue.by_key(rows.values())
        for info in active_jobs:
            if await asyncio.to_thread(self._look_at, info, rows, keyed):
                ended = True
            else:
                yield info
        slower = min(
            self.next_seconds_between_status_checks + self._interval, max(SLOWEST, self._interval)
        )
        self.next_seconds_between_status_checks = self._interval if ended else slower

    async def sleep(self) -> None:
        """Sleep until the next query, or the end of the run."""
        await asyncio.to_thread(self._stop.wait, self.next_seconds_between_status_checks)

    def _look_at(
        self, info: SubmittedJobInfo, rows: dict[str, queue.Row], keyed: dict[str, list[queue.Row]]
    ) -> bool:
        """Report a job that has ended; True if it has."""
        journal, key = self._of[info.job]
        of, head = self._entries[key], journal.path.stem
        row = reattach.row_of(of, head, rows, keyed)
        if row is not None and row.id != of.id:  # sbatch, or a wrapper of it, named another number
            of = replace(of, id=row.id, log=str(Path(of.log).with_name(f"{row.id}.log")))
            self._entries[key] = of
            journal.note(key, id=of.id, log=of.log)
        if row is not None and row.live:
            self._absent.pop(key, None)
            self._tell_waiting(of.id, row)
            return False
        first_time = key not in self._absent
        since = self._absent.setdefault(key, time.monotonic())
        if first_time and (row is None or row.state in retry.PASSING):
            return False  # Slurm may be about to queue it again; asked once more
        asked = row is None
        if asked:
            try:
                row, by_controller = reattach.missing(of, head)
            except queue.Unreachable as error:
                self._away(str(error))
                return False
            if row is not None and row.live and (by_controller or time.monotonic() < since + LOST):
                return False  # squeue does not show it, but it is alive
            if row is not None and row.live:
                row = None
        good = reattach.ended_well(of, row, asked, self.workflow, members(info.job))
        state, code = (row.state, row.code) if row is not None else ("FORGOTTEN", "")
        if state == queue.COMPLETED and not good:
            state = "FORGOTTEN"
        del self._entries[key]
        if good:
            self.report_job_success(info)
        else:
            self._ended_badly(info, of, state, code, row)
        return True

    def _cancel_strays(self, rows: dict[str, queue.Row]) -> None:
        ids = reattach.strays(rows.values(), self._name, self._current)
        if not ids:
            return
        with suppress(SlurmError):  # else at the next look
            queue.cancel(ids)
            self.logger.warning(
                f"Cancelled {', '.join(ids)}: jobs of this run that do not count any more, "
                "because they were "
                "submitted again."
            )

    def _ended_badly(
        self, info: SubmittedJobInfo, of: Entry, state: str, code: str, row: queue.Row | None
    ) -> None:
        logs = [of.log, *(str(path) for member in members(info.job) for path in member.log)]
        if state == "FAILED" and reasons.killed(logs):
            code = "137"
        why = retry.cause(state, code)
        self._tries[info.job] = retry.after(of.tries, why)
        self._earlier.given_up.append(of)
        nodes, limit = (row.nodes, row.limit) if row else ("", "")
        words = reasons.ended(state, code, nodes, limit, of.asked)
        lacking = {"memory": "mem_mb", "time": "runtime"}.get(why, "")
        most = site.most(of.asked, self._partitions()).get(lacking)
        if most is not None and retry.number(of.asked, lacking) >= most and state != "FAILED":
            words += (
                f", and {most:g} is the most that partition "
                f"{_where(of.asked)} gives: not tried again"
            )
            info.job.attempt = max(info.job.attempt, info.job.restart_times + 1)
        told = f"Slurm job {of.id} {words}. Slurm's log: {of.log}"
        if state in retry.PASSING:
            self._again(info.job, state, told)
            return
        self._fail(info, told, pause=why == "other", aux_logs=[of.log])

    def _again(self, job: Any, state: str, told: str) -> None:
        """Submit a job again, after ever longer pauses, without a word to Snakemake, which would
        count it as a try.
        """
        self._settle(job, "failed")
        lost = self._lost.setdefault(job, [])
        if state not in lost:
            self.logger.warning(f"{told}. The job is submitted again; this uses no try.")
        self._lines.add(job, min(self._settings.retry_pause * 2 ** len(lost), LONGEST))
        lost.append(state)

    def _fail(self, info: SubmittedJobInfo, told: str, pause: bool = True, **more: Any) -> None:
        if pause:
            self._due[info.job] = time.monotonic() + self._settings.retry_pause
        if info.job.is_group():  # Snakemake prints no message of a group
            rules = ", ".join(sorted({j.rule.name for j in info.job.jobs}))
            self.logger.error(f"Group {info.job.name} ({rules}): {told}.")
        self.report_job_error(info, msg=f"{told}. ", **more)

    def handle_job_success(self, job: Any) -> None:
        """Note in the journal that Snakemake has recorded the job."""
        super().handle_job_success(job)
        self._settle(job, "made")

    def handle_job_error(self, job: Any) -> None:
        super().handle_job_error(job)
        self._settle(job, "failed")

    def _settle(self, job: Any, how: str) -> None:
        noted = self._of.pop(job, None)
        if noted is None:
            return
        journal, key = noted
        self._current.discard(key)
        journal.settle(key, how)

    # ---- words ---

    def _tell_waiting(self, job: str, row: queue.Row) -> None:
        told = reasons.waiting(row.state, row.reason)
        if told is not None:
            words, advice, looks = told
            self._waiting[job] = self._waiting.get(job, 0) + 1
            if self._waiting[job] == looks:
                self.logger.warning(
                    f"Slurm job {job} {words} (Slurm says: {row.reason}). The run waits for it: "
                    f"{advice.format(job=job)}'scancel {job}' gives it up."
                )

    def _away(self, error: str) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            self.logger.warning(
                f"The Slurm controller does not answer ({error}). Jobs keep running; this run "
                "waits until it is back."
            )

    def _back(self) -> None:
        if self._away_since is not None:
            away = time.monotonic() - self._away_since
            self._away_since = None
            self.logger.info(f"The Slurm controller is back after {away:.0f} s.")

    # ---- the end ---

    def _hand_over(self, latest: float) -> None:
        """The head's own Slurm job is near its time limit: end here, and go on in a new one."""
        self._stop.set()
        adapter.keep_folders(self.workflow)
        heads.start_again_at_exit(latest)
        self.workflow.scheduler.executor_error_callback(
            SlurmError(
                "The time limit of the head's own Slurm job is near: it is queued again, and goes "
                "on with its "
                f"{len(self._entries)} jobs."
            )
        )

    def cancel(self) -> None:
        """Cancel all jobs, after Ctrl-C."""
        self._lines.end()
        ids = sorted(of.id for of in self._entries.values())
        try:
            queue.cancel(self._alive())
        except SlurmError as error:
            adapter.keep_folders(self.workflow)
            self.logger.error(
                f"Slurm jobs {' '.join(ids)} could not be cancelled and keep running ({error}). "
                "The next run goes on "
                f"with them; 'scancel {' '.join(ids)}' stops them, once the controller is back."
            )
        self.shutdown()

    def _alive(self) -> list[str]:
        """The numbers of this run's jobs, and of nobody else who has one of their numbers now."""
        rows = queue.jobs()
        keyed = queue.by_key(rows.values())
        found = [
            reattach.row_of(of, self._name, rows, keyed) or reattach.missing(of, self._name)[0]
            for of in list(self._entries.values())
        ]
        return [row.id for row in found if row is not None and row.live]

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Do nothing: `cancel` cancels the jobs."""

    def shutdown(self) -> None:
        self._lines.end()
        super().shutdown()


def _where(asked: dict[str, Any]) -> str:
    return str(asked.get("partition", "(the default)"))


def _set_aside(logs: list[str]) -> None:
    """Rename logs of an earlier try, so that a failure does not show them as its own."""
    for path in logs:
        if os.path.exists(path):
            os.replace(path, f"{path}.before")
