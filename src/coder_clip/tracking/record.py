"""Record finished phases in DVC: `coder-clip record`, and automatically after every run."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import UserError, printable
from ..foundation import dvc
from ..foundation.artifacts import write_bytes
from ..foundation.dvc import files_below, folder_md5
from ..foundation.dvc_files import DamagedLock, fault, read_lock
from ..foundation.git import git, shown
from ..jobs import PHASES, RECORDS, Phase, jobs
from ..pipeline.config import load_config
from ..pipeline.environment import foreign_code
from ..rerun.hashes import Hashes
from ..rerun.judge import MISSING, Judge, group
from ..rerun.record import Job
from .locks import locked
from .stages import Tracked, hashes_of, is_in, option, records, tracked, yaml_text

ASIDE = Path("results-set-aside")
STAGE = "DVC_STAGE"  # environment variable that `dvc repro` sets
PLANS = ("Snakefile", "workflow", "src")


@dataclass
class State:
    """One phase in this working tree.

    problems: output -> why its job must run. extra: files that no job makes. waits: names of
    earlier phases that are not whole, and whose outputs this phase reads."""

    phase: Phase
    jobs: list[Job]
    problems: dict[str, str] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)

    @property
    def outputs(self) -> list[str]:
        return sorted(path for job in self.jobs for path in job.outputs)

    @property
    def whole(self) -> bool:
        return not (self.problems or self.extra or self.waits)

    def why(self, t: Tracked) -> str:
        """Why the phase is not recorded."""
        if self.problems:
            paths_of: dict[str, list[str]] = {}  # reason -> outputs
            for path, reason in self.problems.items():
                paths_of.setdefault(reason, []).append(path)
            return "; ".join(f"{some(paths)} {reason}" for reason, paths in paths_of.items())
        if self.extra:
            return (
                f"{some(self.extra)} is not made by this configuration; 'coder-clip "
                f"record{option(t)} --set-aside' moves it to {ASIDE}/"
            )
        return f"waits for {', '.join(self.waits)}"


class Workspace:
    """A configuration's jobs, its files, and the judge about them. Changes nothing."""

    def __init__(self, t: Tracked) -> None:
        self.t, self.hashes = t, Hashes()
        self.config_md5 = self.hashes.md5(t.config)
        self.config = load_config(t.config)
        self.folder = f"{t.root}/{RECORDS}"
        self.judge = Judge(self.folder, jobs(self.config), self.hashes)
        self.recorded: dict[str, dict[str, str]] = {}
        with suppress(UserError):
            self.recorded = t.recorded()

    def states(self) -> list[State]:
        """All phases that have jobs, in order."""
        found: list[State] = []
        for phase in PHASES:
            of_phase = [job for job in self.judge.jobs if group(job) == phase.name]
            if not of_phase:
                continue
            state = State(phase, of_phase)
            for job in of_phase:
                why = self.judge.reason_to_run(job)
                if why:
                    for path in job.outputs:
                        # if a job only lacks a file, its other files are no problem
                        if why != MISSING or not os.path.isfile(path):
                            state.problems[path] = why
            state.extra = sorted(set(self._files(phase)).difference(state.outputs))
            read = {path for job in of_phase for path in job.inputs}
            state.waits = [
                earlier.phase.name
                for earlier in found
                if not earlier.whole and read.intersection(earlier.outputs)
            ]
            found.append(state)
        return found

    @cached_property
    def stages(self) -> dict[str, Any]:
        """Phase -> its stage in dvc.yaml."""
        return self.t.described(self.judge.jobs)

    def sources(self) -> dict[str, dict[str, Any]]:
        """Path -> its entry in dvc.lock, of all that phases depend on and no phase makes."""
        store = dvc.Store(self.hashes)
        deps = {path for stage in self.stages.values() for path in stage["deps"]}
        paths = [path for path in deps if not self.t.out_of(path) and os.path.exists(path)]
        return {path: store.entry(path) for path in paths}

    def _files(self, phase: Phase) -> Iterator[str]:
        """Files that are in the folders of a phase, without certificates."""
        # the last out holds the certificates, which `remove_old_certificates` clears
        for out in self.t.outs(phase)[:-1]:
            yield from files_below(out)

    def remove_old_certificates(self, state: State) -> None:
        """Remove certificates of jobs that this configuration has no more."""
        certificates = self.t.outs(state.phase)[-1]
        own = {job.record(self.folder).as_posix() for job in state.jobs}
        for path in set(files_below(certificates)) - own:
            Path(path).unlink()

    def hashes_of_outs(self, state: State) -> dict[str, str]:
        """Out -> the hash that dvc.lock should have, for a whole phase."""
        return {out: entry["md5"] for out, entry in self.outs(state).items()}

    def outs(self, state: State) -> dict[str, dict[str, Any]]:
        """Out -> the entry that dvc.lock should have, for a whole phase."""
        found: dict[str, dict[str, Any]] = {}
        made = [*state.outputs, *(job.record(self.folder).as_posix() for job in state.jobs)]
        for out in self.t.outs(state.phase):
            files = [path for path in made if is_in(path, out)]
            if not files:
                continue
            size = sum(os.path.getsize(path) for path in files)
            if files == [out]:  # a single file
                md5 = self.hashes.md5(out)
                found[out] = {"path": out, "hash": "md5", "md5": md5, "size": size}
                continue
            # a folder, which DVC hashes by the list of its files
            listed = {path.removeprefix(f"{out}/"): self.hashes.md5(path) for path in files}
            found[out] = {
                "path": out,
                "hash": "md5",
                "md5": folder_md5(listed),
                "size": size,
                "nfiles": len(files),
            }
        return found


