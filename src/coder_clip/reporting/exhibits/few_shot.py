"""Few-shot methods by number of shots."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...baselines.methods import ABLATIONS, FEW_SHOT
from ..parts import cells, frames, notes
from ..parts.curves import curves
from ..parts.style import Drawing, Loader
from ..parts.table import AVERAGE, Cell, Column, Table
from ..results import Results

SECTION = "Few-shot"
ORDER = 10
PHASES = ("adapter",)

CAPTION = (
    "Top-1 accuracy on the test split by images a class: mean ± sample standard deviation over seeds. All methods "
    "see the same images; CLIP with the prompt ensemble sees none."
)


def table(results: Results) -> Table:
    """Few-shot accuracy by method and number of shots, mean and spread over seeds."""
    records: list[dict[str, Any]] = []
    seeds: set[int] = set()
    settings: list[str] = []
    for dataset, model, shots, document, setting in results.few_shot_runs():
        settings.append(setting)
        for s in frames.in_order(s for s in document["summary"] if s["setting"] == setting):
            runs = results.seeds(document, s["method"], setting)
            seeds.update(runs)
            record = {"dataset": dataset, "model": model, "method": s["method"], "setting": setting}
            a = s["accuracy"]
            record |= {"shots": shots, "accuracy": a["mean"], "accuracy_std": a["std"]}
            record |= {"accuracy_low": a["low"], "accuracy_high": a["high"], "seeds": len(runs)}
            record["split"] = results.split(dataset)
            records.append(record)
    columns_ = ["dataset", "model", "method", "setting", "shots", "accuracy", "accuracy_std"]
    frame = pd.DataFrame(records, columns=[*columns_, "accuracy_low", "accuracy_high", "seeds", "split"])
    if len(results.few_shot) > 1 and len(frame):
        frame = pd.concat([frame, _few_shot_average(results, frame)], ignore_index=True)
    best = frames.best(frame, ["dataset", "model", "shots"], "accuracy")
    rows = cells.pivot(
        (
            ([*cells.place_cells(results, r), cells.method(r["method"])], r["shots"], _accuracy(r, best[i]))
            for i, r in enumerate(frames.records(frame))
        ),
        results.shots,
    )
    setting = settings[0] if settings else "clean"
    return Table(
        "Few-shot classification without training",
        f"{CAPTION} In percent, {len(seeds) or 'no'} seed{'s' * (len(seeds) != 1)}, in the setting '{setting}'. "
        f"Bold: highest mean."
        f"{cells.averaged(results)}{cells.only(results)}",
        frame,
        [
            *cells.place(results),
            Column("Method", numeric=False),
            *map(Column, map(cells.shots, results.shots)),
        ],
        rows,
        notes.of(
            notes.not_here(results),
            notes.splits(results, results.few_shot),
            notes.shots_of_files(results),
            notes.shots_left_out(results),
        ),
    )


def _accuracy(record: dict[str, Any], best: bool) -> Cell:
    """The mean, with its spread where there is one."""
    spread = f" ± {cells.percent(record['accuracy_std'])}" if record["accuracy_std"] > 0 else ""
    return Cell(cells.percent(record["accuracy"]) + spread, record["accuracy"], best)


def _few_shot_average(results: Results, frame: pd.DataFrame) -> pd.DataFrame:
    """Mean over data sets; its spread is that of the seeds' averages."""
    records = []
    for model in results.models:
        for method in dict.fromkeys(frame["method"]):
            for shots in results.shots:
                found = results.average_runs(model, method, shots)
                if not found:
                    continue
                values = list(found.values())
                std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
                record = {"dataset": AVERAGE, "model": model, "method": method, "shots": shots}
                record["setting"] = results.few_shot_setting(
                    results.adapter(results.few_shot[0], model, shots)
                )
                record |= {"accuracy": float(np.mean(values)), "accuracy_std": std, "seeds": len(values)}
                records.append(record)
    return pd.DataFrame(records, columns=frame.columns).astype(
        {"accuracy_low": float, "accuracy_high": float}
    )


# ---- the figure


def draw(results: Results, image: Loader) -> Figure:
    """Accuracy against shots, a panel a data set and one for their average (paper, Figure 4)."""
    return curves(results, lambda method: method not in ABLATIONS)


FIGURE = Drawing(
    draw,
    "Few-shot classification",
    "Top-1 accuracy on the test split against training images a class. Lines: mean over seeds; bands: one "
    "sample standard deviation to either side; dotted: CLIP with the prompt ensemble, which sees no shots.",
    f"Line charts of accuracy against shots for {', '.join(m.label for m in FEW_SHOT.values())}, "
    "with zero-shot CLIP as a level line; the numbers stand in the few-shot table.",
)
