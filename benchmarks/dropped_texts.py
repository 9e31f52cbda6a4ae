"""Does dropping what hurts on training images help on test images?

``python -m benchmarks.dropped_texts --config config/reproduce.yaml``

Texts are weighed on a run's training shots (``coder-clip texts weigh``), and those advised to drop
are left out of stage one on the test images, which played no part in the advice. Controls: as many
texts of the same classes and kinds dropped at random, and the opposite choice, the texts with the
best net effect dropped. Prints a Markdown table; a positive difference says that dropping helps.

With --prompts the prompts of a data set count as texts of its classes. So WHU-RS19, for which 106
prompts per class are published as features of true CLIP (docs/true_clip.md), is one more case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from coder_clip.cli.texts_weigh import stage_one_of
from coder_clip.evaluation.estimates import Estimate, as_estimate, paired_test_over_seeds
from coder_clip.evaluation.text_ablations import StageOne
from coder_clip.evaluation.text_weights import Weight, weigh
from coder_clip.phases.common import SHOTS, Texts, read_image_features, read_texts
from coder_clip.pipeline.config import load_config

DRAWS = 20  # of texts dropped at random
HEAD = "| data set | model | dropped | of | accuracy with all | advised | at random | the best |"


def without(stage_one: StageOne, rows: Sequence[int]) -> NDArray[np.bool_]:
    """The texts (M,) that stage one uses, but for some rows."""
    keep = stage_one.name | stage_one.other
    keep[list(rows)] = False
    return keep


def as_many(
    weights: Sequence[Weight], dropped: Sequence[Weight], order: NDArray[np.float64]
) -> list[int]:
    """Rows of as many texts of each class and kind as were dropped, those first in ``order``.

    order: a number for each of ``weights``; small numbers go first.
    """
    rows = []
    for key in {(weight.owner, weight.kind) for weight in dropped}:
        n = sum((weight.owner, weight.kind) == key for weight in dropped)
        of_key = [i for i, weight in enumerate(weights) if (weight.owner, weight.kind) == key]
        rows += [weights[i].row for i in sorted(of_key, key=lambda i: order[i])[:n]]
    return rows


def change(stage_one: StageOne, draws: Sequence[Sequence[int]]) -> Estimate:
    """The accuracy without these texts minus the accuracy with all, over several choices."""
    after = np.stack([stage_one.correct(without(stage_one, rows)) for rows in draws])
    before = np.broadcast_to(stage_one.correct(without(stage_one, [])), after.shape)
    test = paired_test_over_seeds(before, after, groups=stage_one.groups)
    return as_estimate(test["difference"])


def compared(shots: StageOne, test: StageOne, seed: int = 0) -> dict[str, Any]:
    """Weigh texts on the shots, and compare what dropping them does on the test images."""
    weights = weigh(shots)
    dropped = [weight for weight in weights if weight.advice == "drop"]
    rng = np.random.default_rng(seed)
    net = np.array([weight.net["value"] for weight in weights])
    drawn = [as_many(weights, dropped, rng.random(len(weights))) for _ in range(DRAWS)]
    return {
        "texts": len(weights),
        "dropped": len(dropped),
        "accuracy": float(test.correct(without(test, [])).mean()),
        "advised": change(test, [[weight.row for weight in dropped]]),
        "at random": change(test, drawn),
        "the best": change(test, [as_many(weights, dropped, -net)]),
    }


def shown(estimate: Estimate) -> str:
    """A difference in points, with its interval."""
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    return f"{value:+.1f} [{low:.1f}, {high:.1f}]"


def prompts_as_texts(texts: Texts) -> Texts:
    """The texts of a run with its prompts as attributes."""
    kinds = ["attribute" if kind == "prompt" else kind for kind in texts.sentences.kind]
    return replace(texts, sentences=replace(texts.sentences, kind=kinds))


def main(
    config: Annotated[Path, typer.Option()] = Path("config/reproduce.yaml"),
    dataset: Annotated[str, typer.Option(help="One data set; default: all.")] = "",
    prompts: Annotated[bool, typer.Option("--prompts", help="Prompts count as texts.")] = False,
) -> None:
    """Print a row per data set and model of a configuration whose features are there."""
    c = load_config(config)
    print(HEAD)
    print("| --- " * HEAD.count(" | ") + "| --- |")
    for model in c.models:
        for name in [dataset] if dataset else c.datasets:
            splits = {
                split: read_image_features(c, model, name, split) for split in (SHOTS, "test")
            }
            texts = read_texts(c, model, name, splits["test"])
            if prompts:
                texts = prompts_as_texts(texts)
            shots, test = (stage_one_of(images, texts) for images in splits.values())
            row = compared(shots, test)
            cells = [name, model, row["dropped"], row["texts"], f"{100 * row['accuracy']:.1f}"]
            cells += [shown(row[key]) for key in ("advised", "at random", "the best")]
            print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    typer.run(main)
