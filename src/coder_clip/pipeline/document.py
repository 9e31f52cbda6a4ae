"""The keys of a configuration, and what follows from them without a look at the values together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, field_validator

from ..baselines.methods import MOST_VIEWS, USE_VIEWS
from ..datasets import FEATURE_SETS, WITH_ENTRY, test_alone, zero_shot_only
from ..datasets.entry import entry
from ..encoders import families
from ..encoders.table_list import listed, read_list
from ..errors import nearest
from ..foundation.artifacts import Paths, read_json
from ..foundation.strict import Strict
from ..protocols import DEFAULT_INITIAL, DEFAULT_THRESHOLD, PUBLISHED_INITIAL, PUBLISHED_THRESHOLDS
from ..texts.generator import GeneratorConfig
from ..texts.sources import SOURCES
from .sections import (
    AdapterConfig,
    DatasetConfig,
    EvaluationConfig,
    FeaturesConfig,
    ModelConfig,
    RerankConfig,
)


class Document(Strict):
    """The keys of a configuration, and what follows from them.

    `config.Config` is one whose values fit together.
    """

    # A field with exclude=True changes no result: where files are, and how the work is distributed.

    title: str = "CODER"
    note: str = Field(
        "", description="Shown at the top of the report: what these numbers are evidence of."
    )
    results: Path = Field(Path("results"), exclude=True)
    data_root: Path | None = Field(
        None,
        exclude=True,
        description="Folder of the published data sets; the variable CODER_CLIP_DATA takes "
        "precedence. The folder's path changes no result.",
    )
    only_present: bool = Field(
        False,
        exclude=True,
        description="Skip published data sets if neither all their images nor, in the results, all "
        "their image features are here; the variable CODER_CLIP_ONLY_PRESENT takes precedence.",
    )
    fetch: bool | Literal["strict"] = Field(
        False,
        exclude=True,
        description="Download weights and the published data sets that may be downloaded as part "
        "of a run; 'make reproduce' goes on without a data set that could not be downloaded, and "
        "says so; strict: it stops. The variable CODER_CLIP_FETCH takes precedence.",
    )
    datasets: dict[str, DatasetConfig]
    models: dict[str, ModelConfig]
    settings: list[Literal["as_published", "corrected", "clean"]] = Field(
        ["as_published", "corrected", "clean"]
    )
    features: FeaturesConfig = FeaturesConfig()
    rerank: RerankConfig = RerankConfig()
    adapter: AdapterConfig = AdapterConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    generator: GeneratorConfig | None = None
    _left_out: tuple[str, ...] = PrivateAttr(())
    _file: str = PrivateAttr("")

    @property
    def file(self) -> str:
        """The file that this configuration was read from, as it was named."""
        return self._file

    @property
    def left_out(self) -> tuple[str, ...]:
        """Data sets that are not here and are skipped (only_present)."""
        return self._left_out

    def text_encoder(self) -> str:
        """The model that compares names, for sources whose texts an encoder chooses; by default the
        first one.
        """
        if self.generator and self.generator.encoder:
            return self.generator.encoder
        return next(iter(self.models))

    def compares_names(self, dataset: str) -> bool:
        """True if a source needs an encoder to make texts of the data set."""
        made_by = self.datasets[dataset].generated(dataset)
        return any(kind in SOURCES[source].compares for kind, source in made_by.items())

    def published(self, dataset: str) -> bool:
        """True for a published data set, which is read from the data root."""
        given = self.datasets[dataset]
        return given.root is None and given.features is None and dataset in WITH_ENTRY

    def of_features(self, dataset: str) -> bool:
        """True for a data set of features, which has no images."""
        given = self.datasets[dataset]
        return given.features is not None or (given.root is None and dataset in FEATURE_SETS)

    def class_texts(self, dataset: str) -> bool:
        """False if a model that brings its texts as features has none for the data set."""
        models = [m.model for m in self.models.values() if not families.encodes(m.model)]
        lists = [read_list(listed(model)) for model in models]
        return all(tables.name(dataset) for tables in lists)

    def part(self, dataset: str) -> bool:
        """True for features of some classes of another data set of the run.

        Results that the other data set has already, such as comparisons of neighbours, are not made
        again.
        """
        return dataset in FEATURE_SETS and self.published(dataset) and entry(dataset).part

    def published_name(self, dataset: str) -> str:
        """The data set under which methods publish their settings; for published features, the data
        set of their images.
        """
        of_images = entry(dataset).of if self.published(dataset) else None
        return of_images or dataset

    def has_val(self, dataset: str) -> bool:
        """True if the data set has validation images, without which the clean setting keeps the
        defaults.

        For a folder, the folder itself says so, or, if it is not on this machine (results were
        pulled), the manifest.
        """
        root = self.datasets[dataset].root
        if root is None:
            return not zero_shot_only(dataset, self.datasets[dataset].split)
        listed = Paths(self.results).manifest(dataset)
        if not root.is_dir() and listed.is_file():
            return "val" in read_json(listed)["images"]
        return not test_alone(root)

    def few_shot(self, dataset: str) -> bool:
        """True if the few-shot methods run on the data set."""
        return self.datasets[dataset].few_shot and self.has_val(dataset)

    def others(self, dataset: str) -> list[str]:
        """The other data sets with validation images, which have other images; no parts."""
        images = self.published_name(dataset)
        return [
            other
            for other in self.datasets
            if other != dataset
            and self.has_val(other)
            and not self.part(other)
            and self.published_name(other) != images
        ]

    def encoded(self, dataset: str) -> list[str]:
        """The splits of the data set that are encoded: those of shots, val and test in use."""
        splits = []
        if self.few_shot(dataset):
            splits.append("shots")
        if self.has_val(dataset):
            splits.append("val")
        return [*splits, "test"]

    def threshold(self, dataset: str) -> float:
        """Rerank gate of the published settings."""
        configured = self.datasets[dataset].threshold
        if configured is not None:
            return configured
        return PUBLISHED_THRESHOLDS.get(self.published_name(dataset), DEFAULT_THRESHOLD)

    def widest_threshold(self, dataset: str) -> float:
        """The widest gate of all settings and figures.

        It decides which pairs stage two can compare.
        """
        return max(self.threshold(dataset), *self.rerank.thresholds)

    def views_stored(self, dataset: str) -> int:
        """Number of augmented views per shot to keep one by one: all, up to MOST_VIEWS, if a method
        needs them; else 0.
        """
        need_views = set(USE_VIEWS) & set(self.adapter.methods)
        if not need_views:
            return 0
        return min(self.datasets[dataset].views, MOST_VIEWS)

    def most_shots(self) -> int:
        """The largest number of shots."""
        return max(self.adapter.shots)

    def first_seed(self) -> int:
        """The seed whose shots the phase evaluation uses."""
        return self.adapter.seeds[0]

    def has_shots(self, shots: str) -> bool:
        """True if the few-shot methods run with this number of shots."""
        return shots in map(str, self.adapter.shots)

    def initial(self, dataset: str) -> tuple[float, float]:
        """The adapters' (alpha, beta) before the search."""
        return self.adapter.initial or PUBLISHED_INITIAL.get(
            self.published_name(dataset), DEFAULT_INITIAL
        )

    @field_validator("datasets", mode="before")
    @classmethod
    def _datasets(cls, value: Any) -> Any:
        return _by_name("datasets", value)

    @field_validator("models", mode="before")
    @classmethod
    def _models(cls, value: Any) -> Any:
        """Models by name; 'mini' alone needs no values."""
        value = _by_name("models", value)
        if not isinstance(value, dict):
            return value
        # the embedded model needs no values: its weights are in the repository
        if value.get("mini") == {}:
            value["mini"] = {"model": "local-dir:data/mini", "precision": "fp64"}
        for name, model in value.items():
            if model == {}:
                raise ValueError(
                    f"models.{name}.model is missing; name the encoder ({families.names()}); only "
                    f"'mini' needs none{nearest(str(name), ['mini'], listed=False)}"
                )
        return value


def _by_name(key: str, value: Any) -> Any:
    """Turn a list of names into a mapping, and names without a value into empty mappings."""
    if isinstance(value, dict):
        return {k: {} if v is None else v for k, v in value.items()}
    if not isinstance(value, list):
        return value
    for name in value:
        if not isinstance(name, str):
            raise ValueError(
                f"{key}: {name!r} in the list is not a name; to give values, write 'name: {{…}}' "
                "without a dash"
            )
    if len(set(value)) != len(value):
        twice = next(name for name in value if value.count(name) > 1)
        raise ValueError(f"{key}: '{twice}' is listed twice; list it once")
    return {name: {} for name in value}
