"""Tables: tidy numbers in full precision for machines, the same numbers rounded with intervals for people.

A table is one function from `Results` to `Table` and one entry in TABLES; the command line, the report and
the tests find it there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .artifacts import write_text
from .results import Results
from .settings import SETTINGS

# In the order of the paper: baselines, stage one, stage two; then few-shot.
METHODS = {
    "clip": "CLIP",
    "clip_ensemble": "CLIP, prompt ensemble",
    "random_words": "CLIP, random words",
    "description": "CLIP, attribute texts",
    "coder": "CODER",
    "coder_rerank": "CODER + rerank",
    "tip_adapter": "Tip-Adapter",
    "raw_adapter": "Adapter, raw features",
    "coder_adapter": "CODER-Adapter",
}
FEATURES = {"original": "original", "coder": "CODER"}
AVERAGE = "(average)"  # over data sets; no data set can have this name
LONG = 45  # rows; a longer LaTeX table breaks over pages


@dataclass(frozen=True)
class Column:
    """A column as people see it."""

    label: str
    numeric: bool = True


@dataclass(frozen=True)
class Cell:
    """What stands in a cell, what it is sorted by, and whether it is the best of its group."""

    text: str
    sort: float | str | None = None
    best: bool = False


@dataclass(frozen=True)
class Table:
    """frame: tidy, full precision, shares in [0, 1]. columns, rows: the same rounded, in percent, for people.

    phases: whose artefacts the numbers come from. section: where the report shows it.
    """

    name: str
    title: str
    caption: str
    section: str
    phases: tuple[str, ...]
    frame: pd.DataFrame
    columns: list[Column]
    rows: list[list[Cell]]

    def groups(self) -> list[bool]:
        """For each row, whether a new group (another data set or model) starts with it."""
        width = max(1, sum(c.label in ("Data set", "Model") for c in self.columns))
        keys = [[c.text for c in row[:width]] for row in self.rows]
        return [i > 0 and key != keys[i - 1] for i, key in enumerate(keys)]


# ---- the tables


def zero_shot(results: Results) -> Table:
    """Top-1 of every zero-shot method, with intervals and the paired comparison with CLIP."""
    setting = results.main_setting
    records = []
    for dataset, model in results:
        documents = [m for m in results.methods(dataset, model) if m["setting"] in ("any", setting)]
        for m in _in_order(documents):
            against = m["against_clip"] or {}
            record = {"dataset": dataset, "model": model, "method": m["method"], "setting": m["setting"]}
            record |= _estimate("accuracy", m["accuracy"])
            record |= _estimate("mean_class_recall", m["mean_class_recall"])
            record |= _estimate("difference_to_clip", against.get("difference"))
            record |= {key: against.get(key, np.nan) for key in ("p_value", "fixed", "broke")}
            records.append(record)
    shares = ["accuracy", "mean_class_recall", "difference_to_clip"]
    frame = _with_average(pd.DataFrame(records), ["model", "method", "setting"], shares)
    best = _best(frame, ["dataset", "model"], "accuracy")
    columns = [*_place(results), Column("Method", numeric=False), Column("Top-1 (%)")]
    columns += [Column("Mean class recall (%)"), Column("Against CLIP (points)"), Column("p")]
    rows = [
        [
            *_place_cells(results, r),
            Cell(_label(METHODS, r["method"])),
            _interval(r, "accuracy", best=best[i]),
            _interval(r, "mean_class_recall"),
            _interval(r, "difference_to_clip", sign=True),
            Cell(_p_value(r["p_value"]), r["p_value"]),
        ]
        for i, r in enumerate(_records(frame))
    ]
    return Table(
        "zero_shot",
        "Zero-shot classification",
        f"Top-1 accuracy and mean class recall on the test split, each with its 95 % bootstrap interval over "
        f"images. Against CLIP: difference in accuracy on the same images, with the p-value of an exact "
        f"McNemar test. CODER and its rerank in the setting '{setting}'. Bold: highest value."
        f"{_averaged(results)}{_only(results)}",
        "Zero-shot",
        ("zero_shot", "rerank"),
        frame,
        columns,
        rows,
    )


def few_shot(results: Results) -> Table:
    """Few-shot accuracy by method and number of shots, mean and spread over seeds."""
    records: list[dict[str, Any]] = []
    seeds: set[int] = set()
    settings: list[str] = []
    for dataset, model in results:
        for shots in results.shots:
            document = results.adapter(dataset, model, shots)
            setting = results.few_shot_setting(document)
            settings.append(setting)
            for s in _in_order(s for s in document["summary"] if s["setting"] == setting):
                runs = _runs(document, s["method"], setting)
                seeds.update(runs)
                record = {"dataset": dataset, "model": model, "method": s["method"], "setting": setting}
                a = s["accuracy"]
                record |= {"shots": shots, "accuracy": a["mean"], "accuracy_std": a["std"]}
                record |= {"accuracy_low": a["low"], "accuracy_high": a["high"], "seeds": len(runs)}
                records.append(record)
    columns_ = ["dataset", "model", "method", "setting", "shots", "accuracy", "accuracy_std"]
    frame = pd.DataFrame(records, columns=[*columns_, "accuracy_low", "accuracy_high", "seeds"])
    if len(results.datasets) > 1 and len(frame):
        frame = pd.concat([frame, _few_shot_average(results, frame)], ignore_index=True)
    best = _best(frame, ["dataset", "model", "shots"], "accuracy")
    rows: dict[tuple[str, str, str], list[Cell]] = {}
    shots_of = {s: i for i, s in enumerate(results.shots)}
    for i, r in enumerate(_records(frame)):
        key = (r["dataset"], r["model"], r["method"])
        if key not in rows:
            start = [*_place_cells(results, r), Cell(_label(METHODS, r["method"]))]
            rows[key] = start + [Cell("–")] * len(results.shots)
        spread = f" ± {percent(r['accuracy_std'])}" if r["accuracy_std"] > 0 else ""
        place = len(rows[key]) - len(results.shots) + shots_of[r["shots"]]
        rows[key][place] = Cell(percent(r["accuracy"]) + spread, r["accuracy"], best[i])
    shots_columns = [Column(f"{s} shot{'s' * (s != 1)}") for s in results.shots]
    setting = settings[0] if settings else "clean"
    return Table(
        "few_shot",
        "Few-shot classification without training",
        f"Top-1 accuracy (%) on the test split by images a class: mean ± sample standard deviation over "
        f"{len(seeds) or 'no'} seed{'s' * (len(seeds) != 1)}, in the setting '{setting}'. All methods see "
        f"the same images. CLIP with the prompt ensemble sees none. Bold: highest mean."
        f"{_averaged(results)}{_only(results)}",
        "Few-shot",
        ("adapter",),
        frame,
        [*_place(results), Column("Method", numeric=False), *shots_columns],
        list(rows.values()),
    )


def text_kinds(results: Results) -> Table:
    """Stage one with some kinds of text at a time."""
    records = [
        {"dataset": d, "model": m, "kinds": "+".join(row["kinds"]), "texts": row["texts"]}
        | _estimate("accuracy", row["accuracy"])
        for d, m in results
        for row in results.evaluation(d, m)["text_kinds"]
    ]
    columns = ["dataset", "model", "kinds", "texts", "accuracy", "accuracy_low", "accuracy_high"]
    frame = pd.DataFrame(records, columns=columns)
    best = _best(frame, ["dataset", "model"], "accuracy")
    rows = [
        [
            *_place_cells(results, r),
            Cell(r["kinds"].replace("+", " + ")),
            Cell(str(r["texts"]), r["texts"]),
            _interval(r, "accuracy", best=best[i]),
        ]
        for i, r in enumerate(_records(frame))
    ]
    return Table(
        "text_kinds",
        "Kinds of text",
        "Top-1 accuracy of stage one with some kinds of text at a time, with its 95 % interval, and how many "
        f"texts that takes for all classes together. Bold: highest value.{_only(results)}",
        "Texts",
        ("evaluation",),
        frame,
        [*_place(results), Column("Kinds of text", numeric=False), Column("Texts"), Column("Top-1 (%)")],
        rows,
    )


def feature_quality(results: Results) -> Table:
    """Neighbours and retrieval by original features and by CODER."""
    records = [
        {"dataset": d, "model": m, "features": row["features"], "k": row["k"]}
        | _estimate("knn_accuracy", row["knn_accuracy"])
        | _estimate("retrieval_precision", row["retrieval_precision"])
        for d, m in results
        for row in results.evaluation(d, m)["feature_quality"]
    ]
    quantities = [
        f"{q}{end}" for q in ("knn_accuracy", "retrieval_precision") for end in ("", "_low", "_high")
    ]
    frame = pd.DataFrame(records, columns=["dataset", "model", "features", "k", *quantities])
    knn = _best(frame, ["dataset", "model"], "knn_accuracy")
    retrieval = _best(frame, ["dataset", "model"], "retrieval_precision")
    rows = [
        [
            *_place_cells(results, r),
            Cell(_label(FEATURES, r["features"])),
            _interval(r, "knn_accuracy", best=knn[i]),
            _interval(r, "retrieval_precision", best=retrieval[i]),
        ]
        for i, r in enumerate(_records(frame))
    ]
    k = ", ".join(str(k) for k in dict.fromkeys(frame["k"]))
    columns = [Column("Features", numeric=False), Column(f"{k}-NN (%)"), Column("R-precision (%)")]
    return Table(
        "feature_quality",
        "Original features and CODER",
        f"How well near images share a class, by the cosine of original image features and of CODERs: accuracy "
        f"of the {k} nearest other test images, and the share of an image's class among its R nearest, R being "
        f"the size of the class (R-precision). With 95 % intervals. Bold: higher value.{_only(results)}",
        "Features",
        ("evaluation",),
        frame,
        [*_place(results), *columns],
        rows,
    )


def settings(results: Results) -> Table:
    """The published code as it is, mended, and mended with nothing chosen on test data, side by side."""
    records = []
    for dataset, model in results:
        place = {"dataset": dataset, "model": model}
        for m in _in_order(results.methods(dataset, model)):
            if m["setting"] == "any":
                continue
            row = {**place, "method": m["method"], "shots": None, "setting": m["setting"]}
            a = m["accuracy"]
            value = {"value": a["value"], "low": a["low"], "high": a["high"]}
            records.append({**row, "quantity": "accuracy", **value})
            for quantity in ("threshold", "looked_at"):
                if quantity in m:
                    records.append({**row, "quantity": quantity, "value": float(m[quantity])})
        for shots in results.shots:
            for s in results.adapter(dataset, model, shots)["summary"]:
                if s["method"] == "coder_adapter":
                    a = s["accuracy"]
                    row = {**place, "method": s["method"], "shots": shots, "setting": s["setting"]}
                    value = {"value": a["mean"], "low": a["low"], "high": a["high"]}
                    records.append({**row, "quantity": "accuracy", **value})
    columns = ["dataset", "model", "method", "shots", "setting", "quantity", "value", "low", "high"]
    frame = pd.DataFrame(records, columns=columns).astype({"shots": "Int64"})
    there = [s for s in SETTINGS if s in set(frame["setting"])]
    there += sorted(set(frame["setting"]) - set(there))
    rows: dict[tuple[Any, ...], list[Cell]] = {}
    # accuracies of a method first, then what its rerank did
    for r in _records(frame):
        key = (r["dataset"], r["model"], r["method"], r["quantity"], str(r["shots"]))
        if key not in rows:
            start = [*_place_cells(results, r), Cell(_label(METHODS, r["method"])), Cell(_quantity(r))]
            rows[key] = start + [Cell("–")] * len(there)
        place_ = len(rows[key]) - len(there) + there.index(r["setting"])
        if r["quantity"] == "accuracy":
            cell = Cell(_with_interval(r["value"], r["low"], r["high"]), r["value"])
        else:
            cell = Cell(f"{r['value']:g}", r["value"])
        rows[key][place_] = cell
    labels = [Column("Method", numeric=False), Column("What", numeric=False)]
    return Table(
        "settings",
        "Settings side by side",
        "Results with the published code's bugs and selection (as_published), with the bugs mended (corrected), "
        "and with nothing chosen on test data (clean). Accuracies in percent with 95 % intervals; few-shot over "
        f"seeds and images. Images looked at: how many the rerank's gate let through.{_only(results)}",
        "Settings",
        ("zero_shot", "rerank", "adapter"),
        frame,
        [*_place(results), *labels, *(Column(s) for s in there)],
        list(rows.values()),
    )


TABLES: dict[str, Callable[[Results], Table]] = {
    "zero_shot": zero_shot,
    "few_shot": few_shot,
    "text_kinds": text_kinds,
    "feature_quality": feature_quality,
    "settings": settings,
}


# ---- writing


def write(table: Table, stem: str | Path) -> None:
    """Write ``stem``.csv (full precision), .md (rounded) and .tex (booktabs)."""
    stem = Path(stem)
    write_text(stem.with_name(f"{stem.name}.csv"), table.frame.to_csv(index=False, lineterminator="\n"))
    write_text(stem.with_name(f"{stem.name}.md"), markdown(table))
    write_text(stem.with_name(f"{stem.name}.tex"), latex(table))


def markdown(table: Table) -> str:
    """A pipe table below its title; text cannot break out of a cell or be read as markup."""

    def cell(c: Cell) -> str:
        return f"**{_md(c.text)}**" if c.best else _md(c.text)

    lines = [f"**{_md(table.title)}.** {_md(table.caption)}", ""]
    lines.append("| " + " | ".join(_md(c.label) for c in table.columns) + " |")
    lines.append("| " + " | ".join("---:" if c.numeric else "---" for c in table.columns) + " |")
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in table.rows]
    return "\n".join(lines) + "\n"


def latex(table: Table) -> str:
    """A booktabs table to ``\\input``; a long one is a longtable, which breaks over pages."""

    def cell(c: Cell) -> str:
        return rf"\textbf{{{_tex(c.text)}}}" if c.best else _tex(c.text)

    spec = "".join("r" if c.numeric else "l" for c in table.columns)
    head = " & ".join(_tex(c.label) for c in table.columns) + r" \\"
    caption = rf"\caption{{{_tex(table.title)}. {_tex(table.caption)}}}\label{{tab:{table.name}}}"
    body = []
    for row, new in zip(table.rows, table.groups(), strict=True):
        body += [r"\addlinespace"] * new + [" & ".join(map(cell, row)) + r" \\"]
    if len(table.rows) > LONG:
        needs = r"% \usepackage{booktabs,longtable}"
        top = [rf"\begin{{longtable}}{{{spec}}}", caption + r" \\", r"\toprule", head, r"\midrule"]
        top += [r"\endfirsthead", r"\toprule", head, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot"]
        lines = [needs, r"{\footnotesize\setlength{\tabcolsep}{4pt}", *top, *body, r"\end{longtable}", "}"]
    else:
        needs = r"% \usepackage{booktabs}"
        top = [r"\begin{table}", r"\centering", caption, r"\footnotesize", r"\setlength{\tabcolsep}{4pt}"]
        top += [rf"\begin{{tabular}}{{{spec}}}", r"\toprule", head, r"\midrule"]
        lines = [needs, *top, *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


_MD = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after \\ a bare [ would be a length
    "]": "{]}",
    "−": "$-$",
    "–": "--",
    "±": r"$\pm$",
    "×": r"$\times$",
}


def _one_line(text: str) -> str:
    """Line breaks and control characters gone, which neither format can hold."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _md(text: str) -> str:
    text = _one_line(text)
    # brackets and underscores inside words and numbers read better bare, and mean nothing there
    return re.sub(r"(?<=\w)\\_(?=\w)", "_", re.sub(r"\\([\[\]])(?!\()", r"\1", _MD.sub(r"\\\1", text)))


