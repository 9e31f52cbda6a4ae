"""The executor plugin `coder-clip`: snakemake-executor-plugin-slurm, made to outlast what happens on a cluster.

Submission, resources and logs are the plugin's. Its own are: the status of jobs (squeue; the plugin drops every job
after a few failed queries, waits for ever for a job that the controller has forgotten or that was preempted for good,
and does not know sacct's "CANCELLED by 0"), sbatch through a controller that is away, the journal, taking over the
jobs of a head process that was killed, and words for a person.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_slurm import Executor as SlurmExecutor
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from coder_clip.errors import UserError
from coder_clip.tracking.hashes import Hashes

from . import queue, reasons, site
from .journal import Entry, Journal, entry
from .reattach import Earlier, live

SLOWEST = 60  # seconds between two looks at the queue, at most
KEPT_ENVIRONMENT = (
    "SLURM_CONF",
    "SLURM_CLUSTERS",
)  # where the cluster is, not what the head's own job was given
REFUSAL = re.compile(r"The error message was '(.*)'\.\n", re.DOTALL)


@dataclass(frozen=True)
class Refusal:
    """Why a job was not submitted. by_slurm: sbatch said so; else it did not come so far."""

    said: str
    by_slurm: bool


class Executor(SlurmExecutor):  # type: ignore[misc]
    def __init__(self, workflow: Any, logger: Any) -> None:
        self._journal = Journal()
        self._hashes = Hashes()
        self._entries: dict[str, Entry] = {}  # Slurm id -> what was submitted
        self._runs: set[str] = set()
        self._submitting = threading.Lock()
        self._current: tuple[Entry, Refusal | None] | None = (
            None  # under the lock: what is submitted, why refused
        )
        self._stop = threading.Event()
        self._away_since: float | None = None
        self._absent: dict[str, int] = {}
        self._told: set[str] = set()
        self._earlier = Earlier()
        self._wanted: set[str] = set()  # outputs of this run
        self._interval = (
            workflow.executor_settings.init_seconds_before_status_checks
        )  # the thread that looks starts now
        kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        super().__init__(workflow, logger)
        os.environ.update(kept)  # the plugin drops every SLURM_ variable where the head is itself a job

    def __post_init__(self, test_mode: bool = False) -> None:
        super().__post_init__(test_mode)
        self._runs.add(self.run_uuid)
        self.next_seconds_between_status_checks = self._interval
        self._take_over()

    def _take_over(self) -> None:
        from .reattach import seen_at_start

        jobs = list(self.workflow.dag.needrun_jobs())
        if all(job.is_local for job in jobs):
            return  # nothing to submit, as for `stage`: what is in the queue may be of a head that is alive
        self._wanted = {str(path) for job in jobs for path in job.output}
        found = seen_at_start()
        if found is None:  # the controller was away then
            found = self._patiently(lambda: live(self._journal))
        self._earlier = found
        if found.entries:
            self.logger.info(
                f"{len(found.entries)} jobs of an earlier run are still in the queue: {', '.join(found.entries)}. They "
                "go on as jobs of this run; none is submitted twice."
            )
        if found.unknown:
            ids = self._patiently(found.cancel_unknown)
            self.logger.info(
                f"Jobs of an earlier run that nothing is known of are cancelled: {', '.join(ids)}."
            )
        self._journal.settle({e.run for e in found.entries.values()})

    # ---- submission -------------------------------------------------------------------------------

    def additional_general_args(self) -> str:
        """The job's own Snakemake works in the batch step: a nested srun would cost a process and lose SLURM_CONF."""
        return "--executor local"

    def get_job_exec_prefix(self, job: Any) -> str:
        """What a node's environment differs in from the head's."""
        settings = self.workflow.executor_settings
        # what is buffered when Python ends and cannot be written, in a full log folder, makes a good job fail
        values = ["PYTHONUNBUFFERED=1"]
        if not settings.online:
            values.append("HF_HUB_OFFLINE=1")
        if settings.scratch:
            values.append(f'TMPDIR="{settings.scratch}"')
        return f"export {' '.join(values)}"

    def format_job_exec(self, job: Any) -> str:
        """Variables in it (of scratch, precommand) are the node's, not those of the shell that calls sbatch."""
        command: str = super().format_job_exec(job)
        script = self.workflow.executor_settings.pass_command_as_script
        return command if script else command.replace("$", "\\$")

    def get_job_args(self, job: Any) -> str:
        """As many cores as the job asked for: 'all' would be the node's, where no cgroup says otherwise."""
        cores = entry_cpus(job)
        return re.sub(r"--cores '?all'?", f"--cores {cores}", super().get_job_args(job))

    def get_account_arg(self, job: Any) -> Iterator[str]:
        """As given; sbatch itself judges it. The plugin asks sacctmgr for every job, and guesses an account."""
        account = job.resources.get("slurm_account")
        yield f" -A {shlex.quote(str(account))}" if account else ""

    def run_job(self, job: Any) -> None:
        """Submit one job, or take over the one of an earlier run. Runs in the plugin's own threads."""
        with self._submitting:
            try:
                self._submit(job)
            except Exception as error:  # nobody looks at a thread's exception: the run would hang
                self._refuse(job, f"could not be submitted: {_one_line(str(error)) or type(error).__name__}")
            finally:
                self._current = None

    def _submit(self, job: Any) -> None:
        new = entry(job, self.workflow.persistence, self.run_uuid, self._hashes)
        if old := self._earlier.take(new.makes, self._wanted):
            self._runs.add(old.run)
            self._register(
                job, old, f"Job {job.jobid} is Slurm job {old.id} of an earlier run (log: {old.log})."
            )
            return
        if gone := self._patiently(lambda: self._earlier.cancel_others(new.makes)):
            self.logger.info(
                f"Cancelled {', '.join(gone)} of an earlier run: the same files are to be made otherwise."
            )
        self._journal.intend(new)
        end = time.monotonic() + self.workflow.executor_settings.controller_patience
        pause = 5.0
        while True:
            self._current = (new, None)
            super().run_job(job)
            refusal = self._current[1]
            if refusal is None:
                return
            if not refusal.by_slurm:
                return self._refuse(job, f"could not be submitted: {_one_line(refusal.said)}")
            if not reasons.LATER.search(refusal.said) or self._stop.is_set() or time.monotonic() > end:
                job.attempt = max(job.attempt, job.restart_times + 1)  # asking for more will not please Slurm
                return self._refuse(job, site.refused(refusal.said, new.asked))
            self.logger.warning(
                f"Slurm takes no job now ({_one_line(refusal.said)}); trying again, nothing is lost."
            )
            self._stop.wait(pause)
            pause = min(pause * 2, SLOWEST)
            if found := self._patiently(self._strays):  # it was taken, only the answer was lost
                detail = self._patiently(lambda: queue.details(found[0]))
                taken = _with_id(new, found[0], detail.get("StdOut", ""))
                self._journal.submitted(taken.key, taken.id, taken.log)
                self._register(job, taken, f"Job {job.jobid} has been submitted with SLURM jobid {taken.id}.")
                return

    def _refuse(self, job: Any, told: str) -> None:
        self._tell_group(job, told)
        super()._report_job_error_threadsafe(SubmittedJobInfo(job), f"{told}. ")

    def _strays(self) -> list[str]:
        return [i for i in queue.jobs([self.run_uuid]) if i not in self._entries]

    def _register(self, job: Any, of: Entry, told: str) -> None:
        self._entries[of.id] = of
        self.logger.info(told)
        info = SubmittedJobInfo(job, external_jobid=of.id, aux={"slurm_logfile": Path(of.log)})
        super()._report_job_submission_threadsafe(info)

    def _report_job_submission_threadsafe(self, job_info: SubmittedJobInfo) -> None:
        """The plugin has submitted a job."""
        assert self._current is not None
        assert job_info.external_jobid is not None
        assert job_info.aux is not None
        new = _with_id(self._current[0], job_info.external_jobid, str(job_info.aux["slurm_logfile"]))
        self._entries[new.id] = new
        self._journal.submitted(new.key, new.id, new.log)
        super()._report_job_submission_threadsafe(job_info)

    def _report_job_error_threadsafe(self, job_info: SubmittedJobInfo, msg: str) -> None:
        """The plugin could not submit a job: kept for `_submit`, which decides whether to try again."""
        found = REFUSAL.search(msg)
        assert self._current is not None
        refusal = Refusal(found[1], True) if found else Refusal(msg.strip(), False)
        self._current = (self._current[0], refusal)

    def _patiently(self, do: Any) -> Any:
        """Do it as soon as the controller answers."""
        while True:
            try:
                return do()
            except queue.Unreachable as error:
                self._away(str(error))
                if self._stop.wait(10):
                    raise UserError(f"stopped while the Slurm controller was away ({error})") from None

    # ---- status -----------------------------------------------------------------------------------

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Report what has ended, yield the rest. Where the controller gives no answer, that is all of them."""
        if not active_jobs:
            self.next_seconds_between_status_checks = self._interval
            return
        try:
            async with self.status_rate_limiter:
                rows = await asyncio.to_thread(queue.jobs, self._runs, self._submitted_job_clusters)
        except queue.Unreachable as error:
            self._away(str(error))
            for info in active_jobs:
                yield info
            return
        self._back()
        ended = False
        for info in active_jobs:
            try:
                over = await asyncio.to_thread(self._look_at, info, rows.get(str(info.external_jobid)))
            except queue.Unreachable:  # next time
                over = False
            if over:
                ended = True
            else:
                yield info
        slower = min(self.next_seconds_between_status_checks + self._interval, max(SLOWEST, self._interval))
        self.next_seconds_between_status_checks = self._interval if ended else slower

    def _look_at(self, info: SubmittedJobInfo, row: queue.Row | None) -> bool:
        """Whether the job has ended; then it is reported."""
        job = str(info.external_jobid)
        if row is not None and row.live:
            self._absent.pop(job, None)
            self._tell_waiting(job, row)
            return False
        self._absent[job] = self._absent.get(job, 0) + 1
        if self._absent[job] < 2 and (row is None or row.state in ("NODE_FAIL", "PREEMPTED", "BOOT_FAIL")):
            return False  # Slurm may be about to queue it again; asked once more
        if row is not None:
            state, detail = row.state, {} if row.state == queue.COMPLETED else queue.details(job)
        else:
            state, detail = self._forgotten(info)
        if state == queue.COMPLETED:
            self._discard_log(info)
            self.report_job_success(info)
            return True
        words = reasons.ended(state, detail, self._entries[job].asked)
        if state == "FORGOTTEN":
            words = "is not known to Slurm any more, and its files are not all there"
        told = f"Slurm job {job} {words}. Slurm's log: {self._entries[job].log}. "
        self._tell_group(info.job, told)
        self.report_job_error(info, msg=told, aux_logs=[self._entries[job].log])
        return True

    def _forgotten(self, info: SubmittedJobInfo) -> tuple[str, dict[str, str]]:
        """A job that ended so long ago that the controller forgot it: by the accounting, else by its files."""
        of = self._entries[str(info.external_jobid)]
        if (found := queue.accounted(of.id)) and found[0] not in queue.LIVE:
            return found[0], {"ExitCode": found[1]}
        whole = all(os.path.exists(p) and os.stat(p).st_mtime >= of.time - SLOWEST for p in of.makes)
        return (queue.COMPLETED if whole else "FORGOTTEN"), {}

    def _discard_log(self, info: SubmittedJobInfo) -> None:
        if not self.workflow.executor_settings.keep_successful_logs and info.aux:
            try:
                info.aux["slurm_logfile"].unlink(missing_ok=True)
            except OSError as error:
                self.logger.warning(f"cannot remove {info.aux['slurm_logfile']}: {error}")

    # ---- words ------------------------------------------------------------------------------------

    def _tell_waiting(self, job: str, row: queue.Row) -> None:
        words = reasons.waiting(row.state, row.reason)
        if words and job not in self._told:
            self._told.add(job)
            self.logger.warning(
                f"Slurm job {job} {words} (Slurm says: {row.reason}). The run waits for it: 'scontrol release {job}' "
                f"or 'scontrol update JobId={job} …' lets it go on, 'scancel {job}' gives it up."
            )

    def _tell_group(self, job: Any, words: str) -> None:
        if job.is_group():  # Snakemake prints no message of a group
            self.logger.error(
                f"Group {job.name} ({', '.join(sorted({j.rule.name for j in job.jobs}))}): {words}"
            )

    def _away(self, error: str) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            self.logger.warning(
                f"The Slurm controller gives no answer ({error}). Jobs go on; this run waits until it is back."
            )

    def _back(self) -> None:
        if self._away_since is not None:
            away = time.monotonic() - self._away_since
            self._away_since = None
            self.logger.info(f"The Slurm controller is back after {away:.0f} s.")

    # ---- the end ----------------------------------------------------------------------------------

    def cancel(self) -> None:
        self._stop.set()
        super().cancel()

    def shutdown(self) -> None:
        self._stop.set()
        super().shutdown()


def entry_cpus(job: Any) -> int:
    return max(int(job.resources.get("cpus_per_task") or 0), int(job.threads), 1)


def _with_id(new: Entry, job: str, log: str) -> Entry:
    return replace(new, id=job, log=log)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]
