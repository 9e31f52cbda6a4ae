"""Certificates: what the process of a job states about the files that it made.

``{results}/certificates/{phase}/{rule}/{wildcards}.json`` names the command, the configuration keys that it read with
their values, the sha256 of the sources that it executed, of its inputs, of other files that it opened and of its
outputs, and the versions. `certify` writes it, inside the job's process; `judge` decides whether it holds in a working
tree.
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
from ..foundation.reads import ABSENT, lookup
from ..pipeline.phase_list import phases

FORMAT = 2
FOLDER = "certificates"
PLAN = "CODER_CLIP_PLAN"  # environment variable: the file where a Snakemake that only plans notes jobs
SNAKEMAKES = ".snakemake/"  # its own files are inputs of some jobs, and part of no result


@dataclass(frozen=True)
class Job:
    """A job of Snakemake."""

    rule: str
    wildcards: dict[str, str]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

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
        named = json.loads(arguments[0])
        return cls.of(named["rule"], named["wildcards"], arguments[2:outputs], arguments[outputs + 1 :])

    @classmethod
    def of(cls, rule: str, wildcards: dict[str, str], inputs: Iterable[str], outputs: Iterable[str]) -> Job:
        """A job with the paths that Snakemake gives it."""
        read = [os.path.normpath(path) for path in inputs if not path.startswith(SNAKEMAKES)]
        return cls(rule, wildcards, tuple(dict.fromkeys(read)), tuple(map(os.path.normpath, outputs)))


@dataclass(frozen=True)
class Certificate:
    """What a process states about its job. doubt: why it must not be used, though the job ended well.

    values: configuration key -> value that it read. sources, inputs, files, outputs: path -> sha256.
    """

    rule: str
    command: str
    values: dict[str, Any]
    sources: dict[str, str]
    inputs: dict[str, str]
    files: dict[str, str]
    outputs: dict[str, str]
    versions: dict[str, str] = field(default_factory=dict)
    doubt: str = ""
    format: int = FORMAT

    def write(self, path: Path) -> None:
        write_json(path, {key: value for key, value in asdict(self).items() if key != "doubt" or value})


def read(path: str | Path) -> Certificate | None:
    """The certificate in a file; None if there is none, or none that this version understands."""
    with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        found = Certificate(**json.loads(Path(path).read_text(encoding="utf-8")))
        sums = (found.sources, found.inputs, found.files, found.outputs)
        named = all(isinstance(sha, str) for of in sums for sha in of.values())
        if found.format == FORMAT and named and found.sources and isinstance(found.values, dict):
            return found
    return None


@dataclass(frozen=True)
class Plan:
    """All jobs of a configuration that make files, and the present values of the keys that certificates name."""

    jobs: list[Job]
    values: dict[str, Any]

    def value(self, key: str) -> Any:
        return self.values.get(key, ABSENT)


def plan(config: str | Path, keys: Iterable[str] = ()) -> Plan:
    """The plan, from a dry run of Snakemake. keys: those that are asked for besides the ones of certificates here.

    UserError with Snakemake's message if it cannot plan.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--forceall", "--rerun-incomplete", "--nolock"]
    with tempfile.NamedTemporaryFile("w+", prefix="coder-clip-plan-", encoding="utf-8") as file:
        file.write(json.dumps(list(keys)) + "\n")
        file.flush()
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
        noted = [json.loads(line) for line in Path(file.name).read_text(encoding="utf-8").splitlines()]
    jobs = [Job.of(*job) for job in noted[2:]]
    return Plan(list({job.name: job for job in jobs}.values()), noted[1])


def note_values(results: str | Path, config: Any) -> None:
    """In the Snakemake of `plan`: note the present values of all keys that are asked for."""
    noted = Path(os.environ[PLAN])
    keys = set(json.loads(noted.read_text(encoding="utf-8")))
    for path in (Path(results) / FOLDER).rglob("*.json"):
        if certificate := read(path):
            keys |= certificate.values.keys()
    _note({key: lookup(config, key) for key in sorted(keys)})


def note_job(rule: str, wildcards: dict[str, str], inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """In the Snakemake of `plan`: note one of its jobs."""
    _note([rule, wildcards, [*map(str, inputs)], [*map(str, outputs)]])


def _note(document: Any) -> None:
    with open(os.environ[PLAN], "a", encoding="utf-8") as stream:
        stream.write(json.dumps(document) + "\n")
