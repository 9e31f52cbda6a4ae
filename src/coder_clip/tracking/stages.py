"""A configuration's dvc.yaml, dvc.lock and results.

The default's are at the top, others' in tracked/{name}/.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..errors import UserError, one_line
from ..foundation.artifacts import write_text
from ..foundation.dvc_files import dump, fault, lock_bytes, read_lock
from ..foundation.git import in_conflict
from ..foundation.yaml_file import read_yaml
from ..jobs import PHASES, RECORDS, Phase
from ..pipeline.results_folder import refuse_misplaced
from ..rerun.judge import group
from ..rerun.record import Job

DEFAULT = "config/reproduce.yaml"
CODE = "src"
METRICS = "metrics.json"
HEAD = """\
# Made by 'coder-clip record' from src/coder_clip/jobs.py; it never reads this file.
# Stages of your own belong in a dvc.yaml of another folder.
"""


class SameFolder(UserError):
    """Two configurations with the same name or results folder."""


@dataclass(frozen=True)
class Tracked:
    """One configuration."""

    config: str

    @cached_property
    def folder(self) -> Path:
        """Folder of dvc.yaml and dvc.lock."""
        if self.config == DEFAULT:
            return Path()
        return Path("tracked") / Path(self.config).stem

    @property
    def yaml(self) -> Path:
        return self.folder / "dvc.yaml"

    @property
    def lock(self) -> Path:
        return self.folder / "dvc.lock"

    @cached_property
    def root(self) -> str:
        """The results folder."""
        # only the folder's name is needed, so nothing else of the file is checked here
        document = read_yaml(Path(self.config))
        root = "results"
        if isinstance(document, dict) and isinstance(document.get("results"), str):
            root = document["results"]
        return Path(os.path.normpath(root)).as_posix()

    def keeps(self, phase: Phase) -> tuple[str, ...]:
        """Outputs of a phase that Git keeps: tables and metrics of the default."""
        if self.config != DEFAULT:
            return ()
        return tuple(f"{self.root}/{name}" for name in phase.keeps)

    @property
    def kept(self) -> list[str]:
        """Outputs of all phases that Git keeps."""
        return [out for phase in PHASES for out in self.keeps(phase)]

    def outs(self, phase: Phase) -> list[str]:
        """Folders and files of a phase, its certificates last."""
        return [f"{self.root}/{name}" for name in (*phase.makes, f"{RECORDS}/{phase.name}")]

    def out_of(self, path: str) -> str:
        """The out that contains a file; "" if it belongs to no phase."""
        outs = (out for of_phase in self.outs_of.values() for out in of_phase)
        return next((out for out in outs if is_in(path, out)), "")

    @cached_property
    def outs_of(self) -> dict[str, list[str]]:
        """Phase -> its outputs."""
        return {phase.name: self.outs(phase) for phase in PHASES}

    def recorded(self) -> dict[str, dict[str, str]]:
        """Recorded phase -> out -> hash. UserError as for `entries`."""
        return hashes_of(self.entries())

    def entries(self) -> dict[str, Any]:
        """Recorded phase -> its entry in dvc.lock.

        UserError if the file is damaged, in conflict, or has what no record of this project has."""
        entries = self.unchecked()
        for name, entry in entries.items():
            why = fault(name, entry, self.outs_of[name])
            if why:
                raise UserError(
                    f"{self.lock}: {why}; nothing was changed: look at the commit that added it "
                    f"('git log -p {self.lock}'); 'coder-clip record{option(self)}' replaces it"
                )
        return entries

    def unchecked(self) -> dict[str, Any]:
        """The entries as they are. UserError if dvc.lock is damaged or in conflict."""
        if in_conflict(self.lock):
            sides = shlex.quote(str(self.folder))
            if self.config == DEFAULT:  # whose tables are in Git
                sides = f"{self.lock} {self.root}"
            raise UserError(
                f"{self.lock} is in conflict; 'git checkout --ours {sides} && git add {sides}' (or "
                "--theirs) takes one side; then end the merge, pull and run (docs/sharing.md)"
            )
        try:
            return read_lock(lock_bytes(self.lock), self.lock, self.outs_of)
        except FileNotFoundError:
            return {}

    def write_lock(self, entries: Mapping[str, Any]) -> None:
        """Write dvc.lock. entries: phase -> its entry."""
        _write_changed(self.lock, dump({"schema": "2.0", "stages": dict(entries)}))

    def described(self, jobs: Iterable[Job]) -> dict[str, Any]:
        """Phase -> its stage in dvc.yaml, for the phases that have jobs.

        It depends on all code, the whole configuration, and the inputs of its jobs in
        this clone. Outputs of a phase that is behind another input are left out: what changes them
        changes that input.
        """
        stages: dict[str, Any] = {}
        phase_of = {out: name for name, outs in self.outs_of.items() for out in outs}
        before: dict[str, set[str]] = {}  # phase -> all phases before it
        # commands run at the top of the repository
        workdir = {}
        if self.folder != Path():
            workdir = {"wdir": "../.."}
        config = shlex.quote(self.config)
        of_phase: dict[str, list[Job]] = {}
        for job in jobs:
            of_phase.setdefault(group(job), []).append(job)
        for phase in PHASES:
            if phase.name not in of_phase:
                continue
            own_jobs = of_phase[phase.name]
            made = {self.out_of(path) for job in own_jobs for path in job.outputs}
            made.add(self.outs(phase)[-1])  # the certificates
            read = {self.out_of(path) or path for job in own_jobs for path in job.inputs} - made
            makers = {phase_of[path] for path in read if path in phase_of}
            behind = {name for maker in makers for name in before.get(maker, ())}
            before[phase.name] = makers | behind
            given = {path for path in read if phase_of.get(path) not in behind}
            deps = {self.config, CODE, *given}
            # the run checks its phase, so that nothing else starts Snakemake once more
            target = phase.target or phase.name
            cmd = f"snakemake {target} --profile workflow/profiles/default --configfile {config}"
            # DVC replaces ${…}
            listed = sorted(path for path in deps if is_below(path) and "$" not in path)
            stages[phase.name] = {**workdir, "cmd": cmd, "deps": listed, **self._made(phase, made)}
        return stages

    def _made(self, phase: Phase, made: set[str]) -> dict[str, list[dict[str, Any]]]:
        """The outputs and the metrics of a phase, as dvc.yaml lists them."""
        kept = self.keeps(phase)
        outs, metrics = [], []
        for out in self.outs(phase):
            if out not in made:
                continue
            # DVC must not delete results before a stage, because most of them stay
            options = {"persist": True}
            # Git keeps some outputs, so DVC's cache does not
            if out in kept:
                options = {"cache": False, "persist": True}
            if METRICS in out:
                metrics.append({out: options})
            else:
                outs.append({out: options})
        return {"outs": outs, **({"metrics": metrics} if metrics else {})}

    def write_yaml(self, stages: Mapping[str, Any]) -> None:
        """Write the stages to dvc.yaml, whatever stood there."""
        _write_changed(self.yaml, yaml_text(stages))

    def refuse_links(self) -> None:
        """UserError if results are behind a symbolic link, or are not files and folders.

        DVC's files belong inside this clone.
        """
        root = Path(self.root)
        if root.exists() and not root.is_dir():
            raise UserError(f"{root} is a file, and results are in a folder; move it away")
        # from the outside in, so that the outermost link is named
        folders = [*reversed(root.parents), root]
        for phase_outs in self.outs_of.values():
            for out in map(Path, phase_outs):
                folders += [out.parent, out, *sorted(out.rglob("*"))]
        for folder in folders:
            if folder.is_symlink() and folder.is_dir():
                raise UserError(
                    f"{folder} is a symbolic link, and results are recorded and pulled only inside "
                    "this clone; nothing was changed: put a folder in its place"
                )
            if folder.exists() and not folder.is_dir() and not folder.is_file():
                raise UserError(f"{folder} is a pipe or a device; nothing was changed: remove it")


def tracked(config: str | Path) -> Tracked:
    """The configuration of a file.

    UserError if it is outside of this repository, if another configuration has the same name or
    results folder, or if its results folder is refused.
    """
    full = Path(config).resolve()
    if not full.is_relative_to(Path.cwd().resolve()):
        raise UserError(f"{config} is not in this repository, so its results cannot be recorded")
    here = Tracked(full.relative_to(Path.cwd().resolve()).as_posix())
    # nobody's record stops that of the default, which was there first
    others = [] if here.config == DEFAULT else [*_default(), *records()]
    for other in others:
        there = other.config != here.config and os.path.isfile(other.config)
        if there and (other.folder == here.folder or other.root == here.root):
            raise SameFolder(
                f"{here.config} would be recorded over {other.config}: give it another name and "
                "its own 'results:'"
            )
    refuse_misplaced(here.root, here.config)
    return here


def yaml_text(stages: Mapping[str, Any]) -> str:
    """The text of dvc.yaml."""
    return HEAD + yaml.safe_dump({"stages": stages}, sort_keys=False, width=110)


class Record(NamedTuple):
    """Another configuration's record.

    folder: of its dvc.lock. config: its path. root: its results folder.
    """

    folder: Path
    config: str
    root: str


def records() -> list[Record]:
    """The records below tracked/, from their files dvc.lock; damaged ones are left out."""
    found = []
    names = [phase.name for phase in PHASES]
    for path in sorted(Path("tracked").glob("*/dvc.lock")):
        with suppress(OSError, UserError, TypeError, LookupError, ValueError, StopIteration):
            entries = read_lock(lock_bytes(path), path, names)
            phase, entry = next(iter(entries.items()))
            # every phase has certificates, and a command that names its configuration
            end = f"/{RECORDS}/{phase}"
            outs = [out["path"] for out in entry["outs"]]
            root = next(out.removesuffix(end) for out in outs if out.endswith(end))
            cmd = entry["cmd"]
            words = shlex.split(cmd if isinstance(cmd, str) else cmd[0])
            config = words[words.index("--configfile") + 1]
            found.append(Record(path.parent, one_line(config), root))
    return found


def _default() -> list[Record]:
    """The default configuration, if there is one that can be read."""
    default = Tracked(DEFAULT)
    with suppress(UserError):
        return [Record(default.folder, DEFAULT, default.root)]
    return []


def _write_changed(path: Path, text: str) -> None:
    """Write a file, unless it holds this text: a file that stays the same keeps its time."""
    same = False
    with suppress(OSError):
        about = os.lstat(path)
        data = text.encode()
        same = stat.S_ISREG(about.st_mode) and about.st_size == len(data)
        same = same and path.read_bytes() == data
    if not same:
        write_text(path, text)


def option(t: Tracked) -> str:
    """The option that names a configuration in a suggested command; "" for the default."""
    if t.config == DEFAULT:
        return ""
    return f" --config {shlex.quote(t.config)}"


def is_below(path: str) -> bool:
    """False for a path that leaves the clone, or is hidden; another person's file can name it."""
    return os.path.normpath(path) == path.rstrip("/") and not path.startswith((".", "/"))


def is_in(path: str, out: str) -> bool:
    """True if a path is an out, or below it."""
    return path == out or path.startswith(out + "/")


def hashes_of(entries: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Phase -> out -> hash, from the entries of dvc.lock."""
    return {
        name: {out["path"]: out["md5"] for out in body["outs"]} for name, body in entries.items()
    }
