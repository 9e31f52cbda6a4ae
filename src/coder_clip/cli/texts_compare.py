"""`coder-clip texts compare`: several text sets of one data set, side by side in one table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from ..errors import UserError
from ..foundation.terminal import table
from ..pipeline.config import load_config
from .options import DEFAULT_CONFIG, ConfigOption, ModelOption, chosen, print_lines
from .texts import app

if TYPE_CHECKING:
    from ..encoders.encoder import Encoder
    from ..evaluation.estimates import Estimate
    from ..phases.common import SplitFeatures
    from ..texts.sentences import Sentences

HEAD = ("texts", "method", "number", "accuracy", "minus names alone")


@app.command()
def compare(
    dataset: Annotated[str, typer.Argument(metavar="NAME", help="Data set of the configuration.")],
    files: Annotated[
        list[Path], typer.Argument(help="Text sets of this data set.", metavar="FILE")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    model: ModelOption = None,
    split: Annotated[
        str,
        typer.Option(
            help="Images: val, on which you may choose a set, or test, on which you may not."
        ),
    ] = "val",
) -> None:
    """Compare text sets of one data set: shipped ones, the authors', Menon and Vondrick's, CuPL's.

    The run must have made the image features of the split. Each set is encoded, and scored by each
    method that its texts allow: CODER's stage one, classification by description (attributes
    alone), and whole sentences. All rows are on the same images; the last column is the difference
    from the class names alone, with a 95 % interval.
    """
    if split not in ("val", "test"):
        raise UserError(f"--split {split}: val or test")
    from ..datasets import load_templates
    from ..evaluation.estimates import compare, estimate
    from ..foundation.artifacts import Paths
    from ..jobs import encoder_arguments
    from ..phases.common import read_image_features, use_threads
    from ..phases.encoder import encoder_of
    from ..texts.sentences import make_sentences
    from ..texts.sets import load_text_set, names_only

    c = load_config(config)
    chosen("data set", dataset, c.datasets)
    use_threads(c.features.threads)
    for name in chosen("model", model, c.models):
        images = read_image_features(Paths(c.results).image_features(name, dataset, split))
        encoder = encoder_of(**encoder_arguments(c, name))
        templates = load_templates(dataset, c.datasets[dataset])
        sets = [("names alone", names_only(dataset, images.classes))]
        sets += [(str(path), load_text_set(path, dataset, images.classes)) for path in files]
        names: NDArray[np.bool_] | None = None
        rows = []
        for label, texts in sets:
            sentences = make_sentences(texts, templates)
            for method, number, correct in methods(images, sentences, encoder):
                if names is None:
                    names = correct  # the first row is of names alone
                accuracy = estimate(correct, groups=images.groups)
                difference = compare(names, correct, groups=images.groups)
                shown = ""
                if label != "names alone":
                    shown = _points(difference, "+")
                rows.append([label, method, f"{number:,}", _points(accuracy), shown])
        print_lines(table(HEAD, rows, right=(2, 3, 4)))
        typer.echo(f"{dataset}, {name}: {len(images.ids)} {split} images")


def methods(
    images: SplitFeatures, sentences: Sentences, encoder: Encoder
) -> Iterator[tuple[str, int, NDArray[np.bool_]]]:
    """Yield method, number of its texts, and the images (N,) that it gets right.

    Each method that has texts of its kind; CLIP with the names alone, if there are no other texts.
    """
    import torch

    from ..baselines.zero_shot import class_weights, clip_scores, description_scores
    from ..evaluation.text_ablations import StageOne
    from ..texts.kinds import BESIDES_NAME
    from ..zero_shot import predict

    n_classes, x = len(images.classes), images.features
    features: Any = encoder.encode_texts_report(sentences.text).features

    def of(kind: str) -> tuple[Any, Any]:
        rows = sentences.rows(kind)
        return features[rows], torch.tensor([sentences.class_index[r] for r in rows]).long()

    def right(scores: Any) -> NDArray[np.bool_]:
        return np.asarray((predict(scores) == images.labels).numpy())

    has = {kind: len(sentences.rows(kind)) for kind in (*BESIDES_NAME, "sentence")}
    names = of("name")
    if not any(has.values()):
        yield "CLIP", len(names[0]), right(clip_scores(x, class_weights(*names, n_classes)))
    if any(has[kind] for kind in BESIDES_NAME):
        owner, kinds = sentences.class_index, sentences.kind
        stage_one = StageOne(x, images.labels, features, owner, kinds, n_classes)
        keep = stage_one.name | stage_one.other
        yield "CODER, stage one", int(keep.sum()), stage_one.correct(keep)
    if has["attribute"]:
        scores = description_scores(x, *of("attribute"), n_classes, fallback=names)
        yield "description", has["attribute"], right(scores)
    if has["sentence"]:
        weights = class_weights(*of("sentence"), n_classes, fallback=names)
        yield "sentences", has["sentence"], right(clip_scores(x, weights))


def _points(estimate: Estimate, sign: str = "") -> str:
    """An estimate in percent, with its interval."""
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    return f"{value:{sign}.1f} [{low:.1f}, {high:.1f}]"
