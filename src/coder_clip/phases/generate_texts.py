"""Phase generate_texts: texts that sources make (`coder_clip.texts.sources`), where no file holds
them.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator
from itertools import combinations, islice
from typing import TYPE_CHECKING, Any

from ..datasets import PUBLISHED, load_dataset, load_templates
from ..datasets.entry import entry
from ..foundation.artifacts import Paths, read_json, write_json
from ..texts.sentences import spaces
from ..texts.sets import ClassTexts, TextSet
from ..texts.sources import Asked, Task, check_source, module_of
from .manifest import read_classes

if TYPE_CHECKING:
    from ..encoders.encoder import Encoder
    from ..pipeline.config import Config

log = logging.getLogger("coder_clip")


def run(config: Config, dataset: str) -> None:
    """Write ``texts/generated/{dataset}.json``: a text set with the kinds that are made, and
    nothing else.

    UserError if a source cannot make them (`coder_clip.texts.sources`); what it needs is checked
    before any source loads weights or sends a request that costs money.
    """
    # One task per source, with all its kinds: a source loads its weights or reads its stored
    # answers once.
    made_by = config.datasets[dataset].generated(dataset)  # kind -> source
    classes = [spaces(name) for name in read_classes(config, dataset)]
    tasks = {
        source: task(
            config, dataset, classes, tuple(kind for kind, s in made_by.items() if s == source)
        )
        for source in dict.fromkeys(made_by.values())
    }
    for source, of_source in tasks.items():
        check_source(source, of_source)
    made = {
        kind: of for source, t in tasks.items() for kind, of in module_of(source).make(t).items()
    }
    entries: list[dict[str, Any]] = [{"name": name} for name in classes]
    # from texts per kind to texts per class
    for kind, of in made.items():
        for of_class, texts_of_class in zip(entries, of.texts, strict=True):
            of_class[kind] = texts_of_class
    texts = TextSet(
        dataset=dataset,
        classes=[ClassTexts(**of_class) for of_class in entries],
        provenance={kind: of.note for kind, of in made.items()},
    )
    write_json(Paths(config.results).generated_texts(dataset), texts.dump())


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
    """What these data sets would ask of the language model: before anything is asked, without a
    key.
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
        pairs, known = (
            _pairs(config, name, len(classes), generator.max_pairs) if pairs_too else (None, True)
        )
        yield Asked(task(config, name, classes, kinds), pairs, known)


def _classes(config: Config, name: str) -> list[str]:
    """Class names from the manifest, if there is one, or a published data set's entry; no images
    are needed.
    """
    manifest = Paths(config.results).manifest(name)
    if manifest.is_file():
        return list(read_json(manifest)["classes"])
    if config.datasets[name].root is None and name in PUBLISHED:
        return entry(name).class_names()
    return list(load_dataset(name, config.datasets[name]).classes)


def _pairs(
    config: Config, name: str, classes: int, most: int | None
) -> tuple[list[tuple[int, int]], bool]:
    """Pairs to ask for, and True if stage one confuses them; before stage one, as many pairs as
    possible.
    """
    path = Paths(config.results).confusable_pairs(name)
    if path.is_file():
        return [(p["a"], p["b"]) for p in read_json(path)["pairs"]][:most], True
    return list(islice(combinations(range(classes), 2), most)), False


def _encoder(config: Config, model: str) -> Encoder:
    """Load an encoder that compares names; imported only here, because most sources need none."""
    from .common import use_threads
    from .encoder import encoder_of

    use_threads(config)
    return encoder_of(config, model)
