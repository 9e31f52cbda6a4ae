"""Load a finished run to classify new photos.

From any folder, and only if its texts are unchanged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from coder_clip.baselines import few_shot
from coder_clip.baselines.grid_search import Point
from coder_clip.baselines.methods import ABLATIONS, FEW_SHOT, LABELS
from coder_clip.baselines.zero_shot import class_weights, clip_scores
from coder_clip.datasets import load_templates
from coder_clip.datasets.base import Templates
from coder_clip.encoders import families
from coder_clip.errors import UserError, nearest
from coder_clip.evaluation.estimates import Estimate, estimate
from coder_clip.evaluation.recommendation import Recommendation, Rival, of_run, rivals
from coder_clip.evaluation.recommendation import candidates as candidates_of
from coder_clip.foundation.artifacts import (
    Paths,
    read_classes,
    read_json,
    read_metadata,
    read_parquet,
    sha256,
)
from coder_clip.jobs import job_at, scope
from coder_clip.phases.adapter import few_shot_inputs
from coder_clip.phases.common import SHOTS, SplitFeatures, read_image_features
from coder_clip.phases.rerank import read_one_to_one
from coder_clip.phases.shots import shot_rows
from coder_clip.phases.text_inputs import Texts, read_texts
from coder_clip.phases.zero_shot import baseline_scores
from coder_clip.pipeline.config import Config, load_config
from coder_clip.protocols import SETTINGS, usable
from coder_clip.reporting.results import Results
from coder_clip.texts.sentences import make_sentences
from coder_clip.texts.sets import TextSet, load_pair_set, load_text_set, names_only

from .decisions import StageTwo
from .encoding import PhotoEncoder, at, on
from .texts import pair_texts

WITH_REASONS = ("clip", "coder", "coder_rerank")  # their scores are means over texts
CONTROL = "random_words"  # a mean over draws of words: no method that could classify a photo


@dataclass(frozen=True)
class Candidate:
    """A method of the run.

    on_test: accuracy on test images, which choose nothing. val_accuracy, shots, seed, point: only
    of a few-shot method, for the seed that is best on validation images.
    """

    method: str
    on_test: Estimate
    val_accuracy: float = 0.0
    shots: int | None = None
    seed: int | None = None
    point: Point | None = None

    @property
    def name(self) -> str:
        """The name on the command line, such as coder_adapter-16."""
        if self.shots is None:
            return self.method
        return f"{self.method}-{self.shots}"

    @property
    def title(self) -> str:
        """The name for readers."""
        label = LABELS[self.method]
        if self.shots is None:
            return label
        if self.shots == 1:
            return f"{label}, {self.shots} shot"
        return f"{label}, {self.shots} shots"


@dataclass(frozen=True)
class FinishedRun:
    """What a run's classifier is made of, and the candidates that its method was chosen from.

    `Classifier.of_run` makes it. stages: of the chosen method. stage_two: the run's rerank, even if
    the chosen method does not use it. recommendation: the run's,
    of all methods. rivals: the methods to name beside it (`evaluation.recommendation.rivals`). why:
    why the method was chosen, "" if the user named it. rerank_off: why the rerank changes no image,
    "" if it compares some or if the method does not rerank. n_test: number of test images.
    validation: the validation images (V, d), None without them.
    """

    encoder: PhotoEncoder
    texts: TextSet
    templates: Templates
    stages: StageTwo
    stage_two: StageTwo
    setting: str
    chosen: Candidate
    recommendation: Recommendation
    rivals: list[Rival]
    why: str
    rerank_off: str
    candidates: list[Candidate]
    n_test: int
    validation: SplitFeatures | None
    config: Config
    file: Path  # of the configuration
    root: Path
    dataset: str

    @property
    def advice(self) -> str:
        """What to use, why, and which other methods there are."""
        return " ".join([self.recommendation.advice, *(rival.sentence for rival in self.rivals)])

    @property
    def said(self) -> str:
        """One line on the method: its accuracy on test images first, then why it was chosen."""
        setting = f", setting {self.setting}"
        if self.setting == "clean":
            setting = ""
        images = "images"
        if self.n_test == 1:
            images = "image"
        share = f"{_percent(self.chosen.on_test)} of {self.n_test:,} test {images} right"
        seed = self.chosen.seed
        shots = f", labelled images of seed {seed}, the best on validation"
        if seed is None:
            shots = ""
        line = f"method: {self.chosen.title}{setting}{shots} ({share})"
        off = ""
        if self.rerank_off:
            off = f"the rerank is off, so answers are those of CODER: {self.rerank_off}"
        return "; ".join(part for part in (line, self.why, off) if part)


def load_run(
    where: Path,
    dataset: str | None = None,
    model: str | None = None,
    method: str | None = None,
    *,
    explained: bool = False,
    cache: bool = True,
    device: str | torch.device | None = None,
) -> FinishedRun:
    """Load a run. where: its results folder or its configuration file.

    dataset, model: by default the only one. method: a name of ``methods``, few-shot ones as
    NAME-SHOTS; by default the run's recommendation (`evaluation.recommendation`), or CODER if there
    are no validation images to choose on. explained: choose among the methods that have reasons.
    The setting is clean or, if the run does not have it, corrected. device: by default the run's.

    UserError: no such run, not finished, texts or encoder changed since, unknown names.
    """
    # Refuse a run that no longer fits its inputs, read both stages and all methods, then choose
    # one. `used` differs from the run's recommendation only if reasons are wanted, which not all
    # methods have.
    root, file, config = find_config(where)
    d = _chosen_name("dataset", dataset, config.datasets)
    m = _chosen_name("model", model, config.models)
    _refuse_without_encoder(config, m, d)
    how = f"to run it again: 'make reproduce CONFIG={os.path.relpath(file, root)}' in {root}"
    try:
        refuse_stale(config, root, m, d)
        texts = read_texts(Paths(config.results).text_features(m, d))
        validation = None
        if config.has_val(d):
            validation = read_image_features(Paths(config.results).image_features(m, d, "val"))
        setting = _setting(config, m, d)
        stages = stage_two(config, m, d, texts, setting)
        methods = _Methods(config, m, d, texts, validation, stages, setting)
        zero_shot, reranked = (read_json(path) for path in _documents(config, m, d))
        recommendation = of_run(zero_shot, reranked)
        beside = _rivals(config, m, d, zero_shot, reranked)
    except UserError as error:
        raise UserError(f"{error}; {how}") from None
    spec = config.models[m].spec(config.features.device)
    encoder = PhotoEncoder(on(at(spec, root), device), cache)
    if encoder.metadata != texts.meta["encoder"]:
        features = Paths(config.results).text_features(m, d)
        raise UserError(f"{features} was made with another encoder than model '{m}' is now; {how}")
    candidates = methods.candidates([zero_shot, reranked])
    used = recommendation
    if explained:
        used = of_run(zero_shot, reranked, candidates_of(WITH_REASONS))
    chosen = _chosen(candidates, method or used.method or "coder", explained)
    rerank_off = ""
    if chosen.method == "coder_rerank":
        rerank_off = Results(**scope(config)).rerank_off(d, m)
    return FinishedRun(
        encoder=encoder,
        texts=methods.described(chosen),
        templates=load_templates(d, config.datasets[d]),
        stages=methods.stages(chosen),
        stage_two=stages,
        setting=setting,
        chosen=chosen,
        recommendation=recommendation,
        rivals=beside,
        why=_why(recommendation, used, beside) if method is None else "",
        rerank_off=rerank_off,
        candidates=candidates,
        n_test=int(zero_shot["images"]),
        validation=validation,
        config=config,
        file=file,
        root=root,
        dataset=d,
    )


def _refuse_without_encoder(config: Config, model: str, dataset: str) -> None:
    """Raise UserError for a model whose texts are features: it encodes neither photos nor texts."""
    if families.encodes(config.models[model].model):
        return
    others = [name for name, m in config.models.items() if families.encodes(m.model)]
    do = f"its numbers are in {config.results / 'report.html'}"
    if others:
        do = f"name another: --model {others[0]}"
    raise UserError(
        f"model '{model}' of this run brings its texts as features, so it encodes no photo and no "
        f"edited text of '{dataset}'; {do}"
    )


def _documents(config: Config, model: str, dataset: str) -> list[Path]:
    """The documents of the zero-shot methods and of the rerank."""
    paths = Paths(config.results)
    return [p(model, dataset).with_suffix(".json") for p in (paths.zero_shot, paths.rerank)]


def find_config(where: Path) -> tuple[Path, Path, Config]:
    """The project's folder, the configuration file and the configuration of a run.

    From a results folder or a configuration file. UserError if there is no such run, or more than
    one.
    """
    where = where.resolve()
    if where.is_file() and where.suffix not in (".yaml", ".yml"):
        raise UserError(f"{where} is neither a results folder nor a configuration file (.yaml)")
    if where.is_file():
        root = next((p for p in where.parents if (p / "Snakefile").is_file()), Path.cwd())
        return root, where, load_config(where, root=root)
    if not where.is_dir():
        raise UserError(f"no run in {where}: no such folder")
    # configurations above the folder that have results there: (root, file, configuration)
    found: list[tuple[Path, Path, Config]] = []
    complete: list[tuple[Path, Path, Config]] = []  # of these, with results of all models and data
    # why a configuration is not the one: it has a fault, or its models or data sets did not run
    but: list[str] = []
    for root in where.parents:
        for file in sorted((root / "config").glob("*.yaml")):
            try:
                config = load_config(file, root=root)
            except UserError as error:
                but.append(str(error))
                continue
            if config.results != where:
                continue
            paths = Paths(config.results)
            ran = [
                paths.text_features(m, d).is_file() for m in config.models for d in config.datasets
            ]
            if not any(ran):
                but.append(f"{file} has its results there, but no model and data set of it ran")
                continue
            found.append((root, file, config))
            if all(ran):
                complete.append((root, file, config))
    # several may share a results folder, such as a changed copy: take the one whose run is complete
    found = complete or found
    if len(found) != 1:
        if found:
            files = ", ".join(str(file) for _, file, _ in found)
            what = f"several configurations write there: {files}"
        else:
            what = "; ".join(["no config/*.yaml above this folder made one there", *but])
        raise UserError(
            f"no run in {where}: {what}; name a results folder or a configuration file (photos "
            "need --classes, --classes-file or --texts)"
        )
    return found[0]


def refuse_stale(config: Config, root: Path, model: str, dataset: str) -> None:
    """Raise UserError if texts, templates or files of a run have changed since the run."""
    # Sources of the texts, the prompts that they make today, and the inputs of the documents are
    # compared with what the run recorded. Files that are not on this machine are passed over,
    # because pulled results come without some of them.
    paths = Paths(config.results)
    texts, pairs = paths.texts(dataset), paths.one_to_one_texts(dataset)
    # source of the texts -> sha256 at the time of the run
    of_texts = dict(_recorded_files(read_json(texts)["provenance"]))
    of_pairs = dict(_recorded_files(read_json(pairs)["provenance"]))
    for path, before in (of_texts | of_pairs).items():
        if (root / path).is_file() and sha256(root / path) != before:
            raise UserError(f"the texts in {path} were changed after the run")
    for path in config.datasets[dataset].text_files(dataset):
        if path not in of_texts:
            raise UserError(f"the configuration names the texts {path}, which the run did not use")
    meta = read_metadata(paths.text_features(model, dataset))
    classes = read_classes(paths.manifest(dataset))
    sentences = make_sentences(
        load_text_set(texts, dataset, classes, made=True),
        load_templates(dataset, config.datasets[dataset]),
    )
    if meta["classes"] != classes or meta["text"] != sentences.text:
        raise UserError(f"classes, texts or templates of '{dataset}' were changed after the run")
    documents = [paths.rerank(model, dataset).with_suffix(".json")]
    for n in config.adapter.shots:
        adapter = paths.adapter(model, dataset, n).with_suffix(".json")
        if adapter.is_file():
            documents.append(adapter)
    for document in documents:
        for name, before in read_json(document)["made_by"]["inputs"].items():
            if (root / name).is_file() and sha256(root / name) != before:
                raise UserError(
                    f"{name} has changed since {os.path.relpath(document, root)} was made from it"
                )


def _recorded_files(note: Any) -> Iterator[tuple[Path, str]]:
    """Path and sha256 of every file that a provenance names, in sections at any depth."""
    if isinstance(note, dict):
        if "path" in note and "sha256" in note:
            yield Path(note["path"]), str(note["sha256"])
        for value in note.values():
            yield from _recorded_files(value)


def _setting(config: Config, model: str, dataset: str) -> str:
    """The setting that new photos are classified in.

    UserError for a run that only has as_published.
    """
    document = read_json(Paths(config.results).rerank(model, dataset).with_suffix(".json"))
    settings = {m["setting"] for m in document["methods"]}
    setting = usable(settings)
    if setting is None:
        raise UserError(
            f"the run has only the setting {', '.join(settings)}, whose texts have the bugs of the "
            "published code: add clean under settings"
        )
    return setting


def stage_two(config: Config, model: str, dataset: str, texts: Texts, setting: str) -> StageTwo:
    """The rerank of a run in a setting, with the texts behind it."""
    paths, classes = Paths(config.results), texts.meta["classes"]
    document = read_json(paths.rerank(model, dataset).with_suffix(".json"))
    (threshold,) = [m["threshold"] for m in document["methods"] if m["setting"] == setting]
    # no images yet: only their metadata is needed
    new_images = SplitFeatures(
        torch.zeros(0), torch.zeros(0), [], {**texts.meta, "split": "new images"}
    )
    pairs = load_pair_set(paths.one_to_one_texts(dataset), dataset, classes, made=True)
    return StageTwo(
        pairs=read_one_to_one(paths.one_to_one(model, dataset), new_images),
        pair_texts=pair_texts(pairs, load_templates(dataset, config.datasets[dataset])),
        threshold=float(threshold),
        top_k=config.rerank.top_k,
    )


@dataclass(frozen=True)
class _Methods:
    """The methods of a run.

    Their results from the run's documents, and classifiers of new images.
    """

    config: Config
    model: str
    dataset: str
    texts: Texts
    validation: SplitFeatures | None
    stage_two: StageTwo
    setting: str

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of the run."""
        return list(self.texts.meta["classes"])

    def candidates(self, documents: list[dict[str, Any]]) -> list[Candidate]:
        """All methods with their accuracy on test images. documents: of zero_shot and rerank."""
        zero_shot = [
            Candidate(m["method"], m["accuracy"])
            for document in documents
            for m in document["methods"]
            if m["setting"] in ("any", self.setting) and m["method"] != CONTROL
        ]
        return zero_shot + few_shot_candidates(self.config, self.model, self.dataset, self.setting)

    def described(self, chosen: Candidate) -> TextSet:
        """The texts of the classes; for CLIP the names alone."""
        path = Paths(self.config.results).texts(self.dataset)
        texts: TextSet = load_text_set(path, self.dataset, self.classes, made=True)
        if chosen.method == "clip":
            return names_only(self.dataset, [c.name for c in texts.classes])
        return texts

    def stages(self, chosen: Candidate) -> StageTwo:
        """How scores become classes."""
        if chosen.method == "coder_rerank":
            return self.stage_two
        if chosen.method in WITH_REASONS:
            return StageTwo()
        return StageTwo(score=self._score(chosen))

    def _score(self, chosen: Candidate) -> Callable[[Tensor], Tensor]:
        """A function for a method that is not a mean over texts: images (N, d) -> scores (N, C).

        The function can be pickled.
        """
        if chosen.point is None:
            return partial(_zero_shot, self.texts, len(self.classes), chosen.method)
        assert chosen.shots is not None
        assert chosen.seed is not None
        assert self.validation is not None
        paths = Paths(self.config.results)
        pool = read_image_features(paths.image_features(self.model, self.dataset, SHOTS))
        place = {"model": self.model, "dataset": self.dataset, "shots": str(chosen.shots)}
        fitted_as = job_at(self.config, "fit_adapters", **place).settings
        weights = class_weights(*self.texts.of("prompt"), len(self.classes))
        given = few_shot_inputs(
            fitted_as["published"],
            fitted_as["grid"],
            SETTINGS[self.setting],
            chosen.seed,
            pool,
            shot_rows(pool, chosen.shots, chosen.seed, fitted_as["skip"]),
            self.validation,
            self.texts,
            weights,
        )
        return partial(_few_shot, few_shot.method(chosen.method).fit(given), weights, chosen.point)


