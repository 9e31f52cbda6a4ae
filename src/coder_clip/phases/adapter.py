"""Phase adapter: the training-free few-shot methods on the same features and shots (paper, section 3.5)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from ..baselines.few_shot import Fitted, Given
from ..baselines.few_shot import method as method_of
from ..baselines.grids import Point
from ..baselines.zero_shot import class_weights, clip_scores
from ..errors import UserError
from ..evaluation.estimates import over_seeds, paired_over_seeds, paired_test_over_seeds
from ..foundation.artifacts import Paths, made_by, write_json, write_parquet
from ..protocols import FLAWS, SETTINGS, Setting
from ..texts.kinds import IN_CODER
from ..texts.sentences import FEW_SHOT
from .coder import text_tags
from .common import SHOTS, Images, Texts, log, read_images, read_texts, use_threads

if TYPE_CHECKING:
    from ..pipeline.config import Config

ZERO_SHOT = "clip_ensemble"
CODER_ADAPTER = "coder_adapter"  # whose flaws are told apart, and which the others are compared with


@dataclass(frozen=True)
class Run:
    """One method with one seed: hyper-parameters, accuracies and test predictions (N,) of a setting."""

    point: Point
    selected: str
    val_accuracy: float
    test_accuracy: float
    prediction: Tensor


@dataclass(frozen=True)
class Ready:
    """A method fitted to a seed's shots, with the point its search found; texts: those it used, kind by kind.

    runs: those that were asked for, so that settings share them.
    """

    texts: list[Tensor]
    fitted: Fitted
    searched: Point
    runs: dict[Point, Run] = field(default_factory=dict)


def run(config: Config, model: str, dataset: str, shots: int) -> None:
    """Write ``adapter/{model}/{dataset}/{shots}.parquet`` and ``.json``."""
    use_threads(config)
    pool, val, test = (read_images(config, model, dataset, split) for split in (SHOTS, "val", "test"))
    texts = read_texts(config, model, dataset, test)
    weights = class_weights(*texts.of("prompt"), len(test.classes))
    on_val, on_test = (Scored(i, clip_scores(i.features, weights)) for i in (val, test))
    clip_run = Run(Point(), "none", on_val.accuracy(), on_test.accuracy(), on_test.clip.argmax(dim=1))
    a = config.adapter
    found: dict[tuple[str, str, int], Run] = {}
    alone: dict[tuple[str, int], Run] = {}  # the CODER-Adapter: clean, and clean with one flaw

    def run_seed(seed: int) -> None:
        rows = shot_rows(config, pool, shots, seed)
        ready: dict[str, list[Ready]] = {method: [] for method in a.methods}

        @cache
        def given(s: Setting) -> Given:
            return given_of(config, dataset, s, seed, pool, rows, val, texts, weights)

        def run_of(method: str, s: Setting) -> Run:
            r = _ready(method, given(s), on_val, ready[method])
            return _chosen(method, s, r, Point(*config.initial(dataset)), on_val, on_test)

        for setting in config.settings:
            found[ZERO_SHOT, setting, seed] = clip_run
            for method in a.methods:
                found[method, setting, seed] = run_of(method, SETTINGS[setting])
        if CODER_ADAPTER in a.methods and "as_published" in config.settings:
            for key, s in {"clean": SETTINGS["clean"], **_flaws()}.items():
                alone[key, seed] = run_of(CODER_ADAPTER, s)

    for seed in tqdm(a.seeds, desc=f"{shots} shots, seeds", unit="seed"):
        run_seed(seed)

    out = Paths(config.results).adapter(model, dataset, shots)
    write_parquet(out, pd.concat([_rows(test, *key, r) for key, r in found.items()], ignore_index=True))
    paths = Paths(config.results)
    inputs = [paths.image_features(model, dataset, s) for s in (SHOTS, "val", "test")]
    inputs.append(paths.text_features(model, dataset))
    write_json(
        out.with_suffix(".json"),
        {
            "dataset": dataset,
            "model": model,
            "shots": shots,
            "images": len(test.ids),
            "left_out": {"test": test.left_out, **_shots_left_out(config, pool, shots)},
            "runs": [_document(*key, r) for key, r in found.items()],
            "summary": _summary(config, found, test),
            "flaws": _worth(config, alone, test),
            **_files(pool, shots),
            "made_by": made_by(
                f"coder-clip adapter --model {model} --dataset {dataset} --shots {shots}", inputs
            ),
        },
    )


def given_of(
    config: Config,
    dataset: str,
    s: Setting,
    seed: int,
    pool: Images,
    rows: Tensor,
    val: Images,
    texts: Texts,
    weights: Tensor,
) -> Given:
    """What a method may use of a run: a seed's shots (rows of the pool), CLIP's weights (C, d), texts of a setting."""
    return Given(
        dataset=dataset,
        seed=seed,
        cache=pool.features[rows],
        views=None if pool.views is None else pool.views[rows],
        labels=pool.labels[rows],
        weights=weights,
        texts={kind: texts.of(kind, FEW_SHOT, *text_tags(s, kind)) for kind in IN_CODER},
        validation=val.features,
        grid=(config.adapter.betas, config.adapter.alphas, config.adapter.rounds),
    )


@dataclass(frozen=True)
class Scored:
    """A split and CLIP's logits (N, C) of it."""

    images: Images
    clip: Tensor

    def accuracy(self, logits: Tensor | None = None) -> float:
        """Of logits (N, C), else of CLIP's."""
        predicted = (self.clip if logits is None else logits).argmax(dim=1)
        return float((predicted == self.images.labels).double().mean())


