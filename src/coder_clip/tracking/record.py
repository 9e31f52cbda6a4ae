"""Record finished phases in DVC: `coder-clip record`, and automatically after every run."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ..foundation import dvc
from ..foundation.artifacts import write_bytes
from ..foundation.dvc import files_below, folder_md5
from ..foundation.git import git, shown
from ..foundation.hashes import Hashes
from ..foundation.locks import locked
from ..pipeline.environment import foreign_code
from ..pipeline.phase_list import Phase, phases
from .certificates import Job, plan
from .judge import MISSING, Judge
from .stages import DamagedLock, Tracked, configurations, is_in, option, tracked

ASIDE = Path("results-set-aside")
PLANS = ("Snakefile", "workflow", "src")


@dataclass
class State:
    """One phase in this working tree.

    problems: output -> why its job must run. extra: files that no job makes. waits: earlier phases that are not whole.
    """

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
        """Why it is not recorded."""
        if self.problems:
            return "; ".join(
                f"{some([p for p, why in self.problems.items() if why == reason])} {reason}"
                for reason in dict.fromkeys(self.problems.values())
            )
        if self.extra:
            return (
                f"{some(self.extra)} is not made by this configuration; 'coder-clip record{option(t)} --set-aside' "
                f"moves it to {ASIDE}/"
            )
        return f"waits for {', '.join(self.waits)}"


class Workspace:
    """A configuration's plan, its files, and the judge about them. Changes nothing."""

    def __init__(self, t: Tracked) -> None:
        self.t, self.hashes = t, Hashes()
        self.config_md5 = self.hashes.md5(t.config)
        self.judge = Judge(t.root, plan(t.config), self.hashes)
        self.recorded: dict[str, dict[str, str]] = {}
        with suppress(UserError):
            self.recorded = t.recorded()

    def states(self) -> list[State]:
        """All phases of the plan, in order."""
        found: list[State] = []
        for phase in phases():
            jobs = [job for job in self.judge.jobs if job.phase == phase.name]
            if not jobs:
                continue
            state = State(phase, jobs)
            for job in jobs:
                if why := self.judge.why_not(job):
                    for path in job.outputs:
                        if why != MISSING or not os.path.isfile(path):
                            state.problems[path] = why
            state.extra = sorted(set(self._files(phase)).difference(state.outputs))
            read = {path for job in jobs for path in job.inputs}
            state.waits = [b.phase.name for b in found if not b.whole and read.intersection(b.outputs)]
            found.append(state)
        return found

    def _files(self, phase: Phase) -> Iterator[str]:
        for out in self.t.outs(phase)[:-1]:
            yield from files_below(out)

    def remove_old_certificates(self, state: State) -> None:
        """Remove certificates of jobs that this configuration has no more."""
        certificates = self.t.outs(state.phase)[-1]
        own = {job.certificate(self.t.root).as_posix() for job in state.jobs}
        for path in set(files_below(certificates)) - own:
            Path(path).unlink()

    def hashes_of_outs(self, state: State) -> dict[str, str]:
        """The hash that dvc.lock should have of each out of a whole phase."""
        found = {}
        made = [*state.outputs, *(job.certificate(self.t.root).as_posix() for job in state.jobs)]
        for out in self.t.outs(state.phase):
            files = [p for p in made if is_in(p, out)]
            sums = {p.removeprefix(f"{out}/"): self.hashes.md5(p) for p in files}
            if files:
                found[out] = sums[out] if files == [out] else folder_md5(sums)
        return found


@dataclass
class Outcome:
    """What was recorded. refused: phase -> why. changed: recorded phases whose hashes differ from before."""

    lines: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def record(config: str | Path, set_aside: bool = False) -> Outcome:
    """Record every whole phase, and no other. UserError if nothing can be recorded at all.

    set_aside: first move files that no job makes out of the phases' folders. Under `dvc repro` (DVC_STAGE) DVC itself
    commits: an incomplete phase is an error, which stops DVC.
    """
    if reason := (dvc.unavailable() or foreign_code()):
        raise UserError(f"results are not recorded: {reason} (docs/sharing.md)")
    t, outcome = tracked(config), Outcome()
    with locked():
        _repair(t, outcome)
        here = Workspace(t)
        states = here.states()
        if set_aside:
            outcome.lines += [aside(s.extra, "not made by this configuration") for s in states if s.extra]
            states = here.states()
        if driven := os.environ.get("DVC_STAGE", "").split(":")[-1]:
            _check_stage(here, driven, states)
        else:
            _record_all(here, states, outcome)
        here.hashes.save()
    return outcome


