"""Where a configuration is recorded: dvc.yaml and dvc.lock, for the default at the top, else in tracked/{name}/."""

from __future__ import annotations

import importlib.util
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
from .snakemake import Job

DEFAULT = "config/reproduce.yaml"
HEADER = "# Made by 'coder-clip record' from workflow/phases.yaml and the jobs that Snakemake plans."


@dataclass(frozen=True)
class Tracked:
    """The record of one configuration."""

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
        """Its results folder."""
        try:
            document = yaml.safe_load(Path(self.config).read_text(encoding="utf-8"))
            return Path(document.get("results") or "results").as_posix()
        except OSError as error:
            raise UserError(f"no configuration file {self.config}") from error
        except (yaml.YAMLError, AttributeError, TypeError) as error:
            raise UserError(f"{self.config} is no valid YAML: {' '.join(str(error).split())}") from error

    def keeps(self, phase: Phase) -> tuple[str, ...]:
        """What of a phase stays in Git: of the default's tables and metrics; of other configurations nothing."""
        return tuple(f"{self.root}/{name}" for name in phase.keeps) if self.config == DEFAULT else ()

    def outs(self, phase: Phase) -> list[str]:
        """Folders and files of a phase, its record last."""
        return [*(f"{self.root}/{name}" for name in phase.makes), self.record(phase.name).as_posix()]

    def record(self, phase: str) -> Path:
        return Path(self.root) / "provenance" / f"{phase}.json"

    def phase_of(self, path: str) -> Phase | None:
        """The phase that makes a file."""
        return next((p for p, outs in self._all_outs if any(is_in(path, out) for out in outs)), None)

    @cached_property
    def _all_outs(self) -> list[tuple[Phase, list[str]]]:
        return [(phase, self.outs(phase)) for phase in phases()]

    def address(self, phase: str) -> str:
        """What DVC calls the stage."""
        return f"{self.yaml.as_posix()}:{phase}" if self.folder != Path() else phase

    def recorded(self) -> dict[str, dict[str, str]]:
        """For each recorded phase the hash of each of its outs. UserError where dvc.lock is damaged or in conflict."""
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
        from dvc.utils.serialize import dumps_yaml  # DVC's own layout, or its next commit changes every line

        write_text(self.lock, dumps_yaml({"schema": "2.0", "stages": dict(entries)}))


def tracked(config: str | Path) -> Tracked:
    """UserError for a second configuration that would be recorded in the same place or write the same results."""
    full = Path(config).resolve()
    if not full.is_relative_to(Path.cwd().resolve()):
        raise UserError(f"{config} is not in this repository, so its results cannot be recorded")
    here = Tracked(full.relative_to(Path.cwd().resolve()).as_posix())
    for other in all_tracked():
        if other.config != here.config and (other.folder == here.folder or other.root == here.root):
            raise UserError(
                f"{here.config} would be recorded over {other.config}: give it another name and its own 'results:'"
            )
    return here


def all_tracked() -> list[Tracked]:
    """Every configuration that is recorded here."""
    found = [Tracked(DEFAULT)] if Path("dvc.yaml").is_file() and Path(DEFAULT).is_file() else []
    for path in sorted(Path("tracked").glob("*/dvc.yaml")):
        with suppress(OSError, IndexError):
            config = path.read_text(encoding="utf-8").splitlines()[1].removeprefix("# Configuration: ")
            if Path(config).is_file():
                found.append(Tracked(config))
    return found


def option(t: Tracked) -> str:
    return "" if t.config == DEFAULT else f" --config {t.config}"


def is_in(path: str, out: str) -> bool:
    return path == out or path.startswith(out + "/")


def entries_of(text: str) -> dict[str, Any]:
    """The stages of the text of a dvc.lock. UserError where it is damaged."""
    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        hashes_of(document["stages"])
        return dict(document["stages"])
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UserError("dvc.lock is damaged") from error


