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
from .ledger import Book, Made
from .snakemake import Job, Records, plan
from .stages import Tracked, git, in_conflict, is_in, option, renew_yaml, shown, tracked, why_untracked

PLANS = ("Snakefile", "workflow/", "src/")
ASIDE = Path("results-set-aside")
UNKNOWN = "not made by a run that was seen to its end"


@dataclass
class State:
    """One phase as it is here. files: what is proven; problems: file -> why it is not; extra: files no job makes."""

    phase: Phase
    outputs: list[str]
    files: dict[str, Made] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)  # phases before it that are not whole

    @property
    def whole(self) -> bool:
        return bool(self.outputs) and not (self.problems or self.extra or self.waits)


class Here:
    """What the plan wants, what is here, and what is known of it. Changes nothing."""

    def __init__(self, t: Tracked, jobs: list[Job] | None = None, hashes: Hashes | None = None) -> None:
        self.t, self.hashes = t, hashes or Hashes()
        self.jobs = plan(t.config) if jobs is None else jobs
        self.wanted = ledger.wanted_by_path(self.jobs)
        self.local, self.book = ledger.read_ledger(), Book()
        self.recorded: dict[str, dict[str, str]] = {}
        with suppress(UserError):
            self.recorded = t.recorded()
        for path, makings in (
            *self.local.items(),
            *((p, [m]) for p, m in recorded_files(t, self.hashes).items()),
        ):
            self.book.setdefault(path, []).extend(makings)
        self._marked = Records().incomplete(self.wanted)
        self._proofs: dict[str, tuple[Made | None, str]] = {}

    def sha_of(self, path: str) -> str:
        """What a file holds; of one that is not here, what it would hold, if its record speaks of this tree."""
        if os.path.isfile(path):
            return self.hashes.sha256(path)
        made = self.proof(path)[0] if path in self.wanted else None
        return made.sha256 if made else ""

    def states(self) -> list[State]:
        """Every phase of the plan, in order."""
        found: list[State] = []
        for phase in phases():
            outs = self.t.outs(phase)
            outputs = sorted(path for path in self.wanted if any(is_in(path, out) for out in outs))
            if not outputs:
                continue
            state = State(phase, outputs)
            for path in outputs:
                proof, why = self.proof(path)
                if why:
                    state.problems[path] = why
                elif proof:
                    state.files[path] = proof
            below = [p for out in outs[:-1] for p in dvc.files_below(out)]
            state.extra = sorted(set(below) - set(outputs))
            read = {p for path in outputs for p in self.wanted[path].input}
            before = [s for s in found if not read.isdisjoint(s.outputs)]
            absent = {s.phase.name for s in before for p in s.outputs if p in read and not os.path.exists(p)}
            state.waits = [s.phase.name for s in before if not s.whole or s.phase.name in absent]
            found.append(state)
        return found

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
            sha = self.hashes.sha256(path)
            if not (of_these_bytes := [made for made in known if made.sha256 == sha]):
                return None, "not the bytes that were made" if known else UNKNOWN
            known = of_these_bytes
        wanted, why = self.wanted[path], ""
        sums = {p: self.sha_of(p) for p in wanted.input}
        for made in reversed(known):
            reason = ledger.why_not(made, wanted, sums)
            if not reason:
                return made, against
            why = why or reason
        return None, against or why


def recorded_files(t: Tracked, hashes: Hashes) -> dict[str, Made]:
    """What the records say that are here and are those of dvc.lock."""
    import json

    found: dict[str, Made] = {}
    try:
        locked_now = t.recorded()
    except UserError:
        return {}
    for phase, outs in locked_now.items():
        path = t.record(phase)
        with suppress(OSError, ValueError, UserError):
            if hashes.md5(str(path)) == outs.get(path.as_posix()):
                found |= ledger.load(json.loads(path.read_text(encoding="utf-8")))
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
        found = list(self.notes)
        found += [
            f"phase {n} is not recorded: {why}" for n, why in self.refused.items() if n not in self.ahead
        ]
        if self.ahead:
            found.append(f"not made yet, so not recorded: {', '.join(self.ahead)}")
        if self.changed:
            add = f"git add {shlex.join(self.share)} && git commit && " if self.share else ""
            commands = f"{add}coder-clip push{option(t)} && git push"
            found.append(f"recorded in DVC: {', '.join(self.changed)}; to share: {commands}")
        elif self.recorded and not self.refused:
            found.append("everything is recorded in DVC")
        return found


