"""Texts from class names alone: no photos, no configuration, no encoder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ...datasets.base import Templates
from ...errors import UserError, nearest
from ...foundation.strict import explained
from ..generator import GeneratorConfig
from ..names import name_key, plain_name
from ..sets import PairSet, TextSet
from ..sources import Asked, Task, text_set
from . import estimate, source
from .budget import amount
from .store import today

if TYPE_CHECKING:
    from ...encoders.encoder import Encoder

ALL = "all"  # in place of a file of pairs
Pairs = list[tuple[int, int]]
Lines = Callable[[Path], list[str]]


@dataclass(frozen=True)
class FromNames:
    """A question for texts of class names. pairs: of class indices, in the order of asking."""

    dataset: str
    classes: list[str]
    generator: GeneratorConfig
    kinds: tuple[str, ...]
    templates: Templates
    pairs: list[tuple[int, int]]

    def estimate(self) -> list[str]:
        """What is left to ask and what it costs; nothing is asked, and no key is needed."""
        pairs = self.pairs or None
        return estimate.lines(self.generator, [Asked(self._task(), pairs, True)], several=False)

    def make(self) -> tuple[TextSet, PairSet | None]:
        """Ask for what is not stored. UserError as in `source.make`."""
        task = self._task()
        texts = text_set(self.dataset, self.classes, source.make(task))
        pairs = source.make_pairs(task, self.pairs) if self.pairs else None
        return texts, pairs

    def _task(self) -> Task:
        return Task(
            dataset=self.dataset,
            classes=self.classes,
            templates=self.templates,
            kinds=self.kinds,
            generator=self.generator,
            encoder=_no_encoder,
            model="",
        )


def _no_encoder(model: str) -> Encoder:
    """In place of what loads an encoder: UserError, because names alone are asked about."""
    raise UserError("texts from names alone are made without an encoder")


def class_list(names: Sequence[str], place: str) -> list[str]:
    """Class names with spaces. UserError if there are none, or one of them is there twice."""
    classes = [plain_name(name) for name in names]
    if not classes:
        raise UserError(f"{place} has no class names; write one per line")
    seen: dict[str, str] = {}
    for name in classes:
        first = seen.setdefault(name_key(name), name)
        if first is not name:
            raise UserError(f"{place}: '{name}' is there twice; write each class once")
    return classes


def pairs_of(given: str, classes: Sequence[str], generator: GeneratorConfig, lines: Lines) -> Pairs:
    """Pairs of class indices, of a file with a pair "red fox / wolf" per line, or all of them.

    lines: reads a file. UserError for a line that does not name two classes, and for more pairs
    than ``generator.max_pairs``.
    """
    most = generator.max_pairs
    if given == ALL:
        pairs = list(itertools.combinations(range(len(classes)), 2))
        if most is not None and len(pairs) > most:
            raise UserError(
                f"--pairs all: {len(classes)} classes have {len(pairs):,} pairs, more than "
                f"max_pairs {most:,}; name a file of pairs, or raise it with --set max_pairs="
                f"{len(pairs)}"
            )
        return pairs
    index = {name_key(name): i for i, name in enumerate(classes)}
    found: dict[frozenset[int], tuple[int, int]] = {}
    for line in lines(Path(given)):
        pair = _pair(given, line, index, classes)
        found.setdefault(frozenset(pair), pair)
    if not found:
        raise UserError(f"{given} has no pairs; write one per line, as in 'red fox / wolf'")
    if most is not None and len(found) > most:
        raise UserError(
            f"{given}: {len(found):,} pairs are more than max_pairs {most:,}; raise it with --set "
            f"max_pairs={len(found)}"
        )
    return list(found.values())


def _pair(place: str, line: str, index: dict[str, int], classes: Sequence[str]) -> tuple[int, int]:
    """The two classes of a line. UserError if there are not two."""
    parts = line.split(" / ")
    if len(parts) < 2:
        raise UserError(
            f"{place}: '{line}' does not name two classes; write one pair per line, as in 'red fox "
            "/ wolf'"
        )
    # a name may have a slash: divide where both sides are classes, else at the first one
    divisions = [(" / ".join(parts[:i]), " / ".join(parts[i:])) for i in range(1, len(parts))]
    known = [d for d in divisions if all(name_key(name) in index for name in d)]
    a, b = (name.strip() for name in [*known, *divisions][0])
    for name in (a, b):
        if name_key(name) not in index:
            raise UserError(f"{place}: no class '{name}'{nearest(name, classes, listed=False)}")
    first, second = index[name_key(a)], index[name_key(b)]
    if first == second:
        raise UserError(f"{place}: '{line}' is a class and itself; name two classes")
    return first, second


def generator_of(given: Sequence[str], fixed: dict[str, Any]) -> GeneratorConfig:
    """The section ``generator`` from values KEY=VALUE of the command line, VALUE in YAML.

    A dot leads into a section (``prices.input=0.15``); prices are of today unless they say their
    date. fixed: values of options of their own, None
    for those that were not given. UserError for what a configuration refuses too.
    """
    import yaml

    document = {key: value for key, value in fixed.items() if value is not None}
    for text in given:
        path, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text}: write KEY=VALUE, as in temperature=null")
        *sections, key = path.strip().split(".")
        place = document
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise UserError(f"--set {text}: '{section}' has a value, and no keys in it")
        try:
            place[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"--set {text}: '{value}' is not YAML; put it in quotes") from None
    if isinstance(document.get("prices"), dict):
        document["prices"].setdefault("date", today())
    try:
        return GeneratorConfig.model_validate(document)
    except ValidationError as error:
        said = explained(error.errors(), GeneratorConfig)
        wrong = [str(item["loc"][0]) for item in error.errors() if item["loc"]]
        for key in wrong:
            if fixed.get(key) is not None:
                option = f"--{key.replace('_', '-')}"
                raise UserError(f"{option}: {said.replace(f'generator.{key}: ', '')}") from None
        raise UserError(f"--set: {said}") from None


def cost(texts: TextSet, pairs: PairSet | None) -> str:
    """What all answers behind the texts cost, in words."""
    notes = [*texts.provenance.values(), *(pairs.provenance.values() if pairs else ())]
    used = sum(note["tokens"]["prompt"] + note["tokens"]["completion"] for note in notes)
    words = f"{used:,} tokens"
    costs = [note["cost"] for note in notes if "cost" in note]
    if not costs:
        return f"{words}, no prices given"
    money = amount(sum(c["money"] for c in costs))
    unknown = sum(c.get("unknown_for", 0) for c in costs)
    of_unknown = ""
    if unknown:
        of_unknown = f", and {unknown} answers of unknown cost"
    return f"{words}, {money} {costs[0]['currency']}{of_unknown}"
