"""Classify images that nobody has labelled, with what a run has made: CLIP, CODER, and CODER with the rerank.

Nothing is chosen here: class texts, compact CODER, pair differences and the threshold are those of the run, in its
`clean` setting (else the last one of the configuration).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from PIL import Image
from torch import Tensor

from .artifacts import Paths, read_json, read_metadata
from .baselines.zero_shot import class_weights, clip_scores
from .datasets.folder import image_files
from .datasets.images import read_image
from .encoders import EncoderSpec, load_encoder
from .errors import UserError
from .features import extract
from .phases.coder import read_neighbors, uses_published_texts
from .phases.common import Images, encoder_spec, read_texts, use_threads
from .phases.rerank import read_one_to_one
from .rerank import rerank_scores
from .settings import SETTINGS
from .zero_shot import predict as best
from .zero_shot import top_k

if TYPE_CHECKING:
    from .config import Config
    from .datasets.base import Dataset


@dataclass(frozen=True)
class Predictions:
    """What N images are. Classes are indices into ``classes``.

    ids: N paths as given. clip, coder, reranked: (N,) int64. looked_at: (N,) bool, by the rerank. gap: (N,) softmax
    top-1 minus top-2 of CODER; the rerank looks below ``threshold``. top, share: (N, k) likeliest classes by CODER,
    best first, and their softmax. skipped: (path, reason) of images that cannot be read.
    """

    classes: list[str]
    ids: list[str]
    clip: Tensor
    coder: Tensor
    reranked: Tensor
    looked_at: Tensor
    gap: Tensor
    top: Tensor
    share: Tensor
    skipped: list[tuple[str, str]]
    setting: str
    threshold: float
    pairs: int


def predict(
    config: Config,
    model: str,
    dataset: str,
    places: Sequence[Path],
    top: int = 5,
    how: str = "make reproduce",
) -> Predictions:
    """Classify image files, and those in folders at any depth.

    how: the command that makes what is needed, for the error where it is not there. UserError also for a place that
    does not exist, no image, an encoder that is not the one of the run.
    """
    files = _files(places)
    paths = Paths(config.results)
    document = paths.rerank(model, dataset).with_suffix(".json")
    coder = paths.coder(model, dataset)
    for needed in (coder, paths.text_features(model, dataset), paths.one_to_one(model, dataset), document):
        if not needed.is_file():
            raise UserError(
                f"{needed} is missing: '{dataset}' was not run with '{model}' yet; '{how}' does it"
            )
    use_threads(config)
    made = read_metadata(coder)
    encoder = load_encoder(EncoderSpec(**encoder_spec(config, model)))
    if encoder.metadata() != made["encoder"]:
        raise UserError(
            f"{coder} was made with another encoder than model '{model}' is now; '{how}' makes it anew"
        )
    features = extract(
        cast("Dataset", _Files()),
        files,
        [0] * len(files),
        encoder,
        batch_size=config.features.batch_size,
        workers=config.features.workers,
        on_error="skip",
    )
    meta = {
        "model": model,
        "dataset": dataset,
        "split": "new images",
        "classes": made["classes"],
        "encoder": made["encoder"],
    }
    images = Images(features.features, features.labels, features.ids, meta)
    x, n_classes = images.features, len(images.classes)

    setting = "clean" if "clean" in config.settings else config.settings[-1]
    names = class_weights(*read_texts(config, model, dataset, images).of("name"), n_classes)
    scores = read_neighbors(config, images, uses_published_texts(setting)).class_scores(x)
    pairs = read_one_to_one(config, images, SETTINGS[setting].one_to_one_as_published)
    both = rerank_scores(x, scores, pairs, config.rerank.top_k)
    threshold = _threshold(read_json(document), setting, how)
    _, likeliest = top_k(scores, top)
    return Predictions(
        classes=images.classes,
        ids=images.ids,
        clip=best(clip_scores(x, names)),
        coder=both.stage_one,
        reranked=both.predictions(threshold),
        looked_at=both.gap < threshold,
        gap=both.gap,
        top=likeliest,
        share=torch.softmax(scores, dim=1).gather(1, likeliest),
        skipped=features.skipped,
        setting=setting,
        threshold=threshold,
        pairs=len(pairs),
    )


class _Files:
    """Images by path, as the feature extraction asks for them."""

    def image(self, path: str) -> Image.Image:
        return read_image(path)


def _files(places: Sequence[Path]) -> list[str]:
    """Every image file once: those given, and those below folders, in order."""
    found: list[str] = []
    for place in places:
        if place.is_dir():
            below = [p.as_posix() for p in image_files(place)]
            if not below:
                raise UserError(f"no images in folder {place}")
            found += below
        elif place.is_file():
            found.append(place.as_posix())
        else:
            raise UserError(f"no file or folder {place}")
    return list(dict.fromkeys(found))


def _threshold(document: dict[str, Any], setting: str, how: str) -> float:
    for method in document["methods"]:
        if method["setting"] == setting:
            return float(method["threshold"])
    raise UserError(f"the last run had no setting '{setting}'; '{how}' makes it")


def lines(found: Predictions) -> list[str]:
    """For a person: a line an image, in columns."""
    gate = f"looks where CODER's gap is below {found.threshold:g}"
    if not found.pairs:
        gate = "changes nothing: there are no one-to-one texts"
    elif not found.threshold:
        gate = "changes nothing: validation chose threshold 0"
    rows: list[tuple[str, ...]] = [("image", "CLIP", "CODER", "+ rerank", "likeliest by CODER")]
    for i, name in enumerate(found.ids):
        likeliest = zip(found.top[i].tolist(), found.share[i].tolist(), strict=True)
        rows.append(
            (
                name,
                *(found.classes[int(p[i])] for p in (found.clip, found.coder, found.reranked)),
                ", ".join(f"{found.classes[c]} {share:.2f}" for c, share in likeliest),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    table = ["  ".join([*(row[i].ljust(widths[i]) for i in range(4)), row[4]]) for row in rows]
    return [*table, f"{len(found.ids)} images, setting {found.setting}; the rerank {gate}"]


def table(found: Predictions) -> str:
    """The same as CSV, with class names: image, clip, coder, coder_rerank, gap, looked_at, top1, share1, …"""
    k = found.top.shape[1]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    ranks = [f"{what}{i + 1}" for i in range(k) for what in ("top", "share")]
    writer.writerow(["image", "clip", "coder", "coder_rerank", "gap", "looked_at", *ranks])
    for i, name in enumerate(found.ids):
        three = [found.classes[int(p[i])] for p in (found.clip, found.coder, found.reranked)]
        likeliest = [
            (found.classes[int(found.top[i, j])], f"{float(found.share[i, j]):.6f}") for j in range(k)
        ]
        gate = [f"{float(found.gap[i]):.6f}", str(bool(found.looked_at[i])).lower()]
        writer.writerow([name, *three, *gate, *(cell for pair in likeliest for cell in pair)])
    return out.getvalue()