def _ready(method: str, given: Given, on_val: Scored, before: list[Ready]) -> Ready:
    """The method fitted and searched; as it was where another setting had the same texts."""
    texts = [given.texts[kind][0] for kind in method_of(method).kinds]
    for r in before:
        if all(torch.equal(a, b) for a, b in zip(r.texts, texts, strict=True)):
            return r
    fitted = method_of(method).fit(given)
    point = fitted.search(on_val.images.features, on_val.clip, on_val.images.labels)
    before.append(Ready(texts, fitted, point))
    return before[-1]


def _chosen(method: str, setting: Setting, r: Ready, initial: Point, on_val: Scored, on_test: Scored) -> Run:
    """The run that a setting reports: searched on validation, or what the published code makes of the test split."""
    points = {"searched": r.searched}
    if method_of(method).published_initial and setting.adapter_selection == "best_of_two_on_test":
        points = {"initial": initial, **points}
    if setting.adapter_selection == "test":
        t = on_test.images
        points = {"searched": r.fitted.search(t.features, on_test.clip, t.labels)}
    runs = [_run(r, point, name, on_val, on_test) for name, point in points.items()]
    return max(runs, key=lambda run: run.test_accuracy)  # of one run nothing is chosen


def _run(r: Ready, point: Point, selected: str, on_val: Scored, on_test: Scored) -> Run:
    if point not in r.runs:
        val, test = (r.fitted.logits(s.images.features, s.clip, point) for s in (on_val, on_test))
        accuracies = on_val.accuracy(val), on_test.accuracy(test)
        r.runs[point] = Run(point, selected, *accuracies, test.argmax(dim=1))
    return replace(r.runs[point], selected=selected)


def _flaws() -> dict[str, Setting]:
    """Settings with one flaw that reaches the CODER-Adapter: its texts, or how α and β are chosen."""
    clean = SETTINGS["clean"]
    return {
        key: flaw.setting
        for key, flaw in FLAWS.items()
        if flaw.setting.adapter_selection != clean.adapter_selection
        or text_tags(flaw.setting, "attribute") != text_tags(clean, "attribute")
    }


def _worth(config: Config, alone: dict[tuple[str, int], Run], test: Images) -> list[dict[str, Any]]:
    """What each flaw does alone to the CODER-Adapter: ``clean`` with it against ``clean``, over seeds."""
    keys = dict.fromkeys(key for key, _ in alone)
    correct = {
        key: np.stack([(alone[key, seed].prediction == test.labels).numpy() for seed in config.adapter.seeds])
        for key in keys
    }
    return [
        {
            "flaw": key,
            "method": CODER_ADAPTER,
            "clean": over_seeds(correct["clean"]),
            "accuracy": over_seeds(correct[key]),
            "difference": paired_over_seeds(correct["clean"], correct[key]),
        }
        for key in keys
        if key != "clean"
    ]


