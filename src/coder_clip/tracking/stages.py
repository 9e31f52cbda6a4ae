"""A configuration's dvc.yaml, dvc.lock and results: the default's at the top, others' in tracked/{name}/.

dvc.yaml is written by hand. Another configuration gets a copy with its own paths and without the phases that it has no
jobs for. Names in these files come from other people: `Tracked.entries` checks them before anything is written.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..foundation.artifacts import write_text
from ..foundation.dvc import OBJECT_IN
from ..foundation.git import in_conflict
from ..pipeline.phase_list import Phase, phases
from ..pipeline.yaml_file import read_yaml
from .certificates import FOLDER, Job

DEFAULT = "config/reproduce.yaml"


class DamagedLock(UserError):
    """A dvc.lock that is not one."""


@dataclass(frozen=True)
class Tracked:
    """One configuration."""

    config: str

    @cached_property
    def folder(self) -> Path:
        return Path() if self.config == DEFAULT else Path("tracked") / Path(self.config).stem

    @property
    def yaml(self) -> Path:
        return self.folder / "dvc.yaml"

    @property
    def lock(self) -> Path:
        return self.folder / "dvc.lock"

    @cached_property
    def root(self) -> str:
        """The results folder."""
        document = read_yaml(Path(self.config))
        return Path((isinstance(document, dict) and document.get("results")) or "results").as_posix()

    def holds(self, other: Tracked) -> bool:
        """True if the other one's results are in the same folder, under whatever name, or in that of a phase."""
        mine, theirs = os.path.realpath(self.root), os.path.realpath(other.root)
        below = (name for phase in phases() for name in (*phase.makes, FOLDER))
        return mine == theirs or any(is_in(theirs, f"{mine}/{name}") for name in below)

    def keeps(self, phase: Phase) -> tuple[str, ...]:
        """Outputs of a phase that Git keeps: tables and metrics of the default."""
        return tuple(f"{self.root}/{name}" for name in phase.keeps) if self.config == DEFAULT else ()

    @property
    def kept(self) -> list[str]:
        return [out for phase in phases() for out in self.keeps(phase)]

    def outs(self, phase: Phase) -> list[str]:
        """Folders and files of a phase, its certificates last."""
        return [f"{self.root}/{name}" for name in (*phase.makes, f"{FOLDER}/{phase.name}")]

    def out_of(self, path: str) -> str:
        """The out that contains a file; "" if it belongs to no phase."""
        return next((out for p in phases() for out in self.outs(p) if is_in(path, out)), "")

    def address(self, phase: str) -> str:
        """DVC's name of the stage."""
        return f"{self.yaml.as_posix()}:{phase}" if self.folder != Path() else phase

    def recorded(self) -> dict[str, dict[str, str]]:
        """Recorded phase -> out -> hash. UserError if dvc.lock is damaged, in conflict, or names others' files."""
        own = {phase.name for phase in phases()}  # others are stages of somebody's own
        return {name: outs for name, outs in hashes_of(self.entries()).items() if name in own}

    def entries(self) -> dict[str, Any]:
        """The stages of dvc.lock."""
        if in_conflict(self.lock):
            raise UserError(f"{self.lock} is in conflict; 'coder-clip merge{option(self)}' settles it")
        try:
            text = self.lock.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        try:
            return self.checked(entries_of(text))
        except yaml.YAMLError:
            raise DamagedLock(f"{self.lock} is damaged; 'coder-clip record' repairs it") from None

    def checked(self, entries: dict[str, Any]) -> dict[str, Any]:
        """The entries of a dvc.lock. UserError if one, or dvc.yaml, names an output that is not its phase's."""
        named = [(self.lock, phase, out) for phase, outs in hashes_of(entries).items() for out in outs]
        for phase, stage in self.stages().items():
            outs = [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind) or ()]
            named += [(self.yaml, phase, next(iter(o)) if isinstance(o, dict) else str(o)) for o in outs]
        known = {phase.name: self.outs(phase) for phase in phases()}
        for file, name, out in named:
            if out not in known.get(name, [out]):
                raise UserError(
                    f"{file} names '{out}' as an output of the phase '{name}', which does not make it; nothing was "
                    f"changed: look at the commit that added it ('git log -p {file}')"
                )
        return entries

    def stages(self) -> dict[str, Any]:
        """The stages of dvc.yaml. UserError if it is damaged or in conflict."""
        try:
            return dict(yaml.safe_load(self.yaml.read_text(encoding="utf-8"))["stages"])
        except FileNotFoundError:
            return {}
        except (yaml.YAMLError, KeyError, TypeError, ValueError):
            raise UserError(
                f"{self.yaml} is damaged; 'git checkout HEAD -- {self.yaml}' restores it"
            ) from None

    def write_lock(self, entries: Mapping[str, Any]) -> None:
        # DVC's own layout, else its next commit changes every line
        from dvc.utils.serialize import dumps_yaml

        write_text(self.lock, dumps_yaml({"schema": "2.0", "stages": dict(entries)}))

    def write_yaml(self, jobs: Iterable[Job]) -> None:
        """Write the dvc.yaml of a configuration other than the default: the default's, for this one's jobs."""
        if self.folder == Path():
            return
        made = {self.out_of(path) for job in jobs for path in job.outputs}
        made |= {self.outs(phase)[-1] for phase in phases() if made.intersection(self.outs(phase))}
        default = Tracked(DEFAULT)

        def mine(path: str) -> str:
            path = self.config if path == DEFAULT else path
            return self.root + path.removeprefix(default.root) if is_in(path, default.root) else path

        stages: dict[str, Any] = {}
        for name, stage in default.stages().items():
            cmd = [line.replace(DEFAULT, shlex.quote(self.config)) for line in stage["cmd"]]
            deps = [path for path in map(mine, stage["deps"]) if path in made or path == self.config]
            described = {"wdir": "../..", "cmd": cmd, "deps": deps}
            for kind in ("outs", "metrics"):
                outs = [mine(path) for out in stage.get(kind, ()) for path in out]
                if outs := [path for path in outs if path in made]:
                    described[kind] = [{path: {"persist": True}} for path in outs]
            stages |= {name: described} if "outs" in described else {}
        head = f"# Made by 'coder-clip record' from dvc.yaml.\n# Configuration: {self.config}\n"
        text = head + yaml.safe_dump({"stages": stages}, sort_keys=False, width=110)
        if not self.yaml.is_file() or self.yaml.read_text(encoding="utf-8") != text:
            write_text(self.yaml, text)


