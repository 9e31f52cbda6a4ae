"""Checks before the first job of a run."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path

from ..errors import UserError
from ..pipeline.config import Config
from ..pipeline.resources import gpus
from . import quick_checks


def before_run(
    config: Config,
    file: Path,
    datasets: Collection[str],
    models: Collection[str],
    asks: bool,
    here: bool,
) -> None:
    """Check a run before its first job. UserError with everything that would stop the run.

    datasets, models: what the run lists or encodes. asks: True if the run asks a language model.
    here: True if jobs run on this machine; then models of the hub are looked for, and the estimate
    of a long run is printed.
    """
    _tell(quick_checks.unused_corrections(config, file))
    found = quick_checks.problems(config, file, datasets, models, asks)
    if here and any(not config.models[m].model.startswith("local-dir:") for m in models):
        from .checks import unused_gpu, weights  # they import torch, which takes seconds

        parts = [*(weights(config, m, load=False) for m in models), unused_gpu(config)]
        found += quick_checks.failed(*(partial(_tell, part) for part in parts))
    # a run that will not start needs no estimate
    if here and models and not found:
        estimate = quick_checks.forecast(
            config, gpus(config), quick_checks.sizes_without_manifest(config), quick_checks.SHORT
        )
        found += quick_checks.failed(partial(_tell, estimate))
    if found:
        raise UserError("\n".join(found))


def _tell(lines: Iterable[str]) -> None:
    """Print lines to stderr, one by one as they come."""
    for line in lines:
        print(line, file=sys.stderr, flush=True)
