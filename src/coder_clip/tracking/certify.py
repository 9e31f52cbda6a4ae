"""Certify a job's outputs, inside the process that makes them. Nothing else writes a certificate."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..foundation import evidence
from ..foundation.hashes import stamp
from ..pipeline.environment import packages
from .certificates import Certificate, Job
from .judge import Judge

FORCED = "CODER_CLIP_FORCED"  # environment variable: rules and files that run in any case; * for all
OWN = ("src/coder_clip/tracking/", "src/coder_clip/cli/job.py")  # what certifies is not what makes
log = logging.getLogger("coder_clip")


@contextmanager
def certified(
    job: Job, command: list[str], results: str | Path, values: Callable[[], dict[str, Any]]
) -> Iterator[bool]:
    """Run a job, and write its certificate if it ends well. Yields whether it must run.

    It need not if its certificate holds: jobs behind unchanged bytes end here. values: reads the values of the
    configuration that decide the outputs, before and after.
    """
    judge = Judge(results, [job := replace(job, values=values())])
    forced = {"*", job.rule, *job.outputs}.intersection(os.environ.get(FORCED, "").split("\n"))
    if not forced and not judge.why_not(job):
        log.info("nothing to do: this command made these files from the same inputs with the same code")
        yield False
        return
    stamps = _stamps(job.inputs)
    inputs = {path: judge.sha(path) for path in job.inputs}
    evidence.written = {}
    yield True
    if missing := [path for path in job.outputs if path not in evidence.written]:
        raise UserError(f"{missing[0]} was not written by '{' '.join(command)}'")
    changed = [path for path, then in _stamps(job.inputs).items() if stamps[path] != then]
    changed += [] if values() == job.values else ["the configuration"]
    Certificate(
        rule=job.rule,
        command=" ".join(command),
        values=job.values,
        sources={p: s for p, s in sorted(evidence.sources.items()) if not p.startswith(OWN)},
        inputs=dict(sorted(inputs.items())),
        outputs={path: evidence.written[path] for path in sorted(job.outputs)},
        versions={"python": platform.python_version(), **packages()},
        doubt=f"{changed[0]} changed while it was made" if changed else "",
    ).write(job.certificate(results))


def _stamps(paths: Iterable[str]) -> dict[str, list[int]]:
    """Size, time and inode of files, which change with every write. A missing file has none."""
    return {path: stamp(path)[:3] if os.path.isfile(path) else [] for path in paths}
