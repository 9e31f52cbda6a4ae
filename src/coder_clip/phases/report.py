"""Phase report, the page: report.html and metrics.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..foundation.artifacts import write_json
from ..reporting import page
from ..reporting.results import Results
from .figure import image_loader


def run(
    *,
    inputs: list[str],
    out: str,
    metrics: str,
    scope: dict[str, Any],
    sources: dict[str, dict[str, Any]],
    title: str,
    note: str,
    shown: dict[str, Any],
    config_file: str,
    command: str,
    data_root: str | None,
) -> None:
    """Write one self-contained page, and metrics.

    inputs: what it shows. scope: of the results. sources: data set -> fields of `Source`. shown:
    the configuration as the page shows it. config_file: for commands; "" for the default. command:
    that makes the run.
    """
    results = Results(**scope, config_file=config_file)
    write_json(metrics, page.metrics(results))
    page.render(
        results,
        Path(out),
        title=title,
        note=note,
        config_text=yaml.safe_dump(shown, sort_keys=False),
        reproduce=command,
        image=image_loader(sources, data_root),
    )
