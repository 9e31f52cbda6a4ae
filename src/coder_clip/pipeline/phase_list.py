"""The list of phases, workflow/phases.yaml, and the values of a configuration that decide a rule's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..datasets import load_templates
from ..errors import UserError, one_line

if TYPE_CHECKING:
    from .config import Config

FILE = Path("workflow/phases.yaml")
OF_THIS_CODE = Path(__file__).parents[3] / FILE


@dataclass(frozen=True)
class Phase:
    """One phase.

    target: its rule. makes, keeps: names below the results folder; those in keeps are in Git. commands: rule ->
    command. reads: rule -> the keys that it reads, each with the name of the part that matters (PARTS), or "".
    """

    name: str
    target: str
    makes: tuple[str, ...]
    keeps: tuple[str, ...]
    commands: dict[str, str]
    reads: dict[str, dict[str, str]]


def phases(file: Path = FILE) -> tuple[Phase, ...]:
    """All phases in order. UserError if the file is missing or incomplete."""
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
                {rule: " ".join(body["command"].split()) for rule, body in phase["rules"].items()},
                {rule: dict(_flat(body.get("reads", []))) for rule, body in phase["rules"].items()},
            )
            for name, phase in listed.items()
        )
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} cannot be read: {one_line(error)}") from error


def _flat(entries: list[Any]) -> list[tuple[str, str]]:
    keys: list[tuple[str, str]] = []
    for entry in entries:
        if isinstance(entry, list):
            keys += _flat(entry)
        else:
            keys += entry.items() if isinstance(entry, dict) else [(entry, "")]
    return keys


_NOTHING = object()  # the key does not matter for this job
# The part of a key's value that matters for a job, by the names that workflow/phases.yaml uses.
PARTS: dict[str, Callable[[Config, Any, Mapping[str, str]], Any]] = {
    # only the shots depend on these
    "shots": lambda c, value, job: value if c.few_shot(job["dataset"]) else _NOTHING,
    "largest": lambda c, value, job: (
        _NOTHING
        if not c.few_shot(job["dataset"])
        else max(value)
        if c.datasets[job["dataset"]].shot_files is None
        else value
    ),
    # of the shots that the evaluation compares images by
    "most_shots": lambda c, value, job: max(value) if c.few_shot(job["dataset"]) else _NOTHING,
    "first_seed": lambda c, value, job: value[0] if c.few_shot(job["dataset"]) else _NOTHING,
    "views_stored": lambda c, _, job: (
        c.views_stored(job["dataset"]) if c.few_shot(job["dataset"]) else _NOTHING
    ),
    "text_encoder": lambda c, value, job: (
        _NOTHING
        if not c.compares_names(job["dataset"])
        else {c.text_encoder(): value[c.text_encoder()]}
        if isinstance(value, dict)
        else value
    ),
    "pair_source": lambda c, value, job: value if c.datasets[job["dataset"]].one_to_one is None else _NOTHING,
    "names": lambda c, value, job: list(value),
    "left_out": lambda c, value, job: list(c.left_out),
    "prompts": lambda c, value, job: asdict(load_templates(job["dataset"], c.datasets[job["dataset"]])),
    "ranking": lambda c, value, job: [c.text_encoder()],  # the model that says which pairs are confused
    # the widest gate decides which pairs stage two can compare; for a language model the gate itself ranks them
    "widest": lambda c, value, job: (
        max(value)
        if isinstance(value, list)
        else c.threshold(job["dataset"])
        if c.datasets[job["dataset"]].pair_text_source or max(c.rerank.thresholds) < 1
        else _NOTHING
    ),
    # if the configuration leaves them open: as published, else the default
    "threshold": lambda c, _, job: c.threshold(job["dataset"]),
    "initial": lambda c, _, job: list(c.initial(job["dataset"])),
}


def values(
    config: Config, rule: str, job: Mapping[str, str] | None = None, file: Path = FILE
) -> dict[str, Any]:
    """The configuration keys that a rule reads, with the values that decide the outputs of one job.

    job: the job's wildcards. A key for all data sets (datasets.*.views) is returned as the key of the job's data set
    (datasets.rare.views), and `models` as the entry of the job's model. Keys that do not matter for this job are
    omitted. ValueError for an unknown rule.
    """
    job, document = job or {}, config.model_dump(mode="json")
    reads = next((p.reads[rule] for p in phases(file) if rule in p.reads), None)
    if reads is None:
        raise ValueError(f"{file} has no rule '{rule}'")
    values_read = {}
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
            values_read[name] = value
    return values_read


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into a document of sections, without values that are not set."""
    document: dict[str, Any] = {}
    for key, value in flat.items():
        if value is None:
            continue
        *sections, last = key.split(".")
        inner = document
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return _without_none(document)  # type: ignore[no-any-return]


def _without_none(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {k: _without_none(v) for k, v in value.items() if v is not None}
