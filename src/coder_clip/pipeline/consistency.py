"""Checks of a configuration's values against each other and against known names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets import BUILTIN, PUBLISHED, nearest_dataset
from ..datasets.entry import entry
from ..encoders import families
from ..errors import UserError, nearest, one_line
from ..texts.kinds import KINDS
from .sections import MANY_TEMPLATES, ONE_TEMPLATE, DatasetConfig, ModelConfig

if TYPE_CHECKING:
    from .document import Document

LONGEST = 100  # letters of a name: file systems take 255 bytes, with what is added to it


def problems(config: Document, root: Path) -> Iterator[str]:
    """Yield all problems: one line each, with the key, what is wrong and what to do.

    root: folder at which relative paths start.
    """
    # Rules that types cannot express, because they hold between keys or within a list. `Config`
    # reports the first problem only, so the basic ones come first.
    for kind, names in (("datasets", config.datasets), ("models", config.models)):
        if not names:
            yield f"{kind}: name at least one"
        for name in names:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                yield f"{kind}.{name}: use letters, digits, '.', '_' and '-' (it names folders)"
            if len(name) > LONGEST:
                yield f"{kind}.{one_line(name, 40)}: use at most {LONGEST} letters"
    for name, dataset in config.datasets.items():
        yield from _dataset_problems(name, dataset, root)
        yield from _template_problems(name, dataset)
    for name, model in config.models.items():
        yield from _model_problems(name, model, root)
    yield from _text_list_problems(config)
    yield from _generator_problems(config)
    a = config.adapter
    lists: dict[str, list[Any]] = {
        "adapter.methods": a.methods,
        "adapter.shots": a.shots,
        "adapter.seeds": a.seeds,
        "settings": [*config.settings],
    }
    for key, values in lists.items():
        if not values or len(set(values)) != len(values):
            yield f"{key}: give at least one value, and each only once"
    for key, (low, high, _) in (("betas", a.betas), ("alphas", a.alphas)):
        if low > high:
            yield f"adapter.{key}: from {low:g} to {high:g} is falling; put the larger value second"


def _dataset_problems(name: str, dataset: DatasetConfig, root: Path) -> Iterator[str]:
    """Problems of one data set: its name, and keys that its form does not allow."""
    if dataset.features is not None:
        yield from _features_problems(name, dataset, root)
    elif dataset.root is None and name not in BUILTIN:
        yield (
            f"datasets.{name}: not a built-in data set{nearest_dataset(name)}; your own needs "
            "'root'"
        )
    if dataset.split is not None:
        if dataset.root is not None or name not in PUBLISHED:
            yield f"datasets.{name}.split: only for published data sets; leave it out"
        else:
            try:
                entry(name).only(dataset.split)
            except UserError as error:
                yield f"datasets.{name}.split: {error}"
    if dataset.root is None and dataset.features is None and dataset.classes is not None:
        yield f"datasets.{name}.classes: only for a folder of your own ('root'); leave it out"
    if dataset.root is None and dataset.corrections is not None:
        yield (
            f"datasets.{name}.corrections: only for a folder of your own ('root'); the labels of a "
            "built-in data set stay as they are, so that numbers can be compared"
        )
    elif dataset.corrections is not None and not (root / dataset.corrections).is_file():
        yield (
            f"datasets.{name}.corrections: no file {dataset.corrections}; correct the path, or "
            "leave the key out"
        )
    yield from _file_problems(name, dataset, root)
    if dataset.pair_text_source and dataset.one_to_one is not None:
        yield f"datasets.{name}: one_to_one is given twice, here and in 'texts'; keep one of them"


def _file_problems(name: str, dataset: DatasetConfig, root: Path) -> Iterator[str]:
    """Problems of the files of groups and splits of a data set."""
    own = dataset.root is not None or dataset.features is not None
    if dataset.groups is not None and not own:
        yield f"datasets.{name}.groups: only for 'root' or 'features'; leave it out"
    elif dataset.groups is not None and not (root / dataset.groups).is_file():
        yield f"datasets.{name}.groups: no file {dataset.groups}; correct the path"
    if dataset.split_file is not None and dataset.features is None:
        yield f"datasets.{name}.split_file: only for 'features'; leave it out"
    elif dataset.split_file is not None and not (root / dataset.split_file).is_file():
        yield f"datasets.{name}.split_file: no file {dataset.split_file}; correct the path"


def _features_problems(name: str, dataset: DatasetConfig, root: Path) -> Iterator[str]:
    """Problems of a data set with a folder of features."""
    if dataset.root is not None:
        yield f"datasets.{name}: 'root' and 'features' are given; keep one of them"
    if not (root / dataset.features).is_dir():  # type: ignore[operator]
        yield f"datasets.{name}.features: no folder {dataset.features}; correct the path"
    if dataset.classes is None and name not in PUBLISHED:
        yield (
            f"datasets.{name}.classes: name the classes in label order, because '{name}' is not a "
            "published data set"
        )


def _text_list_problems(config: Document) -> Iterator[str]:
    """A problem if a model that brings its texts as features meets a data set of images."""
    lists = [name for name, model in config.models.items() if not families.encodes(model.model)]
    images = [name for name in config.datasets if not config.of_features(name)]
    if lists and images:
        yield (
            f"models.{lists[0]} has features of texts and encodes no images; leave out "
            f"'{images[0]}', or name its folder of features"
        )


def _template_problems(name: str, dataset: DatasetConfig) -> Iterator[str]:
    """Problems of the templates of one data set."""
    for key, sentences in dataset.templates.items():
        where = f"datasets.{name}.templates.{key}"
        if key not in ONE_TEMPLATE + MANY_TEMPLATES:
            yield f"{where}: unknown template{nearest(key, ONE_TEMPLATE + MANY_TEMPLATES)}"
        if sentences == [] or (isinstance(sentences, list) and key in ONE_TEMPLATE):
            many = "one sentence, not a list"
            if key in MANY_TEMPLATES:
                many = "one sentence or a list"
            yield f"{where}: give {many}"
        # {class} always; a template of a kind of text also has a field for the text
        fields = ["class"]
        if key in KINDS and key != "name":
            fields = sorted([*fields, key])
        for sentence in [sentences] if isinstance(sentences, str) else sentences:
            for field in fields:
                if f"{{{field}}}" not in sentence:
                    yield f"{where}: '{sentence}' lacks {{{field}}}"


def _model_problems(name: str, model: ModelConfig, root: Path) -> Iterator[str]:
    """Problems of one model, as its family finds them."""
    of_family = families.of(model.model).call("problems", model.spec(), root, default=())
    for key, problem in of_family:
        where = f"models.{name}"
        if key:
            where = f"models.{name}.{key}"
        yield f"{where}: {problem}"


def _generator_problems(config: Document) -> Iterator[str]:
    """Problems of texts from a language model: no section ``generator``, or no encoder in it that
    compares analogous classes.
    """
    generator = config.generator
    for name, dataset in config.datasets.items():
        sources = (dataset.pair_text_source, *dataset.generated(name).values())
        if generator is None and "llm" in sources:
            yield (
                f"datasets.{name}.texts: the source 'llm' needs a section 'generator:' "
                "(docs/texts.md)"
            )
    if generator is None:
        return
    if generator.encoder not in (None, *config.models):
        yield (
            f"generator.encoder: no model '{generator.encoder}' "
            f"here{nearest(str(generator.encoder), config.models)}"
        )
    compares = any(d.generated(n).get("analogous") == "llm" for n, d in config.datasets.items())
    if compares and len(config.models) > 1 and generator.encoder is None:
        yield (
            "generator.encoder: name the model that compares analogous classes; if the first one "
            "did, removing it would change all numbers"
        )
