"""Record finished phases in DVC: `coder-clip record`, and after every run by itself."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import filelock

from ..errors import UserError
from ..foundation.artifacts import write_bytes, write_text
from ..pipeline.phase_list import FILE, Phase, phases
from . import dvc, ledger
from .hashes import STATE, Hashes, folder_md5
from .ledger import Made
from .snakemake import Job, Records, plan
from .stages import Tracked, git, in_conflict, is_in, option, renew_yaml, shown, tracked, why_untracked

PLANS = ("Snakefile", "workflow/", "src/")
ASIDE = Path("results-set-aside")
UNKNOWN = "not made by a run that was seen to its end"
OTHER_BYTES = "not the bytes that were made"


@dataclass
class State:
    """One phase as it is here. files: what is proven; problems: file -> why it is not; extra: files no job makes;
    waits: phases before it that are not whole."""

    phase: Phase
    outputs: list[str]
    files: dict[str, Made] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not (self.problems or self.extra or self.waits)

    def why(self, t: Tracked) -> str:
        """Why it is not recorded, and what to type where a run alone does not help."""
        if self.problems:
            said = "; ".join(
                f"{some([p for p, why in self.problems.items() if why == reason])} {reason}"
                for reason in dict.fromkeys(self.problems.values())
            )
            again = [p for p, why in self.problems.items() if why in (UNKNOWN, OTHER_BYTES)][:5]
            command = f"snakemake {' '.join(again)} --configfile {t.config} --force --cores 1"
            return f"{said}; '{command}' makes it again" if again else said
        if self.extra:
            return (
                f"{some(self.extra)} is not made by this configuration; 'coder-clip record{option(t)} --set-aside' "
                f"moves it to {ASIDE}/"
            )
        return f"waits for {', '.join(self.waits)}"


class Here:
    """What the plan wants, what is here, and what is known of it. Changes nothing."""

    def __init__(self, t: Tracked, jobs: list[Job] | None = None) -> None:
        self.t, self.hashes = t, Hashes()
        self.jobs = plan(t.config) if jobs is None else jobs
        self.wanted = {path: job.making for job in self.jobs for path in job.outputs}
        self.recorded: dict[str, dict[str, str]] = {}
        with suppress(UserError):
            self.recorded = t.recorded()
        self.book = ledger.read_ledger()
        for path, made in recorded_files(t, self.hashes).items():
            self.book.setdefault(path, []).append(made)
        self._marked = Records().incomplete(self.wanted)
        self._proofs: dict[str, tuple[Made | None, str]] = {}

    def sha_of(self, path: str) -> str:
        """What a file holds; of one that is not here, what it would hold, if its record speaks of this tree."""
        if os.path.isfile(path):
            return self.hashes.sha256(path)
        made = self.proof(path)[0] if path in self.wanted else None
        return made.sha256 if made else ""

    def proof(self, path: str) -> tuple[Made | None, str]:
        """The statement that proves a file, and what stands against it all the same; or why there is none."""
        if path not in self._proofs:
            self._proofs[path] = self._proof(path)
        return self._proofs[path]

    def _proof(self, path: str) -> tuple[Made | None, str]:
        known, against = self.book.get(path, []), ""
        if not os.path.isfile(path):
            against = "missing"
        elif path in self._marked:
            return None, "half written or being written"
        else:
            here = [made for made in known if made.sha256 == self.hashes.sha256(path)]
            if not here:
                return None, OTHER_BYTES if known else UNKNOWN
            known = here
        wanted, why = self.wanted[path], ""
        sums = {p: self.sha_of(p) for p in wanted.input}
        for made in reversed(known):
            reason = ledger.why_not(made, wanted, sums)
            if not reason:
                return made, against
            why = why or reason
        return None, against or why

    def states(self) -> list[State]:
        """Every phase of the plan, in order."""
        found: list[State] = []
        for phase in phases():
            outputs = sorted(path for path in self.wanted if self.t.phase_of(path) == phase)
            if not outputs:
                continue
            state = State(phase, outputs)
            for path in outputs:
                made, why = self.proof(path)
                if why:
                    state.problems[path] = why
                elif made:
                    state.files[path] = made
            there = (p for out in self.t.outs(phase)[:-1] for p in dvc.files_below(out))
            state.extra = sorted(set(there) - set(outputs))
            read = {p for path in outputs for p in self.wanted[path].input}
            for before in found:
                needed = read.intersection(before.outputs)
                if needed and not (before.whole and all(map(os.path.exists, needed))):
                    state.waits.append(before.phase.name)
            found.append(state)
        return found

    def hashes_of_outs(self, state: State) -> dict[str, str]:
        """What dvc.lock should say of each out of a phase that is whole."""
        found, record = {}, self.t.record(state.phase.name).as_posix()
        for out in self.t.outs(state.phase):
            files = [p for p in (*state.outputs, record) if is_in(p, out) and os.path.isfile(p)]
            sums = {p.removeprefix(f"{out}/"): self.hashes.md5(p) for p in files}
            if files:
                found[out] = sums[out] if files == [out] else folder_md5(sums)
        return found


def recorded_files(t: Tracked, hashes: Hashes) -> dict[str, Made]:
    """What the records say that are here and are those of dvc.lock."""
    found: dict[str, Made] = {}
    with suppress(UserError):
        for phase, outs in t.recorded().items():
            path = t.record(phase)
            with suppress(OSError, UserError):
                if hashes.md5(str(path)) == outs.get(path.as_posix()):
                    found |= ledger.read_record(path)
    return found


@dataclass
class Outcome:
    """refused: phase -> why; ahead: phases of which nothing was ever made or recorded; share: paths for git add."""

    recorded: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    ahead: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    share: list[str] = field(default_factory=list)

    def lines(self, t: Tracked) -> list[str]:
        refused = {name: why for name, why in self.refused.items() if name not in self.ahead}
        found = [*self.notes, *(f"phase {name} is not recorded: {why}" for name, why in refused.items())]
        if self.ahead:
            found.append(f"not made yet, so not recorded: {', '.join(self.ahead)}")
        if self.changed:
            add = f"git add {shlex.join(self.share)} && git commit && " if self.share else ""
            commands = f"{add}coder-clip push{option(t)} && git push"
            found.append(f"recorded in DVC: {', '.join(self.changed)}; to share: {commands}")
        elif self.recorded and not self.refused:
            found.append("everything is recorded in DVC")
        return found


def record(
    config: str | Path, set_aside: bool = False, jobs: list[Job] | None = None
) -> tuple[Tracked, Outcome]:
    """Record every phase that is whole, and no other.

    set_aside: move files that no job makes out of the phases' folders first. jobs: the plan, where it was made just
    now and had nothing to run; then DVC is asked only if something is not recorded.
    Under `dvc repro` (DVC_STAGE) DVC records by itself: then only the record of its stage is written, and an incomplete
    phase is an error, which stops DVC. UserError where nothing can be recorded at all.
    """
    if reason := why_untracked() or ledger.foreign_code():
        raise UserError(f"results are not recorded: {reason} (docs/sharing.md)")
    t, outcome = tracked(config), Outcome()
    with locked():
        _repair(t, outcome)
        asked = _asked(t)
        here = Here(t, jobs)
        if driven := os.environ.get("DVC_STAGE", "").split(":")[-1]:
            _record_stage(here, driven, outcome)
        else:
            _record_all(here, outcome, asked, set_aside, idle=jobs is not None)
        ledger.shrink(here.book)
        here.hashes.save()
    return t, outcome


def _record_all(here: Here, outcome: Outcome, asked: list[bytes], set_aside: bool, idle: bool) -> None:
    t, before = here.t, here.recorded
    renewed = renew_yaml(t, here.jobs)
    if renewed and before:
        outcome.notes.append(f"{t.yaml} follows the configuration and the rules again; commit it, too")
    states = here.states()
    if before.keys() - {
        s.phase.name for s in states
    }:  # a phase that is gone; DVC would keep its entry for ever
        t.write_lock({s.phase.name: t.entries()[s.phase.name] for s in states if s.phase.name in before})
    if set_aside:
        outcome.notes += [aside(s.extra, "not made by this configuration") for s in states if s.extra]
        states = here.states()
    for state in states:
        name = state.phase.name
        if not state.whole:
            outcome.refused[name] = state.why(t)
            if name not in before and not any(map(os.path.exists, state.outputs)):
                outcome.ahead.append(name)
    whole = [s for s in states if s.whole]
    for state in whole:
        ledger.write_record(t.record(state.phase.name), state.files)
    outs = {s.phase.name: here.hashes_of_outs(s) for s in whole}
    if not whole or (idle and not renewed and all(before.get(name) == of for name, of in outs.items())):
        return
    _commit(here, whole, outs, asked)
    outcome.recorded = list(outs)
    outcome.changed = [name for name, of in outs.items() if before.get(name) != of]
    outcome.share = _to_share(here)
    remember(t)


def _record_stage(here: Here, name: str, outcome: Outcome) -> None:
    """For `dvc repro`, which calls it after a stage's jobs."""
    state = next((s for s in here.states() if s.phase.name == name), None)
    if state and state.extra:
        outcome.notes.append(aside(state.extra, "not made by this configuration"))
        state.extra = []
    if state is None or state.problems:
        raise UserError(f"phase {name} is not complete: {state.why(here.t) if state else 'it has no jobs'}")
    ledger.write_record(here.t.record(name), state.files)
    if here.recorded.get(name) == here.hashes_of_outs(state):
        outcome.notes.append(
            f"phase {name} is what it was; 'snakemake {state.phase.target} --forceall --configfile {here.t.config} "
            "--cores 1' makes it again all the same"
        )


