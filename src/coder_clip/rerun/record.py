"""Provenance records: what decided the result of a job, in one file for each job."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from . import note
from .hashes import Hashes, stamp, write

FORMAT = 4
PRESENT = "present"  # in place of a hash: a folder that the job looked for, and that was there
# how a path was seen; of two ways the later one says more
SEEN = (PRESENT, "absent", "listed", "read")


@dataclass(frozen=True)
class Job:
    """A call of a function that reads files and writes files.

    name: of the job, the path of its record below the folder of records. call: the function, as
    "package.module:function". reads, makes: arguments that are paths, or lists and tables of
    paths; None for an input that this job does not have. settings: the other arguments that decide
    the result. here: arguments that change no result, such as folders and numbers of threads.
    ignore: arguments of `note.begin`.
    """

    name: str
    call: str
    reads: dict[str, Any] = field(default_factory=dict)
    makes: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    here: dict[str, Any] = field(default_factory=dict)
    ignore: dict[str, list[str]] = field(default_factory=dict)

    @property
    def inputs(self) -> list[str]:
        """The files that the job reads, in their order."""
        return _paths(self.reads)

    @property
    def outputs(self) -> list[str]:
        """The files that the job makes."""
        return _paths(self.makes)

    @property
    def meaning(self) -> dict[str, Any]:
        """What is called, as plain JSON; a job with another meaning is another job."""
        document = {"call": self.call, "reads": self.reads, "makes": self.makes}
        plain: dict[str, Any] = json.loads(json.dumps({**document, "settings": self.settings}))
        return plain

    def record(self, folder: str | Path) -> Path:
        """The path of the job's record. folder: of all records."""
        return Path(folder) / f"{self.name}.json"


def _paths(arguments: Mapping[str, Any]) -> list[str]:
    """All paths of these arguments, each once."""
    found: dict[str, None] = {}
    waiting = list(arguments.values())
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, str):
            found[os.path.normpath(value)] = None
        elif isinstance(value, Mapping):
            waiting = [*value.values(), *waiting]
        elif value is not None:
            waiting = [*value, *waiting]
    return list(found)