def few_shot_candidates(config: Config, model: str, dataset: str, setting: str) -> list[Candidate]:
    """The few-shot methods of a run in a setting.

    Each with the seed that is best on validation images.
    """
    if not config.few_shot(dataset):
        return []
    found = []
    for shots in config.adapter.shots:
        path = Paths(config.results).adapter(model, dataset, shots).with_suffix(".json")
        if not path.is_file():
            continue
        document = read_json(path)
        best: dict[str, dict[str, Any]] = {}  # method -> its best run
        for r in document["runs"]:
            method = r["method"]
            if r["setting"] != setting or method not in {**FEW_SHOT, **ABLATIONS}:
                continue
            if method not in best or r["val_accuracy"] > best[method]["val_accuracy"]:
                best[method] = r
        n_test = document["images"]
        for method, r in best.items():
            point = Point(**{k: r[k] for k in Point._fields})
            on_test = r.get("on_test")  # in documents with near twins: an interval over groups
            if on_test is None:
                # the interval needs the number of right images only, not which ones
                on_test = estimate(torch.arange(n_test) < round(r["test_accuracy"] * n_test))
            found.append(Candidate(method, on_test, r["val_accuracy"], shots, r["seed"], point))
    return found


def _zero_shot(texts: Texts, n_classes: int, method: str, x: Tensor) -> Tensor:
    """Scores (N, C) of images x (N, d) by a zero-shot method."""
    return baseline_scores(texts, x, n_classes)[method]


