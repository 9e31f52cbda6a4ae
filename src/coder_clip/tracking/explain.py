"""`coder-clip explain`: from one number of a table to everything behind it."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from ..foundation.artifacts import Paths, read_metadata
from ..pipeline.config import Config, load_config
from . import dvc, ledger
from .hashes import Hashes
from .ledger import Made
from .record import Here
from .stages import git, tracked


@dataclass
class Explained:
    """Everything behind one number.

    artefacts: what the pipeline made, nearest first: rule, command, parameters by name, sha256, and what changed since.
    given: sources, texts, weights: path -> sha256 then. changed: those that hold something else now. code: the commit
    that recorded it, and whether that commit holds the code. environment: of each phase, as far as it is known.
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
    """row: its number from 1, or what must stand in it ("dataset=rare,method=coder").

    config: by default the one of config/ into whose results folder the table belongs.
    """
    path = os.path.relpath(Path(table).with_suffix(".csv"))
    cells = _row(Path(path), row)
    config = config or config_of(path)
    c = load_config(config)
    if column not in cells:
        raise UserError(f"{path} has no column '{column}'{nearest(column, cells)}")
    found = Explained(path, {k: v for k, v in cells.items() if k != column}, column, cells[column])
    here = Here(tracked(config))
    others, waiting, seen = _others(cells, c), [path], {path}
    records: dict[str, str] = {}  # phase -> object of its record
    behind: dict[str, Made] = {}
    for artefact in waiting:
        made = _made(here, artefact)
        if made is None:
            raise UserError(
                f"nothing is known of how {artefact} was made; 'snakemake {artefact} --configfile {config} --force "
                "--cores 1' makes it again"
            )
        behind[artefact] = made
        wanted = here.wanted.get(artefact)
        changed = "not made by this configuration any more"
        if wanted:
            changed = ledger.why_not(made, wanted, {p: here.sha_of(p) for p in wanted.input})
        found.artefacts.append(
            {
                "path": artefact,
                "sha256": made.sha256,
                "rule": made.making.rule,
                "command": made.making.shellcmd,
                "params": ledger.params_by_name(made.making.params),
                "changed": changed,
            }
        )
        phase = here.t.phase_of(artefact)
        if phase and phase.name in here.recorded:
            records[phase.name] = here.recorded[phase.name].get(here.t.record(phase.name).as_posix(), "")
        if made.environment and phase:
            known = found.environment.setdefault(phase.name, [])
            known += [made.environment] if made.environment not in known else []
        for i in dict.fromkeys(made.making.input):
            if i in seen or _is_of(i, others, c.results):
                continue
            seen.add(i)
            if here.book.get(i) or i in here.wanted:
                waiting.append(i)
            else:
                found.given[i] = made.making.inputs[i]
                if here.sha_of(i) != found.given[i]:
                    found.changed.append(i)
    _add_notes(found, records, here.hashes)
    found.given = dict(sorted(found.given.items()))
    found.code = _code(found, records, here)
    for a in found.artefacts:
        _origin(Path(a["path"]), found)
    found.again = _again(found, behind, config)
    return found


def _made(here: Here, path: str) -> Made | None:
    """What is known of the file that is here; else, of what its record says."""
    known = here.book.get(path, [])
    if os.path.isfile(path):
        known = [m for m in known if m.sha256 == here.hashes.sha256(path)]
    proof = here.proof(path)[0] if path in here.wanted else None
    return proof or (known[-1] if known else None)


def _add_notes(found: Explained, records: dict[str, str], hashes: Hashes) -> None:
    """Environments of phases that were made elsewhere, from the notes that came with a pull."""
    if unknown := {phase: md5 for phase, md5 in records.items() if md5 and phase not in found.environment}:
        store = dvc.Store(hashes)
        for phase, md5 in unknown.items():
            if known := store.note(md5):
                found.environment[phase] = known


