"""The executor: submit jobs, watch them, and go on after faults of the cluster.

It reads the resources of snakemake-executor-plugin-slurm. Beyond that plugin, it waits while the
controller is away, keeps a journal by which the next head takes over the jobs of a killed one,
retries by cause, and explains failures. A job is known by the key in its comment, not by its
number, so that no answer of Slurm makes it run twice."""

from __future__ import annotations

import asyncio
import signal
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
from .nodes import Nodes
from .patience import SLOWEST, Contact, Patience
from .queue import LOST, SlurmError

# seconds before a job is submitted again that was preempted or lost its node, at most
LONGEST = 3600
NO_ID = "sbatch printed no job id"


class Executor(RemoteExecutor):  # type: ignore[misc]
    """Submit and watch the jobs of one run, through Snakemake's executor interface."""

    def __init__(self, workflow: Any, logger: Any) -> None:
        self._settings = workflow.executor_settings
        self._interval = self._settings.init_seconds_before_status_checks
        head = heads.name(workflow)
        self._name = heads.plain(f"{self._settings.jobname_prefix}_{head}".strip("_"))
        self._journal = Journal(FOLDER / f"{head}.jsonl")
        self._entries: dict[str, Entry] = {}  # by key: jobs that are not over yet
        # keys that count: of jobs that are not over yet, and of the job that sbatch has now
        self._current: set[str] = set()
        self._of: dict[Any, tuple[Journal, str]] = {}  # a job of Snakemake -> where it is noted
        self._tries: dict[Any, Tries] = {}
        self._due: dict[Any, float] = {}  # when a job that failed may be submitted again
        self._lost: dict[Any, list[str]] = {}  # states of tries that ended by no fault of the job
        self._absent: dict[str, float] = {}  # since when a key was not seen in the queue
        self._waiting: dict[str, int] = {}  # how often a job was seen to wait for a person
        self._known = site.Site()
        self._small: set[str] = set()  # rules with less memory than Snakemake needs, told once
        self._asking: dict[Any, dict[str, Any]] = {}  # what a job's next sbatch asks for
        self._earlier = reattach.Earlier()
        self._stop = threading.Event()
        self._nodes = Nodes(logger)
        self._contact = Contact(self._settings.patience, logger, self._stop)
        self._patiently = self._contact.patiently
        self._lines = Lines(self._submit, self._not_submitted, self._stop)
        super().__init__(workflow, logger)  # starts the thread that queries the queue

    def __post_init__(self) -> None:
        self.next_seconds_between_status_checks = self._interval
        folder = self._settings.logdir or ".snakemake/slurm_logs"
        self._logs = Path(self.workflow.workdir_init) / folder
        try:
            adapter.check(self.workflow)
            reattach.watched = True
            self._take_over()
        except BaseException:
            adapter.keep_folders(self.workflow)  # earlier jobs may write there
            self.shutdown()
            raise

    def _take_over(self) -> None:
        """Become the head, find the jobs of earlier heads, and let Snakemake make their files."""
        submits = any(not job.is_local for job in self.dag.needrun_jobs())
        if submits:
            self._patiently(lambda: heads.claim(self.workflow))
        found = self._patiently(lambda: reattach.find(self.workflow))
        if not submits and not found.entries:
            return  # no Slurm jobs, as for `prefetch`
        self._patiently(lambda: heads.claim(self.workflow))
        self._patiently(self._journal.shrink)
        self._earlier = found
        # jobs of other targets go on, too
        self._current |= {e.key for e in self._journal.read() if not e.settled}
        self._current |= found.entries.keys()
        live = found.live()
        if live:
            self.logger.info(
                f"{len(live)} jobs of an earlier run are still in the queue: {', '.join(live)}. "
                "They go on as jobs of this run; none is submitted twice."
            )
        self._patiently(self._end_strays)
        if found.entries or found.again:
            # Snakemake asks for their files again; `_submit` then takes over the jobs that make
            # them
            adapter.make_again(self.workflow, found.paths() | found.again)
            local = {str(p) for job in self.dag.needrun_jobs() if job.is_local for p in job.output}
            # files that this run makes without Slurm: no earlier job may write them meanwhile
            self._patiently(lambda: found.cancel_others(local & found.paths()))
        # hand over to a new head before the time limit of the head's own Slurm job
        left = self._patiently(heads.seconds_left)
        if left is not None:
            margin = min(self._settings.head_margin, left / 2)
            timer = threading.Timer(left - margin, self._hand_over, [margin / 2])
            timer.daemon = True
            timer.start()

    # ---- submission ---

    def additional_general_args(self) -> str:
        """Let the job's own Snakemake run in the batch step.

        A nested srun would cost a process and lose SLURM_CONF.
        """
        return "--executor local"

    def get_job_exec_prefix(self, job: Any) -> str:
        """Shell command before each job."""
        # Python ends with an error if it cannot write buffered output (a full log folder), and a
        # good job would fail
        return "export PYTHONUNBUFFERED=1"

    def get_job_args(self, job: Any) -> str:
        """Pass the cores that the job asked for: 'all' could be all cores of the node.

        No file of the head is passed, because a job can outlive the head and its files.
        """
        asked = self._asking[job]
        args = RealExecutor.get_job_args(self, job, cores=asked["cpus"])
        if job.is_group() and "mem_mb" in asked:  # limits how many of its jobs run at a time
            most = [f"mem_mb={asked['mem_mb']}"]
            args = f"{args} {format_cli_arg('--resources', most)}"
        return f"{args} {format_cli_arg('--wait-for-files', list(job.get_wait_for_files()))}"

    def format_job_exec(self, job: Any) -> str:
        """The command of a job, which sees the memory and time that it was submitted with.

        Its attempt is Snakemake's, for which the workflow may want more of them.
        """
        given = retry.given(members(job), self._asking[job], self._tries.get(job, Tries()))
        return f"{super().format_job_exec(job)} {adapter.set_resources(self.workflow, given)}"

    def run_job(self, job: Any) -> None:
        """Let a job wait for its submission, after a pause if it failed before."""
        self._lines.add(job, self._due.pop(job, 0) - time.monotonic())

    def _not_submitted(self, job: Any, error: Exception) -> None:
        """Report a job as failed, because an error stopped its submission."""
        said = " ".join(str(error).split())[:300] or type(error).__name__
        self._fail(SubmittedJobInfo(job), f"could not be submitted: {said}")

    def _submit(self, job: Any) -> None:
        """Submit a job, or take over the same job of an earlier run.

        Runs in the thread of the job's line.
        """
        tries = self._tries.get(job, Tries())
        here = self._site()
        whole = here.placed(retry.asked(job, tries))
        wanted = retry.fitted(job, whole, tries, here.nodes(whole))
        if wanted != whole:
            self.logger.info(
                f"Group {job.name}: its jobs take turns, because no node has "
                f"{reasons.wanted(whole)}."
            )
        asked, cut = retry.capped(wanted, here.most(wanted))
        if cut:
            self.logger.warning(
                f"Job {job.name}: asks for {' and '.join(cut)} (partition {_where(asked)})."
            )
        if 0 < retry.number(asked, "mem_mb") < retry.LEAST and job.name not in self._small:
            self._small.add(job.name)
            self.logger.warning(
                f"Job {job.name}: asks for {asked['mem_mb']} MB, and Snakemake itself needs about "
                f"{retry.LEAST} MB of it: ask for more, or it ends for lack of memory."
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
                "parameters or inputs now, or the profile asks for something else."
            )
        self._patiently(lambda: self._end_earlier_tries(new))
        logs = [str(path) for member in members(job) for path in member.log]
        self._patiently(lambda: retry.set_aside(logs))
        said = self._sbatch(job, new, self._nodes.avoided(new, here))
        if said and self._stop.is_set():
            return  # the next head finds out if Slurm has the job
        if said:
            _give_up(job)  # the same call would be refused again
            self._fail(SubmittedJobInfo(job), reasons.refused(said, new.asked))

    def _end_earlier_tries(self, new: Entry) -> None:
        """Cancel earlier jobs that would write the same files, and wait until they have ended.

        They can be alive although Slurm reported their end or did not know them.
        """
        earlier = [old for old in self._earlier.given_up if old.makes.keys() & new.makes.keys()]
        if not earlier:
            return
        ids = reattach.strays(queue.jobs().values(), self._name, self._current)
        found = [reattach.look_up_missing(old, self._name)[0] for old in earlier]
        ids += [row.id for row in found if row is not None and row.live]
        reattach.end(sorted(set(ids)))

    def _sbatch(self, job: Any, new: Entry, avoid: set[str]) -> str:
        """Submit a job, and wait while Slurm does not take it.

        Returns Slurm's words if the job is refused or the run stops, else "".
        """
        what, wildcards = submit.what(job)
        log = self._logs / what / wildcards / "%j.log"
        comment = submit.comment(what, wildcards, new.key)
        pattern = submit.log_option(log)
        options = (job, new.asked, self._settings, self._name, pattern, comment)
        call = submit.call(*options, avoid)
        self._asking[job] = new.asked
        guarded = self._patiently(lambda: guard(new.key))
        script = f"#!/bin/sh\n{guarded}{self.format_job_exec(job)}\n"
        environment = submit.environment(job, self.envvars())
        self._patiently(lambda: log.parent.mkdir(parents=True, exist_ok=True))
        self._patiently(lambda: self._journal.intend(new))
        self._current.add(new.key)
        # marks its files as incomplete; before the job can run, because its node removes the marks
        # when it ends
        self._patiently(job.register)
        patience = Patience(self._settings.patience)
        while True:
            id, said = self._call(call, script, environment, new)
            if id:
                break
            if self._stop.is_set():
                return said  # Slurm may have taken the job: the next head finds out
            if patience.over(said):
                if avoid:  # perhaps no other node would do
                    avoid, call = set(), submit.call(*options)
                    continue
                self._current.discard(new.key)
                self._journal.settle(new.key, "failed")
                return said
            if patience.tells():
                self.logger.warning(
                    f"Slurm takes no job now (job {job.jobid}, partition {_where(new.asked)}: "
                    f"{' '.join(said.split())[:200]}); trying again, nothing is lost. Jobs of "
                    "other partitions go on."
                )
            self._lines.pause(patience.pause())
            # an earlier call can reach Slurm late
            id = ""
            if not self._stop.is_set():
                id = self._taken(new)
            if id:
                break
        new = replace(new, id=id, log=str(log.with_name(f"{id}.log")))
        # even if it cannot be noted the job runs: the next head finds it by its comment
        self._journal.note(new.key, id=id, log=new.log)
        self.logger.info(
            f"Job {job.jobid} has been submitted with SLURM jobid {id} (log: {new.log}). It asks "
            f"for {reasons.wanted(new.asked)}."
        )
        self._watch(job, self._journal, new)
        return ""

    def _call(
        self, call: list[str], script: str, environment: dict[str, str], new: Entry
    ) -> tuple[str, str]:
        """Call sbatch once. Returns the job's number, or "" and Slurm's words."""
        id, said = "", NO_ID
        try:
            id = submit.job_id(queue.ask(*call, stdin=script, env=environment))
        except queue.Unreachable as error:
            said = str(error)
        if not id and not self._stop.is_set():
            id = self._taken(new)
        return id, said

    def _taken(self, new: Entry) -> str:
        """The number of the job that Slurm made of a submission, although sbatch printed none.

        "" if there is no such job yet.
        """
        rows = self._patiently(queue.jobs)
        row = reattach.row_of(new, self._journal.path.stem, rows, queue.by_key(rows.values()))
        if row is not None and not row.refused:
            return row.id
        return first_to_start(new.key)

    def _watch(self, job: Any, journal: Journal, e: Entry, live: bool = True) -> None:
        """Watch the Slurm job of a job; if it is not live, it has ended well: report this."""
        info = SubmittedJobInfo(job, external_jobid=e.id)
        self._of[job] = (journal, e.key)
        self._tries[job] = e.tries
        if live:
            self._entries[e.key] = e
            self._current.add(e.key)
            self.report_job_submission(info, register_job=False)
        else:
            RealExecutor.report_job_submission(self, info, register_job=False)
            self.report_job_success(info)

    def _site(self) -> site.Site:
        """The site; without partitions as long as Slurm does not say."""
        if not self._known.partitions:
            with suppress(SlurmError):
                self._known = site.read()
        return self._known

    # ---- status ---

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Report jobs that have ended, and yield the others.

        Yield all if the controller does not answer.
        """
        if not active_jobs:
            self.next_seconds_between_status_checks = self._interval
            return
        try:
            async with self.status_rate_limiter:
                rows = await asyncio.to_thread(queue.jobs)
        except queue.Unreachable as error:
            self.next_seconds_between_status_checks = self._contact.failed("queue", error)
            for info in active_jobs:
                yield info
            return
        self._contact.back("queue")
        ended = False
        await asyncio.to_thread(self._cancel_strays, rows)
        keyed = queue.by_key(rows.values())
        for info in active_jobs:
            if await asyncio.to_thread(self._look_at, info, rows, keyed):
                ended = True
            else:
                yield info
        # ever longer pauses, until a job ends
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
        """Report a job if it has ended, and return True then. rows: by id. keyed: by key."""
        journal, key = self._of[info.job]
        e, head = self._entries[key], journal.path.stem
        row = reattach.row_of(e, head, rows, keyed)
        # sbatch, or a wrapper of it, printed another number
        if row is not None and row.id != e.id:
            e = replace(e, id=row.id, log=str(Path(e.log).with_name(f"{row.id}.log")))
            self._entries[key] = e
            journal.note(key, id=e.id, log=e.log)
        if row is not None:
            self._contact.back(key)  # nothing else needs to be asked
        if row is not None and row.live:
            self._absent.pop(key, None)
            self._tell_waiting(e.id, row)
            return False
        first_time = key not in self._absent
        since = self._absent.setdefault(key, time.monotonic())
        if first_time and (row is None or row.state in retry.PASSING):
            return False  # Slurm may be about to queue it again: look once more
        asked = row is None  # the queue does not show the job: ask for it
        if asked:
            try:
                row, by_controller = reattach.look_up_missing(e, head)
            except queue.Unreachable as error:
                self._contact.failed(key, error)
                return False
            self._contact.back(key)
            if row is not None and row.live:
                if by_controller or time.monotonic() < since + LOST:
                    return False  # squeue does not show it, but it is alive
                row = None  # only the database calls it alive, for too long: it is lost
        good = reattach.ended_well(e, row, asked, self.workflow, members(info.job))
        state, code = (row.state, row.code) if row is not None else ("FORGOTTEN", "")
        # Slurm says that it ended well, but its outputs are still marked as incomplete
        if state == queue.COMPLETED and not good:
            state = "FORGOTTEN"
        del self._entries[key]
        if good:
            if row is not None:
                self._nodes.ended_well(row.nodes)
            self.report_job_success(info)
        else:
            self._ended_badly(info, e, state, code, row)
        return True

    def _end_strays(self) -> None:
        """Cancel jobs of earlier runs that do not count, and wait for their end.

        They would write the files that this run makes.
        """
        ids = reattach.strays(queue.jobs().values(), self._name, self._current)
        reattach.end(ids)
        if ids:
            self.logger.warning(
                f"Cancelled {', '.join(ids)}: jobs of an earlier run that nothing is known of."
            )

    def _cancel_strays(self, rows: dict[str, queue.Row]) -> None:
        """Cancel jobs of this run that were submitted again. rows: the queue, by id."""
        ids = reattach.strays(rows.values(), self._name, self._current)
        if not ids:
            return
        with suppress(SlurmError):  # the next look tries again
            queue.cancel(ids)
            self.logger.warning(
                f"Cancelled {', '.join(ids)}: jobs of this run that do not count any more, because "
                "they were submitted again."
            )

    def _ended_badly(
        self, info: SubmittedJobInfo, e: Entry, state: str, code: str, row: queue.Row | None
    ) -> None:
        """Report a job that failed, or submit it again if it is not at fault.

        state, code: as in `queue.Row`; state FORGOTTEN if Slurm does not say how it ended.
        """
        logs = [e.log, *(str(path) for member in members(info.job) for path in member.log)]
        if state == "FAILED" and reasons.killed(logs):
            code = "137"  # killed by the kernel, which Slurm did not see
        why = retry.cause(state, code)
        self._tries[info.job] = retry.after(e.tries, why)
        self._earlier.given_up.append(e)
        seen = row or queue.Row(e.id, state)
        words = reasons.ended(state, code, seen.nodes, seen.limit, e.asked, seen.reason)
        if reasons.unsatisfiable(seen.reason):
            words += ": not tried again"
            _give_up(info.job)
        elif state == "FAILED" and why == "other" and not code.startswith(f"{reasons.UNNOTED}:"):
            self._nodes.judge(seen.nodes, e, self._entries.values(), self._site())
        # no more tries if it already had the most of what it lacked
        lacking = {"memory": "mem_mb", "time": "runtime"}.get(why, "")
        most = self._site().most(e.asked).get(lacking)
        if info.job.resources.get("slurm_partition") == site.AUTO:
            most = None  # another partition may give more
        if most is not None and retry.number(e.asked, lacking) >= most and state != "FAILED":
            words += (
                f", and {most:g} is the most that partition {_where(e.asked)} gives: not tried "
                "again"
            )
            _give_up(info.job)
        told = f"Slurm job {e.id} {words}. Slurm's log: {e.log}"
        if state in retry.PASSING:
            self._again(info.job, state, told)
            return
        # more memory or time can be asked for at once; other causes may pass in a while
        self._fail(info, told, pause=why == "other", aux_logs=[e.log])

    def _again(self, job: Any, state: str, told: str) -> None:
        """Submit a job again, after ever longer pauses.

        Snakemake hears nothing of it, as it would count it as a try.
        """
        self._settle(job, "failed")
        lost = self._lost.setdefault(job, [])
        if state not in lost:
            self.logger.warning(f"{told}. The job is submitted again; this uses no try.")
        self._lines.add(job, min(self._settings.retry_pause * 2 ** len(lost), LONGEST))
        lost.append(state)

    def _fail(self, info: SubmittedJobInfo, told: str, pause: bool = True, **more: Any) -> None:
        """Report a failed job to Snakemake. pause: a retry by Snakemake waits for `retry_pause`."""
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
        """Note in the journal that the job failed."""
        super().handle_job_error(job)
        self._settle(job, "failed")

    def _settle(self, job: Any, how: str) -> None:
        """Note in the journal how a job ended, "made" or "failed".

        From now on it does not count.
        """
        noted = self._of.pop(job, None)
        if noted is None:
            return
        journal, key = noted
        self._current.discard(key)
        journal.settle(key, how)

    # ---- words ---

    def _tell_waiting(self, job: str, row: queue.Row) -> None:
        """Warn once if a Slurm job waits for a person. job: its number."""
        told = reasons.waiting(row.state, row.reason)
        if told is not None:
            words, advice, looks = told
            self._waiting[job] = self._waiting.get(job, 0) + 1
            if self._waiting[job] == looks:
                self.logger.warning(
                    f"Slurm job {job} {words} (Slurm says: {row.reason}). The run waits for it: "
                    f"{advice.format(job=job)}'scancel {job}' gives it up."
                )

    # ---- the end ---

    def _hand_over(self, latest: float) -> None:
        """End this head, because the time limit of its own Slurm job is near; a new head goes on.

        latest: seconds until the new head is queued, if this process has not ended before.
        """
        self._stop.set()
        heads.start_again_at_exit(latest)
        self.workflow.scheduler.executor_error_callback(
            SlurmError(
                "The time limit of the head's own Slurm job is near: it is queued again, and goes "
                f"on with its {len(self._entries)} jobs."
            )
        )

    def cancel(self) -> None:
        """Cancel all jobs, after Ctrl-C; after another Ctrl-C, say what still runs."""
        fault = ""
        try:
            self._lines.end()
            queue.cancel(self._alive())
        except SlurmError as error:
            fault = str(error)
        except KeyboardInterrupt:
            fault = "interrupted"
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end takes a moment
        ids = " ".join(sorted(e.id for e in list(self._entries.values())))
        if fault:
            self.logger.error(
                f"Slurm jobs {ids} could not be cancelled and keep running ({fault}). The next run "
                f"goes on with them; 'scancel {ids}' stops them, once the controller is back."
            )
        self.shutdown()

    def _alive(self) -> list[str]:
        """The numbers of this run's live jobs, but not of other jobs that got one of these numbers
        later.
        """
        rows = queue.jobs()
        keyed = queue.by_key(rows.values())
        found = [
            reattach.row_of(e, self._name, rows, keyed)
            or reattach.look_up_missing(e, self._name, by_database=False)[0]
            for e in list(self._entries.values())
        ]
        return [row.id for row in found if row is not None and row.live]

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Do nothing: `cancel` cancels the jobs."""

    def shutdown(self) -> None:
        """Submit no more jobs, and end the executor."""
        self._lines.end()
        if self._current:
            adapter.keep_folders(self.workflow)  # of jobs that go on
        super().shutdown()


def _give_up(job: Any) -> None:
    """Use up all tries of a job, so that Snakemake does not submit it again."""
    job.attempt = max(job.attempt, job.restart_times + 1)


def _where(asked: dict[str, Any]) -> str:
    """The partition of a job, for messages."""
    return str(asked.get("partition", "(the default)"))
