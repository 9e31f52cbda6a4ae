"""Reproduced numbers beside published ones (data/reference).

A number is compared if images and encoder are the same: a published data set, whole, and OpenAI's
weights. Nothing that this project drew or trained is ever compared with a paper.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from ...baselines.methods import METHODS
from ...datasets import PUBLISHED
from ...datasets.entry import entry
from ...protocols import PUBLISHED_INITIAL, PUBLISHED_THRESHOLDS
from ..parts import cells, frames
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Published figures"
ORDER = 10
PHASES = ("zero_shot", "rerank", "adapter")

REFERENCE = Path("data/reference")
QUOTED = "(as quoted)"
OFFICIAL = (
    "imagenet",
    "imagenet_v2",
)  # one test set for everybody, and the sentences that open_clip ships
# CLIP_benchmark's metrics; open_clip's list has one number per data set, for these the mean class
# recall
METRICS = {
    "acc1": "accuracy",
    "acc5": "top5_accuracy",
    "mean_per_class_recall": "mean_class_recall",
}
RECALL = ("caltech101", "fgvc_aircraft", "oxford_flowers", "oxford_pets")
UNKNOWN = "the paper; nobody could verify its figures"
NOTES = {"ape": "with CuPL's sentences"}

CAPTION = (
    "Reproduced numbers, each with its 95 % interval, beside what others report, with the source. "
    "Within: whether the "
    "published figure is in our interval. Targets are of the same images; bands are of another "
    "split or of other "
    "sentences, and show only that nothing is broken. Unknown: nobody could verify the figure, so "
    "none is shown."
)
WHY_NOT = (
    "no data set of this run is a published one, whole, encoded with the weights that published "
    "figures are of "
    "(OpenAI's)"
)
QUANTITIES = {
    "accuracy": "top-1",
    "top5_accuracy": "top-5",
    "mean_class_recall": "mean class recall",
}
COLUMNS = [
    *(
        "dataset",
        "model",
        "method",
        "shots",
        "setting",
        "quantity",
        "reproduced",
        "low",
        "high",
        "published",
    ),
    *("difference", "within", "compares", "published_as", "source", "note"),
]


@dataclass(frozen=True)
class Figure:
    """A published number.

    value: a share in [0, 1]; None if the figure is unknown. target: whether it is of the same
    images; else it is a band that shows whether anything is broken.
    """

    method: str
    shots: int
    quantity: str
    value: float | None
    published_as: str
    source: str
    target: bool
    note: str = ""


def nothing(results: Results) -> str:
    """Why no number is compared with a published one."""
    return "" if any(True for _ in _compared(results)) else WHY_NOT


def table(results: Results) -> Table:
    """Every number of the run that a published figure is of."""
    # Only figures of the same images ("target") can be reproduced, so the note counts these alone.
    records = list(_compared(results))
    targets = [r["within"] for r in records if r["compares"] == "target"]
    within = (
        f"{targets.count('yes')} of {len(targets)} published figures of the same images are "
        "within our interval."
    )
    numbers = dict.fromkeys(("reproduced", "low", "high", "published", "difference"), float)
    return cells.table(
        results,
        "Against published figures",
        CAPTION if records else f"Nothing is compared: {WHY_NOT}.",
        frames.tidy(records, COLUMNS).astype(numbers),
        [
            (Column("Method", numeric=False), cells.method_and_shots),
            (Column("What", numeric=False, wide=True), lambda r: Cell(QUANTITIES[r["quantity"]])),
            (Column("Reproduced (%)"), _reproduced_cell),
            (Column("Published (%)"), _published_cell),
            (
                Column("Difference (points)", wide=True),
                lambda r: Cell(cells.points(r["difference"]), r["difference"]),
            ),
            (Column("Within", numeric=False), cells.words("within")),
            (Column("Is a", numeric=False), cells.words("compares")),
            (Column("Published as; source", numeric=False, wide=True), _source),
        ],
        notes=[within if targets else ""],
    )


def _compared(results: Results) -> Iterator[dict[str, Any]]:
    for dataset, model in results:
        manifest = results.manifest(dataset)
        name = comparable(dataset, manifest, results.encoder(dataset, model))
        for figure in figures(dataset, name, manifest["split"]) if name else ():
            m = _reproduced(results, dataset, model, figure)
            if m:
                estimate, published = m[figure.quantity], figure.value
                low, high = estimate["low"], estimate["high"]
                reproduced = estimate.get("value", estimate.get("mean"))
                row = {"dataset": dataset, "model": model, "setting": m["setting"], **vars(figure)}
                row |= {"reproduced": reproduced, "low": low, "high": high, "published": published}
                if published is None:
                    yield {**row, "within": "unknown", "compares": "–"}
                else:
                    within = "yes" if low <= published <= high else "no"
                    compares = "target" if figure.target else "band"
                    difference = reproduced - published
                    yield {**row, "difference": difference, "within": within, "compares": compares}


def _reproduced_cell(r: cells.Record) -> Cell:
    return Cell(cells.with_interval(r["reproduced"], r["low"], r["high"]), r["reproduced"])


def _published_cell(r: cells.Record) -> Cell:
    return Cell(
        "unknown" if pd.isna(r["published"]) else cells.percent(r["published"]), r["published"]
    )


def _source(r: cells.Record) -> Cell:
    return Cell("; ".join(t for t in (r["published_as"], r["source"], r["note"]) if t))


def _reproduced(
    results: Results, dataset: str, model: str, figure: Figure
) -> dict[str, Any] | None:
    """This run's method: baselines in its main setting, CODER as the published code runs it, where
    the run has that.
    """
    methods = results.methods(dataset, model)
    if figure.shots:
        run = figure.shots in results.shots_of(dataset)
        methods = results.adapter(dataset, model, figure.shots)["summary"] if run else []
    found = {
        m["setting"]: m for m in methods if m["method"] == figure.method and m.get(figure.quantity)
    }
    # CODER as its authors ran it, if the run has that setting
    order = ["as_published"] if figure.method.startswith("coder") else []
    return next((found[s] for s in (*order, results.main_setting, "any") if s in found), None)


def comparable(dataset: str, manifest: dict[str, Any], encoder: dict[str, Any]) -> str | None:
    """The encoder's published name, if a run's numbers on this data set may be compared with
    published ones.

    manifest: of the data set; encoder: what made its image features. None for folders, data sets
    that the project draws, other weights than OpenAI's, and a split that lacks images.
    """
    if dataset not in PUBLISHED or encoder.get("pretrained") != "openai":
        return None
    # the same split with the same counts: no image is missing
    whole = any(
        r.what == manifest.get("split") and dict(r.counts) == manifest["images"]
        for r in entry(dataset).splits
    )
    return str(encoder["model"]) if whole else None


def figures(dataset: str, model: str, split: str) -> list[Figure]:
    """Published numbers of a data set and encoder, of methods that this project has, by shots and
    method.

    split: as the manifest says it. The CODER paper's own are unknown.
    """
    coop = split == "CoOp's split" or dataset in OFFICIAL
    unknown = [("coder", 0), ("coder_rerank", 0)] if dataset in PUBLISHED_THRESHOLDS else []
    unknown += (
        [("coder_adapter", shots) for shots in (1, 2, 4, 8, 16)]
        if dataset in PUBLISHED_INITIAL
        else []
    )
    found = [
        *_zero_shot(dataset, model),
        *_few_shot(dataset, model, coop),
        *(Figure(m, shots, "accuracy", None, "CODER", UNKNOWN, False) for m, shots in unknown),
    ]
    return sorted(found, key=lambda f: (f.shots, list(METHODS).index(f.method)))


def _zero_shot(dataset: str, model: str) -> list[Figure]:
    """CLIP with the sentences of open_clip and CLIP_benchmark. The same number from two lists of
    one source: once.
    """
    rows = _read("zero_shot", dataset, model)
    found = []
    for r in rows[rows["metric"] != "datacomp_main_metric"].to_dict("records"):
        own = "mean_class_recall" if dataset in RECALL else "accuracy"
        same = dataset in OFFICIAL
        note = "" if same else "another split, a data set's own sentences"
        quantity = METRICS.get(r["metric"], own)
        found.append(
            Figure(
                "clip_templates",
                0,
                quantity,
                r["value"],
                r["published_as"],
                r["source"],
                same,
                note,
            )
        )
    return found


def _few_shot(dataset: str, model: str, coop: bool) -> list[Figure]:
    """One figure per method, shots and source: a mean if the source lists seeds one by one, and no
    quotation if the method's own figure is known."""
    rows = _read("few_shot", dataset, model)
    found = []
    for (method, shots), same in rows[rows["method"].notna()].groupby(["method", "shots"]):
        # a method's own figure replaces quotations of it by others
        own = same[~same["published_as"].str.contains(QUOTED, regex=False)]
        kept = own if len(own) else same
        # a row without a seed is a mean already; otherwise the seeds of a source are one figure
        means = kept[kept["seed"].isna()].drop_duplicates(["published_as", "source", "accuracy"])
        of_source = kept.groupby(["published_as", "source"], sort=False)
        runs = means.groupby(level=0) if len(means) else of_source
        for _, rows_of_one in runs:
            first = rows_of_one.iloc[0]
            seeds = ", ".join(f"{seed:g}" for seed in rows_of_one["seed"].dropna())
            notes = [f"mean of seeds {seeds}"] if len(rows_of_one) > 1 else []
            notes += [*rows_of_one["note"].dropna().unique(), *([] if coop else ["another split"])]
            notes += [NOTES[str(method)]] if method in NOTES else []
            value = float(rows_of_one["accuracy"].mean()) / 100
            place = str(method), int(str(shots)), "accuracy"
            found.append(
                Figure(
                    *place, value, first["published_as"], first["source"], coop, "; ".join(notes)
                )
            )
    return found


def _read(name: str, dataset: str, model: str) -> pd.DataFrame:
    rows = _csv(REFERENCE / f"{name}.csv")
    return rows[(rows["dataset"] == dataset) & (rows["model"] == model)]


@cache
def _csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)  # once, not for each data set and model
