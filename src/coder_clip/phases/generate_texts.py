"""Phase generate_texts: texts that are made and not read, by a language model or from WordNet (paper, section 3.3)."""

from __future__ import annotations

import contextlib
import functools
import logging
from typing import TYPE_CHECKING, Any

from ..datasets import load_templates
from ..errors import UserError
from ..foundation.artifacts import Paths, write_json
from ..texts import wordnet
from ..texts.llm import store
from ..texts.llm.cost import Budget
from ..texts.llm.generate import Generator, Item, class_items, provenance
from ..texts.llm.review import Review
from ..texts.sentences import spaces
from ..texts.sets import ClassTexts, TextSet
from .manifest import read_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..encoders.encoder import Encoder
    from ..pipeline.config import Config
    from ..texts.llm.similar import Rule

log = logging.getLogger("coder_clip")

RULES = {
    "texts": "nearer to another class than that class's nearest neighbour in the label set",
    "as_published": "cosine over 0.9 with another class",
}


def run(config: Config, dataset: str) -> None:
    """Write ``texts/generated/{dataset}.json``: a text set with the kinds that are made, and nothing else.

    UserError where the server, the key or the limit on money ends it (every answer is kept), and, unless
    configured otherwise, where a class got nothing.
    """
    entry, classes = config.datasets[dataset], read_classes(config, dataset)
    source = entry.text_sources(dataset)
    asked = [kind for kind in entry.generated(dataset) if source[kind] == "llm"]
    encoder = functools.cache(functools.partial(_encoder, config))
    texts = [ClassTexts(name=spaces(name)) for name in classes]
    notes: dict[str, dict[str, Any]] = {}
    dictionary = (
        wordnet.WordNet() if "wordnet" in source.values() else None
    )  # missed before anything is paid for
    # Under the lock on the answers, as two runs that write one file would disturb each other.
    with _items(config, dataset, asked, classes, encoder) as items:
        if dictionary is not None:
            model = config.text_encoder()
            found = wordnet.synonyms(classes, encoder(model), dictionary)
            for line in found.lines():
                log.warning("%s: %s", dataset, line)
            texts = [c.model_copy(update={"synonym": s}) for c, s in zip(texts, found.texts, strict=True)]
            notes["synonym"] = {**found.provenance(), "encoder": _identity(model, encoder(model))}
        for kind in asked:
            of_kind = [item for item in items if item.kind == kind]
            texts = [c.model_copy(update=_lists(i)) for c, i in zip(texts, of_kind, strict=True)]
            assert config.generator is not None
            notes[kind] = provenance(kind, of_kind, config.generator)
            if kind == "analogous":
                if any(c.analogous for c in texts) and all(c.analogous_as_published == [] for c in texts):
                    raise UserError(
                        f"{dataset}: the published filter of analogous classes keeps none with "
                        "generator.encoder_as_published; it was made for ViT-L-14"
                    )
                notes[kind]["too_similar"] = {
                    name: {"rule": RULES[name], "encoder": _identity(model, encoder(model))}
                    for name, model in _encoders(config).items()
                }
        made = TextSet(dataset=dataset, classes=texts, provenance=notes)
        write_json(Paths(config.results).generated_texts(dataset), made.dump())


def _lists(item: Item) -> dict[str, list[str]]:
    """As the text set has them."""
    found = {item.kind: item.texts.get("texts", [])}
    if "as_published" in item.texts:
        found["analogous_as_published"] = item.texts["as_published"]
    return found


def _encoders(config: Config) -> dict[str, str]:
    """The model of each rule that chooses among analogous names."""
    generator = config.generator
    published = generator.encoder_as_published if generator else None
    return {"texts": config.text_encoder()} | ({"as_published": published} if published else {})


def _encoder(config: Config, model: str) -> Encoder:
    """An encoder that compares names; where none is needed, nothing of this is imported."""
    from .common import use_threads
    from .encoder import encoder_of

    use_threads(config)
    return encoder_of(config, model)


@contextlib.contextmanager
def _items(
    config: Config, dataset: str, kinds: list[str], classes: list[str], encoder: Callable[[str], Encoder]
) -> Iterator[list[Item]]:
    """What is asked and answered. The key first, then weights, then anything that is paid for."""
    generator = config.generator
    if not kinds or generator is None:
        yield []
        return
    templates = load_templates(dataset, config.datasets[dataset])
    items = class_items(kinds, classes, templates, generator.counts.model_dump())
    with store.opened(generator.answers, dataset) as answers:
        writer = Generator(generator, answers, Budget.of(generator))
        writer.prepare(items)
        rules: dict[str, Rule] = {}
        for name, model in _encoders(config).items() if "analogous" in kinds else ():
            from ..texts.llm.similar import rule  # imports torch, which other kinds do not need

            rules[name] = rule(encoder(model), [spaces(c) for c in classes], published=name == "as_published")
        writer.run(items, rules, Review.of(generator.answers, dataset))
        yield items


def _identity(model: str, encoder: Encoder) -> dict[str, str]:
    return {"model": model, "weights_sha256": encoder.metadata()["weights_sha256"]}
