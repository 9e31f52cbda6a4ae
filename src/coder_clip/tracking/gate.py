"""Which phases are whole: nothing missing, half written, out of date, swapped behind Snakemake, or foreign."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .hashes import Hashes, folder_md5
from .provenance import Provenance
from .records import Record, Records
from .stages import Stage

OFF = "CODER_CLIP_TRACKING"  # environment: "off" in the Snakemake that only answers questions


@dataclass(frozen=True)
class Planned:
    """One output of the DAG, as Snakemake sees it now."""

    path: str
    rule: str
    status: str  # "ok", "missing", "params changed", …
    pending: bool


@dataclass(frozen=True)
class Checked:
    """A phase with what stands against recording it (empty: it is whole), and files that no rule makes."""

    stage: Stage
    outputs: list[Planned]
    problems: list[str]
    foreign: list[str]


def plan(config: str | Path, snakefile: str | Path = "Snakefile") -> list[Planned]:
    """Ask Snakemake about every output of the default target; it changes nothing and waits for no lock."""
    command = [sys.executable, "-m", "snakemake", "--summary", "--nolock", "--ignore-incomplete"]
    command += ["--snakefile", str(snakefile), "--configfile", str(config)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, OFF: "off"}, check=False
    )
    header, *lines = [line for line in done.stdout.splitlines() if line.count("\t") >= 5] or [""]
    if done.returncode or not header.startswith("output_file\t"):
        last = [line for line in done.stderr.splitlines() if line.strip()] or ["no answer"]
        raise UserError(f"Snakemake cannot plan: {last[-1].strip()}")
    found = []
    for line in lines:
        path, _, rule, *_, status, planned = line.split("\t")
        found.append(Planned(path, rule, status, planned != "no update"))
    return found


def check(stage: Stage, planned: Iterable[Planned], records: Records, hashes: Hashes) -> Checked:
    """What stands against recording this phase, first things first, a few words each."""
    outputs = [p for p in planned if stage.holds(p.path)]
    missing = [p.path for p in outputs if not os.path.exists(p.path)]
    marked = sorted(records.incomplete(p.path for p in outputs))
    pending = [p.path for p in outputs if p.pending and p.path not in missing]
    problems = []
    if not outputs:
        problems.append("no output of the DAG lies in it")
    if missing:
        problems.append(f"{_some(missing)} missing")
    if marked:
        problems.append(f"{_some(marked)} half written or being written")
    if pending:
        problems.append(f"{_some(pending)} out of date")
    if not problems:
        swapped, unknown, changed = [], [], []
        for p in outputs:
            record = records.read(p.path)
            if record is None:
                unknown.append(p.path)
            elif record.endtime != os.stat(p.path).st_mtime:
                swapped.append(p.path)
            elif any(os.path.isfile(i) and hashes.sha256(i) != c for i, c in record.checksums.items()):
                changed.append(p.path)
        if unknown:
            problems.append(f"{_some(unknown)} not made by Snakemake here")
        if swapped:
            problems.append(f"{_some(swapped)} changed behind Snakemake")
        if changed:
            problems.append(f"{_some(changed)} made from inputs that have changed since")
        if problems:
            these = " ".join([*unknown, *swapped, *changed][:5])
            config = "".join(f" --configfile {file}" for file in stage.configs[:1])
            problems.append(f"'snakemake {these}{config} --force --cores 1' makes it anew")
    foreign = foreign_files(stage, {p.path for p in outputs})
    return Checked(stage, outputs, problems, foreign)


def describe(checked: Checked, records: Records, hashes: Hashes) -> Provenance:
    """Provenance of a phase that is whole."""
    files: dict[str, tuple[str, Record]] = {}
    inputs: dict[str, str] = {}
    for p in checked.outputs:
        record = records.read(p.path)
        if record is None:
            raise UserError(f"{p.path} lost its record while it was looked at; run 'coder-clip record' again")
        files[p.path] = (hashes.md5(p.path), record)
        for i in record.input:
            if i not in inputs and os.path.isfile(i):
                inputs[i] = hashes.sha256(i)
    return Provenance(out_hashes(checked.stage, {p: md5 for p, (md5, _) in files.items()}), files, inputs)


def out_hashes(stage: Stage, files: dict[str, str]) -> dict[str, str]:
    """What dvc.lock should say of each out, from the md5 of each file."""
    found = {}
    for out in stage.outs:
        below = {p.removeprefix(out + "/"): md5 for p, md5 in files.items() if p.startswith(out + "/")}
        found[out] = files[out] if out in files else folder_md5(below)
    return found


def foreign_files(stage: Stage, outputs: set[str]) -> list[str]:
    """Files in the phase's folders that no rule makes. Hidden files are not DVC's business (.dvcignore)."""
    found = []
    for out in stage.outs:
        for folder, folders, names in os.walk(out):
            folders[:] = [f for f in folders if not f.startswith(".")]
            paths = (os.path.join(folder, name) for name in names if not name.startswith("."))
            found += [p for p in paths if p not in outputs]
    return sorted(found)


def _some(paths: list[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
