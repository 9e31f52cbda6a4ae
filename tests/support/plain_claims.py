"""The accuracies and claims of a run in plain NumPy: from its features, and image by image.

    python tests/support/plain_claims.py RESULTS

recomputes zero-shot accuracies from image and text features, and every claim about methods from the
rows of each image: differences, intervals, p-values, means over data sets, the correction for all
tests, and verdicts. It prints each number that differs. Claims about neighbours are recomputed by
plain_controls.py, those about choices of texts only in their means, correction and verdict.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from plain_controls import tensors, unit

Array = NDArray[Any]
Record = dict[str, Any]
AVERAGE = "(average)"  # in place of a data set: the mean over data sets


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


# ---- zero-shot accuracies


def scores(x: Array, texts: Array, owner: Array, kinds: Array, n_classes: int) -> dict[str, Array]:
    """Method -> scores (N, C) of names, the ensemble of prompts, and CODER's stage one."""
    cosines = unit(x) @ unit(texts).T
    found = {}
    for method, kind in (("clip", "name"), ("clip_ensemble", "prompt")):
        of_kind = kinds == kind
        means = [
            unit(texts[of_kind & (owner == c)]).mean(axis=0, keepdims=True)
            for c in range(n_classes)
        ]
        found[method] = unit(x) @ unit(np.concatenate(means)).T
    found["coder"] = np.zeros((len(x), n_classes))
    for c in range(n_classes):
        of_mean = (owner == c) & np.isin(kinds, ("attribute", "analogous"))
        of_max = (owner == c) & np.isin(kinds, ("name", "synonym"))
        total = cosines[:, of_mean].sum(axis=1) + cosines[:, of_max].max(axis=1)
        found["coder"][:, c] = total / (of_mean.sum() + 1)
    return found


def wrong_accuracies(results: Path) -> list[str]:
    """Zero-shot accuracies that differ by more than one image, which may lie on a tie."""
    files = sorted((results / "zero_shot").glob("*/*.json"))
    assert files, "nothing was classified"
    return [w for file in files for w in _wrong(results, file.parent.name, file.stem)]


def _wrong(results: Path, model: str, dataset: str) -> list[str]:
    document = read(results / f"zero_shot/{model}/{dataset}.json")
    test, _ = tensors(results / f"image_features/{model}/{dataset}/test.safetensors")
    texts, head = tensors(results / f"text_features/{model}/{dataset}.safetensors")
    kinds = np.array(head["kind"])
    n_classes = len(document["classes"])
    made = scores(test["features"], texts["features"], texts["class_index"], kinds, n_classes)
    wrong = []
    for entry in document["methods"]:
        if entry["method"] in made and entry["setting"] in ("any", "clean"):
            right = made[entry["method"]].argmax(axis=1) == test["labels"]
            if abs(entry["accuracy"]["value"] - right.mean()) > 1.5 / len(right):
                wrong.append(f"{dataset} {entry['method']}: {right.mean()} is {entry['accuracy']}")
    return wrong


# ---- the choice of hyper-parameters


def shot_votes(
    results: Path, dataset: str, shots: int, seed: int, betas: list[float]
) -> tuple[Record, Record, list[float]]:
    """The adapter on raw features without CLIP's logits: what the run says of a seed; its
    accuracies with the β that was chosen; validation accuracies with other β.
    """
    document = read(results / f"adapter/mini/{dataset}/{shots}.json")
    name = ("raw_without_clip", "clean", seed)
    told = next(r for r in document["runs"] if (r["method"], r["setting"], r["seed"]) == name)
    folder = results / f"image_features/mini/{dataset}"
    pool, head = tensors(folder / "shots.safetensors")
    drawn = [image for draw in head["draws"][str(seed)][:shots] for image in draw]
    rows = [head["ids"].index(image) for image in drawn]
    keys = unit(pool["features"][rows])
    votes = np.eye(len(head["classes"]))[pool["labels"][rows]]

    def accuracy(split: str, beta: float) -> float:
        of_split, _ = tensors(folder / f"{split}.safetensors")
        logits = np.exp(beta * (unit(of_split["features"]) @ keys.T - 1)) @ votes
        return float((logits.argmax(axis=1) == of_split["labels"]).mean())

    chosen = {f"{split}_accuracy": accuracy(split, told["beta"]) for split in ("val", "test")}
    return {key: told[key] for key in chosen}, chosen, [accuracy("val", beta) for beta in betas]