@dataclass
class Outcome:
    """Outcome of `record`.

    changed: recorded phases whose hashes differ from before. refused: phase -> why it is not
    recorded.
    """

    lines: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def record(config: str | Path, set_aside: bool = False) -> Outcome:
    """Record every whole phase, and no other. UserError if nothing can be recorded at all.

    set_aside: first move files that no job makes out of the phases' folders. Under `dvc repro` DVC
    itself records, and nothing is done.
    """
    if STAGE in os.environ:
        return Outcome()
    reason = dvc.unavailable() or foreign_code()
    if reason:
        raise UserError(f"results are not recorded: {reason} (docs/sharing.md)")
    t, outcome = tracked(config), Outcome()
    t.refuse_links()
    with locked():
        before = _entries(t, outcome)
        here = Workspace(t)
        # before the judge looks: an edit in the meantime is one that DVC sees
        sources = here.sources()
        states = here.states()
        if set_aside:
            outcome.lines += [
                aside(s.extra, "not made by this configuration") for s in states if s.extra
            ]
            states = here.states()
        _record_all(here, states, before, sources, outcome)
        here.hashes.save()
    # reasons come from certificates of other people, and a run prints them itself
    outcome.lines = [printable(line) for line in outcome.lines]
    return outcome


def _record_all(
    here: Workspace,
    states: list[State],
    entries: dict[str, Any],
    sources: dict[str, dict[str, Any]],
    outcome: Outcome,
) -> None:
    """Record all whole phases; adds lines and reasons to ``outcome``.

    entries: phase -> its entry in dvc.lock so far, which a phase that is not whole keeps. sources:
    as from `Workspace.sources`."""
    t, before = here.t, hashes_of(entries)
    outcome.lines += [*_records_without_configuration(), *_replace_yaml(here)]
    outs = {}  # whole phase -> its outputs
    for state in states:
        if state.whole:
            here.remove_old_certificates(state)
            outs[state.phase.name] = here.outs(state)
        else:
            outcome.refused[state.phase.name] = state.why(t)
    never = [state.phase.name for state in states if _never_made(state, before)]
    planned = {state.phase.name for state in states}
    kept = {name: entry for name, entry in entries.items() if name in planned}
    _write(here, kept, outs, sources)
    for name, phase_outs in outs.items():
        hashes = {out: entry["md5"] for out, entry in phase_outs.items()}
        if before.get(name) != hashes:
            outcome.changed.append(name)
    outcome.lines += [
        f"phase {n} is not recorded: {why}" for n, why in outcome.refused.items() if n not in never
    ]
    if len(never) == len(states):
        outcome.lines.append("no results yet, so there is nothing to record")
    elif never:
        outcome.lines.append(f"not made yet, so not recorded: {', '.join(never)}")
    if outcome.changed:
        changed = ", ".join(outcome.changed)
        outcome.lines.append(f"recorded in DVC: {changed}; to share: {_sharing(here)}")
    elif outs and not outcome.refused:
        outcome.lines.append("everything is recorded in DVC")


