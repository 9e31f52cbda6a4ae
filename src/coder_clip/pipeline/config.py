"""The configuration, which the Snakefile and the command line read in the same way.

A YAML file becomes a typed `Config`. Unknown keys, data sets and models and impossible values are
reported in one line before any job starts. `coder-clip schema` prints the JSON schema for editors.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import (
    ValidationError,
    ValidationInfo,
    model_validator,
)

from ..datasets import image_folder
from ..errors import UserError
from ..foundation.strict import explained
from ..foundation.yaml_file import read_yaml
from ..texts.generator import GeneratorConfig as GeneratorConfig
from ..texts.generator import Prices as Prices
from .consistency import problems
from .document import Document
from .results_folder import refuse_misplaced
from .sections import DatasetConfig as DatasetConfig
from .sections import RerankConfig as RerankConfig

# key -> environment variable that comes before it, for one run
SWITCHES = {"only_present": "CODER_CLIP_ONLY_PRESENT", "fetch": "CODER_CLIP_FETCH"}
# data sets that the plan of a run left out, so that its jobs need not look again
LEFT_OUT = "CODER_CLIP_LEFT_OUT"
SEEDS_OF_FEATURES = 10  # default number of seeds where every data set is of features


class Config(Document):
    """All settings of a run."""

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Config:
        for problem in problems(self, info.context or Path()):
            raise ValueError(problem)
        return self

    def at(self, root: Path) -> Config:
        """The same settings with absolute paths of results, images and their lists.

        Relative ones start at ``root``.
        """

        def absolute(path: Path | None) -> Path | None:
            """The absolute path; None stays None."""
            return path and (root / path.expanduser()).resolve()

        keys = ("root", "features", "corrections", "groups", "split_file")
        datasets = {
            name: d.model_copy(update={key: absolute(getattr(d, key)) for key in keys})
            for name, d in self.datasets.items()
        }
        paths = {"results": absolute(self.results), "data_root": absolute(self.data_root)}
        return self.model_copy(update={**paths, "datasets": datasets})


def existing_file(path: str | Path) -> Path:
    """The path of a configuration file.

    UserError if there is no such file, with the names of the files in config/.
    """
    path = Path(path)
    # Path.is_file raises for names that are too long
    if os.path.isfile(path):
        return path
    files = ", ".join(sorted(str(p) for p in Path("config").glob("*.yaml")))
    advice = "; go to the folder of the Snakefile, or use --config FILE"
    if files:
        advice = f" (there are: {files})"
    raise UserError(f"no configuration file {path}{advice}")


def load_config(path: str | Path, absent: bool = False, root: Path | None = None) -> Config:
    """Read and check a configuration file.

    absent: keep data sets that are not here, even with only_present. root: the folder at which
    relative paths in the file start; these paths become absolute. Default: the working directory,
    and paths stay as they are.

    UserError, in one line, for a missing file, invalid YAML, unknown keys, impossible values and
    another results folder than `results` or `results/NAME`.
    """
    path = existing_file(path)
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise UserError(
            f"{path} must hold 'datasets:', 'models:' and so on (see config/reproduce.yaml)"
        )
    try:
        config = Config.model_validate(document, context=root)
    except ValidationError as error:
        raise UserError(f"{path}: {explained(error.errors(), Config)}") from error
    refuse_misplaced(config.results, path)
    config = _with_default_seeds(config)
    config._file = path.as_posix()
    if root is not None:
        config = config.at(root)
    given = {key: os.environ.get(variable) for key, variable in SWITCHES.items()}
    switches = {key: _switched(key, value) for key, value in given.items() if value}
    config = config.model_copy(update=switches)
    if config.only_present and not absent:
        return _present(config, path)
    return config


def _with_default_seeds(config: Config) -> Config:
    """The configuration with SEEDS_OF_FEATURES seeds, if it names none and has features alone.

    Three seeds seldom give a verdict that survives a correction for many tests; ten do, and cost
    little where a shot is a row of a file and not a photo to encode.
    """
    named = "seeds" in config.adapter.model_fields_set
    if named or not all(config.of_features(dataset) for dataset in config.datasets):
        return config
    seeds = list(range(1, SEEDS_OF_FEATURES + 1))
    adapter = config.adapter.model_copy(update={"seeds": seeds})
    return config.model_copy(update={"adapter": adapter})


def known_folders(config: Config) -> list[Path]:
    """Folders whose files a job's certificate need not note.

    Images are known by the list of their data set, answers by their requests.
    """
    folders = [image_folder(name, dataset) for name, dataset in config.datasets.items()]
    folders.append(config.data_root)
    if config.generator:
        folders.append(config.generator.answers)
    data = os.environ.get("CODER_CLIP_DATA")
    if data:
        folders.append(Path(data))
    return [folder.expanduser() for folder in folders if folder]


def _switched(key: str, value: str) -> bool | str:
    """Parse the value of a switch's environment variable. UserError for other values."""
    if (key, value) == ("fetch", "strict"):
        return value
    if value.lower() in ("1", "true", "yes", "on"):
        return True
    if value.lower() in ("0", "false", "no", "off"):
        return False
    raise UserError(
        f"{SWITCHES[key]}: '{value}' is neither true (1, yes, on) nor false (0, no, off)"
    )


def _present(config: Config, path: Path) -> Config:
    """The configuration without the published data sets that are not here and will not be fetched;
    UserError if none is left.
    """
    # needed only with only_present; the imports would slow down every start
    from ..datasets.published import data_root
    from .absent import absent_data, to_download

    # jobs keep to the plan: a data set that appears during the run stays out
    left_out = os.environ.get(LEFT_OUT)
    if left_out is not None:
        absent = [name for name in config.datasets if name in left_out.split(",")]
    else:
        downloaded = to_download(config)
        skip = config.features.on_error == "skip"  # a run goes on without single images
        absent = [
            name for name in absent_data(config, whole=True, skip=skip) if name not in downloaded
        ]
    datasets = {name: dataset for name, dataset in config.datasets.items() if name not in absent}
    if not datasets:
        root = data_root(config.data_root)
        raise UserError(
            f"{path}: none of its data sets is in {root} with all of its images; 'coder-clip data "
            f"check --config {path}' says what is missing and how to get it"
        )
    present = config.model_copy(update={"datasets": datasets})
    present._left_out = tuple(absent)
    return present


def schema() -> dict[str, Any]:
    """JSON schema of the configuration file, with the shorthand lists that `load_config` takes."""
    document = Config.model_json_schema()
    # `_by_name` also takes a list of names, and names without values
    for key in ("datasets", "models"):
        table = document["properties"].pop(key)
        names = {"type": "array", "items": {"type": "string"}}
        table["additionalProperties"] = {"anyOf": [table["additionalProperties"], {"type": "null"}]}
        document["properties"][key] = {"anyOf": [table, names]}
    return document
