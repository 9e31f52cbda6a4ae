"""A finished run, to classify new photos with: from any folder, and only if its texts are what they were."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..baselines import few_shot
from ..baselines.grid_search import Point
from ..baselines.methods import ABLATIONS, FEW_SHOT, LABELS, ZERO_SHOT
from ..baselines.zero_shot import class_weights, clip_scores
from ..datasets import load_templates
from ..encoders.spec import EncoderSpec
from ..errors import UserError, nearest
from ..foundation.artifacts import Paths, read_json, read_metadata, sha256
from ..phases.adapter import few_shot_inputs, shot_rows
from ..phases.coder import text_neighbors
from ..phases.common import SHOTS, ImageFeatures, Texts, encoder_spec, read_image_features, read_texts
from ..phases.rerank import read_one_to_one
from ..phases.zero_shot import baseline_scores
from ..pipeline.config import Config, load_config
from ..protocols import SETTINGS
from ..texts.sentences import make_sentences
from ..texts.sets import TextSet, load_pair_set, load_text_set, names_only
from .classifier import Classifier, Stages
from .decisions import by_rerank, fit_scale
from .encoding import PhotoEncoder, at
from .texts import pair_texts

ALONE = ("clip", "coder")  # whose scores are means over texts; with the rerank as stage two


@dataclass(frozen=True)
class Candidate:
    """A method of the run. accuracy: on validation images, None without; shots, seed: of a few-shot method."""

    method: str
    accuracy: float | None
    shots: int | None = None
    seed: int | None = None
    point: Point | None = None

    @property
    def name(self) -> str:
        return self.method if self.shots is None else f"{self.method}-{self.shots}"

    @property
    def title(self) -> str:
        return LABELS[self.method] + (f", {self.shots} shots" if self.shots is not None else "")


@dataclass(frozen=True)
class Run:
    """A run's classifier, and what it was chosen from. stage_two: of the run's last setting, which the classifier need
    not have. validation: images (V, d), None without."""

    classifier: Classifier
    stage_two: Stages
    chosen: Candidate
    candidates: list[Candidate]
    validation: ImageFeatures | None
    config: Config
    config_file: Path
    root: Path
    dataset: str
    model: str

    @property
    def said(self) -> str:
        """One line on the method."""
        if self.chosen.accuracy is None or self.validation is None:
            return f"method: {self.chosen.title}"
        share = f"{100 * self.chosen.accuracy:.0f} % of {len(self.validation.ids)} validation images right"
        return f"method: {self.chosen.title} ({share})"


def load_run(
    where: Path,
    dataset: str | None = None,
    model: str | None = None,
    method: str | None = None,
    *,
    explained: bool = False,
    cache: bool = True,
) -> Run:
    """where: the results folder of a run, or its configuration file.

    dataset, model: by default the only one. method: a name of ``methods``, few-shot ones as NAME-SHOTS; by default the
    best on validation images, of equals the first; without validation images CODER. explained: of those with reasons.

    UserError: no such run, not finished, texts or encoder changed since, unknown names.
    """
    root, file, config = find_config(where)
    with contextlib.chdir(root):  # a configuration's paths start there
        d = _one("dataset", dataset, config.datasets)
        m = _one("model", model, config.models)
        how = f"'make reproduce CONFIG={os.path.relpath(file)}' in {root} makes it again"
        for needed in _needed(config, m, d):
            if not needed.is_file():
                raise UserError(f"{root / needed} is missing: '{d}' was not run with '{m}' to the end; {how}")
        refuse_stale(config, m, d, how)
        spec = at(EncoderSpec(**encoder_spec(config, m)), root)
        encoder = PhotoEncoder(spec, cache)
        texts = read_texts(config, m, d)
        if encoder.metadata != texts.meta["encoder"]:
            raise UserError(
                f"{root / Paths(config.results).text_features(m, d)} was made with another encoder than model '{m}' is "
                f"now; {how}"
            )
        validation = read_image_features(config, m, d, "val") if config.has_val(d) else None
        run = _Methods(config, m, d, texts, validation)
        candidates = run.candidates()
        chosen = _chosen(candidates, method, explained)
        classifier, two = run.classifier(chosen, encoder), run.stage_two
        return Run(classifier, two, chosen, candidates, validation, config, file, root, d, m)


def find_config(where: Path) -> tuple[Path, Path, Config]:
    """The project's folder, the configuration file and the configuration of a results folder, or of such a file."""
    where = where.resolve()
    if where.is_file():
        root = next((p for p in where.parents if (p / "Snakefile").is_file()), Path.cwd())
        with contextlib.chdir(root):
            return root, where, load_config(where)
    if not where.is_dir():
        raise UserError(f"no run in {where}: no such folder")
    found: list[tuple[float, Path, Path, Config]] = []
    for root in where.parents:
        for file in sorted((root / "config").glob("*.yaml")):
            with contextlib.chdir(root), contextlib.suppress(UserError):
                config = load_config(file)
                if config.results.resolve() == where and (ran := _share_run(config)):
                    found.append((ran, root, file, config))
    # several may share a results folder, as one that was copied and changed: then the one of which all was run
    most = max((ran for ran, *_ in found), default=0.0)
    found = [f for f in found if f[0] == most]
    if len(found) != 1:
        files = ", ".join(str(file) for _, _, file, _ in found)
        what = (
            f"several configurations write it: {files}"
            if found
            else "nothing that a config/*.yaml above it writes"
        )
        raise UserError(f"no run in {where}: {what}; name its configuration file instead")
    return found[0][1:]