def _sharing(here: Workspace) -> str:
    """The commands that share what was recorded."""
    commands = f"coder-clip push{option(here.t)} && git push"
    share = _to_share(here)
    if share:
        return f"git add {shlex.join(share)} && git commit && {commands}"
    return commands


def _never_made(state: State, before: Mapping[str, Any]) -> bool:
    """True for a phase that is neither here nor recorded. before: phase -> what is recorded."""
    here = state.whole or any(map(os.path.exists, state.outputs))
    return not here and state.phase.name not in before


def _write(
    here: Workspace,
    entries: dict[str, Any],
    outs: dict[str, dict[str, dict[str, Any]]],
    sources: dict[str, dict[str, Any]],
) -> None:
    """Store the files of whole phases in DVC's cache, then name them in dvc.lock.

    entries: phase -> its entry so far. outs: whole phase -> out -> its part of the new entry.
    UserError if a file changed meanwhile; then dvc.lock is as it was.
    """
    t, made = here.t, {out: entry for of_phase in outs.values() for out, entry in of_phase.items()}
    # Git keeps tables and metrics, so the cache does not
    objects = {out: entry["md5"] for out, entry in made.items() if out not in t.kept}
    # objects before dvc.lock: a killed process leaves no name without its object
    bad = dvc.Store(here.hashes).store(objects)
    if bad:
        raise UserError(
            f"{some(bad)} cannot be recorded, because it changed; 'coder-clip record' tries again"
        )
    # the plan came from the configuration as it was at the beginning
    if here.hashes.md5(t.config) != here.config_md5:
        raise UserError(
            f"{t.config} changed while results were recorded, so nothing was; 'coder-clip record' "
            "tries again"
        )
    entry_of = {**sources, **made}
    for name, stage in here.stages.items():
        if name in outs:
            # copies, because YAML writes an object that it meets again as a reference
            deps = [dict(entry_of[path]) for path in stage["deps"]]
            listed = [dict(outs[name][out]) for out in sorted(outs[name])]
            entries[name] = {"cmd": stage["cmd"], "deps": deps, "outs": listed}
    t.write_lock({name: entries[name] for name in t.outs_of if name in entries})


def check_stage(config: str | Path, after: bool) -> None:
    """UserError if `dvc repro` would record a phase that is not complete, or has other files.

    after: the jobs have run. DVC names the stage in STAGE; of other stages nothing is checked.
    """
    here = Workspace(tracked(config))
    name = os.environ[STAGE].split(":")[-1]  # FILE:NAME
    for state in here.states():
        if state.phase.name == name:
            if not after:
                state.problems = {}  # the run is about to solve them
            if state.extra or state.problems:
                raise UserError(f"phase {name} is not complete: {state.why(here.t)}")
            here.remove_old_certificates(state)


