"""A small job that checks, on a node of the cluster, what the jobs of a run would find there.

The job is a shell script that Slurm itself carries to the node, and its exit status says how far it came, so that it
needs nothing of what it checks. It starts Python as a job of a run does, which prints `seen()`.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from snakemake_executor_plugin_coder_clip import queue

from .plan import Plan

NAME = "coder-clip-check"
EVERY = 10  # seconds between two looks at the queue
SIZE = "-t 5 --mem 2000 --cpus-per-task=1"
SHARED = "it must be on a file system that the nodes share, at the same path"

SCRIPT = """\
#!/bin/sh
{folders}
[ "$(cat {token})" = {value} ] || exit 3
said={logs}/check-$SLURM_JOB_ID.txt
touch "$said" || exit 4
{{ {precommand}; }} > "$said" 2>&1 || exit 5
[ -z "$TMPDIR" ] || {{ [ -d "$TMPDIR" ] && [ -w "$TMPDIR" ]; }} || exit 6
cd {work} && {python} -m coder_clip.slurm.probe > "$said.part" 2> "$said" || exit 7
mv "$said.part" "$said"
"""
FIRST = 10  # exit status for the first folder, one more for each after it
PROBLEMS = {  # by the script's other exit statuses; {said}: the last line that the node wrote
    3: "the log folder ({logs}) is a different folder there than on this machine: " + SHARED,
    4: "the log folder ({logs}) cannot be written there",
    5: "precommand fails: {said}",
    6: "TMPDIR is not a folder that can be written there; let precommand make it",
    7: "Python ({python}) does not work there: {said}; a module to load belongs into precommand of the profile",
}


@dataclass(frozen=True)
class Folder:
    """A file or folder that nodes must see, perhaps write, and its name in messages."""

    words: str
    path: Path
    written: bool = False

    def test(self, status: int) -> str:
        path = shlex.quote(str(self.path))
        return f"[ -r {path} ]{f' && [ -w {path} ]' * self.written} || exit {status}"


@dataclass(frozen=True)
class Answer:
    """The result of one probe. problem: what is wrong, empty if nothing. waiting: no node was free in time."""

    node: str
    problem: str = ""
    waiting: str = ""
    seen: dict[str, str] | None = None


class Probes:
    """Probe jobs, one per place; none is left behind. log_folder: has to exist."""

    def __init__(self, plan: Plan, log_folder: Path, folders: list[Folder]) -> None:
        self._plan, self._logs, self._folders = plan, log_folder, folders
        self._token = log_folder / f".check-{os.getpid()}"
        self._ids: dict[str, str] = {}

    def submit(self, place: str) -> None:
        """Submit the probe of a place. Unreachable if Slurm does not take it."""
        call = f"{place} --job-name {NAME} -D / --no-requeue {SIZE}"
        answer = queue.ask("sh", "-c", call, stdin=self._script())
        self._ids[place] = answer.split(";")[0].strip()

    def answers(self, seconds: float) -> dict[str, Answer]:
        """The answer of every place, as soon as all have ended or the time is over."""
        found: dict[str, Answer] = {}
        end = time.monotonic() + seconds
        while True:
            rows = queue.jobs()
            late = time.monotonic() > end
            for place, job in self._ids.items():
                row = rows.get(job)
                if place not in found and (row is None or not row.live):
                    found[place] = self._answer(job, row)
                elif place not in found and late and row is not None:
                    found[place] = Answer(row.nodes, waiting=f"{row.state}, {row.reason}")
            if len(found) == len(self._ids):
                return found
            time.sleep(EVERY)

    def end(self) -> None:
        """Cancel what still runs and remove what was written."""
        live = [i for i, row in queue.jobs().items() if row.live and i in self._ids.values()]
        queue.cancel(live)
        for path in (self._token, *(self._said(job) for job in self._ids.values())):
            path.unlink(missing_ok=True)
            path.with_name(f"{path.name}.part").unlink(missing_ok=True)

    def _script(self) -> str:
        value = f"{os.getpid()} {time.time()}"
        if self._token.exists():
            value = self._token.read_text(encoding="utf-8")
        self._token.write_text(value, encoding="utf-8")
        words = {
            "token": self._token,
            "value": value,
            "logs": self._logs,
            "work": Path.cwd(),
            "python": sys.executable,
        }
        return SCRIPT.format(
            folders="\n".join(f.test(FIRST + i) for i, f in enumerate(self._folders)),
            precommand=self._plan.precommand or ":",
            **{name: shlex.quote(str(word)) for name, word in words.items()},
        )

    def _said(self, job: str) -> Path:
        return self._logs / f"check-{job}.txt"

    def _answer(self, job: str, row: queue.Row | None) -> Answer:
        if row is None:
            return Answer("a node", "the job left no trace in the queue")
        code, _, signal = row.code.partition(":")
        if row.state == queue.COMPLETED:
            return self._seen(job, row.nodes)
        if int(code) == 0 or signal not in ("", "0"):
            return Answer(row.nodes, f"the job ended with {row.state} ({row.code})")
        return Answer(row.nodes, self._problem(int(code), job))

    def _problem(self, code: int, job: str) -> str:
        if FIRST <= code < FIRST + len(self._folders):
            folder = self._folders[code - FIRST]
            how = "read and written" if folder.written else "read"
            return f"{folder.words} ({folder.path}) cannot be {how} there: {SHARED}"
        words = PROBLEMS.get(code, f"the job ended with status {code}")
        said = self._last(job) if "{said}" in words else ""
        return words.format(logs=self._logs, python=sys.executable, said=said)

    def _last(self, job: str) -> str:
        lines = [line.strip() for line in self._wait_for(job, 5).splitlines() if line.strip()]
        errors = [line for line in lines if "rror" in line]  # empty lines may follow Python's first words
        return (errors or lines or ["it says nothing"])[-1][:200]

    def _seen(self, job: str, node: str) -> Answer:
        try:
            return Answer(node, seen=json.loads(self._wait_for(job).splitlines()[-1]))
        except (ValueError, IndexError):
            return Answer(
                node, f"what the job wrote to {self._logs} cannot be read here; a slow file system? Try again"
            )

    def _wait_for(self, job: str, seconds: float = 30) -> str:
        """Wait for what a job wrote: a network file system shows it late."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if text := self._said(job).read_text(encoding="utf-8", errors="replace"):
                    return text
            except OSError:
                pass
            time.sleep(0.5)
        return ""


def seen() -> dict[str, str]:
    """Describe what a job of a run finds on this node. Fails if something cannot be imported."""
    import open_clip  # noqa: F401
    import snakemake  # noqa: F401
    import torch

    import coder_clip.cli  # noqa: F401
    from coder_clip import __file__ as package

    cuda = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "package": str(Path(package).resolve().parent),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", os.environ.get("ROCR_VISIBLE_DEVICES", "")),
        "torch_sees": ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        if cuda
        else "",
    }


if __name__ == "__main__":
    print(json.dumps(seen()))
