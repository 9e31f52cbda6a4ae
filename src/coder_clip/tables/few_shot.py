"""Few-shot methods by number of shots."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..results import Results
from . import cells, frames, notes
from .base import AVERAGE, METHODS, Cell, Column, Table

CAPTION = (
    "Top-1 accuracy on the test split by images a class: mean ± sample standard deviation over seeds. All methods "
    "see the same images; CLIP with the prompt ensemble sees none."
)
PHASES = ("adapter",)


def table(results: Results) -> Table:
    """Few-shot accuracy by method and number of shots, mean and spread over seeds."""
    records: list[dict[str, Any]] = []
    seeds: set[int] = set()
    settings: list[str] = []
    for dataset, model in results:
        for shots in results.shots_of(dataset):
            document = results.adapter(dataset, model, shots)
            setting = results.few_shot_setting(document)
            settings.append(setting)
            for s in frames.in_order(s for s in document["summary"] if s["setting"] == setting):
                runs = _runs(document, s["method"], setting)
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
    rows: dict[tuple[str, str, str], list[Cell]] = {}
    shots_of = {s: i for i, s in enumerate(results.shots)}
    for i, r in enumerate(frames.records(frame)):
        key = (r["dataset"], r["model"], r["method"])
        if key not in rows:
            start = [*cells.place_cells(results, r), Cell(cells.label(METHODS, r["method"]))]
            rows[key] = start + [Cell("–")] * len(results.shots)
        spread = f" ± {cells.percent(r['accuracy_std'])}" if r["accuracy_std"] > 0 else ""
        place = len(rows[key]) - len(results.shots) + shots_of[r["shots"]]
        rows[key][place] = Cell(cells.percent(r["accuracy"]) + spread, r["accuracy"], best[i])
    shots_columns = [Column(f"{s} shot{'s' * (s != 1)}") for s in results.shots]
    setting = settings[0] if settings else "clean"
    return Table(
        "few_shot",
        "Few-shot classification without training",
        f"{CAPTION} In percent, {len(seeds) or 'no'} seed{'s' * (len(seeds) != 1)}, in the setting '{setting}'. "
        f"Bold: highest mean."
        f"{cells.averaged(results)}{cells.only(results)}",
        "Few-shot",
        PHASES,
        frame,
        [*cells.place(results), Column("Method", numeric=False), *shots_columns],
        list(rows.values()),
        notes.of(notes.splits(results, results.few_shot), notes.shots_left_out(results)),
    )


def _few_shot_average(results: Results, frame: pd.DataFrame) -> pd.DataFrame:
    """Mean over data sets; its spread is that of the seeds' averages."""
    records = []
    for model in results.models:
        for method in dict.fromkeys(frame["method"]):
            for shots in results.shots:
                found = average_runs(results, model, method, shots)
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


def average_runs(results: Results, model: str, method: str, shots: int) -> dict[int, float]:
    """Seed -> test accuracy averaged over all data sets; empty unless all data sets share a seed."""
    runs = []
    for dataset in results.few_shot:
        document = results.adapter(dataset, model, shots)
        runs.append(_runs(document, method, results.few_shot_setting(document)))
    shared = [seed for seed in runs[0] if all(seed in r for r in runs)]
    return {seed: float(np.mean([r[seed] for r in runs])) for seed in shared}


def _runs(document: dict[str, Any], method: str, setting: str) -> dict[int, float]:
    """Seed -> test accuracy."""
    return {
        r["seed"]: r["test_accuracy"]
        for r in document["runs"]
        if r["method"] == method and r["setting"] == setting
    }
