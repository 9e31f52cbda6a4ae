"""What Slurm's controller says of jobs: squeue and scontrol, which need no accounting database."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from coder_clip.errors import UserError

# Every other state ends a job. (SPECIAL_EXIT and REQUEUE_HOLD wait for a person.)
LIVE = frozenset(
    (
        *(
            "PENDING",
            "CONFIGURING",
            "RUNNING",
            "SUSPENDED",
            "STOPPED",
            "COMPLETING",
            "STAGE_OUT",
            "SIGNALING",
        ),
        *("RESIZING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
    )
)
COMPLETED = "COMPLETED"
TIMEOUT = 60  # seconds a Slurm command may take; its own patience with a busy controller is shorter


class Unreachable(UserError):
    """The controller gave no answer: busy, restarted, or away. Nothing is known of any job."""


@dataclass(frozen=True)
class Row:
    """One job in the queue."""

    id: str
    name: str
    state: str
    reason: str  # why it waits, or Slurm's reason for its end
    nodes: str
    folder: str

    @property
    def live(self) -> bool:
        return self.state in LIVE


def ask(*command: str, timeout: float = TIMEOUT, stdin: str | None = None) -> str:
    """Standard output of a Slurm command. Unreachable where it fails, UserError where it is not installed."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, input=stdin
        )
    except FileNotFoundError:
        raise UserError(
            f"no '{command[0]}' on this machine; run this where you submit Slurm jobs (a login node)"
        ) from None
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{command[0]}: no answer in {timeout:g} s") from None
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise Unreachable(said[-1] if said else f"{command[0]} ended with status {done.returncode}")
    return done.stdout


def jobs(names: Iterable[str] | None = None, clusters: Iterable[str] = ()) -> dict[str, Row]:
    """Jobs by id, ended ones as long as the controller remembers them (MinJobAge): those of some names, or all mine."""
    command = ["squeue", "--noheader", "--states=all", "--format=%i|%j|%T|%r|%N|%Z"]
    command.append("--me" if names is None else f"--name={','.join(sorted(names))}")
    if clusters := sorted(clusters):
        command.append(f"--clusters={','.join(clusters)}")
    rows = (line.split("|", 5) for line in ask(*command).splitlines())
    return {row[0]: Row(row[0], row[1], row[2], row[3], row[4], row[5]) for row in rows if len(row) == 6}


def details(job: str) -> dict[str, str]:
    """All that the controller knows of one job (scontrol's names); empty where it has forgotten it."""
    try:
        text = ask("scontrol", "show", "job", "--oneliner", job)
    except Unreachable as error:
        if "Invalid job id" in str(error):
            return {}
        raise
    return dict(re.findall(r"(\w+)=(\S*)", text))


def accounted(job: str) -> tuple[str, str] | None:
    """State and exit code by the accounting database; None where there is none or it does not know the job."""
    try:
        text = ask(
            "sacct", "--allocations", "--noheader", "--parsable2", "--format=State,ExitCode", f"--jobs={job}"
        )
    except UserError:
        return None
    for line in text.splitlines():
        state, _, code = line.partition("|")
        return state.split()[0] if state else "UNKNOWN", code  # "CANCELLED by 1000"
    return None


def cancel(ids: Iterable[str]) -> None:
    if ids := sorted(ids):
        ask("scancel", *ids)
