"""Synonyms from WordNet, as in the paper (section 3.3): the noun sense whose definition is closest to the class name.

The dictionary is Princeton's, read from its own database files for nouns (format: wndb(5WN)). No
package is needed to read them, and none on PyPI ships them; they come with Debian's and Ubuntu's ``wordnet-base``
(6.5 MB to download, WordNet 3.0: the version that NLTK, and so the published code, uses) or with NLTK's data
(docs/texts.md).
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import UserError
from .names import name_key

if TYPE_CHECKING:
    from torch import Tensor

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

    senses: the definition that was chosen, None without a noun sense. without_sense: classes that WordNet does
    not know as a noun. alone: classes whose sense has no other word. another_class: (class, synonym) left out
    because another class of the label set has that name.
    """

    texts: list[list[str]]
    senses: list[str | None]
    without_sense: list[str]
    alone: list[str]
    another_class: list[tuple[str, str]]
    dictionary: dict[str, str]

    def provenance(self) -> dict[str, Any]:
        """For a text set's provenance, kind "synonym"."""
        found = {
            "source": "WordNet",
            **self.dictionary,
            "rule": "noun sense whose definition is closest to the class name in the encoder's text space",
            "without_sense": self.without_sense,
            "another_class": [f"{name}: {synonym}" for name, synonym in self.another_class],
        }
        return {k: v for k, v in found.items() if v}

    def lines(self) -> list[str]:
        """What a person should know, a line each; none where every class has a synonym."""
        found = []
        if self.without_sense:
            found.append(f"no noun sense in WordNet, so no synonym: {', '.join(self.without_sense)}")
        if self.another_class:
            pairs = ", ".join(f"'{synonym}' of {name}" for name, synonym in self.another_class)
            found.append(f"synonyms left out because another class has that name: {pairs}")
        return found


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
        offsets: dict[int, None] = {}
        for form in self._forms(name):
            offsets.update(dict.fromkeys(self._index.get(form, ())))
        return [self._sense(offset) for offset in offsets]

    def metadata(self) -> dict[str, str]:
        """version, and sha256 of the definitions: the same on every machine with the same dictionary."""
        version = re.search(rb"WordNet (\d[\d.]*\d) Copyright", self._data[:2000])
        known = {"version": version[1].decode()} if version else {}
        return {**known, "sha256": hashlib.sha256(self._data).hexdigest()}

    @cached_property
    def _data(self) -> bytes:
        return _read(self.folder, DATA)

    @cached_property
    def _index(self) -> dict[str, tuple[int, ...]]:
        """Lemma (lower case, underscores) -> offsets of its synsets, most frequent first."""
        found = {}
        for line in _read(self.folder, INDEX).decode("ascii", "replace").splitlines():
            if not line or line[0] == " ":  # the licence stands first, indented
                continue
            lemma, _, count, *rest = line.split()
            found[lemma] = tuple(map(int, rest[-int(count) :]))
        return found

    @cached_property
    def _exceptions(self) -> dict[str, list[str]]:
        if not self.folder.joinpath(EXCEPTIONS).is_file():
            return {}
        lines = _read(self.folder, EXCEPTIONS).decode("ascii", "replace").splitlines()
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
        end = self._data.find(b"\n", offset)
        line = self._data[offset:end].decode("ascii", "replace")
        fields, _, gloss = line.partition(" | ")
        parts = fields.split()
        if not parts or parts[0] != f"{offset:08d}":
            raise UserError(
                f"{self.folder}: {INDEX} and {DATA} do not belong together; install WordNet again"
            )
        words = tuple(w.replace("_", " ") for w in parts[4 : 4 + 2 * int(parts[3], 16) : 2])
        definition = re.sub(r'"[^"]*"', "", gloss).strip("; \t")  # what stands in quotes are examples
        return Sense(words, definition)


def synonyms(
    classes: Sequence[str], encoder: TextEncoder, wordnet: WordNet | None = None, prompt: str = PROMPT
) -> Synonyms:
    """Synonyms of every class, in label order, and what was noticed on the way (see `Synonyms`).

    Of the noun senses of a class name the one whose definition has the highest cosine with ``prompt`` (the class
    name in it); equal ones: the more frequent. Its other words are the synonyms. Unlike the published code, names
    of several words are found ("basset_hound"; there they are looked up with spaces, which finds nothing and
    crashes), a class without a noun sense has no synonym, and the name of another class is no synonym.
    UserError where there is no dictionary.
    """
    wordnet = wordnet or WordNet()
    names = [" ".join(c.replace("_", " ").split()) for c in classes]
    senses = [wordnet.senses(name) for name in names]
    chosen = _closest(names, senses, encoder, prompt)
    of_key: dict[str, set[int]] = {}
    for i, name in enumerate(names):
        of_key.setdefault(name_key(name), set()).add(i)
    texts: list[list[str]] = []
    another = []
    for i, sense in enumerate(chosen):
        kept: dict[str, str] = {}
        for word in sense.words if sense else ():
            owners = of_key.get(name_key(word), set())
            if i in owners:
                continue
            if owners:
                another.append((names[i], word))
            else:
                kept.setdefault(name_key(word), word)
        texts.append(list(kept.values()))
    return Synonyms(
        texts=texts,
        senses=[s.definition if s else None for s in chosen],
        without_sense=[n for n, s in zip(names, chosen, strict=True) if s is None],
        alone=[n for n, s, t in zip(names, chosen, texts, strict=True) if s and not t],
        another_class=another,
        dictionary=wordnet.metadata(),
    )


def _closest(
    names: list[str], senses: list[list[Sense]], encoder: TextEncoder, prompt: str
) -> list[Sense | None]:
    """For each class the sense nearest to its name; a class with one sense needs no encoder."""
    several = [i for i, found in enumerate(senses) if len(found) > 1]
    chosen: list[Sense | None] = [found[0] if found else None for found in senses]
    if not several:
        return chosen
    prompts = [prompt.replace("{class}", names[i]) for i in several]
    definitions = [s.definition for i in several for s in senses[i]]
    features = encoder.encode_texts(prompts + definitions)
    start = len(prompts)
    for row, i in enumerate(several):
        end = start + len(senses[i])
        chosen[i] = senses[i][int((features[start:end] @ features[row]).argmax())]
        start = end
    return chosen


def places(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Where a dictionary may lie: WordNet's own variables, systems' packages, NLTK's data."""
    given = [environment[v] for v in ("WNSEARCHDIR",) if environment.get(v)]
    given += [f"{environment['WNHOME']}/dict"] if environment.get("WNHOME") else []
    if given:
        return [Path(given[0])]
    nltk = [p for p in environment.get("NLTK_DATA", "").split(os.pathsep) if p]
    prefixes = (sys.prefix, f"{sys.prefix}/share", f"{sys.prefix}/lib", str(Path.home()))
    nltk += [f"{p}/nltk_data" for p in (*prefixes, "/usr/share", "/usr/local/share", "/usr/lib")]
    return [
        *map(Path, ("/usr/share/wordnet", "/usr/share/wordnet/dict", "/usr/local/WordNet-3.0/dict")),
        *(Path(p) / "corpora" / name for p in nltk for name in ("wordnet", "wordnet.zip")),
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


def _read(folder: Any, name: str) -> bytes:
    try:
        data: bytes = folder.joinpath(name).read_bytes()
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{folder.joinpath(name)} cannot be read: {error}; install WordNet again") from error
    return data
