"""Synonyms from WordNet, as in the paper (section 3.3).

The noun sense whose definition is closest to the class name.

The dictionary is Princeton's, in its own format (wndb(5WN)): Debian's and Ubuntu's ``wordnet-base``
(WordNet 3.0, the version that NLTK and so the published code uses), or NLTK's data (docs/texts.md).
No package on PyPI reads it where
Debian installs it: NLTK refuses paths outside its own data and needs ``lexnames``, which Debian
leaves out; ``wn`` has a format of its own.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ..names import name_key, plain_name
from . import Made, Task

if TYPE_CHECKING:
    from ...encoders.encoder import Encoder

ABOUT = (
    "noun sense whose definition is closest to the class name in the encoder's text space, as in "
    "the paper"
)
KINDS = ("synonym",)
ORDER = 20
COMPARES = ("synonym",)

log = logging.getLogger("coder_clip")

INSTALL = (
    "no WordNet on this machine: install it ('apt-get install wordnet-base', or 'python -m "
    "nltk.downloader wordnet'), or name the folder of index.noun and data.noun in WNSEARCHDIR"
)
PROMPT = "a photo of {}"  # as published; definitions are encoded as they are
SUFFIXES = (  # WordNet's rules for nouns, morphy(7WN)
    ("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"),
    ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y"),
)  # fmt: skip


@dataclass(frozen=True)
class Sense:
    """A noun synset: its words, the most usual first, and its definition.

    Spaces are in place of underscores.
    """

    words: tuple[str, ...]
    definition: str


def check(task: Task) -> None:
    """Check that there is a dictionary. UserError if not."""
    WordNet()


def make(task: Task) -> dict[str, Made]:
    """Synonyms, chosen by the model that compares names.

    The log names the classes that have no noun sense.
    """
    made = synonyms(task.classes, task.encoder(task.model), WordNet())
    without = made.note.get("without_sense")
    if without:
        log.warning(
            "%s: no noun sense in WordNet, so no synonym: %s", task.dataset, ", ".join(without)
        )
    another = made.note.get("another_class")
    if another:
        log.warning(
            "%s: synonyms left out, names of other classes: %s", task.dataset, ", ".join(another)
        )
    made.note["encoder"] = task.encoder_identity()
    return {"synonym": made}


def synonyms(
    classes: Sequence[str], encoder: Encoder, wordnet: WordNet, prompt: str = PROMPT
) -> Made:
    """Synonyms per class, in label order.

    Of the noun senses of a class name, the one whose definition has the highest cosine with
    ``prompt`` counts; with equal cosines, the more frequent one. Its other words are the synonyms.
    Unlike the published code, names of several words are found ("basset_hound"; there the lookup
    with spaces finds nothing and crashes), a class without a noun sense has no synonym, and the
    name of another class is never a synonym."""
    names = [plain_name(name) for name in classes]
    label_set = {name_key(name) for name in names}
    texts, without, another = [], [], []
    for name in names:
        words: dict[str, str] = {}  # key of a word -> the word
        senses = wordnet.senses(name)
        if senses:
            # the first spelling of a word counts; the class name itself is no synonym
            for word in _closest(prompt.format(name), senses, encoder).words:
                words.setdefault(name_key(word), word)
            words.pop(name_key(name), None)
        else:
            without.append(name)
        another += [f"{name}: {word}" for key, word in words.items() if key in label_set]
        texts.append([word for key, word in words.items() if key not in label_set])
    note: dict[str, Any] = {
        "source": "WordNet",
        **wordnet.metadata(),
        "rule": (
            "noun sense whose definition is closest to the class name in the encoder's text space"
        ),
    }
    if without:
        note["without_sense"] = without
    if another:
        note["another_class"] = another
    return Made(texts, note)


def _closest(prompt: str, senses: list[Sense], encoder: Encoder) -> Sense:
    """The sense whose definition has the highest cosine with the prompt."""
    if len(senses) == 1:
        return senses[0]
    features = encoder.encode_texts(
        [prompt, *(sense.definition for sense in senses)]
    )  # (1 + n, d), unit rows
    return senses[int((features[1:] @ features[0]).argmax())]


class WordNet:
    """The nouns of a WordNet database."""

    def __init__(self, folder: Path | None = None) -> None:
        """Read a folder; default: the first of `places` with a dictionary. UserError without one.

        index: lemma (lower case, underscores) -> offsets of its synsets in data.noun, most frequent
        first. data: text of data.noun. irregular: irregular plural -> singulars.
        """
        self.folder = _find([folder] if folder else places())
        try:  # offsets count bytes
            index, self.data, irregular = (
                self.folder.joinpath(name).read_bytes().decode("latin-1")
                for name in ("index.noun", "data.noun", "noun.exc")
            )
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{self.folder} cannot be read ({error}); install WordNet again"
            ) from error
        # lines that begin with a space are the licence
        entries = (line.split() for line in index.splitlines() if not line.startswith(" "))
        # lemma, part of speech, number of senses, …; the offsets of the senses are last
        self.index = {lemma: rest[-int(count) :] for lemma, _, count, *rest in entries}
        # a plural and its singulars in each line
        lines = map(str.split, irregular.splitlines())
        self.irregular = {plural: singulars for plural, *singulars in lines}

    def senses(self, name: str) -> list[Sense]:
        """Noun senses of a name, most frequent first; empty if WordNet does not have it.

        Case, underscores and hyphens make no difference, and a plural is found by its singular.
        """
        offsets = (offset for form in self._forms(name) for offset in self.index.get(form, ()))
        return [self._sense(offset) for offset in dict.fromkeys(offsets)]

    def metadata(self) -> dict[str, str]:
        """Version, and sha256 of the definitions.

        The same on every machine with the same dictionary.
        """
        version = re.search(r"WordNet (\d[\d.]*\d) Copyright", self.data[:2000])  # in the licence
        sha256 = hashlib.sha256(self.data.encode("latin-1")).hexdigest()
        if version is None:
            return {"sha256": sha256}
        return {"version": version[1], "sha256": sha256}

    def _forms(self, name: str) -> Iterator[str]:
        """Spellings under which the index may have a name.

        As given, with other hyphens, and the singulars of these.
        """
        words = name.lower().replace("_", " ").split()
        plain = "_".join(words)
        forms = (plain, plain.replace("-", "_"), "-".join(words), plain.replace("-", ""))
        for form in dict.fromkeys(forms):
            yield form
            yield from self.irregular.get(form, ())
            for end, singular_end in SUFFIXES:
                if form.endswith(end):
                    yield form[: -len(end)] + singular_end

    def _sense(self, offset: str) -> Sense:
        """The sense at an offset of data.noun. UserError if no line begins there."""
        start = int(offset)
        fields, _, gloss = self.data[start : self.data.find("\n", start)].partition(" | ")
        parts = fields.split()
        # each line begins with its own offset, unless the two files are of different versions
        if parts[:1] != [offset]:
            raise UserError(
                f"{self.folder}: index.noun and data.noun are of different versions; install "
                "WordNet again"
            )
        # words are every other field from the fifth; their number is hexadecimal
        words = tuple(w.replace("_", " ") for w in parts[4 : 4 + 2 * int(parts[3], 16) : 2])
        return Sense(words, re.sub(r'"[^"]*"', "", gloss).strip("; \t"))  # quotes hold examples


def places() -> list[Path]:
    """Folders that may have a dictionary.

    Only WNSEARCHDIR if it is set, else those of system packages and of NLTK's data.
    """
    folder = os.environ.get("WNSEARCHDIR")
    if folder:
        return [Path(folder)]
    nltk = [p for p in os.environ.get("NLTK_DATA", "").split(os.pathsep) if p]
    nltk += [f"{p}/nltk_data" for p in (Path.home(), sys.prefix, "/usr/share", "/usr/local/share")]
    corpora = [Path(p, "corpora", name) for p in nltk for name in ("wordnet", "wordnet.zip")]
    return [Path("/usr/share/wordnet"), Path("/usr/local/WordNet-3.0/dict"), *corpora]


def _find(folders: list[Path]) -> Path | zipfile.Path:
    """The first folder or archive with a dictionary. UserError if there is none."""
    for folder in folders:
        # NLTK's downloader leaves a zip file
        packed = folder.suffix == ".zip" and folder.is_file()
        opened = zipfile.Path(folder, "wordnet/") if packed else folder
        if opened.joinpath("index.noun").is_file():
            return opened
    raise UserError(f"no index.noun in {folders[0]}; {INSTALL}" if len(folders) == 1 else INSTALL)