def record(config: str | Path, set_aside: bool = False) -> tuple[Tracked, Outcome]:
    """Record every phase that is whole, and no other.

    set_aside: move files that no job makes out of the phases' folders first.
    Under `dvc repro` (DVC_STAGE) DVC records by itself: then only the record of its stage is written, and an incomplete
    phase is an error, which stops DVC. UserError where nothing can be recorded at all.
    """
    if reason := why_untracked():
        raise UserError(f"results are not recorded: {reason} (docs/sharing.md)")
    if code := ledger.foreign_code():
        raise UserError(
            f"results are not recorded: coder_clip runs from {code} and not from ./src; 'make install' here, and use "
            ".venv/bin (or 'source .venv/bin/activate')"
        )
    t = tracked(config)
    driven = os.environ.get("DVC_STAGE", "").split(":")[-1]
    with locked():
        outcome = Outcome()
        if in_conflict(t.lock):
            t.recorded()  # says so
        entries = _repaired(t, outcome)
        asked = _asked(t)
        here = Here(t)
        if not driven and renew_yaml(t, here.jobs) and entries:
            outcome.notes.append(f"{t.yaml} follows the configuration and the rules again; commit it, too")
        states = here.states()
        if driven or set_aside:
            for state in states:
                if state.extra and (set_aside or state.phase.name == driven):
                    outcome.notes.append(aside(state.extra, "not made by this configuration"))
            states = here.states()
        before = {name: dict(outs) for name, outs in here.recorded.items()}
        for state in states:
            if state.whole or (driven and not state.problems and state.phase.name == driven):
                continue
            outcome.refused[state.phase.name] = _why(state, t)
            if state.phase.name not in before and not any(map(os.path.exists, state.outputs)):
                outcome.ahead.append(state.phase.name)
        whole = [s for s in states if s.phase.name not in outcome.refused]
        if driven:
            if driven in outcome.refused:
                raise UserError(f"phase {driven} is not complete: {outcome.refused[driven]}")
            whole, outcome.refused, outcome.ahead = [s for s in whole if s.phase.name == driven], {}, []
            if before.get(driven) == hashes_of_outs(t, whole[0], here.hashes):
                target = whole[0].phase.target
                outcome.notes.append(
                    f"phase {driven} is what it was; 'snakemake {target} --forceall --configfile {t.config} --cores 1' "
                    "makes it again all the same"
                )
        for state in whole:
            ledger.write_record(t.record(state.phase.name), state.files)
        if whole and not driven:
            _commit(t, whole, here.hashes, asked)
            after = t.recorded()
            outcome.recorded = [s.phase.name for s in whole]
            outcome.changed = [n for n in outcome.recorded if before.get(n) != after[n]]
            outcome.share = _to_share(t, here)
            remember(t)
        ledger.shrink(here.local)
        here.hashes.save()
    return t, outcome


def _repaired(t: Tracked, outcome: Outcome) -> dict[str, object]:
    """The entries of dvc.lock; those of the last commit where a write was cut short."""
    try:
        return t.entries()
    except UserError:
        committed = shown("HEAD", t.lock)
        if committed is None:
            t.lock.unlink()
        else:
            write_bytes(t.lock, committed)
        outcome.notes.append(f"{t.lock} was damaged (a write was cut short): the committed one was restored")
        return t.entries()


def _why(state: State, t: Tracked) -> str:
    if state.problems:
        reasons: dict[str, list[str]] = {}
        for path, why in state.problems.items():
            reasons.setdefault(why, []).append(path)
        said = "; ".join(f"{some(paths)} {why}" for why, paths in reasons.items())
        remake = [
            p for p, why in state.problems.items() if why == UNKNOWN or why.startswith("not the bytes")
        ][:5]
        again = f"; 'snakemake {' '.join(remake)} --configfile {t.config} --force --cores 1' makes it again"
        return said + (again if remake else "")
    if state.extra:
        return (
            f"{some(state.extra)} is not made by this configuration; 'coder-clip record{option(t)} --set-aside' moves "
            f"it to {ASIDE}/"
        )
    return f"waits for {', '.join(state.waits)}"