def _tex(text: str) -> str:
    """Characters with a meaning escaped; what pdfLaTeX has no glyph for is shown as its code point."""
    plain = _one_line(text).replace('"', "''")  # OT1 has no straight double quote
    out = []
    for c in plain:
        if c in _TEX:
            out.append(_TEX[c])
        elif c.isascii() or "À" <= c <= "ÿ":
            out.append(c)
        else:
            out.append(f"{{[}}U+{ord(c):04X}{{]}}")
    return "".join(out)


# ---- cells


def percent(value: float | None) -> str:
    return "–" if _missing(value) else f"{100 * value:.1f}"  # type: ignore[operator]


def points(value: float) -> str:
    """A signed difference in percentage points; nothing that rounds to zero has a sign."""
    text = f"{100 * value:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def _with_interval(value: Any, low: Any, high: Any, sign: bool = False) -> str:
    if _missing(value):
        return "–"
    show: Callable[[float], str] = points if sign else percent
    return show(value) if _missing(low) else f"{show(value)} [{show(low)}, {show(high)}]"


def _interval(record: dict[str, Any], key: str, sign: bool = False, best: bool = False) -> Cell:
    value, low, high = record[key], record[f"{key}_low"], record[f"{key}_high"]
    return Cell(_with_interval(value, low, high, sign), None if _missing(value) else value, best)


