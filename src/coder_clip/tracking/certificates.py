"""Certificates: what the process of a job states about the files that it made.

``{results}/certificates/{phase}/{rule}/{wildcards}.json`` names the command, the configuration keys
that it read with their values, the sha256 of the sources that it executed, of its inputs, of other
files that it opened and of its outputs, and the versions. `certify` writes it, inside the job's
process; `judge` decides whether it holds in a working tree.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..foundation.artifacts import write_text
from ..pipeline.phase_list import phases

FORMAT = 2
FOLDER = "certificates"
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
        """Name of the phase that has this rule."""
        return next(p.name for p in phases() if self.rule in p.commands)

    def certificate(self, results: str | Path) -> Path:
        """Path of the job's certificate."""
        return Path(results) / FOLDER / self.phase / f"{self.name}.json"

    @classmethod
    def parse(cls, arguments: list[str]) -> Job:
        """From the arguments of `cli.job`: the job as JSON, --inputs, paths, --outputs, paths."""
        job = json.loads(arguments[0])
        end = arguments.index("--outputs")
        inputs, outputs = arguments[2:end], arguments[end + 1 :]
        return cls.of(job["rule"], job["wildcards"], inputs, outputs)

    @classmethod
    def of(
        cls, rule: str, wildcards: dict[str, str], inputs: Iterable[str], outputs: Iterable[str]
    ) -> Job:
        """A job with the paths that Snakemake gives it; each input once."""
        read = [os.path.normpath(path) for path in inputs if not path.startswith(SNAKEMAKES)]
        made = [os.path.normpath(path) for path in outputs]
        return cls(rule, wildcards, tuple(dict.fromkeys(read)), tuple(made))


@dataclass(frozen=True)
class Certificate:
    """What a process states about its job.

    values: configuration key -> value that the job read. sources, inputs, files, outputs: path ->
    sha256. doubt: why the certificate must not be used, though the job ended well; mostly "".
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
        document = asdict(self)
        if not self.doubt:
            del document["doubt"]
        # numbers with all their digits, because they are compared
        write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def read(path: str | Path) -> Certificate | None:
    """The certificate in a file; None if there is none, or none that this version understands."""
    with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        certificate = Certificate(**json.loads(Path(path).read_text(encoding="utf-8")))
        # the file can come from another person: check the types of what will be compared
        hashes = (certificate.sources, certificate.inputs, certificate.files, certificate.outputs)
        valid = all(isinstance(sha, str) for files in hashes for sha in files.values())
        valid &= isinstance(certificate.values, dict) and isinstance(certificate.command, str)
        if certificate.format == FORMAT and valid and certificate.sources:
            return certificate
    return None