def _few_shot(fitted: few_shot.Fitted, weights: Tensor, point: Point, x: Tensor) -> Tensor:
    """Scores (N, C) of images x (N, d) by a fitted few-shot method. weights: CLIP's (C, d)."""
    return fitted.logits(x, clip_scores(x, weights), point).double()


def _chosen_name(kind: str, name: str | None, known: Iterable[str]) -> str:
    """The given name, or the only known one.

    UserError for an unknown name, or without a name if several are known. kind: of the option that
    gives the name, for messages.
    """
    names = list(known)
    if name is not None and name not in names:
        raise UserError(f"the run has no {kind} '{name}'{nearest(name, names)}")
    if name is None and len(names) > 1:
        raise UserError(f"the run has {', '.join(names)}: name one with --{kind}")
    return name or names[0]


def _rivals(
    config: Config, model: str, dataset: str, zero_shot: dict[str, Any], reranked: dict[str, Any]
) -> list[Rival]:
    """The methods to name beside the recommendation, as the report names them.

    zero_shot, reranked: documents. The results of each image (Parquet) are read if they are on this
    machine; without them no images can be paired.
    """
    paths = Paths(config.results)
    of_zero_shot = [paths.zero_shot(model, dataset), paths.rerank(model, dataset)]
    rows = None
    if all(path.is_file() for path in of_zero_shot):
        rows = pd.concat([read_parquet(path) for path in of_zero_shot])
    few_shot = None
    if config.few_shot(dataset):
        path = paths.adapter(model, dataset, max(config.adapter.shots))
        document = path.with_suffix(".json")
        if document.is_file():
            of_images = None
            if path.is_file():
                of_images = read_parquet(path)
            few_shot = read_json(document), of_images
    return rivals(zero_shot, reranked, rows, few_shot)


