"""The configuration, which the Snakefile and the command line read in the same way.

A YAML file becomes a typed `Config`. Unknown keys, data sets and models and impossible values are reported in one
line before any job starts. `coder-clip schema` prints the JSON schema for editors.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ..baselines.methods import MOST_VIEWS, USE_VIEWS
from ..datasets import FEATURE_SETS, WITH_ENTRY, test_alone, zero_shot_only
from ..datasets.entry import entry
from ..encoders.table_list import is_list, listed, read_list
from ..errors import UserError, nearest
from ..foundation import evidence
from ..foundation.artifacts import Paths, read_json
from ..foundation.reads import NO_RESULT, derived
from ..foundation.strict import Strict, explained
from ..protocols import DEFAULT_INITIAL, DEFAULT_THRESHOLD, PUBLISHED_INITIAL, PUBLISHED_THRESHOLDS
from ..texts.sources import SOURCES
from .consistency import open_clip_names as open_clip_names
from .consistency import problems
from .generator import GeneratorConfig as GeneratorConfig
from .generator import Prices as Prices
from .sections import (
    AdapterConfig,
    EvaluationConfig,
    FeaturesConfig,
    ModelConfig,
)
from .sections import DatasetConfig as DatasetConfig
from .sections import RerankConfig as RerankConfig
from .yaml_file import read_yaml

ONLY_PRESENT = "CODER_CLIP_ONLY_PRESENT"  # environment variable that comes before the key only_present
FETCH = "CODER_CLIP_FETCH"  # the same for the key fetch
LEFT_OUT = "CODER_CLIP_LEFT_OUT"  # for a run's jobs: what its plan left out, so that they need not look again


class Config(Strict):
    """All settings of a run."""

    # A job that reads a key, or calls a derived method, runs again when that value changes (foundation/reads.py).

    title: str = "CODER"
    note: str = Field("", description="Shown at the top of the report: what these numbers are evidence of.")
    results: Annotated[Path, NO_RESULT] = Path("results")
    data_root: Annotated[Path | None, NO_RESULT] = Field(
        None,
        description="Folder of the published data sets; the variable CODER_CLIP_DATA takes precedence. "
        "The folder's path changes no result.",
    )
    only_present: Annotated[bool, NO_RESULT] = Field(
        False,
        description="Skip published data sets if neither all their images nor, in the results, all their image "
        "features are here; CODER_CLIP_ONLY_PRESENT and --config only_present=true take precedence.",
    )
    fetch: Annotated[bool | Literal["strict"], NO_RESULT] = Field(
        False,
        description="Download weights and the published data sets that may be downloaded as part of a run; "
        "'make reproduce' goes on without a data set that could not be downloaded, and says so; strict: it stops. "
        "CODER_CLIP_FETCH and --config fetch=true come first.",
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

    @property
    @derived
    def left_out(self) -> tuple[str, ...]:
        """Data sets that are not here and are skipped (only_present)."""
        return self._left_out

    @derived
    def text_encoder(self) -> str:
        """The model that compares names, for sources whose texts an encoder chooses."""
        return (self.generator and self.generator.encoder) or next(iter(self.models))

    @derived
    def compares_names(self, dataset: str) -> bool:
        """True if making the texts of the data set takes an encoder."""
        made_by = self.datasets[dataset].generated(dataset)
        return any(kind in SOURCES[source].compares for kind, source in made_by.items())

    @derived
    def published(self, dataset: str) -> bool:
        """True for a published data set, which is read from the data root."""
        given = self.datasets[dataset]
        return given.root is None and given.features is None and dataset in WITH_ENTRY

    @derived
    def of_features(self, dataset: str) -> bool:
        """True for a data set of features, which has no images."""
        given = self.datasets[dataset]
        return given.features is not None or (given.root is None and dataset in FEATURE_SETS)

    @derived
    def class_texts(self, dataset: str) -> bool:
        """False if a model brings its texts as features, and has none for the classes of the data set."""
        lists = [read_list(listed(m.model)) for m in self.models.values() if is_list(m.model)]
        return all(tables.name(dataset) for tables in lists)

    @derived
    def part(self, dataset: str) -> bool:
        """True for features of some classes of another data set of the run, whose neighbours are not compared again."""
        return dataset in FEATURE_SETS and self.published(dataset) and entry(dataset).part

    @derived
    def published_name(self, dataset: str) -> str:
        """The data set under which methods publish their settings: for features, that of the images."""
        return (self.published(dataset) and entry(dataset).of) or dataset

    @derived
    def has_val(self, dataset: str) -> bool:
        """True if the data set has validation images; without them the clean setting keeps the defaults.

        A folder is asked, or, where it is not here (results were pulled), the run's list of its images.
        """
        if (root := self.datasets[dataset].root) is None:
            return not zero_shot_only(dataset, self.datasets[dataset].split)
        listed = Paths(self.results).manifest(dataset)
        if not root.is_dir() and listed.is_file():
            return "val" in read_json(listed)["images"]
        return not test_alone(root)

    @derived
    def few_shot(self, dataset: str) -> bool:
        """True if the few-shot methods run on the data set."""
        return self.datasets[dataset].few_shot and self.has_val(dataset)

    @derived
    def encoded(self, dataset: str) -> list[str]:
        """The splits of the data set that are encoded: shots, val, test, if something needs them."""
        return ["shots"] * self.few_shot(dataset) + ["val"] * self.has_val(dataset) + ["test"]

    @derived
    def listing(self, dataset: str) -> str | None:
        """Cheap fingerprint of the images of the data set (pipeline/listing.py)."""
        from .listing import listing  # only the job that lists images executes it

        return listing(self, dataset)

    @derived
    def threshold(self, dataset: str) -> float:
        """Rerank gate of the published settings."""
        configured = self.datasets[dataset].threshold
        return (
            PUBLISHED_THRESHOLDS.get(self.published_name(dataset), DEFAULT_THRESHOLD)
            if configured is None
            else configured
        )

    @derived
    def widest_threshold(self, dataset: str) -> float:
        """The widest gate of all settings and figures: it decides which pairs stage two can compare."""
        return max(self.threshold(dataset), *self.rerank.thresholds)

    @derived
    def views_stored(self, dataset: str) -> int:
        """Number of augmented views per shot to keep one by one: all, up to MOST_VIEWS, if a method needs them."""
        needed = set(USE_VIEWS) & set(self.adapter.methods)
        return min(self.datasets[dataset].views, MOST_VIEWS) if needed else 0

    @derived
    def most_shots(self) -> int:
        """The largest number of shots."""
        return max(self.adapter.shots)

    @derived
    def first_seed(self) -> int:
        """The seed whose shots the evaluation compares images by."""
        return self.adapter.seeds[0]

    @derived
    def has_shots(self, shots: str) -> bool:
        """True if the few-shot methods run with this number of shots."""
        return shots in map(str, self.adapter.shots)

    @derived
    def initial(self, dataset: str) -> tuple[float, float]:
        """The adapters' (alpha, beta) before the search."""
        return self.adapter.initial or PUBLISHED_INITIAL.get(self.published_name(dataset), DEFAULT_INITIAL)

    @field_validator("datasets", mode="before")
    @classmethod
    def _datasets(cls, value: Any) -> Any:
        return _by_name("datasets", value)

    @field_validator("models", mode="before")
    @classmethod
    def _models(cls, value: Any) -> Any:
        value = _by_name("models", value)
        if not isinstance(value, dict):
            return value
        if value.get("mini") == {}:
            value["mini"] = {"model": "local-dir:data/mini", "precision": "fp64"}
        for name, model in value.items():
            if model == {}:
                raise ValueError(
                    f"models.{name}.model is missing; name the encoder (open_clip name, hf-hub:… or local-dir:…); "
                    f"only 'mini' needs none{nearest(str(name), ['mini'], listed=False)}"
                )
        return value

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Config:
        for problem in problems(self, info.context or Path()):
            raise ValueError(problem)
        return self

    def at(self, root: Path) -> Config:
        """The same settings with absolute paths of results, images and their lists; relative ones start at ``root``."""

        def absolute(path: Path | None) -> Path | None:
            return path and (root / path.expanduser()).resolve()

        keys = ("root", "features", "corrections")
        datasets = {
            name: d.model_copy(update={key: absolute(getattr(d, key)) for key in keys})
            for name, d in self.datasets.items()
        }
        paths = {"results": absolute(self.results), "data_root": absolute(self.data_root)}
        return self.model_copy(update={**paths, "datasets": datasets})


