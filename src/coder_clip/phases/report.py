"""Phase report, the page: report.html and metrics.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from ..datasets import BUILTIN, EMBEDDED
from ..encoders import families
from ..foundation.artifacts import Paths, present, write_json
from ..foundation.reads import deciding
from ..reporting import page
from ..reporting.answer import ReportAnswer, answers
from ..reporting.formats import plain
from ..reporting.results import Results
from .figure import image_loader

if TYPE_CHECKING:
    from pathlib import Path

    from ..pipeline.config import Config


def run(config: Config) -> None:
    """Write ``report.html`` and ``metrics.json`` of a finished run."""
    paths, file, command = Paths(config.results), config.file, "make reproduce"
    if file == "config/reproduce.yaml":
        file = ""  # the default needs no option
    else:
        command += f" CONFIG={file}"
    results = Results.of(config, file)
    write_json(paths.metrics, page.metrics(results))
    left_out = list(config.left_out)
    # the configuration as the page shows it: title and note first, then the other keys
    document = deciding(config)
    shown = {key: document.pop(key) for key in ("title", "note")}
    shown |= {"results": str(config.results), "only_present": left_out, **document}
    if left_out:
        shown["left_out"] = left_out
    page.render(
        results,
        paths.report,
        title=config.title,
        note=config.note,
        config_text=yaml.safe_dump(shown, sort_keys=False),
        reproduce=command,
        image=image_loader(config),
    )


def summary(config: Config) -> str:
    """The claims as text, or for own photos the report's answer.

    Then the paths of report, tables and figures (a clone has only the tables), and the next
    command.
    """
    paths = Paths(config.results)
    said = plain(present(paths.table("claims", ".md")).read_text(encoding="utf-8"))
    if _own_photos(config) and paths.report.is_file():
        found = answers(Results.of(config))
        said = "\n\n".join("\n".join(_in_words(answer)) for answer in found)
    places = {
        "report": paths.report,
        "tables": paths.table("claims", ".md").parent,
        "figures": paths.figure("few_shot", ".png").parent,
    }
    lines = [f"{name}: {_place(path)}" for name, path in places.items()]
    return "\n".join(["", config.title, "", said, "", *lines, f"next: {_next(config)}"])


def _own_photos(config: Config) -> bool:
    """True if all data sets are folders of photos, whose owner does not ask about the paper."""
    own = [d for d in config.datasets.values() if d.root is not None]
    return len(own) == len(config.datasets)


def _in_words(answer: ReportAnswer) -> list[str]:
    """The lines of an answer on the terminal: where it is from, numbers, advice."""
    where = answer.dataset
    if answer.model:
        where = f"{answer.dataset}, {answer.model}"
    return [f"{where}: {answer.numbers}", answer.advice, *answer.more]


def _next(config: Config) -> str:
    """The command that most people want after this run, and what it does."""
    if config.datasets.keys() <= set(EMBEDDED):
        return "make first  (first real numbers: three published data sets, about an hour)"
    # a model whose texts are features encodes no edited text, so it has no page of `explore`
    encoders = [name for name, m in config.models.items() if families.encodes(m.model)]
    # for the first own data set with validation images, the page of its errors
    for name in config.datasets:
        if name in BUILTIN or not config.has_val(name) or not encoders:
            continue
        which = ""
        if len(config.datasets) > 1:
            which = f" --dataset {name}"
        if len(config.models) > 1:
            which += f" --model {encoders[0]}"
        return (
            f"coder-clip explore {config.results}{which}  (the errors with their reasons; texts to "
            "improve)"
        )
    return "make push  (shares the results: docs/sharing.md)"


def _place(path: Path) -> str:
    """The path, with "/" after a folder; a message if it does not exist."""
    if not path.exists():
        return f"{path} is not here; 'make pull' or 'make reproduce' brings it"
    if path.is_dir():
        return f"{path}/"
    return f"{path}"
