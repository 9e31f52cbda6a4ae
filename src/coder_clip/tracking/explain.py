"""`coder-clip explain`: trace one number of a table to its files, parameters, code and environment."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from ..foundation.artifacts import Paths, read_metadata
from ..pipeline.config import Config, load_config
from ..reporting.exhibits import TABLES
from . import dvc, ledger
from .ledger import Statement
from .record import Workspace
from .stages import git, shown, tracked


@dataclass
class Explained:
    """The provenance of one number.

    artefacts: files that the pipeline made, nearest first: rule, command, parameters by name, sha256, what changed
    since. given: sources, texts, weights: path -> sha256 at that time. changed: those with another hash now. code: the
    commit that recorded it, and whether that commit holds the code. environment: phase -> versions, as far as known.
    """

    table: str
    row: dict[str, str]
    column: str
    value: str
    artefacts: list[dict[str, Any]] = field(default_factory=list)
    given: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    code: str = ""
    environment: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    texts: list[dict[str, Any]] = field(default_factory=list)
    encoders: list[dict[str, Any]] = field(default_factory=list)
    again: str = ""


def explain(table: str, row: str, column: str, config: str | Path | None = None) -> Explained:
    """Trace a number. UserError if there is no such table, row or column, or nothing is known of how it was made.

    row: its number from 1, or values of some columns ("dataset=rare,method=coder"). config: default: the one of config/
    that writes the table.
    """
    path = os.path.relpath(Path(table).with_suffix(".csv"))
    cells = _row(Path(path), row)
    config = config or config_of(path)
    c = load_config(config)
    if column not in cells:
        raise UserError(f"{path} has no column '{column}'{nearest(column, cells)}")
    here = Workspace(tracked(config))
    found = Explained(path, {k: v for k, v in cells.items() if k != column}, column, cells[column])
    others = _others(cells, c)
    behind = {path: _made(here, path, config)}
    waiting = [path]
    for artefact in waiting:  # nearest first; it grows
        made = behind[artefact]
        found.artefacts.append(_artefact(here, artefact, made))
        _origin(Path(artefact), found)
        for i in dict.fromkeys(made.recipe.input):
            if i in behind or i in found.given or _is_of(i, others, c.results):
                continue
            if artefact == path and _of_another_table(i, path, c.results):
                continue
            if i in here.book or i in here.wanted:
                behind[i] = _made(here, i, config)
                waiting.append(i)
            else:
                found.given[i] = made.recipe.inputs[i]
    found.given = dict(sorted(found.given.items()))
    found.changed = [p for p, sha in found.given.items() if here.sha_of(p) != sha]
    found.environment = _environments(here, behind)
    found.code = _code(found, here)
    first = sorted(p for p, made in behind.items() if behind.keys().isdisjoint(made.recipe.input))
    options = ["--profile", "workflow/profiles/default", "--configfile", str(config), "--forcerun", *first]
    found.again = shlex.join(["snakemake", path, *options])
    return found


def _made(here: Workspace, path: str, config: str | Path) -> Statement:
    """The statement about a file. UserError if there is none."""
    every = known = here.book.get(path, [])
    if os.path.isfile(path):
        known = [m for m in every if m.sha256 == here.hashes.sha256(path)]
    proof = here.proof(path)[0] if path in here.wanted else None
    if proof is None and not known:
        why = f"{path} was edited since it was made" if every else f"nothing is known of how {path} was made"
        command = shlex.join(["snakemake", path, "--configfile", str(config), "--force", "--cores", "1"])
        raise UserError(f"{why}; '{command}' makes it again")
    return proof or known[-1]


def _artefact(here: Workspace, path: str, made: Statement) -> dict[str, Any]:
    changed = "not made by this configuration any more"
    if wanted := here.wanted.get(path):
        changed = ledger.why_not(made, wanted, {p: here.sha_of(p) for p in wanted.input})
    how = made.recipe
    params = ledger.params_by_name(how.params)
    about = {"rule": how.rule, "command": how.shellcmd, "params": params, "changed": changed}
    return {"path": path, "sha256": made.sha256, **about}


def _environments(here: Workspace, behind: dict[str, Statement]) -> dict[str, list[dict[str, str]]]:
    """Phase -> environments; of files made elsewhere, those of the notes that came with a pull."""
    found: dict[str, list[dict[str, str]]] = {}
    store = dvc.Store(here.hashes) if here.recorded else None
    for path, made in behind.items():
        if (phase := here.t.phase_of(path)) is None:
            continue
        notes = store.note(here.t.record_in(here.recorded.get(phase.name, {}), phase.name)) if store else []
        known = [made.environment] if made.environment else notes
        own = found.setdefault(phase.name, [])
        own += [environment for environment in known if environment not in own]
    return {name: known for name, known in found.items() if known}


def _row(path: Path, row: str) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        there = ", ".join(sorted(str(p) for p in Path("results/tables").glob("*.csv"))) or "none yet"
        raise UserError(f"no table {path} (there are: {there})") from error
    if row.isdecimal():
        if not 1 <= int(row) <= len(rows):
            raise UserError(f"{path} has rows 1 to {len(rows)}, not {row}")
        return rows[int(row) - 1]
    wanted = dict(part.split("=", 1) for part in row.split(",") if "=" in part)
    if not wanted:
        raise UserError(f"row '{row}': give a number from 1, or column=value,column=value")
    for key in wanted:
        if rows and key not in rows[0]:
            raise UserError(f"{path} has no column '{key}'{nearest(key, rows[0])}")
    matching = rows
    for key, value in wanted.items():  # one after the other, to name the first without a match
        known = {r[key] for r in matching}
        matching = [r for r in matching if r[key] == value]
        if not matching:
            raise UserError(
                f"no row of {path} has {row}: {key} '{value}' is not there{nearest(value, known)}"
            )
    if len(matching) > 1:
        key = next((k for k in matching[0] if len({r[k] for r in matching}) > 1), "nothing")
        values = list(dict.fromkeys(r[key] for r in matching if key in r))
        shown = ", ".join([*values[:6], *["…"] * (len(values) > 6)])
        raise UserError(f"{len(matching)} rows of {path} have {row}; they differ in {key} ({shown})")
    return matching[0]


def config_of(table: str | Path) -> Path:
    """The configuration of config/ that writes the table. UserError if none or several do."""
    found, known = [], sorted(Path("config").glob("*.yaml"))
    for path in known:
        try:
            results = load_config(path).results
        except UserError:
            continue  # another one that is being written
        if os.path.realpath(Paths(results).table(Path(table).stem)) == os.path.realpath(table):
            found.append(path)
    if len(found) != 1:
        these = ", ".join(map(str, found or known)) or "none in config/"
        said = "no configuration writes" if not found else "several configurations write"
        raise UserError(f"{said} {table} ({these}); name one with --config")
    return found[0]


def _others(row: dict[str, str], c: Config) -> dict[str, set[str]]:
    """Names of other data sets, models and shots, to recognize their artefacts by path."""
    every = {"dataset": set(c.datasets), "model": set(c.models), "shots": {str(s) for s in c.adapter.shots}}
    return {key: names - {row[key]} for key, names in every.items() if row.get(key) in names}


def _is_of(path: str, others: dict[str, set[str]], results: Path) -> bool:
    if not Path(path).is_relative_to(results):
        return False
    phase, *parts = Path(path).relative_to(results).with_suffix("").parts
    names = set(parts)
    return any(names & other for key, other in others.items() if key != "shots" or phase == "adapter")


def _of_another_table(path: str, table: str, results: Path) -> bool:
    """True if only other tables read this artefact: one job makes all tables."""
    exhibit = TABLES.get(Path(table).stem)
    if exhibit is None or not Path(path).is_relative_to(results):
        return False
    phase = Path(path).relative_to(results).parts[0]
    return phase not in exhibit.phases and any(phase in other.phases for other in TABLES.values())


def _code(found: Explained, here: Workspace) -> str:
    """The commit that recorded the table's phase, and whether it holds the code of the record."""
    sources = {p: sha for p, sha in found.given.items() if p.endswith(".py")}
    said = f"{len(sources)} source files"
    phase = here.t.phase_of(found.table)
    if phase is None or not (record := here.t.record_in(here.recorded.get(phase.name, {}), phase.name)):
        return f"{said}, not recorded in DVC"
    try:
        log = git("log", "--reverse", "--format=%h", f"-S{record}", "--", str(here.t.lock)).decode().split()
    except (OSError, UserError):
        return f"{said}, no Git here"
    if not log:
        return f"{said}, recorded and not committed yet"
    other = [
        p for p, sha in sources.items() if hashlib.sha256(shown(log[0], Path(p)) or b"").hexdigest() != sha
    ]
    about = git("log", "-1", "--format=%h of %cs, %s", log[0]).decode().strip()
    if other:
        return f"{said}, recorded by commit {about}, which holds another {', '.join(sorted(other)[:3])}"
    return f"{said}, as in commit {about}"


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


