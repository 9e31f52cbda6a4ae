"""Classify photos with class names or texts, and see why.

from coder_clip.photos import Classifier

c = Classifier("ViT-B-32", ["cat", "dog"])
for photo in c.classify(["a.jpg", "b.jpg"], why=3):
    print(photo.label, photo.score, [r.text for r in photo.reasons_for])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from ..datasets.base import Templates
from ..encoders.spec import EncoderSpec
from ..errors import UserError
from ..evaluation.reasons import ScoringTexts, Term, for_and_against
from ..foundation.artifacts import read_tensors, write_tensors
from ..neighbors import MEAN_KINDS, TextNeighbors
from ..rerank import OneToOne
from ..texts.sets import TextSet
from .decisions import (
    Decisions,
    PairTerm,
    PairText,
    by_rerank,
    by_score,
    check_classes,
    compare,
    compare_texts,
    margins,
)
from .encoding import PhotoEncoder, encoder_spec
from .texts import TEMPLATES, Row, Texts, rows, text_set

EXPORTED = 1  # format of exported files
Images = Sequence[str | Path | Image.Image] | Tensor


@dataclass(frozen=True)
class Reason:
    """One text for or against a class. kind: name, attribute, analogous, synonym; one_to_one where stage two decided.

    label: the class it describes. cosine: with the image; None for a whole pair of classes, where the one-to-one texts
    are not known. adds: points that it adds to the difference between the winner and the runner-up, in stage two to the
    winner's lead over all candidates.
    """

    text: str
    kind: str
    label: str
    cosine: float | None
    adds: float


@dataclass(frozen=True)
class Photo:
    """What one image is.

    image: its path, or its number. label: the class, None for "none of these". score: of the best class, 100 × a mean
    of cosines. probability: calibrated on labelled validation images, else None. margin: points before the runner-up.
    top: (class, score), the decided one first. reranked: stage two decided.
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
        """The best class, also where it was not good enough."""
        return self.top[0][0]

    @property
    def runner_up(self) -> str | None:
        return self.top[1][0] if len(self.top) > 1 else None


@dataclass(frozen=True)
class Stages:
    """How scores become classes. pairs: of stage two, None without; pair_texts: the texts behind them, for reasons.
    scale: makes probabilities, None without.

    score: features (N, d) -> scores (N, C), of a method that is not a mean over texts and so has no reasons.
    """

    score: Callable[[Tensor], Tensor] | None = None
    pairs: OneToOne | None = None
    pair_texts: tuple[PairText, ...] = ()
    threshold: float = 0.0
    top_k: int = 5
    scale: float | None = None


