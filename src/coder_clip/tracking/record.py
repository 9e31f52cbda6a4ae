"""Record finished phases in DVC: `coder-clip record`, and automatically after every run."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
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
from .ledger import Statement
from .snakemake import Job, Records, plan
from .stages import Tracked, git, in_conflict, is_in, option, renew_yaml, shown, tracked, why_untracked

PLANS = ("Snakefile", "workflow/", "src/")
ASIDE = Path("results-set-aside")
UNKNOWN = "not made by a run that was seen to its end"
OTHER_BYTES = "not the bytes that were made"


@dataclass
class State:
    """One phase in this working tree.

    files: outputs with a matching statement. problems: output -> why it has none. extra: files that no job makes.
    waits: earlier phases that are not whole.
    """

    phase: Phase
    outputs: list[str]
    files: dict[str, Statement] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not (self.problems or self.extra or self.waits)

    def why(self, t: Tracked) -> str:
        """Why it is not recorded, and the command to type if a run alone does not help."""
        if self.problems:
            said = "; ".join(
                f"{some([p for p, why in self.problems.items() if why == reason])} {reason}"
                for reason in dict.fromkeys(self.problems.values())
            )
            again = [p for p, why in self.problems.items() if why in (UNKNOWN, OTHER_BYTES)][:5]
            command = shlex.join(["snakemake", *again, "--configfile", t.config, "--force", "--cores", "1"])
            return f"{said}; '{command}' makes it again" if again else said
        if self.extra:
            return (
                f"{some(self.extra)} is not made by this configuration; 'coder-clip record{option(t)} --set-aside' "
                f"moves it to {ASIDE}/"
            )
        return f"waits for {', '.join(self.waits)}"


class Workspace:
    """The plan, the files of the working tree, and the statements about them. Changes nothing."""

    def __init__(self, t: Tracked, jobs: list[Job] | None = None) -> None:
        self.t, self.hashes = t, Hashes()
        self.jobs = plan(t.config) if jobs is None else jobs
        self.wanted = {path: job.recipe for job in self.jobs for path in job.outputs}
        self.recorded: dict[str, dict[str, str]] = {}
        with suppress(UserError):
            self.recorded = t.recorded()
        self.book = ledger.read_ledger()
        for path, made in recorded_files(t, self.hashes).items():
            self.book.setdefault(path, []).append(made)
        self._marked = Records().incomplete(self.wanted)
        self._proofs: dict[str, tuple[Statement | None, str]] = {}

    def sha_of(self, path: str) -> str:
        """sha256 of a file; of a missing one that of its statement, if that matches the plan; else ""."""
        if os.path.isfile(path):
            return self.hashes.sha256(path)
        made = self.proof(path)[0] if path in self.wanted else None
        return made.sha256 if made else ""

    def proof(self, path: str) -> tuple[Statement | None, str]:
        """The statement that matches a file and the plan, and a problem ("" if none).

        A missing file can have both: its statement says what it would hold.
        """
        if path not in self._proofs:
            self._proofs[path] = self._proof(path)
        return self._proofs[path]

    def _proof(self, path: str) -> tuple[Statement | None, str]:
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
        """All phases of the plan, in order."""
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
        """The hash that dvc.lock should have of each out of a whole phase."""
        found, record = {}, self.t.record(state.phase.name).as_posix()
        for out in self.t.outs(state.phase):
            files = [p for p in (*state.outputs, record) if is_in(p, out) and os.path.isfile(p)]
            sums = {p.removeprefix(f"{out}/"): self.hashes.md5(p) for p in files}
            if files:
                found[out] = sums[out] if files == [out] else folder_md5(sums)
        return found


def recorded_files(t: Tracked, hashes: Hashes) -> dict[str, Statement]:
    """Statements of the records that are here and have the hashes of dvc.lock."""
    found: dict[str, Statement] = {}
    with suppress(UserError):
        for phase, outs in t.recorded().items():
            path = t.record(phase)
            with suppress(OSError, UserError):
                if hashes.md5(str(path)) == outs.get(path.as_posix()):
                    found |= ledger.read_record(path)
    return found


@dataclass
class Outcome:
    """The outcome of a record.

    refused: phase -> why; ahead: refused phases that were never made nor recorded; share: paths for git add.
    """

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
    """Record every whole phase, and no other. UserError if nothing can be recorded at all.

    set_aside: first move files that no job makes out of the phases' folders. jobs: the plan of a run that had nothing
    to do; then DVC is called only if something is not recorded yet.
    Under `dvc repro` (DVC_STAGE) DVC itself commits: only the record of its stage is written, and an incomplete phase
    is an error, which stops DVC.
    """
    if reason := why_untracked() or ledger.foreign_code():
        raise UserError(f"results are not recorded: {reason} (docs/sharing.md)")
    t, outcome = tracked(config), Outcome()
    with locked():
        _repair(t, outcome)
        asked = _asked(t)
        here = Workspace(t, jobs)
        if driven := os.environ.get("DVC_STAGE", "").split(":")[-1]:
            _record_stage(here, driven, outcome)
        else:
            _record_all(here, outcome, asked, set_aside, idle=jobs is not None)
        ledger.shrink(here.book)
        here.hashes.save()
    return t, outcome


def _record_all(here: Workspace, outcome: Outcome, asked: list[bytes], set_aside: bool, idle: bool) -> None:
    t, before = here.t, here.recorded
    renewed = renew_yaml(t, here.jobs)
    if renewed and before:
        outcome.notes.append(renewed)
    states = here.states()
    if before.keys() - {s.phase.name for s in states}:  # DVC keeps entries of phases that are gone
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


def _record_stage(here: Workspace, name: str, outcome: Outcome) -> None:
    """Write the record of one stage. `dvc repro` calls this after the stage's jobs."""
    state = next((s for s in here.states() if s.phase.name == name), None)
    if state and state.extra:
        outcome.notes.append(aside(state.extra, "not made by this configuration"))
        state.extra = []
    if state is None or state.problems:
        raise UserError(f"phase {name} is not complete: {state.why(here.t) if state else 'it has no jobs'}")
    ledger.write_record(here.t.record(name), state.files)
    if here.recorded.get(name) == here.hashes_of_outs(state):
        outcome.notes.append(
            f"phase {name} has not changed; to make it again: 'snakemake {state.phase.target} --forceall "
            f"--configfile {here.t.config} --cores 1'"
        )