def _p_value(p: float) -> str:
    return "–" if _missing(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _label(labels: dict[str, str], key: str) -> str:
    return labels.get(key, key.replace("_", " "))


def _quantity(record: dict[str, Any]) -> str:
    if record["quantity"] == "accuracy":
        shots = record["shots"]
        return "top-1 (%)" if _missing(shots) else f"top-1 (%), {shots} shot{'s' * (shots != 1)}"
    quantity = str(record["quantity"])
    return {"looked_at": "images looked at"}.get(quantity, quantity)


def _place(results: Results) -> list[Column]:
    """Data set, and the model where there are several."""
    model = [Column("Model", numeric=False)] if len(results.models) > 1 else []
    return [Column("Data set", numeric=False), *model]


def _place_cells(results: Results, record: dict[str, Any]) -> list[Cell]:
    average = record["dataset"] == AVERAGE
    dataset = Cell("average" if average else record["dataset"])
    return [dataset, Cell(record["model"])] if len(results.models) > 1 else [dataset]


def _averaged(results: Results) -> str:
    return " Average: plain mean over data sets." if len(results.datasets) > 1 else ""


def _only(results: Results) -> str:
    return f" Model: {results.models[0]}." if len(results.models) == 1 else ""


# ---- frames


def _estimate(key: str, estimate: dict[str, float] | None) -> dict[str, float]:
    e = estimate or {}
    return {
        key: e.get("value", np.nan),
        f"{key}_low": e.get("low", np.nan),
        f"{key}_high": e.get("high", np.nan),
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in r.items()} for r in frame.to_dict("records")]


