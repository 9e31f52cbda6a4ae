"""Phase rerank: stage two on the test split, for every setting (paper, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from ..evaluation.estimates import estimate, paired_test
from ..evaluation.text_coverage import coverage
from ..foundation.artifacts import Paths, made_by, read_parquet, read_tensors, write_json, write_parquet
from ..protocols import DEFAULT_THRESHOLD, FLAWS, SETTINGS, Setting
from ..rerank import OneToOne, Reranked, oracle, rerank_scores
from .coder import text_neighbors
from .common import AS_PUBLISHED, Images, Texts, belongs, read_images, read_texts, use_threads
from .predictions import metrics, rows

if TYPE_CHECKING:
    from ..pipeline.config import Config

METHOD = "coder_rerank"


def run(config: Config, model: str, dataset: str) -> None:
    """Write ``rerank/{model}/{dataset}.parquet`` and ``.json``.

    A data set without validation images keeps the default threshold where one would be chosen on them.
    """
    use_threads(config)
    test = read_images(config, model, dataset, "test")
    val = read_images(config, model, dataset, "val") if config.has_val(dataset) else None
    pairs = {flag: read_one_to_one(config, test, flag) for flag in (False, True)}
    paths = Paths(config.results)
    stage_one = read_parquet(paths.zero_shot(model, dataset))
    clip = stage_one[stage_one["method"] == "clip"]
    given = Given(config, dataset, test, val, read_texts(config, model, dataset, test), pairs)

    tables, documents, sweep, candidates, changes = [], [], [], [], []
    for setting in config.settings:
        found = stage_two(given, SETTINGS[setting])
        both, threshold, looked_at = found.both, found.threshold, found.looked_at
        table = rows(test, METHOD, setting, found.scores, found.prediction)
        table["looked_at"], table["stage_one"] = looked_at.numpy(), both.stage_one.numpy()
        tables.append(table)
        documents.append(
            {
                **metrics(config, table, clip),
                "threshold": threshold,
                "looked_at": int(looked_at.sum()),
                **coverage(both.classes[looked_at], given.pairs_of(SETTINGS[setting])),
            }
        )
        for t in config.rerank.thresholds:
            right = both.predictions(t) == test.labels
            point = {
                "accuracy": float(right.double().mean()),
                "looked_at": int(((both.gap < t) & found.eligible).sum()),
            }
            sweep.append({"setting": setting, "threshold": t, **point})
        for k in sorted({min(k, len(test.classes)) for k in (config.rerank.top_k, *config.rerank.top_ks)}):
            compared = given.pairs_of(SETTINGS[setting])
            of_k = rerank_scores(test.features, found.scores, compared, k)
            candidates += [
                {"setting": setting, "top_k": k, **point}
                for point in gates(of_k, threshold, test.labels, compared)
            ]
        changes += changed_pairs(table, setting)

    out = paths.rerank(model, dataset)
    write_parquet(out, pd.concat(tables, ignore_index=True))
    inputs = [
        *(paths.image_features(model, dataset, split) for split in ("val", "test") if split == "test" or val),
        paths.text_features(model, dataset),
        paths.one_to_one(model, dataset),
        paths.zero_shot(model, dataset),
    ]
    write_json(
        out.with_suffix(".json"),
        {
            "dataset": dataset,
            "model": model,
            "split": "test",
            "images": len(test.ids),
            "classes": test.classes,
            "pairs_with_texts": len(pairs[False]),
            "methods": documents,
            "sweep": sweep,
            "candidates": candidates,
            "pairs": changes,
            "flaws": flaws(given) if "as_published" in config.settings else [],
            "made_by": made_by(f"coder-clip rerank --model {model} --dataset {dataset}", inputs),
        },
    )


@dataclass(frozen=True)
class Stages:
    """Stage one's scores (N, C) of the test split, and both stages' picks of test and validation."""

    scores: Tensor
    test: Reranked
    val: Reranked | None


@dataclass(frozen=True)
class Given:
    """What stage two runs on, in any setting. val: None where the data set has no validation images.

    pairs: the differences, and (True) those of the published code's sentences. done: what settings with the same
    texts share, by the bugs in them.
    """

    config: Config
    dataset: str
    test: Images
    val: Images | None
    texts: Texts
    pairs: dict[bool, OneToOne]
    done: dict[tuple[bool, ...], Stages] = field(default_factory=dict)

    def pairs_of(self, s: Setting) -> OneToOne:
        return self.pairs[s.one_to_one_as_published]

    def stages(self, s: Setting) -> Stages:
        key = (
            s.synonyms_reach_clip,
            s.underscores_in_names_only,
            s.class_names_as_published,
            s.one_to_one_as_published,
        )
        if key not in self.done:
            neighbors = text_neighbors(self.texts, s)
            scores = neighbors.class_scores(self.test.features)
            top, pairs = self.config.rerank.top_k, self.pairs_of(s)
            test, val = rerank_scores(self.test.features, scores, pairs, top), None
            if self.val is not None:
                x = self.val.features
                val = rerank_scores(x, neighbors.class_scores(x), pairs, top)
            self.done[key] = Stages(scores, test, val)
        return self.done[key]


@dataclass(frozen=True)
class StageTwo:
    """Stage two in one setting: stage one's scores (N, C), both picks, and which images the gate may count (N,)."""

    scores: Tensor
    both: Reranked
    threshold: float
    eligible: Tensor

    @property
    def looked_at(self) -> Tensor:
        return (self.both.gap < self.threshold) & self.eligible

    @property
    def prediction(self) -> Tensor:
        return torch.where(self.looked_at, self.both.stage_two, self.both.stage_one)


