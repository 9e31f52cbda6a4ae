"""A configuration's dvc.yaml, dvc.lock and results: the default's at the top, others' in
tracked/{name}/.
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
from ..foundation.dvc_files import dump, read_lock, read_yaml_stages
from ..foundation.git import in_conflict
from ..pipeline.phase_list import Phase, phases
from ..pipeline.results_folder import misplaced
from ..pipeline.yaml_file import read_yaml
from .certificates import FOLDER, Job

DEFAULT = "config/reproduce.yaml"
METRICS = "metrics.json"


class SameFolder(UserError):
    """Two configurations with the same name or results folder."""


@dataclass(frozen=True)
class Tracked:
    """One configuration."""

    config: str

    @cached_property
    def folder(self) -> Path:
        """Folder of dvc.yaml and dvc.lock."""
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
        # only the folder's name is needed, so nothing else of the file is checked here
        document = read_yaml(Path(self.config))
        given = document.get("results") if isinstance(document, dict) else None
        return Path(os.path.normpath(given if isinstance(given, str) else "results")).as_posix()

    def holds(self, other: Tracked) -> bool:
        """True if the other configuration's results are in the same folder, under any name, or in a
        folder of a phase of this one.
        """
        mine, theirs = os.path.realpath(self.root), os.path.realpath(other.root)
        below = (name for phase in phases() for name in (*phase.makes, FOLDER))
        return mine == theirs or any(is_in(theirs, f"{mine}/{name}") for name in below)

    def keeps(self, phase: Phase) -> tuple[str, ...]:
        """Outputs of a phase that Git keeps: tables and metrics of the default."""
        if self.config != DEFAULT:
            return ()
        return tuple(f"{self.root}/{name}" for name in phase.keeps)

    @property
    def kept(self) -> list[str]:
        """Outputs of all phases that Git keeps."""
        return [out for phase in phases() for out in self.keeps(phase)]

    def outs(self, phase: Phase) -> list[str]:
        """Folders and files of a phase, its certificates last."""
        return [f"{self.root}/{name}" for name in (*phase.makes, f"{FOLDER}/{phase.name}")]

    def out_of(self, path: str) -> str:
        """The out that contains a file; "" if it belongs to no phase."""
        outs = (out for phase in phases() for out in self.outs(phase))
        return next((out for out in outs if is_in(path, out)), "")

    @cached_property
    def outs_of(self) -> dict[str, list[str]]:
        """Phase -> its outputs."""
        return {phase.name: self.outs(phase) for phase in phases()}

    def recorded(self) -> dict[str, dict[str, str]]:
        """Recorded phase -> out -> hash. UserError if dvc.lock or dvc.yaml is damaged, in conflict,
        or has what no record of this project has.
        """
        read_yaml_stages(self.yaml, self.outs_of)  # only for its errors
        entries = self.entries()
        return hashes_of({name: body for name, body in entries.items() if name in self.outs_of})

    def entries(self) -> dict[str, Any]:
        """Stage -> its entry in dvc.lock, also of stages that a user added."""
        if in_conflict(self.lock):
            raise UserError(
                f"{self.lock} is in conflict; 'coder-clip merge{option(self)}' settles it"
            )
        try:
            return read_lock(self.lock.read_text(encoding="utf-8"), self.lock, self.outs_of)
        except FileNotFoundError:
            return {}

    def write_lock(self, entries: Mapping[str, Any]) -> None:
        """Write dvc.lock. entries: stage -> its entry."""
        text = dump({"schema": "2.0", "stages": dict(entries)})
        # a file that stays the same keeps its time
        if not self.lock.is_file() or self.lock.read_text(encoding="utf-8") != text:
            write_text(self.lock, text)

    def described(self, jobs: Iterable[Job]) -> dict[str, Any]:
        """Phase -> its stage in dvc.yaml, for the phases that have jobs: the command, and what the
        phase reads and makes.
        """
        stages: dict[str, Any] = {}
        # commands run at the top of the repository
        workdir = {} if self.folder == Path() else {"wdir": "../.."}
        config = shlex.quote(self.config)
        for phase in phases():
            own_jobs = [job for job in jobs if job.phase == phase.name]
            if not own_jobs:
                continue
            read = {self.out_of(path) for job in own_jobs for path in job.inputs}
            made = {self.out_of(path) for job in own_jobs for path in job.outputs}
            made.add(self.outs(phase)[-1])  # the certificates
            others = [other for other in phases() if other != phase]
            deps = [out for other in others for out in self.outs(other) if out in read]
            kept = self.keeps(phase)
            kinds: dict[str, list[dict[str, Any]]] = {"outs": [], "metrics": []}
            for out in self.outs(phase):
                if out not in made:
                    continue
                # Git keeps some outputs, so DVC's cache does not
                options = {"cache": False} if out in kept else {}
                # DVC must not delete results before a stage, because most of them stay
                options["persist"] = True
                kinds["metrics" if METRICS in out else "outs"].append({out: options})
            cmd = [
                (
                    f"snakemake {phase.target} --profile "
                    f"workflow/profiles/default --configfile {config}"
                ),
                f"coder-clip record --config {config}",
            ]
            stage = {"cmd": cmd, "deps": [self.config, *deps], **kinds}
            stages[phase.name] = workdir | {key: value for key, value in stage.items() if value}
        return stages

    def write_yaml(self, jobs: Iterable[Job]) -> None:
        """Write the phases to dvc.yaml; stages that a user added stay. UserError as in
        `recorded`.
        """
        document = read_yaml_stages(self.yaml, self.outs_of)
        before = document.get("stages", {})
        stages = self.described(list(jobs))
        own = {name: stage for name, stage in before.items() if name not in self.outs_of}
        # compared as mappings: another order of stages is not a change
        if {**own, **stages} == before:
            return
        head = (
            "# Made by 'coder-clip record' from "
            f"workflow/phases.yaml.\n# Configuration: {self.config}\n"
        )
        document |= {"stages": {**stages, **own}}
        write_text(self.yaml, head + yaml.safe_dump(document, sort_keys=False, width=110))

    def refuse_links(self) -> None:
        """UserError if results are behind a symbolic link: DVC's files belong inside this clone."""
        root = Path(self.root)
        # from the outside in, so that the outermost link is named
        folders = [*reversed(root.parents), root]
        for phase_outs in self.outs_of.values():
            for out in map(Path, phase_outs):
                folders += [out.parent, out, *sorted(out.rglob("*"))]
        for folder in folders:
            if folder.is_symlink() and folder.is_dir():
                raise UserError(
                    f"{folder} is a symbolic link, and results are recorded and pulled only "
                    "inside this clone; nothing "
                    "was changed: put a folder in its place"
                )


