"""One head process for each configuration of a folder.

A head holds a lock on its own file, which the kernel frees with the process, however that ends, and
says in it where it
runs: file locks do not reach every shared file system, so a head on another machine counts as gone
only if it was a Slurm job that has ended. Snakemake's own locks, which a killed run leaves behind,
are removed for heads that are gone."""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import json
import os
import re
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from snakemake.exceptions import LockException
from snakemake.logging import logger

from . import adapter, queue, site

FOLDER = Path(".snakemake/slurm-resilient/heads")
LOCKS = Path(".snakemake/locks")
followed = False  # True if the Snakefile of this run has called `follow`
# head -> its file, open and so locked as long as this process lives; children do not inherit it
HELD: dict[str, TextIO] = {}


def name(workflow: Any) -> str:
    """The name of the head and of its jobs.

    It has folder and configuration, and a hash that tells clones apart.
    """
    files = sorted(os.path.relpath(f) for f in workflow.config_settings.configfiles)
    place = [os.getcwd(), os.path.relpath(workflow.main_snakefile), *files]
    unique = hashlib.sha256(json.dumps(place).encode()).hexdigest()[:6]
    config = "-".join(Path(f).stem for f in files) or "default"
    return plain(f"{Path.cwd().name}_{config}_{unique}")


def plain(text: str) -> str:
    """A text as a name of jobs and files, with - for all but letters and digits of ASCII."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)


def follow(workflow: Any) -> None:
    """Let a run (not a dry run) remove locks of heads that are gone before Snakemake checks them.

    A refusal of this package is printed in one line.
    """
    global followed
    followed = True
    execute = workflow.execute

    def run(executor_plugin: Any, **options: Any) -> Any:
        try:
            if not executor_plugin.common_settings.dryrun_exec and before_run(workflow):
                words = "An earlier run was killed; continuing where it was."
                print(words, file=sys.stderr, flush=True)
        except OSError as error:
            words = error.strerror or str(error)
            logger.error(f"{FOLDER} cannot be written ({words}): look at space and rights there.")
            raise SystemExit(1) from None
        try:
            return execute(executor_plugin=executor_plugin, **options)
        except (queue.SlurmError, LockException) as error:
            words = str(error)
            if isinstance(error, LockException):
                # most likely another head has the lock, and `claim` says which one
                try:
                    claim(workflow)
                except queue.SlurmError as refused:
                    words = str(refused)
                else:
                    raise error
            logger.error(f"{words}.")
            raise SystemExit(1) from None

    workflow.execute = run


def before_run(workflow: Any) -> bool:
    """Remove Snakemake's locks of heads that are gone; True if there were any."""
    mine = name(workflow)
    if not _hold(mine) or _elsewhere(mine):
        return False
    locks = [p for p in LOCKS.glob("*") if p.is_file()]
    others = [file.stem for file in FOLDER.glob("*.json") if file.stem != mine]
    # another head can have locks, too: remove only locks that this configuration's head recorded
    if any(alive(other) for other in others):
        own = _record(mine).get("locks", [])
        locks = [p for p in locks if p.name in own]
    for path in locks:
        path.unlink(missing_ok=True)
    return bool(locks)


def explain_lock() -> None:
    """Say, after Snakemake has stopped at a lock, that a killed head left it.

    It also says which lines the Snakefile lacks.
    """
    if followed or HELD or not FOLDER.is_dir():
        return
    locks = {path.name for path in LOCKS.glob("*")}
    for file in FOLDER.glob("*.json"):
        record = _record(file.stem)
        if locks & set(record.get("locks", [])) and not alive(file.stem):
            print(
                f"The lock is of a run that was killed: process {record['pid']} on "
                f"{record['host']}. Remove it with 'snakemake --unlock' and start again: the next "
                "run goes on with its jobs. A Snakefile with the lines 'heads.follow' and "
                "'reattach.before_jobs' (README of slurm-resilient) needs no such command.",
                file=sys.stderr,
            )


