"""`coder-clip merge`: resolve a conflict in dvc.lock phase by phase, if both sides recorded something."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..pipeline.phase_list import phases
from . import dvc, ledger, stages
from .ledger import Statement
from .record import Workspace, locked
from .share import pull
from .stages import Tracked, git, in_conflict

OURS, THEIRS = ":2", ":3"  # as Git calls the versions of a file in conflict
SIDES = {OURS: "ours", THEIRS: "theirs"}


def merge(config: str) -> list[str]:
    """Take for each phase the side whose record matches the merged tree; a phase without one is not recorded.

    Code, parameters and inputs of every file are compared; inputs from earlier phases are those of the chosen sides.
    UserError if nothing is in conflict, or sources still are.
    """
    unmerged = git("diff", "-z", "--name-only", "--relative", "--diff-filter=U").decode()
    open_files = set(unmerged.split("\0")) - {""}
    if first := sorted(f for f in open_files if f.startswith("config/")):  # it says where results are
        raise UserError(f"settle {', '.join(first)} first: it decides which results the merge wants")
    t = stages.tracked(config)
    generated = {t.lock.as_posix(), t.yaml.as_posix()}
    if generated.isdisjoint(open_files):
        raise UserError(
            f"{t.lock} is not in conflict; a run makes again what changed ('coder-clip status' lists it)"
        )
    kept_files = sorted(f for f in open_files if any(stages.is_in(f, kept) for kept in t.kept))
    if others := sorted(f for f in open_files - generated if f not in kept_files and not _of_another(f)):
        raise UserError(
            f"settle {', '.join(others)} first: results are compared with what the merge makes of them"
        )
    for side in SIDES:  # a stage that a person added would be lost
        stages.read_generated(t.yaml, (stages.shown(side, t.yaml) or b"").decode())
    with locked(alone=True):
        here = Workspace(t)
        locks = {side: _entries(t, side) for side in SIDES}
        chosen, lines = _choose(here, locks)
        if in_conflict(t.yaml):
            t.yaml.unlink()
        stages.renew_yaml(t, here.jobs)
        t.write_lock({name: locks[side][name] for name, side in chosen.items()})
        report = next((p.name for p in phases() if p.keeps), "")
        for path in kept_files:  # tables and metrics come with the side of their phase
            with suppress(UserError):
                git("checkout", f"--{SIDES[chosen.get(report, OURS)]}", "--", path)
        git("add", "--all", "--", *(p for p in (*generated, *t.kept) if Path(p).exists()))
        here.hashes.save()
    if chosen:
        lines += pull(t.config).lines
    makes = dict.fromkeys(phase.name for path in here.wanted if (phase := t.phase_of(path)))
    if again := [p.name for p in phases() if p.name in makes and p.name not in chosen]:
        lines.append(f"a run makes again: {', '.join(again)}")
    lines.append(
        f"settled {t.lock}; 'coder-clip status{stages.option(t)}' shows it, 'git commit' ends the merge"
    )
    return lines


def _of_another(path: str) -> bool:
    """True if a file is dvc.yaml or dvc.lock of another configuration, which is merged on its own."""
    return path.startswith("tracked/") and path.endswith(("dvc.lock", "dvc.yaml"))


def _entries(t: Tracked, side: str) -> dict[str, Any]:
    text = stages.shown(side, t.lock)
    if text is None and not in_conflict(t.lock):
        return t.entries()
    return stages.entries_of(text.decode()) if text else {}


def _choose(here: Workspace, sides: dict[str, dict[str, Any]]) -> tuple[dict[str, str], list[str]]:
    """Phase -> chosen side, and a line about each phase."""
    store = dvc.Store(here.hashes)
    made: dict[str, str] = {}  # file -> sha256 on the chosen side
    chosen: dict[str, str] = {}
    lines = []
    for phase in phases():
        outputs = [p for p in here.wanted if here.t.phase_of(p) == phase]
        reasons = {}
        for side, name in SIDES.items() if outputs else ():
            files = _files(here.t, store, stages.hashes_of(sides[side]).get(phase.name, {}), phase.name)
            reasons[name] = _why_not(here, outputs, files, made)
            if not reasons[name]:
                chosen[phase.name] = side
                made |= {path: files[path].sha256 for path in outputs}
                same = sides[OURS].get(phase.name) == sides[THEIRS].get(phase.name)
                lines.append(f"{phase.name}: {'the same on both sides' if same else name}")
                break
        if reasons and phase.name not in chosen:
            both = "; ".join(f"{name}: {why}" for name, why in reasons.items())
            lines.append(f"{phase.name}: neither side, will be made again ({both})")
    return chosen, lines


def _files(t: Tracked, store: dvc.Store, outs: dict[str, str], phase: str) -> dict[str, Statement]:
    """The statements of a phase on one side; empty if its record is missing or damaged."""
    oid = t.record_in(outs, phase)
    with suppress(UserError):
        if oid and not store.fetch([oid]):
            return ledger.read_record(Path(store.path(oid)))
    return {}


def _why_not(here: Workspace, outputs: list[str], files: dict[str, Statement], made: dict[str, str]) -> str:
    """The first difference between a side's record of a phase and the plan of the merged tree; "" if none."""
    if not files:
        return "not recorded, or its record is missing"
    if more := sorted(files.keys() ^ set(outputs)):
        return f"other files ({more[0]})"
    for path in outputs:
        wanted = here.wanted[path]
        sums = {p: made.get(p, "") if p in here.wanted else here.sha_of(p) for p in wanted.input}
        if why := ledger.why_not(files[path], wanted, sums):
            return why
    return ""