def lines(found: Explained) -> list[str]:
    """The provenance as text."""
    place = ", ".join(f"{k} {v}" for k, v in list(found.row.items())[:5] if v)
    out = [f"{found.column} = {found.value}", f"  {found.table}: {place}", "", "made, nearest first"]
    for a in found.artefacts:
        out += [f"  {a['path']}  sha256 {a['sha256'][:16]}", f"    {a['rule']}: {a['command']}"]
        out += [f"    {key}: {_short(value)}" for key, value in a["params"].items()]
        out += [f"    changed since: {a['changed']}"] * bool(a["changed"])
    out += ["", "texts"]
    for t in found.texts:
        out.append(f"  {t['path']}")
        out += [f"    {kind}: {_short(origin)}" for kind, origin in t.items() if kind != "path"]
    out += ["", "encoder"]
    for e in found.encoders:
        out += [f"  {key}: {_short(value)}" for key, value in e.items()]
    out += ["", "environment"]
    if not found.environment:
        out.append("  unknown: it was made elsewhere, and no note about it came with the pull")
    by_environment: dict[str, list[str]] = {}
    for phase, each in found.environment.items():
        for environment in each:
            by_environment.setdefault(_short(environment), []).append(phase)
    out += [f"  {', '.join(names)}: {text}" for text, names in by_environment.items()]
    out += ["", "code", f"  {found.code}", "", "given"]
    out += [
        f"  {p}  sha256 {sha[:16]}{'  changed since' if p in found.changed else ''}"
        for p, sha in found.given.items()
    ]
    return [*out, "", "again", f"  {found.again}"]


def _short(value: Any) -> str:
    text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
    return text if len(text) <= 200 else text[:197] + "…"