class Classifier:
    """An encoder and what describes the classes. The encoder is loaded once, when something new is to be encoded."""

    def __init__(
        self,
        model: str | EncoderSpec | PhotoEncoder,
        texts: Texts,
        *,
        pretrained: str | None = None,
        templates: Templates = TEMPLATES,
        stages: Stages | None = None,
        cache: bool = True,
    ) -> None:
        """model: an open_clip name (pretrained: its weights, by default OpenAI's), hf-hub:ORG/NAME or a folder.
        texts: class names; class name -> what it looks like; a text set, or its JSON file.
        cache: keep features in the user's cache folder.

        UserError for fewer than two classes, unknown models or files that cannot be read.
        """
        if isinstance(model, PhotoEncoder):
            self.encoder = model
        else:
            spec = encoder_spec(model, pretrained) if isinstance(model, str) else model
            self.encoder = PhotoEncoder(spec, cache)
        self.texts = text_set(texts)
        check_classes(self.classes)
        self.templates = templates
        self.stages = stages or Stages()
        self.rows = rows(self.texts, templates)
        self._scoring: ScoringTexts | None = None
        self._neighbors: TextNeighbors | None = None

    @property
    def classes(self) -> list[str]:
        return [c.name for c in self.texts.classes]

    @property
    def scoring(self) -> ScoringTexts:
        """The features of the texts, encoded when they are needed."""
        if self._scoring is None:
            features = self.encoder.texts([r.sentence for r in self.rows])
            self._scoring = scoring_texts(self.rows, features, len(self.classes))
        return self._scoring

    def use(self, scoring: ScoringTexts) -> None:
        """Take the features of the texts from here, in the order of ``rows``: they were encoded before."""
        self._scoring = scoring

    @property
    def neighbors(self) -> TextNeighbors:
        """Stage one: the same numbers as a run with these texts."""
        if self._neighbors is None:
            s = self.scoring
            self._neighbors = TextNeighbors(
                *(
                    [s.features[(s.owner == c) & (s.averaged == kind)] for c in range(s.n_classes)]
                    for kind in (True, False)
                )
            )
        return self._neighbors

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        model: str | None = None,
        dataset: str | None = None,
        method: str | None = None,
    ) -> Classifier:
        """A file that :meth:`export` wrote; or a finished run, by its results folder or configuration file.

        model: of a file, where its encoder is now (it has to be the same one); of a run, which one. dataset, method: of
        a run, by default the only data set and the best method on validation images. UserError where the path is
        neither, or the run's texts were changed since.
        """
        if Path(path).suffix == ".safetensors":
            return cls._imported(Path(path), model)
        from .runs import load_run

        return load_run(Path(path), dataset, model, method).classifier

    # ---- classifying

    def features(self, images: Images) -> tuple[Tensor, list[str], list[tuple[str, str]]]:
        """Images -> features (N, d), what they are called, and (path, reason) of those that cannot be read.

        images: paths and Pillow images; or a tensor: (N, 3, H, W) from ``encoder.encoder.preprocess`` (or uint8 from
        its ``pixels``), or (N, d) features of this encoder.
        """
        if isinstance(images, Tensor):
            if images.ndim not in (2, 4):
                raise UserError(
                    f"images of shape {tuple(images.shape)}, where (N, 3, H, W) or (N, d) is needed"
                )
            x = images.float() if images.ndim == 2 else self.encoder.pixels(images)
            return x, [str(i) for i in range(len(x))], []
        files = [i for i, image in enumerate(images) if not isinstance(image, Image.Image)]
        pictures = [i for i, image in enumerate(images) if isinstance(image, Image.Image)]
        found = self.encoder.photos([images[i] for i in files])  # type: ignore[misc]
        parts = {files[k]: row for k, row in zip(found.kept, found.features, strict=True)}
        made = self.encoder.images([images[i] for i in pictures])  # type: ignore[misc]
        parts |= dict(zip(pictures, made, strict=True))
        order = sorted(parts)
        names = [str(i) if i in pictures else str(images[i]) for i in order]
        x = torch.stack([parts[i] for i in order]) if order else made
        return x, names, found.skipped

    def decide(self, x: Tensor) -> Decisions:
        """Features (N, d) -> classes and scores."""
        s = self.stages
        scores = (s.score or self.neighbors.class_scores)(x)
        return by_score(scores) if s.pairs is None else by_rerank(x, scores, s.pairs, s.threshold, s.top_k)

    def scores(self, images: Images) -> Tensor:
        """(N, C) scores of stage one: 100 × a mean of cosines. UserError for an image that cannot be read."""
        x, _, skipped = self.features(images)
        if skipped:
            raise UserError(f"image cannot be read: {skipped[0][0]}: {skipped[0][1]}")
        return self.decide(x).scores

    def classify(
        self, images: Images, *, why: int = 0, top: int = 5, none_below: float | None = None
    ) -> list[Photo]:
        """What each image is. why: how many texts for and against, each. top: how many classes.

        none_below: a best class with less has the label None; a probability where there are such, else a score.
        UserError for an image that cannot be read.
        """
        x, names, skipped = self.features(images)
        if skipped:
            raise UserError(f"image cannot be read: {skipped[0][0]}: {skipped[0][1]}")
        return self.photos(x, names, why=why, top=top, none_below=none_below)

    def photos(
        self, x: Tensor, names: Sequence[str], *, why: int = 0, top: int = 5, none_below: float | None = None
    ) -> list[Photo]:
        """As :meth:`classify`, from features (N, d) and what the images are called."""
        if not len(x):
            return []
        decided = self.decide(x)
        ahead = margins(decided)
        probabilities = None
        if self.stages.scale is not None:
            probabilities = torch.softmax(decided.scores * self.stages.scale, dim=1)
        reasons = self.reasons(x, decided, why) if why else [((), ())] * len(x)
        found = []
        for i, name in enumerate(names):
            order = decided.order[i, : max(top, 2)].tolist()
            best, reranked = order[0], bool(decided.reranked[i])
            # stage two says which class comes first, not how sure that is
            sure = None if probabilities is None or reranked else float(probabilities[i, best])
            score = float(decided.scores[i, best])
            measure = score if probabilities is None else float(probabilities[i, best])
            none = none_below is not None and measure < none_below
            found.append(
                Photo(
                    image=name,
                    label=None if none else self.classes[best],
                    score=score,
                    probability=sure,
                    margin=float(ahead[i]),
                    top=tuple((self.classes[c], float(decided.scores[i, c])) for c in order),
                    reranked=reranked,
                    reasons_for=reasons[i][0],
                    reasons_against=reasons[i][1],
                )
            )
        return found

    # ---- reasons

    def reasons(
        self, x: Tensor, decided: Decisions, n: int, against: Tensor | None = None
    ) -> list[tuple[tuple[Reason, ...], tuple[Reason, ...]]]:
        """For each image the n strongest texts for its class against the runner-up, and the reverse; x: (N, d).

        against: (N,) other classes than the runner-up; stage two's reasons are of its own comparisons all the same.
        UserError where the method's scores are not means over texts.
        """
        if self.stages.score is not None:
            raise UserError("this method's scores are not means over texts, so there are no reasons to show")
        scoring = self.scoring
        second = decided.order[:, 1] if against is None else against
        terms = scoring.explain(scoring.cosines(x), decided.order[:, 0], second)
        found = []
        for i, of_image in enumerate(terms):
            if decided.reranked[i]:
                compared = self._compared(x[i], decided.order[i, : self.stages.top_k])
                sides = for_and_against(compared, n)
                found.append(tuple(tuple(self._comparison(t) for t in side) for side in sides))
            else:
                found.append(tuple(tuple(self._reason(t) for t in s) for s in for_and_against(of_image, n)))
        return found  # type: ignore[return-value]

    def _compared(self, x: Tensor, candidates: Tensor) -> list[PairTerm]:
        """What stage two decided by for one image (d,), whose winner is the first candidate."""
        winner, stages = int(candidates[0]), self.stages
        assert stages.pairs is not None
        if not stages.pair_texts:
            return compare(x, stages.pairs, candidates, winner)
        of = set(candidates.tolist())
        texts = [t for t in stages.pair_texts if {t.of, t.other} <= of and winner in (t.of, t.other)]
        return compare_texts(x, texts, self.encoder.texts([t.sentence for t in texts]), candidates, winner)

    def _reason(self, term: Term) -> Reason:
        row = self.rows[term.text]
        return Reason(row.text, row.kind, self.classes[row.index], term.cosine, term.adds)

    def _comparison(self, t: PairTerm) -> Reason:
        of, other = self.classes[t.of], self.classes[t.other]
        if not t.text:
            return Reason(f"what tells {of} from {other}", "one_to_one", of, None, t.adds)
        return Reason(t.text, "one_to_one", of, t.cosine, t.adds)

    # ---- one file

    def export(self, path: str | Path) -> None:
        """Write everything but the encoder's weights to one safetensors file: encoder id with the hash of its weights,
        preprocessing, texts, their features, the compact class weights, stage two. :meth:`load` reads it.

        Or, where the path ends in .onnx, stage one alone for other programs: image features to scores (`onnx_file`).
        UserError for another ending, and for what cannot be written so.
        """
        if Path(path).suffix == ".onnx":
            from .onnx_file import write_onnx  # needs an extra

            return write_onnx(path, self)
        if Path(path).suffix != ".safetensors":
            raise UserError(f"{path}: the file of an export ends in .safetensors or .onnx")
        s, stages = self.scoring, self.stages
        if stages.score is not None:
            raise UserError("only methods whose scores are means over texts can be exported: CLIP and CODER")
        tensors = {"text_features": s.features, "class_index": s.owner, "averaged": s.averaged}
        tensors |= {f"coder.{k}": v for k, v in self.neighbors.state().items()}
        if stages.pairs is not None:
            tensors |= {f"one_to_one.{k}": v for k, v in stages.pairs.state().items()}
        meta = {
            "exported": EXPORTED,
            "encoder": self.encoder.metadata,
            "spec": asdict(self.encoder.spec),
            "texts": self.texts.dump(),
            "templates": asdict(self.templates),
            "sentences": [r.sentence for r in self.rows],
            "pair_texts": stages.pair_texts,
            "stages": {"threshold": stages.threshold, "top_k": stages.top_k, "scale": stages.scale},
        }
        write_tensors(path, tensors, meta)

    @classmethod
    def _imported(cls, path: Path, model: str | None) -> Self:
        tensors, meta = read_tensors(path)
        if meta.get("exported") != EXPORTED:
            raise UserError(f"{path} is not a file that Classifier.export of this version wrote")
        given: dict[str, Any] = meta["templates"]
        templates = Templates(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})  # type: ignore[arg-type]
        pairs = {k.removeprefix("one_to_one."): v for k, v in tensors.items() if k.startswith("one_to_one.")}
        pair_texts = tuple(PairText(*t) for t in meta.get("pair_texts", ()))
        two = OneToOne.from_state(pairs) if pairs else None
        stages = Stages(pairs=two, pair_texts=pair_texts, **meta["stages"])
        texts = TextSet.model_validate(meta["texts"])
        spec = EncoderSpec(**meta["spec"])
        if model is not None:
            spec = encoder_spec(model, precision=spec.precision)
        new = cls(spec, texts, templates=templates, stages=stages)
        if [r.sentence for r in new.rows] != meta["sentences"]:
            raise UserError(f"{path}: this version makes other sentences of its texts; export it again")
        new.encoder.expect(meta["encoder"], path)
        new._scoring = ScoringTexts(
            tensors["text_features"], tensors["class_index"], tensors["averaged"], len(new.classes)
        )
        return new


def scoring_texts(of: Sequence[Row], features: Tensor, n_classes: int) -> ScoringTexts:
    """Texts with their features (M, d)."""
    owner = torch.tensor([r.index for r in of], dtype=torch.int64)
    averaged = torch.tensor([r.kind in MEAN_KINDS for r in of])
    return ScoringTexts(features, owner, averaged, n_classes)
