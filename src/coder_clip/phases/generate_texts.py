"""Phase generate_texts: texts that sources make (`coder_clip.texts.sources`), where no file holds them."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from ..datasets import load_templates
from ..foundation.artifacts import Paths, write_json
from ..texts.sentences import spaces
from ..texts.sets import ClassTexts, TextSet
from ..texts.sources import Task, check_source, module_of
from .manifest import read_classes

if TYPE_CHECKING:
    from ..encoders.encoder import Encoder
    from ..pipeline.config import Config

log = logging.getLogger("coder_clip")


def run(config: Config, dataset: str) -> None:
    """Write ``texts/generated/{dataset}.json``: a text set with the kinds that are made, and nothing else.

    UserError if a source cannot make them (`coder_clip.texts.sources`); what it needs is checked before any source
    loads weights or sends a request that costs money.
    """
    # One task per source, with all its kinds: a source loads its weights or reads its stored answers once.
    made_by = config.datasets[dataset].generated(dataset)  # kind -> source
    classes = [spaces(name) for name in read_classes(config, dataset)]
    tasks = {
        source: task(config, dataset, classes, tuple(kind for kind, s in made_by.items() if s == source))
        for source in dict.fromkeys(made_by.values())
    }
    for source, asked in tasks.items():
        check_source(source, asked)
    made = {kind: of for source, asked in tasks.items() for kind, of in module_of(source).make(asked).items()}
    entries: list[dict[str, Any]] = [{"name": name} for name in classes]
    for kind, of in made.items():
        for i, entry in enumerate(entries):
            entry[kind] = of.texts[i]
    texts = TextSet(
        dataset=dataset,
        classes=[ClassTexts(**entry) for entry in entries],
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


def _encoder(config: Config, model: str) -> Encoder:
    """Load an encoder that compares names; imported only here, because most sources need none."""
    from .common import use_threads
    from .encoder import encoder_of

    use_threads(config)
    return encoder_of(config, model)
