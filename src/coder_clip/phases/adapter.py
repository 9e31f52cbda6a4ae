"""Phase adapter: the training-free few-shot methods on the same features and shots (paper, section 3.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from ..adapter import CacheModel, CoderAdapter, cache_logits, search
from ..artifacts import Paths, made_by, write_json, write_parquet
from ..baselines import RawAdapter, TipAdapter, class_weights, clip_scores
from ..errors import UserError
from ..evaluation import over_seeds
from ..settings import SETTINGS
from .coder import uses_published_texts
from .common import ADAPTER_KINDS, SHOTS, Images, Texts, log, read_images, read_texts, use_threads

if TYPE_CHECKING:
    from ..config import Config

ZERO_SHOT = "clip_ensemble"


@dataclass(frozen=True)
class Run:
    """One method with one seed: hyper-parameters, accuracies and test predictions (N,) of a setting."""

    alpha: float | None
    beta: float | None
    selected: str
    val_accuracy: float
    test_accuracy: float
    prediction: Tensor


def run(config: Config, model: str, dataset: str, shots: int) -> None:
    """Write ``adapter/{model}/{dataset}/{shots}.parquet`` and ``.json``."""
    use_threads(config)
    pool, val, test = (read_images(config, model, dataset, split) for split in (SHOTS, "val", "test"))
    texts = read_texts(config, model, dataset, test)
    n_classes = len(test.classes)
    clip = class_weights(*texts.of("prompt"), n_classes)
    clip_val, clip_test = clip_scores(val.features, clip), clip_scores(test.features, clip)

    clip_run = Run(
        None, None, "none", _accuracy(clip_val, val), _accuracy(clip_test, test), clip_test.argmax(dim=1)
    )
    described = {s: _texts(texts, s) for s in config.settings}
    found: dict[tuple[str, str, int], Run] = {}
    for seed in tqdm(config.adapter.seeds, desc=f"{shots} shots, seeds", unit="seed"):
        cache, labels = _draw(config, pool, shots, seed)
        tip, raw = (kind.fit(cache, labels, n_classes=n_classes) for kind in (TipAdapter, RawAdapter))
        fitted: list[
            tuple[Tensor, CacheModel, tuple[float, float]]
        ] = []  # texts, adapter, searched (alpha, beta)
        baselines = {
            m: (a, _search(config, a, val, clip_val)) for m, a in (("tip_adapter", tip), ("raw_adapter", raw))
        }
        for setting in config.settings:
            t = described[setting]
            same = next(((a, best) for other, a, best in fitted if torch.equal(other, t)), None)
            if same is None:  # a setting that changes no text changes no adapter
                coder = CoderAdapter.fit(cache, labels, t, n_classes=n_classes)
                same = coder, _search(config, coder, val, clip_val)
                fitted.append((t, *same))
            found[ZERO_SHOT, setting, seed] = clip_run
            for method, (a, searched) in {**baselines, "coder_adapter": same}.items():
                candidates = {"searched": searched}
                if SETTINGS[setting].adapter_selection == "best_of_two_on_test":
                    candidates = {"initial": config.initial(dataset), "searched": searched}
                runs = [
                    _run(a, *point, name, val, test, clip_val, clip_test)
                    for name, point in candidates.items()
                ]
                found[method, setting, seed] = max(
                    runs, key=lambda r: r.test_accuracy
                )  # one run: nothing is chosen

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
            "runs": [_document(*key, r) for key, r in found.items()],
            "summary": _summary(config, found, test),
            "made_by": made_by(
                f"coder-clip adapter --model {model} --dataset {dataset} --shots {shots}", inputs
            ),
        },
    )


def _search(config: Config, adapter: CacheModel, val: Images, clip_val: Tensor) -> tuple[float, float]:
    """(alpha, beta) with the best accuracy on the validation split."""
    a = config.adapter
    best = search(
        adapter, val.features, clip_val, val.labels, betas=a.betas, alphas=a.alphas, rounds=a.rounds
    )
    return best.alpha, best.beta


def _run(
    adapter: CacheModel,
    alpha: float,
    beta: float,
    selected: str,
    val: Images,
    test: Images,
    clip_val: Tensor,
    clip_test: Tensor,
) -> Run:
    on_val = cache_logits(adapter, val.features, clip_val, alpha=alpha, beta=beta)
    on_test = cache_logits(adapter, test.features, clip_test, alpha=alpha, beta=beta)
    return Run(alpha, beta, selected, _accuracy(on_val, val), _accuracy(on_test, test), on_test.argmax(dim=1))


def _texts(texts: Texts, setting: str) -> Tensor:
    """(M, d) features of the texts the adapter describes images with (name, attribute, analogous)."""
    as_published = uses_published_texts(setting)
    return torch.cat([texts.of(kind, as_published)[0] for kind in ADAPTER_KINDS])


def _draw(config: Config, pool: Images, shots: int, seed: int) -> tuple[Tensor, Tensor]:
    """Raw features (K, d) and labels (K,) of a seed's shots, looked up by image id.

    Fewer shots are the beginning of the draw that the features were made for. A shot whose image could not be
    read is left out where the configuration says so (on_error: skip).
    """
    draw = pool.meta.get("draws", {}).get(str(seed), [])
    if len(draw) < shots:
        raise UserError(
            f"the image features hold no {shots}-shot draw of seed {seed}: encode the images again"
        )
    drawn = [image for shot in draw[:shots] for image in shot]
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
    return pool.features[rows], pool.labels[rows]


def _accuracy(logits: Tensor, images: Images) -> float:
    return float((logits.argmax(dim=1) == images.labels).double().mean())


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
        "alpha": r.alpha,
        "beta": r.beta,
        "selected": r.selected,
        "val_accuracy": r.val_accuracy,
        "test_accuracy": r.test_accuracy,
    }


def _summary(config: Config, found: dict[tuple[str, str, int], Run], test: Images) -> list[dict[str, Any]]:
    """Mean and spread over seeds of every method and setting."""
    options = {"resamples": config.evaluation.bootstrap, "seed": config.evaluation.seed}
    summary = []
    for method, setting in dict.fromkeys((m, s) for m, s, _ in found):
        runs = [found[method, setting, seed] for seed in config.adapter.seeds]
        correct = np.stack([(r.prediction == test.labels).numpy() for r in runs])
        summary.append({"method": method, "setting": setting, "accuracy": over_seeds(correct, **options)})
    return summary
