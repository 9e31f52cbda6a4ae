"""Certificates: what the process of a job states about the files that it made.

``{results}/certificates/{phase}/{rule}/{wildcards}.json`` names the command, the values of the configuration that it
read, the sha256 of the sources that it executed, of its inputs and of its outputs, and the versions. `certify` writes
it, inside the job's process; `judge` decides whether it holds in a working tree.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError, one_line
from ..foundation.artifacts import write_json
from ..pipeline.phase_list import phases

FORMAT = 1
FOLDER = "certificates"
PLAN = "CODER_CLIP_PLAN"  # environment variable: the file where a Snakemake that only plans notes jobs
SNAKEMAKES = ".snakemake/"  # its own files are inputs of some jobs, and part of no result


@dataclass(frozen=True)
class Job:
    """A job of Snakemake. values: of the configuration, as far as they decide its outputs."""

    rule: str
    wildcards: dict[str, str]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The rule and the wildcards, in the order of the rule's outputs."""
        return "/".join([self.rule, *self.wildcards.values()])

    @property
    def phase(self) -> str:
        return next(p.name for p in phases() if self.rule in p.commands)

    def certificate(self, results: str | Path) -> Path:
        return Path(results) / FOLDER / self.phase / f"{self.name}.json"

    @classmethod
    def parse(cls, arguments: list[str]) -> Job:
        """From the arguments of `cli.job`."""
        outputs = arguments.index("--outputs")
        return cls.of(json.loads(arguments[0]), arguments[2:outputs], arguments[outputs + 1 :])

    @classmethod
    def of(cls, named: dict[str, Any], inputs: Iterable[str], outputs: Iterable[str]) -> Job:
        """named: its rule and wildcards, and the values if they are known."""
        read = [os.path.normpath(p) for p in inputs if not p.startswith(SNAKEMAKES)]
        made = tuple(map(os.path.normpath, outputs))
        read = list(dict.fromkeys(read))
        return cls(named["rule"], named["wildcards"], tuple(read), made, named.get("values", {}))


@dataclass(frozen=True)
class Certificate:
    """What a process states about its job. doubt: why it must not be used, though the job ended well."""

    rule: str
    command: str
    values: dict[str, Any]
    sources: dict[str, str]
    inputs: dict[str, str]
    outputs: dict[str, str]
    versions: dict[str, str] = field(default_factory=dict)
    doubt: str = ""
    format: int = FORMAT

    def write(self, path: Path) -> None:
        write_json(path, {key: value for key, value in asdict(self).items() if key != "doubt" or value})


def read(path: str | Path) -> Certificate | None:
    """The certificate in a file; None if there is none, or none that this version understands."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        found = Certificate(**json.loads(Path(path).read_text(encoding="utf-8")))
        sums = (found.sources, found.inputs, found.outputs)
        if found.format == FORMAT and all(isinstance(v, str) for of in sums for v in of.values()):
            return found
    return None


def plan(config: str | Path) -> list[Job]:
    """All jobs of a configuration that make files, from a dry run of Snakemake.

    UserError with Snakemake's message if it cannot plan.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--forceall", "--rerun-incomplete", "--nolock"]
    with tempfile.NamedTemporaryFile("r", prefix="coder-clip-plan-") as file:
        done = subprocess.run(
            [*command, "--quiet", "all", "--cores", "1", "--configfile", str(config)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, PLAN: file.name, "CODER_CLIP_FETCH": "false"},  # no result holds a download
        )
        if done.returncode:
            said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
            said = [line.removeprefix("coder-clip: error: ") for line in said] or ["no answer"]
            raise UserError(f"Snakemake cannot plan: {one_line(said[-1], 500)}")
        jobs = [Job.of(*json.loads(line)) for line in file]
    return list({job.name: job for job in jobs}.values())