def hashes_of(entries: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    return {
        name: {out["path"]: out["md5"] for out in body.get("outs") or ()} for name, body in entries.items()
    }


def why_untracked() -> str | None:
    """Why nothing can be recorded here; None where it can."""
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
    """Output of a git command. UserError where it fails, OSError where there is no git."""
    done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def in_conflict(path: Path) -> bool:
    """Whether a merge left a file unsettled."""
    with suppress(OSError, UserError):
        return bool(git("ls-files", "--unmerged", "--", str(path)))
    return False


def shown(revision: str, path: Path) -> bytes | None:
    """A file as a revision or a side of a conflict (":2", ":3") has it."""
    try:
        return git("show", f"{revision}:./{path.as_posix()}")
    except UserError:
        return None


# ---- dvc.yaml


def pipeline(t: Tracked, jobs: Iterable[Job]) -> dict[str, Any]:
    """The document of dvc.yaml: for each phase its command, files, keys and outs; what is not made is left out.

    UserError for an output that no phase has, or a command that workflow/phases.yaml lacks.
    """
    made, of_phase = set[str](), dict[str, list[Job]]()
    for job in jobs:
        found = {path: t.phase_of(path) for path in job.outputs}
        for path, phase in found.items():
            if phase is None:
                raise UserError(f"no phase makes {path}; 'makes' in {FILE} says what each makes")
            if _words(job) not in [command.split() for command in phase.commands.values()]:
                raise UserError(f"{FILE}: '{phase.name}' lacks the command of rule {job.making.rule}")
        for name in {phase.name for phase in found.values() if phase}:
            of_phase.setdefault(name, []).append(job)
        made.update(found)
    written = yaml.safe_load(Path(t.config).read_text(encoding="utf-8"))
    up = "../../" if t.folder != Path() else ""
    options = f"--profile workflow/profiles/default --configfile {t.config}"
    run = "PYTHONPATH=src:$PYTHONPATH"  # this folder's code, wherever DVC puts it (exp run --temp, --queue)
    stages: dict[str, Any] = {}
    for phase in phases():
        if phase.name not in of_phase:
            continue
        own, record = of_phase[phase.name], t.record(phase.name).as_posix()
        read = {path for job in own for path in job.making.input}
        outs = [o for o in t.outs(phase) if o == record or any(is_in(path, o) for path in made)]
        before = {
            o for path in read & made for p, all_outs in t._all_outs for o in all_outs if is_in(path, o)
        }
        keys = [key for job in own for key in job.reads]
        keys += [
            k.replace("*", d) for k in phase.jobs for d in (written.get("datasets") if "*" in k else "-")
        ]
        ran = [_words(job) for job in own]
        commands = [
            f"phases.{phase.name}.rules.{r}.command" for r, c in phase.commands.items() if c.split() in ran
        ]
        kept = {o: {"cache": False, "persist": True} for o in t.keeps(phase)}
        described = [{o: kept.get(o, {"persist": True})} for o in outs]
        metrics = [f"{t.root}/{name}" for name in phase.keeps if "." in name]
        stages[phase.name] = {
            **({"wdir": "../.."} if up else {}),
            "cmd": [
                f"{run} snakemake {phase.target} {options}",
                f"{run} coder-clip record --config {t.config}",
            ],
            "deps": sorted((read - made) | before - set(outs)),
            "params": [{t.config: watched(written, keys)}, {FILE.as_posix(): commands}],
            "outs": [o for o in described if o.keys().isdisjoint(metrics)],
            **({"metrics": [o for o in described if not o.keys().isdisjoint(metrics)]} if metrics else {}),
        }
    plots = [
        {title: {**body, "y": {f"{up}{t.root}/{path}": column for path, column in body["y"].items()}}}
        for plot in yaml.safe_load(FILE.read_text(encoding="utf-8")).get("plots", [])
        for title, body in plot.items()
    ]
    # the whole file: of a list that two phases read, DVC would compare one twice as long
    return {"stages": stages, "params": [up + t.config], **({"plots": plots} if plots else {})}


def _words(job: Job) -> list[str]:
    return (job.making.code or "").split()


def watched(written: Any, keys: Iterable[str]) -> list[str]:
    """Keys as DVC can watch them: those that are written; of another its table, so that adding it counts."""
    found: list[str] = []
    for key in keys:
        steps, document = list[str](), written
        while key and isinstance(document, dict):
            step = next(
                (s for s in sorted(document, key=lambda s: -len(str(s))) if is_step(str(s), key)), None
            )
            if step is None or "." in step:  # DVC takes dots apart
                break
            steps, document, key = [*steps, step], document[step], key[len(step) + 1 :]
        if steps and ".".join(steps) not in found:
            found.append(".".join(steps))
    return [k for k in found if not any(k.startswith(other + ".") for other in found)]


def is_step(step: str, key: str) -> bool:
    return key == step or key.startswith(step + ".")


def own_stages(document: Mapping[str, Any]) -> dict[str, Any]:
    """Stages of a dvc.yaml that a person added: those that are not made by `record`."""
    stages = document.get("stages") or {}
    return {name: s for name, s in stages.items() if "coder-clip record" not in str(s.get("cmd"))}


def renew_yaml(t: Tracked, jobs: Iterable[Job], before: str | None = None) -> bool:
    """Write dvc.yaml as it should be; whether it changed. Stages and plots that a person added stay."""
    text = before if before is not None else t.yaml.read_text(encoding="utf-8") if t.yaml.is_file() else ""
    try:
        old = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:  # perhaps there are stages of a person's own in it
        raise UserError(
            f"{t.yaml} is no valid YAML; settle or restore it ('git checkout HEAD -- {t.yaml}')"
        ) from error
    new = pipeline(t, jobs)
    own = own_stages(old)
    titles = {title for plot in new.get("plots", ()) for title in plot}
    plots = [*new.get("plots", ()), *(p for p in old.get("plots") or () if titles.isdisjoint(p))]
    both = {**old, **new, "stages": {**new["stages"], **own}, **({"plots": plots} if plots else {})}
    head = f"{HEADER}\n# Configuration: {t.config}\n"
    if both == old and text.startswith(head):
        return False
    write_text(t.yaml, head + yaml.safe_dump(both, sort_keys=False, width=110))
    return True
