"""Commands, options, configuration keys and values of earlier versions: what to use instead.

One table, one entry per word. A command or an option is written as it was typed; a key, a table, a
figure or a method by its bare name.
"""

from __future__ import annotations

SMOKE = "run 'snakemake smoke --profile workflow/profiles/slurm'"
OLD_WORDS = {
    "analogous_names": "table text_kinds has what analogous classes add",
    "bootstrap": "leave it out, intervals of accuracies are computed, not resampled",
    "candidates": "figure rerank_threshold shows the rerank by its threshold",
    "class_means": "leave it out",
    "coder-clip check --all-nodes": SMOKE,
    "coder-clip check --no-probe": "leave it out, because the check submits no job",
    "coder-clip check --only-present": "set CODER_CLIP_ONLY_PRESENT=1 before the command",
    "coder-clip check --probe": SMOKE,
    "coder-clip check --propose": "fit the lines with SITE in workflow/profiles/slurm/config.yaml",
    "coder-clip check --wait": "leave it out, because the check waits for no node",
    "coder-clip data check --root": "set CODER_CLIP_DATA=FOLDER before the command",
    "coder-clip data get --root": "set CODER_CLIP_DATA=FOLDER before the command",
    "coder-clip index": "leave it out, classify, find and explore keep features by themselves",
    "coder-clip merge": "take either side of dvc.lock, commit, pull and run (docs/sharing.md)",
    "coder-clip merge-shards --shards": "set features.shards in the configuration",
    "coder-clip review": "git fetch, dvc metrics diff REF, git diff REF -- results/tables",
    "claims_by_data_set": "table claims.csv has a row for each claim and data set",
    "claims_not_tested": "a note below the table of claims says what a run cannot test",
    "coverage": "'comparisons' in rerank/MODEL/DATASET.json counts what has texts",
    "few_shot_paired": "coder_adapter_against in results/adapter/MODEL/DATASET/SHOTS.json has it",
    "hyperparameters": "'runs' in adapter/MODEL/DATASET/SHOTS.json has the values of every seed",
    "isoclip": "compare with 'projected' or 'whitened'",
    "mixed_prototypes": "use 'gda', whose discriminant it had",
    "name_dose": "leave it out",
    "of": "give each set of texts a configuration with results of its own",
    "top_ks": "leave it out; rerank.top_k is the number of classes that are compared",
    "again": "reject the texts instead; where too few are left, the next run asks for others",
    "coder-clip texts agreement": "compare the two lists with sklearn.metrics.cohen_kappa_score",
    "coder-clip texts review --again": (
        "reject the texts with --reject; where too few are left, the next run asks for others"
    ),
    "coder-clip texts review --undo": (
        "delete the text from NAME.review.json in the folder of the answers"
    ),
    "coder-clip texts sheet": (
        "read the file of the set beside photos; 'coder-clip texts weigh' ranks its texts by effect"
    ),
    "coder-clip texts skeleton": "write the file by hand, as docs/texts_writing.md shows",
    "foreign": "leave the section out: texts of other languages are not looked for",
    "hues": "leave the section out: opposite texts are not looked for",
    "opposites": "leave the section out: opposite texts are not looked for",
    "shot_files": "leave it out",
    "spelled": "leave the section out: spelling is not checked",
    "structured": "leave it out",
    "unwritten": "leave the section out; patterns of whole texts go into the section nothing",
}


def instead(word: str) -> str | None:
    """What to use instead of a word of an earlier version; None if no version had it."""
    advice = OLD_WORDS.get(word)
    return advice and f"'{word}' was removed: {advice}"
