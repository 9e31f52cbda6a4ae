"""Snakemake and DVC agree: what was made is recorded, what was pulled counts as made (docs/sharing.md).

Snakemake drives. dvc.yaml describes the same phases. `record` commits whole phases to DVC and keeps Snakemake's
records of them in Git (provenance/); `adopt` gives those records back to a Snakemake that finds pulled files.
The Snakefile calls the two functions below (workflow/rules/tracking.smk).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def before_run(config: str | Path) -> None:
    """Adopt pulled files. Trouble is one line; the run goes on without."""
    from ..errors import UserError
    from .gate import OFF

    if os.environ.get(OFF) == "off":
        return
    try:
        from .adopt import adopt
        from .stages import DVC_YAML, read_stages

        here = os.path.relpath(config)
        if DVC_YAML.is_file() and any(here in stage.configs for stage in read_stages()):
            from .messages import adopted

            _say(adopted(adopt()))
    except (UserError, OSError) as error:
        _say([f"pulled results could not be adopted: {error}"])


def after_run(config: str | Path, snakefile: str | Path) -> None:
    """Record finished phases. Trouble is one line; a good run stays a good run."""
    from ..errors import UserError
    from .gate import OFF

    if os.environ.get(OFF) == "off" or "DVC_STAGE" in os.environ:  # there the stage's own command records
        return
    try:
        from .messages import recorded
        from .record import record

        _say(recorded(record(config, snakefile)))
    except (UserError, OSError) as error:
        _say([str(error)])


def _say(lines: list[str]) -> None:
    for line in lines:
        print(f"coder-clip: {line}", file=sys.stderr, flush=True)
