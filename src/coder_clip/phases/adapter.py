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
from ..datasets import load_dataset
from ..errors import UserError
from ..evaluation import over_seeds
from ..settings import SETTINGS
from ..shots import draw_shots
from .coder import uses_published_texts
from .common import ADAPTER_KINDS, SHOTS, Images, Texts, read_images, read_texts, use_threads

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

    found: dict[tuple[str, str, int], Run] = {}
    for seed in tqdm(config.adapter.seeds, desc=f"{shots} shots, seeds", unit="seed"):
        cache, labels = _draw(config, pool, dataset, shots, seed, n_classes)
        for setting in config.settings:
            models: dict[str, CacheModel] = {
                "tip_adapter": TipAdapter.fit(cache, labels, n_classes=n_classes),
                "raw_adapter": RawAdapter.fit(cache, labels, n_classes=n_classes),
                "coder_adapter": CoderAdapter.fit(cache, labels, _texts(texts, setting), n_classes=n_classes),
            }
            found[ZERO_SHOT, setting, seed] = Run(
                None,
                None,
                "none",
                _accuracy(clip_val, val),
                _accuracy(clip_test, test),
                clip_test.argmax(dim=1),
            )
            for method, m in models.items():
                same = _same_as(found, method, setting, seed, texts)
                found[method, setting, seed] = _fit(
                    config, m, dataset, setting, val, test, clip_val, clip_test, same
                )

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


def _fit(
    config: Config,
    m: CacheModel,
    dataset: str,
    setting: str,
    val: Images,
    test: Images,
    clip_val: Tensor,
    clip_test: Tensor,
    same: Run | None,
) -> Run:
    """Search (alpha, beta) on the validation split; the setting says which result counts."""
    a = config.adapter
    if same is None or same.alpha is None or same.beta is None:
        best = search(m, val.features, clip_val, val.labels, betas=a.betas, alphas=a.alphas, rounds=a.rounds)
        searched = (best.alpha, best.beta)
    else:
        searched = (same.alpha, same.beta)
    candidates = {"searched": searched}
    if SETTINGS[setting].adapter_selection == "best_of_two_on_test":
        candidates = {"initial": config.initial(dataset), "searched": searched}
    runs = []
    for selected, (alpha, beta) in candidates.items():
        on_val = cache_logits(m, val.features, clip_val, alpha=alpha, beta=beta)
        on_test = cache_logits(m, test.features, clip_test, alpha=alpha, beta=beta)
        accuracies = _accuracy(on_val, val), _accuracy(on_test, test)
        runs.append(Run(alpha, beta, selected, *accuracies, on_test.argmax(dim=1)))
    return max(runs, key=lambda r: r.test_accuracy) if len(runs) > 1 else runs[0]


def _same_as(
    found: dict[tuple[str, str, int], Run], method: str, setting: str, seed: int, texts: Texts
) -> Run | None:
    """An earlier setting's searched result, where the setting makes no difference to the method's features."""
    for (m, other, s), r in found.items():
        alike = method != "coder_adapter" or torch.equal(_texts(texts, other), _texts(texts, setting))
        if (m, s) == (method, seed) and r.selected == "searched" and alike:
            return r
    return None


def _texts(texts: Texts, setting: str) -> Tensor:
    """(M, d) features of the texts the adapter describes images with (name, attribute, analogous)."""
    as_published = uses_published_texts(setting)
    return torch.cat([texts.of(kind, as_published)[0] for kind in ADAPTER_KINDS])


def _draw(
    config: Config, pool: Images, dataset: str, shots: int, seed: int, n_classes: int
) -> tuple[Tensor, Tensor]:
    """Raw features (K, d) and labels (K,) of a seed's shots, looked up by image id."""
    train = load_dataset(dataset, config.datasets[dataset]).split("train")
    drawn = draw_shots(train.labels, shots, seed, n_classes).indices
    row = {image: i for i, image in enumerate(pool.ids)}
    lost = [train.ids[i] for i in drawn if train.ids[i] not in row]
    if lost:
        raise UserError(
            f"no features of '{lost[0]}' ({len(lost)} shots): it was skipped or the seeds have changed"
        )
    rows = torch.tensor([row[train.ids[i]] for i in drawn], dtype=torch.int64)
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
