"""`coder-clip merge`: settle a dvc.lock on whose two sides something was recorded, a phase at a time."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..pipeline.phase_list import phases
from . import dvc, ledger
from .hashes import Hashes
from .ledger import Made
from .record import Here, locked
from .share import pull
from .snakemake import plan
from .stages import (
    Tracked,
    entries_of,
    git,
    hashes_of,
    in_conflict,
    option,
    own_stages,
    renew_yaml,
    shown,
    tracked,
)

SIDES = {":2": "ours", ":3": "theirs"}


def merge(config: str) -> list[str]:
    """Take for each phase the side whose record speaks of the merged tree, else leave it unrecorded.

    Code, parameters and inputs of every file are compared; inputs from earlier phases are those of the sides taken.
    UserError where nothing is in conflict, or sources still are.
    """
    names = git("diff", "-z", "--name-only", "--relative", "--diff-filter=U").decode()
    open_files = set(names.split("\0")) - {""}
    if first := sorted(f for f in open_files if f.startswith("config/")):  # it says where results are
        raise UserError(f"settle {', '.join(first)} first: it decides which results the merge wants")
    t = tracked(config)
    generated = {t.lock.as_posix(), t.yaml.as_posix()}
    if generated.isdisjoint(open_files):
        raise UserError(
            f"{t.lock} is not in conflict; a run makes again what changed, 'coder-clip status' tells what"
        )
    kept = [out for phase in phases() for out in t.keeps(phase)]
    others = sorted(
        f for f in open_files - generated if not any(f == k or f.startswith(f"{k}/") for k in kept)
    )
    others = [f for f in others if not (f.endswith(("dvc.lock", "dvc.yaml")) and f.startswith("tracked/"))]
    others = [f for f in others if f not in ("dvc.lock", "dvc.yaml")]
    if others:
        raise UserError(
            f"settle {', '.join(others)} first: results are compared with what the merge makes of them"
        )
    with locked():
        jobs = plan(t.config)
        sides = {side: _entries(t, side) for side in SIDES}
        chosen, lines = _choose(t, jobs, sides)
        own, said = _own(sides)
        stages, more = _own({side: own_stages(_document(side, t.yaml)) for side in SIDES})
        lines += dict.fromkeys([*said, *more])
        both = {**_document(":3", t.yaml), **_document(":2", t.yaml), "stages": stages}
        renew_yaml(t, jobs, yaml.safe_dump(both))
        t.write_lock({name: sides[side][name] for name, side in chosen.items()} | own)
        report = next((p for p in phases() if p.keeps), None)
        if kept and report:  # tables and metrics come with the side of their phase
            side = SIDES[chosen.get(report.name, ":2")]
            for path in sorted(f for f in open_files if any(f == k or f.startswith(f"{k}/") for k in kept)):
                with suppress(UserError):
                    git("checkout", f"--{side}", "--", path)
        there = [p for p in (*generated, *kept) if Path(p).exists()]
        git("add", "--all", "--", *there)
    if chosen:
        lines += pull(t.config).lines
    again = [
        p.name
        for p in phases()
        if p.name not in chosen and any(t.phase_of(o) == p for j in jobs for o in j.outputs)
    ]
    if again:
        lines.append(f"a run makes again: {', '.join(again)}")
    lines.append(f"settled {t.lock}; 'coder-clip status{option(t)}' shows it, 'git commit' ends the merge")
    return lines


def _entries(t: Tracked, side: str) -> dict[str, Any]:
    text = shown(side, t.lock)
    if text is None and not in_conflict(t.lock):
        return t.entries()
    return entries_of(text.decode()) if text else {}


def _document(side: str, path: Path) -> dict[str, Any]:
    """A dvc.yaml as a side has it, or as it is where Git has merged it."""
    text = shown(side, path) or (path.read_bytes() if path.is_file() and not in_conflict(path) else b"")
    return yaml.safe_load(text) or {}


def _own(sides: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """What the sides have that is of no phase: stages that a person added. Ours, where they differ, and a line then."""
    named = {phase.name for phase in phases()}
    ours, theirs = ({n: body for n, body in sides[s].items() if n not in named} for s in SIDES)
    differ = sorted(n for n in ours.keys() & theirs.keys() if ours[n] != theirs[n])
    return theirs | ours, [
        f"{n}: ours (a stage of your own; 'dvc repro {n}' brings it up to date)" for n in differ
    ]


def _choose(
    t: Tracked, jobs: list[Any], sides: dict[str, dict[str, Any]]
) -> tuple[dict[str, str], list[str]]:
    """Phase -> side, in the order of the phases, and a line about each."""
    here, hashes = Here(t, jobs), Hashes()
    store = dvc.Store(hashes)
    made_by: dict[str, str] = {}  # file -> sha256 that the sides taken give it
    chosen, lines = {}, []
    for phase in phases():
        outputs = [p for p in here.wanted if t.phase_of(p) == phase]
        if not outputs:
            continue
        reasons = {}
        for side, name in SIDES.items():
            files = _files(t, store, hashes_of(sides[side]).get(phase.name), phase.name)
            reasons[name] = _why_not(here, outputs, files, made_by)
            if not reasons[name]:
                chosen[phase.name] = side
                made_by |= {path: files[path].sha256 for path in outputs} if files else {}
                same = sides[":2"].get(phase.name) == sides[":3"].get(phase.name)
                lines.append(f"{phase.name}: {'the same on both sides' if same else name}")
                break
        else:
            both = "; ".join(f"{name}: {why}" for name, why in reasons.items())
            lines.append(f"{phase.name}: neither side, will be made again ({both})")
    hashes.save()
    return chosen, lines


def _files(t: Tracked, store: dvc.Store, outs: dict[str, str] | None, phase: str) -> dict[str, Made] | None:
    """The record of a phase, as a side has it; None where that is not to be had."""
    oid = (outs or {}).get(t.record(phase).as_posix())
    with suppress(UserError, OSError, ValueError):
        if oid and not store.fetch([oid]):
            return ledger.load(json.loads(Path(store.path(oid)).read_text(encoding="utf-8")))
    return None


def _why_not(here: Here, outputs: list[str], files: dict[str, Made] | None, made_by: dict[str, str]) -> str:
    """What tells a side's making of a phase from what the merged tree wants; "" where it is the same."""
    if files is None:
        return "not recorded, or its record is not to be had"
    if more := sorted(files.keys() ^ set(outputs)):
        return f"other files ({more[0]})"
    for path in outputs:
        wanted = here.wanted[path]
        sums = {p: made_by.get(p, "") if p in here.wanted else here.sha_of(p) for p in wanted.input}
        if why := ledger.why_not(files[path], wanted, sums):
            return why
    return ""