def stage_two(g: Given, s: Setting) -> StageTwo:
    """The rerank of the test split in a setting."""
    both, val = g.stages(s).test, g.stages(s).val
    threshold = g.config.threshold(g.dataset)
    if s.rerank_threshold == "test":
        threshold = best_threshold(g.config.rerank.thresholds, both, g.test.labels)
    elif s.rerank_threshold == "validation":
        threshold = DEFAULT_THRESHOLD
        if val is not None and g.val is not None:
            threshold = best_threshold(g.config.rerank.thresholds, val, g.val.labels)
    eligible = torch.full((len(g.test.ids),), s.reranks)
    if s.gate_reads_labels:  # as published: an image whose label is not among the top five is not counted
        eligible &= (both.classes == g.test.labels[:, None]).any(dim=1)
    return StageTwo(g.stages(s).scores, both, threshold, eligible)


def flaws(g: Given) -> list[dict[str, Any]]:
    """What each bug and leak of stage one and two does alone: ``clean`` with it against ``clean``, paired."""
    clean, labels = stage_two(g, SETTINGS["clean"]), g.test.labels
    options = {"resamples": g.config.evaluation.bootstrap, "seed": g.config.evaluation.seed}
    found = []
    for key, flaw in FLAWS.items():
        if flaw.setting.adapter_selection != SETTINGS["clean"].adapter_selection:
            continue  # phase adapter
        flawed = stage_two(g, flaw.setting)
        picks = {METHOD: (clean.prediction, flawed.prediction)}
        if flaw.setting.published_texts:
            picks = {"coder": (clean.both.stage_one, flawed.both.stage_one), **picks}
        for method, (before, after) in picks.items():
            was, now = (before == labels).numpy(), (after == labels).numpy()
            found.append(
                {
                    "flaw": key,
                    "method": method,
                    "clean": estimate(was, **options),
                    "accuracy": estimate(now, **options),
                    **paired_test(was, now),
                    "looked_at": {"clean": int(clean.looked_at.sum()), "flawed": int(flawed.looked_at.sum())},
                }
            )
    return found


def best_threshold(thresholds: list[float], both: Reranked, labels: Tensor) -> float:
    """The threshold of the highest accuracy on these images; of several the smallest (fewest reranks)."""
    right = {t: int((both.predictions(t) == labels).sum()) for t in sorted(thresholds)}
    return max(right, key=lambda t: right[t])


def gates(both: Reranked, threshold: float, labels: Tensor, pairs: OneToOne) -> list[dict[str, Any]]:
    """The rerank behind the gate in use and behind none: its accuracy, and what a second stage that never errs has.

    coverage: share of comparisons with texts; None where nothing is compared.
    """
    found = []
    for gate, looked_at in (
        ("in_use", both.gap < threshold),
        ("open", torch.ones_like(both.gap, dtype=torch.bool)),
    ):
        right = torch.where(looked_at, both.stage_two, both.stage_one) == labels
        found.append(
            {
                "gate": gate,
                "looked_at": int(looked_at.sum()),
                "accuracy": estimate(right),
                "oracle": estimate(oracle(both, looked_at, labels)),
                "coverage": coverage(both.classes[looked_at], pairs)["coverage"],
            }
        )
    return found


def changed_pairs(table: pd.DataFrame, setting: str) -> list[dict[str, Any]]:
    """For each (class before, class after) how many images the rerank put right or wrong, and which."""
    changed = table[table["prediction"] != table["stage_one"]]
    found = []
    for a, b in sorted(set(zip(changed["stage_one"], changed["prediction"], strict=True))):
        group = changed[(changed["stage_one"] == a) & (changed["prediction"] == b)]
        fixed = group.loc[group["correct"], "image_id"].tolist()
        broke = group.loc[group["stage_one"] == group["label"], "image_id"].tolist()
        counts = {"fixed": len(fixed), "broke": len(broke)}
        found.append(
            {"setting": setting, "a": int(a), "b": int(b), **counts, "fixed_ids": fixed, "broke_ids": broke}
        )
    return sorted(found, key=lambda p: (-(p["fixed"] + p["broke"]), p["a"], p["b"]))


def read_one_to_one(config: Config, images: Images, as_published: bool = False) -> OneToOne:
    """The pair differences that belong to these image features; of the published code's sentences where they differ."""
    path = Paths(config.results).one_to_one(images.meta["model"], images.meta["dataset"])
    tensors, meta = read_tensors(path)
    belongs(path, meta, images)
    own = {k.removeprefix(AS_PUBLISHED): t for k, t in tensors.items() if k.startswith(AS_PUBLISHED)}
    return OneToOne.from_state(own if as_published and own else tensors)
