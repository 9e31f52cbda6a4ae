"""A small results tree of made-up numbers, for tests of tables, figures and report
(docs/artifacts.md).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from safetensors.numpy import save_file

from coder_clip.baselines import methods
from coder_clip.foundation.artifacts import Paths, made_by
from coder_clip.phases import claims
from coder_clip.protocols import usable
from coder_clip.reporting.results import Results

SETTINGS = ("as_published", "corrected", "clean")
FEW_SHOT = {
    **{"clip_ensemble": 0.0, "tip_adapter": 0.010, "tip_x": 0.012, "ape": 0.016, "gda": 0.027},
    **{"lda": 0.024, "projected_means": 0.015},
    **{"coder_adapter": 0.022, "raw_adapter": 0.013, "coder_no_minmax": 0.018},
    **{"coder_synonyms": 0.0225, "coder_half_texts": 0.0205},
    **{
        "coder_without_clip": 0.017,
        "raw_without_clip": 0.014,
        "tip_x_without_clip": 0.011,
        "projected_with_clip": 0.019,
    },
}
FEW_SHOT |= {m: 0.012 for m in (*methods.FEW_SHOT, *methods.ABLATIONS) if m not in FEW_SHOT}
NOTHING_TO_TUNE = ("clip_ensemble", "lda", "projected_means")
FEATURES = {
    "original": 0.0,
    "coder": 0.05,
    "projected": 0.03,
    "discriminant": 0.09,
    **{"other_images": -0.15, "own_images": -0.06, "rotated_texts": -0.11},
    **{"random_directions": 0.001, "centred": 0.01, "whitened": 0.02, "projected_images": -0.02},
}  # gain in neighbours
# controls -> what they are compared with
CONTROLS = {f: "coder" for f in list(FEATURES)[4:-1]} | {"projected_images": "projected"}
GAIN = {
    **{"clip": 0.0, "clip_ensemble": 0.012, "clip_templates": 0.006, "random_words": 0.004},
    **{"description": 0.02, "attributes_alone": 0.01, "coder": 0.045},
}
WORDS = [
    "eight straight edges",
    "a ring of yellow petals round a dark middle",
    "two thin dark hands",
    "a rim",
]


@dataclass
class Fake:
    """What to make up. ``classes`` names the classes of every data set."""

    root: Path
    datasets: Sequence[str] = ("shapes", "rare")
    models: Sequence[str] = ("mini",)
    shots: Sequence[int] = (1, 2, 4, 8, 16)
    seeds: Sequence[int] = (1, 2, 3)
    classes: Sequence[str] = (
        "stop sign",
        "sunflower",
        "clock",
        "life ring",
        "orange",
        "basketball",
    )
    settings: Sequence[str] = SETTINGS
    per_class: int = 20
    reranked: bool = True
    paired: bool = True  # whether there are one-to-one texts
    split: str = ""  # of published data sets; without one they are drawn
    validated: bool = True  # whether there are validation images
    unreadable: int = 0  # test images and shots that could not be read
    weights: str = "cd1a5de5042a" * 5
    texts: Sequence[str] = tuple(WORDS)
    provenance: dict[str, Any] = field(
        default_factory=lambda: {"attribute": {"source": "made up for tests", "date": "2025-01-01"}}
    )

    def write(self) -> Results:
        """Write the tree and give it back as `Results`."""
        for i, dataset in enumerate(self.datasets):
            self._texts(dataset)
            for j, model in enumerate(self.models):
                rng = np.random.default_rng([i, j])
                base = 0.62 + 0.11 * ((i * 3) % 4) / 4 + 0.04 * j
                self._zero_shot(dataset, model, base, rng)
                self._rerank(dataset, model, base, rng)
                for shots in self.shots:
                    self._adapter(dataset, model, shots, base, rng)
                self._evaluation(dataset, model, base, rng)
                self._features(dataset, model)
        return judged_again(self.root, self.datasets, self.models, self.shots)

    @cached_property
    def ids(self) -> list[str]:
        return [
            f"test/{c}/{i:04}.png" for c in range(len(self.classes)) for i in range(self.per_class)
        ]

    @cached_property
    def id_column(self) -> np.ndarray:
        return np.array(self.ids, dtype=object)

    @cached_property
    def labels(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.classes)), self.per_class)

    def image(self, dataset: str, image_id: str) -> Image.Image:
        """A coloured disc or square, by class."""
        c = int(image_id.split("/")[1])
        picture = Image.new("RGB", (48, 40), (235, 235, 225))
        draw = (ImageDraw.Draw(picture).ellipse, ImageDraw.Draw(picture).rectangle)[c % 2]
        draw((10, 6, 38, 34), fill=((83 * c) % 256, (151 * c + 60) % 256, (211 * c + 120) % 256))
        return picture

    # ---- one method a phase

    def _texts(self, dataset: str) -> None:
        paths = Paths(self.root)
        classes = [
            {"name": c, "attribute": list(self.texts), "analogous": ["kite"]} for c in self.classes
        ]
        text_set = {
            "format": 1,
            "dataset": dataset,
            "classes": classes,
            "provenance": self.provenance,
        }
        write_json(paths.texts(dataset), text_set)
        pair = {
            "a": self.classes[0],
            "b": self.classes[-1],
            "a_not_b": ["a mane"],
            "b_not_a": ["stripes", "a ruff"],
        }
        note = {"one_to_one": {"source": "llm", "model": "tiny"}, "pairs": {"compared": 9}}
        pairs = {"format": 1, "dataset": dataset, "pairs": [pair] * self.paired, "provenance": note}
        write_json(paths.one_to_one_texts(dataset), pairs)
        images = {s: len(self.ids) for s in ("train", "val", "test")}
        manifest = {
            "dataset": dataset,
            "classes": list(self.classes),
            "images": images,
            "files": [],
        }
        manifest |= {"split": self.split} if self.split else {}
        write_json(paths.manifest(dataset), {**manifest, "fingerprint": "7a00599b92d8" + "0" * 52})

    def _features(self, dataset: str, model: str) -> None:
        encoder = {
            "model": "local-dir:mini",
            "pretrained": "made up",
            "weights_sha256": self.weights,
        }
        paths = Paths(self.root)
        skipped = [[f"test/0/{i}.jpg", "truncated <file>"] for i in range(self.unreadable)]
        rng, n = np.random.default_rng(0), len(self.classes)
        centres = rng.standard_normal((n, 8))
        for split in ("shots", "val", "test"):
            head = {
                "encoder": encoder,
                "skipped": skipped if split != "val" else [],
                "ids": self.ids,
            }
            images = centres[self.labels] + rng.standard_normal((len(self.ids), 8))
            write_head(
                paths.image_features(model, dataset, split),
                head,
                features=images,
                labels=self.labels,
            )
        templates = {
            "name": "a photo of a {class}.",
            "one_to_one": ["a {class} with {one_to_one}."],
        }
        kinds = ["name", *["attribute"] * len(self.texts), "analogous"]
        texts = [(k, c, i, j) for i, c in enumerate(self.classes) for j, k in enumerate(kinds)]
        head = {
            "templates": templates,
            "kind": [t[0] for t in texts],
            "text": [f"{t[0]} {t[3]} of {t[1]}" for t in texts],
        }
        index = np.array([t[2] for t in texts], dtype=np.int64)
        noise = rng.standard_normal((len(texts), 8))
        write_head(
            paths.text_features(model, dataset),
            head,
            features=centres[index] + noise,
            class_index=index,
        )

    def _predictions(
        self, method: str, setting: str, accuracy: float, rng: np.random.Generator
    ) -> dict[str, Any]:
        """The columns of a run, of which `joined` makes a table: thousands of small tables would
        take seconds.
        """
        n, classes = len(self.ids), len(self.classes)
        wrong = (rng.random(n) > accuracy) & (classes > 1)
        prediction = np.where(wrong, (self.labels + 1) % classes, self.labels)
        return {
            **{
                "setting": np.full(n, setting, dtype=object),
                "method": np.full(n, method, dtype=object),
            },
            **{"draw": np.zeros(n, dtype=np.int64), "image_id": self.id_column},
            **{
                "label": self.labels,
                "prediction": prediction,
                "correct": ~wrong,
                "gap": rng.random(n),
            },
        }

    def _method(self, method: str, setting: str, accuracy: float, clip: float) -> dict[str, Any]:
        difference = {**_share(accuracy - clip, 0.025), "low": accuracy - clip - 0.025}
        against = {**difference, "fixed": 30, "broke": 18, "p_value": 0.0213}
        return {
            "method": method,
            "setting": setting,
            "accuracy": _share(accuracy),
            "top5_accuracy": _share((1 + accuracy) / 2) if len(self.classes) > 5 else None,
            "mean_class_recall": _share(accuracy - 0.003),
            "against_clip": None if method == "clip" else against,
        }

    def _validation(self, entries: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any] | None:
        """These methods on validation images: the same numbers, in the setting that may be
        recommended.
        """
        if not self.validated:
            return None
        setting = usable(self.settings)
        keys = ("method", "setting", "accuracy", "against_clip")
        kept = [
            {k: m[k] for k in keys}
            for m in entries
            if m["setting"] in ("any", setting) and m["method"] != "random_words"
        ]
        return {"images": len(self.ids), **more, "methods": kept}

    def _zero_shot(self, dataset: str, model: str, base: float, rng: np.random.Generator) -> None:
        out = Paths(self.root).zero_shot(model, dataset)
        runs = [(m, "any", base + g) for m, g in GAIN.items() if m != "coder"]
        runs += [
            ("coder", s, base + GAIN["coder"] - 0.012 * (s == "as_published"))
            for s in self.settings
        ]
        rows = [self._predictions(*run, rng) for run in runs]
        # descriptions are in the rows alone, by a generator of their own
        described = self._predictions("sentence", "any", base + 0.015, np.random.default_rng(7))
        write_parquet(out, joined([*rows, described]))
        methods = [self._method(*run, base) for run in runs]
        self._document(
            out,
            "zero-shot",
            dataset,
            model,
            {
                "classes": list(self.classes),
                "methods": methods,
                "left_out": self.unreadable,
                "validation": self._validation(methods, candidates=5),
            },
        )

    def _rerank(self, dataset: str, model: str, base: float, rng: np.random.Generator) -> None:
        out = Paths(self.root).rerank(model, dataset)
        methods, sweep, rows = [], [], []
        for s in self.settings:
            before = base + GAIN["coder"] - 0.012 * (s == "as_published")
            gain = 0.018 * self.reranked
            looked_at = len(self.ids) // 4 if self.reranked else 0
            threshold = (0.3 if self.reranked else 0.0) if s == "clean" else 0.1
            after = before + gain * 4 * threshold * (1 - threshold)
            m = self._method("coder_rerank", s, after, base)
            m |= {"threshold": threshold, "looked_at": looked_at}
            m["comparisons"] = {"all": 10 * looked_at, "with_text": 9 * looked_at}
            some = 7 * (self.reranked and len(self.classes) > 1)
            methods.append({**m, "against_stage_one": {"fixed": some, "broke": some // 2}})
            for t in np.linspace(0, 1, 21).round(2).tolist():
                accuracy = before + gain * 4 * t * (1 - t)
                count = int(len(self.ids) * t**1.5) if self.reranked else 0
                sweep.append(
                    {"setting": s, "threshold": t, "accuracy": accuracy, "looked_at": count}
                )
            columns = self._predictions("coder_rerank", s, after, rng)
            rows.append({**columns, "looked_at": [False] * len(self.ids)})
        write_parquet(out, joined(rows))
        what = {"classes": list(self.classes), "methods": methods, "sweep": sweep}
        what["flaws"] = [
            {
                "flaw": flaw,
                "method": method,
                "clean": _share(base),
                "accuracy": _share(base + worth),
                "difference": {**_share(worth, 0.01), "fixed": 3, "broke": 1, "p_value": 0.6},
                "looked_at": {"clean": 30, "flawed": 28},
            }
            for flaw, method, worth in (
                ("synonyms", "coder", -0.02),
                ("synonyms", "coder_rerank", -0.01),
                ("gate_reads_labels", "coder_rerank", 0.0),
                ("test_threshold", "coder_rerank", 0.005),
            )
        ]
        what["pairs_with_texts"] = 30 * self.paired
        what["validation"] = self._validation(methods)
        self._document(out, "rerank", dataset, model, what)

    def _adapter(
        self, dataset: str, model: str, shots: int, base: float, rng: np.random.Generator
    ) -> None:
        out = Paths(self.root).adapter(model, dataset, shots)
        runs, summary, rows = [], [], []
        for setting in self.settings:
            for method, slope in FEW_SHOT.items():
                level = (
                    base + 0.012 + slope * np.log2(2 * shots) * 1.6 + 0.004 * (setting != "clean")
                )
                spread = 0.0 if method == "clip_ensemble" else 0.02 / np.sqrt(shots)
                accuracies = [float(level + spread * rng.standard_normal()) for _ in self.seeds]
                for seed, a in zip(self.seeds, accuracies, strict=True):
                    run = {
                        "method": method,
                        "setting": setting,
                        "seed": seed,
                        "alpha": 1.3,
                        "beta": 2.0 * seed,
                    }
                    if method in NOTHING_TO_TUNE:
                        run |= {"alpha": None, "beta": None}
                    columns = self._predictions(method, setting, a, rng)
                    rows.append({**columns, "seed": [seed] * len(self.ids)})
                    runs.append({**run, "val_accuracy": a, "test_accuracy": a})
                mean = float(np.mean(accuracies))
                std = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0
                share = {"value": mean, "std": std, "low": mean - 0.03, "high": mean + 0.03}
                gain = FEW_SHOT["coder_adapter"] - slope
                worth = {"value": gain, "std": 0.001, "low": gain - 0.006, "high": gain + 0.006}
                p = min(1.0, 0.0004 / max(abs(gain), 1e-9))
                against = {**worth, "fixed": 12, "broke": 7, "p_value": p}
                entry = {"method": method, "setting": setting, "accuracy": share}
                if method != "coder_adapter":
                    entry["coder_adapter_against"] = against
                summary.append(entry)
        write_parquet(out, joined(rows))
        left = {"test": self.unreadable, "shots": self.unreadable, "drawn": 60}
        what = {"shots": shots, "runs": runs, "summary": summary, "left_out": left}
        spread = {"value": 0.004, "std": 0.001, "low": 0.002, "high": 0.006, "p_value": 0.01}
        level = {**spread, "value": base}
        flaw = {
            "method": "coder_adapter",
            "clean": level,
            "accuracy": {**level, "value": base + 0.004},
        }
        what["flaws"] = [
            {**flaw, "flaw": f, "difference": spread} for f in ("best_of_two", "test_search")
        ]
        self._document(out, f"adapter --shots {shots}", dataset, model, what)

    def _evaluation(self, dataset: str, model: str, base: float, rng: np.random.Generator) -> None:
        out = Paths(self.root).evaluation(model, dataset)
        kinds = [["name"], ["name", "attribute"], ["name", "attribute", "analogous", "synonym"]]
        counts = [(n, d) for n in (0, 1, 2, 3, 4, 6, 8) for d in range(3 if 0 < n < 8 else 1)]
        what: dict[str, Any] = {
            "classes": list(self.classes),
            "text_kinds": [
                {"kinds": k, "accuracy": _share(base + 0.012 * len(k)), "texts": 6 * len(k)}
                for k in kinds
            ],
            "text_counts": [
                {
                    "count": n,
                    "draw": d,
                    "accuracy": base + 0.02 * np.log2(1 + n) + 0.01 * rng.random(),
                }
                for n, d in counts
            ],
            "text_choices": [
                {"count": n, "chosen": c, "accuracy": base + gain}
                for n in (2, 4)
                for c, gain in (("diverse", 0.03), ("alike", -0.02))
                if len(self.classes) > 1
            ],
            "feature_quality": [
                {
                    "features": f,
                    "k": 5,
                    "knn_accuracy": _share(base + 0.1 + gain),
                    "retrieval_precision": _share(base - 0.2 + gain),
                }
                for f, gain in self._compared.items()
            ],
            "text_tests": self._text_tests(),
            "neighbour_tests": self._neighbour_tests(),
            "controls": {"texts": 40, "other_images": 40, "own_images": 30, "whitening": 0.5},
            "corrections": self._corrections(),
            "broken": self._corrections(swapped=True),
        }
        maps, spaced = [], min(12, len(self.classes))
        shown = np.isin(self.labels, np.arange(spaced) * len(self.classes) // spaced)
        for features, spread in (("original", 9.0), ("coder", 5.0)):
            angle = 2 * np.pi * self.labels / len(self.classes)
            xy = 40 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
            xy = xy + spread * rng.standard_normal(xy.shape)
            place = {"features": features, "x": xy[:, 0], "y": xy[:, 1]}
            maps.append(pd.DataFrame({"image_id": self.ids, "label": self.labels, **place})[shown])
        write_parquet(out, pd.concat(maps, ignore_index=True))
        self._document(out, "evaluation", dataset, model, what)

    @property
    def _compared(self) -> dict[str, float]:
        """The features that are compared; a discriminant needs shots."""
        return {f: gain for f, gain in FEATURES.items() if self.shots or f != "discriminant"}

    def _text_tests(self) -> list[dict[str, Any]]:
        choice = {"test": "diverse_against_alike", **self._paired(0.05)}
        return [
            {"test": "all_against_few", **self._paired(0.043)},
            *[choice] * (len(self.classes) > 1),
            {"test": "kind", "kind": "attribute", **self._paired(0.024)},
            {"test": "kind", "kind": "analogous", **self._paired(-0.004)},
            {"test": "kind", "kind": "synonym", **self._paired(0.001)},
        ]

    def _neighbour_tests(self) -> list[dict[str, Any]]:
        original, coder, *others = self._compared
        pairs = [(original, coder)]
        for other in others:
            pairs.append((other, CONTROLS[other]) if other in CONTROLS else (coder, other))
        return [
            {
                "before": before,
                "after": after,
                **measure,
                **self._paired(FEATURES[after] - FEATURES[before]),
            }
            for before, after in pairs
            for measure in (
                {"measure": "knn", "k": 5},
                {"measure": "nearest"},
                {"measure": "r_precision"},
            )
        ]

    def _paired(self, gain: float) -> dict[str, Any]:
        """A paired test with this difference: clear beyond two points."""
        n = len(self.ids)
        broke = round(0.05 * n)
        fixed = broke + round(gain * n)
        p_value = 0.003 if abs(gain) > 0.02 else 0.41
        found = {**_share(gain, 0.02), "fixed": fixed, "broke": broke, "p_value": p_value}
        return {**found, "over_classes": found}

    def _corrections(self, swapped: bool = False) -> list[dict[str, Any]]:
        """A nearest neighbour that CODER corrects; swapped: one that it breaks."""
        if len(self.classes) < 2:
            return []
        texts = [
            {
                "text": f"a photo of a {self.classes[0]} which has {w}.",
                "query": 0.31 - i / 50,
                "same": 0.29 - i / 60,
                "other": 0.2,
            }
            for i, w in enumerate(self.texts)
        ]
        images = {"query": self.ids[0], "same": self.ids[1], "other": self.ids[-1]}
        cosines = {
            "original": {"same": 0.801, "other": 0.853},
            "coder": {"same": 0.982, "other": 0.941},
        }
        if swapped:
            cosines = {
                "original": {"same": 0.871, "other": 0.853},
                "coder": {"same": 0.930, "other": 0.941},
            }
        return [{**images, **cosines, "texts": texts}]

    def _document(
        self, out: Path, command: str, dataset: str, model: str, what: dict[str, Any]
    ) -> None:
        head = {"dataset": dataset, "model": model, "split": "test", "images": len(self.ids)}
        made = made_by(f"coder-clip {command} --model {model} --dataset {dataset}", [])
        write_json(out.with_suffix(".json"), {**head, **what, "made_by": made})


def judged_again(root: Path, *of: Any, **more: Any) -> Results:
    """Results below a folder, with the claims judged on what the files hold now."""
    results = Results(root, *of, **more)
    write_json(results.paths.claims, claims.judged(results))
    return Results(root, *of, **more)  # a file that changes from here on is read again


def _share(value: float, half: float = 0.022) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def write_json(path: Path, document: Any) -> None:
    """As the real one, without waiting for the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")


def write_head(path: Path, metadata: dict[str, Any], **tensors: np.ndarray) -> None:
    """As write_tensors, without the import of torch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shrunk = {k: t.astype(np.float32) if t.dtype == np.float64 else t for k, t in tensors.items()}
    save_file(shrunk, path, {"coder_clip": json.dumps(metadata)})


def joined(runs: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The columns of several runs as one table."""
    return pd.DataFrame({name: np.concatenate([run[name] for run in runs]) for name in runs[0]})


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path, index=False)
