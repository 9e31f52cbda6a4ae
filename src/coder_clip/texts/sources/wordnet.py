"""Synonyms from WordNet, as in the paper (section 3.3): the noun sense whose definition is closest to the class name.

The dictionary is Princeton's, read from its own database files for nouns (format: wndb(5WN)), which come with Debian's
and Ubuntu's ``wordnet-base`` (WordNet 3.0: the version that NLTK, and so the published code, uses) or with NLTK's data
(docs/texts.md). No package on PyPI reads them where Debian puts them: NLTK's reader refuses paths outside its own
data, wants the file ``lexnames`` that Debian leaves out, and all parts of speech; ``wn`` reads only what it has
downloaded in a format of its own. So nouns are read here.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import UserError
from ..names import name_key
from ..sentences import spaces
from . import Made, Task

if TYPE_CHECKING:
    from torch import Tensor

ABOUT = (
    "noun sense whose definition is closest to the class name in the encoder's text space, as in the paper"
)
KINDS = ("synonym",)
ORDER = 20
COMPARES = ("synonym",)

INDEX, DATA, EXCEPTIONS = "index.noun", "data.noun", "noun.exc"
INSTALL = (
    "no WordNet on this machine: install it ('apt-get install wordnet-base', or "
    "'python -m nltk.downloader wordnet'), or name the folder of index.noun and data.noun in WNSEARCHDIR"
)
PROMPT = "a photo of {class}"  # as published; definitions are encoded as they are
SUFFIXES = (  # WordNet's rules for nouns, morphy(7WN)
    ("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"),
    ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y"),
)  # fmt: skip


class TextEncoder(Protocol):
    """What is needed of `coder_clip.encoders.encoder.Encoder`."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """M texts -> (M, d) unit rows."""
        ...


@dataclass(frozen=True)
class Sense:
    """One noun synset: its words (spaces for underscores, first the most usual) and its definition."""

    words: tuple[str, ...]
    definition: str


@dataclass(frozen=True)
class Synonyms:
    """texts: for every class, in label order, its synonyms; a class may have none.

    note: for the provenance, with the classes that WordNet does not know as a noun (without_sense) and the synonyms
    left out because another class of the label set has that name (another_class). warnings: the same for people.
    """

    texts: list[list[str]]
    note: dict[str, Any]
    warnings: list[str]


def check(task: Task) -> None:
    """UserError without a dictionary."""
    WordNet()


def make(task: Task) -> dict[str, Made]:
    """Synonyms, chosen by the model that compares names."""
    model = task.models["texts"]
    found = synonyms(task.classes, task.encoder(model))
    for line in found.warnings:
        logging.getLogger("coder_clip").warning("%s: %s", task.dataset, line)
    return {"synonym": Made(found.texts, {**found.note, "encoder": task.identity(model)})}


def synonyms(
    classes: Sequence[str], encoder: TextEncoder, wordnet: WordNet | None = None, prompt: str = PROMPT
) -> Synonyms:
    """Synonyms of every class, in label order, and what was noticed on the way.

    Of the noun senses of a class name the one whose definition has the highest cosine with ``prompt`` (the class
    name in it); equal ones: the more frequent. Its other words are the synonyms. Unlike the published code, names
    of several words are found ("basset_hound"; there they are looked up with spaces, which finds nothing and
    crashes), a class without a noun sense has no synonym, and the name of another class is no synonym.
    UserError where there is no dictionary.
    """
    wordnet = wordnet or WordNet()
    names = [" ".join(spaces(name).split()) for name in classes]
    chosen = _closest(names, [wordnet.senses(name) for name in names], encoder, prompt)
    label_set = {name_key(name) for name in names}
    texts, another = [], []
    for name, sense in zip(names, chosen, strict=True):
        words: dict[str, str] = {}
        for word in sense.words if sense else ():
            words.setdefault(name_key(word), word)
        words.pop(name_key(name), None)
        another += [f"{name}: {word}" for key, word in words.items() if key in label_set]
        texts.append([word for key, word in words.items() if key not in label_set])
    without = [name for name, sense in zip(names, chosen, strict=True) if sense is None]
    warnings = [f"no noun sense in WordNet, so no synonym: {', '.join(without)}"] if without else []
    if another:
        warnings.append(f"synonyms left out because another class has that name: {', '.join(another)}")
    note = {
        "source": "WordNet",
        **wordnet.metadata(),
        "rule": "noun sense whose definition is closest to the class name in the encoder's text space",
        **({"without_sense": without} if without else {}),
        **({"another_class": another} if another else {}),
    }
    return Synonyms(texts, note, warnings)


def _closest(
    names: list[str], senses: list[list[Sense]], encoder: TextEncoder, prompt: str
) -> list[Sense | None]:
    """For each class the sense nearest to its name; a class with one sense needs no encoder."""
    chosen: list[Sense | None] = [found[0] if found else None for found in senses]
    several = [i for i, found in enumerate(senses) if len(found) > 1]
    if not several:
        return chosen
    prompts = [prompt.replace("{class}", names[i]) for i in several]
    definitions = [sense.definition for i in several for sense in senses[i]]
    features = encoder.encode_texts(prompts + definitions)
    start = len(prompts)
    for row, i in enumerate(several):
        end = start + len(senses[i])
        chosen[i] = senses[i][int((features[start:end] @ features[row]).argmax())]
        start = end
    return chosen


class WordNet:
    """The nouns of a WordNet database. UserError, one line, where there is none or it cannot be read."""

    def __init__(self, folder: str | Path | zipfile.Path | None = None) -> None:
        """folder: of index.noun and data.noun; by default where systems and NLTK keep it (`places`)."""
        self.folder: Any = Path(folder) if isinstance(folder, str) else folder or _find()
        for name in (INDEX, DATA):
            if not self.folder.joinpath(name).is_file():
                raise UserError(f"{self.folder}: no {name}, so no WordNet; {INSTALL}")

    def senses(self, name: str) -> list[Sense]:
        """Noun senses of a name, most frequent first; none where WordNet does not have it.

        Case, underscores and hyphens do not count, and a plural is found by its singular.
        """
        offsets = (offset for form in self._forms(name) for offset in self._index.get(form, ()))
        return [self._sense(offset) for offset in dict.fromkeys(offsets)]

    def metadata(self) -> dict[str, str]:
        """version, and sha256 of the definitions: the same on every machine with the same dictionary."""
        version = re.search(rb"WordNet (\d[\d.]*\d) Copyright", self._data[:2000])
        known = {"version": version[1].decode()} if version else {}
        return {**known, "sha256": hashlib.sha256(self._data).hexdigest()}

    @cached_property
    def _data(self) -> bytes:
        return self._read(DATA)

    @cached_property
    def _index(self) -> dict[str, tuple[int, ...]]:
        """Lemma (lower case, underscores) -> offsets of its synsets, most frequent first."""
        found = {}
        for line in self._read(INDEX).decode("ascii", "replace").splitlines():
            if line and line[0] != " ":  # the licence stands first, indented
                lemma, _, count, *rest = line.split()
                found[lemma] = tuple(map(int, rest[-int(count) :]))
        return found

    @cached_property
    def _exceptions(self) -> dict[str, list[str]]:
        if not self.folder.joinpath(EXCEPTIONS).is_file():
            return {}
        lines = self._read(EXCEPTIONS).decode("ascii", "replace").splitlines()
        return {form: bases for form, *bases in map(str.split, lines) if bases}

    def _forms(self, name: str) -> Iterator[str]:
        """Spellings under which the index may have a name: as given, hyphens either way, singular."""
        words = name.lower().replace("_", " ").split()
        plain = "_".join(words)
        for form in dict.fromkeys((plain, plain.replace("-", "_"), "-".join(words), plain.replace("-", ""))):
            yield form
            yield from self._exceptions.get(form, ())
            yield from (form[: -len(end)] + new for end, new in SUFFIXES if form.endswith(end))

    def _sense(self, offset: int) -> Sense:
        line = self._data[offset : self._data.find(b"\n", offset)].decode("ascii", "replace")
        fields, _, gloss = line.partition(" | ")
        parts = fields.split()
        if not parts or parts[0] != f"{offset:08d}":
            raise UserError(
                f"{self.folder}: {INDEX} and {DATA} do not belong together; install WordNet again"
            )
        words = tuple(w.replace("_", " ") for w in parts[4 : 4 + 2 * int(parts[3], 16) : 2])
        definition = re.sub(r'"[^"]*"', "", gloss).strip("; \t")  # what stands in quotes are examples
        return Sense(words, definition)

    def _read(self, name: str) -> bytes:
        path = self.folder.joinpath(name)
        try:
            data: bytes = path.read_bytes()
        except (OSError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} cannot be read: {error}; install WordNet again") from error
        return data


def places(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Where a dictionary may be: WordNet's own variables, systems' packages, NLTK's data."""
    if folder := environment.get("WNSEARCHDIR"):
        return [Path(folder)]
    if home := environment.get("WNHOME"):
        return [Path(home, "dict")]
    nltk = [p for p in environment.get("NLTK_DATA", "").split(os.pathsep) if p]
    prefixes = (sys.prefix, f"{sys.prefix}/share", f"{sys.prefix}/lib", str(Path.home()))
    nltk += [f"{p}/nltk_data" for p in (*prefixes, "/usr/share", "/usr/local/share", "/usr/lib")]
    return [
        *map(Path, ("/usr/share/wordnet", "/usr/share/wordnet/dict", "/usr/local/WordNet-3.0/dict")),
        *(Path(p, "corpora", name) for p in nltk for name in ("wordnet", "wordnet.zip")),
    ]


def _find() -> Path | zipfile.Path:
    looked_at = places()
    for place in looked_at:
        if place.suffix == ".zip" and place.is_file():
            return zipfile.Path(place, "wordnet/")
        if (place / INDEX).is_file():
            return place
    if os.environ.get("WNSEARCHDIR") or os.environ.get("WNHOME"):
        raise UserError(f"no {INDEX} in {looked_at[0]} (WNSEARCHDIR or WNHOME names it); {INSTALL}")
    raise UserError(INSTALL)
