"""Commands, options, configuration keys and values of earlier versions: what to use instead.

One table, one entry per word. A command or an option is written as it was typed; a key, a table, a
figure or a method by its bare name.
"""

from __future__ import annotations

SMOKE = "run 'snakemake smoke --profile workflow/profiles/slurm'"
OLD_WORDS = {
    "coder-clip check --all-nodes": SMOKE,
    "coder-clip check --no-probe": "leave it out, because the check submits no job",
    "coder-clip check --probe": SMOKE,
    "coder-clip check --propose": "fit the lines with SITE in workflow/profiles/slurm/config.yaml",
    "coder-clip check --wait": "leave it out, because the check waits for no node",
    "coder-clip merge": "take either side of dvc.lock, commit, pull and run (docs/sharing.md)",
    "coder-clip review": "git fetch, dvc metrics diff REF, git diff REF -- results/tables",
    "shot_files": "leave it out",
    "structured": "leave it out",
}


def instead(word: str) -> str | None:
    """What to use instead of a word of an earlier version; None if no version had it."""
    advice = OLD_WORDS.get(word)
    return advice and f"'{word}' was removed: {advice}"
