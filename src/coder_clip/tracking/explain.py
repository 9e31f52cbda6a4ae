"""`coder-clip explain`: trace a number of a table to its files, parameters and code."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from ..foundation.artifacts import read_metadata
from ..foundation.git import git
from ..jobs import place_of, rule_of
from ..pipeline.config import load_config
from ..reporting.all_exhibits import TABLES
from ..reporting.rows import config_of, row_of
from ..rerun.judge import group
from ..rerun.record import PRESENT, Job, Record
from .record import Workspace
from .stages import tracked

SHORT = 25  # lines without --all


@dataclass
class Explained:
    """The provenance of one number.

    artefacts: files that the pipeline made, nearest first: path, sha256, rule, command, params, and
    in "changed" why the job must run again ("" if not). given (texts, weights, …): path -> sha256
    at that time; sources: module -> hash of its code; changed: the files and modules that are
    others now.
    versions: packages and their versions as text -> artefacts made with them. again: a command that
    makes it again.
    """

    table: str
    row: dict[str, str]
    column: str
    value: str
    artefacts: list[dict[str, Any]] = field(default_factory=list)
    given: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    code: str = ""
    versions: dict[str, list[str]] = field(default_factory=dict)
    texts: list[dict[str, Any]] = field(default_factory=list)
    encoders: list[dict[str, Any]] = field(default_factory=list)
    again: str = ""


def explain(table: str, row: str, column: str, config: str | Path | None = None) -> Explained:
    """Trace a number.

    UserError if there is no such table, row or column, or if no record says how the table was
    made.

    row: its number from 1, or values of some columns ("dataset=rare,method=coder"). config: by
    default the configuration in config/ that writes the table.
    """
    path = os.path.relpath(Path(table).with_suffix(".csv"))
    cells = row_of(Path(path), row)
    config = config or config_of(path)
    c = load_config(config)
    if column not in cells:
        raise UserError(f"{path} has no column '{column}'{nearest(column, cells)}")
    here = Workspace(tracked(config))
    found = Explained(path, {k: v for k, v in cells.items() if k != column}, column, cells[column])
    stated: dict[str, Record] = {}  # output -> the record that names it
    for job in here.judge.jobs:
        stated |= _stated(here, job)
    again = shlex.join(["snakemake", path, "--configfile", str(config), "--cores", "1"])
    if path not in stated:
        raise UserError(f"no record names {path}; '{again}' makes it again")
    if stated[path].outputs[path] != here.hashes.file(path):
        raise UserError(f"{path} was edited since it was made; '{again}' makes it again")
    waiting = [path]
    # breadth first, so nearest first; the list grows in the loop
    for artefact in waiting:
        made, job = stated[artefact], here.judge.makers[artefact]
        changed = here.judge.reason_to_run(job)
        about = {
            "rule": rule_of(job).name,
            "command": rule_of(job).typed(place_of(job)),
            "params": made.call["settings"],
            "changed": changed,
        }
        found.artefacts.append({"path": artefact, "sha256": made.outputs[artefact], **about})
        found.versions.setdefault(_short(made.versions), []).append(artefact)
        found.sources |= made.modules
        _origin(Path(artefact), found)
        reading_table = ""
        if artefact == path:
            reading_table = path
        read = {**made.inputs, **made.files}
        found.given |= _given(read, stated, c.results)
        for i in read:
            concerns = i in stated and _concerns(here.judge.makers[i], cells, reading_table)
            if concerns and i not in waiting:
                waiting.append(i)
    found.changed = _changed(here, [stated[path] for path in waiting])
    found.code = _code(found, here)
    # files whose jobs read no other result: from these jobs on, everything is made again
    first = [p for p in waiting if not set(stated[p].inputs) & set(stated)]
    options = [
        "--profile",
        "workflow/profiles/default",
        "--configfile",
        str(config),
        "--forcerun",
        *first,
    ]
    found.again = shlex.join(["snakemake", path, *options])
    return found


def _stated(here: Workspace, job: Job) -> dict[str, Record]:
    """Each output of a job -> its record; {} without a record, or with a doubtful one."""
    record = here.judge.record(job)
    if record is None or record.doubt:
        return {}
    return dict.fromkeys(record.outputs, record)


def _given(read: Mapping[str, str], stated: Mapping[str, Record], results: Path) -> dict[str, str]:
    """The files that no job has made, with their hashes, of all that a job has read."""
    return {
        path: sha
        for path, sha in read.items()
        # a file of the results that no record names was made, not given
        if path not in stated and not Path(path).is_relative_to(results)
        if sha not in ("", PRESENT)
    }


def _changed(here: Workspace, stated: list[Record]) -> list[str]:
    """Given files that are not those of the records, then modules, each named once."""
    files: set[str] = set()
    modules: set[str] = set()
    for record in stated:
        read = {**record.inputs, **record.files}
        files.update(p for p, then in read.items() if then != PRESENT and here.judge.sha(p) != then)
        modules.add(here.judge.changed_module(record))
    given = files - here.judge.makers.keys()
    return [*sorted(given), *sorted(modules - {""})]


def _concerns(job: Job, row: dict[str, str], table: str) -> bool:
    """True if a row can depend on a job.

    The job has the row's data set, model and number of shots, and the table shows its phase.

    table: the table that reads the job's output, since one job reads the inputs of all tables; ""
    if another file reads the output, and then the phase does not matter.
    """
    for name, value in place_of(job).items():
        cell = row.get(name)
        # a cell that is missing or empty fits every job
        if cell and cell != value:
            return False
    exhibit = TABLES.get(Path(table).stem)
    if exhibit is None or group(job) in exhibit.phases:
        return True
    # a phase that no table shows can be behind every table
    return not any(group(job) in other.phases for other in TABLES.values())


def _code(found: Explained, here: Workspace) -> str:
    """A line about the code.

    The number of source files, and the commit that recorded the table's phase.
    """
    said = f"{len(found.sources)} modules"
    job = here.judge.makers.get(found.table)
    recorded = None  # hash of the phase's records in dvc.lock
    if job:
        recorded = here.recorded.get(group(job), {}).get(f"{here.folder}/{group(job)}")
    log: list[str] = []
    if recorded:
        # -S: commits that add or remove the hash; the first one added it
        search = ["log", "--reverse", "--format=%h of %cs, %s", f"-S{recorded}"]
        with suppress(OSError, UserError):  # no Git here
            log = git(*search, "--", str(here.t.lock)).decode().splitlines()
    if log:
        return f"{said}, recorded by commit {log[0]}"
    return f"{said}, in no commit that records it"


def _origin(path: Path, found: Explained) -> None:
    """Add to ``found`` where the texts of an artefact come from, or its encoder."""
    if not path.is_file():
        return
    if path.suffix == ".json":
        document = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(document, dict) and "provenance" in document:
            found.texts.append({"path": str(path), **document["provenance"]})
    elif path.suffix == ".safetensors":
        encoder = read_metadata(path).get("encoder")
        if encoder and encoder not in found.encoders:
            found.encoders.append(encoder)


def lines(found: Explained, every: bool = False) -> list[str]:
    """The provenance as text: the chain of commands.

    With every, each file with its hash and parameters.
    """
    out = [*_heading(found), *_made(found, every), "from", *_read(found)]
    if every:
        out += [f"  {module}" for module in sorted(found.sources)]
    out += _origins(found, every)
    out += [_short(f"made with {versions}") for versions in found.versions]
    out.append(f"code: {found.code}")
    if every:
        return [*out, f"again: {found.again}"]
    # three lines remain: how many are left out, the code and the command
    if len(out) >= SHORT:
        left_out = out[SHORT - 3 : -1]
        out = [*out[: SHORT - 3], f"… {len(left_out)} more lines: --all", out[-1]]
    return [*out, f"again: {_short(found.again)}"]


def _heading(found: Explained) -> list[str]:
    place = ", ".join(f"{k} {v}" for k, v in list(found.row.items())[:5] if v)
    return [f"{found.column} = {found.value}", f"  {found.table}: {place}", "made, nearest first"]


def _made(found: Explained, every: bool) -> list[str]:
    """The commands that have made something; with ``every`` each artefact of theirs."""
    changed = {a["path"]: f"  changed since: {a['changed']}" for a in found.artefacts}
    changed |= {a["path"]: "" for a in found.artefacts if not a["changed"]}
    if not every:
        jobs = {a["command"]: a for a in found.artefacts}
        return [f"  {a['command']}{changed[a['path']]}" for a in jobs.values()]
    out = []
    for a in found.artefacts:
        out.append(f"  {a['path']}  sha256 {a['sha256'][:16]}{changed[a['path']]}")
        out.append(f"    {a['command']}")
        out += [f"    {k}: {_short(v)}" for k, v in a["params"].items()]
    return out


def _read(found: Explained) -> list[str]:
    """The files that no job has made, and what has changed since they were read."""
    out = []
    for path, sha in found.given.items():
        line = f"  {path}  sha256 {sha[:16]}"
        if path in found.changed:
            line += "  changed since"
        out.append(line)
    return out + [f"  {path}  changed since" for path in found.changed if path not in found.given]


def _origins(found: Explained, every: bool) -> list[str]:
    """The provenance of texts and encoders; with ``every`` a line for each fact."""
    out = []
    for title, origins in (("texts", found.texts), ("encoder", found.encoders)):
        for origin in origins:
            facts = [f"{k} {_short(v)}" for k, v in origin.items()]
            if every:
                out += [f"{title}: {fact}" for fact in facts]
            else:
                out.append(_short(f"{title}: {', '.join(facts)}"))
    return out


def _short(value: Any) -> str:
    """A value as text of at most 200 characters; a dict as "key value, key value"."""
    if isinstance(value, dict):
        text = ", ".join(f"{k} {v}" for k, v in value.items())
    else:
        text = str(value)
    return text if len(text) <= 200 else text[:197] + "…"
