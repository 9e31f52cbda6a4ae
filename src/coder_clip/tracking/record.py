"""Record finished phases in DVC: `coder-clip record`, and after every run by itself."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..artifacts import write_bytes, write_text
from ..errors import UserError
from . import dvc, provenance
from .gate import Checked, check, describe, plan
from .hashes import STATE, Hashes
from .records import Records
from .stages import DVC_LOCK, keep_lock, mend_lock, read_lock, read_stages, renewed, why_untracked

ASIDE = Path("results-set-aside")


@dataclass
class Outcome:
    """recorded: phases. refused: phase -> why not; ahead: those of them of which nothing was ever made or recorded.
    notes: what else a person should know."""

    recorded: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    ahead: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def record(config: str | Path, snakefile: str | Path = "Snakefile", set_aside: bool = False) -> Outcome:
    """Record every phase that is whole, and no other.

    set_aside: move files that no rule makes out of the phases' folders first.
    Under `dvc repro` (DVC_STAGE) DVC records by itself: then only the provenance of its stage is written, and
    an incomplete phase is an error, which stops DVC.
    UserError where nothing can be recorded at all.
    """
    reason = why_untracked(config)
    if reason:
        raise UserError(f"results are not recorded: {reason} (docs/sharing.md)")
    driven = os.environ.get("DVC_STAGE")
    with locked():
        return (
            _under_dvc(config, snakefile, driven.split(":")[-1])
            if driven
            else _record(config, snakefile, set_aside)
        )


def _record(config: str | Path, snakefile: str | Path, set_aside: bool) -> Outcome:
    outcome = Outcome()
    if mended := mend_lock():
        outcome.notes.append(mended)
    keep_lock()
    records, hashes = Records(), Hashes()
    with renewed(config) as notes:
        planned = plan(config, snakefile)
    outcome.notes += notes
    whole: dict[str, provenance.Provenance] = {}
    stages, earlier = read_stages(), read_lock()
    for stage in stages:
        checked = check(stage, planned, records, hashes)
        before = [s.name for s in stages if s.name in outcome.refused and any(map(s.holds, stage.deps))]
        absent = [d for d in stage.deps if not os.path.exists(d)]
        if checked.foreign and set_aside:
            outcome.notes.append(_set_aside(checked))
            checked = check(stage, planned, records, hashes)
        if checked.problems:
            outcome.refused[stage.name] = "; ".join(checked.problems)
            if stage.name not in earlier and not any(os.path.exists(p.path) for p in checked.outputs):
                outcome.ahead.append(stage.name)
        elif checked.foreign:
            outcome.refused[stage.name] = (
                f"{checked.foreign[0]}{_and(len(checked.foreign) - 1)} is not made by this configuration; "
                f"'coder-clip record --set-aside' moves it to {ASIDE}/"
            )
        elif before or absent:
            outcome.refused[stage.name] = f"waits for {', '.join(before or absent)}"
        else:
            whole[stage.name] = describe(checked, records, hashes)
    if whole:
        _commit(whole, hashes)
        for name, made in whole.items():
            made.write(name)
            outcome.recorded.append(name)
            if earlier.get(name) != made.outs:
                outcome.changed.append(name)
        keep_lock()
        remember()
    hashes.save()
    return outcome


def _commit(whole: dict[str, provenance.Provenance], hashes: Hashes) -> None:
    """Let DVC commit these phases; dvc.lock is as before where it could not, or said so and did not."""
    before = DVC_LOCK.read_bytes() if DVC_LOCK.is_file() else None
    kept = {out for stage in read_stages() for out in stage.kept}
    try:
        dvc.commit(sorted(whole))
        made_md5 = {path: md5 for made in whole.values() for path, (md5, _) in made.files.items()}
        made_md5 |= {out: md5 for made in whole.values() for out, md5 in made.outs.items()}
        needed = {md5 for path, md5 in made_md5.items() if not _in(path, kept)}
        if dvc.missing_objects(needed, hashes):
            dvc.commit(sorted(whole))
        if missing := dvc.missing_objects(needed, hashes):
            raise UserError(
                f"DVC did not record ({len(missing)} files are not in its cache). Nothing is lost: "
                f"'coder-clip record' tries again"
            )
        after = read_lock()
        if swapped := [name for name, made in whole.items() if after.get(name) != made.outs]:
            raise UserError(
                f"files of {', '.join(swapped)} changed while they were recorded, so nothing was; "
                f"'coder-clip record' tries again"
            )
    except UserError:
        if before is None:
            DVC_LOCK.unlink(missing_ok=True)
        elif DVC_LOCK.read_bytes() != before:
            write_bytes(DVC_LOCK, before)
        raise


def _in(path: str, outs: set[str]) -> bool:
    return any(path == out or path.startswith(out + "/") for out in outs)


def _under_dvc(config: str | Path, snakefile: str | Path, name: str) -> Outcome:
    """DVC runs this stage and records it afterwards."""
    stages = {stage.name: stage for stage in read_stages()}
    if name not in stages:
        raise UserError(f"dvc.yaml has no stage '{name}'")
    records, hashes = Records(), Hashes()
    planned = plan(config, snakefile)
    checked = check(stages[name], planned, records, hashes)
    outcome = Outcome()
    if checked.foreign:
        outcome.notes.append(_set_aside(checked))
    if checked.problems:
        raise UserError(f"phase {name} is not complete: {'; '.join(checked.problems)}")
    describe(checked, records, hashes).write(name)
    hashes.save()
    outcome.recorded.append(name)
    return outcome


def _set_aside(checked: Checked) -> str:
    for path in checked.foreign:
        target = ASIDE / path
        target.parent.mkdir(parents=True, exist_ok=True)
        n = 1
        while target.exists():  # never over what was set aside before
            target = target.with_name(f"{Path(path).name}.{n}")
            n += 1
        Path(path).rename(target)
    return f"{checked.foreign[0]}{_and(len(checked.foreign) - 1)}: not made by this configuration, moved to {ASIDE}/"


def _and(more: int) -> str:
    return f" (and {more} more)" if more else ""


# ---- one at a time, and what was seen last


@contextmanager
def locked(wait: float = 600) -> Iterator[None]:
    """One record or adopt at a time. The lock is the kernel's: it goes with a process that is killed."""
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "lock").open("w") as stream:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"another coder-clip has been recording here for {wait:.0f} s; run 'coder-clip record' later"
                    ) from None
                time.sleep(0.2)
        yield


def _digest() -> str:
    digest = hashlib.sha256()
    for path in [DVC_LOCK, *sorted(provenance.FOLDER.glob("*.json"))]:
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def remember() -> None:
    """Note that files here and what is recorded belong together."""
    write_text(STATE / "seen.json", json.dumps({"recorded": _digest()}))


def moved() -> bool:
    """Whether what is recorded has changed by another hand since: a clone, `git pull`, `git checkout`."""
    try:
        return bool(json.loads((STATE / "seen.json").read_text())["recorded"] != _digest())
    except (OSError, ValueError, KeyError):
        return True
