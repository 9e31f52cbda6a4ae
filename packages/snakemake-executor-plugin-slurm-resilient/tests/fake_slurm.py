"""Slurm's commands on a machine without Slurm, for tests of what happens after odd answers.

Jobs run at once, as processes. The folder $FAKE_SLURM holds them and the file `calls`: the calls
that submit or cancel, in their order. A file with the name of a command gives its next answers, one
a line: `nothing` (exit status 0), `unknown` (no such job), `late` (sbatch, once the job has ended),
`true`. The last line holds for all further calls."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ["FAKE_SLURM"])


def next_answer(command: str) -> str:
    file = FOLDER / command
    if not file.exists():
        return "true"
    first, *rest = file.read_text().split()
    if rest:
        file.write_text("\n".join(rest))
    return first


def state(job: Path) -> str:
    end = job / "end"
    if not end.exists():
        return "RUNNING"
    return end.read_text().strip()


def note(call: str) -> None:
    with (FOLDER / "calls").open("a") as stream:
        print(call, file=stream)


def known() -> list[Path]:
    """Jobs that the controller has not forgotten: it forgets them at their end if the file
    `forgets` is there.
    """
    jobs = sorted(FOLDER.glob("jobs/*"))
    if (FOLDER / "forgets").exists():
        jobs = [job for job in jobs if state(job) == "RUNNING"]
    return jobs


def sbatch(arguments: list[str], answer: str) -> None:
    number = len(list(FOLDER.glob("jobs/*"))) + 1
    job = FOLDER / "jobs" / str(number)
    job.mkdir(parents=True)
    note(f"sbatch {number}")
    for option in ("--job-name", "--comment"):
        (job / option).write_text(arguments[arguments.index(option) + 1])
    (job / "script").write_text(sys.stdin.read())
    body = (
        f"sh {job}/script > {job}/log 2>&1 && echo COMPLETED > {job}/end || echo FAILED > {job}/end"
    )
    environment = {**os.environ, "SLURM_JOB_ID": str(number)}
    process = subprocess.Popen(
        ["sh", "-c", body],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    (job / "pid").write_text(str(process.pid))
    while answer == "late" and state(job) == "RUNNING":
        time.sleep(0.1)
    print(number)


def scancel(arguments: list[str], answer: str) -> None:
    for number in arguments:
        note(f"scancel {number}")
        job = FOLDER / "jobs" / number
        if state(job) == "RUNNING":
            os.killpg(int((job / "pid").read_text()), signal.SIGKILL)
            (job / "end").write_text("CANCELLED")


def squeue(arguments: list[str], answer: str) -> None:
    for job in known():
        row = [job.name, state(job), "0:0", "None", "n1", "20:00"]
        row += [(job / "--job-name").read_text(), (job / "--comment").read_text()]
        print("|".join(row) + "|")


def scontrol(arguments: list[str], answer: str) -> None:
    job = FOLDER / "jobs" / arguments[2]
    if answer == "unknown" or job not in known():
        sys.exit("slurm_load_jobs error: Invalid job id specified")
    name, comment = (job / "--job-name").read_text(), (job / "--comment").read_text()
    print(f"JobId={job.name} JobName={name} JobState={state(job)} ExitCode=0:0 Comment={comment} ")


def sacct(arguments: list[str], answer: str) -> None:
    number = arguments[-1].removeprefix("--jobs=")
    job = FOLDER / "jobs" / number
    if answer == "unknown" or not job.exists():
        sys.exit("Slurm accounting storage is disabled")
    print(f"{state(job)}|0:0|sbatch --comment '{(job / '--comment').read_text()}'")


def sinfo(arguments: list[str], answer: str) -> None:
    sys.exit("no partitions here")


COMMANDS = (sbatch, scancel, squeue, scontrol, sacct, sinfo)


def main() -> None:
    name, arguments = sys.argv[1], sys.argv[2:]
    command = next(command for command in COMMANDS if command.__name__ == name)
    if arguments[:2] == ["show", "config"]:  # asked when the official plugin is imported
        sys.exit("no configuration here")
    answer = next_answer(name)
    if answer != "nothing":
        command(arguments, answer)


if __name__ == "__main__":
    main()