def tracked(config: str | Path) -> Tracked:
    """The configuration of a file. UserError if another one has the same name or results folder."""
    full = Path(config).resolve()
    if not full.is_relative_to(Path.cwd().resolve()):
        raise UserError(f"{config} is not in this repository, so its results cannot be recorded")
    here = Tracked(full.relative_to(Path.cwd().resolve()).as_posix())
    others = [Tracked(DEFAULT)] if Path(DEFAULT).is_file() else []
    others += [Tracked(c) for c in configurations().values() if Path(c).is_file()]
    for other in others:
        same = other.folder == here.folder or other.holds(here) or here.holds(other)
        if other.config != here.config and same:
            raise UserError(
                f"{here.config} would be recorded over {other.config}: give it another name and its own 'results:'"
            )
    return here


def configurations() -> dict[Path, str]:
    """Folder below tracked/ -> the configuration that it says it is of."""
    found = {}
    for path in sorted(Path("tracked").glob("*/dvc.yaml")):
        with suppress(OSError, IndexError):
            second = path.read_text(encoding="utf-8").splitlines()[1]
            found[path.parent] = second.removeprefix("# Configuration: ")
    return found


def option(t: Tracked) -> str:
    return "" if t.config == DEFAULT else f" --config {shlex.quote(t.config)}"


def is_in(path: str, out: str) -> bool:
    return path == out or path.startswith(out + "/")


def entries_of(text: str) -> dict[str, Any]:
    """The stages in the text of a dvc.lock. YAMLError if it is damaged."""
    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        recorded = hashes_of(document["stages"])
        if all(OBJECT_IN.fullmatch(md5) for outs in recorded.values() for md5 in outs.values()):
            return dict(document["stages"])
    except (KeyError, TypeError, AttributeError):
        pass
    raise yaml.YAMLError("dvc.lock is damaged")


def hashes_of(entries: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    return {
        name: {str(out["path"]): str(out["md5"]) for out in body.get("outs") or ()}
        for name, body in entries.items()
    }
