"""Import published texts as text sets.

Match class names with a data set's, clean the texts, keep provenance.

A file holds texts per class, ``{class: [text]}``, and nothing in it is trusted. `authors` imports
the authors' own archive with the same `Import`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from ..foundation.artifacts import sha256
from ..foundation.yaml_file import read_yaml
from .checks import control
from .cleaning import clean
from .english import english
from .kinds import KINDS
from .names import name_key
from .sets import ClassTexts, TextSet, read_written

MAX_CHARACTERS = 1000  # per text; longer ones are not texts for an encoder
FORMATS = {  # name -> kind of its texts, source
    "plain": ("attribute", "class names and texts of a file"),
    "descriptions": (
        "attribute",
        "Visual classification via description from large language models (Menon and Vondrick, "
        "ICLR 2023)",
    ),
    "cupl": ("sentence", "Customized prompts via language models, CuPL (Pratt et al., ICCV 2023)"),
    "awt": ("sentence", "Augmented, weighted and transported, AWT (Zhu et al., NeurIPS 2024)"),
    "mpvr": ("sentence", "Meta-prompting for visual recognition, MPVR (Mirza et al., ECCV 2024)"),
}
REFUSED = {  # name -> why nothing of it is imported, and what to do
    "waffle": "WaffleCLIP has no texts of its own: it draws random words and characters for each "
    "run, as the method random_words does here. Its descriptors/*.json have the form of "
    "descriptions: 'texts import descriptions FILE'",
}
SENTENCES = (
    "sentences are for a baseline, not for CODER: 'texts: {…, sentence: FILE}' adds them to other "
    "kinds"
)
MISSING = "no file {path} to import from"
RENAMES = Path(__file__).with_name("renames.yaml")
_NUMBERED = re.compile(r"^\d{1,4}\.\s*")  # CUB's folders: "001.Black_footed_Albatross"
Table = Sequence[tuple[str, list[str]]]  # names and their texts; names may repeat


class Mismatch(UserError):
    """Class names that do not fit.

    lines: what fits, which classes lack texts and which names are unknown.
    """

    def __init__(self, message: str, lines: list[str]) -> None:
        super().__init__(message)
        self.lines = lines


def import_texts(
    form: str,
    source: str | Path,
    dataset: str,
    classes: Sequence[str],
    *,
    renames: Mapping[str, str] | None = None,
    partial: bool = False,
) -> tuple[TextSet, list[str]]:
    """Import the texts of ``source`` for the classes of a data set, in label order.

    Also returns notes.

    form: a name in FORMATS. renames: name in the source -> name in the data set. partial: import
    what fits and note the rest. Raises Mismatch with every name that does not fit or lacks texts,
    UserError for a file of another form or without a usable text.
    """
    if form in REFUSED:
        raise UserError(f"{form}: {REFUSED[form]}")
    if form not in FORMATS:
        raise UserError(f"no format '{form}' to import from{nearest(form, FORMATS)}")
    source, (kind, published) = Path(source), FORMATS[form]
    document = read_written(source, dataset, MISSING)
    if not isinstance(document, dict):
        raise UserError(f"{source}: not an object with a list of texts for each class name")
    importing = Import(source, dataset, classes, renames or {})
    class_keys = _by_key([*classes, *importing.renames])
    # keys with an underscore are about the file, unless a class has such a name
    about = [n for n in document if n.startswith("_") and name_key(n) not in class_keys]
    table = table_of(source, {name: texts for name, texts in document.items() if name not in about})
    if form == "descriptions":
        table = [(name, [as_clause(text) for text in texts]) for name, texts in table]
    # own texts are tidied; published ones are imported as they are
    importing.add(kind, source, published, table, tidy=form == "plain")
    texts = importing.finish(partial)
    if about:
        importing.notes.append(f"left out, because they are about the file: {', '.join(about)}")
    if kind == "sentence":
        return texts, [*importing.notes, SENTENCES]
    return texts, importing.notes


def as_clause(text: str) -> str:
    """A descriptor of Menon and Vondrick by their rule of four beginnings.

    "a seabird" -> "which is a seabird", "used for cutting" -> "which is used for cutting", "often
    white" -> "which often white", anything else -> "which has …". The rule is theirs, word for word
    (make_descriptor_sentence in loading_helpers.py, commit 7ad43b1), and so are its slips: "a matte
    finish" and "antennae" become "which is …". What would be "which has …" stays as it is, because
    the template has these words (`sentences.described`).
    """
    bare = text.strip()
    if bare.startswith(("a", "used")):
        return f"which is {bare}"
    if bare.startswith(("has", "often", "typically", "may", "can")):
        return f"which {bare}"
    return bare


class Import:
    """Collects the texts of one source for a data set, and everything that does not fit.

    entries: one per class, kind -> texts. notes: lines for the user. problems: class names that do
    not fit, in words.
    """

    def __init__(
        self, source: Path, dataset: str, classes: Sequence[str], renames: Mapping[str, str]
    ) -> None:
        self.source, self.dataset, self.classes, self.renames = source, dataset, classes, renames
        self.entries: list[dict[str, Any]] = [{"name": c} for c in classes]
        self.provenance: dict[str, dict[str, Any]] = {
            "name": {"source": "class names of the data set"}
        }
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.missing: dict[str, None] = {}  # classes that some table lacks
        self.seen: set[str] = set()  # keys of the names in the source
        # names that others use for classes of this data set, by key
        shipped = read_yaml(RENAMES).get(dataset, {})
        self.shipped = {name_key(theirs): ours for theirs, ours in shipped.items()}

    def match(self, names: Sequence[str], several: bool = False) -> list[list[int]]:
        """Match names with classes, by name and never by order.

        Returns the indices of the classes of each name. several: one class may have several names.

        A name that fits no class may have its words in another order ("Acura RL Sedan 2012").
        A name that the label set has several times (ImageNet: "missile") is matched in order if the
        source has it as often; if the source has it once, all classes of that name get its texts,
        and a note says so.
        """
        classes = _by_key(self.classes)
        wanted = self._wanted(names, classes)
        positions = _by_key(wanted)
        # class names by their sorted words, for names in another order
        in_any_order: dict[str, list[str]] = {}
        for key in classes:
            in_any_order.setdefault(_sorted_words(key), []).append(key)
        indices: list[list[int]] = [[] for _ in names]
        for key, places in positions.items():
            same = classes.get(key, [])  # indices of the classes with this name
            # the same words in another order fit one class alone, if no other name is this class
            other = in_any_order.get(_sorted_words(key), [])
            if not same and len(other) == 1 and other[0] not in positions:
                same = classes[other[0]]
            shown = " and ".join(f"'{names[i]}'" for i in places)
            name = wanted[places[0]]
            spellings = sorted({self.classes[i] for i in same})
            if not same:
                renamed_to = f" as '{name}'"
                if name in names:
                    renamed_to = ""
                close = nearest(name, self.classes, listed=False)
                self.problems.append(f"{shown}{renamed_to} is not a class of the data set{close}")
            elif len(spellings) > 1:
                self.problems.append(f"{shown} could be any of {', '.join(map(repr, spellings))}")
            elif len(places) == len(same):
                for place, i in zip(places, same, strict=True):
                    indices[place] = [i]
            elif len(places) == 1:
                indices[places[0]] = same
                self.notes.append(f"{shown} is the name of {len(same)} classes; all get its texts")
            elif several and len(same) == 1:
                for place in places:
                    indices[place] = same
            else:
                self.problems.append(f"{shown} are both '{spellings[0]}'")
        self.seen |= set(map(name_key, names))
        return indices

    def _wanted(self, names: Sequence[str], classes: Mapping[str, Any]) -> list[str]:
        """Our names of these classes, by the renames. classes: by the keys of their names."""
        # a shipped rename is for a name that no class has
        renamed = {key: new for key, new in self.shipped.items() if key not in classes}
        renamed |= {name_key(old): new for old, new in self.renames.items()}
        wanted = []
        for name in names:
            ours = renamed.get(name_key(name), name)
            # a leading number goes only where the whole name fits no class
            if name_key(ours) not in classes:
                ours = _NUMBERED.sub("", ours)
            wanted.append(ours)
        return wanted

    def add(self, kind: str, path: Path, published: str, table: Table, tidy: bool = False) -> None:
        """Add the texts of one kind, cleaned, with their provenance.

        tidy: also remove the marks of lists (`clean_texts`).
        """
        changes: Counter[str] = Counter()
        reached = set[int]()
        for indices, (_, texts) in zip(self.match([name for name, _ in table]), table, strict=True):
            cleaned, changed = clean_texts(texts, kind if tidy else None)
            changes += changed
            reached.update(indices)
            for i in indices:
                self.entries[i][kind] = cleaned
        self.notes += [f"{kind}: {n} texts {change}" for change, n in changes.items()]
        self.missing |= {c: None for i, c in enumerate(self.classes) if i not in reached}
        without = [entry["name"] for entry in self.entries if not entry.get(kind)]
        self.provenance[kind] = self.note(path, published)
        if without:
            self.provenance[kind]["without"] = without

    def note(self, path: Path, published: str) -> dict[str, Any]:
        """Provenance of a file."""
        note: dict[str, Any] = {"source": published, "file": path.name, "sha256": sha256(path)}
        if self.renames:
            note["renamed"] = dict(self.renames)
        return note

    def finish(self, partial: bool, others: bool = False) -> TextSet:
        """The text set.

        Raises Mismatch unless everything fits or ``partial``, UserError without a usable text.

        others: whether the source has other usable texts (of pairs).
        """
        # a rename whose old name is nowhere in the source
        unused = [
            f"--rename: {self.source.name} has no class '{old}'"
            for old in self.renames
            if name_key(old) not in self.seen
        ]
        # number of classes that have a text of any kind
        fitting = sum(
            any(texts for kind, texts in entry.items() if kind != "name") for entry in self.entries
        )
        problems = list(dict.fromkeys([*self.problems, *unused]))
        if problems or self.missing:
            lines = [f"{fitting} of {len(self.classes)} classes of '{self.dataset}' have texts"]
            if self.missing:
                names = ", ".join(f"'{c}'" for c in self.missing)
                lines.append(f"without some kind of text ({len(self.missing)}): {names}")
            if problems:
                lines.append(f"does not fit ({len(problems)}): {'; '.join(problems)}")
            # a --rename without effect is a typing error, which --partial does not excuse
            if unused or not partial:
                raise Mismatch(
                    f"{self.source}: not all class names fit data set '{self.dataset}' (see "
                    "above); match names with --rename 'THEIRS=OURS', or import what fits with "
                    "--partial",
                    lines,
                )
            self.notes += lines
        if not fitting and not others:
            raise UserError(
                f"{self.source}: no usable text for any class of data set '{self.dataset}'"
            )
        entries = [ClassTexts(**entry) for entry in self.entries]
        return TextSet(dataset=self.dataset, classes=entries, provenance=self.provenance)


def _sorted_words(key: str) -> str:
    """The words of a key in alphabetical order."""
    return " ".join(sorted(re.findall(r"\w+", key)))


def _by_key(names: Sequence[str]) -> dict[str, list[int]]:
    """Positions of names, by the key that their spellings share."""
    found: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        found.setdefault(name_key(name), []).append(i)
    return found


def clean_texts(texts: Sequence[str], kind: str | None = None) -> tuple[list[str], Counter[str]]:
    """Each text once, in order, in one line, without control and direction characters.

    Also counts of what changed.

    With a kind other than whole sentences, what `cleaning` knows goes too (bullets, bold, quotes,
    "which has"), and descriptions that cannot continue "which has …" are left out.
    """
    kept: dict[str, None] = {}
    changes: Counter[str] = Counter()
    for text in texts:
        # control characters become spaces, so that words stay apart
        marks = set(control(" ".join(text.split())))
        bare = " ".join("".join(" " if c in marks else c for c in text).split())
        # True counts as 1
        changes["without control characters"] += bool(marks)
        tidy = kind not in (None, "sentence")
        if tidy:
            shorter = clean(bare, str(kind))
            changes["without bullets, quotes, full stops or 'which has'"] += shorter != bare
            bare = shorter
        if len(bare) > MAX_CHARACTERS:
            changes[f"left out, longer than {MAX_CHARACTERS} characters"] += 1
        elif not bare or bare in kept:
            changes["left out, empty or repeated"] += 1
        elif tidy and not KINDS[str(kind)].are_names and english().wording.search(bare):
            changes["left out, because they do not continue 'which has …'"] += 1
        else:
            kept[bare] = None
    # the plus drops counts of 0
    return list(kept), +changes


def table_of(path: Path, document: Mapping[str, Any]) -> Table:
    """The table of ``{class: [text]}``."""
    return [(name, list_of_texts(path, texts, f"'{name}'")) for name, texts in document.items()]


def list_of_texts(path: Path, value: Any, where: str) -> list[str]:
    """The value if it is a list of strings; UserError if not. where: its place, for the message."""
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return value
    raise UserError(f"{path}: {where} is not a list of texts")
