"""dvc.yaml and dvc.lock of a configuration: the default's at the top, the others' in tracked/{name}/."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..foundation.artifacts import write_text
from ..pipeline.phase_list import FILE, Phase, phases
from ..pipeline.yaml_file import read_yaml
from .dvc import OBJECT_IN
from .snakemake import Job

DEFAULT = "config/reproduce.yaml"
HEADER = "# Made by 'coder-clip record' from workflow/phases.yaml and the jobs that Snakemake plans."


@dataclass(frozen=True)
class Tracked:
    """One configuration with its dvc.yaml, dvc.lock and results folder."""

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
        below = (name for phase in phases() for name in (*phase.makes, "provenance"))
        return mine == theirs or any(is_in(theirs, f"{mine}/{name}") for name in below)

    def keeps(self, phase: Phase) -> tuple[str, ...]:
        """Outputs of a phase that Git keeps: tables and metrics of the default."""
        return tuple(f"{self.root}/{name}" for name in phase.keeps) if self.config == DEFAULT else ()

    def outs(self, phase: Phase) -> list[str]:
        """Folders and files of a phase, its record last."""
        return [*(f"{self.root}/{name}" for name in phase.makes), self.record(phase.name).as_posix()]

    def record(self, phase: str) -> Path:
        return Path(self.root) / "provenance" / f"{phase}.json"

    def record_in(self, outs: Mapping[str, str], phase: str) -> str:
        """DVC's object of the record of a phase with these outs; "" if they have none."""
        return outs.get(self.record(phase).as_posix(), "")

    def phase_of(self, path: str) -> Phase | None:
        """The phase that makes a file."""
        out = self.out_of(path)
        return self._phases[out] if out else None

    def out_of(self, path: str) -> str:
        """DVC's out that contains a file; "" if it belongs to no phase."""
        return next((out for out in self._phases if is_in(path, out)), "")

    @cached_property
    def _phases(self) -> dict[str, Phase]:
        return {out: phase for phase in phases() for out in self.outs(phase)}

    def address(self, phase: str) -> str:
        """DVC's name of the stage."""
        return f"{self.yaml.as_posix()}:{phase}" if self.folder != Path() else phase

    @property
    def kept(self) -> list[str]:
        """All outputs that Git keeps."""
        return [out for phase in phases() for out in self.keeps(phase)]

    def recorded(self) -> dict[str, dict[str, str]]:
        """Recorded phase -> out -> hash. UserError if dvc.lock is damaged or in conflict."""
        return hashes_of(self.entries())

    def entries(self) -> dict[str, Any]:
        """The stages of dvc.lock."""
        if in_conflict(self.lock):
            raise UserError(f"{self.lock} is in conflict; 'coder-clip merge{option(self)}' settles it")
        try:
            text = self.lock.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        try:
            return entries_of(text)
        except UserError:
            raise UserError(f"{self.lock} is damaged; 'coder-clip record{option(self)}' repairs it") from None

    def write_lock(self, entries: Mapping[str, Any]) -> None:
        # DVC's own layout, else its next commit changes every line
        from dvc.utils.serialize import dumps_yaml

        write_text(self.lock, dumps_yaml({"schema": "2.0", "stages": dict(entries)}))


def tracked(config: str | Path) -> Tracked:
    """The configuration of a file. UserError if another one has the same name or results folder."""
    full = Path(config).resolve()
    if not full.is_relative_to(Path.cwd().resolve()):
        raise UserError(f"{config} is not in this repository, so its results cannot be recorded")
    here = Tracked(full.relative_to(Path.cwd().resolve()).as_posix())
    for other in all_tracked():
        if other.config != here.config and (
            other.folder == here.folder or other.holds(here) or here.holds(other)
        ):
            raise UserError(
                f"{here.config} would be recorded over {other.config}: give it another name and its own 'results:'"
            )
    return here


