"""Phase generate_texts: texts that sources make, where no file holds them.

The sources are in `coder_clip.texts.sources`.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.base import Templates
from ..foundation.artifacts import read_classes, write_json
from ..texts.generator import GeneratorConfig
from ..texts.sentences import spaces
from ..texts.sources import Made, Task, check_source, module_of, text_set

if TYPE_CHECKING:
    from ..encoders.encoder import Encoder


def run(
    *,
    manifest: str,
    files: list[str],
    review: str | None,
    out: str,
    dataset: str,
    sources: dict[str, str],
    **of_task: Any,
) -> None:
    """Write a text set with the kinds that sources make, and no other kind.

    files: of the encoder that compares names. review: people's decisions about the texts. sources:
    kind -> source. of_task: see `task`. UserError if a source cannot make its texts; the needs of
    all sources are checked before any of them loads weights or sends a request that costs money.
    """
    # One task per source, with all its kinds: a source loads its weights or reads its stored
    # answers once.
    classes = [spaces(name) for name in read_classes(Path(manifest))]
    tasks: dict[str, Task] = {}  # by source
    for source in dict.fromkeys(sources.values()):
        kinds = tuple(kind for kind, s in sources.items() if s == source)
        tasks[source] = task(classes, kinds, dataset=dataset, **of_task)
    for source, request in tasks.items():
        check_source(source, request)
    made: dict[str, Made] = {}  # by kind
    for source, request in tasks.items():
        made.update(module_of(source).make(request))
    write_json(out, text_set(dataset, classes, made).dump())


def task(
    classes: list[str],
    kinds: tuple[str, ...],
    *,
    dataset: str,
    templates: dict[str, Any],
    generator: dict[str, Any] | None,
    access: dict[str, Any],
    model: str,
    encoder: dict[str, Any],
    **here: Any,
) -> Task:
    """The request to a source.

    templates: fields of `Templates`. generator, access: the section of the configuration, what
    decides and what does not. model, encoder: name and specification of the model that compares
    names. here: device, store and threads of the encoder.
    """
    return Task(
        dataset=dataset,
        classes=classes,
        templates=Templates.of(templates),
        kinds=kinds,
        generator=GeneratorConfig(**generator, **access) if generator else None,
        encoder=functools.cache(functools.partial(_encoder, encoder=encoder, **here)),
        model=model,
    )


def _encoder(_: str, encoder: dict[str, Any], device: str, store: str, threads: int) -> Encoder:
    """Load the encoder that compares names; imported only here, as most sources need none."""
    from .common import use_threads
    from .encoder import encoder_of

    use_threads(threads)
    return encoder_of(encoder, device, store)
