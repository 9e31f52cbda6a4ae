"""workflow/phases.yaml, THE list of phases, and what of a configuration decides the outputs of a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import UserError, one_line

if TYPE_CHECKING:
    from .config import Config

FILE = Path("workflow/phases.yaml")
OF_THIS_CODE = Path(__file__).parents[3] / FILE


@dataclass(frozen=True)
class Phase:
    """One phase. makes and keeps: names below the results folder; keeps stay in Git. jobs: keys of the configuration
    that decide which jobs there are. rules: name -> command and the keys that it reads, each with the part that counts.
    """

    name: str
    target: str
    makes: tuple[str, ...]
    keeps: tuple[str, ...]
    jobs: tuple[str, ...]
    commands: dict[str, str]
    reads: dict[str, dict[str, str]]


def phases(file: Path = FILE) -> tuple[Phase, ...]:
    """All phases in order. UserError for a file that is missing or that lacks what it must say."""
    try:
        return _phases(file.resolve(), file.stat().st_mtime_ns)
    except OSError as error:
        raise UserError(f"no {FILE} here; run this in the folder of the Snakefile") from error


@cache
def _phases(file: Path, _: int) -> tuple[Phase, ...]:
    try:
        listed = yaml.safe_load(file.read_text(encoding="utf-8"))["phases"]
        return tuple(
            Phase(
                name,
                phase["target"],
                tuple(phase["makes"]),
                tuple(phase.get("keeps", ())),
                tuple(phase.get("jobs", ())),
                {rule: " ".join(body["command"].split()) for rule, body in phase["rules"].items()},
                {rule: dict(_flat(body.get("reads", []))) for rule, body in phase["rules"].items()},
            )
            for name, phase in listed.items()
        )
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} cannot be read: {one_line(error)}") from error


def _flat(entries: list[Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for entry in entries:
        if isinstance(entry, list):
            found += _flat(entry)
        else:
            found += entry.items() if isinstance(entry, dict) else [(entry, "")]
    return found


_NOTHING = object()  # a key does not count for this job
PARTS: dict[str, Callable[[Config, Any, Mapping[str, str]], Any]] = {
    # image features: what only the shots depend on
    "shots": lambda c, value, job: value if job.get("split") == "shots" else _NOTHING,
    "largest": lambda c, value, job: (
        _NOTHING
        if job.get("split") != "shots"
        else max(value)
        if c.datasets[job["dataset"]].shot_files is None
        else value
    ),
    "kept_views": lambda c, _, job: c.kept_views(job["dataset"]) if job.get("split") == "shots" else _NOTHING,
    # a published data set without a val split of its own carves one that holds no shot
    "carved": lambda c, value, job: value if c.published(job["dataset"]) else _NOTHING,
    "text_encoder": lambda c, value, job: (
        _NOTHING
        if not c.compares_names(job["dataset"])
        else {name: value[name] for name in c.text_encoders()}
        if isinstance(value, dict)
        else value
    ),
    "pair_source": lambda c, value, job: value if c.datasets[job["dataset"]].one_to_one is None else _NOTHING,
    "names": lambda c, value, job: list(value),
    "ranking": lambda c, value, job: [c.text_encoder()],  # the model that says which pairs are confused
    # the widest gate decides which pairs stage two can compare; a language model ranks them by the gate itself
    "widest": lambda c, value, job: (
        max(value)
        if isinstance(value, list)
        else c.threshold(job["dataset"])
        if c.datasets[job["dataset"]].generates_pairs or max(c.rerank.thresholds) < 1
        else _NOTHING
    ),
    # where the configuration leaves them open: as published, else the default
    "threshold": lambda c, _, job: c.threshold(job["dataset"]),
    "initial": lambda c, _, job: list(c.initial(job["dataset"])),
}


def values(
    config: Config, rule: str, job: Mapping[str, str] | None = None, file: Path = FILE
) -> dict[str, Any]:
    """The keys that a rule reads, with the values that decide what the job of these wildcards makes.

    A key for every data set (datasets.*.views) becomes that of the job's own (datasets.rare.views), and `models` the
    description of its model. Keys whose part does not count for this job are left out.
    """
    job, document = job or {}, config.model_dump(mode="json")
    reads = next((p.reads[rule] for p in phases(file) if rule in p.reads), None)
    if reads is None:
        raise ValueError(f"{file} has no rule '{rule}'")
    found = {}
    for key, part in reads.items():
        name = key.replace("*", job["dataset"]) if "*" in key else key
        value: Any = document
        for step in [job["dataset"] if s == "*" else s for s in key.split(".")]:
            value = value[step] if isinstance(value, dict) else None
        if part:
            value = PARTS[part](config, value, job)
        elif key == "models" and "model" in job:
            value = value[job["model"]]
        if value is not _NOTHING:
            found[name] = value
    return found


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The same as a document of sections, without what is not set."""
    document: dict[str, Any] = {}
    for key, value in flat.items():
        if value is None:
            continue
        *sections, last = key.split(".")
        inner = document
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return _set(document)  # type: ignore[no-any-return]


def _set(value: Any) -> Any:
    return {k: _set(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value