def _by_name(key: str, value: Any) -> Any:
    """Turn a list of names into a mapping, and names without a value into empty mappings."""
    if isinstance(value, dict):
        return {k: {} if v is None else v for k, v in value.items()}
    if not isinstance(value, list):
        return value
    for name in value:
        if not isinstance(name, str):
            raise ValueError(
                f"{key}: {name!r} in the list is not a name; to give values, write 'name: {{…}}' without a dash"
            )
    if len(set(value)) != len(value):
        twice = next(name for name in value if value.count(name) > 1)
        raise ValueError(f"{key}: '{twice}' is listed twice; list it once")
    return {name: {} for name in value}


def existing_file(path: str | Path) -> Path:
    """The path of a configuration file; UserError if there is none, with those that are here."""
    path = Path(path)
    if path.is_file():
        return path
    files = ", ".join(sorted(str(p) for p in Path("config").glob("*.yaml")))
    advice = (
        f" (there are: {files})" if files else "; go to the folder of the Snakefile, or use --config FILE"
    )
    raise UserError(f"no configuration file {path}{advice}")


def load_config(path: str | Path, absent: bool = False, root: Path | None = None) -> Config:
    """Read and check a configuration file. absent: keep data sets that are not here, even with only_present. root: the
    folder that its paths start at, by default the working directory; they become absolute.

    In the process of a job it is the one that the job began with, whatever the file holds now. UserError, in one line,
    for a missing file, invalid YAML, unknown keys and impossible values.
    """
    if evidence.config is not None:
        return evidence.config  # type: ignore[no-any-return]
    path = existing_file(path)
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise UserError(f"{path} must hold 'datasets:', 'models:' and so on (see config/reproduce.yaml)")
    try:
        config = Config.model_validate(document, context=root)
    except ValidationError as error:
        raise UserError(f"{path}: {explained(error.errors(), Config)}") from error
    if root is not None:
        config = config.at(root)
    if fetch := os.environ.get(FETCH):
        config = config.model_copy(
            update={"fetch": "strict" if fetch == "strict" else switched(FETCH, fetch)}
        )
    variable = os.environ.get(ONLY_PRESENT)
    only_present = switched(ONLY_PRESENT, variable) if variable else config.only_present
    return _present(config, path) if only_present and not absent else config


