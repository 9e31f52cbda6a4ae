"""Classify photos with class names or texts, and see why.

from coder_clip_photos import Classifier

c = Classifier("ViT-B-32", ["cat", "dog"])
print(c.classify("a.jpg").label)
for photo in c.classify(["a.jpg", "b.jpg"], why=3):
    print(photo.label, photo.score, [r.text for r in photo.reasons_for])
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor

from coder_clip.datasets.base import Templates
from coder_clip.encoders.spec import EncoderSpec
from coder_clip.errors import UserError
from coder_clip.evaluation.reasons import ScoringTexts, for_and_against
from coder_clip.foundation.artifacts import read_tensors, write_tensors
from coder_clip.neighbors import TextNeighbors
from coder_clip.rerank import OneToOne
from coder_clip.texts.sets import TextSet

from .decisions import (
    Decisions,
    PairText,
    StageTwo,
    by_rerank,
    by_score,
    compare_texts,
    fit_scale,
    margins,
)
from .encoding import PhotoEncoder, Picture, encoder_spec, on, with_features
from .texts import TEMPLATES, GivenTemplates, Texts, make_templates, rows, text_set

if TYPE_CHECKING:
    from .runs import FinishedRun

EXPORTED = 2  # format of exported files
Images = Iterable[Picture | Tensor]


@dataclass(frozen=True)
class Reason:
    """One text for or against a class.

    kind: name, attribute, analogous, synonym; one_to_one where stage two decided.

    label: the class that the text describes. cosine: with the image. adds: points that the text
    adds to the winner's lead over the runner-up, in stage two to the lead over all candidates.
    """

    text: str
    kind: str
    label: str
    cosine: float
    adds: float


@dataclass(frozen=True)
class Photo:
    """The class of one image.

    image: its path, or its number. label: the class, None for "none of these". score: the score of
    the best class, 100 × its mean cosine similarity. probability: calibrated on labelled validation
    images, else None. margin: points ahead
    of the runner-up. top: (class, score) of the likeliest classes, the decided class first.
    reranked: True if stage two decided.
    reasons_for, reasons_against: the strongest first; empty unless asked for.
    """

    image: str
    label: str | None
    score: float
    probability: float | None
    margin: float
    top: tuple[tuple[str, float], ...]
    reranked: bool = False
    reasons_for: tuple[Reason, ...] = ()
    reasons_against: tuple[Reason, ...] = ()

    @property
    def best(self) -> str:
        """The best class, even if it is too uncertain to be the label."""
        return self.top[0][0]

    @property
    def runner_up(self) -> str:
        return self.top[1][0]


class Classifier:
    """An encoder and what describes the classes.

    The encoder is loaded once, when something new is to be encoded.

    Images are paths, bytes or open files, Pillow images, arrays (H, W, 3) or grey (H, W) of uint8,
    tensors (3, H, W) from ``encoder.encoder.preprocess`` (or uint8 from its ``pixels``), or
    features (d,) of this encoder. As in a pipeline of transformers, one image gives one result, and
    a list of any of them gives a list; so do tensors
    (N, 3, H, W) and (N, d). Can be pickled: another process loads the encoder itself.
    """

    def __init__(
        self,
        model: str | EncoderSpec | PhotoEncoder,
        texts: Texts,
        *,
        pretrained: str | None = None,
        templates: GivenTemplates = TEMPLATES,
        stages: StageTwo | None = None,
        cache: bool = True,
        device: str | torch.device | None = None,
    ) -> None:
        """Describe classes.

        ``Classifier("ViT-B-32", {"cat": ["long whiskers"], "dog": ["a long snout"]})``.

        model: a plain name (pretrained: its weights, by default OpenAI's), hf-hub:ORG/NAME or
        a folder.
        texts: class names; class name -> what it looks like; a text set, or its JSON file.
        templates: "a satellite photo of a {class}.", or several, whose features are averaged.
        cache: keep features in the user's cache folder. device: "cpu", "cuda", "cuda:1"; by default
        a GPU if there is one.

        UserError for fewer than two classes, unknown models or devices, or files that cannot be
        read.
        """
        if not isinstance(model, str | EncoderSpec | PhotoEncoder):
            raise UserError(
                f"model: {model!r}, where a name of a model, hf-hub:ORG/NAME or a folder is needed"
            )
        if isinstance(model, str):
            model = encoder_spec(model, pretrained)
        elif pretrained is not None:
            raise UserError("pretrained: this encoder has its weights; leave it out")
        if isinstance(model, PhotoEncoder) and device is not None:
            raise UserError("device: this encoder has one; leave it out")
        self.encoder = (
            PhotoEncoder(on(model, device), cache) if isinstance(model, EncoderSpec) else model
        )
        self.texts = text_set(texts)
        self.classes = [c.name for c in self.texts.classes]
        if len(self.classes) == 1:
            raise UserError(
                f"'{self.classes[0]}' is the only class, and every photo would be one: name two, "
                "with a comma between"
            )
        self.templates = make_templates(templates)
        self.stages = stages or StageTwo()
        self.rows = rows(self.texts, self.templates)

    @cached_property
    def scoring(self) -> ScoringTexts:
        """The features of the texts, in the order of ``rows``; encoded when they are needed."""
        sentences = self.encoder.texts([s for r in self.rows for s in r.sentences])
        of_rows = sentences.split([len(r.sentences) for r in self.rows])  # type: ignore[no-untyped-call]
        # a text in several templates has the mean of their features
        features = torch.stack([of_row.mean(dim=0) for of_row in of_rows])
        owner = torch.tensor([r.index for r in self.rows], dtype=torch.int64)
        averaged = torch.tensor([r.averaged for r in self.rows])
        return ScoringTexts(features, owner, averaged, len(self.classes))

    @cached_property
    def neighbors(self) -> TextNeighbors:
        """Stage one: the same numbers as a run with these texts."""
        s = self.scoring

        def by_class(kept: Tensor) -> list[Tensor]:
            """The features of each class's texts, of those that are kept: (M,) bool."""
            return [s.features[(s.owner == c) & kept] for c in range(s.n_classes)]

        return TextNeighbors(mean_texts=by_class(s.averaged), max_texts=by_class(~s.averaged))

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        model: str | None = None,
        dataset: str | None = None,
        method: str | None = None,
        device: str | torch.device | None = None,
    ) -> Classifier:
        """Load a finished run by its results folder or configuration file.

        ``Classifier.load("results/photos")``; or a file that `export` wrote.

        model: for a file, where its encoder is now (it must be the same encoder); for a run, which
        of its models.
        dataset, method: only for a run; by default its only data set, and the method that it
        recommends, or CODER. device: by default the device of the run; for a file a GPU if there
        is one.

        UserError if the path is neither a run nor such a file, or if the texts of the run have
        changed.
        """
        if Path(path).suffix == ".safetensors":
            return cls._imported(Path(path), model, device)
        from .runs import load_run  # pandas, which is not there without coder-clip[run]

        return cls.of_run(load_run(Path(path), dataset, model, method, device=device))

    @classmethod
    def of_run(cls, run: FinishedRun) -> Self:
        """The classifier of a run that was read (``runs.load_run``).

        It gives probabilities if the run has enough validation images to fit them on.
        """
        new = cls(run.encoder, run.texts, templates=run.templates, stages=run.stages)
        if run.validation is not None:
            scores = new.decide(run.validation.features).scores
            new.stages = replace(run.stages, scale=fit_scale(scores, run.validation.labels))
        return new

    # ---- classifying

    def features(self, images: Picture | Images | Tensor) -> Tensor:
        """Encode images -> features (N, d), one image -> (d,): ``c.features(["a.jpg", "b.jpg"])``.

        UserError for an image that cannot be read, or that the encoder gives no features.
        """
        batch, single = as_batch(images)
        if not isinstance(batch, Tensor):
            rows = self.encoder.images(batch)
        elif batch.ndim == 2:  # features
            rows = with_features(batch.float())
        else:
            rows = with_features(self.encoder.pixels(batch))
        if single:
            return rows[0]
        return rows

    def decide(self, x: Tensor) -> Decisions:
        """Classify features (N, d): classes and scores."""
        s = self.stages
        score = s.score or self.neighbors.class_scores
        scores = score(x)
        if s.pairs is None:
            return by_score(scores)
        return by_rerank(x, scores, s.pairs, s.threshold, s.top_k)

    def scores(self, images: Picture | Images | Tensor) -> Tensor:
        """Scores of stage one, 100 × a mean of cosines.

        ``c.scores("a.jpg")`` -> (C,), of N images -> (N, C).

        UserError as in `features`.
        """
        x = self.features(images)
        if x.ndim == 1:  # a single image
            return self.decide(x[None]).scores[0]
        return self.decide(x).scores

    @overload
    def classify(  # type: ignore[overload-overlap]  # a string is a sequence, too
        self, images: Picture, *, why: int = 0, top: int = 5, none_below: float | None = None
    ) -> Photo: ...
    @overload
    def classify(
        self, images: Tensor, *, why: int = 0, top: int = 5, none_below: float | None = None
    ) -> Any: ...
    @overload
    def classify(
        self, images: Images, *, why: int = 0, top: int = 5, none_below: float | None = None
    ) -> list[Photo]: ...
    def classify(
        self,
        images: Picture | Images | Tensor,
        *,
        why: int = 0,
        top: int = 5,
        none_below: float | None = None,
    ) -> Photo | list[Photo]:
        """Classify one image or several: ``c.classify("a.jpg", why=3).label``.

        The shape of a tensor says if it is one image or several.

        why: number of texts for the class, and of texts against the class. top: number of classes.
        none_below: the label is None if the best class has less than this probability, or less than
        this score if there are no probabilities. UserError as in `features`.
        """
        batch, single = as_batch(images)
        names = [
            str(image if isinstance(image, str | Path) else i) for i, image in enumerate(batch)
        ]
        photos = self.photos(self.features(batch), names, why=why, top=top, none_below=none_below)
        if single:
            return photos[0]
        return photos

    def photos(
        self,
        x: Tensor,
        names: Sequence[str],
        *,
        why: int = 0,
        top: int = 5,
        none_below: float | None = None,
    ) -> list[Photo]:
        """As `classify`, from features (N, d) and names of the images.

        A photo that stage two decided has no probability, also if others have one, so
        ``none_below`` does not change its label then."""
        for option, number, least in (("why", why, 0), ("top", top, 1)):
            if not isinstance(number, Integral) or number < least:
                raise UserError(
                    f"{option}: {number!r}, where a whole number from {least} is needed"
                )
        if none_below is not None and not isinstance(none_below, Real):
            raise UserError(f"none_below: {none_below!r}, where a number or None is needed")
        if not len(x):
            return []
        decided = self.decide(x)
        ahead, scale = margins(decided), self.stages.scale
        probabilities = None if scale is None else torch.softmax(decided.scores * scale, dim=1)
        reasons: Sequence[tuple[list[Reason], list[Reason]]] = [([], [])] * len(x)
        if why:
            reasons = self.reasons(x, decided, why)
        likeliest = decided.order[:, : max(top, 2)]
        # lists, because reading a tensor number by number takes seconds for many photos
        orders, scores = likeliest.tolist(), decided.scores.gather(1, likeliest).tolist()
        best_probabilities = None
        if probabilities is not None:
            best_probabilities = probabilities.gather(1, likeliest[:, :1])[:, 0].tolist()
        leads, by_stage_two = ahead.tolist(), decided.reranked.tolist()
        photos = []
        for i, name in enumerate(names):
            order, reranked = orders[i], by_stage_two[i]
            best, score = order[0], scores[i][0]
            # stage two says which class comes first, not how sure that is
            probability = None
            if best_probabilities is not None and not reranked:
                probability = best_probabilities[i]
            compared = probability
            if best_probabilities is None:
                compared = score
            too_low = none_below is not None and compared is not None and compared < none_below
            photos.append(
                Photo(
                    image=name,
                    label=None if too_low else self.classes[best],
                    score=score,
                    probability=probability,
                    margin=leads[i],
                    top=tuple(zip((self.classes[c] for c in order), scores[i], strict=True)),
                    reranked=reranked,
                    reasons_for=tuple(reasons[i][0]),
                    reasons_against=tuple(reasons[i][1]),
                )
            )
        return photos

    # ---- reasons

    def reasons(
        self, x: Tensor, decided: Decisions, n: int
    ) -> list[tuple[list[Reason], list[Reason]]]:
        """For each image the n strongest texts for the decided class, compared with the runner-up,
        and the n strongest texts against it. x: (N, d).

        UserError if the method's scores are not means over texts.
        """
        if self.stages.score is not None:
            raise UserError("this method's scores are not means over texts, so it has no reasons")
        best, second = decided.order[:, 0], decided.order[:, 1]
        terms = self.scoring.explain(self.scoring.cosines(x), best, second)
        reasons = []
        for i, of_image in enumerate(terms):
            if decided.reranked[i]:
                each = self._compared(x[i], decided.order[i, : self.stages.top_k])
            else:
                texts = [self.rows[t.text] for t in of_image]  # a term has the row of its text
                each = [
                    Reason(r.text, r.kind, self.classes[r.index], t.cosine, t.adds)
                    for r, t in zip(texts, of_image, strict=True)
                ]
            reasons.append(for_and_against(each, n))
        return reasons

    def _compared(self, x: Tensor, candidates: Tensor) -> list[Reason]:
        """Reasons of stage two for one image (d,), whose winner is the first candidate."""
        winner, classes = int(candidates[0]), set(candidates.tolist())
        texts = []  # that compare the winner with another candidate
        for text in self.stages.pair_texts:
            pair = {text.of, text.other}
            if winner in pair and pair <= classes:
                texts.append(text)
        if not texts:  # `pairs` came without texts
            return []
        features = self.encoder.texts([t.sentence for t in texts])
        terms = compare_texts(x, texts, features, candidates, winner)
        return [Reason(t.text, "one_to_one", self.classes[t.of], t.cosine, t.adds) for t in terms]

    # ---- one file

    def export(self, path: str | Path) -> None:
        """Write everything but the encoder's weights to one file.

        ``c.export("mine.safetensors")``: encoder id with the hash of its weights, preprocessing,
        texts, their features, stage two. `load` reads it.

        UserError for another ending, and for a method whose scores are not means over texts.
        """
        if Path(path).suffix != ".safetensors":
            raise UserError(f"{path}: the file of an export ends in .safetensors")
        if not Path(path).parent.is_dir():
            raise UserError(f"{path}: no folder {Path(path).parent}")
        s, stages = self.scoring, self.stages
        if stages.score is not None:
            raise UserError(
                "only methods whose scores are means over texts can be exported: CLIP and CODER"
            )
        tensors = {"text_features": s.features, "class_index": s.owner, "averaged": s.averaged}
        if stages.pairs is not None:
            tensors |= {f"one_to_one.{k}": v for k, v in stages.pairs.state().items()}
        meta = {
            "exported": EXPORTED,
            "encoder": self.encoder.metadata,
            "spec": asdict(on(self.encoder.spec, "auto")),
            "texts": self.texts.dump(),
            "templates": [asdict(t) for t in self.templates],
            "sentences": [list(r.sentences) for r in self.rows],
            "pair_texts": stages.pair_texts,
            "stages": {"threshold": stages.threshold, "top_k": stages.top_k, "scale": stages.scale},
        }
        write_tensors(path, tensors, meta)

    @classmethod
    def _imported(cls, path: Path, model: str | None, device: str | torch.device | None) -> Self:
        """The classifier of a file that `export` wrote. UserError if the file does not fit."""
        # The stored features are only right for the same encoder and the same prompts. Both are
        # compared; only the name of the model may differ, because its files may be elsewhere on
        # this machine.
        tensors, meta = read_tensors(path)
        if meta.get("exported") != EXPORTED:
            raise UserError(f"{path} is not a file that Classifier.export of this version wrote")
        templates = TypeAdapter(list[Templates]).validate_python(meta["templates"])
        pairs = {
            k.removeprefix("one_to_one."): v
            for k, v in tensors.items()
            if k.startswith("one_to_one.")
        }
        stages = StageTwo(
            pairs=OneToOne.from_state(pairs) if pairs else None,
            pair_texts=tuple(PairText(*t) for t in meta["pair_texts"]),
            **meta["stages"],
        )
        spec = EncoderSpec(**meta["spec"])
        if model is not None:
            spec = encoder_spec(model, precision=spec.precision)
        texts = TextSet.model_validate(meta["texts"])
        new = cls(spec, texts, templates=templates, stages=stages, device=device)
        if [list(r.sentences) for r in new.rows] != meta["sentences"]:
            raise UserError(
                f"{path}: this version makes other sentences of its texts; export it again"
            )
        for key, value in meta["encoder"].items():
            if key not in ("model", "pretrained") and new.encoder.metadata.get(key) != value:
                raise UserError(
                    f"{path} was made with another encoder than {spec.model}: {key} differs"
                )
        new.scoring = ScoringTexts(
            tensors["text_features"], tensors["class_index"], tensors["averaged"], len(new.classes)
        )
        return new


def as_batch(images: Any) -> tuple[list[Any] | Tensor, bool]:
    """Return a list of images or a batch tensor, and True if a single image was given.

    A tensor is a batch if it holds features (N, d) or pixels (N, C, H, W).
    """
    if isinstance(images, Tensor) and images.ndim in (2, 4):
        return images, False
    # these can be iterated, but are one image
    single = isinstance(images, str | bytes | bytearray | memoryview | np.ndarray | Tensor)
    single = single or hasattr(images, "read") or not isinstance(images, Iterable)
    if single:
        return [images], True
    return list(images), False