def _again(found: Explained, behind: dict[str, Made], config: str | Path) -> str:
    """One command that makes the table again, and before it all that is behind the number."""
    first = [path for path, made in behind.items() if behind.keys().isdisjoint(made.making.input)]
    options = f"--profile workflow/profiles/default --configfile {config}"
    return f"snakemake {found.table} {options} --forcerun {' '.join(sorted(first))}"


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
    for key, value in wanted.items():  # one after the other, to name the first that fits nothing
        known = {r[key] for r in matching}
        matching = [r for r in matching if r[key] == value]
        if not matching:
            raise UserError(
                f"no row of {path} has {row}: {key} '{value}' is not there{nearest(value, known)}"
            )
    if len(matching) > 1:
        differ: dict[str, list[str]] = {}  # columns from the left, until they tell the rows apart
        for key in matching[0]:
            if len({tuple(r[k] for k in differ) for r in matching}) == len(matching):
                break
            if len(values := list(dict.fromkeys(r[key] for r in matching))) > 1:
                differ[key] = values
        still = "; ".join(
            f"{key} ({', '.join(values[:6])}{', …' * (len(values) > 6)})" for key, values in differ.items()
        )
        raise UserError(f"{len(matching)} rows of {path} have {row}; they differ in {still}")
    return matching[0]


def config_of(table: str | Path) -> Path:
    """The configuration of config/ whose results hold the table. UserError where none or several do."""
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
    """Names that an artefact of another data set or model has in its path, and other shots."""
    every = {"dataset": set(c.datasets), "model": set(c.models), "shots": {str(s) for s in c.adapter.shots}}
    return {key: names - {row[key]} for key, names in every.items() if row.get(key) in names}


def _is_of(path: str, others: dict[str, set[str]], results: Path) -> bool:
    if not Path(path).is_relative_to(results):
        return False
    phase, *parts = Path(path).relative_to(results).with_suffix("").parts
    names = set(parts)
    return any(names & other for key, other in others.items() if key != "shots" or phase == "adapter")


def _code(found: Explained, records: dict[str, str], here: Here) -> str:
    """The commit that recorded the table's phase, and whether it holds the code that the record speaks of."""
    sources = {p: sha for p, sha in found.given.items() if p.endswith(".py")}
    phase = here.t.phase_of(found.table)
    record = records.get(phase.name, "") if phase else ""
    if not record:
        return f"{len(sources)} source files, not recorded in DVC"
    try:
        log = git(
            "log", "--reverse", "--format=%h of %cs, %s", f"-S{record}", "--", str(here.t.lock)
        ).decode()
    except (OSError, UserError):
        return f"{len(sources)} source files, no Git here"
    if not log.strip():
        return f"{len(sources)} source files, recorded and not committed yet"
    commit = log.splitlines()[0]
    held = _hashes_at(commit.split()[0], sources)
    if other := sorted(p for p, sha in sources.items() if held.get(p) != sha):
        return f"{len(sources)} source files, recorded by commit {commit}, which holds another {', '.join(other[:3])}"
    return f"{len(sources)} source files, as in commit {commit}"


def _hashes_at(commit: str, paths: Iterable[str]) -> dict[str, str]:
    """sha256 of files as a commit holds them."""
    names = list(paths)
    asked = "".join(f"{commit}:./{p}\n" for p in names).encode()
    out = subprocess.run(["git", "cat-file", "--batch"], input=asked, capture_output=True, check=False).stdout
    found, at = {}, 0
    for name in names:
        end = out.index(b"\n", at)
        head, at = out[at:end].split(), end + 1
        if head[-1] != b"missing":
            size = int(head[-1])
            found[name], at = hashlib.sha256(out[at : at + size]).hexdigest(), at + size + 1
    return found


def _origin(path: Path, found: Explained) -> None:
    """Where texts come from, and which weights encoded."""
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
    """The same for a person."""
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
        out.append("  unknown: it was made elsewhere, and no note of it came with the pull")
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