def _record_all(here: Workspace, states: list[State], outcome: Outcome) -> None:
    t, before, never = here.t, here.recorded, list[str]()
    _forget_renamed(outcome)
    t.write_yaml(here.judge.jobs)
    t.checked({})
    if gone := before.keys() - {s.phase.name for s in states}:  # DVC keeps entries of phases without jobs
        t.write_lock({name: entry for name, entry in t.entries().items() if name not in gone})
    for state in (s for s in states if not s.whole):
        name = state.phase.name
        outcome.refused[name] = state.why(t)
        if name not in before and not any(map(os.path.exists, state.outputs)):
            never.append(name)
    whole = {s.phase.name: s for s in states if s.whole}
    for state in whole.values():
        here.remove_old_certificates(state)
    outs = {name: here.hashes_of_outs(state) for name, state in whole.items()}
    for name in whole.keys() - t.stages():
        outcome.refused[name] = f"dvc.yaml has no stage '{name}'; add it"
        del outs[name]
    if outs:
        _commit(here, outs)
    outcome.changed = [name for name, of in outs.items() if before.get(name) != of]
    outcome.lines += [
        f"phase {n} is not recorded: {why}" for n, why in outcome.refused.items() if n not in never
    ]
    if len(never) == len(states):
        outcome.lines.append("no results yet, so there is nothing to record")
    elif never:
        outcome.lines.append(f"not made yet, so not recorded: {', '.join(never)}")
    if outcome.changed:
        add = f"git add {shlex.join(share)} && git commit && " if (share := _to_share(here)) else ""
        commands = f"{add}coder-clip push{option(t)} && git push"
        outcome.lines.append(f"recorded in DVC: {', '.join(outcome.changed)}; to share: {commands}")
    elif outs and not outcome.refused:
        outcome.lines.append("everything is recorded in DVC")


def _check_stage(here: Workspace, name: str, states: list[State]) -> None:
    """UserError if the stage that `dvc repro` runs is not complete."""
    state = next((s for s in states if s.phase.name == name), None)
    if state is None or state.problems or state.extra:
        raise UserError(f"phase {name} is not complete: {state.why(here.t) if state else 'it has no jobs'}")
    here.remove_old_certificates(state)


def _repair(t: Tracked, outcome: Outcome) -> None:
    """Restore the committed dvc.lock if a write was cut short. UserError if it is in conflict, or names other files."""
    try:
        t.entries()
    except DamagedLock:
        if (committed := shown("HEAD", t.lock)) is None:
            t.lock.unlink()
        else:
            write_bytes(t.lock, committed)
        outcome.lines.append(f"{t.lock} was damaged (a write was cut short): the committed one was restored")
        t.entries()


def _forget_renamed(outcome: Outcome) -> None:
    """Remove the folders below tracked/ of configurations that are renamed or gone; Git has them."""
    for folder, config in configurations().items():
        files = [str(p) for p in folder.iterdir()]
        if Path(config).is_file() or git("status", "--porcelain", "--", *files).strip():
            continue
        shutil.rmtree(folder)
        outcome.lines.append(
            f"removed {folder}/, the record of {config}, which is gone ('git checkout {folder}')"
        )


def _commit(here: Workspace, outs: dict[str, dict[str, str]]) -> None:
    """Let DVC commit these phases, and check the result; if it is not right, dvc.lock is restored."""
    t = here.t
    before = t.lock.read_bytes() if t.lock.is_file() else None
    try:
        dvc.commit(t.address(name) for name in outs)
        if _other_config(here, outs) and here.hashes.md5(t.config) == here.config_md5:
            # it is as it was; DVC takes a file for unchanged while time and size stay
            os.utime(t.config)
            dvc.commit(t.address(name) for name in outs)
        objects = {out: oid for of in outs.values() for out, oid in of.items() if out not in t.kept}
        if bad := dvc.Store(here.hashes).repair(objects):
            raise UserError(f"DVC did not record ({some(bad)} is not in its cache). {dvc.AGAIN}")
        recorded = t.recorded()
        changed = [f"files of {name}" for name, of in outs.items() if recorded.get(name) != of]
        if changed or _other_config(here, outs):
            changed.append(t.config)
            raise UserError(
                f"{changed[0]} changed while results were recorded, so nothing was; "
                "'coder-clip record' tries again"
            )
    except UserError:
        if before is None:
            t.lock.unlink(missing_ok=True)
        else:
            write_bytes(t.lock, before)
        raise


def _other_config(here: Workspace, names: Iterable[str]) -> bool:
    """True if DVC recorded a configuration with other bytes than the plan was made from."""
    entries = here.t.entries()
    deps = [dep for name in names for dep in entries.get(name, {}).get("deps", ())]
    return any(dep["path"] == here.t.config and dep["md5"] != here.config_md5 for dep in deps)


def _to_share(here: Workspace) -> list[str]:
    """Changed files that belong in the commit with dvc.lock: code, configuration, inputs, records."""
    t = here.t
    read = {path for job in here.judge.jobs for path in job.inputs} - here.judge.makers.keys()
    own = [*PLANS, t.config, str(t.yaml), str(t.lock), *t.kept, *filter(_inside, read)]
    said = git("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *own).decode()
    return sorted({entry[3:] for entry in said.split("\0") if entry})


def _inside(path: str) -> bool:
    """False for an input that Git cannot hold: a model or photos in another folder."""
    return Path(os.path.abspath(path)).is_relative_to(Path.cwd())


def aside(paths: Iterable[str], why: str) -> str:
    """Move files to results-set-aside/ without overwriting anything there; returns a line about it."""
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
    return paths[0] if len(paths) == 1 else f"{paths[0]} (and {len(paths) - 1} more)"
