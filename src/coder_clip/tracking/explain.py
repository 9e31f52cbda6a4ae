"""`coder-clip explain`: trace one number of a table to its files, parameters, code and
environment.
"""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from ..foundation.artifacts import read_metadata
from ..foundation.git import git
from ..pipeline.config import load_config
from ..reporting.exhibits import TABLES
from ..reporting.rows import config_of, row_of
from .certificates import FOLDER, Certificate, Job
from .record import Workspace
from .stages import tracked

SHORT = 25  # lines without --all


@dataclass
class Explained:
    """The provenance of one number.

    artefacts: files that the pipeline made, nearest first, with what changed since. given, sources:
    texts, weights, …,
    and code: path -> sha256 at that time; changed: those with another hash now. versions: each with
    its files."""

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
    """Trace a number. UserError if there is no such table, row or column, or nothing is known of
    how it was made.

    row: its number from 1, or values of some columns ("dataset=rare,method=coder"). config:
    default: the one of config/ that writes the table.
    """
    path = os.path.relpath(Path(table).with_suffix(".csv"))
    cells = row_of(Path(path), row)
    config = config or config_of(path)
    c = load_config(config)
    if column not in cells:
        raise UserError(f"{path} has no column '{column}'{nearest(column, cells)}")
    here = Workspace(tracked(config))
    found = Explained(path, {k: v for k, v in cells.items() if k != column}, column, cells[column])
    stated = {path: made for job in here.judge.jobs for path, made in _stated(here, job).items()}
    if path not in stated or stated[path].outputs[path] != here.hashes.sha256(path):
        why = (
            f"{path} was edited since it was made"
            if path in stated
            else f"nothing certifies {path}"
        )
        command = shlex.join(["snakemake", path, "--configfile", str(config), "--cores", "1"])
        raise UserError(f"{why}; '{command}' makes it again")
    waiting = [path]
    for artefact in waiting:  # nearest first; it grows
        made, job = stated[artefact], here.judge.makers[artefact]
        changed = here.judge.reason_to_run(job)
        about = {
            "rule": made.rule,
            "command": made.command,
            "params": made.values,
            "changed": changed,
        }
        found.artefacts.append({"path": artefact, "sha256": made.outputs[artefact], **about})
        found.versions.setdefault(_short(made.versions), []).append(artefact)
        found.sources |= made.sources
        _origin(Path(artefact), found)
        for i, sha in {**made.inputs, **made.files}.items():
            if i not in stated:
                # a result that nothing certifies was not given, but made
                found.given |= {} if Path(i).is_relative_to(c.results) else {i: sha}
            elif i not in waiting and _concerns(
                here.judge.makers[i], cells, path if artefact == path else ""
            ):
                waiting.append(i)
    given = {**found.given, **found.sources}
    found.changed = sorted(p for p, sha in given.items() if here.judge.sha(p) != sha)
    found.code = _code(found, here)
    # jobs that read no other result: from these on, all is made again
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


def _stated(here: Workspace, job: Job) -> dict[str, Certificate]:
    """Output -> the certificate of a job, if there is one without doubt."""
    certificate = here.judge.certificate(job)
    return (
        dict.fromkeys(certificate.outputs, certificate)
        if certificate and not certificate.doubt
        else {}
    )


def _concerns(job: Job, row: dict[str, str], table: str) -> bool:
    """False for a job of another data set, model or number of shots than a row, or that only other
    tables show.

    table: whose inputs these are; "" if no table reads them, because one job makes all tables.
    """
    # a cell that is missing or empty fits every job
    if any((row.get(name) or value) != value for name, value in job.wildcards.items()):
        return False
    exhibit = TABLES.get(Path(table).stem)
    shown = any(job.phase in other.phases for other in TABLES.values())
    # a phase that no table shows can be behind every table
    return exhibit is None or job.phase in exhibit.phases or not shown


def _code(found: Explained, here: Workspace) -> str:
    """The commit that recorded the table's phase."""
    said = f"{len(found.sources)} source files"
    job = here.judge.makers.get(found.table)
    recorded = (
        here.recorded.get(job.phase, {}).get(f"{here.t.root}/{FOLDER}/{job.phase}") if job else None
    )
    # -S: commits that add or remove the hash, of which the first one recorded it
    found_in = [
        "log",
        "--reverse",
        "--format=%h of %cs, %s",
        f"-S{recorded}",
        "--",
        str(here.t.lock),
    ]
    try:
        log = git(*found_in).decode().splitlines() if recorded else []
    except (OSError, UserError):
        log = []  # no Git here
    return (
        f"{said}, recorded by commit {log[0]}" if log else f"{said}, in no commit that records it"
    )


def _origin(path: Path, found: Explained) -> None:
    """Add the sources of texts and the encoder of an artefact."""
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
    """The provenance as text: the chain of commands, or every file with its hash and parameters."""
    place = ", ".join(f"{k} {v}" for k, v in list(found.row.items())[:5] if v)
    out = [f"{found.column} = {found.value}", f"  {found.table}: {place}"]
    jobs = {a["command"]: a for a in found.artefacts}
    out.append("made, nearest first")
    for a in found.artefacts if every else jobs.values():
        changed = f"  changed since: {a['changed']}" if a["changed"] else ""
        out.append(
            f"  {a['path'] + '  sha256 ' + a['sha256'][:16] if every else a['command']}{changed}"
        )
        if every:
            out += [
                f"    {a['command']}",
                *(f"    {k}: {_short(v)}" for k, v in a["params"].items()),
            ]
    given = {**found.given, **(found.sources if every else {})}
    if not every:  # `code` speaks of sources
        given = {
            p: sha for p, sha in given.items() if not p.startswith("src/") or p in found.changed
        }
    out.append("from")
    for p, sha in given.items():
        out.append(f"  {p}  sha256 {sha[:16]}{'  changed since' if p in found.changed else ''}")
    for title, origins in (("texts", found.texts), ("encoder", found.encoders)):
        for origin in origins:
            facts = [f"{k} {_short(v)}" for k, v in origin.items()]
            out += (
                [f"{title}: {fact}" for fact in facts]
                if every
                else [_short(f"{title}: {', '.join(facts)}")]
            )
    out += [_short(f"made with {versions}") for versions in found.versions]
    out.append(f"code: {found.code}")
    # three lines remain: how many are left out, the code and the command
    if not every and len(out) >= SHORT:
        left_out = out[SHORT - 3 : -1]
        out = [*out[: SHORT - 3], f"… {len(left_out)} more lines: --all", out[-1]]
    return [*out, f"again: {found.again if every else _short(found.again)}"]


def _short(value: Any) -> str:
    text = (
        ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
    )
    return text if len(text) <= 200 else text[:197] + "…"