def _share_run(config: Config) -> float:
    """Of how many of its models and data sets there are results."""
    paths = Paths(config.results)
    there = [paths.text_features(m, d).is_file() for m in config.models for d in config.datasets]
    return sum(there) / len(there)


def refuse_stale(config: Config, model: str, dataset: str, how: str) -> None:
    """UserError where texts, templates or files of the run were changed after it."""
    paths = Paths(config.results)
    for document in (paths.texts(dataset), paths.one_to_one_texts(dataset)):
        for path, recorded in _recorded_files(read_json(document)["provenance"]):
            if path.is_file() and sha256(path) != recorded:
                raise UserError(f"the texts in {path} were changed after the run; {how}")
    recorded_files = {p for p, _ in _recorded_files(read_json(paths.texts(dataset))["provenance"])}
    if named := [p for p in config.datasets[dataset].text_files(dataset) if p not in recorded_files]:
        raise UserError(f"the configuration names the texts {named[0]}, which the run did not use; {how}")
    meta = read_metadata(paths.text_features(model, dataset))
    classes = list(read_json(paths.manifest(dataset))["classes"])
    texts = load_text_set(paths.texts(dataset), dataset, classes, made=True)
    sentences = make_sentences(texts, load_templates(dataset, config.datasets[dataset]))
    if meta["classes"] != classes or meta["text"] != sentences.text:
        raise UserError(f"classes, texts or templates of '{dataset}' were changed after the run; {how}")
    adapters = [paths.adapter(model, dataset, n).with_suffix(".json") for n in config.adapter.shots]
    for document in (paths.rerank(model, dataset).with_suffix(".json"), *filter(Path.is_file, adapters)):
        for path, recorded in read_json(document)["made_by"]["inputs"].items():
            if Path(path).is_file() and sha256(path) != recorded:
                raise UserError(f"{path} has changed since {document} was made from it; {how}")


def _recorded_files(note: Any) -> Iterator[tuple[Path, str]]:
    """Every {"path", "sha256"} in a provenance."""
    if isinstance(note, dict):
        if "path" in note and "sha256" in note:
            yield Path(note["path"]), str(note["sha256"])
        for value in note.values():
            yield from _recorded_files(value)


def _needed(config: Config, model: str, dataset: str) -> list[Path]:
    paths = Paths(config.results)
    found = [
        paths.manifest(dataset),
        paths.texts(dataset),
        paths.text_features(model, dataset),
        paths.one_to_one_texts(dataset),
        paths.one_to_one(model, dataset),
        paths.rerank(model, dataset).with_suffix(".json"),
    ]
    if config.has_val(dataset):
        found.append(paths.image_features(model, dataset, "val"))
    return found


