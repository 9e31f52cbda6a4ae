"""Snakemake and DVC agree: what was made is recorded, what was pulled counts as made (docs/sharing.md).

Snakemake drives. A run notes what each job read and made (ledger.py); `record` commits whole phases to DVC, with a
record of how their files were made; `adopt` tells Snakemake of files that DVC brought. Every decision compares such
statements with the tree that is here. The Snakefile calls the functions below (workflow/rules/tracking.smk).
"""

from __future__ import annotations

import os
import sys
from typing import Any

READS = (  # options of Snakemake with which it makes nothing
    *(
        "dryrun",
        "touch",
        "summary",
        "detailed_summary",
        "lint",
        "unlock",
        "dag",
        "rulegraph",
        "filegraph",
        "d3dag",
    ),
    *(
        "report",
        "reporter",
        "containerize",
        "generate_unit_tests",
        "archive",
        "cleanup_metadata",
        "cleanup_shadow",
    ),
    *(
        "list_target_rules",
        "list_rules",
        "list_changes",
        "list_input_changes",
        "list_params_changes",
        "list_untracked",
    ),
    *("list_conda_envs", "conda_cleanup_envs", "conda_create_envs_only", "print_compilation"),
    *("delete_all_output", "delete_temp_output"),
)


_planned: dict[str, str] = {}  # configuration -> what it held when its values were read


def before_run(config: str) -> None:
    """At the start of a run that makes something, adopt pulled files. One that only looks changes nothing.

    Ends the process where jobs would run other code than what is here. Other trouble is one line; the run goes on.
    """
    from ..errors import UserError
    from .snakemake import OFF

    if os.environ.get(OFF) == "off" or not _snakemake():
        return
    from .adopt import adopt, untold
    from .ledger import foreign_code, state_of
    from .stages import tracked

    _planned[config] = state_of(config)
    try:
        t = tracked(config)
    except UserError:
        return  # it is not recorded either, and says so at its end
    try:
        given = _arguments()
        if any(getattr(given, name, None) for name in READS):
            tells = given.dryrun or given.summary or given.detailed_summary  # what is current
            if tells and untold(t):
                _say(
                    [
                        "dvc.lock has changed since results came here; 'coder-clip pull' brings those that it records"
                    ]
                )
            return
        if code := foreign_code():
            sys.exit(
                f"coder-clip: error: jobs would run the code in {code} and not that in ./src; 'make install' here, and "
                "use .venv/bin (or 'source .venv/bin/activate')"
            )
        _say(adopt(t).lines())
    except (UserError, OSError) as error:
        _say([f"pulled results could not be adopted: {error}"])


def on_start(workflow: Any, config: str) -> None:
    """Before the first job: note from now on what jobs read and make, unless files are only touched."""
    from .ledger import Watch, foreign_code
    from .snakemake import OFF

    if os.environ.get(OFF) != "off" and not workflow.touch and not foreign_code():
        Watch(workflow, config, _planned.get(config, ""))


def after_run(config: str) -> None:
    """Record finished phases. Trouble is one line; a good run stays a good run."""
    from ..errors import UserError
    from .snakemake import OFF

    if os.environ.get(OFF) == "off" or "DVC_STAGE" in os.environ:  # there the stage's own command records
        return
    try:
        from .record import record

        t, outcome = record(config)
        _say(outcome.lines(t))
    except (UserError, OSError) as error:
        _say([str(error)])


def _snakemake() -> bool:
    """Whether this process is the command, and no program that uses Snakemake as a library."""
    return os.path.basename(sys.argv[0]) in ("snakemake", "__main__.py")


def _arguments() -> Any:
    from snakemake.cli import parse_args

    return parse_args(sys.argv[1:])[1]


def _say(lines: list[str]) -> None:
    for line in lines:
        print(f"coder-clip: {line}", file=sys.stderr, flush=True)
