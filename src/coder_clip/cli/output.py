"""The command for results that is no phase: summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ..datasets import BUILTIN, EMBEDDED
from ..encoders import families
from ..foundation.artifacts import Paths, present
from ..jobs import scope
from ..pipeline.config import Config, load_config
from .options import DEFAULT_CONFIG, OUTPUT, ConfigOption, app


@app.command(rich_help_panel=OUTPUT)
def summary(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Print the first screen of the report, and where the report is."""
    typer.echo(_summary(load_config(config)))


def _summary(config: Config) -> str:
    """The first screen of the report as text, or for own photos its answer.

    Then the paths of report, tables and figures (a clone has only the tables), and the next
    command.
    """
    from ..reporting.results import Results

    paths, results = Paths(config.results), Results(**scope(config))
    if not paths.claims.is_file():
        from ..reporting.formats import plain

        said = plain(present(paths.table("claims", ".md")).read_text(encoding="utf-8"))
    elif _own_photos(config):
        from ..reporting.answer import answers

        said = "\n\n".join("\n".join(_in_words(answer)) for answer in answers(results))
    else:
        from ..reporting.first_screen import first_screen, in_words

        said = "\n".join(in_words(first_screen(results)))
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


def _in_words(answer: Any) -> list[str]:
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
