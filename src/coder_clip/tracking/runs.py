"""What a run does about sharing: before its first job, and after its last."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping

from ..errors import UserError
from ..pipeline.environment import foreign_code
from ..rerun.judge import FOLLOWS, MISSING, NONE
from .record import STAGE, check_stage, record
from .stages import SameFolder, tracked


def before(file: str) -> None:
    """Say what is wrong before a run is planned. file: of the configuration.

    UserError if jobs would run other code than that of this folder, and under `dvc repro` if the
    phase has files that no job makes.
    """
    reason = foreign_code()
    if reason:
        raise UserError(reason)
    if STAGE in os.environ:
        check_stage(file, after=False)


def planned(file: str, reasons: Mapping[str, str]) -> None:
    """Say whose results a run overwrites, how many it makes again, and why.

    file: of the configuration. reasons: job -> why it must run.
    """
    try:
        tracked(file)
    except SameFolder as error:
        _say(str(error))
    except UserError:
        pass  # `after` says it
    changed = [why for why in reasons.values() if why not in (FOLLOWS, MISSING, NONE)]
    if changed:
        kinds = Counter(why.partition(" (")[0] for why in changed)
        said = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common())
        _say(f"made again: {len(reasons)} jobs, because {said}; 'coder-clip status' tells more", "")


def after(file: str) -> None:
    """Record finished phases. Problems are printed, and the run succeeds.

    UserError under `dvc repro`, which records what it finds, if its phase is not complete.
    """
    if STAGE in os.environ:
        check_stage(file, after=True)
        return
    try:
        lines = record(file).lines
    except (UserError, OSError) as error:
        lines = [str(error)]
    for line in lines:
        _say(line)


def _say(line: str, program: str = "coder-clip: ") -> None:
    print(f"{program}{line}", file=sys.stderr, flush=True)
