"""Few-shot methods by number of shots."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...baselines import CLIP_ENSEMBLE
from ...baselines.methods import ABLATIONS, FEW_SHOT, METHODS
from ..parts import cells, frames, layout, notes
from ..parts.style import GREY, Drawing, Loader, look
from ..parts.table import AVERAGE, Column, Table
from ..results import Results

SECTION = "Few-shot"
ORDER = 10
PHASES = ("adapter",)

CAPTION = (
    "Top-1 accuracy on the test split by labelled images (shots) per class: mean over seeds, each "
    "of which draws other shots, with its 95 % interval {varied}. All methods have the same shots; "
    "CLIP with the prompt ensemble has none. Which differences are clear: “Few-shot: CODER-Adapter "
    "against each method”. The CSV has the standard deviation over seeds, too."
)
nothing = attrgetter("no_few_shot")
WIDEST, NARROWEST = 3.2, 1.0  # points of the first and of the last line
LEVEL: dict[str, Any] = {"color": GREY, "linestyle": (0, (1, 1.5)), "linewidth": 1.3}
PLACE = ["model", "method", "setting", "shots"]  # what a row is about, besides its data set


def table(results: Results) -> Table:
    """Few-shot accuracy by method and number of shots, mean over seeds with its interval."""
    frame, seeds = _frame(results)
    setting = "clean"
    if len(frame):
        setting = frame["setting"].iloc[-1]
    several = f"{seeds or 'No'} seed{'s' * (seeds != 1)}"
    return cells.pivot(
        results,
        "Few-shot classification without training",
        f"{CAPTION.format(varied=notes.varied(results))} {several}, in the setting '{setting}'.",
        frame,
        [(Column("Method", numeric=False), cells.method)],
        cells.by_shots(results, " (%)"),
        cells.accuracy(),
        notes=[
            notes.not_here(results),
            notes.splits(results, results.few_shot),
            notes.shots_left_out(results),
            notes.one_view(results),
        ],
    )


def _frame(results: Results) -> tuple[pd.DataFrame, int]:
    """A row for each data set (and the average of all), model, method and number of shots; also the
    number of different seeds.
    """
    runs = frames.tidy(results.few_shot_rows("runs"), ["dataset", *PLACE, "seed", "test_accuracy"])
    n_seeds = runs.groupby(["dataset", *PLACE])["seed"].count()
    rows = []
    for r in results.few_shot_rows("summary"):
        place = (r["dataset"], *(r[key] for key in PLACE))
        # one column for each part of the estimate over seeds
        estimate = r["accuracy"]
        row = {**r, "accuracy": estimate["value"], "split": results.split(r["dataset"])}
        row |= {f"accuracy_{key}": estimate[key] for key in ("std", "low", "high")}
        rows.append({**row, "seeds": n_seeds.get(place, 0)})
    values = ["accuracy", "accuracy_std", "accuracy_low", "accuracy_high", "seeds", "split"]
    frame = frames.tidy(rows, ["dataset", *PLACE, *values])
    if rows and frames.has_average(results, results.few_shot):
        frame = pd.concat([frame, _average(results, frame, runs)], ignore_index=True)
    return frame, runs["seed"].nunique()


def _average(results: Results, frame: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Rows with the mean over data sets, and its standard deviation over seeds.

    A seed counts only if every data set has it.
    """
    by_seed = runs.groupby([*PLACE, "seed"])["test_accuracy"].agg([np.mean, "count"])
    shared = by_seed.loc[by_seed["count"] == len(results.few_shot), "mean"]
    average = shared.groupby(PLACE).agg(
        accuracy=lambda a: a.to_numpy().mean(),
        accuracy_std=lambda a: a.to_numpy().std(ddof=1) if np.ptp(a) > 0 else 0.0,
        seeds="count",
    )
    settings = frame["setting"].unique()
    # groupby sorts by name; rows keep the order of models, methods, settings and shots
    order = itertools.product(results.models, frame["method"].unique(), settings, results.shots)
    places = [place for place in order if place in average.index]
    return average.loc[places].reset_index().assign(dataset=AVERAGE)


def draw(results: Results, image: Loader) -> Figure:
    """Accuracy with its interval against shots (paper, Figure 4).

    A panel for each data set and one for an average.
    """
    # All methods have their points at their number of shots. Where they lie on each other, each is
    # seen all the same, because every later one is narrower: line, marker and interval. Zero-shot
    # CLIP has no shots and is a horizontal line.
    frame = _frame(results)[0]
    frame = frame[~frame["method"].isin(ABLATIONS)]
    places = [
        ((str(d), str(m)), rows) for (d, m), rows in frame.groupby(["dataset", "model"], sort=False)
    ]
    figure, panels = layout.panels(len(places), len(results.models))
    looks = _looks(frame["method"].unique())
    with_shots = [method for method in looks if method != CLIP_ENSEMBLE]
    widths = dict(zip(with_shots, np.linspace(WIDEST, NARROWEST, len(with_shots)), strict=True))
    for ax, ((dataset, model), of_place) in zip(panels, places, strict=True):
        for method, points in of_place.groupby("method", sort=False):
            mean, low, high = (
                100 * points[f"accuracy{end}"].to_numpy() for end in ("", "_low", "_high")
            )
            if method == CLIP_ENSEMBLE:
                ax.axhline(mean[0], **LEVEL)
                continue
            width = widths[str(method)]
            style = {
                **looks[str(method)],
                "linewidth": width,
                "elinewidth": width,
                "markersize": 2 + 1.8 * width,
                "markeredgecolor": "white",
                "markeredgewidth": 0.5,
            }
            ax.errorbar(points["shots"], mean, yerr=[mean - low, high - mean], **style)
        is_average = dataset == AVERAGE
        layout.set_title(ax, results, cells.dataset_name(dataset, "average"), model)
        ax.set_xscale("log", base=2)
        ax.set_xticks(results.shots, [str(s) for s in results.shots])
        ax.minorticks_off()
        datasets = results.few_shot if is_average else [dataset]
        layout.share_axis(ax, min(results.images(d) for d in datasets))
    layout.outer_labels(panels, "Shots per class", "Top-1 accuracy (%)")
    layout.legend_below(figure, [layout.entry(METHODS[m].label, line) for m, line in looks.items()])
    return figure


def _looks(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Method -> its line, as arguments of matplotlib.

    A method that declares no line gets the next spare one.
    """
    spare = itertools.count()

    def line_of(method: str) -> dict[str, Any]:
        """The look of a method's line; a method that declares none takes the next spare one."""
        if method == CLIP_ENSEMBLE:
            return LEVEL
        declared = METHODS[method].line
        if declared:
            return look(declared)
        return look(None, next(spare))

    return {m: line_of(m) for m in methods}


FIGURE = Drawing(
    draw,
    "Few-shot classification",
    "Top-1 accuracy on the test split against shots per class. Lines: mean over seeds; bars: its "
    "95 % interval over images and, if there are several, over seeds; dotted: CLIP with the prompt "
    "ensemble, which has no shots. Each line is narrower than those before it, so that methods "
    "that lie on each other are all seen.",
    f"Line charts of accuracy against shots for {', '.join(m.label for m in FEW_SHOT.values())}, "
    "with CLIP's prompt ensemble as a level line; the numbers are in the few-shot table.",
)
