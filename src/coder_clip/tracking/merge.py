"""`coder-clip merge`: resolve a conflict in dvc.lock phase by phase.

It arises if both sides recorded something.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..foundation import dvc
from ..foundation.dvc_files import DamagedLock, read_lock
from ..foundation.git import git, in_conflict, shown
from ..foundation.hashes import Hashes
from ..foundation.locks import locked
from ..pipeline.phase_list import phases
from . import stages
from .certificates import FOLDER, Certificate, Job, read
from .record import Workspace
from .share import pull
from .stages import Tracked

OURS, THEIRS = ":2", ":3"  # as Git calls the versions of a file in conflict
SIDES = {OURS: "ours", THEIRS: "theirs"}


def merge(config: str) -> list[str]:
    """Take for each phase the side whose certificates hold in the merged tree.

    A phase that has no such side is not recorded. Returns lines about the merge.

    Inputs from earlier phases are those of the chosen sides. UserError if dvc.lock is not in
    conflict, or other files still are.
    """
    t, kept_files = _conflict(config)
    own = _own(t)
    with locked(alone=True):
        locks = {side: _entries(t, side) for side in SIDES}
        stated = {side: _certificates(t, locks[side]) for side in SIDES}
        certificates = [c for of_side in stated.values() for c in of_side.values()]
        here = Workspace(t, {key for c in certificates for key in c.values})
        chosen, lines = _choose(here, locks, stated)
        t.write_yaml(here.judge.jobs, here.uses())
        t.write_lock({name: locks[side][name] for name, side in chosen.items()})
        # one phase makes the files that Git keeps (tables and metrics), so its side decides
        report = next((p.name for p in phases() if p.keeps), "")
        for path in kept_files:
            with suppress(UserError):
                git("checkout", f"--{SIDES[chosen.get(report, OURS)]}", "--", path)
        git("add", "--all", "--", *(p for p in (*own, *t.kept) if Path(p).exists()))
        here.hashes.save()
    if chosen:
        lines += pull(t.config).lines
        # once more: the certificates that are here now say what the stages read
        t.write_yaml(here.judge.jobs, here.uses())
        git("add", "--", str(t.yaml))
    makes = {job.phase for job in here.judge.jobs}
    again = [p.name for p in phases() if p.name in makes and p.name not in chosen]
    if again:
        lines.append(f"a run makes again: {', '.join(again)}")
    lines.append(
        f"settled {t.lock}; 'coder-clip status{stages.option(t)}' shows it, 'git commit' ends the "
        "merge"
    )
    return lines


def _own(t: Tracked) -> set[str]:
    """The files that a merge settles."""
    return {t.lock.as_posix(), t.yaml.as_posix()}


def _conflict(config: str) -> tuple[Tracked, list[str]]:
    """The configuration, and its files in conflict that Git keeps (tables and metrics).

    UserError if dvc.lock is not in conflict, or files still are that decide results.
    """
    unmerged = git("diff", "-z", "--name-only", "--relative", "--diff-filter=U").decode()
    open_files = set(unmerged.split("\0")) - {""}
    # the configuration says where results are
    first = sorted(f for f in open_files if f.startswith("config/"))
    if first:
        raise UserError(
            f"settle {', '.join(first)} first: it decides which results the merge wants"
        )
    t = stages.tracked(config)
    if _own(t).isdisjoint(open_files):
        raise UserError(
            f"{t.lock} is not in conflict; a run makes again what changed ('coder-clip status' "
            "lists it)"
        )
    kept_files = sorted(f for f in open_files if any(stages.is_in(f, kept) for kept in t.kept))
    others = sorted(
        f for f in open_files - _own(t) if f not in kept_files and not f.startswith("tracked/")
    )
    if others:
        raise UserError(
            f"settle {', '.join(others)} first: results are compared with what the merge makes of "
            "them"
        )
    return t, kept_files


def _entries(t: Tracked, side: str) -> dict[str, Any]:
    """Phase -> its entry in dvc.lock, on one side."""
    text = shown(side, t.lock)
    # without a conflict, the dvc.lock here is that of both sides
    if text is None and not in_conflict(t.lock):
        return t.entries()
    if not text:
        return {}
    try:
        entries = read_lock(text, t.lock, t.outs_of)
    except DamagedLock:
        raise UserError(f"{t.lock} is damaged on the side '{SIDES[side]}'") from None
    t.check(entries)
    return entries


def _choose(
    here: Workspace, sides: dict[str, dict[str, Any]], stated: dict[str, dict[str, Certificate]]
) -> tuple[dict[str, str], list[str]]:
    """Phase -> chosen side, and a line about each phase.

    sides: side -> phase -> its entry in dvc.lock. stated: side -> path -> certificate.
    """
    made: dict[str, str] = {}  # file -> sha256 on the chosen sides
    chosen: dict[str, str] = {}
    lines = []
    for phase in phases():
        jobs = [job for job in here.judge.jobs if job.phase == phase.name]
        if not jobs:
            continue
        objections = {}
        for side, name in SIDES.items():
            paths = {job.name: job.certificate(here.t.root).as_posix() for job in jobs}
            of_jobs = {job.name: stated[side].get(paths[job.name]) for job in jobs}
            certificates = [c for c in of_jobs.values() if c]
            outputs = {path: sha for c in certificates for path, sha in c.outputs.items()}
            # earlier phases as they were chosen, this phase as this side made it
            objections[name] = _objection(here, jobs, of_jobs, {**made, **outputs})
            if not objections[name]:
                chosen[phase.name] = side
                made |= outputs
                if sides[OURS].get(phase.name) == sides[THEIRS].get(phase.name):
                    name = "the same on both sides"
                lines.append(f"{phase.name}: {name}")
                break
        if phase.name not in chosen:
            both = "; ".join(f"{name}: {why}" for name, why in objections.items())
            lines.append(f"{phase.name}: neither side, will be made again ({both})")
    return chosen, lines


def _objection(
    here: Workspace, jobs: list[Job], stated: dict[str, Certificate | None], made: dict[str, str]
) -> str:
    """Why a side's certificates of a phase do not hold in the merged tree; "" if they do.

    stated: name of a job -> its certificate on this side. made: file -> sha256 on this side, and on
    the chosen sides of earlier phases.
    """

    def sha(path: str) -> str:
        # results have the hashes of the sides, all other files those of the merged tree
        if path in here.judge.makers:
            return made.get(path, "")
        return here.judge.sha(path)

    for job in jobs:
        certificate = stated[job.name]
        if certificate is None:
            return "not recorded, or its certificate is missing"
        why = here.judge.objection(certificate, job, sha)
        if why:
            return why
    return ""


def _certificates(t: Tracked, entries: dict[str, Any]) -> dict[str, Certificate]:
    """Path -> certificate, of all phases of one side. entries: phase -> its entry in dvc.lock."""
    store = dvc.Store(Hashes())
    found: dict[str, Certificate] = {}
    for phase, outs in stages.hashes_of(entries).items():
        folder = f"{t.root}/{FOLDER}/{phase}"
        oid = outs.get(folder)
        # `fetch` returns the objects that it could not bring
        if oid is None or store.fetch([oid]):
            continue
        files = store.files(folder, oid)
        bad = store.fetch(files.values())
        for path, md5 in files.items():
            certificate = None if md5 in bad else read(store.path(md5))
            if certificate:
                found[path] = certificate
    return found
