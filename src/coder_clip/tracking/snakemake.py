"""Access to Snakemake: the jobs it plans, and its metadata records of how files were made.

Both are private interfaces, so Snakemake's version is checked first.
`python -m coder_clip.tracking.snakemake CONFIG` prints the plan as JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError

KNOWN_VERSION, KNOWN_FORMAT = "9.27.", 6
OFF = "CODER_CLIP_TRACKING"  # environment variable: "off" in a Snakemake that only plans
CHECKED_BY_CONTENT = 1_000_000  # bytes; of larger inputs Snakemake compares the time alone


@dataclass(frozen=True)
class Recipe:
    """How a file is or was made: rule, command, parameters, and sha256 of the inputs as far as known."""

    rule: str
    code: str | None
    shellcmd: str | None
    input: tuple[str, ...]
    params: tuple[str, ...]
    log: tuple[str, ...] = ()
    benchmark: str = ""
    inputs: dict[str, str] = field(default_factory=dict)

    def same(self, other: Recipe) -> bool:
        """True if both run the same command with the same parameters on the same paths."""
        mine, theirs = (self.code, self.input, self.params), (other.code, other.input, other.params)
        return mine == theirs

    @classmethod
    def read(cls, raw: dict[str, Any]) -> Recipe:
        return cls(**{**raw, **{k: tuple(raw[k]) for k in ("input", "params", "log")}})


@dataclass(frozen=True)
class Job:
    """One job of the plan. reads: the configuration keys that decide its outputs, with their values."""

    recipe: Recipe
    outputs: tuple[str, ...]
    reads: dict[str, Any]


def plan(config: str | Path) -> list[Job]:
    """Every job of the default target that has outputs. UserError with Snakemake's message if planning fails."""
    command = [sys.executable, "-m", __name__, str(config)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, OFF: "off"}, check=False
    )
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no answer"]
        raise UserError(f"Snakemake cannot plan: {said[-1].removeprefix('coder-clip: error: ')}")
    jobs = json.loads(done.stdout)
    return [Job(Recipe.read(job["recipe"]), tuple(job["outputs"]), job["reads"]) for job in jobs]


def jobs_of(workflow: Any) -> list[Job]:
    """The jobs with outputs of a workflow's DAG, without downloads, which are no part of a result."""
    return [
        Job(
            recipe_of(job, workflow.persistence),
            tuple(map(str, job.output)),
            dict(job.params.get("reads") or {}),
        )
        for job in workflow.dag.jobs
        if job.output and not job.is_checkpoint
    ]


def recipe_of(job: Any, persistence: Any) -> Recipe:
    """The recipe of a Snakemake job, without hashes of its inputs."""
    return Recipe(
        rule=job.rule.name,
        code=persistence._code(job.rule),
        shellcmd=job.shellcmd,
        # Snakemake's own kind of string cannot be copied; a job that waits for a download has its mark as an input
        input=tuple(str(path) for path in persistence._input(job) if not path.startswith(".snakemake/")),
        params=tuple(persistence._params(job)),
        log=tuple(map(str, persistence._log(job))),
        benchmark=str(job.benchmark or ""),
    )


class Records:
    """Snakemake's metadata in the working directory. UserError for a Snakemake with an unknown format.

    looks: write and forget change nothing; `planned` has what they would have written.
    """

    def __init__(self, looks: bool = False) -> None:
        import snakemake
        from snakemake import persistence
        from snakemake.persistence.file import FilePersistence

        version, format = snakemake.__version__, persistence.RECORD_FORMAT_VERSION
        if not version.startswith(KNOWN_VERSION) or format != KNOWN_FORMAT:
            raise UserError(
                f"Snakemake {version} is installed, whose records of format {format} are not known here; install the "
                f"Snakemake of constraints.txt ({KNOWN_VERSION}x, format {KNOWN_FORMAT})"
            )
        self._looks = looks
        self.planned: dict[str, Any] = {}  # path -> record, None if it was to be forgotten
        self._make: Any = persistence.MetadataRecord
        # creates its folders, too: a metadata folder alone looks like that of an older Snakemake
        self._store: Any = FilePersistence(nolock=True, path=Path(".snakemake").resolve())

    def read(self, path: str) -> tuple[Recipe, float] | None:
        """Snakemake's recipe of an output, and the time that the file had then; None if it has no record."""
        raw = None
        with contextlib.suppress(OSError, ValueError):  # none, or half written
            file = Path(self._store._record_path(self._store._metadata_path, path))
            raw = json.loads(file.read_text(encoding="utf-8"))
        if (
            not isinstance(raw, dict)
            or raw.get("record_format_version") != KNOWN_FORMAT
            or not raw.get("rule")
        ):
            return None
        sums = {p: s.removeprefix("sha256:") for p, s in (raw.get("input_checksums") or {}).items()}
        input, params, log = (tuple(raw.get(key) or ()) for key in ("input", "params", "log"))
        made = Recipe(raw["rule"], raw.get("code"), raw.get("shellcmd"), input, params, log, inputs=sums)
        return made, raw.get("endtime") or 0.0

    def write(self, path: str, made: Recipe, endtime: float) -> None:
        """Write Snakemake's record of an output. Times, machines and environments of others stay out of it."""
        small = {
            p: f"sha256:{sha}"
            for p, sha in made.inputs.items()
            if sha and (not os.path.isfile(p) or os.path.getsize(p) <= CHECKED_BY_CONTENT)
        }
        named = {"rule": made.rule, "code": made.code, "shellcmd": made.shellcmd, "input_checksums": small}
        lists = {"input": list(made.input), "params": list(made.params), "log": list(made.log)}
        state = {"incomplete": False, "starttime": endtime, "endtime": endtime}
        record = self._make(**named, **lists, **state, record_format_version=KNOWN_FORMAT)
        if self._looks:
            self.planned[path] = record
        else:
            self._store._write_record(path, record)
            self._store._unmark_incomplete(path)

    def forget(self, path: str) -> None:
        if self._looks:
            self.planned[path] = None
        else:
            self._store._delete_record(path)

    def incomplete(self, paths: Iterable[str]) -> set[str]:
        """Outputs whose job was started and not finished."""
        self._store._clear_cache()
        return set(self._store._filter_incomplete_keys(list(paths)))


def main() -> None:
    os.environ[OFF] = "off"
    from snakemake.api import OutputSettings, SnakemakeApi
    from snakemake.settings.types import ConfigSettings, Quietness, ResourceSettings

    with (
        contextlib.redirect_stdout(io.StringIO()),
        SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api,
    ):
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=[Path(sys.argv[1])]),
            snakefile=Path("Snakefile"),
        )
        workflow.dag().summary()
        found = jobs_of(workflow._workflow)
    print(json.dumps([asdict(job) for job in found]))


if __name__ == "__main__":
    main()
