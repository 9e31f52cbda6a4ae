"""Sources of texts: one module each, which declares, as literals::

    ABOUT = "noun senses of WordNet"    a phrase for the docs and the help
    KINDS = ("synonym",)                kinds of text that it makes (`coder_clip.texts.kinds`)
    ORDER = 20                          its place in the docs
    COMPARES = ("synonym",)             optional: kinds for which it needs an encoder

and defines ``make``: from a `Task` to `Made` texts per kind. A source that needs a key or a file
defines ``check``, which raises UserError before any source starts. A source of one-to-one texts
defines ``make_pairs``: from a `Task` and pairs of class indices to a `PairSet`. Configurations name
a source by its module. It is listed nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...foundation import scan
from ..kinds import KINDS
from ..sets import ClassTexts, TextSet

if TYPE_CHECKING:
    from ...datasets.base import Templates
    from ...encoders.encoder import Encoder
    from ..generator import GeneratorConfig

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Source:
    """The declarations of a module. compares: kinds whose texts an encoder chooses."""

    about: str
    kinds: tuple[str, ...]
    order: int
    compares: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """A request to a source.

    classes: names in label order, with spaces. kinds: kinds of text to make. generator: the section
    of the configuration, if any. encoder: loads a model of the configuration by its name. model:
    name of the model that compares class names; empty if none does."""

    dataset: str
    classes: list[str]
    templates: Templates
    kinds: tuple[str, ...]
    generator: GeneratorConfig | None
    encoder: Callable[[str], Encoder]
    model: str

    def encoder_identity(self) -> dict[str, str]:
        """The model that compares names and the hash of its weights, for provenance."""
        return {
            "model": self.model,
            "weights_sha256": self.encoder(self.model).metadata()["weights_sha256"],
        }


class Asked(NamedTuple):
    """What a data set of a configuration asks of one source, for an estimate.

    task: its kinds are empty if only one-to-one texts are asked for. pairs: of class indices; None
    if no one-to-one texts are asked for. known: True if stage one is known to confuse these pairs,
    False if their number is an upper bound.
    """

    task: Task
    pairs: Sequence[tuple[int, int]] | None
    known: bool


@dataclass
class Made:
    """Texts of one kind, a list per class in label order, with their provenance."""

    texts: list[list[str]]
    note: dict[str, Any]


def text_set(dataset: str, classes: Sequence[str], made: Mapping[str, Made]) -> TextSet:
    """The text set of what sources have made. made: by kind, with a list per class."""
    entries: list[dict[str, Any]] = [{"name": name} for name in classes]
    for kind, made_texts in made.items():
        for entry_of_class, texts_of_class in zip(entries, made_texts.texts, strict=True):
            entry_of_class[kind] = texts_of_class
    return TextSet(
        dataset=dataset,
        classes=[ClassTexts(**entry_of_class) for entry_of_class in entries],
        provenance={kind: made_texts.note for kind, made_texts in made.items()},
    )


def _scanned() -> dict[str, Source]:
    """The sources by name, in their order, from the declarations of the modules in this folder."""
    sources = {}
    for module in scan.modules(FOLDER):
        # a module with neither of the two is not a source
        if not module.defines("ABOUT") and not module.defines("make"):
            continue
        about, kinds, order = module.required("ABOUT", "KINDS", "ORDER")
        sources[module.name] = Source(about, kinds, order, module.get("COMPARES", ()))
    return dict(sorted(sources.items(), key=lambda item: item[1].order))


SOURCES = _scanned()


def of_kind(kind: str) -> list[str]:
    """Names of the sources that make this kind of text."""
    return [name for name, source in SOURCES.items() if kind in source.kinds]


def module_of(name: str) -> Any:
    """The module of a source, with ``make`` and optionally ``check`` and ``make_pairs``."""
    return import_module(f"{__package__}.{name}")


def check_source(name: str, task: Task) -> None:
    """Check, before anything starts, that a source has what it needs. UserError if not."""
    check = getattr(module_of(name), "check", None)
    if check is not None:
        check(task)


def table() -> list[str]:
    """The sources as the table of docs/texts.md."""
    lines = ["| source | is | for |", "| --- | --- | --- |"]
    for name, source in SOURCES.items():
        kinds = ", ".join(f"`{kind}`" for kind in KINDS if kind in source.kinds)
        lines.append(f"| `{name}` | {source.about} | {kinds} |")
    return lines
