"""What came out over many data sets, in one sentence."""

from __future__ import annotations

import pandas as pd

from ..claims import KNN, contested
from .parts import cells

CONTESTED = " (?)"
# Features that are compared with CODER -> their words in the first sentence
BESIDE_TEXTS = {
    "original": "raw features",
    "coder_few": "100 of the texts",
    "other_images": "as many images of other data sets",
    "own_images": "images of the data set",
    "rotated_texts": "the same texts rotated at random",
    "random_directions": "as many random directions",
    "centred": "centred raw features",
    "whitened": "whitened raw features",
}


def outcome(rows: pd.DataFrame) -> list[str]:
    """A sentence on what came out over all data sets of a model.

    It says what neighbours by texts are better than, and what not; none without such comparisons.
    rows: the model's records over all data sets.
    """
    said: dict[str, list[str]] = {"shown": [], "open": [], "contradicted": []}
    by_texts = rows[
        (rows["after"] == "coder")
        & (rows["measure"] == KNN)
        & rows["difference"].notna()
        & rows["verdict"].isin(said.keys())  # a mean of two data sets is not judged
    ]
    # the largest differences first
    for r in by_texts.sort_values("difference", ascending=False).to_dict("records"):
        mark = CONTESTED if contested(r["verdict"], r["p_holm"]) else ""
        words = BESIDE_TEXTS[r["before"]]
        said[r["verdict"]].append(f"{words} ({cells.points(r['difference'])}{mark})")
    parts = [
        f"{words} {', '.join(said[v])}"
        for v, words in (
            ("shown", "better than by"),
            ("open", "not clearly better than by"),
            ("contradicted", "worse than by"),
        )
        if said[v]
    ]
    if not parts:
        return []
    compared = int(
        by_texts[["data_sets_shown", "data_sets_contradicted", "data_sets_open"]].sum(axis=1).max()
    )
    return [
        f"Over {compared} data sets, neighbours by texts are {'; '.join(parts)}: the difference in "
        "points, k-NN."
    ]
