"""The results tree as tables, figures and the report read it: each file once, when it is first
asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from ..baselines.methods import METHODS
from ..errors import UserError
from ..evaluation.recommendation import Recommendation, Rival, of_run, rivals
from ..foundation.artifacts import Paths, present, read_json, read_metadata, read_parquet, sha256
from ..protocols import SETTINGS
from ..texts.kinds import BESIDES_NAME

AVERAGE = "(average)"  # over data sets; no data set can have this name
MAIN_SETTING = "clean"  # nothing chosen on test data; what the main tables and figures show
JsonObject = dict[str, Any]
# stands for the documents of zero_shot and rerank of a data set without texts of its classes
NO_TEXTS: JsonObject = {
    "methods": [],
    "validation": None,
    "left_out": 0,
    "pairs_with_texts": 0,
    "sweep": [],
    "flaws": [],
}


@dataclass(frozen=True)
class ResultFile:
    """A file behind a number.

    path: relative to the parent of the results folder; command: makes the file.
    """

    path: str
    sha256: str
    command: str


def in_order(entries: Iterable[JsonObject]) -> list[JsonObject]:
    """Sort entries by method, then by setting, in the order of METHODS and SETTINGS; unknown
    methods come last.
    """
    # one list for both keys, because no method has the name of a setting
    place = {name: i for i, name in enumerate([*METHODS, *SETTINGS])}
    last = len(place)
    return sorted(
        entries, key=lambda e: (place.get(e["method"], last), place.get(e["setting"], last))
    )


class Results:
    """Artefacts of some data sets, models and shots, in the order given, below one results folder.

    Nothing is read before it is asked for, so a table needs only the phases it shows. A missing
    file is a UserError that names the file and the command that makes it.
    """

    def __init__(
        self,
        root: str | Path,
        datasets: Sequence[str],
        models: Sequence[str],
        shots: Sequence[int] = (),
        few_shot: Sequence[str] | None = None,
        features: Sequence[str] = (),
        with_texts: Sequence[str] | None = None,
        left_out: Sequence[str] = (),
        config_file: str = "",
    ) -> None:
        """Show these results, below a folder.

        few_shot: data sets that the few-shot methods ran on; default: all. features: those that are
        features, without images. with_texts: those with texts of their classes, as others have no
        zero-shot methods; default: all. left_out: data sets of the configuration that the run went
        on without, as they are not on this machine. config_file: shown in commands; "" for the
        default file.
        """
        self.option = f" --config {config_file}" if config_file else ""
        self.left_out = tuple(left_out)
        if not datasets or not models:
            raise UserError("no results to show: name at least one data set and one model")
        self.paths = Paths(root)
        self.datasets, self.models = list(datasets), list(models)
        self.shots = sorted(shots)
        self.few_shot = list(datasets if few_shot is None else few_shot)
        self.features = list(features)
        self.with_texts = list(datasets if with_texts is None else with_texts)
        self._json, self._rows = cache(read_json), cache(read_parquet)
        self._hash = cache(lambda path: sha256(present(path)))

    def named(self) -> Results:
        """The same results, but only the data sets with texts of their classes."""
        results = copy(self)
        results.datasets = [d for d in self.datasets if d in self.with_texts]
        return results

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Every (data set, model), data sets outermost."""
        return product(self.datasets, self.models)

    def shots_of(self, dataset: str) -> list[int]:
        """Numbers of shots that a data set ran with, ascending; empty if it is zero-shot only."""
        return self.shots if dataset in self.few_shot else []

    # ---- documents and rows, one method for each phase

    def zero_shot(self, dataset: str, model: str) -> JsonObject:
        """The document of phase zero_shot; without texts, the little of it that evaluation has."""
        if dataset not in self.with_texts:
            evaluation = self.evaluation(dataset, model)
            return {
                **{k: evaluation[k] for k in ("dataset", "model", "images", "classes")},
                **NO_TEXTS,
            }
        return self._beside(self.paths.zero_shot(model, dataset))

    def rerank(self, dataset: str, model: str) -> JsonObject:
        if dataset not in self.with_texts:
            return NO_TEXTS
        return self._beside(self.paths.rerank(model, dataset))

    def adapter(self, dataset: str, model: str, shots: int) -> JsonObject:
        return self._beside(self.paths.adapter(model, dataset, shots))

    def evaluation(self, dataset: str, model: str) -> JsonObject:
        return self._beside(self.paths.evaluation(model, dataset))

    def claims(self) -> JsonObject:
        """The document of all claims: results/claims.json."""
        document: JsonObject = self._json(self.paths.claims)
        return document

    def zero_shot_rows(self, dataset: str, model: str) -> pd.DataFrame:
        return self._rows(self.paths.zero_shot(model, dataset))

    def maps(self, dataset: str, model: str) -> pd.DataFrame:
        """t-SNE coordinates."""
        return self._rows(
            self.paths.evaluation(model, dataset), ("image_id", "label", "features", "x", "y")
        )

    def texts(self, dataset: str) -> JsonObject:
        return self._json(self.paths.texts(dataset))

    def one_to_one_texts(self, dataset: str) -> JsonObject:
        return self._json(self.paths.one_to_one_texts(dataset))

    def manifest(self, dataset: str) -> JsonObject:
        return self._json(self.paths.manifest(dataset))

    def split(self, dataset: str) -> str:
        """The split of a published data set, in words; "own" if there is only one."""
        return str(self.manifest(dataset).get("split", "own"))

    def encoder(self, dataset: str, model: str) -> JsonObject:
        """The encoder of the image features: its name, weights hash, preprocessing (reads a header
        only).
        """
        return dict(
            read_metadata(self.paths.image_features(model, dataset, "test")).get("encoder", {})
        )

    def templates(self, dataset: str) -> JsonObject:
        """Kind of text -> its template or templates (reads a header only)."""
        path = self.paths.text_features(self.models[0], dataset)
        return dict(read_metadata(path).get("templates", {}))

    def unreadable(self, dataset: str) -> dict[str, list[list[str]]]:
        """Split -> (image id, reason) of images that could not be read (reads headers only)."""
        skipped = {}
        for split in ("shots", "val", "test"):
            path = self.paths.image_features(self.models[0], dataset, split)
            if split == "test" or path.is_file():  # a zero-shot data set has no shots
                skipped[split] = list(read_metadata(path).get("skipped", []))
        return {split: images for split, images in skipped.items() if images}

    def _beside(self, rows: Path) -> JsonObject:
        """The document (.json) of a file of rows."""
        document: JsonObject = self._json(rows.with_suffix(".json"))
        return document

    # ---- what is in the documents and rows

    def methods(self, dataset: str, model: str) -> list[JsonObject]:
        """Zero-shot and reranked methods of every setting, as the documents hold them."""
        return [*self.zero_shot(dataset, model)["methods"], *self.rerank(dataset, model)["methods"]]

    def main_methods(self, dataset: str, model: str) -> dict[str, JsonObject]:
        """Method -> its entry in `main_setting`, or in "any" if settings do not matter to it."""
        settings = ("any", self.main_setting)
        return {m["method"]: m for m in self.methods(dataset, model) if m["setting"] in settings}

    def rows_of(self, dataset: str, model: str) -> pd.DataFrame:
        """One row per test image, method (zero-shot or reranked), setting and draw."""
        reranked = self._rows(self.paths.rerank(model, dataset))
        return pd.concat([self.zero_shot_rows(dataset, model), reranked])

    def adapter_rows(self, dataset: str, model: str, shots: int) -> pd.DataFrame:
        """One row for each test image, few-shot method, setting and seed."""
        return self._rows(self.paths.adapter(model, dataset, shots))

    def recommendation(self, dataset: str, model: str) -> Recommendation:
        """The method that validation images recommend."""
        return of_run(self.zero_shot(dataset, model), self.rerank(dataset, model))

    def rivals(self, dataset: str, model: str) -> list[Rival]:
        """The methods that are named beside the recommendation."""
        few_shot = None
        shots = self.shots_of(dataset)
        if shots:
            few_shot = (
                self.adapter(dataset, model, shots[-1]),
                self.adapter_rows(dataset, model, shots[-1]),
            )
        rows = self.rows_of(dataset, model)
        return rivals(self.zero_shot(dataset, model), self.rerank(dataset, model), rows, few_shot)

    def main_rows(self, dataset: str, model: str) -> pd.DataFrame:
        """One row for each test image and method of `main_methods`."""
        rows = self.rows_of(dataset, model)
        return rows[rows["setting"].isin(("any", self.main_setting))]

    def few_shot_rows(self, part: str) -> list[JsonObject]:
        """The entries of few-shot methods, with their data set, model and shots.

        part: ``summary`` or ``runs``.

        Of each document only the setting that is nearest to ``clean``.
        """
        rows = []
        for dataset, model in self:
            for shots in self.shots_of(dataset):
                document = self.adapter(dataset, model, shots)
                setting = self.setting_of(document["summary"])
                place = {"dataset": dataset, "model": model, "shots": shots}
                rows += [
                    {**place, **e} for e in in_order(document[part]) if e["setting"] == setting
                ]
        return rows

    def images(self, dataset: str) -> int:
        """Number of test images."""
        return int(self.zero_shot(dataset, self.models[0])["images"])

    @cached_property
    def main_setting(self) -> str:
        """``clean`` where the run has it, else the setting nearest to it."""
        return self.setting_of(m for place in self for m in self.zero_shot(*place)["methods"])

    @staticmethod
    def setting_of(entries: Iterable[JsonObject]) -> str:
        """``clean``, or the setting nearest to it that some of the entries have."""
        available = {e["setting"] for e in entries}
        # SETTINGS ends with clean, so the last available one is nearest to clean
        return next((s for s in reversed(SETTINGS) if s in available), MAIN_SETTING)

    # ---- why a part of the method has nothing to show in these results ("" if it has)

    def rerank_off(self, dataset: str, model: str) -> str:
        """Why the rerank of `main_setting` changed no image; "" if it compared some with texts."""
        document = self.rerank(dataset, model)
        m = next((m for m in document["methods"] if m["setting"] == self.main_setting), None)
        # the first reason that holds, from the most general one to the most special one
        if not document["pairs_with_texts"]:
            return "no one-to-one texts"
        if m is None or (m["looked_at"] and m["comparisons"]["with_text"]):
            return ""
        if m["looked_at"]:
            return "no one-to-one texts for the classes that are compared"
        if SETTINGS[m["setting"]].rerank_threshold == "validation" and not m["threshold"]:
            return "validation chose threshold 0, which reranks nothing"
        return f"no image is below the threshold {m['threshold']:g}"

    @cached_property
    def no_rerank(self) -> str:
        """Why `main_setting` reranks nothing for any data set and model."""
        reasons = [self.rerank_off(*place) for place in self]
        return "" if "" in reasons else f"the rerank is off: {reasons[0]}"

    @cached_property
    def no_pairs(self) -> str:
        """Why no setting compares classes."""
        documents = [self.rerank(*place) for place in self]
        if not any(d["pairs_with_texts"] for d in documents):
            return "no class pair has one-to-one texts"
        some = any(m["comparisons"]["all"] for d in documents for m in d["methods"])
        return "" if some else "no setting reranks an image"

    @property
    def no_few_shot(self) -> str:
        """Why there are no few-shot results."""
        some = any(self.shots_of(dataset) for dataset in self.datasets)
        return "" if some else "the run has no few-shot methods"

    def vocabulary(self, dataset: str, model: str) -> int:
        """Number of texts of the model's own vocabulary; 0 without one.

        They describe images instead of texts of the classes.
        """
        return int(self.evaluation(dataset, model).get("vocabulary", 0))

    def has_texts(self, dataset: str) -> bool:
        """True if a class has a text besides its name that CODER reads."""
        return any(c.get(kind) for c in self.texts(dataset)["classes"] for kind in BESIDES_NAME)

    @property
    def names_alone(self) -> str:
        """Why there are only names: no class has a text besides its name."""
        some = any(map(self.has_texts, self.datasets))
        return "" if some else "the classes have no texts besides their names"

    @cached_property
    def kind(self) -> str:
        """The kind of data sets: ``published``, your own ``photos``, or ``drawn``."""
        if self.features or any(self.split(d) != "own" for d in self.datasets):
            return "published"
        return "photos" if all(self.manifest(d)["files"] for d in self.datasets) else "drawn"

    # ---- where numbers come from

    def sources(self, phases: Sequence[str]) -> list[ResultFile]:
        """The files of some phases with hash and command, in the order of phases, data sets and
        models.
        """
        files: list[ResultFile] = []
        if "claims" in phases:
            command = self.claims().get("made_by", {}).get("command", "")
            files.append(self.source(self.paths.claims, command))
            phases = [phase for phase in phases if phase != "claims"]
        for phase, (dataset, model) in product(phases, self):
            # classes without texts have no such artefacts
            if phase in ("zero_shot", "rerank") and dataset not in self.with_texts:
                continue
            options = f"--model {model} --dataset {dataset}"
            if phase == "image_features":
                path = self.paths.image_features(model, dataset, "test")
                files.append(self.source(path, f"coder-clip image-features {options} --split test"))
            elif phase == "text_features":
                path = self.paths.text_features(model, dataset)
                files.append(self.source(path, f"coder-clip text-features {options}"))
            else:
                path_of = getattr(self.paths, phase)
                # only the adapter has a file per number of shots
                if phase == "adapter":
                    paths = [path_of(model, dataset, n) for n in self.shots_of(dataset)]
                else:
                    paths = [path_of(model, dataset)]
                for rows in paths:
                    command = self._beside(rows).get("made_by", {}).get("command", "")
                    files += [self.source(p, command) for p in (rows.with_suffix(".json"), rows)]
        return files

    def source(self, path: Path, command: str) -> ResultFile:
        """A file and the command that makes it ("" if unknown).

        The path is shown from the results folder on, so that it is the same on every machine.
        """
        shown = (Path(self.paths.root.name) / path.relative_to(self.paths.root)).as_posix()
        if command:
            command += self.option
        return ResultFile(shown, self._hash(path), command)
