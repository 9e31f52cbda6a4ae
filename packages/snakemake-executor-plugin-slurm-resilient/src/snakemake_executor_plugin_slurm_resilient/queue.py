"""Slurm's commands: squeue, which needs no accounting database, and scancel; for a missing job
scontrol and sacct.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from snakemake_interface_common.exceptions import WorkflowError

from . import answers

# Every other state ends a job. (SPECIAL_EXIT and REQUEUE_HOLD wait for a person.)
LIVE = frozenset(
    {
        "PENDING",
        "CONFIGURING",
        "RUNNING",
        "SUSPENDED",
        "STOPPED",
        "COMPLETING",
        "STAGE_OUT",
        "SIGNALING",
    }
    | {"RESIZING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
)
COMPLETED = "COMPLETED"
TIMEOUT = 60  # seconds a Slurm command may take; its own patience with a busy controller is shorter
FIELDS = ("jobarrayid", "state", "exit_code", "reason", "nodelist", "timelimit", "name", "comment")
KEY = re.compile(r"\b[0-9a-f]{12}\b")  # of a submission, at the end of its job's comment
# the controller answers, and has no such job
UNKNOWN = re.compile(r"Invalid job id", re.IGNORECASE)
NO_DATABASE = "Slurm accounting storage is disabled"  # sacct, on a cluster that keeps no accounts
# Seconds after which sacct counts for nothing: it gives no answer, or calls a job alive that the
# controller does not know.
LOST = 300


class SlurmError(WorkflowError):  # type: ignore[misc]
    """Snakemake prints its message without a traceback."""


class Unreachable(SlurmError):
    """The controller gave no answer: busy, restarted, or away. Nothing is known of any job."""


class NoDatabase(Unreachable):
    """The accounting database gave no answer; what the controller says still holds."""


@dataclass(frozen=True)
class Row:
    """A row of squeue: one job."""

    id: str
    state: str
    code: str = ""  # exit status:signal
    reason: str = ""  # why it waits, or Slurm's reason for its end
    nodes: str = ""
    limit: str = ""  # on its time
    name: str = ""
    comment: str = ""

    @property
    def live(self) -> bool:
        """True if the job has not ended."""
        return self.state in LIVE

    @property
    def refused(self) -> bool:
        """True for what Slurm keeps of a submission that it refused: sbatch gave no number."""
        return self.state == "FAILED" and self.reason == "BadConstraints" and not self.nodes

    @property
    def keys(self) -> list[str]:
        """The key of the submission, and other words of the comment that look like a key.

        [] if the site writes comments of its own.
        """
        return KEY.findall(self.comment)


_started: set[str] = set()  # Slurm's programs that this process has started before
_unanswered: dict[str, float] = {}  # key -> since when sacct gives no answer about it


def ask(*command: str, stdin: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Standard output of a Slurm command.

    Unreachable if it fails or cannot be started now; SlurmError if it is not installed.
    """
    pipe = subprocess.PIPE
    program = command[0]
    try:
        # In a session of its own, which is killed as a whole after TIMEOUT: else the sbatch that a
        # wrapper has started would go on, and submit a job later.
        process = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            encoding="utf-8",
            errors="replace",
            env=env,
            start_new_session=True,
        )
    except OSError as error:
        # A program that was here before comes back: its file system was away.
        if isinstance(error, FileNotFoundError) and program not in _started:
            raise SlurmError(
                f"no '{program}' on this machine; run this where you submit Slurm jobs (a login "
                "node)"
            ) from None
        raise Unreachable(f"{program} cannot be started: {error.strerror}") from None
    _started.add(program)
    with process:
        try:
            said, failed = process.communicate(stdin, TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Unreachable(f"{program}: no answer in {TIMEOUT} s") from None
        except BaseException:  # Ctrl-C: else a scancel would go on, whatever is told of its jobs
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        lines = "\n".join(line.strip() for line in failed.splitlines() if line.strip())
        raise Unreachable(lines or f"{program} ended with status {process.returncode}")
    return said


def jobs() -> dict[str, Row]:
    """My jobs by id, ended ones as long as the controller remembers them (MinJobAge)."""
    fields = "--Format=" + ",".join(f"{name}:|" for name in FIELDS)
    lines = ask("squeue", "--me", "--noheader", "--states=all", fields).splitlines()
    rows = (line.removesuffix("|").split("|", len(FIELDS) - 1) for line in lines)
    return {values[0]: Row(*values) for values in rows if len(values) == len(FIELDS)}


def known(id: str) -> Row | None:
    """Ask the controller for one job by its number, which another job may have by now.

    None if the controller has no such job, or if scontrol is not installed.

    Unreachable if the answer is neither: silence with exit status 0 is not an answer.
    """
    try:
        said = ask("scontrol", "show", "job", id, "--oneliner")
    except Unreachable as error:
        if UNKNOWN.search(str(error)):
            return None
        raise
    except SlurmError:
        return None
    # NAME=value pairs in one line; a value can have spaces and ends before the next NAME=
    fields = dict(
        re.findall(
            r"(?:^| )(JobName|JobState|Reason|ExitCode|NodeList|Comment)=(.*?)(?= \w+=|\s*$)", said
        )
    )
    if "JobState" not in fields:
        raise Unreachable(f"scontrol show job {id}: it printed nothing of this job")
    return Row(
        id,
        fields["JobState"],
        fields.get("ExitCode", ""),
        fields.get("Reason", ""),
        fields.get("NodeList", ""),
        name=fields.get("JobName", ""),
        comment=fields.get("Comment", ""),
    )


def accounted(id: str, key: str) -> Row | None:
    """Ask the accounting database for a submission.

    None without a database, or if the database does not know the key. NoDatabase if it gives no
    answer now; None if it gives none for `LOST` seconds, because a site can do without it for days.

    Several jobs can have had the same number; the database keeps the sbatch command of each (since
    Slurm 21.08), which has the key. If Slurm queued a job again, the last row counts.
    """
    found: Row | None = None
    fields = "--format=State,ExitCode,SubmitLine"
    options = ["--allocations", "--duplicates", "--noheader", "--parsable2"]
    try:
        text = ask("sacct", *options, fields, f"--jobs={id}")
    except Unreachable as error:
        said = str(error)
        since = _unanswered.setdefault(key, time.monotonic())
        if NO_DATABASE in said or answers.final(said) or time.monotonic() > since + LOST:
            return None
        raise NoDatabase(said) from None
    except SlurmError:  # sacct is not installed
        return None
    _unanswered.pop(key, None)
    for line in text.splitlines():
        state, _, rest = line.partition("|")
        code, _, command = rest.partition("|")
        if key in command and state:
            found = Row(id, state.split()[0], code, comment=key)  # "CANCELLED by 1000"
    return found


def by_key(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by the key of their submission: several with one key if Slurm took it more than once."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        for key in row.keys:
            found.setdefault(key, []).append(row)
    return found


def cancel(ids: Iterable[str]) -> None:
    """Cancel jobs. Unreachable if the controller gives no answer."""
    wanted = sorted(ids)
    if wanted:
        ask("scancel", *wanted)


def avoid(id: str, nodes: Iterable[str]) -> None:
    """Keep a waiting job off some nodes, for good. Unreachable if the controller refuses."""
    ask("scontrol", "update", f"JobId={id}", f"ExcNodeList={','.join(sorted(nodes))}")