# ---- claims


def interval(change: Array, groups: Array) -> Record:
    """The comparison of two methods from the changes (S, N) of S runs, group by group: the formulas
    of docs/judging.md written out.
    """
    s, n = change.shape
    members: dict[int, list[int]] = defaultdict(list)
    for i, g in enumerate(groups):
        members[int(g)].append(i)
    sizes = [len(m) / n for m in members.values()]
    sums = [[change[r, m].sum() / n for m in members.values()] for r in range(s)]
    value = float(np.mean([sum(run) for run in sums]))
    fixed, broke = int((change > 0).sum()), int((change < 0).sum())
    if not fixed + broke:
        return {"value": value, "low": 0.0, "high": 0.0, "p_value": 1.0}
    # one group better and one worse are added, of typical weight and usual size of a change
    typical = sum(w * w for w in sizes) / sum(sizes)
    steps = [v / w for run in sums for v, w in zip(run, sizes, strict=True) if v != 0]
    usual = math.sqrt(sum(v * v for v in steps) / len(steps))
    sizes = [*sizes, typical, typical]
    sums = [[*run, typical * usual, -typical * usual] for run in sums]
    total = sum(sizes)
    run_means = [sum(run) / total for run in sums]
    mean = sum(run_means) / s
    m = total**2 / sum(w * w for w in sizes)
    of_groups = [sum(run[g] for run in sums) / s for g in range(len(sizes))]
    terms = [
        (sum((v - mean * w) ** 2 for v, w in zip(of_groups, sizes, strict=True)) / total**2, m - 1)
    ]
    if s > 1:
        rest = sum(
            (run[g] - of_groups[g] - (run_mean - mean) * sizes[g]) ** 2
            for run, run_mean in zip(sums, run_means, strict=True)
            for g in range(len(sizes))
        )
        noise = rest / ((s - 1) * s * total**2) * m / (m - 1)
        terms.append((sum((r - mean) ** 2 for r in run_means) / (s - 1) / s, s - 1))
        terms.append((-noise, (s - 1) * (m - 1)))
    variance = max(sum(v for v, _ in terms), terms[0][0])
    degrees = variance**2 / sum(v * v / f for v, f in terms)
    half = stats.t.ppf(0.975, degrees) * math.sqrt(variance)
    if (change != change[0]).any():
        degrees = min(degrees, s - 1)
    p_value = 2 * stats.t.sf(abs(mean) / math.sqrt(variance), degrees)
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    # the sign test of the groups that changed
    changed = sum(any(change[:, i].any() for i in m) for m in members.values())
    least = min(1.0, 2.0 ** (1 - changed))
    if least >= 0.05:
        low, high = min(low, 0.0), max(high, 0.0)
    return {"value": value, "low": low, "high": high, "p_value": max(p_value, least)}


def over_data_sets(differences: list[Record]) -> Record:
    values = np.array([d["value"] for d in differences])
    n, mean = len(values), float(values.mean())
    if np.ptp(values) == 0:
        half = [(d["high"] - d["low"]) / 2 / stats.norm.ppf(0.975) for d in differences]
        error = math.sqrt(float(np.mean(np.square(half))) / n)
        p_value = float(2 * stats.t.sf(abs(mean) / error, n - 1)) if error else 1.0
    else:
        error = float(stats.sem(values))
        p_value = float(stats.ttest_1samp(values, 0).pvalue)
    half = stats.t.ppf(0.975, n - 1) * error
    low, high = mean - half, mean + half
    of_ranks = ranks(values[values != 0])
    if error and of_ranks >= 0.05:
        low, high = min(low, 0.0), max(high, 0.0)
    return {"value": mean, "low": low, "high": high, "p_value": max(p_value, of_ranks)}


def ranks(values: Array) -> float:
    """Signed-rank test by all signs: of at most 12 data sets there are 4,096."""
    if len(values) < 2:
        return 1.0
    of = stats.rankdata(np.abs(values))
    observed = abs(float((of * np.sign(values)).sum()))
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(values))).reshape(len(values), -1)
    return float((np.abs(of @ signs) >= observed - 1e-9).mean())


def verdict(d: Record) -> str:
    low, high = round(d["low"], 3), round(d["high"], 3)
    return "shown" if low > 0 else "contradicted" if high < 0 else "open"


