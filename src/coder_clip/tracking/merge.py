"""`coder-clip merge`: resolve a conflict in dvc.lock phase by phase, if both sides recorded something."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..foundation import dvc
from ..foundation.git import git, in_conflict, shown
from ..foundation.locks import locked
from ..pipeline.phase_list import phases
from . import stages
from .certificates import Certificate, Job, read
from .judge import why_not
from .lockfile import DamagedLock, read_lock
from .record import Workspace
from .share import pull
from .stages import Tracked

OURS, THEIRS = ":2", ":3"  # as Git calls the versions of a file in conflict
SIDES = {OURS: "ours", THEIRS: "theirs"}


def merge(config: str) -> list[str]:
    """Take for each phase the side whose certificates hold in the merged tree; a phase without one is not recorded.

    Inputs from earlier phases are those of the chosen sides. UserError if nothing is in conflict, or sources still are.
    """
    unmerged = git("diff", "-z", "--name-only", "--relative", "--diff-filter=U").decode()
    open_files = set(unmerged.split("\0")) - {""}
    if first := sorted(f for f in open_files if f.startswith("config/")):  # it says where results are
        raise UserError(f"settle {', '.join(first)} first: it decides which results the merge wants")
    t = stages.tracked(config)
    own = {t.lock.as_posix()} | ({t.yaml.as_posix()} if t.folder != Path() else set())
    if own.isdisjoint(open_files):
        raise UserError(
            f"{t.lock} is not in conflict; a run makes again what changed ('coder-clip status' lists it)"
        )
    kept_files = sorted(f for f in open_files if any(stages.is_in(f, kept) for kept in t.kept))
    if others := sorted(f for f in open_files - own if f not in kept_files and not f.startswith("tracked/")):
        raise UserError(
            f"settle {', '.join(others)} first: results are compared with what the merge makes of them"
        )
    with locked(alone=True):
        if in_conflict(t.yaml):
            t.yaml.unlink()  # it is made again below
        here = Workspace(t)
        locks = {side: _entries(t, side) for side in SIDES}
        chosen, lines = _choose(here, locks)
        t.write_yaml(here.judge.jobs)
        phase_names = {phase.name for phase in phases()}
        foreign = {name: entry for name, entry in locks[OURS].items() if name not in phase_names}
        t.write_lock({**{name: locks[side][name] for name, side in chosen.items()}, **foreign})
        report = next((p.name for p in phases() if p.keeps), "")
        for path in kept_files:  # tables and metrics come with the side of their phase
            with suppress(UserError):
                git("checkout", f"--{SIDES[chosen.get(report, OURS)]}", "--", path)
        git("add", "--all", "--", *(p for p in (*own, *t.kept) if Path(p).exists()))
        here.hashes.save()
    if chosen:
        lines += pull(t.config).lines
    makes = {job.phase for job in here.judge.jobs}
    if again := [p.name for p in phases() if p.name in makes and p.name not in chosen]:
        lines.append(f"a run makes again: {', '.join(again)}")
    lines.append(
        f"settled {t.lock}; 'coder-clip status{stages.option(t)}' shows it, 'git commit' ends the merge"
    )
    return lines


def _entries(t: Tracked, side: str) -> dict[str, Any]:
    text = shown(side, t.lock)
    if text is None and not in_conflict(t.lock):
        return t.entries()
    try:
        return read_lock(text.decode(), t.lock, t.outs_of) if text else {}
    except (DamagedLock, UnicodeDecodeError):
        raise UserError(f"{t.lock} is damaged on the side '{SIDES[side]}'") from None


def _choose(here: Workspace, sides: dict[str, dict[str, Any]]) -> tuple[dict[str, str], list[str]]:
    """Phase -> chosen side, and a line about each phase."""
    store = dvc.Store(here.hashes)
    made: dict[str, str] = {}  # file -> sha256 on the chosen sides
    chosen: dict[str, str] = {}
    lines = []
    for phase in phases():
        jobs = [job for job in here.judge.jobs if job.phase == phase.name]
        reasons = {}
        for side, name in SIDES.items() if jobs else ():
            outs = stages.hashes_of({n: of for n, of in sides[side].items() if n == phase.name})
            stated = _certificates(here.t, store, outs.get(phase.name, {}), jobs)
            outputs = {p: sha for c in stated.values() for p, sha in c.outputs.items()}
            reasons[name] = _why_not(here, jobs, stated, {**made, **outputs})
            if not reasons[name]:
                chosen[phase.name] = side
                made |= outputs
                same = sides[OURS].get(phase.name) == sides[THEIRS].get(phase.name)
                lines.append(f"{phase.name}: {'the same on both sides' if same else name}")
                break
        if reasons and phase.name not in chosen:
            both = "; ".join(f"{name}: {why}" for name, why in reasons.items())
            lines.append(f"{phase.name}: neither side, will be made again ({both})")
    return chosen, lines


def _why_not(here: Workspace, jobs: list[Job], stated: dict[str, Certificate], made: dict[str, str]) -> str:
    """Why a side's certificates of a phase do not hold in the merged tree; "" if they do.

    made: file -> sha256 on this side, and on the chosen sides of earlier phases.
    """

    def sha(path: str) -> str:
        return made.get(path, "") if path in here.judge.makers else here.judge.sha(path)

    for job in jobs:
        if job.name not in stated:
            return "not recorded, or its certificate is missing"
        if why := why_not(stated[job.name], job, sha):
            return why
    return ""


def _certificates(
    t: Tracked, store: dvc.Store, outs: dict[str, str], jobs: list[Job]
) -> dict[str, Certificate]:
    """The certificates of a phase on one side, by the name of the job."""
    found: dict[str, Certificate] = {}
    for out, oid in outs.items():
        if out != f"{t.root}/certificates/{jobs[0].phase}" or store.fetch([oid]):
            continue
        files = store.files(out, oid)
        if store.fetch(files.values()):
            continue
        for job in jobs:
            md5 = files.get(job.certificate(t.root).as_posix())
            if md5 and (stated := read(store.path(md5))):
                found[job.name] = stated
    return found
