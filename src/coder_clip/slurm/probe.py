"""Small jobs that check, on nodes of the cluster, what the jobs of a run would find there.

A job is a shell script that Slurm itself carries to the node, so that it needs nothing of what it
checks. Its output begins with the node's name and ends with a line on what is wrong, or with
`main`'s line."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

NAME = f"coder-clip-check-{os.getpid()}"
LATE = 30  # seconds until a network file system shows a file of another machine
SIZE = ("-t", "5", "--mem", "2000", "--cpus-per-task=1")
SHARED = "it must be on a file system that the nodes share, at the same path"
NO_TEMPORARY = "TMPDIR is not a folder that can be written there; let precommand make it"
CACHE = (
    "export XDG_CACHE_HOME=FOLDER in precommand of the profile, or before every start of the head"
)
NO_PYTHON = "Python does not work there; a module to load belongs into precommand of the profile"
RULE = 'rule a:\n    output: "a"\n    shell: "touch {output}"\n'


class Finding(NamedTuple):
    """One line of a check.

    status: "ok", "wrong" (would stop a run) or "note" (would not, but deserves a look).
    """

    status: str
    text: str

    def __str__(self) -> str:
        return f"{self.status:5}  {self.text}"


class Folder(NamedTuple):
    """A file or folder that nodes must be able to read, and to write if ``written``.

    words: its name in messages.
    """

    words: str
    path: Path
    written: bool = False


def script(folders: Iterable[Folder], precommand: str, gpu: bool) -> str:
    """Make the shell script of a small job. gpu: True if the job requests a GPU."""
    tests = []
    for words, path, written in folders:
        quoted = shlex.quote(str(path))
        test, verb = f"[ -r {quoted} ]", "read"
        if written:
            test, verb = f"{test} && [ -w {quoted} ]", "read and written"
        fault = shlex.quote(f"{words} ({path}) cannot be {verb} there: {SHARED}")
        tests.append(f"{test} || fail {fault}")
    # the command line imports all that a job can need; its output is not wanted
    command = f"{shlex.quote(sys.executable)} -m"
    option = ""
    if gpu:
        option = "gpu"
    python = f"{command} coder_clip.cli --version >/dev/null && {command} {__name__} {option}"
    fault = f"the cache folder ($cache) cannot be written there; {CACHE}"
    lines = [
        "#!/bin/sh",
        'echo "$SLURMD_NODENAME"',
        'fail() { echo "$1"; exit 1; }',
        *tests,
        # ":" does nothing: a group of commands may not be empty
        f"{{ {precommand or ':'}; }} || fail 'precommand fails'",
        f'[ -z "$TMPDIR" ] || {{ [ -d "$TMPDIR" ] && [ -w "$TMPDIR" ]; }} || fail "{NO_TEMPORARY}"',
        'cache="${XDG_CACHE_HOME:-$HOME/.cache}"',
        f'mkdir -p "$cache/snakemake" && [ -w "$cache/snakemake" ] || fail "{fault}"',
        f"cd {shlex.quote(str(Path.cwd()))} && {{ {python}; }} || fail '{NO_PYTHON}'",
    ]
    return "\n".join(lines) + "\n"


def submit(call: Iterable[str], text: str, logs: Path) -> subprocess.Popen[str]:
    """Start an sbatch that waits for its job.

    call: the sbatch command of a job of the run, without memory, time and CPUs. text: the script of
    the small job. logs: an existing folder."""
    options = ["--wait", "--job-name", NAME, "-D", "/", "--no-requeue"]
    options += ["--output", f"{logs}/check-%j.txt", *SIZE]
    pipe = subprocess.PIPE
    sbatch = subprocess.Popen([*call, *options], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert sbatch.stdin is not None
    sbatch.stdin.write(text)
    sbatch.stdin.close()
    sbatch.stdin = None  # `communicate` would flush it
    return sbatch


def finding(where: str, sbatch: subprocess.Popen[str], logs: Path, seconds: float) -> Finding:
    """Wait for a job, ``seconds`` at most, and return what the job found.

    where: the job's place in words.
    """
    try:
        printed, error = sbatch.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return Finding(
            "note",
            f"{where}: no node was free for a small job in time; try again, or a longer --wait",
        )
    if not printed.strip():
        return Finding("wrong", f"{where}: a small job: {error.strip()}")
    # sbatch prints "JOB" or "JOB;CLUSTER"
    file = logs / f"check-{printed.split(';')[0].strip()}.txt"
    lines = _lines(file)
    file.unlink(missing_ok=True)
    if not lines:
        return Finding("wrong", f"{where}: a node cannot write the log folder ({logs}): {SHARED}")
    node, *output = lines
    if not output:
        return Finding("wrong", f"{where}, node {node}: the job ended without a word")
    *earlier, last = output
    if sbatch.returncode == 0:
        # `main` prints a status and a text
        status, _, text = last.partition(" ")
        return Finding(status, f"{where}, node {node}: {text}")
    # the last line may say little, so the last error before it is given, too
    errors = [line for line in earlier if "rror" in line]
    cause = (errors or earlier)[-1:]
    return Finding("wrong", f"{where}, node {node}: {'; '.join([*cause, last])}")


def _lines(file: Path) -> list[str]:
    """Wait up to LATE seconds for the output of a job, and return its lines.

    None if it does not appear.
    """
    # a network file system can show the file later than the job ends
    for _ in range(2 * LATE):
        text = ""
        if file.is_file():
            text = file.read_text(encoding="utf-8", errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if lines:
            return lines
        time.sleep(0.5)
    return []


def main(gpu: bool) -> str:
    """The last line of a small job: a status and what a job of a run finds on the node.

    Fails if something cannot be imported.
    """
    import snakemake  # noqa: F401
    import torch

    from ..encoders import encoder  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:  # as every job does
        Path(folder, "Snakefile").write_text(RULE, encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        return f"wrong Snakemake does not work there: {' '.join(done.stderr.split())[-200:]}"
    works = (
        f"sees every folder, Python {platform.python_version()} and torch {torch.__version__} work"
    )
    if not gpu:
        return f"ok {works}"
    if torch.cuda.is_available():
        return f"ok {works}; GPU: {torch.cuda.get_device_name()}"
    given = os.environ.get("CUDA_VISIBLE_DEVICES", os.environ.get("ROCR_VISIBLE_DEVICES"))
    if given:
        return (
            f"note {works}; Slurm gave GPU {given}, but torch sees none: install its build for the "
            "node's driver"
        )
    return "wrong Slurm gave no GPU; look at gpu, gpu_model or gres in the profile"


if __name__ == "__main__":
    print(main("gpu" in sys.argv[1:]))
