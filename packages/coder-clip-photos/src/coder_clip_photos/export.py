"""What leaves the page: a text set, tables, labels as CSV and as class folders, a run of these."""

from __future__ import annotations

import csv
import datetime
import io
import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from coder_clip.encoders.spec import EncoderSpec
from coder_clip.errors import UserError
from coder_clip.foundation.artifacts import write_json, write_text
from coder_clip.texts.kinds import BESIDES_NAME
from coder_clip.texts.sets import TextSet

from .files import NONE, copy_all, folder_name, refuse_folders, shown
from .listing import as_csv, photo_count

if TYPE_CHECKING:
    from .explorer import Explorer

LONGEST = 100  # bytes of a file name; file systems take 255, with the ending of a temporary file
SOURCE = "edited in coder-clip explore"
# few-shot examples per class that a run is offered, as long as half of the photos are enough
SHOTS = (1, 2, 4, 8, 16)
FILE_NAME, LABEL = "file_name", "label"  # the columns that Hugging Face's image folder reads
TOP = 3  # likeliest classes of each photo in the CSV file, as in classify


# ---- texts


def save_texts(explorer: Explorer, name: str) -> str:
    """Write the edited text set with its provenance and accuracy, and return the path.

    UserError for a file that exists, or a name that is not a plain file name.
    """
    if not re.fullmatch(r"[\w][\w .-]*\.json", name):
        raise UserError(f"'{name[:LONGEST]}': give a file name that ends in .json, without folders")
    _refuse_long(name)
    path = explorer.folder / name
    if path.exists() and path not in explorer.saved:
        raise UserError(f"{name} is there already: choose another name")
    write_json(path, with_provenance(explorer).dump())
    explorer.saved.add(path)
    return str(path)


def with_provenance(explorer: Explorer) -> TextSet:
    """The current texts; the provenance of each edited kind says how the texts were edited."""
    start, now = explorer.study.start, explorer.now
    note: dict[str, Any] = {"source": SOURCE, "date": datetime.date.today().isoformat()}
    test = explorer.test()
    if test is not None:
        note["chosen_on"] = {
            "images": len(explorer.study.names),
            "tried": len(explorer.draft.work.tried),
            "accuracy_before": start.accuracy["value"],
            "accuracy_after": now.accuracy["value"],
            "difference": test,
        }
    notes = dict(start.texts.provenance)
    for kind in BESIDES_NAME:
        before = [c.of(kind) for c in start.texts.classes]
        if [c.of(kind) for c in now.texts.classes] == before:
            continue
        edited = dict(note)
        if kind in notes:
            edited["from"] = notes[kind]
        notes[kind] = edited
    return now.texts.model_copy(update={"provenance": notes})


# ---- the table of photos


def photos_csv(explorer: Explorer) -> str:
    """The photos with their classes by the current texts.

    As ``coder-clip classify --format csv`` writes them.

    More columns: with labels the true class; if labels can be corrected, the class in the next run;
    after an edit the class by the first texts; for photos that were labelled on the page, the
    label, and the class by texts and labels together.
    """
    with explorer.lock:
        study, now = explorer.study, explorer.now
        photos = now.classifier.photos(study.features, study.names, top=TOP)
        of_page = explorer.photos()
        more: dict[str, list[str]] = {}
        if study.labels is not None:
            more["true_class"] = [p["truth"] for p in of_page]
        if explorer.labels is not None:
            nexts = [p["truth"] if p["corrected"] is None else p["corrected"] for p in of_page]
            more["next_run"] = [label or NONE for label in nexts]
        if now.texts.classes != study.start.texts.classes:
            more["class_before"] = [p["before"] for p in of_page]
        if explorer.yours:
            more["label"] = [_label_cell(p["yours"]) for p in of_page]
        if explorer.learned is not None:
            more["by_labels"] = [p["label"] for p in of_page]
        return as_csv(photos, TOP, why=0, more=more)


def _label_cell(label: str | None) -> str:
    """A label as a cell of a table: empty without one."""
    if label is None:
        return ""
    return label or NONE


# ---- labels


