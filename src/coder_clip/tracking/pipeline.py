"""dvc.yaml from the DAG: `python -m coder_clip.tracking.pipeline > dvc.yaml` after a rule or an import changed.

With the name of another configuration it describes that one: a repository tracks the results of one configuration.

A stage is as fine as the rules of its phase, so that `dvc status` names what Snakemake makes again: the files that
they list as inputs (transitive imports, texts, weights), the keys of the configuration that they read, and their
commands (workflow/commands.yaml). Rule files are no dependency: a comment there changes nothing. A test compares the
file with what this prints, another changes everything once and asks both tools.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..config import Config, load_config
from ..datasets import PUBLISHED
from .stages import COMMANDS, HEADER

DEFAULT = "config/reproduce.yaml"


@dataclass(frozen=True)
class Phase:
    """target: of Snakemake. made: names below results/. kept: those that stay in Git, small and for people.

    params: keys of the configuration whose change remakes something; * stands for every data set. Of three keys a part
    counts, which DVC cannot express, so that it names the phase at any change: the largest of adapter.shots and whether
    one of adapter.methods wants single views for image features, the largest of rerank.thresholds for texts of pairs.
    """

    name: str
    target: str
    made: tuple[str, ...]
    params: tuple[str, ...]
    kept: tuple[str, ...] = ()


def _of_data_sets(*keys: str) -> tuple[str, ...]:
    return tuple(f"datasets.*.{key}" for key in keys)


ENCODER = (*_of_data_sets("root"), "models", "features.threads")  # root: a built-in data set has source files
INTERVALS = ("evaluation.bootstrap", "evaluation.seed")
SHOTS = (
    *("adapter.methods", "adapter.shots", "adapter.seeds", "adapter.repeat_shots"),
    *_of_data_sets("views", "few_shot", "shot_files"),
)
IMAGES = ("features.batch_size", "features.on_error", "features.shards")
GATE = _of_data_sets("threshold")
GENERATOR = tuple(
    f"generator.{key}"
    for key in ("model", "temperature", "seed", "max_tokens", "extra", "structured", "counts", "encoder",
                "encoder_as_published", "max_pairs", "repeats", "on_failure")
)  # fmt: skip
SHOWN = ("title", "note", "results", "datasets", "models", "settings", "rerank", "adapter", "evaluation")
PHASES = (
    Phase("texts", "texts", ("manifests", "texts"), _of_data_sets("root", "classes", "split", "texts")),
    Phase("image_features", "image_features", ("image_features",), (*ENCODER, *IMAGES, *SHOTS)),
    Phase(
        "text_features",
        "text_features",
        ("text_features",),
        (
            *ENCODER,
            *_of_data_sets("templates"),
            "evaluation.seed",
            "evaluation.template_ensemble",
            "evaluation.random_draws",
        ),
    ),
    Phase("coder", "coder", ("coder",), ("features.threads",)),
    Phase("zero_shot", "zero_shot", ("zero_shot",), ("settings", *INTERVALS)),
    Phase(
        "one_to_one",
        "one_to_one",
        ("one_to_one",),
        (
            *ENCODER,
            *_of_data_sets("one_to_one", "templates"),
            "settings",
            "rerank.top_k",
            "rerank.thresholds",
        ),
    ),
    Phase("rerank", "rerank", ("rerank",), (*GATE, "settings", "rerank", *INTERVALS)),
    Phase("adapter", "adapter", ("adapter",), ("settings", "adapter", *_of_data_sets("few_shot"))),
    Phase("evaluation", "evaluation", ("evaluation",), ("evaluation",)),
    Phase(
        "report",
        "report_page",
        ("figures", "report.html"),
        (*SHOWN, *GENERATOR, "features.batch_size", "features.on_error", "features.threads"),
        ("tables", "metrics.json"),
    ),
)
CHANGES_NOTHING = (  # where things lie and how the work is spread: Config.deciding, GeneratorConfig.deciding
    "data_root",
    "only_present",
    "features.workers",
    "features.device",
    *(f"generator.{key}" for key in ("base_url", "key_variable", "headers", "max_in_flight", "timeout", "retries",
                                     "prices", "max_cost", "batch", "poll", "answers")),
)  # fmt: skip


def pipeline(config: str = DEFAULT) -> dict[str, Any]:
    """The document of dvc.yaml. What this configuration does not make (no shots: no adapters) is left out.

    ValueError for an output that no phase has.
    """
    root = load_config(config).results.as_posix()
    jobs = _jobs(config)
    outputs = {o for job in jobs for o in job.outputs}
    lies_in = {o: _folder(o, _all(root)) for o in outputs}
    if stray := sorted(o for o, folder in lies_in.items() if folder is None):
        raise ValueError(f"no phase makes {stray[0]}; PHASES in {Path(__file__).name} says what each makes")
    filled = set(lies_in.values())
    stages: dict[str, Any] = {}
    for phase in PHASES:
        below = [f"{root}/{name}" for name in (*phase.made, *phase.kept)]
        if not filled & set(below):
            continue
        own = [job for job in jobs if any(_folder(o, below) for o in job.outputs)]
        inputs = {i for job in own for i in job.inputs}
        before = {_folder(i, _all(root)) or i for i in inputs & outputs} - set(below)
        kept = {name: {f"{root}/{name}": {"cache": False, "persist": True}} for name in phase.kept}
        stages[phase.name] = {
            "cmd": [
                f"snakemake {phase.target} --profile workflow/profiles/default --configfile {config}",
                f"coder-clip record --config {config}",
            ],
            "deps": sorted((inputs - outputs) | before),
            "params": [
                {config: keys_read(phase, config)},
                {COMMANDS.as_posix(): _commands(phase, {job.command for job in own})},
            ],
            "outs": [
                {f"{root}/{name}": {"persist": True}} for name in phase.made if f"{root}/{name}" in filled
            ]
            + [out for name, out in kept.items() if "." not in name],
        }
        if metrics := [out for name, out in kept.items() if "." in name]:
            stages[phase.name]["metrics"] = metrics
    plots = [
        {title: {"template": template, "x": x, "y": {f"{root}/tables/{name}.csv": y}}}
        for title, template, name, x, y in PLOTS
    ]
    return {"stages": stages, "plots": plots}


def keys_read(phase: Phase, config: str | Path) -> list[str]:
    """Keys of this configuration file whose change remakes something of the phase, as DVC writes them.

    DVC can only watch what is written. For a key that is not, it watches the table that the key would stand in, so
    that adding it counts (as does any other change of that table: write out what you vary).
    """
    written = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    found: list[str] = []
    for key in (*phase.params, *_read_here(phase.name, load_config(config))):
        found += [k for k in _written(written, key.split(".")) if k not in found]
    return [k for k in found if not any(k.startswith(other + ".") for other in found)]


def _read_here(phase: str, config: Config) -> tuple[str, ...]:
    """Keys that a phase reads with some configurations and not with others."""
    data_sets = config.datasets.items()
    pairs = any(d.generates_pairs for _, d in data_sets)
    if phase == "texts":
        made = any(d.generated(name) for name, d in data_sets)
        published = any(name in PUBLISHED and d.root is None for name, d in data_sets)
        return (
            *((*GENERATOR, *_of_data_sets("templates"), "models", "features.threads") if made else ()),
            *(_of_data_sets("shot_files") if published else ()),  # no shot is in a carved val
        )
    if phase != "one_to_one":
        return ()
    found = GENERATOR if pairs else ()
    if pairs or max(config.rerank.thresholds) < 1:  # else no gate is wider than every threshold of the grid
        found += GATE
    if any(d.one_to_one is None for _, d in data_sets):  # then `texts` says where they come from
        found += _of_data_sets("texts")
    return found


def _written(document: Any, key: list[str], before: tuple[str, ...] = ()) -> list[str]:
    """The key, for every data set if it has a *, as far as it is written; none where not even its table is."""
    name, rest = key[0], key[1:]
    if name == "*":
        names = list(document) if isinstance(document, dict) else []
        if not names or any(not isinstance(n, str) or "." in n for n in names):  # DVC takes dots apart
            return [".".join(before)]
        return [k for n in names for k in _written(document, [n, *rest], before)]
    if not isinstance(document, dict) or name not in document:
        return [".".join(before)] if before else []
    return _written(document[name], rest, (*before, name)) if rest else [".".join((*before, name))]


PLOTS = (  # title, template of .dvc/plots, table, x, y
    ("Top-1 (zero-shot)", "top1", "zero_shot", "accuracy", "method"),
    ("Few-shot", "few_shot", "few_shot", "shots", "accuracy"),
)


def _all(root: str) -> list[str]:
    return [f"{root}/{name}" for phase in PHASES for name in (*phase.made, *phase.kept)]


def _folder(path: str, below: list[str]) -> str | None:
    """The folder or file of dvc.yaml that an artefact lies in."""
    return next((b for b in below if path == b or path.startswith(b + "/")), None)


def _commands(phase: Phase, run: set[str]) -> list[str]:
    """Keys of workflow/commands.yaml that hold what jobs of this phase run. ValueError for one that it lacks."""
    listed = yaml.safe_load(COMMANDS.read_text(encoding="utf-8")).get(phase.name, {})
    if missing := run - set(listed.values()):
        raise ValueError(f"{COMMANDS}: '{phase.name}' lacks the command of a rule: {sorted(missing)[0]}")
    return [f"{phase.name}.{rule}" for rule, command in listed.items() if command in run]


@dataclass(frozen=True)
class _Job:
    inputs: set[str]
    outputs: set[str]
    command: str


def _jobs(config: str) -> list[_Job]:
    """Every job of the default target that makes something."""
    import contextlib
    import io

    from snakemake.api import OutputSettings, SnakemakeApi
    from snakemake.settings.types import ConfigSettings, Quietness, ResourceSettings

    with (
        contextlib.redirect_stdout(io.StringIO()),
        SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api,
    ):
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=[Path(config)]),
            snakefile=Path("Snakefile"),
        )
        workflow.dag().summary()
        jobs = workflow._workflow.dag.jobs
        return [
            _Job(set(map(str, j.input)), set(map(str, j.output)), str(j.rule.shellcmd))
            for j in jobs
            if j.output
        ]


def text(document: dict[str, Any], config: str = DEFAULT) -> str:
    """dvc.yaml as it is written."""
    with_config = f" {config}" if config != DEFAULT else ""
    return (
        f"{HEADER}{with_config} > dvc.yaml\n"
        "# Every stage calls Snakemake, which does only what is needed, and then checks what was made.\n"
        + yaml.safe_dump(document, sort_keys=False, width=110)
    )


def main() -> None:
    os.environ["CODER_CLIP_TRACKING"] = "off"
    config = sys.argv[1] if len(sys.argv) > 1 else DEFAULT
    print(text(pipeline(config), config), end="")


if __name__ == "__main__":
    main()