def _why(recommendation: Recommendation, used: Recommendation, beside: list[Rival]) -> str:
    """Explain why a method was chosen, and which other methods there are.

    used: the recommendation that was followed; if reasons are wanted, it chooses among the methods
    that have reasons."""
    parts = [used.reason, used.confirmed]
    if used.method != recommendation.method:
        parts = [used.reason.replace("no method", "no method with reasons and"), used.confirmed]
        parts.append(
            f"without --why it would be {LABELS[str(recommendation.method)]}, which has no reasons"
        )
    choice = "; ".join(part for part in parts if part)
    others = [rival.sentence.removesuffix(".") for rival in beside]
    return ". ".join([choice, *others])


def _percent(accuracy: Estimate) -> str:
    """An accuracy with its interval in percent, "71 % [65, 77]"."""
    value, low, high = (f"{100 * accuracy[key]:.0f}" for key in ("value", "low", "high"))
    return f"{value} % [{low}, {high}]"


def _chosen(candidates: list[Candidate], method: str, explained: bool) -> Candidate:
    """The method with this name.

    UserError for an unknown method, or for a method without reasons if reasons are wanted
    (explained).
    """
    with_reasons = [c for c in candidates if c.method in WITH_REASONS]
    chosen = next((c for c in candidates if method in (c.name, c.method)), None)
    if chosen is None:
        raise UserError(
            f"the run has no method '{method}'{nearest(method, [c.name for c in candidates])}"
        )
    if explained and chosen not in with_reasons:
        names = ", ".join(c.name for c in with_reasons)
        raise UserError(
            f"the scores of '{method}' are not means over texts, so it has no reasons; {names} have"
        )
    return chosen
