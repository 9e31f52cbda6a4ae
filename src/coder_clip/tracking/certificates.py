"""Certificates: what the processes of a job state about the files that it made.

``{results}/certificates/{phase}/{rule}/{wildcards}.json`` names the command, the configuration keys
that the job read with their values, the blocks of code that it executed (foundation/blocks.py) with
their hashes, the sha256 of its inputs, in their order, of other files that it opened or looked for
and of its outputs, and the versions. `certified` writes it, inside the job's process; `judge`
decides whether it holds in a working tree.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..foundation import evidence, tracing
from ..foundation.artifacts import write_text
from ..foundation.blocks import Code, Found
from ..foundation.hashes import Hashes
from ..foundation.reads import observed
from ..pipeline.environment import this_machine
from ..pipeline.phase_list import phases

FORMAT = 3
FOLDER = "certificates"
SNAKEMAKES = ".snakemake/"  # its own files are inputs of some jobs, and part of no result
ABOUT_RUNS = ("environment.json", "logs/", "benchmarks/", f"{FOLDER}/")  # below the results folder
PRESENT = "present"  # in place of a hash: the job looked whether the file is there, no more
# how a path was seen; of two ways the later one says more
SEEN = (PRESENT, "absent", "listed", "read")


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
    """What the processes of a job state about it.

    call: what the command called, as `phase_list.Call` writes it. values: configuration key ->
    value that the job read. variables: environment variable -> sha256 of its value. blocks: module
    -> block -> hash. inputs, files, outputs: path -> sha256; of files "" if the job looked for one
    that was not there, and PRESENT if it only looked whether it is there. doubt: why the
    certificate must not be used, though the job ended well; mostly "".
    """

    rule: str
    command: str
    call: str
    values: dict[str, Any]
    variables: dict[str, str]
    blocks: Found
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
        tables = [certificate.inputs, certificate.files, certificate.outputs, certificate.variables]
        tables.append(certificate.versions)
        tables += certificate.blocks.values()
        texts = [certificate.rule, certificate.command, certificate.call, certificate.doubt]
        texts += [text for table in tables for text in table.values()]
        valid = isinstance(certificate.values, dict)
        valid &= all(isinstance(text, str) for text in texts)
        if certificate.format == FORMAT and valid and certificate.blocks:
            return certificate
    return None


@contextmanager
def certified(
    job: Job,
    command: str,
    call: str,
    results: str | Path,
    config: Any,
    known: Iterable[str | Path] = (),
) -> Iterator[Any]:
    """Context of a job's work, which writes the certificate at a good end.

    Yields the configuration that notes the keys that are read of it. UserError if an output was not
    written.

    call: what the command calls. known: folders whose files are not noted (`evidence.begin`).
    """
    # before the work, to see afterwards which inputs changed meanwhile
    stamps = {path: _stamp(path) for path in job.inputs}
    hashes = Hashes()
    inputs = {path: hashes.sha(path) for path in job.inputs}
    tracing.start()
    evidence.begin(known)
    evidence.config = observed(config, {})
    try:
        yield evidence.config
    finally:
        notes = evidence.end()
    # the hash of the bytes that were written, whatever the file holds by now
    wrote = _table(notes, "wrote")
    outputs = _outputs(job, command, wrote)
    code = Code(Path("src").absolute())
    blocks = _blocks(code, notes)
    own = {*job.inputs, *outputs, *wrote}
    opened = _opened([n for n in notes if _counts(n, code, blocks)], results)
    opened = {path: seen for path, seen in opened.items() if path not in own}
    stamps |= {path: then for path, (kind, then) in opened.items() if kind == "read"}
    files = dict.fromkeys(opened, PRESENT)
    files |= {path: hashes.sha(path) for path, (kind, _) in opened.items() if kind != PRESENT}
    compiled = {path: sha for path, sha in _table(notes, "source").items() if path in blocks}
    # nobody can say which version of a changed file the job has read
    changed = [path for path, then in stamps.items() if _stamp(path) != then]
    changed += [path for path, sha in compiled.items() if hashes.sha(path) != sha]
    doubt = ""
    if changed:
        doubt = f"{min(changed)} changed while it was made"
    Certificate(
        rule=job.rule,
        command=command,
        call=call,
        values=_table(notes, "value"),
        variables=_table(notes, "variable"),
        blocks=blocks,
        inputs=inputs,
        files=files,
        outputs=outputs,
        versions=this_machine(),
        doubt=doubt,
    ).write(job.certificate(results))


def _outputs(job: Job, command: str, wrote: dict[str, str]) -> dict[str, str]:
    """Output -> sha256, as written. UserError for an output that was not written."""
    outputs = {path: wrote.get(path, "") for path in sorted(job.outputs)}
    for path, sha in outputs.items():
        if not sha:
            raise UserError(f"{path} was not written by '{command}'")
    return outputs


def _table(notes: list[list[Any]], kind: str) -> dict[str, Any]:
    """The notes of a kind, by name."""
    return dict(sorted((name, value) for known, name, value, *_ in notes if known == kind))


def _blocks(code: Code, notes: list[list[Any]]) -> Found:
    """The blocks that count.

    Bodies that were executed, attributes of modules that were read, and what these use.
    """
    roots = {(place, key) for kind, place, key, *_ in notes if kind == "block"}
    found: Found = {}
    # again while there are more: names that a statement took at import count if the statement does
    while True:
        for kind, place, name, *_ in (n for n in notes if _counts(n, code, found)):
            if kind == "attribute":
                whole = name == "__dict__"
                roots |= {(place, key) for key in (code.module(place).blocks if whole else [name])}
        before, found = found, code.closure(roots)
        if found == before:
            return found


def _counts(note: list[Any], code: Code, blocks: Found) -> bool:
    """False for a note of a statement that ran at import and does not count."""
    if note[0] not in (*SEEN, "attribute") or not note[3]:
        return True
    *_, module, line = note
    return bool(blocks.get(module, {}).keys() & code.module(module).at(line))


def _opened(notes: list[list[Any]], results: str | Path) -> dict[str, tuple[str, list[int]]]:
    """Path -> how it was seen and its stamp, in the order of paths.

    Seen: read, listed, absent, present.
    """
    folder = f"{os.path.normpath(results)}/"
    about = tuple(f"{folder}{name}" for name in ABOUT_RUNS)
    found: dict[str, tuple[str, list[int]]] = {}
    for kind, path, then, *_ in (note for note in notes if note[0] in SEEN):
        # other jobs write into the folders of results, so these change all the time
        of_results = f"{path}/".startswith(folder) or folder.startswith(f"{path}/")
        if path.startswith(about) or (of_results and kind in (PRESENT, "listed")):
            continue
        before = found.get(path, (PRESENT, []))
        if SEEN.index(kind) >= SEEN.index(before[0]):
            found[path] = (kind, then)
    # a folder is there if something in it is
    there = [path.rstrip("/") for path, (kind, _) in found.items() if kind != "absent"]
    folders = {str(folder) for path in there for folder in Path(path).parents}
    folders |= {path.rstrip("/") for path, (kind, _) in found.items() if kind == "listed"}
    return {p: found[p] for p in sorted(found) if found[p][0] != PRESENT or p not in folders}


def _stamp(path: str) -> list[int]:
    """Times, size and inode of a file, which change with every write and every move.

    [] if the file is missing.
    """
    return evidence.stamp(path) if os.path.exists(path) else []