def wrong_claims(results: Path) -> tuple[int, list[str]]:
    """How many numbers of claims were recomputed, and those that differ."""
    found, wrong = 0, []

    def same(what: str, ours: Any, theirs: Any) -> None:
        nonlocal found
        found += 1
        if ours != theirs and not (
            isinstance(ours, float) and math.isclose(ours, theirs, rel_tol=1e-6, abs_tol=1e-9)
        ):
            wrong.append(f"{what}: {ours} is {theirs}")

    records = read(results / "evaluation/claims.json")["claims"]
    about = pd.read_csv(Path(__file__).parents[2] / "src/coder_clip/claims.csv").set_index("id")
    for r in records:
        claim, where = about.loc[r["claim"]], f"{r['claim']} {r['dataset']} {r['model']}"
        if r["dataset"] != AVERAGE and r["verdict"] != "off":
            for key, plain in recomputed(results, claim, r).items():
                for end, value in plain.items():
                    same(f"{where} {key} {end}", value, r[key][end])
        judged = r["verdict"] in ("shown", "contradicted", "open")
        if judged:
            on = r["over_classes"] or (r["difference"] if "fewer" in r else None)
            on = r["judged_on"] if r["dataset"] == AVERAGE else on
            same(f"{where} judged", r["judged_on"], on)
            same(f"{where} verdict", verdict(on), r["verdict"])
        if r["dataset"] == AVERAGE:
            parts = [
                p
                for p in records
                if (p["claim"], p["model"]) == (r["claim"], r["model"])
                and p["dataset"] != AVERAGE
                and p["verdict"] != "not judged"
                and (claim.evidence == "zero_shot" or not is_part(p["dataset"]))
            ]
            plain = over_data_sets([p["difference"] for p in parts])
            for end, value in plain.items():
                same(f"{where} mean {end}", value, r["judged_on"][end])
            same(f"{where} judged", len(parts) >= 6, judged)
    tested = [r for r in records if r["verdict"] in ("shown", "contradicted", "open")]
    highest = 0.0
    for k, r in enumerate(sorted(tested, key=lambda r: float(r["judged_on"]["p_value"]))):
        highest = max(highest, min(1.0, r["judged_on"]["p_value"] * (len(tested) - k)))
        same(f"{r['claim']} {r['dataset']} Holm", highest, r["p_holm"])
        same(f"{r['claim']} {r['dataset']} certain", highest < 0.05, r["certain"])
    return found, wrong


def is_part(dataset: str) -> bool:
    """Parts of true CLIP's data sets: classes whose names are in some list."""
    return dataset.endswith(("_named_clip", "_lvis_clip"))


def recomputed(results: Path, claim: Any, r: Record) -> dict[str, Record]:
    """The differences of a claim about methods from the rows of each image; {} for other claims."""
    model, dataset = r["model"], r["dataset"]
    if claim.evidence == "few_shot":
        rows = pd.read_parquet(results / f"adapter/{model}/{dataset}/{r['shots']}.parquet")
        runs = "seed"
    elif claim.evidence == "zero_shot":
        files = [
            results / f"{phase}/{model}/{dataset}.parquet" for phase in ("zero_shot", "rerank")
        ]
        rows = pd.concat([pd.read_parquet(f) for f in files if f.exists()])
        runs = "draw"
        rows[runs] = rows[runs].fillna(0)
    else:
        return {}
    rows = rows[rows["setting"].isin(["any", "clean"])]
    sides = []
    for method in (claim.before, claim.after):
        of_method = rows[rows["method"] == method]
        right = (of_method["prediction"] == of_method["label"]).to_numpy()
        table = pd.crosstab(of_method[runs], of_method["image_id"], right, aggfunc="first")
        sides.append(table.to_numpy(dtype=float))
    s = max(len(side) for side in sides)
    was, now = (np.repeat(side, s // len(side), axis=0) for side in sides)
    images = rows.drop_duplicates("image_id").sort_values("image_id")
    groups = images["group"].to_numpy() if "group" in images else np.arange(len(images))
    found = {"difference": interval(now - was, groups)}
    if claim.over == "classes" and claim.evidence == "zero_shot":
        found["over_classes"] = interval(now - was, images["label"].to_numpy())
    return found


def main(results: Path) -> None:
    accuracies = wrong_accuracies(results)
    found, wrong = wrong_claims(results)
    print("\n".join([*accuracies, *wrong, f"{found} numbers of claims, {len(wrong)} differ"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