def _asked(t: Tracked) -> list[bytes]:
    """What the plan is made from and DVC reads again."""
    return [Path(t.config).read_bytes(), FILE.read_bytes()]


def _edited(whole: list[State], hashes: Hashes) -> str:
    """An input that does not hold any more what the statements say; "" where all do."""
    inputs = {item for s in whole for m in s.files.values() for item in m.making.inputs.items()}
    return next((p for p, sha in sorted(inputs) if os.path.isfile(p) and hashes.sha256(p) != sha), "")


def _commit(t: Tracked, whole: list[State], hashes: Hashes, asked: list[bytes]) -> None:
    """Let DVC commit these phases; dvc.lock is as before where it could not, or said so and did not.

    DVC hashes sources and parameters anew: edited since, they would stand beside results of what they held before.
    """
    before = t.lock.read_bytes() if t.lock.is_file() else None
    outs = {s.phase.name: hashes_of_outs(t, s, hashes) for s in whole}
    cached = {
        out: oid for s in whole for out, oid in outs[s.phase.name].items() if out not in t.keeps(s.phase)
    }
    addresses = [t.address(s.phase.name) for s in whole]
    try:
        dvc.commit(addresses)
        store = dvc.Store(hashes)
        if bad := store.repair(cached):
            raise UserError(
                f"DVC did not record ({some(bad)} is not in its cache). Nothing is lost: "
                "'coder-clip record' tries again"
            )
        after = t.recorded()
        swapped = [f"files of {name}" for name, of in outs.items() if after.get(name) != of]
        swapped += [edited] if (edited := _edited(whole, hashes)) else []
        swapped += [t.config] if _asked(t) != asked else []
        if swapped:
            raise UserError(
                f"{', '.join(swapped)} changed while results were recorded, so nothing was; "
                "'coder-clip record' tries again"
            )
        for s in whole:
            where = [dict(e) for e in sorted({tuple(m.environment.items()) for m in s.files.values()}) if e]
            if where:
                store.write_note(outs[s.phase.name][t.record(s.phase.name).as_posix()], where)
    except UserError:
        if before is None:
            t.lock.unlink(missing_ok=True)
        else:
            write_bytes(t.lock, before)
        raise


def hashes_of_outs(t: Tracked, state: State, hashes: Hashes) -> dict[str, str]:
    """What dvc.lock should say of each out."""
    found = {}
    for out in t.outs(state.phase):
        below = [p for p in [*state.outputs, t.record(state.phase.name).as_posix()] if is_in(p, out)]
        if below:
            one = below == [out]
            found[out] = (
                hashes.md5(out)
                if one
                else folder_md5({p.removeprefix(out + "/"): hashes.md5(p) for p in below})
            )
    return found


def _to_share(t: Tracked, here: Here) -> list[str]:
    """What has to go into a commit with the record: all that it was made from, and what plans it, that Git has not
    yet."""
    read = {p for making in here.wanted.values() for p in making.input} - here.wanted.keys()
    mine = [
        t.config,
        t.yaml.as_posix(),
        t.lock.as_posix(),
        *(p for phase in phases() for p in t.keeps(phase)),
    ]
    edited = git("ls-files", "-z", "--modified", "--others", "--exclude-standard")
    changed = {
        *(edited + git("diff", "-z", "--cached", "--name-only", "--relative")).decode().split("\0")
    } - {""}
    return sorted(
        p for p in changed if p in read or p.startswith(PLANS) or any(is_in(p, own) for own in mine)
    )


def aside(paths: Iterable[str], why: str) -> str:
    paths = list(paths)
    for path in paths:
        target = ASIDE / path
        target.parent.mkdir(parents=True, exist_ok=True)
        n = 1
        while target.exists():  # never over what was set aside before
            target = target.with_name(f"{Path(path).name}.{n}")
            n += 1
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
