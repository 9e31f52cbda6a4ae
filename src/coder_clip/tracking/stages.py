"""What dvc.yaml says about the phases, and what dvc.lock says was recorded of them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..artifacts import write_bytes, write_text
from ..errors import UserError
from .hashes import STATE

DVC_YAML, DVC_LOCK = Path("dvc.yaml"), Path("dvc.lock")
COMMANDS = Path("workflow/commands.yaml")  # what the rules run; DVC compares it like parameters
HEADER = "# The phases as DVC stages, made by: python -m coder_clip.tracking.pipeline"
_COPY = STATE / "dvc.lock"


@dataclass(frozen=True)
class Stage:
    """One phase: its name, and the folders and files it makes."""

    name: str
    outs: tuple[str, ...]
    deps: tuple[str, ...]
    configs: tuple[str, ...]  # files its parameters stand in
    kept: tuple[str, ...]  # outs that stay in Git, not in DVC's cache
    keys: tuple[str, ...] = ()  # of the configuration, that it depends on

    def holds(self, path: str) -> bool:
        return any(path == out or path.startswith(out + "/") for out in self.outs)


def read_stages() -> list[Stage]:
    """The stages of dvc.yaml, in its order."""
    document = _yaml(DVC_YAML)
    found = []
    for name, body in (document.get("stages") or {}).items():
        entries = [o for kind in ("outs", "metrics", "plots") for o in body.get(kind) or ()]
        kept = [_key(o) for o in entries if isinstance(o, dict) and not o[_key(o)].get("cache", True)]
        params = [p for p in body.get("params") or () if isinstance(p, dict)]
        keys = {file: keys for p in params for file, keys in p.items() if Path(file) != COMMANDS}
        found.append(
            Stage(
                name,
                tuple(map(_key, entries)),
                tuple(body.get("deps") or ()),
                tuple(keys),
                tuple(kept),
                tuple(key for of_file in keys.values() for key in of_file or ()),
            )
        )
    return found


@contextmanager
def renewed(config: str | Path) -> Iterator[list[str]]:
    """Have dvc.yaml made anew meanwhile, if it is a generated one; then the list says what a person should know.

    It follows the configuration (a key or a data set that was not written before) and the rules. What was added by
    hand, stages and plots, stays.
    """
    notes: list[str] = []
    if not DVC_YAML.is_file() or not DVC_YAML.read_text(encoding="utf-8").startswith(HEADER):
        yield notes
        return
    command = [sys.executable, "-m", "coder_clip.tracking.pipeline", os.path.relpath(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield notes
        made, errors = process.communicate()
    if process.returncode:
        why = [line for line in errors.splitlines() if line.strip()] or ["it was stopped"]
        notes.append(f"{DVC_YAML} could not be made anew: {why[-1].strip()}")
        return
    new, old = yaml.safe_load(made), _yaml(DVC_YAML)
    added = {name: s for name, s in old.get("stages", {}).items() if not _generated(s)}
    both = {**old, **new, "stages": {**new["stages"], **added}}
    titles = {_key(plot) for plot in new["plots"]}
    both["plots"] = [*new["plots"], *(p for p in old.get("plots") or () if _key(p) not in titles)]
    if both != old:
        head = "".join(line for line in made.splitlines(keepends=True) if line.startswith("#"))
        write_text(DVC_YAML, head + yaml.safe_dump(both, sort_keys=False, width=110))
        notes.append(f"{DVC_YAML} follows the configuration and the rules again; commit it, too")


def _generated(stage: dict[str, Any]) -> bool:
    return any(str(command).startswith("coder-clip record ") for command in stage.get("cmd") or ())


def why_untracked(config: str | Path) -> str | None:
    """The reason why results of this configuration are not recorded here; None where they are."""
    if not DVC_YAML.is_file() or not Path(".dvc").is_dir():
        return f"no {DVC_YAML if not DVC_YAML.is_file() else 'DVC repository'} here"
    tracked = sorted({c for stage in read_stages() for c in stage.configs})
    if os.path.relpath(config) not in tracked:
        return f"dvc.yaml tracks the results of {', '.join(tracked)}, not of {os.path.relpath(config)}"
    if importlib.util.find_spec("dvc") is None:
        return "DVC is not installed ('pip install dvc')"
    try:
        git("rev-parse", "--git-dir")
    except (OSError, UserError):
        return "no Git repository here, or no git installed (a clone has one; otherwise 'git init')"
    return None


def read_lock(path: Path = DVC_LOCK) -> dict[str, dict[str, str]]:
    """For each recorded stage the hash of each of its outs; empty where nothing was recorded.

    UserError where dvc.lock is damaged: a write that was cut short leaves it empty or half.
    """
    if not path.exists():
        return {}
    document = _yaml(path)
    try:
        return {
            name: {out["path"]: out["md5"] for out in body.get("outs") or ()}
            for name, body in document["stages"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{DVC_LOCK} is damaged; 'coder-clip record' mends it") from error


def keep_lock() -> None:
    """Keep a copy of a dvc.lock that is whole."""
    if DVC_LOCK.is_file():
        read_lock()
        data = DVC_LOCK.read_bytes()
        if not _COPY.is_file() or _COPY.read_bytes() != data:
            write_bytes(_COPY, data)


def mend_lock() -> str | None:
    """Restore a damaged dvc.lock from the copy, else from Git; what was done, or None where it is whole."""
    try:
        read_lock()
        return None
    except UserError:
        pass
    if _COPY.is_file():
        write_bytes(DVC_LOCK, _COPY.read_bytes())
        return f"{DVC_LOCK} was damaged (a write was cut short): the copy from before was restored"
    try:
        committed = git("show", f"HEAD:./{DVC_LOCK}")
    except (OSError, UserError):
        STATE.mkdir(parents=True, exist_ok=True)
        DVC_LOCK.rename(STATE / "dvc.lock.damaged")
        return f"{DVC_LOCK} was damaged and there was no copy of it: moved to {STATE / 'dvc.lock.damaged'}"
    write_bytes(DVC_LOCK, committed)
    return f"{DVC_LOCK} was damaged (a write was cut short): the committed one was restored"


def git(*arguments: str) -> bytes:
    """Output of a git command. UserError where it fails, OSError where there is no git."""
    done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _key(entry: Any) -> str:
    return str(next(iter(entry)) if isinstance(entry, dict) else entry)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.load(
            path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        hint = "; 'coder-clip record' mends it" if path == DVC_LOCK else ""
        raise UserError(f"{path} is damaged{hint}") from error
    if not isinstance(document, dict):
        hint = "'coder-clip record' mends it" if path == DVC_LOCK else "'git checkout dvc.yaml' restores it"
        raise UserError(f"{path} is damaged; {hint}")
    return document
