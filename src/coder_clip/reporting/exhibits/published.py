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
from ...datasets import is_published
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
# one test set for everybody, and the sentences that open_clip ships
OFFICIAL = ("imagenet", "imagenet_v2")
# CLIP_benchmark's metrics. open_clip's list has one number per data set: the accuracy, but the mean
# class recall for the data sets of RECALL.
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
    "Within: whether the published figure is in our interval. Targets are of the same images; "
    "bands are of another split or of other sentences, and show only that nothing is broken. "
    "Unknown: nobody could verify the figure, so none is shown."
)
WHY_NOT = (
    "no data set of this run is a published one, whole, encoded with the weights that published "
    "figures are of (OpenAI's)"
)
QUANTITIES = {
    "accuracy": "top-1",
    "top5_accuracy": "top-5",
    "mean_class_recall": "mean class recall",
}
COLUMNS = [
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
    "difference",
    "within",
    "compares",
    "published_as",
    "source",
    "note",
]


@dataclass(frozen=True)
class Quotation:
    """A published number.

    value: a share in [0, 1]; None if the figure is unknown. target: True if the figure is of the
    same images; otherwise it is a band, which shows only whether anything is broken.
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
    """Why no number is compared with a published one; "" if one is."""
    first = next(_compared(results), None)
    if first is not None:
        return ""
    return WHY_NOT


def table(results: Results) -> Table:
    """Every number of the run that a published figure is of."""
    # Only figures of the same images ("target") can be reproduced, so the note counts these alone.
    records = list(_compared(results))
    targets = [r["within"] for r in records if r["compares"] == "target"]
    within = (
        f"{targets.count('yes')} of {len(targets)} published figures of the same images are within "
        "our interval."
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
    """Yield a record of COLUMNS for each published figure that the run has a number for."""
    for dataset, model in results:
        manifest = results.manifest(dataset)
        name = comparable(dataset, manifest, results.encoder(dataset, model))
        if name is None:
            continue
        for figure in figures(dataset, name, manifest["split"]):
            m = _reproduced(results, dataset, model, figure)
            if m is None:
                continue
            estimate, published = m[figure.quantity], figure.value
            low, high = estimate["low"], estimate["high"]
            reproduced = estimate.get("value", estimate.get("mean"))
            row = {"dataset": dataset, "model": model, "setting": m["setting"], **vars(figure)}
            row |= {"reproduced": reproduced, "low": low, "high": high, "published": published}
            if published is None:
                yield {**row, "within": "unknown", "compares": "–"}
            else:
                within = "no"
                if low <= published <= high:
                    within = "yes"
                compares = "band"
                if figure.target:
                    compares = "target"
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
    results: Results, dataset: str, model: str, figure: Quotation
) -> dict[str, Any] | None:
    """The run's entry for the method of a published figure; None if the run has none.

    The setting is the main one, or "any"; for CODER the published code's, if the run has it.
    """
    if not figure.shots:
        methods = results.methods(dataset, model)
    elif figure.shots in results.shots_of(dataset):
        methods = results.adapter(dataset, model, figure.shots)["summary"]
    else:
        methods = []
    by_setting = {
        m["setting"]: m for m in methods if m["method"] == figure.method and m.get(figure.quantity)
    }
    settings = [results.main_setting, "any"]
    if figure.method.startswith("coder"):
        settings.insert(0, "as_published")
    return next((by_setting[s] for s in settings if s in by_setting), None)


def comparable(dataset: str, manifest: dict[str, Any], encoder: dict[str, Any]) -> str | None:
    """The encoder's published name, if a run's numbers on this data set may be compared with
    published ones.

    manifest: of the data set; encoder: of its image features (`Results.encoder`). None for folders,
    data sets that the project draws, other weights than OpenAI's, and a split that lacks images.
    """
    if not is_published(dataset) or encoder.get("pretrained") != "openai":
        return None
    # the same split with the same counts: no image is missing
    whole = any(
        r.what == manifest.get("split") and dict(r.counts) == manifest["images"]
        for r in entry(dataset).splits
    )
    if not whole:
        return None
    return str(encoder["model"])


def figures(dataset: str, model: str, split: str) -> list[Quotation]:
    """Published numbers of a data set and encoder, by shots and method, of methods that this
    project has.

    split: from the manifest. The numbers of the CODER paper itself are unknown.
    """
    # few-shot numbers are of CoOp's split, or of the one test set that there is
    coop = split == "CoOp's split" or dataset in OFFICIAL
    # (method, shots) that the CODER paper has numbers of
    unknown: list[tuple[str, int]] = []
    if dataset in PUBLISHED_THRESHOLDS:
        unknown += [("coder", 0), ("coder_rerank", 0)]
    if dataset in PUBLISHED_INITIAL:
        unknown += [("coder_adapter", shots) for shots in (1, 2, 4, 8, 16)]
    published = [
        *_zero_shot(dataset, model),
        *_few_shot(dataset, model, coop),
        *(Quotation(m, shots, "accuracy", None, "CODER", UNKNOWN, False) for m, shots in unknown),
    ]
    return sorted(published, key=lambda f: (f.shots, list(METHODS).index(f.method)))


def _zero_shot(dataset: str, model: str) -> list[Quotation]:
    """Figures of CLIP with the sentences of open_clip and CLIP_benchmark."""
    rows = _read("zero_shot", dataset, model)
    # open_clip's list does not name its metric
    default, note = "accuracy", ""
    if dataset in RECALL:
        default = "mean_class_recall"
    same = dataset in OFFICIAL
    if not same:
        note = "another split, a data set's own sentences"
    read = []
    # open_clip lists its number twice, the second time as DataComp's main metric
    for r in rows[rows["metric"] != "datacomp_main_metric"].to_dict("records"):
        quantity = METRICS.get(r["metric"], default)
        source = r["published_as"], r["source"]
        read.append(Quotation("clip_templates", 0, quantity, r["value"], *source, same, note))
    return read


def _few_shot(dataset: str, model: str, coop: bool) -> list[Quotation]:
    """One figure per method, shots and source, and the method's own rather than quotations of it.

    A mean if the source lists seeds one by one. coop: True if the figures are of the same images.
    """
    rows = _read("few_shot", dataset, model)
    read = []
    for (method, shots), of_method in rows[rows["method"].notna()].groupby(["method", "shots"]):
        # a method's own figure replaces quotations of it by others
        own = of_method[~of_method["published_as"].str.contains(QUOTED, regex=False)]
        kept = of_method
        if len(own):
            kept = own
        # A row without a seed is a mean already, so each row is a figure. Otherwise the seeds of a
        # source are one figure.
        means = kept[kept["seed"].isna()].drop_duplicates(["published_as", "source", "accuracy"])
        figures = kept.groupby(["published_as", "source"], sort=False)
        if len(means):
            figures = means.groupby(level=0)
        for _, figure_rows in figures:
            first = figure_rows.iloc[0]
            notes: list[str] = []
            if len(figure_rows) > 1:
                seeds = ", ".join(f"{seed:g}" for seed in figure_rows["seed"].dropna())
                notes.append(f"mean of seeds {seeds}")
            notes += figure_rows["note"].dropna().unique().tolist()
            if not coop:
                notes.append("another split")
            if method in NOTES:
                notes.append(NOTES[str(method)])
            value = float(figure_rows["accuracy"].mean()) / 100
            place = str(method), int(str(shots)), "accuracy"
            source = first["published_as"], first["source"]
            read.append(Quotation(*place, value, *source, coop, "; ".join(notes)))
    return read


def _read(name: str, dataset: str, model: str) -> pd.DataFrame:
    """The rows of a file of REFERENCE for a data set and encoder."""
    rows = _csv(REFERENCE / f"{name}.csv")
    return rows[(rows["dataset"] == dataset) & (rows["model"] == model)]


@cache
def _csv(path: Path) -> pd.DataFrame:
    """Read a CSV once, not for each data set and model."""
    return pd.read_csv(path)
