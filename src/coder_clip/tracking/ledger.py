"""Provenance statements: which code, parameters and inputs made which file.

The ledger (.snakemake/coder-clip/made.jsonl) gets a line when a run finishes a job. The record of a phase,
results/provenance/{phase}.json, holds the statements about its files; DVC stores it like the other outputs. A statement
names the code, the parameters and the sha256 of all inputs and of the file, so it is true in every clone. It is used
only where all of these are equal to those of the working tree. `snakemake --touch` writes no line.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..foundation.artifacts import write_text
from ..pipeline.environment import PACKAGES
from .hashes import STATE, Hashes, stamp
from .snakemake import KNOWN_FORMAT, Recipe, recipe_of

LEDGER = STATE / "made.jsonl"
RUN = STATE / "run"  # locked while runs make files here


@dataclass(frozen=True)
class Statement:
    """One file: its sha256, its recipe and the environment. doubt: why the statement must not be used."""

    sha256: str
    recipe: Recipe
    environment: dict[str, str] = field(default_factory=dict)
    doubt: str = ""


Ledger = dict[str, list[Statement]]  # path -> statements about it, the newest last


def foreign_code() -> str:
    """A message if coder_clip is not imported from ./src (jobs would run other code than records name), else ""."""
    own, used = Path("src/coder_clip").resolve(), Path(__file__).resolve().parents[1]
    if not own.is_dir() or own == used:
        return ""
    return (
        f"coder_clip runs from {used} and not from ./src; 'make install' here, and use .venv/bin (or "
        "'source .venv/bin/activate')"
    )


def read_ledger() -> Ledger:
    """Statements of the runs in this folder."""
    book: Ledger = {}
    with suppress(FileNotFoundError), LEDGER.open(encoding="utf-8") as stream:
        for line in stream:
            with suppress(ValueError, KeyError, TypeError, AttributeError):  # a line that a kill cut short
                row = json.loads(line)
                made = Recipe.read(row["making"])
                for path, sha in row["outputs"].items():
                    book.setdefault(path, []).append(Statement(sha, made, row["environment"], row["doubt"]))
    return book


def add(outputs: Mapping[str, str], made: Recipe, where: Mapping[str, str], doubt: str = "") -> None:
    """Append the statement about one job."""
    row = {"outputs": outputs, "making": asdict(made), "environment": where, "doubt": doubt}
    LEDGER.parent.mkdir(parents=True, exist_ok=True)
    with LEDGER.open("a+b") as stream:  # one write: other runs append, too
        whole = stream.tell() == 0 or (stream.seek(-1, os.SEEK_END), stream.read(1))[1] == b"\n"
        stream.write((b"" if whole else b"\n") + json.dumps(row).encode() + b"\n")


def shrink(book: Ledger) -> None:
    """Keep the last three statements about each existing file, when the ledger has grown large."""
    if not LEDGER.is_file() or LEDGER.stat().st_size < 30_000_000:
        return
    LEDGER.unlink()
    for path, m in [(p, m) for p, makings in book.items() if os.path.exists(p) for m in makings[-3:]]:
        add({path: m.sha256}, m.recipe, m.environment, m.doubt)


def environment(here: bool) -> dict[str, str]:
    """Versions, and the processor. here: whether jobs run on this machine."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
        best = next((f for f in ("avx512f", "avx2", "avx") if f in flags), "")
        found["processor"] = f"{platform.machine()} {best}".strip() if here else "of a node"
    return found