def _in_order(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Methods in the order of METHODS, unknown ones last in their own order; settings in theirs."""
    order, settings_ = list(METHODS), list(SETTINGS)

    def place(entry: dict[str, Any]) -> tuple[int, int]:
        m, s = entry["method"], entry["setting"]
        return (
            order.index(m) if m in order else len(order),
            settings_.index(s) if s in settings_ else len(settings_),
        )

    return sorted(entries, key=place)


def _best(frame: pd.DataFrame, group: Sequence[str], key: str) -> list[bool]:
    """Whether each row holds the highest value of its group; alone in its group it is no news."""
    if frame.empty:
        return []
    values = frame.groupby(list(group), sort=False)[key]
    return list((frame[key] == values.transform("max")) & (values.transform("size") > 1))


def _with_average(frame: pd.DataFrame, group: Sequence[str], keys: Sequence[str]) -> pd.DataFrame:
    """The frame and, for several data sets, the mean over them of what all of them have (no interval)."""
    n = frame["dataset"].nunique()
    if n < 2:
        return frame
    groups = frame.groupby(list(group), sort=False)
    mean = groups[list(keys)].mean()
    mean = mean[groups["dataset"].nunique() == n].reset_index()
    mean.insert(0, "dataset", AVERAGE)
    models = list(dict.fromkeys(frame["model"]))
    mean = mean.sort_values("model", key=lambda column: column.map(models.index), kind="stable")
    return pd.concat([frame, mean], ignore_index=True)


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
                    results.adapter(results.datasets[0], model, shots)
                )
                record |= {"accuracy": float(np.mean(values)), "accuracy_std": std, "seeds": len(values)}
                records.append(record)
    return pd.DataFrame(records, columns=frame.columns).astype(
        {"accuracy_low": float, "accuracy_high": float}
    )


def average_runs(results: Results, model: str, method: str, shots: int) -> dict[int, float]:
    """Seed -> test accuracy averaged over all data sets; empty unless all data sets share a seed."""
    runs = []
    for dataset in results.datasets:
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