def _repair(t: Tracked, outcome: Outcome) -> None:
    """Restore the committed dvc.lock if a write was cut short. UserError if it is in conflict."""
    if in_conflict(t.lock):
        t.entries()  # raises
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
    """Files that the plan was made from and that DVC reads again."""
    return [Path(t.config).read_bytes(), FILE.read_bytes()]


def _commit(here: Workspace, whole: list[State], outs: dict[str, dict[str, str]], asked: list[bytes]) -> None:
    """Let DVC commit these phases, and check the result; if it is not right, dvc.lock is restored.

    DVC hashes sources and parameters again. If they were edited since, they do not belong to these results.
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
        inputs = {item for s in whole for made in s.files.values() for item in made.recipe.inputs.items()}
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


def _to_share(here: Workspace) -> list[str]:
    """Changed files that belong in the commit with dvc.lock: sources, workflow, configuration, records."""
    t = here.t
    read = {p for recipe in here.wanted.values() for p in recipe.input} - here.wanted.keys()
    own = [t.config, t.yaml.as_posix(), t.lock.as_posix(), *t.kept]
    edited = git("ls-files", "-z", "--modified", "--others", "--exclude-standard")
    staged = git("diff", "-z", "--cached", "--name-only", "--relative")
    changed = {*(edited + staged).decode().split("\0")} - {""}
    return sorted(p for p in changed if p in read or p.startswith(PLANS) or any(is_in(p, o) for o in own))


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


@contextmanager
def locked(wait: float = 600, alone: bool = False) -> Iterator[None]:
    """Allow one record, adopt, pull, push or merge at a time. The lock of a killed process is freed.

    alone: UserError while a run makes files here.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(STATE / "lock", timeout=wait):
            if alone and ledger.running():
                raise UserError("a run makes results here; try again when it has ended")
            yield
    except filelock.Timeout:
        raise UserError(
            f"another coder-clip has been recording here for {wait:.0f} s; try 'coder-clip record' later"
        ) from None


def remember(t: Tracked) -> None:
    """Note that the results in this folder are those of the current dvc.lock."""
    write_text(_seen(t), _digest(t))


def moved(t: Tracked) -> bool:
    """True if dvc.lock has changed since, by a clone, `git pull` or `git checkout`."""
    try:
        return _seen(t).read_text(encoding="utf-8") != _digest(t)
    except OSError:
        return True


def _seen(t: Tracked) -> Path:
    return STATE / f"seen-{Path(t.config).stem}"


def _digest(t: Tracked) -> str:
    return hashlib.sha256(t.lock.read_bytes() if t.lock.is_file() else b"").hexdigest()