@dataclass(frozen=True)
class _Methods:
    """The methods of a run, on its validation images and on new ones."""

    config: Config
    model: str
    dataset: str
    texts: Texts
    validation: ImageFeatures | None

    @property
    def setting(self) -> str:
        return "clean" if "clean" in self.config.settings else self.config.settings[-1]

    @property
    def n_classes(self) -> int:
        return len(self.texts.meta["classes"])

    @property
    def stage_two(self) -> Stages:
        document = read_json(Paths(self.config.results).rerank(self.model, self.dataset).with_suffix(".json"))
        thresholds = [m["threshold"] for m in document["methods"] if m["setting"] == self.setting]
        if not thresholds:
            raise UserError(f"the run has no setting '{self.setting}'; run it again")
        meta = {**self.texts.meta, "split": "new images"}
        images = ImageFeatures(torch.zeros(0), torch.zeros(0), [], meta)
        pairs = read_one_to_one(self.config, images, SETTINGS[self.setting].one_to_one_as_published)
        classes, path = self.texts.meta["classes"], Paths(self.config.results).one_to_one_texts(self.dataset)
        texts = load_pair_set(path, self.dataset, classes, made=True)
        templates = load_templates(self.dataset, self.config.datasets[self.dataset])
        if SETTINGS[self.setting].one_to_one_as_published:
            return Stages(pairs=pairs, threshold=float(thresholds[0]), top_k=self.config.rerank.top_k)
        said = pair_texts(texts, templates)
        return Stages(
            pairs=pairs, pair_texts=said, threshold=float(thresholds[0]), top_k=self.config.rerank.top_k
        )

    def coder(self, x: Tensor) -> Tensor:
        return text_neighbors(self.texts, SETTINGS[self.setting]).class_scores(x)

    def candidates(self) -> list[Candidate]:
        """Every method with its accuracy on validation images."""
        v = self.validation
        if v is None:
            names = [
                *baseline_scores(self.texts, torch.ones(1, self.texts.features.shape[1]), self.n_classes)
            ]
            return [Candidate(m, None) for m in ZERO_SHOT if m in (*names, "coder", "coder_rerank")]
        scores = baseline_scores(self.texts, v.features, self.n_classes) | {"coder": self.coder(v.features)}
        picks = {method: s.argmax(dim=1) for method, s in scores.items()}
        two = self.stage_two
        assert two.pairs is not None
        decided = by_rerank(v.features, scores["coder"], two.pairs, two.threshold, two.top_k)
        picks["coder_rerank"] = decided.order[:, 0]
        found = [Candidate(m, float((picks[m] == v.labels).double().mean())) for m in ZERO_SHOT if m in picks]
        return found + self._few_shot()

    def _few_shot(self) -> list[Candidate]:
        found = []
        paths = Paths(self.config.results)
        for shots in self.config.adapter.shots if self.config.few_shot(self.dataset) else ():
            path = paths.adapter(self.model, self.dataset, shots).with_suffix(".json")
            if not path.is_file():
                continue
            runs = [
                r
                for r in read_json(path)["runs"]
                if r["setting"] == self.setting and r["method"] in {**FEW_SHOT, **ABLATIONS}
            ]
            for method in dict.fromkeys(r["method"] for r in runs):
                best = max((r for r in runs if r["method"] == method), key=lambda r: r["val_accuracy"])
                point = Point(**{k: best[k] for k in Point._fields})
                found.append(Candidate(method, best["val_accuracy"], shots, best["seed"], point))
        return found

    def classifier(self, chosen: Candidate, encoder: PhotoEncoder) -> Classifier:
        config, d = self.config, self.dataset
        classes = self.texts.meta["classes"]
        texts: TextSet = load_text_set(Paths(config.results).texts(d), d, classes, made=True)
        if chosen.method == "clip":
            texts = names_only(d, [c.name for c in texts.classes])
        stages = self.stage_two if chosen.method == "coder_rerank" else Stages()
        if chosen.method not in (*ALONE, "coder_rerank") or self.setting != "clean":
            stages = replace(stages, score=self._score(chosen))
        found = Classifier(encoder, texts, templates=load_templates(d, config.datasets[d]), stages=stages)
        if self.validation is not None:
            scores = found.decide(self.validation.features).scores
            found.stages = replace(stages, scale=fit_scale(scores, self.validation.labels))
        return found

    def _score(self, chosen: Candidate) -> Any:
        """Scores (N, C) of images (N, d) by a method that is not a mean over texts."""
        if chosen.point is None:
            if chosen.method in ("coder", "coder_rerank"):
                return self.coder
            return lambda x: baseline_scores(self.texts, x, self.n_classes)[chosen.method]
        assert chosen.shots is not None
        assert chosen.seed is not None
        assert self.validation is not None
        pool = read_image_features(self.config, self.model, self.dataset, SHOTS)
        weights = class_weights(*self.texts.of("prompt"), self.n_classes)
        given = few_shot_inputs(
            self.config,
            self.dataset,
            SETTINGS[self.setting],
            chosen.seed,
            pool,
            shot_rows(self.config, pool, chosen.shots, chosen.seed),
            self.validation,
            self.texts,
            weights,
        )
        fitted, point = few_shot.method(chosen.method).fit(given), chosen.point
        return lambda x: fitted.logits(x, clip_scores(x, weights), point).double()


def _one(kind: str, name: str | None, known: Any) -> str:
    names = list(known)
    if name is not None and name not in names:
        raise UserError(f"the run has no {kind} '{name}'{nearest(name, names)}")
    if name is None and len(names) > 1:
        raise UserError(f"the run has {', '.join(names)}: name one with --{kind}")
    return name or names[0]


def _chosen(candidates: list[Candidate], method: str | None, explained: bool) -> Candidate:
    having_reasons = [c for c in candidates if c.method in (*ALONE, "coder_rerank")]
    if method is not None:
        for c in candidates:
            if method in (c.name, c.method):
                if explained and c not in having_reasons:
                    names = ", ".join(h.name for h in having_reasons)
                    raise UserError(
                        f"the scores of '{method}' are not means over texts, so there are no reasons; {names} have some"
                    )
                return c
        raise UserError(f"the run has no method '{method}'{nearest(method, [c.name for c in candidates])}")
    among = having_reasons if explained else candidates
    known = [c for c in among if c.accuracy is not None]
    if known:
        return max(known, key=lambda c: c.accuracy or 0.0)
    return next(c for c in among if c.method == "coder")
