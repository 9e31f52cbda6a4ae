"""What a run would ask a language model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, islice

from ..datasets import is_published, load_dataset
from ..datasets.entry import entry
from ..foundation.artifacts import Paths, read_classes, read_json
from ..jobs import job_at
from ..phases.generate_texts import task
from ..pipeline.config import Config
from ..texts.sources import Asked, Task


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
        yield Asked(task_of(config, name, classes, kinds), pairs, confused)


def task_of(config: Config, name: str, classes: list[str], kinds: tuple[str, ...]) -> Task:
    """The request to a source for a data set, as its job makes it."""
    job = job_at(config, "generate_texts", dataset=name)
    arguments = {**job.settings, **job.here}
    del arguments["sources"]
    return task(classes, kinds, **arguments)


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