@dataclass(frozen=True)
class Record:
    """What the processes of a job noted, and what they read and wrote.

    call: `Job.meaning`. modules: path -> hash of its code. docstrings: they count in these hashes,
    because one of the modules reads docstrings. variables: name -> sha256 of the value, which can
    be a secret. inputs, outputs, files: path -> sha256. Of files, which are no inputs: "" if the
    file was looked for and absent, PRESENT for a folder; a path with "/" at its end stands for the
    names in a folder. doubt: why the record must not be used, though the job ended well.
    """

    call: dict[str, Any]
    modules: dict[str, str]
    docstrings: bool
    variables: dict[str, str]
    inputs: dict[str, str]
    files: dict[str, str]
    outputs: dict[str, str]
    versions: dict[str, str] = field(default_factory=dict)
    doubt: str = ""
    format: int = FORMAT

    def write(self, path: Path) -> None:
        """Write the record."""
        write(path, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")


def read(path: str | Path) -> Record | None:
    """The record in a file; None if there is none, or none that this version understands."""
    with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        record = Record(**json.loads(Path(path).read_text(encoding="utf-8")))
        # the file can come from another person: check what will be compared
        tables = (record.modules, record.variables, record.inputs, record.files, record.outputs)
        texts = [text for table in (*tables, record.versions) for text in table.values()]
        valid = isinstance(record.call, dict) and isinstance(record.docstrings, bool)
        valid = valid and all(isinstance(text, str) for text in (record.doubt, *texts))
        if valid and record.format == FORMAT and record.modules:
            return record
    return None


@contextmanager
def recorded(job: Job, folder: str | Path) -> Iterator[None]:
    """Context of a job's work, which writes its record at a good end.

    FileNotFoundError if the job did not write one of its outputs.
    """
    # before the work, to see afterwards which inputs changed meanwhile
    hashes, stamps = Hashes(), _stamps(job.inputs)
    inputs = {path: hashes.file(path) for path in job.inputs}
    before = _stamps(job.outputs)
    note.begin(**job.ignore)
    try:
        yield
    finally:
        notes = note.end()
    after = _stamps(job.outputs)
    wrote = {name: sha for kind, name, *more in notes if kind == "wrote" for sha in more}
    outputs = {}
    for path in job.outputs:
        # an output that is as it was before the job is not the job's
        if path not in after or (path not in wrote and before.get(path) == after[path]):
            raise FileNotFoundError(f"{path} was not written by {job.call}")
        # the hash of the bytes that the job wrote, whatever the file holds by now
        outputs[path] = wrote.get(path) or hashes.file(path)
    codes = {path: hashes.code(path) for path in _named(notes, "module") if os.path.isfile(path)}
    docstrings = any(code["docstrings"] for code in codes.values())
    own = {*job.inputs, *outputs, *(name for kind, name, *_ in notes if kind in MADE)}
    seen = {path: how for path, how in _seen(notes).items() if path.rstrip("/") not in own}
    files = dict.fromkeys(seen, PRESENT)
    files |= {path: hashes.file(path) for path, (kind, _) in seen.items() if kind != PRESENT}
    # nobody can say which version of a changed file the job has read
    stamps |= {path: then for path, (kind, then) in seen.items() if kind == "read"}
    changed = [path for path, then in stamps.items() if _stamps([path]).get(path) != then]
    compiled = {name: sha for kind, name, *more in notes if kind == "module" for sha in more if sha}
    changed += [path for path, sha in compiled.items() if hashes.file(path) != sha]
    doubt = f"{min(changed)} changed while it was made" if changed else ""
    Record(
        call=job.meaning,
        modules={path: code["all" if docstrings else "code"] for path, code in codes.items()},
        docstrings=docstrings,
        variables={n: hash_of_variable(n) for n in _named(notes, "variable")},
        inputs=inputs,
        files=files,
        outputs=outputs,
        versions=versions(name for code in codes.values() for name in code["packages"]),
        doubt=doubt,
    ).write(job.record(folder))


MADE = ("wrote", "created")  # notes of files that the job itself made


def hash_of_variable(name: str) -> str:
    """sha256 of the value of an environment variable; "" if it is not set."""
    if name not in os.environ:
        return ""
    return hashlib.sha256(os.environ[name].encode(errors="replace")).hexdigest()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of those packages that this process has imported and that say one."""
    others = sorted(set(packages) - sys.stdlib_module_names)
    named = {name: getattr(sys.modules.get(name), "__version__", "") for name in others}
    known = {name: str(version) for name, version in named.items() if version}
    return {"python": platform.python_version(), "machine": platform.machine(), **known}


def installed(package: str) -> str:
    """The installed version of a package, by the name of its import; "" if there is none."""
    if package == "python":
        return platform.python_version()
    found = [metadata.version(name) for name in _distributions().get(package, ())]
    return found[0] if found else ""


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Package -> the distributions that install it."""
    return metadata.packages_distributions()


def _named(notes: Iterable[list[Any]], kind: str) -> list[str]:
    """The names of the notes of a kind, sorted, each once."""
    return sorted({name for known, name, *_ in notes if known == kind})


def _seen(notes: Iterable[list[Any]]) -> dict[str, tuple[str, list[int]]]:
    """Path -> how it was seen, and its stamp then; in the order of paths."""
    found: dict[str, tuple[str, list[int]]] = {}
    for kind, path, then, *_ in (noted for noted in notes if noted[0] in SEEN):
        before = found.get(path, (PRESENT, []))
        if SEEN.index(kind) >= SEEN.index(before[0]):
            found[path] = (kind, then)
    # a folder is there if something in it is
    there = [path.rstrip("/") for path, (kind, _) in found.items() if kind != "absent"]
    folders = {str(folder) for path in there for folder in Path(path).parents}
    folders |= {path.rstrip("/") for path, (kind, _) in found.items() if kind == "listed"}
    return {p: found[p] for p in sorted(found) if found[p][0] != PRESENT or p not in folders}


def _stamps(paths: Iterable[str]) -> dict[str, list[int]]:
    """Path -> stamp, of the files that are there."""
    return {path: stamp(path) for path in paths if os.path.exists(path)}
