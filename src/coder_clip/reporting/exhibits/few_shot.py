"""Few-shot methods by number of shots."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...baselines.methods import ABLATIONS, FEW_SHOT, METHODS
from ..parts import cells, frames, layout, notes
from ..parts.style import GREY, Drawing, Loader, look
from ..parts.table import AVERAGE, Cell, Column, Table
from ..results import Results

SECTION = "Few-shot"
ORDER = 10
PHASES = ("adapter",)

CAPTION = (
    "Top-1 accuracy on the test split by images per class, in percent: mean ± sample standard deviation over seeds. "
    "All methods see the same images; CLIP with the prompt ensemble sees none. Which differences are clear: “Few-shot: "
    "CODER-Adapter against each method”."
)
nothing = attrgetter("no_few_shot")
BAND = 0.12  # opacity: five bands overlap
ZERO_SHOT = "clip_ensemble"  # a level line: it sees no shots
LEVEL: dict[str, Any] = {"color": GREY, "linestyle": (0, (1, 1.5)), "linewidth": 1.3}
Points = list[tuple[int, float, float]]  # shots, mean, standard deviation


def table(results: Results) -> Table:
    """Few-shot accuracy by method and number of shots, mean and spread over seeds."""
    records = []
    seeds: set[int] = set()
    setting = "clean"
    for dataset, model, shots, document, setting in results.few_shot_runs():
        for s in frames.in_order(s for s in document["summary"] if s["setting"] == setting):
            runs, a = results.seeds(document, s["method"], setting), s["accuracy"]
            seeds.update(runs)
            record = {"dataset": dataset, "model": model, "method": s["method"], "setting": setting}
            record |= {"shots": shots, "accuracy": a["mean"], "accuracy_std": a["std"]}
            record |= {"accuracy_low": a["low"], "accuracy_high": a["high"], "seeds": len(runs)}
            records.append({**record, "split": results.split(dataset)})
    columns = ["dataset", "model", "method", "setting", "shots", "accuracy", "accuracy_std"]
    frame = pd.DataFrame(records, columns=[*columns, "accuracy_low", "accuracy_high", "seeds", "split"])
    if len(results.few_shot) > 1 and len(frame):
        frame = pd.concat([frame, _average(results, frame)], ignore_index=True)
    several = f"{len(seeds) or 'no'} seed{'s' * (len(seeds) != 1)}"
    return cells.pivot(
        results,
        "Few-shot classification without training",
        f"{CAPTION} {several[0].upper()}{several[1:]}, in the setting '{setting}'.",
        frame,
        [(Column("Method", numeric=False), cells.method)],
        cells.by_shots(results),
        _accuracy,
        notes=[
            notes.not_here(results),
            notes.splits(results, results.few_shot),
            notes.shots_of_files(results),
            notes.shots_left_out(results),
        ],
    )


def _accuracy(record: cells.Record) -> Cell:
    """The mean, with its spread where there is one."""
    spread = f" ± {cells.percent(record['accuracy_std'])}" if record["accuracy_std"] > 0 else ""
    return Cell(cells.percent(record["accuracy"]) + spread, record["accuracy"])


def _average(results: Results, frame: pd.DataFrame) -> pd.DataFrame:
    """Mean over data sets; its spread is that of the seeds' averages."""
    records = []
    for model in results.models:
        for method in dict.fromkeys(frame["method"]):
            for shots in results.shots:
                if not (values := list(results.average_runs(model, method, shots).values())):
                    continue
                document = results.adapter(results.few_shot[0], model, shots)
                record = {"dataset": AVERAGE, "model": model, "method": method, "shots": shots}
                record["setting"] = results.setting_of(document["summary"])
                std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
                record |= {"accuracy": float(np.mean(values)), "accuracy_std": std, "seeds": len(values)}
                records.append(record)
    found = pd.DataFrame(records, columns=frame.columns)
    return found.astype({"accuracy_low": float, "accuracy_high": float})


def draw(results: Results, image: Loader) -> Figure:
    """Accuracy against shots, a panel for each data set and one for their average (paper, Figure 4).

    Up to three panels name their lines at the right edge; more have a legend.
    """
    places: list[tuple[str | None, str]] = [(d, m) for d, m in results if results.shots_of(d)]
    if len(results.few_shot) > 1:
        places += [(None, model) for model in results.models]
    direct = len(places) <= 3
    figure, panels = layout.panels(len(places), len(results.models), wide=direct)
    methods: dict[str, None] = {}
    for ax, (dataset, model) in zip(panels, places, strict=True):
        curves = {m: c for m, c in _curves(results, dataset, model).items() if m not in ABLATIONS}
        methods |= dict.fromkeys(curves)
        for method, points in curves.items():
            at, mean, std = (np.array(column) for column in zip(*points, strict=True))
            if method == ZERO_SHOT:
                ax.axhline(100 * mean[0], **LEVEL)
                continue
            line = _look(method, methods)
            layout.line(ax, at, 100 * mean, line)
            band = 100 * (mean - std), 100 * (mean + std)
            ax.fill_between(at, *band, color=line["color"], alpha=BAND, linewidth=0)
        layout.set_title(ax, results, dataset or "average", model)
        ax.set_xscale("log", base=2)
        ax.set_xticks(results.shots, [str(s) for s in results.shots])
        ax.minorticks_off()
        layout.share_axis(ax, min(results.images(d) for d in ([dataset] if dataset else results.few_shot)))
        if direct and ax is panels[-1]:
            ends = {m: (100 * points[-1][1], _look(m, methods)) for m, points in curves.items()}
            layout.name_lines(ax, {METHODS[m].label: end for m, end in ends.items()})
    layout.outer_labels(panels, "Shots per class", "Top-1 accuracy (%)")
    if not direct:
        names = [m for m in METHODS if m in methods]
        layout.legend_below(figure, [layout.entry(METHODS[m].label, _look(m, methods)) for m in names])
    return figure


FIGURE = Drawing(
    draw,
    "Few-shot classification",
    "Top-1 accuracy on the test split against training images per class. Lines: mean over seeds; bands: one "
    "sample standard deviation to either side; dotted: CLIP with the prompt ensemble, which sees no shots.",
    f"Line charts of accuracy against shots for {', '.join(m.label for m in FEW_SHOT.values())}, "
    "with zero-shot CLIP as a level line; the numbers are in the few-shot table.",
)


def _look(method: str, seen: Iterable[str]) -> dict[str, Any]:
    """A method's line; a spare one where it declares none, another for each of those seen."""
    if method == ZERO_SHOT:
        return LEVEL
    lines = {m: METHODS[m].line if m in METHODS else None for m in seen if m != ZERO_SHOT}
    spare = [m for m, line in lines.items() if line is None]
    return look(lines[method], spare.index(method) if method in spare else 0)


def _curves(results: Results, dataset: str | None, model: str) -> dict[str, Points]:
    """Method -> its points; of the average over data sets where dataset is None."""
    found: dict[str, Points] = {}
    for shots in results.shots:
        document = results.adapter(dataset or results.few_shot[0], model, shots)
        setting = results.setting_of(document["summary"])
        for s in (s for s in document["summary"] if s["setting"] == setting):
            mean, std = s["accuracy"]["mean"], s["accuracy"]["std"]
            if dataset is None:
                runs = list(results.average_runs(model, s["method"], shots).values())
                if not runs:
                    continue
                mean, std = float(np.mean(runs)), float(np.std(runs, ddof=1)) if len(runs) > 1 else 0.0
            found.setdefault(s["method"], []).append((shots, mean, std))
    return found