def labels_csv(labels: Mapping[str, str]) -> str:
    """Photo -> class as CSV with the columns ``file_name`` and ``label``.

    "" is written as "none of these".
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if any("\r" in name for name in labels):
        # Python before 3.13 leaves a carriage return in a name without quotes
        writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow([FILE_NAME, LABEL])
    writer.writerows((name, _label_cell(to)) for name, to in sorted(labels.items()))
    return out.getvalue()


@dataclass(frozen=True)
class LabelsFile:
    """Labels that were read.

    labels: photo of the page -> class. missing: names of photos that are not on the page.
    """

    labels: dict[str, str]
    missing: list[str]

    def said(self, place: str) -> str:
        """What was read, in words."""
        words = f"{photo_count(len(self.labels))} from {place}"
        if self.missing:
            words += f"; {len(self.missing):,} not here, such as {shown(self.missing[0])}"
        return words


def read_labels(text: str, names: Sequence[str], where: str) -> LabelsFile:
    """Labels of a CSV file, by the names of the photos as they are here.

    A photo is found by its path, or by the end of its path if only one photo has it. The columns
    are ``file_name`` (or ``image``) and ``label`` (or ``class``); others are passed over. where:
    the file, for messages. UserError for other columns, a line without a label, a photo that is
    there twice or could be several, and if no photo is here.
    """
    rows = _rows(text, where)
    columns = rows[0][1] if rows else {}
    of_name = next((c for c in (FILE_NAME, "image") if c in columns), None)
    of_label = next((c for c in (LABEL, "class") if c in columns), None)
    if of_name is None or of_label is None:
        raise UserError(
            f"{where}: give the columns {FILE_NAME},{LABEL} in the first line, and a line per photo"
        )
    by_end = _by_end(names)
    found: dict[str, str] = {}
    missing = []
    for line, row in rows:
        name, label = row[of_name] or "", (row[of_label] or "").strip()
        if not label:
            raise UserError(
                f"{where}, line {line}: '{shown(name)}' has no label: write a class or '{NONE}', "
                "or remove the line"
            )
        end = name
        if name not in by_end:  # as Windows writes paths
            end = name.replace("\\", "/").removeprefix("./")
        if end not in by_end:
            missing.append(name)
            continue
        photo = by_end[end]
        if photo is None:
            raise UserError(
                f"{where}, line {line}: several photos end in '{shown(name)}': give more of the "
                "path"
            )
        if photo in found:
            raise UserError(
                f"{where}, line {line}: '{shown(name)}' is there a second time: keep one line of it"
            )
        found[photo] = label
    if not found:
        raise UserError(f"{where}: no photo of it is among these; the first: {shown(missing[0])}")
    return LabelsFile(found, missing)


def _rows(text: str, where: str) -> list[tuple[int, dict[str, str | None]]]:
    """The rows of a CSV file, each with the number of its last line. UserError for another file."""
    text = text.removeprefix("\ufeff")
    if "\n" not in text:
        text = text.replace("\r", "\n")  # how lines end in files of old spreadsheets
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UserError(f"{where}, after line {reader.line_num}: no CSV file: {error}") from None


def take_labels(explorer: Explorer, path: Path) -> str:
    """Give the photos of a page the labels of a CSV file, or of class folders.

    Each label of a photo is taken once, so that the same file at a later start undoes no later
    work. Returns what was taken, in words. UserError if no photo has a label there.
    """
    names = explorer.study.names
    if path.is_dir():
        found = LabelsFile(labels_of_folders(names, path), [])
        if not found.labels:
            raise UserError(f"{shown(path)}: no photo of the page is in a folder below it")
    else:
        try:
            text = path.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{shown(path)} cannot be read: {error}") from None
        found = read_labels(text, names, shown(path))
    words = f"labels of {found.said(shown(path))}"
    known = len(found.labels) - explorer.take_once(found.labels)
    if known:
        words += f"; {known:,} were taken at an earlier start, and stay as you have them now"
    return words


def labels_of_folders(names: Sequence[str], root: Path) -> dict[str, str]:
    """The labels of photos in class folders below ``root``: the first folder is the class."""
    found = {}
    for name in names:
        parts = Path(os.path.relpath(name, root)).parts
        if len(parts) > 1 and parts[0] != "..":
            found[name] = " ".join(parts[0].replace("_", " ").split())
    return found


def _by_end(names: Sequence[str]) -> dict[str, str | None]:
    """End of a path -> the photo whose path ends so, None for several; a whole path is one."""
    of_end: dict[str, str | None] = {}
    for name in names:
        parts = Path(name).parts
        for i in range(len(parts)):
            end = "/".join(parts[i:])
            of_end[end] = None if end in of_end else name
    return of_end | {name: name for name in names}


# ---- class folders and a run


HEAD = (
    "# Written by `coder-clip explore`: photos that were labelled on its page.\n"
    "# docs/photos.md explains the keys; config/photos.yaml has all of them.\n"
)


def make_run(explorer: Explorer, name: str) -> tuple[int, Path, str]:
    """Copy the labelled photos into class folders, and write a configuration of a run on them.

    name: of the folder, the configuration and the results. Returns the number of copies, their
    folder, and the command that starts the run, in a clone of coder-clip. UserError for fewer than
    two classes with photos, a name that is no plain folder name or is taken, two classes that would
    have one folder, or a photo that cannot be copied.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name):
        raise UserError(f"'{name[:LONGEST]}': give a name of letters, digits, - and _")
    _refuse_long(name)
    labels = {photo: to for photo, to in explorer.labels_by_name.items() if to}
    counts = Counter(labels.values())
    if len(counts) < 2:
        raise UserError("a run needs labelled photos of two classes at least: label some more")
    here = explorer.folder
    in_clone = (here / "Snakefile").is_file()
    folder, described = here / name, here / f"{name}.texts.json"
    configuration = here / ("config" if in_clone else "") / f"{name}.yaml"
    for path in (folder, described, configuration):
        if path.exists():
            raise UserError(f"{shown(path)} is there already: choose another name")

    def named(path: Path) -> str:
        """A path as the configuration names it: relative in the clone where the run starts."""
        return os.path.relpath(path, here) if in_clone else str(path)

    refuse_folders(counts)
    try:
        copies = [copy_all(folder / folder_name(to), [Path(p)]) for p, to in labels.items()]
    except UserError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    texts = with_provenance(explorer)
    kept = [c for c in texts.classes if c.name in counts]
    source = "names"
    if any(c.of(kind) for c in kept for kind in BESIDES_NAME):
        write_json(described, texts.model_copy(update={"classes": kept, "dataset": name}).dump())
        source = named(described)
    # a class gives half of its photos to learn from, and fewer if some are near twins
    shots = [n for n in SHOTS if n <= 0.4 * min(counts.values())]
    dataset = {"root": named(folder), "texts": source}
    document = _configuration(name, dataset, explorer.study.encoder.spec, shots)
    write_text(configuration, HEAD + yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    return sum(copies), folder, f"make reproduce CONFIG={named(configuration)}"


def _configuration(
    name: str, dataset: dict[str, Any], spec: EncoderSpec, shots: list[int]
) -> dict[str, Any]:
    """The configuration of a run. shots: few-shot examples per class; empty for no few-shot."""
    if not shots:
        dataset["few_shot"] = False
    model: dict[str, Any] = {"model": spec.model}
    if spec.pretrained is not None:
        model["pretrained"] = spec.pretrained
    title = re.sub(r"\W+", "-", spec.model.rpartition("/")[2].removeprefix("local-dir:"))
    return {
        "title": f"CODER on {name}",
        "results": f"results/{name}",
        "datasets": {name: dataset},
        "models": {title.strip("-"): model},
        "features": {"on_error": "skip"},
        "adapter": {"shots": shots or [1]},
    }


def _refuse_long(name: str) -> None:
    if len(name.encode()) > LONGEST:
        raise UserError(
            f"'{name[:20]}…' is too long for a file name (at most {LONGEST} bytes): choose a "
            "shorter one"
        )