def known_folders(config: Config) -> list[Path]:
    """Folders whose files are known in other ways: images by the list of a data set, answers by their requests."""
    folders = [dataset.root for dataset in config.datasets.values()]
    folders.append(config.data_root)
    if config.generator:
        folders.append(config.generator.answers)
    if data := os.environ.get("CODER_CLIP_DATA"):
        folders.append(Path(data))
    return [folder.expanduser() for folder in folders if folder]


def switched(name: str, value: str) -> bool:
    """Parse the value of a variable or argument that switches something on or off. UserError for other values."""
    if value.lower() in ("1", "true", "yes", "on"):
        return True
    if value.lower() in ("0", "false", "no", "off", ""):
        return False
    raise UserError(f"{name}: '{value}' is neither true (1, yes, on) nor false (0, no, off)")


def _present(config: Config, path: Path) -> Config:
    """The configuration without the published data sets that are not here and will not be fetched.

    UserError if none is left.
    """
    # needed only with only_present; the imports would slow down every start
    from ..datasets.published import data_root
    from .absent import absent_data, to_download

    if (known := os.environ.get(LEFT_OUT)) is not None:
        absent = [name for name in config.datasets if name in known.split(",")]
    else:
        downloaded = to_download(config)
        skip = config.features.on_error == "skip"  # a run goes on without single images
        absent = [name for name in absent_data(config, whole=True, skip=skip) if name not in downloaded]
    here = {name: dataset for name, dataset in config.datasets.items() if name not in absent}
    if not here:
        root = data_root(config.data_root)
        raise UserError(
            f"{path}: none of its data sets is in {root} with all of its images; "
            f"'coder-clip data check --config {path}' says what is missing and how to get it"
        )
    present = config.model_copy(update={"datasets": here})
    present._left_out = tuple(absent)
    return present


def schema() -> dict[str, Any]:
    """JSON schema of the configuration file, with the shorthand lists that `load_config` takes."""
    document = Config.model_json_schema()
    for key in ("datasets", "models"):
        table = document["properties"].pop(key)
        names = {"type": "array", "items": {"type": "string"}}
        table["additionalProperties"] = {"anyOf": [table["additionalProperties"], {"type": "null"}]}
        document["properties"][key] = {"anyOf": [table, names]}
    return document