def _repair(t: Tracked, outcome: Outcome) -> None:
    """Where a write of dvc.lock was cut short, bring back the last commit's. UserError for one in conflict."""
    if in_conflict(t.lock):
        t.entries()  # says so
    with suppress(UserError):
        t.entries()
        return
    if (committed := shown("HEAD", t.lock)) is None:
        t.lock.unlink()
    else:
        write_bytes(t.lock, committed)
    outcome.notes.append(f"{t.lock} was damaged (a write was cut short): the committed one was restored")
    t.entries()


def _asked(t: Tracked) -> list[bytes]:
    """What the plan is made from and DVC reads again."""
    return [Path(t.config).read_bytes(), FILE.read_bytes()]


def _commit(here: Here, whole: list[State], outs: dict[str, dict[str, str]], asked: list[bytes]) -> None:
    """Let DVC commit these phases; dvc.lock is as before where it could not, or said so and did not.

    DVC hashes sources and parameters anew: edited since, they would stand beside results of what they held before.
    """
    t = here.t
    before = t.lock.read_bytes() if t.lock.is_file() else None
    try:
        dvc.commit(t.address(name) for name in outs)
        store = dvc.Store(here.hashes)
        if bad := store.repair(
            {out: oid for of in outs.values() for out, oid in of.items() if out not in t.kept}
        ):
            raise UserError(f"DVC did not record ({some(bad)} is not in its cache). {dvc.AGAIN}")
        after = t.recorded()
        swapped = [f"files of {name}" for name, of in outs.items() if after.get(name) != of]
        inputs = {item for s in whole for made in s.files.values() for item in made.making.inputs.items()}
        swapped += [p for p, sha in sorted(inputs) if os.path.isfile(p) and here.hashes.sha256(p) != sha][:1]
        swapped += [t.config] if _asked(t) != asked else []
        if swapped:
            raise UserError(
                f"{', '.join(swapped)} changed while results were recorded, so nothing was; "
                "'coder-clip record' tries again"
            )
    except UserError:
        if before is None:
            t.lock.unlink(missing_ok=True)
        else:
            write_bytes(t.lock, before)
        raise
    for state in whole:
        where = {tuple(made.environment.items()) for made in state.files.values() if made.environment}
        md5 = t.record_in(outs[state.phase.name], state.phase.name)
        store.write_note(md5, [dict(environment) for environment in sorted(where)])