def claim(workflow: Any) -> None:
    """Become the head of this configuration.

    SlurmError if another head of it is, or may be, alive.
    """
    mine = name(workflow)
    if not _hold(mine):
        record = _record(mine)
        raise queue.SlurmError(
            f"another run of this configuration is alive: process {record.get('pid', '?')} on "
            f"{record.get('host', 'this machine')}. Wait until it ends, or stop it"
        )
    where = _elsewhere(mine)
    if where:
        raise queue.SlurmError(
            f"another run of this configuration may be alive: {where}. Look there; if it is gone, "
            f"remove {_file(mine)} and start again"
        )
    _write(mine, {**_here(), "locks": adapter.locks(workflow)})
    atexit.register(_write, mine, {})


def alive(head: str) -> bool:
    """True if the head of another configuration is, or may be, alive."""
    try:
        stream = _locked(head)
        if stream is None:
            return True
        stream.close()
    except OSError:  # a file of another person, which cannot be opened to lock it
        pass
    return bool(_elsewhere(head))


def _hold(head: str) -> bool:
    """Lock the head's file until this process ends; False if another process has it."""
    if head not in HELD:
        stream = _locked(head)
        if stream is not None:
            HELD[head] = stream
    return head in HELD


def _locked(head: str) -> TextIO | None:
    """The head's file, open and locked; None if another process has it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    stream = _file(head).open("a+", encoding="utf-8")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        return None
    except OSError:  # a file system without locks: Snakemake's own remain
        pass
    return stream


def _elsewhere(head: str) -> str:
    """Say where the recorded head may be alive on another machine.

    "" if it is gone, or was on this machine.
    """
    record = _record(head)
    if not record or record["host"] == socket.gethostname():
        return ""
    # this very Slurm job, which was queued again and runs on another machine now
    job = _here()["job"]
    if job and record["job"] == job:
        return ""
    if not record["job"]:
        return f"process {record['pid']} on {record['host']}, since {record['since']}"
    try:
        row = queue.known(record["job"])
    except queue.Unreachable:
        return f"Slurm job {record['job']} on {record['host']} (not known now)"
    if row is None or not row.live:
        return ""
    return f"Slurm job {record['job']} on {record['host']} ({row.state})"


def _here() -> dict[str, str]:
    """The record of this process, without its locks."""
    return {
        "host": socket.gethostname(),
        "pid": str(os.getpid()),
        "job": os.environ.get("SLURM_JOB_ID", ""),
        "since": time.strftime("%Y-%m-%d %H:%M"),
    }


def _file(head: str) -> Path:
    return FOLDER / f"{head}.json"


def _record(head: str) -> dict[str, Any]:
    """What a head wrote into its file: host, pid, job, since, locks; {} if it ended well."""
    try:
        found = json.loads(_file(head).read_text(encoding="utf-8"))
        record = {name: str(found[name]) for name in _here()}
        return {**record, "locks": list(map(str, found.get("locks", [])))}
    # none, or the head ended well, or the file is not a head's
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _write(head: str, record: dict[str, Any]) -> None:
    """Write a head's record in place, because the lock is on this very file.

    An empty record leaves an empty file: the head ended well (`_record`).
    """
    stream = HELD[head]
    stream.seek(0)
    stream.truncate()
    stream.write(json.dumps(record) if record else "")
    stream.flush()


# ---- a head that is itself a Slurm job


def seconds_left() -> float | None:
    """Seconds to the time limit of the head's own Slurm job; None without such a job or limit.

    Unreachable if the controller gives no answer.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return None
    said = queue.ask("squeue", "--noheader", "--format=%L", f"--jobs={job}")
    minutes = site.minutes(said.strip())
    if minutes == float("inf"):
        return None
    return minutes * 60


def start_again_at_exit(latest: float) -> None:
    """Queue the head's own Slurm job again when this process ends, or after some seconds.

    latest: these seconds.

    A job of Snakemake that runs on the head can take longer than that. Then the job is killed, and
    the next head runs it again.
    """
    job = os.environ["SLURM_JOB_ID"]
    atexit.register(_start_again, job)
    timer = threading.Timer(latest, _start_again, [job])
    timer.daemon = True
    timer.start()


def _start_again(job: str) -> None:
    """Queue a Slurm job again, once."""
    atexit.unregister(_start_again)
    try:
        queue.ask("scontrol", "requeue", job)
    except queue.SlurmError as error:
        print(
            f"The head could not be queued again ({error}); start it by hand; it will find its "
            "jobs."
        )
