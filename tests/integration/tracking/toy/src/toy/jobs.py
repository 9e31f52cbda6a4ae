"""The list of jobs of the toy, in place of coder_clip/jobs.py."""

from pathlib import Path
from types import SimpleNamespace

import yaml

from coder_clip.pipeline.phases import Phase
from coder_clip.rerun.record import Job

PHASES = (
    Phase("texts", ("texts",)),
    Phase("features", ("features",)),
    Phase("scores", ("scores",)),
    Phase(
        "report",
        ("report.html", "tables", "metrics.json"),
        target="report_page",
        keeps=("tables", "metrics.json"),
    ),
)
ASKED = ("hang", "hanging", "pause", "fail")  # by a test, and no result depends on it


def load_config(path, **_):
    given = yaml.safe_load(Path(path).read_text())
    return SimpleNamespace(**{"results": "results", "title": "", **given})


def jobs(config):
    """All jobs of a configuration."""
    of_sets = [
        job(config, rule, name) for name in config.sets for rule in ("text", "feature", "score")
    ]
    return [*of_sets, job(config, "page")]


def job(config, rule, name=""):
    """The job of a rule."""
    results = Path(config.results).as_posix()
    texts, features = f"{results}/texts/{name}.json", f"{results}/features/m/{name}.bin"
    scores = f"{results}/scores/m/{name}"
    if rule == "text":
        made = {"source": f"data/{name}.txt"}, {"out": texts}, {"words": config.words}
    elif rule == "feature":
        made = (
            {"words": texts, "weights": "data/weights.bin"},
            {"out": features},
            {"scale": config.scale},
        )
    elif rule == "score":
        settings = {"threshold": config.threshold, "plus": 0}
        made = {"feature": features}, {"out": f"{scores}.json", "rows": f"{scores}.csv"}, settings
    else:
        read = {"scores": [f"{results}/scores/m/{name}.json" for name in config.sets]}
        page = {"out": "report.html", "metrics": "metrics.json", "table": "tables/main.csv"}
        made = read, {k: f"{results}/{v}" for k, v in page.items()}, {"title": config.title}
    phase = {"text": "texts", "feature": "features", "score": "scores", "page": "report"}[rule]
    ignored = [*ASKED, f"{results}/benchmarks", f"{results}/certificates"]
    return Job(
        "/".join(filter(None, [phase, rule, name])),
        f"toy.{rule}:run",
        *made,
        here={"note": 0},
        ignore={"folders": ignored, "changing": [results]},
    )


def install():
    """Let coder-clip read this list."""
    import coder_clip.jobs
    import coder_clip.pipeline.config
    import coder_clip.pipeline.phases

    coder_clip.pipeline.phases.PHASES = coder_clip.jobs.PHASES = PHASES
    coder_clip.jobs.jobs = jobs
    coder_clip.pipeline.config.load_config = load_config