def _to_share(here: Here) -> list[str]:
    """What has to go into a commit with the record: all that it was made from, and what plans it, that Git has not
    yet."""
    t = here.t
    read = {p for making in here.wanted.values() for p in making.input} - here.wanted.keys()
    own = [t.config, t.yaml.as_posix(), t.lock.as_posix(), *t.kept]
    edited = git("ls-files", "-z", "--modified", "--others", "--exclude-standard")
    staged = git("diff", "-z", "--cached", "--name-only", "--relative")
    changed = {*(edited + staged).decode().split("\0")} - {""}
    return sorted(p for p in changed if p in read or p.startswith(PLANS) or any(is_in(p, o) for o in own))


def aside(paths: Iterable[str], why: str) -> str:
    """Move files away, never over what was moved before; a line about it."""
    paths = list(paths)
    for path in paths:
        target, n = ASIDE / path, 0
        while target.exists():
            n += 1
            target = target.with_name(f"{Path(path).name}.{n}")
        target.parent.mkdir(parents=True, exist_ok=True)
        Path(path).rename(target)
    return f"{some(paths)}: {why}, moved to {ASIDE}/"


def some(paths: list[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} (and {len(paths) - 1} more)"


@contextmanager
def locked(wait: float = 600) -> Iterator[None]:
    """One record, adopt, pull or merge at a time. The kernel frees the lock of a process that is killed."""
    STATE.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(STATE / "lock", timeout=wait):
            yield
    except filelock.Timeout:
        raise UserError(
            f"another coder-clip has been recording here for {wait:.0f} s; try 'coder-clip record' later"
        ) from None


def remember(t: Tracked) -> None:
    """Note that what is recorded and the files here belong together."""
    write_text(_seen(t), _digest(t))


def moved(t: Tracked) -> bool:
    """Whether what is recorded has changed by another hand since: a clone, `git pull`, `git checkout`."""
    try:
        return _seen(t).read_text(encoding="utf-8") != _digest(t)
    except OSError:
        return True


def _seen(t: Tracked) -> Path:
    return STATE / f"seen-{Path(t.config).stem}"


def _digest(t: Tracked) -> str:
    return hashlib.sha256(t.lock.read_bytes() if t.lock.is_file() else b"").hexdigest()