def running() -> bool:
    """True while a run makes files here. The lock of a killed one is free."""
    with suppress(FileNotFoundError), RUN.open(encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass  # a file system without locks
    return False


class Watch:
    """Hash the inputs of each job of a run when it starts, and inputs and outputs when it ends.

    Until the run ends nothing is pulled: what it brings in place of a finished output would count as the job's.
    """

    def __init__(self, workflow: Any, config: str | Path, state: str) -> None:
        """Watch the jobs of a run. state: the configuration when the jobs' parameters were read (state_of)."""
        self._config, self._state = str(config), state
        self._hashes, self._book = Hashes(), read_ledger()
        # first output of a job -> hashes and stamps of its inputs, whether it is as planned, DVC's last command
        self._began: dict[str, tuple[dict[str, str], dict[str, list[int]], bool, int]] = {}
        self._where = environment(workflow.local_exec)
        RUN.parent.mkdir(parents=True, exist_ok=True)
        self._run = RUN.open("a", encoding="utf-8")
        with suppress(OSError):
            fcntl.flock(self._run, fcntl.LOCK_SH)  # other configurations can run at the same time
        persistence, dag = workflow.persistence, workflow.dag
        started, finish = persistence.started, dag.finish

        def note_start(job: Any, *more: Any, **named: Any) -> Any:
            if job.output:
                with suppress(OSError):  # then there is no statement, and so below
                    self._start(job)
            return started(job, *more, **named)

        async def note_end(job: Any, *more: Any, **named: Any) -> Any:
            members = list(job) if job.is_group() else [job]
            within = {str(path) for member in members for path in member.output}
            for member in members:
                if member.output and str(member.output[0]) in self._began:
                    with suppress(OSError):
                        self._end(member, recipe_of(member, persistence), within)
            return await finish(job, *more, **named)

        persistence.started, dag.finish = note_start, note_end

    def _start(self, job: Any) -> None:
        read = inputs_of(job, self._hashes)
        # another clone may change the time of a link into a shared cache
        own = [p for p in (*read, self._config) if os.lstat(p).st_nlink == 1 and not os.path.islink(p)]
        planned = state_of(self._config) == self._state
        self._began[str(job.output[0])] = read, {p: stamp(p) for p in own}, planned, _used_by_dvc()

    def _end(self, job: Any, made: Recipe, within: set[str]) -> None:
        """Note a finished job. within: outputs of the job's group, which did not exist when the group started."""
        before, stamps, planned, used = self._began[str(job.output[0])]
        after = inputs_of(job, self._hashes)
        before = {p: sha for p, sha in before.items() if p not in within}
        changed = sorted(p for p in before if before[p] != after.get(p))
        # a file written meanwhile may have held other bytes, even if it is as before again
        changed += sorted(p for p in stamps.keys() - within if not os.path.exists(p) or stamp(p) != stamps[p])
        before |= {p: sha for p, sha in after.items() if p in within}
        doubt = f"{changed[0]} changed while it was made" if changed else ""
        if not doubt and not (planned and state_of(self._config) == self._state):
            doubt = f"{self._config} changed since the run was planned"
        outputs = {str(p): self._hashes.sha256(str(p)) for p in job.output}
        made = replace(made, inputs=before)
        if (
            not doubt
            and used != _used_by_dvc()
            and any(self._is_another(p, sha, made) for p, sha in outputs.items())
        ):
            doubt = "DVC may have replaced it while it was made"
        add(outputs, made, self._where, doubt)
        self._hashes.save()

    def _is_another(self, path: str, sha: str, made: Recipe) -> bool:
        """True if a file has the bytes that, as far as is known, only another recipe made."""
        known = [m.recipe for m in self._book.get(path, ()) if m.sha256 == sha]
        return bool(known) and not any(r.same(made) and r.inputs == made.inputs for r in known)


def _used_by_dvc() -> int:
    """The time of DVC's last command here; 0 if there was none."""
    with suppress(OSError):
        return os.stat(".dvc/tmp/lock").st_mtime_ns
    return 0


def inputs_of(job: Any, hashes: Hashes) -> dict[str, str]:
    """sha256 of each input of a Snakemake job."""
    return {str(p): hashes.sha256(str(p)) for p in job.input if os.path.isfile(p)}


def state_of(config: str | Path) -> str:
    """Hash of a configuration without comments, and its name. Jobs read the file when they start."""
    with suppress(OSError, yaml.YAMLError):
        document = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
        return f"{hashlib.sha256(repr(document).encode()).hexdigest()} {config}"
    return ""


# ---- the record of a phase


def dump(files: Mapping[str, Statement]) -> dict[str, Any]:
    """The document of results/provenance/{phase}.json: every job once, and the sha256 of all inputs once.

    It holds no time and no machine, so that the same bytes from another machine have the same record.
    """
    jobs: dict[str, dict[str, Any]] = {}
    inputs: dict[str, str] = {}
    for path, made in sorted(files.items()):
        how = {name: value for name, value in vars(made.recipe).items() if name != "inputs"}
        inputs |= made.recipe.inputs
        job = jobs.setdefault(json.dumps(how), {"outputs": {}, "making": how})
        job["outputs"][path] = made.sha256
    return {"format": KNOWN_FORMAT, "jobs": list(jobs.values()), "inputs": dict(sorted(inputs.items()))}


def load(document: Any) -> dict[str, Statement]:
    """Read what `dump` wrote. UserError for another format or a damaged document."""
    try:
        if document["format"] != KNOWN_FORMAT:
            raise UserError(
                f"the record is of format {document['format']}, known here is {KNOWN_FORMAT}; "
                "install the versions of constraints.txt"
            )
        found: dict[str, Statement] = {}
        sums = document["inputs"]
        for job in document["jobs"]:
            how = job["making"]
            made = Recipe.read({**how, "inputs": {p: sums[p] for p in how["input"] if p in sums}})
            found |= {path: Statement(sha, made) for path, sha in job["outputs"].items()}
        return found
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError("the record is damaged") from error


def write_record(path: Path, files: Mapping[str, Statement]) -> None:
    """Write the record of a phase, unless it is unchanged."""
    text = json.dumps(dump(files), indent=1) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def read_record(path: Path) -> dict[str, Statement]:
    """Read the record of a phase. UserError if it cannot be read."""
    try:
        return load(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"the record {path} cannot be read") from error


# ---- comparing a statement with the plan


def why_not(made: Statement, wanted: Recipe, sha_of: Mapping[str, str]) -> str:
    """The first difference between a statement and the plan, in a few words; "" if there is none.

    wanted: the recipe of the plan. sha_of: sha256 that each input has here, or will have.
    """
    if made.doubt:
        return made.doubt
    m = made.recipe
    if m.code != wanted.code:
        return "the command changed"
    if m.input != wanted.input:
        gone, new = sorted(set(m.input) - set(wanted.input)), sorted(set(wanted.input) - set(m.input))
        return (
            f"other inputs than before ({', '.join([*('-' + p for p in gone), *('+' + p for p in new)][:3])})"
        )
    if m.params != wanted.params:
        return f"a parameter changed ({', '.join(changed_params(m.params, wanted.params)) or 'of the rule'})"
    changed = [p for p in dict.fromkeys(m.input) if sha_of.get(p) != m.inputs.get(p)]
    return f"an input changed ({changed[0]})" if changed else ""


def changed_params(old: Iterable[str], new: Iterable[str]) -> list[str]:
    """Configuration keys whose values differ, each with both values."""
    before, now, absent = params_by_name(old), params_by_name(new), "not there"
    pairs = [(key, before.get(key, absent), now.get(key, absent)) for key in {**before, **now}]
    return [f"{key} {then} → {value}" for key, then, value in pairs if then != value]


def params_by_name(params: Iterable[str]) -> dict[str, Any]:
    """Parameters with names: those that a rule took from `reads`, in Snakemake's notation."""
    found: dict[str, Any] = {}
    for param in params:
        with suppress(ValueError, SyntaxError):
            value = ast.literal_eval(param)
            if isinstance(value, dict) and all(isinstance(key, str) for key in value):
                found |= value
    return found
