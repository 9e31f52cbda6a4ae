"""dvc.yaml from the DAG: `python -m coder_clip.tracking.pipeline > dvc.yaml` after a rule or an import changed.

What a phase depends on besides the phases before it is what its rules list as inputs: the transitive imports of
its module, texts, weights; and the rule file, which holds the command. A test compares the file with what this prints.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CONFIG = "config/reproduce.yaml"


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
PHASES = (
    Phase("texts", "texts", ("manifests", "texts"), ("datasets",)),
    Phase("image_features", "image_features", ("image_features",), (*PLACE, *FEATURES, *SHOTS)),
    Phase(
        "text_features", "text_features", ("text_features",), (*PLACE, "features.threads", "evaluation.seed")
    ),
    Phase("coder", "coder", ("coder",), (*PLACE, "features.threads")),
    Phase("zero_shot", "zero_shot", ("zero_shot",), (*PLACE, "settings", *INTERVALS)),
    Phase("one_to_one", "one_to_one", ("one_to_one",), (*PLACE, "settings", "features.threads", "rerank")),
    Phase("rerank", "rerank", ("rerank",), (*PLACE, "settings", "rerank", *INTERVALS)),
    Phase("adapter", "adapter", ("adapter",), (*PLACE, "settings", "adapter", *INTERVALS)),
    Phase("evaluation", "evaluation", ("evaluation",), (*PLACE, "evaluation")),
    Phase("report", "report_page", ("figures", "report.html"), (), ("tables", "metrics.json")),
)
PLOTS: list[Any] = [
    {
        "Top-1 (zero-shot)": {
            "template": "top1",
            "x": "accuracy",
            "y": {"results/tables/zero_shot.csv": "method"},
        }
    },
    {
        "Few-shot": {
            "template": "few_shot",
            "x": "shots",
            "y": {"results/tables/few_shot.csv": "accuracy"},
        }
    },
]


def pipeline() -> dict[str, Any]:
    """The document of dvc.yaml."""
    jobs = _jobs()
    outputs = {o for _, out in jobs for o in out}
    stages = {}
    for phase in PHASES:
        below = tuple(f"results/{name}" for name in (*phase.made, *phase.kept))
        inputs = {
            i
            for ins, outs in jobs
            for i in ins
            if any(o == b or o.startswith(b + "/") for o in outs for b in below)
        }
        before = {_made_by(i) for i in inputs & outputs} - set(below)
        stages[phase.name] = {
            "cmd": [
                f"snakemake --profile workflow/profiles/default --configfile {CONFIG} {phase.target}",
                f"coder-clip record --config {CONFIG}",
            ],
            "deps": sorted((inputs - outputs) | before),
            "params": [{CONFIG: list(phase.params) or None}],
            "outs": [{f"results/{n}": {"persist": True}} for n in phase.made]
            + [{f"results/{n}": {"cache": False, "persist": True}} for n in phase.kept if "." not in n],
        }
        if metrics := [{f"results/{n}": {"cache": False, "persist": True}} for n in phase.kept if "." in n]:
            stages[phase.name]["metrics"] = metrics
    return {"stages": stages, "plots": PLOTS}


def _made_by(path: str) -> str:
    """The folder or file of dvc.yaml that an artefact lies in."""
    return next(
        b
        for p in PHASES
        for n in (*p.made, *p.kept)
        if path == (b := f"results/{n}") or path.startswith(b + "/")
    )


def _jobs() -> list[tuple[set[str], set[str]]]:
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
            config_settings=ConfigSettings(configfiles=[Path(CONFIG)]),
            snakefile=Path("Snakefile"),
        )
        workflow.dag().summary()
        jobs = workflow._workflow.dag.jobs
        return [
            ({*map(str, j.input), os.path.relpath(j.rule.snakefile)}, set(map(str, j.output))) for j in jobs
        ]


def main() -> None:
    os.environ["CODER_CLIP_TRACKING"] = "off"
    print("# The phases as DVC stages, made by: python -m coder_clip.tracking.pipeline > dvc.yaml")
    print("# Every stage calls Snakemake, which does only what is needed, and then checks what was made.")
    print(yaml.safe_dump(pipeline(), sort_keys=False, width=110), end="")


if __name__ == "__main__":
    main()
