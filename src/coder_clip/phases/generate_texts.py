"""Phase generate_texts: texts that are made and not read, by a language model or from WordNet (paper, section 3.3)."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from ..artifacts import Paths, write_json
from ..datasets import load_templates
from ..texts import wordnet
from ..texts.llm import store
from ..texts.llm.asking import asking
from ..texts.llm.cost import Budget
from ..texts.llm.generate import Generator, Item, TooClose, class_items, provenance
from ..texts.sentences import spaces
from ..texts.sets import ClassTexts, TextSet
from .manifest import read_classes

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Config
    from ..encoders import Encoder

log = logging.getLogger("coder_clip")

TOO_CLOSE = 0.9  # cosine of an analogous class with a class of the label set (method, section 1)


def run(config: Config, dataset: str) -> None:
    """Write ``texts/generated/{dataset}.json``: a text set with the kinds that are made, and nothing else.

    UserError where the server, the key or the limit on money ends it (every answer is kept), and, unless
    configured otherwise, where a class got nothing.
    """
    entry, classes = config.datasets[dataset], read_classes(config, dataset)
    source = entry.text_sources(dataset)
    asked = [kind for kind in entry.generated(dataset) if source[kind] == "llm"]
    looked_up = "wordnet" in source.values()
    dictionary = wordnet.WordNet() if looked_up else None  # missing, it is missed before anything is paid for
    needed = looked_up or "analogous" in asked
    encoder = functools.cache(functools.partial(_encoder, config)) if needed else None
    items = _ask(config, dataset, asked, classes, encoder) if asked else []
    made: dict[str, list[list[str]]] = {}
    notes: dict[str, dict[str, Any]] = {}
    if encoder is not None and dictionary is not None:
        found = wordnet.synonyms(classes, encoder(), dictionary)
        for line in found.lines():
            log.warning("%s: %s", dataset, line)
        made["synonym"] = found.texts
        notes["synonym"] = {**found.provenance(), "encoder": _identity(config, encoder())}
    for kind in asked:
        of_kind = [item for item in items if item.kind == kind]
        made[kind] = [item.texts.get("texts", []) for item in of_kind]
        assert config.generator is not None
        notes[kind] = provenance(kind, of_kind, config.generator)
        if kind == "analogous" and encoder is not None:
            notes[kind]["too_close"] = {"cosine_over": TOO_CLOSE, "encoder": _identity(config, encoder())}
    texts = TextSet(
        dataset=dataset,
        classes=[
            ClassTexts(name=spaces(name), **{kind: lists[i] for kind, lists in made.items()})
            for i, name in enumerate(classes)
        ],
        provenance=notes,
    )
    write_json(Paths(config.results).generated_texts(dataset), texts.dump())


def _encoder(config: Config) -> Encoder:
    """The encoder that compares names; where none is needed, nothing of this is imported."""
    from .common import use_threads
    from .encoder import encoder_of

    use_threads(config)
    return encoder_of(config, config.text_encoder())


def _ask(
    config: Config, dataset: str, kinds: list[str], classes: list[str], encoder: Callable[[], Encoder] | None
) -> list[Item]:
    """The key first, then weights, then anything that is paid for."""
    generator = config.generator
    assert generator is not None  # the configuration sees to it
    templates = load_templates(dataset, config.datasets[dataset])
    items = class_items(kinds, classes, templates, generator.counts.model_dump())
    currency = generator.prices.currency if generator.prices else ""
    with store.opened(generator.answers, dataset) as answers:
        budget = Budget(store.spent(generator.answers), generator.max_cost, currency)
        writer = Generator(generator, answers, budget, asking(generator, budget, answers.path))
        writer.prepare(items)
        check = None if encoder is None else too_close(encoder(), [spaces(c) for c in classes])
        writer.run(items, check)
    return items


def too_close(encoder: Encoder, classes: list[str]) -> TooClose:
    """Which names are too similar to the name of a class, by the encoder's text features."""
    of_classes = encoder.encode_texts(classes)

    def check(names: list[str]) -> list[bool]:
        cosines = encoder.encode_texts(names) @ of_classes.T
        return [bool(c) for c in (cosines > TOO_CLOSE).any(dim=1)]

    return check


def _identity(config: Config, encoder: Encoder) -> dict[str, str]:
    return {"model": config.text_encoder(), "weights_sha256": encoder.metadata()["weights_sha256"]}