def _entries(t: Tracked, outcome: Outcome) -> dict[str, Any]:
    """Phase -> its entry in dvc.lock, which a phase keeps that is not recorded again; adds lines.

    A damaged file is that of the last commit again; an entry that no record has is dropped.
    UserError if dvc.lock is in conflict.
    """
    try:
        entries = t.unchecked()
    except DamagedLock:
        entries = _repaired(t, outcome)
    why_of = {name: fault(name, entry, t.outs_of[name]) for name, entry in entries.items()}
    faults = [why for why in why_of.values() if why]
    if faults:
        outcome.lines.append(f"left out of {t.lock}: {some(faults)}")
    return {name: entry for name, entry in entries.items() if not why_of[name]}


def _repaired(t: Tracked, outcome: Outcome) -> dict[str, Any]:
    """Phase -> its entry in the committed dvc.lock, which takes the place of a damaged one.

    {} if the last commit has none, or a damaged one.
    """
    was = f"{t.lock} was damaged (a write was cut short)"
    committed = shown("HEAD", t.lock)  # content in the last commit
    if committed is None:
        t.lock.unlink()
        outcome.lines.append(f"{was}: the last commit has none, so it was removed")
        return {}
    try:
        entries = read_lock(committed, t.lock, t.outs_of)
    except DamagedLock:
        t.lock.unlink()
        outcome.lines.append(f"{was}, and in the commit, too: all phases are recorded again")
        return {}
    write_bytes(t.lock, committed)
    outcome.lines.append(f"{was}: the committed one was restored")
    return entries


def _replace_yaml(here: Workspace) -> list[str]:
    """Write dvc.yaml; returns a line if another one stood there.

    One that no commit has is moved aside: it can hold stages of a user's own.
    """
    t, lines = here.t, []
    if t.yaml.is_file() and not t.yaml.is_symlink():
        known = (yaml_text(here.stages).encode(), shown("HEAD", t.yaml))
        if t.yaml.read_bytes() not in known:
            lines.append(aside([str(t.yaml)], "in no commit, and written again"))
    t.write_yaml(here.stages)
    return lines


def _records_without_configuration() -> list[str]:
    """A line for each folder below tracked/ whose configuration is renamed or gone.

    DVC refuses two folders that describe the same results, and the folder can be a colleague's, so
    nothing is removed."""
    gone = {r.folder: r.config for r in records() if not os.path.isfile(r.config)}
    return [
        f"{folder}/ is the record of {config}, which is gone; 'git rm -r {folder}' removes it"
        for folder, config in gone.items()
    ]


def _to_share(here: Workspace) -> list[str]:
    """Changed files that belong in the commit with dvc.lock.

    Code, configuration, inputs, records.
    """
    t = here.t
    read = {path for job in here.judge.jobs for path in job.inputs} - here.judge.makers.keys()
    paths = [*PLANS, t.config, str(t.yaml), str(t.lock), *t.kept, *filter(_inside, read)]
    options = ["--porcelain", "-z", "--no-renames", "--untracked-files=all"]
    status = git("status", *options, "--", *paths).decode()
    # an entry is two letters, a space and the path
    return sorted({entry[3:] for entry in status.split("\0") if entry})


def _inside(path: str) -> bool:
    """False for an input that Git cannot hold: a model or photos in another folder."""
    return Path(os.path.abspath(path)).is_relative_to(Path.cwd())


def aside(paths: Iterable[str], why: str) -> str:
    """Move files to results-set-aside/ without overwriting anything there.

    Returns a line about it.
    """
    paths = list(paths)
    for path in paths:
        target, n = ASIDE / path, 0
        while target.exists():
            n += 1
            target = target.with_name(f"{Path(path).name}.{n}")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)  # the results folder can be on another disk
    return f"{some(paths)}: {why}, moved to {ASIDE}/"


def some(paths: list[str]) -> str:
    """The first path, and how many more there are."""
    if len(paths) == 1:
        return paths[0]
    return f"{paths[0]} (and {len(paths) - 1} more)"
