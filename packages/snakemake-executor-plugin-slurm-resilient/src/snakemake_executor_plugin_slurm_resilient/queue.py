"""Slurm's commands: squeue, which needs no accounting database, scancel, and sacct where there is one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from snakemake_interface_common.exceptions import WorkflowError

# Every other state ends a job. (SPECIAL_EXIT and REQUEUE_HOLD wait for a person.)
LIVE = frozenset(
    {"PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "COMPLETING", "STAGE_OUT", "SIGNALING"}
    | {"RESIZING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
)
COMPLETED = "COMPLETED"
TIMEOUT = 60  # seconds a Slurm command may take; its own patience with a busy controller is shorter
FIELDS = ("jobarrayid", "state", "exit_code", "reason", "nodelist", "timelimit", "workdir", "name", "comment")


class SlurmError(WorkflowError):  # type: ignore[misc]
    """Snakemake prints its message without a traceback."""


class Unreachable(SlurmError):
    """The controller gave no answer: busy, restarted, or away. Nothing is known of any job."""


@dataclass(frozen=True)
class Row:
    """One job in the queue."""

    id: str
    state: str
    code: str  # exit status:signal
    reason: str  # why it waits, or Slurm's reason for its end
    nodes: str
    limit: str  # on its time
    folder: str
    name: str
    comment: str

    @property
    def live(self) -> bool:
        return self.state in LIVE


def ask(
    *command: str, timeout: float = TIMEOUT, stdin: str | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Standard output of a Slurm command. Unreachable if it fails, SlurmError if it is not installed."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, input=stdin, env=env
        )
    except FileNotFoundError:
        raise SlurmError(
            f"no '{command[0]}' on this machine; run this where you submit Slurm jobs (a login node)"
        ) from None
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{command[0]}: no answer in {timeout:g} s") from None
    if done.returncode:
        said = "\n".join(line.strip() for line in done.stderr.splitlines() if line.strip())
        raise Unreachable(said or f"{command[0]} ended with status {done.returncode}")
    return done.stdout


def jobs() -> dict[str, Row]:
    """My jobs by id, ended ones as long as the controller remembers them (MinJobAge)."""
    fields = "--Format=" + ",".join(f"{name}:|" for name in FIELDS)
    lines = ask("squeue", "--me", "--noheader", "--states=all", fields).splitlines()
    rows = (line.removesuffix("|").split("|", len(FIELDS) - 1) for line in lines)
    return {values[0]: Row(*values) for values in rows if len(values) == len(FIELDS)}


def accounted(id: str) -> tuple[str, str] | None:
    """State and exit code by the accounting database; None if there is none or it does not know the job."""
    command = ["sacct", "--allocations", "--noheader", "--parsable2", "--format=State,ExitCode"]
    try:
        text = ask(*command, f"--jobs={id}")
    except SlurmError:
        return None
    for line in text.splitlines():
        state, _, code = line.partition("|")
        return state.split()[0] if state else "UNKNOWN", code  # "CANCELLED by 1000"
    return None


def cancel(ids: Iterable[str]) -> None:
    """Cancel jobs. Unreachable if the controller gives no answer."""
    if ids := sorted(ids):
        ask("scancel", *ids)