def all_tracked() -> list[Tracked]:
    """All recorded configurations."""
    found = [Tracked(DEFAULT)] if Path("dvc.yaml").is_file() and Path(DEFAULT).is_file() else []
    for path in sorted(Path("tracked").glob("*/dvc.yaml")):
        with suppress(OSError, IndexError):
            config = path.read_text(encoding="utf-8").splitlines()[1].removeprefix("# Configuration: ")
            if Path(config).is_file():
                found.append(Tracked(config))
    return found


def option(t: Tracked) -> str:
    return "" if t.config == DEFAULT else f" --config {shlex.quote(t.config)}"


def is_in(path: str, out: str) -> bool:
    return path == out or path.startswith(out + "/")


def entries_of(text: str) -> dict[str, Any]:
    """The stages in the text of a dvc.lock. UserError if it is damaged."""
    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        recorded = hashes_of(document["stages"])
        if not all(OBJECT_IN.fullmatch(md5) for outs in recorded.values() for md5 in outs.values()):
            raise TypeError
        return dict(document["stages"])
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UserError("dvc.lock is damaged") from error


def hashes_of(entries: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    return {
        name: {str(out["path"]): str(out["md5"]) for out in body.get("outs") or ()}
        for name, body in entries.items()
    }


def why_untracked() -> str | None:
    """Why nothing can be recorded here; None if it can."""
    if not Path(".dvc").is_dir():
        return "no DVC repository here"
    if importlib.util.find_spec("dvc") is None:
        return "DVC is not installed ('pip install dvc')"
    try:
        git("rev-parse", "--git-dir")
    except (OSError, UserError):
        return "no Git repository here, or no git installed (a clone has one; otherwise 'git init')"
    return None


def git(*arguments: str) -> bytes:
    """Output of a git command. UserError if it fails, OSError if Git is not installed."""
    done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[:1]  # the usage may follow
        raise UserError(f"git {arguments[0]}: {''.join(said)}")
    return done.stdout


def in_conflict(path: Path) -> bool:
    """True if a file has an unresolved merge conflict."""
    with suppress(OSError, UserError):
        return bool(git("ls-files", "--unmerged", "--", str(path)))
    return False


def shown(revision: str, path: Path) -> bytes | None:
    """A file in a revision or on a side of a conflict (":2", ":3"); None if it is not there."""
    try:
        return git("show", f"{revision}:./{path.as_posix()}")
    except UserError:
        return None


# ---- dvc.yaml


def pipeline(t: Tracked, jobs: Iterable[Job]) -> dict[str, Any]:
    """The document of dvc.yaml: command, dependencies, parameters and outs of each phase that has jobs.

    UserError for an output of no phase, or a command that workflow/phases.yaml lacks.
    """
    of_phase: dict[str, list[Job]] = {}
    for job in jobs:
        found = {path: t.phase_of(path) for path in job.outputs}
        for path, phase in found.items():
            if phase is None:
                raise UserError(f"no phase makes {path}; 'makes' in {FILE} says what each makes")
            if _words(job.recipe.code) not in map(_words, phase.commands.values()):
                raise UserError(f"{FILE}: '{phase.name}' lacks the command of rule {job.recipe.rule}")
        for name in {phase.name for phase in found.values() if phase}:
            of_phase.setdefault(name, []).append(job)
    made = {path for own in of_phase.values() for job in own for path in job.outputs}
    written = read_yaml(Path(t.config))
    up = "" if t.folder == Path() else "../../"
    plots = [
        {title: {**body, "y": {f"{up}{t.root}/{path}": column for path, column in body["y"].items()}}}
        for plot in read_yaml(FILE).get("plots", [])
        for title, body in plot.items()
    ]
    stages = {p.name: _stage(t, p, of_phase[p.name], made, written) for p in phases() if p.name in of_phase}
    # the whole file, too: DVC would show a list that two phases read twice as long in `params diff`
    return {"stages": stages, "params": [up + t.config], **({"plots": plots} if plots else {})}


def _stage(t: Tracked, phase: Phase, jobs: list[Job], made: set[str], written: Any) -> dict[str, Any]:
    """One stage. made: outputs of all phases. written: the document of the configuration."""
    read = {path for job in jobs for path in job.recipe.input}
    outs = [o for o in t.outs(phase) if any(is_in(p, o) for p in made) or o == str(t.record(phase.name))]
    keys = [key for job in jobs for key in job.reads]
    for key in phase.jobs:
        keys += [key.replace("*", d) for d in written["datasets"]] if "*" in key else [key]
    ran = [_words(job.recipe.code) for job in jobs]
    rules = [rule for rule, command in phase.commands.items() if _words(command) in ran]
    persist = {"persist": True}
    described = {o: {"cache": False, **persist} if o in t.keeps(phase) else persist for o in outs}
    metrics = [o for o in outs if o in [f"{t.root}/{name}" for name in phase.keeps if "." in name]]
    config = shlex.quote(t.config)
    options = f"--profile workflow/profiles/default --configfile {config}"
    run = "PYTHONPATH=src:$PYTHONPATH"  # the code of this folder: exp run --temp and --queue copy it
    return {
        **({} if t.folder == Path() else {"wdir": "../.."}),
        "cmd": [
            f"{run} snakemake {phase.target} {options}",
            f"{run} coder-clip record --config {config}",
        ],
        "deps": sorted((read - made) | {t.out_of(p) for p in read & made} - set(outs)),
        "params": [
            {t.config: watched(written, keys)},
            {FILE.as_posix(): [f"phases.{phase.name}.rules.{rule}.command" for rule in rules]},
        ],
        "outs": [{o: how} for o, how in described.items() if o not in metrics],
        **({"metrics": [{o: described[o]} for o in metrics]} if metrics else {}),
    }


def _words(command: str | None) -> list[str]:
    return (command or "").split()


def watched(written: Any, keys: Iterable[str]) -> list[str]:
    """Keys for DVC to watch: written ones; for a missing key its section, so that adding the key counts."""
    found: list[str] = []
    for key in keys:
        steps, document = list[str](), written
        while key and isinstance(document, dict):
            names = sorted(map(str, document), key=len, reverse=True)
            step = next((s for s in names if key == s or key.startswith(f"{s}.")), None)
            if step is None or "." in step:  # DVC takes dots apart
                break
            steps, document, key = [*steps, step], document[step], key[len(step) + 1 :]
        if steps and ".".join(steps) not in found:
            found.append(".".join(steps))
    return [k for k in found if not any(k.startswith(f"{other}.") for other in found)]


def read_generated(path: Path, text: str) -> dict[str, Any]:
    """The document of a dvc.yaml. UserError if it is not YAML, or has what `record` does not write."""
    try:
        document = yaml.safe_load(text) or {}
        stages = document.get("stages") or {}
        added = [
            f"the stage '{name}'"
            for name, stage in stages.items()
            if "coder-clip record" not in str(stage.get("cmd"))
        ] + [f"'{section}'" for section in document if section not in ("stages", "params", "plots")]
    except (yaml.YAMLError, AttributeError) as error:
        raise UserError(f"{path} is not valid YAML; 'git checkout HEAD -- {path}' restores it") from error
    if added:
        raise UserError(
            f"{path} has {added[0]}, which is not in {FILE}; 'coder-clip record' writes {path}, so put what is "
            "yours into a dvc.yaml in another folder"
        )
    return dict(document)


def renew_yaml(t: Tracked, jobs: Iterable[Job]) -> str:
    """Write dvc.yaml; returns a line about what changed, "" if nothing did."""
    text = t.yaml.read_text(encoding="utf-8") if t.yaml.is_file() else ""
    old, new = read_generated(t.yaml, text), pipeline(t, jobs)
    head = f"{HEADER}\n# Configuration: {t.config}\n"
    if old == new and text.startswith(head):
        return ""
    write_text(t.yaml, head + yaml.safe_dump(new, sort_keys=False, width=110))
    gone = [plot for plot in old.get("plots") or () if plot not in new.get("plots", ())]
    lost = f"; gone, as {FILE} does not list it under 'plots': {gone[0]}" if gone else ""
    return f"{t.yaml} follows the configuration and the rules again; commit it, too{lost}"