def tracked(config: str | Path) -> Tracked:
    """The configuration of a file. UserError if it is outside of this repository, if another
    configuration has the same name or results folder, or if its results folder is refused.
    """
    full = Path(config).resolve()
    if not full.is_relative_to(Path.cwd().resolve()):
        raise UserError(f"{config} is not in this repository, so its results cannot be recorded")
    here = Tracked(full.relative_to(Path.cwd().resolve()).as_posix())
    others = [Tracked(DEFAULT)] if Path(DEFAULT).is_file() else []
    others += [Tracked(c) for c in configurations().values() if Path(c).is_file()]
    for other in others:
        same = other.folder == here.folder or other.holds(here) or here.holds(other)
        if other.config != here.config and same:
            raise SameFolder(
                f"{here.config} would be recorded over {other.config}: give it another name and "
                "its own 'results:'"
            )
    why = misplaced(here.root, Path())
    if why:
        raise UserError(
            f"{here.config}: results: '{here.root}' {why}; nothing was changed: name a folder of "
            f"its own, such as results/{full.stem}"
        )
    return here


def configurations() -> dict[Path, str]:
    """Folder below tracked/ -> the configuration that its dvc.yaml names."""
    found = {}
    for path in sorted(Path("tracked").glob("*/dvc.yaml")):
        with suppress(OSError, IndexError):
            # `write_yaml` puts the configuration into the second line
            second = path.read_text(encoding="utf-8").splitlines()[1]
            found[path.parent] = second.removeprefix("# Configuration: ")
    return found


def option(t: Tracked) -> str:
    """The option that names a configuration in a suggested command; "" for the default."""
    return "" if t.config == DEFAULT else f" --config {shlex.quote(t.config)}"


def is_in(path: str, out: str) -> bool:
    """True if a path is an out, or below it."""
    return path == out or path.startswith(out + "/")


def hashes_of(entries: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Phase -> out -> hash, from the entries of dvc.lock."""
    return {
        name: {out["path"]: out["md5"] for out in body["outs"]} for name, body in entries.items()
    }
