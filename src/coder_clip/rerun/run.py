"""Run a job, unless its record holds, and record it::

    python -m coder_clip.rerun.run FOLDER JOB

FOLDER: of the records. JOB: a `record.Job` as JSON, or a file with it (`hand_out`). Worker
processes import this module, too: multiprocessing begins each by importing the main module, unless
that is a package's.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from . import note
from .hashes import STATE, write
from .judge import Judge
from .mark import TO_RUN
from .record import Job, recorded


def handed(folder: str | Path, name: str) -> Path:
    """The file with the arguments of a job. folder: of the records. name: of the job."""
    return STATE / "jobs" / folder / f"{name}.json"


def hand_out(folder: str | Path, jobs: Iterable[Job]) -> None:
    """Write the arguments of jobs where their processes find them.

    On a command line Snakemake would compare them, and folders and numbers of threads, too.
    """
    for job in jobs:
        path, text = handed(folder, job.name), json.dumps(asdict(job))
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write(path, text)


def main(folder: str, document: str) -> None:
    """Run a job. document: JSON, or a file with it."""
    text = document
    if not document.startswith("{"):
        text = Path(document).read_text(encoding="utf-8")
    job = Job(**json.loads(text))
    # the plan has judged the jobs of this list; others are judged now that their inputs are there
    judged = job.name in os.environ.get(TO_RUN, "").split("\n")
    if not judged and not Judge(folder, [job]).reason_to_run(job):
        print("nothing to do: made from the same inputs with the same code", file=sys.stderr)
        return
    with recorded(job, folder):
        module, _, name = job.call.partition(":")
        function = getattr(importlib.import_module(module), name)
        function(**job.reads, **job.makes, **job.settings, **job.here)


if __name__ in ("__main__", "__mp_main__") and note.NOTES in os.environ:
    note.attach()  # a worker process of a job
if __name__ == "__main__":
    main(*sys.argv[1:])
