"""Certify a job's outputs, inside the process that makes them. Nothing else writes a
certificate.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..foundation import evidence
from ..foundation.reads import lookup, observed
from ..pipeline.environment import packages
from .certificates import FOLDER, Certificate, Job
from .judge import Judge

# environment variable: rules and files that run in any case; * for all
FORCED = "CODER_CLIP_FORCED"
ABOUT_RUNS = ("environment.json", "logs/", "benchmarks/", f"{FOLDER}/")  # below the results folder
OWN = ("src/coder_clip/tracking/", "src/coder_clip/cli/job.py")  # what certifies is not what makes
log = logging.getLogger("coder_clip")


@contextmanager
def certified(
    job: Job, command: list[str], results: str | Path, config: Any, known: Iterable[str | Path] = ()
) -> Iterator[bool]:
    """Context of a job: yields True if the job must run, and writes its certificate at a good end.

    Yields False if the certificate holds, so jobs behind unchanged files end here.
    config: the job reads it as `evidence.config`, which notes the keys. known: folders whose files
    are not noted (`evidence.watch_files`).
    """
    # before the job, to see afterwards which inputs changed meanwhile
    stamps = {path: _stamp(path) for path in job.inputs}

    def judge_now() -> Judge:
        return Judge(results, [job], lambda key: lookup(config, key))

    forced = {"*", job.rule, *job.outputs}.intersection(os.environ.get(FORCED, "").split("\n"))
    if not forced and not judge_now().reason_to_run(job):
        log.info(
            "nothing to do: this command made these files from the same inputs with the same code"
        )
        yield False
        return
    values: dict[str, Any] = {}
    judge = judge_now()  # again, because files can have changed since the first judge read them
    inputs = {path: judge.sha(path) for path in job.inputs}
    evidence.written, evidence.config = {}, observed(config, values)
    evidence.watch_files(known)
    yield True
    # the hash of the bytes that this process wrote, whatever the file holds by now
    outputs = {
        path: evidence.written.get(os.path.relpath(path), "") for path in sorted(job.outputs)
    }
    for path, sha in outputs.items():
        if not sha:
            raise UserError(f"{path} was not written by '{' '.join(command)}'")
    opened = _undeclared(job, results)
    stamps |= opened
    files = {path: judge.sha(path) for path in opened}
    # nobody can say which version of a changed file the job has read
    changed = sorted(path for path, then in stamps.items() if _stamp(path) != then)
    Certificate(
        rule=job.rule,
        command=" ".join(command),
        values=dict(sorted(values.items())),
        sources={p: s for p, s in sorted(evidence.sources.items()) if not p.startswith(OWN)},
        inputs=dict(sorted(inputs.items())),
        files=dict(sorted(files.items())),
        outputs=outputs,
        versions={"python": platform.python_version(), **packages()},
        doubt=f"{changed[0]} changed while it was made" if changed else "",
    ).write(job.certificate(results))


def _undeclared(job: Job, results: str | Path) -> dict[str, list[int]]:
    """Stamps of other files that the job opened and folders that it listed: neither its own files
    nor files about the run or the machine.
    """
    own = {*job.inputs, *job.outputs, *evidence.sources, *(evidence.written or ())}
    folder = f"{os.path.normpath(results)}/"
    about = tuple(f"{folder}{name}" for name in ABOUT_RUNS)

    def counts(path: str) -> bool:
        # other jobs write into the folders of results, so listings of these change all the time
        results_folder = path.startswith(folder) and path.endswith("/")
        return path not in own and not path.startswith(about) and not results_folder

    return {path: then for path, then in (evidence.read or {}).items() if counts(path)}


def _stamp(path: str) -> list[int]:
    """Times, size and inode of a file, which change with every write and every move; [] if the file
    is missing.
    """
    return evidence.stamp(path) if os.path.exists(path) else []
