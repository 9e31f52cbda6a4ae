"""`coder-clip explain`: from one number of a table to everything behind it."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..artifacts import Paths, read_metadata
from ..config import Config, load_config
from ..errors import UserError, nearest
from . import provenance
from .hashes import Hashes
from .records import Record, Records
from .stages import git, read_stages


@dataclass
class Explained:
    """Everything behind one number.

    artefacts: what the pipeline made, nearest first, each with rule, command, parameters, the keys of the
    configuration that its phase depends on, and sha256.
    given: sources, texts, weights: path -> sha256. changed: those that are not what they were.
    """

    table: str
    row: dict[str, str]
    column: str
    value: str
    artefacts: list[dict[str, Any]] = field(default_factory=list)
    given: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    code: str = ""
    texts: list[dict[str, Any]] = field(default_factory=list)
    encoders: list[dict[str, Any]] = field(default_factory=list)
    rebuild: dict[str, str] = field(default_factory=dict)


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
    options = f"--profile workflow/profiles/default --configfile {os.path.relpath(config)}"
    known = _Known()
    others = _others(cells, c)
    waiting, seen = [path], {path}
    while waiting:
        artefact = waiting.pop(0)
        record = known.record(artefact)
        if record is None:
            raise UserError(
                f"nothing is known of how {artefact} was made; 'snakemake {artefact} {options}' makes it anew"
            )
        found.artefacts.append(
            {
                "path": artefact,
                "sha256": known.sha256(artefact),
                "rule": record.rule,
                "command": record.shellcmd,
                "params": list(record.params),
                "keys": known.keys(artefact, others),
            }
        )
        for i in record.input:
            if i in seen or _is_of(i, others, c.results):
                continue
            seen.add(i)
            if known.record(i) is not None:
                waiting.append(i)
            else:
                found.given[i] = record.checksums.get(i) or known.then(i) or known.now(i)
                if os.path.isfile(i) and found.given[i] != known.hashes.sha256(i):
                    found.changed.append(i)
    known.hashes.save()
    found.given = dict(sorted(found.given.items()))
    found.code = _code([i for i in found.given if i.endswith(".py")])
    for a in found.artefacts:
        _origin(Path(a["path"]), found)
    behind = [a["path"] for a in found.artefacts if _names(a["path"], cells, c.results)]
    behind_it = f"snakemake {behind[0]} {options} --forceall && " if behind else ""
    found.rebuild = {
        "this table alone": f"snakemake {path} {options} --force",
        "this number, from the images on": f"{behind_it}snakemake {path} {options}",
    }
    return found


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


class _Known:
    """Records of outputs: Snakemake's own where it is valid, else what came with Git."""

    def __init__(self) -> None:
        self.hashes, self._records = Hashes(), Records()
        self._made: dict[str, tuple[str, Record]] = {}
        self._then: dict[str, str] = {}
        self._stages = read_stages() if Path("dvc.yaml").is_file() else []
        for stage in self._stages:
            if made := provenance.read(stage.name):
                self._made |= made.files
                self._then |= made.inputs

    def record(self, path: str) -> Record | None:
        if os.path.isfile(path):
            here = self._records.read(path)
            if here is not None and here.endtime == os.stat(path).st_mtime:
                return here
        return self._made[path][1] if path in self._made else None

    def keys(self, path: str, others: dict[str, set[str]]) -> list[str]:
        """Keys of the configuration that the artefact's phase depends on, without those of other data sets."""
        elsewhere = others.get("dataset", set()) | others.get("model", set())
        found = [key for stage in self._stages if stage.holds(path) for key in stage.keys]
        return [key for key in found if not set(key.split(".")[1:]) & elsewhere]

    def then(self, path: str) -> str | None:
        return self._then.get(path)

    def now(self, path: str) -> str:
        return self.hashes.sha256(path) if os.path.isfile(path) else "not here"

    def sha256(self, path: str) -> str:
        return self.now(path) if os.path.isfile(path) else self._then.get(path, "not here")


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
    phase, *parts = _below(path, results)
    names = set(parts)
    return any(names & other for key, other in others.items() if key != "shots" or phase == "adapter")


def _names(path: str, row: dict[str, str], results: Path) -> bool:
    """Whether an artefact is that of the row's own data set and model (or of its shots)."""
    parts = _below(path, results)
    return row.get("dataset") in parts and len(parts) > 2


def _below(path: str, results: Path) -> tuple[str, ...]:
    """Phase, then model, data set, split or shots."""
    return Path(path).relative_to(results).with_suffix("").parts


def _code(sources: list[str]) -> str:
    try:
        commit = git("log", "-1", "--format=%h of %cs, %s", "--", *sources).decode().strip()
        changed = git("status", "--porcelain", "--", *sources).decode().split()
    except (OSError, UserError):
        return f"{len(sources)} source files, no Git here"
    note = ", with changes that are not committed" if changed else ""
    return f"{len(sources)} source files, last changed by commit {commit}{note}"


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
        out += [f"  {a['path']}  {a['sha256'][:23]}", f"    {a['rule']}: {a['command']}"]
        out += [f"    with {p}" for p in a["params"]]
        out += [f"    keys: {', '.join(a['keys'])}"] * bool(a["keys"])
    out += ["", "texts"]
    for t in found.texts:
        out.append(f"  {t['path']}")
        out += [f"    {kind}: {_short(origin)}" for kind, origin in t.items() if kind != "path"]
    out += ["", "encoder"]
    for e in found.encoders:
        out += [f"  {key}: {_short(value)}" for key, value in e.items()]
    out += ["", "code", f"  {found.code}", "", "given"]
    out += [
        f"  {p}  {sha[:23]}{'  changed since' if p in found.changed else ''}"
        for p, sha in found.given.items()
    ]
    out += ["", "again"]
    out += [f"  {what}: {command}" for what, command in found.rebuild.items()]
    return out


def _short(value: Any) -> str:
    text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
    return text if len(text) <= 200 else text[:197] + "…"
