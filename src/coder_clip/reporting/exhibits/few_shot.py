"""Few-shot methods by number of shots."""

from __future__ import annotations

from operator import attrgetter

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...baselines.methods import ABLATIONS, FEW_SHOT
from ..parts import cells, frames, notes
from ..parts.curves import few_shot_curves
from ..parts.style import Drawing, Loader
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
    """Accuracy against shots, a panel for each data set and one for their average (paper, Figure 4)."""
    return few_shot_curves(results, lambda method: method not in ABLATIONS)


FIGURE = Drawing(
    draw,
    "Few-shot classification",
    "Top-1 accuracy on the test split against training images per class. Lines: mean over seeds; bands: one "
    "sample standard deviation to either side; dotted: CLIP with the prompt ensemble, which sees no shots.",
    f"Line charts of accuracy against shots for {', '.join(m.label for m in FEW_SHOT.values())}, "
    "with zero-shot CLIP as a level line; the numbers are in the few-shot table.",
)
