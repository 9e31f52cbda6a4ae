"""dvc.yaml from the DAG: `python -m coder_clip.tracking.pipeline > dvc.yaml` after a rule or an import changed.

With the name of another configuration it describes that one: a repository tracks the results of one configuration.

What a phase depends on besides the phases before it is what its rules list as inputs: the transitive imports of
its module, texts, weights; and the rule file, which holds the command. A test compares the file with what this prints.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..config import load_config

DEFAULT = "config/reproduce.yaml"


@dataclass(frozen=True)
class Phase:
    """target: of Snakemake. made: names below results/. kept: those that stay in Git, small and for people.

    params: keys of the configuration whose change remakes something; none means any key.
    """

    name: str
    target: str
    made: tuple[str, ...]
    params: tuple[str, ...]
    kept: tuple[str, ...] = ()


PLACE = ("datasets", "models")
INTERVALS = ("evaluation.bootstrap", "evaluation.seed")
SHOTS = ("adapter.shots", "adapter.seeds", "adapter.repeat_shots")
FEATURES = ("features.batch_size", "features.on_error", "features.shards", "features.threads")
GENERATOR = tuple(
    f"generator.{key}"
    for key in ("model", "temperature", "seed", "max_tokens", "extra", "structured", "counts", "encoder", "max_pairs",
                "repeats", "on_failure")
)  # fmt: skip
PHASES = (
    Phase("texts", "texts", ("manifests", "texts"), ("datasets", *GENERATOR)),
    Phase("image_features", "image_features", ("image_features",), (*PLACE, *FEATURES, *SHOTS)),
    Phase(
        "text_features", "text_features", ("text_features",), (*PLACE, "features.threads", "evaluation.seed")
    ),
    Phase("coder", "coder", ("coder",), (*PLACE, "features.threads")),
    Phase("zero_shot", "zero_shot", ("zero_shot",), (*PLACE, "settings", *INTERVALS)),
    Phase(
        "one_to_one",
        "one_to_one",
        ("one_to_one",),
        (*PLACE, "settings", "features.threads", "rerank", *GENERATOR),
    ),
    Phase("rerank", "rerank", ("rerank",), (*PLACE, "settings", "rerank", *INTERVALS)),
    Phase("adapter", "adapter", ("adapter",), (*PLACE, "settings", "adapter", *INTERVALS)),
    Phase("evaluation", "evaluation", ("evaluation",), (*PLACE, "evaluation")),
    Phase("report", "report_page", ("figures", "report.html"), (), ("tables", "metrics.json")),
)


def pipeline(config: str = DEFAULT) -> dict[str, Any]:
    """The document of dvc.yaml."""
    root = load_config(config).results.as_posix()
    written = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    jobs = _jobs(config)
    outputs = {o for _, out in jobs for o in out}
    stages: dict[str, Any] = {}
    for phase in PHASES:
        below = [f"{root}/{name}" for name in (*phase.made, *phase.kept)]
        inputs = {i for ins, outs in jobs for i in ins if any(_folder(o, below) for o in outs)}
        before = {_folder(i, _all(root)) or i for i in inputs & outputs} - set(below)
        kept = {name: {f"{root}/{name}": {"cache": False, "persist": True}} for name in phase.kept}
        stages[phase.name] = {
            "cmd": [
                f"snakemake {phase.target} --profile workflow/profiles/default --configfile {config}",
                f"coder-clip record --config {config}",
            ],
            "deps": sorted((inputs - outputs) | before),
            "params": [{config: [key for key in phase.params if _has(written, key)] or None}],
            "outs": [{f"{root}/{name}": {"persist": True}} for name in phase.made]
            + [out for name, out in kept.items() if "." not in name],
        }
        if metrics := [out for name, out in kept.items() if "." in name]:
            stages[phase.name]["metrics"] = metrics
    plots = [
        {title: {"template": template, "x": x, "y": {f"{root}/tables/{name}.csv": y}}}
        for title, template, name, x, y in PLOTS
    ]
    return {"stages": stages, "plots": plots}


PLOTS = (  # title, template of .dvc/plots, table, x, y
    ("Top-1 (zero-shot)", "top1", "zero_shot", "accuracy", "method"),
    ("Few-shot", "few_shot", "few_shot", "shots", "accuracy"),
)


def _all(root: str) -> list[str]:
    return [f"{root}/{name}" for phase in PHASES for name in (*phase.made, *phase.kept)]


def _folder(path: str, below: list[str]) -> str | None:
    """The folder or file of dvc.yaml that an artefact lies in."""
    return next((b for b in below if path == b or path.startswith(b + "/")), None)


def _has(document: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(document, dict) or part not in document:
            return False
        document = document[part]
    return True


def _jobs(config: str) -> list[tuple[set[str], set[str]]]:
    """Inputs, the rule file among them, and outputs of every job of the default target."""
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
            ({*map(str, j.input), os.path.relpath(j.rule.snakefile)}, set(map(str, j.output))) for j in jobs
        ]


def main() -> None:
    os.environ["CODER_CLIP_TRACKING"] = "off"
    config = sys.argv[1] if len(sys.argv) > 1 else DEFAULT
    with_config = f" {config}" if config != DEFAULT else ""
    print(
        f"# The phases as DVC stages, made by: python -m coder_clip.tracking.pipeline{with_config} > dvc.yaml"
    )
    print("# Every stage calls Snakemake, which does only what is needed, and then checks what was made.")
    print(yaml.safe_dump(pipeline(config), sort_keys=False, width=110), end="")


if __name__ == "__main__":
    main()