def _drawn(pool: Images, shots: int, seed: int) -> list[str]:
    """Image ids of a seed's shots.

    Fewer shots are the beginning of the draw that the features were made for, unless files of published runs say for
    every number of shots which.
    """
    draws = pool.meta.get("draws", {})
    draw = draws.get(f"{shots}/{seed}") or draws.get(str(seed), [])[:shots]
    if len(draw) < shots and f"{shots}/{seed}" not in draws:
        raise UserError(
            f"the image features hold no {shots}-shot draw of seed {seed}: encode the images again"
        )
    return [image for shot in draw for image in shot]


def _files(pool: Images, shots: int) -> dict[str, dict[str, str]]:
    """The files that the shots come from, where the configuration names some, and their sha256."""
    files = pool.meta.get("shot_files", {})
    own = {name: found for name, found in files.items() if name.startswith(f"shot_{shots}-")}
    return {"shot_files": own} if own else {}


def shot_rows(config: Config, pool: Images, shots: int, seed: int) -> Tensor:
    """Rows (K,) of the pool that are a seed's shots, looked up by image id.

    A shot whose image could not be read is left out where the configuration says so (on_error: skip).
    """
    drawn = _drawn(pool, shots, seed)
    row = {image: i for i, image in enumerate(pool.ids)}
    skipped = {image for image, _ in pool.meta["skipped"]} if config.features.on_error == "skip" else set()
    lost = [image for image in drawn if image not in row and image not in skipped]
    if lost:
        raise UserError(f"no features of '{lost[0]}' ({len(lost)} shots): encode the images again")
    rows = torch.tensor([row[image] for image in drawn if image in row], dtype=torch.int64)
    if len(rows) < len(drawn):
        log.warning(
            "seed %d: %d of %d shots could not be read and are left out",
            seed,
            len(drawn) - len(rows),
            len(drawn),
        )
    return rows


def _shots_left_out(config: Config, pool: Images, shots: int) -> dict[str, int]:
    """How many different images all seeds draw as shots, and how many of these could not be read."""
    drawn = {image for seed in config.adapter.seeds for image in _drawn(pool, shots, seed)}
    return {"shots": len(drawn - set(pool.ids)), "drawn": len(drawn)}


def _rows(test: Images, method: str, setting: str, seed: int, r: Run) -> pd.DataFrame:
    table = pd.DataFrame({"setting": setting, "method": method, "seed": seed, "image_id": test.ids})
    table["label"], table["prediction"] = test.labels.numpy(), r.prediction.numpy()
    table["correct"] = table["prediction"] == table["label"]
    return table


def _document(method: str, setting: str, seed: int, r: Run) -> dict[str, Any]:
    return {
        "method": method,
        "setting": setting,
        "seed": seed,
        **r.point._asdict(),
        "selected": r.selected,
        "val_accuracy": r.val_accuracy,
        "test_accuracy": r.test_accuracy,
    }


def _summary(config: Config, found: dict[tuple[str, str, int], Run], test: Images) -> list[dict[str, Any]]:
    """Mean and spread over seeds of every method and setting, and the CODER-Adapter against the method."""
    correct = {
        (method, setting): np.stack(
            [
                (found[method, setting, seed].prediction == test.labels).numpy()
                for seed in config.adapter.seeds
            ]
        )
        for method, setting in dict.fromkeys((m, s) for m, s, _ in found)
    }
    summary = []
    for (method, setting), right in correct.items():
        entry: dict[str, Any] = {"method": method, "setting": setting}
        entry["accuracy"] = over_seeds(right)
        coder = correct.get((CODER_ADAPTER, setting))
        if coder is not None and method != CODER_ADAPTER:
            entry["coder_adapter_against"] = paired_test_over_seeds(right, coder)
        summary.append(entry)
    return summary
