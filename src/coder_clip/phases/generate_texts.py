"""Phase generate_texts: texts that sources make, where no file holds them.

The sources are in `coder_clip.texts.sources`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator
from itertools import combinations, islice
from typing import TYPE_CHECKING

from ..datasets import is_published, load_dataset, load_templates
from ..datasets.entry import entry
from ..foundation.artifacts import Paths, read_classes, read_json, write_json
from ..texts.sentences import spaces
from ..texts.sources import Asked, Made, Task, check_source, module_of, text_set

if TYPE_CHECKING:
    from ..encoders.encoder import Encoder
    from ..pipeline.config import Config

log = logging.getLogger("coder_clip")


def run(config: Config, dataset: str) -> None:
    """Write ``texts/generated/{dataset}.json``: a text set with the kinds that sources make, and no
    other kind.

    UserError if a source cannot make its texts (`coder_clip.texts.sources`); the needs of all
    sources are checked before any of them loads weights or sends a request that costs money.
    """
    # One task per source, with all its kinds: a source loads its weights or reads its stored
    # answers once.
    made_by = config.datasets[dataset].generated(dataset)  # kind -> source
    paths = Paths(config.results)
    classes = [spaces(name) for name in read_classes(paths.manifest(dataset))]
    tasks: dict[str, Task] = {}  # by source
    for source in dict.fromkeys(made_by.values()):
        kinds = tuple(kind for kind, s in made_by.items() if s == source)
        tasks[source] = task(config, dataset, classes, kinds)
    for source, request in tasks.items():
        check_source(source, request)
    made: dict[str, Made] = {}  # by kind
    for source, request in tasks.items():
        made.update(module_of(source).make(request))
    texts = text_set(dataset, classes, made)
    write_json(paths.generated_texts(dataset), texts.dump())


def task(config: Config, dataset: str, classes: list[str], kinds: tuple[str, ...]) -> Task:
    """The request to a source, from the configuration."""
    return Task(
        dataset=dataset,
        classes=classes,
        templates=load_templates(dataset, config.datasets[dataset]),
        kinds=kinds,
        generator=config.generator,
        encoder=functools.cache(functools.partial(_encoder, config)),
        model=config.text_encoder(),
    )


def asked(config: Config, datasets: Iterable[str]) -> Iterator[Asked]:
    """Yield, for each data set, what a run would ask of the language model.

    Nothing is asked, and no API key is needed.
    """
    generator = config.generator
    if generator is None:
        return
    for name in datasets:
        data = config.datasets[name]
        # only kinds from the language model cost requests
        kinds = tuple(kind for kind, source in data.generated(name).items() if source == "llm")
        pairs_too = data.pair_text_source == "llm"
        if not kinds and not pairs_too:
            continue
        classes = _classes(config, name)
        pairs: list[tuple[int, int]] | None = None
        confused = True
        if pairs_too:
            pairs, confused = _pairs(config, name, len(classes), generator.max_pairs)
        yield Asked(task(config, name, classes, kinds), pairs, confused)


def _classes(config: Config, name: str) -> list[str]:
    """Class names from the manifest, else from the entry of a published data set, which need no
    images; else from the data set.
    """
    manifest = Paths(config.results).manifest(name)
    if manifest.is_file():
        return read_classes(manifest)
    if config.datasets[name].root is None and is_published(name):
        return entry(name).class_names()
    return list(load_dataset(name, config.datasets[name]).classes)


def _pairs(
    config: Config, name: str, classes: int, most: int | None
) -> tuple[list[tuple[int, int]], bool]:
    """Pairs of classes to ask for, and True if stage one can confuse these pairs.

    classes: number of classes. most: largest number of pairs, None for all. Before stage one the
    pairs are not known: then the first of all pairs, and False.
    """
    path = Paths(config.results).confusable_pairs(name)
    if path.is_file():
        return [(p["a"], p["b"]) for p in read_json(path)["pairs"]][:most], True
    return list(islice(combinations(range(classes), 2), most)), False


def _encoder(config: Config, model: str) -> Encoder:
    """Load an encoder that compares names; imported only here, because most sources need none."""
    from .common import use_threads
    from .encoder import encoder_of

    use_threads(config.features.threads)
    return encoder_of(config.models[model], config.features)
