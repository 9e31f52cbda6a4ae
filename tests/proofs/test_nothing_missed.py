"""No edit changes a result unseen: the plan names every job whose bytes an edit changes, and an edit
without a meaning plans nothing.

80 random edits of the program (edits.py) and 20 edits of data, of the order in the configuration, of
folders and of the environment. After each, in a copy, the plan is made; then every job is forced
(forced.py), and each output whose bytes differ must be of a job that the plan names, and that the
judge names again when its inputs are there. A job that fails after an edit must be named, too.

A failure shows the edit. CODER_CLIP_SEED: number of the first edit, 0 unless told; each has its own
seed, `-k "edit and 17"` repeats one. What was found is written to edits.jsonl beside the copies.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from PIL import Image

from edits import KINDS, draw
from working_copy import (
    SHAPES_ALONE,
    Work,
    changed,
    draw_marks,
    duplicate,
    few_pictures,
    working_copy,
)

FIRST = int(os.environ.get("CODER_CLIP_SEED", "0"))
SEEDS = range(FIRST, FIRST + 80)
FORCED = Path(__file__).parents[1] / "support/forced.py"
# two folders of photos, two models (in float64, whose bytes are always the same) and lists of more than one entry, so that there is an order
WIDE: dict[str, Any] = changed(
    SHAPES_ALONE,
    datasets={
        "marks": {
            "root": "photos/marks",
            "texts": "photos/marks.json",
            "views": 1,
            "templates": {"name": "a photo of a {class}", "attribute": "a {class} has {attribute}"},
        },
        "dots": {"root": "photos/dots", "texts": "names", "views": 1},
    },
    models={
        "mini": {"model": "local-dir:data/mini", "precision": "fp64"},
        "twin": {"model": "local-dir:data/mini", "precision": "fp64"},
    },
    adapter__shots=[1, 2],
    evaluation__text_counts=[1, 2],
)


@dataclass(frozen=True)
class Base:
    """A finished run, and what its jobs open and execute (forced.py)."""

    work: Work
    known: dict[str, Any]

    @property
    def known_file(self) -> Path:
        return self.work.folder.with_name(f"{self.work.folder.name}.json")

    @property
    def executed(self) -> dict[str, set[int]]:
        """Path of a module -> first lines of the functions that any job executed."""
        found: dict[str, set[int]] = {}
        for job in self.known.values():
            for path, lines in job["executed"].items():
                found.setdefault(path, set()).update(lines)
        return found

    def after(
        self, copy: Path, edit: Callable[[Work], object], edited: str = "", **names: str
    ) -> dict[str, Any]:
        """The report of a copy with an edit. names: of the environment. edited: the one source that
        it changes, or "" if it changes something else.
        """
        copy.mkdir()
        work = duplicate(self.work, copy)
        edit(work)
        arguments = ["report.json", str(self.known_file), edited] if edited else ["report.json"]
        work.run(sys.executable, str(FORCED), work.config, *arguments, **names)
        report: dict[str, Any] = json.loads((copy / "report.json").read_text())
        return report


def finished(root: Path, name: str, document: dict[str, Any]) -> Base:
    """A finished run of Snakemake, made once for all test processes; forcing it changes nothing."""
    known = root / f"{name}.json"
    with FileLock(root / f"{name}.lock"):
        if not known.exists():
            work = working_copy(root / f"{name}-making", document)
            few_pictures(work.folder)
            draw_marks(work.folder / "photos/dots", images=8)
            work.snakemake()
            # Python compiles all modules now, once
            arguments = (work.config, "report.json", "known.json")
            work.run(sys.executable, str(FORCED), *arguments)
            report = json.loads((work.folder / "report.json").read_text())
            assert report["refused"] == ""
            assert report["named"] == {}
            assert {job["name"]: job["why"] for job in report["jobs"] if job["why"]} == {}
            same = [job["outputs"] == job["before"] for job in report["jobs"]]
            assert len(same) > 10
            assert all(same)
            work.folder.rename(root / name)
            (root / name / "known.json").rename(known)
    work = Work(root / name)
    return Base(work, json.loads(known.read_text()))


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all test processes share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def small(root: Path) -> Base:
    return finished(root, "small", SHAPES_ALONE)


@pytest.fixture(scope="session")
def wide(root: Path) -> Base:
    return finished(root, "wide", WIDE)


def check(report: dict[str, Any], means: bool, what: str) -> dict[str, Any]:
    """Nothing is missed; what was found, in numbers."""
    named = report["named"]
    jobs = report["jobs"]
    different = {
        job["name"]: sorted(p for p in job["outputs"] if job["outputs"][p] != job["before"][p])
        for job in jobs
        if job["outputs"] != job["before"]
    }
    why = {job["name"]: job["why"] for job in jobs}
    crashes = {job["name"]: job["crash"] for job in jobs if job["crash"]}
    missed = {n: crashes.get(n, p) for n, p in different.items() if n not in named or not why[n]}
    assert missed == {}, f"changed, and not named:\n{what}\n{missed}"
    stale = {job["name"]: job["stale"] for job in jobs if job["stale"]}
    assert stale == {}, f"features from the store:\n{what}"
    if not means:
        assert (report["refused"], named, different) == ("", {}, {}), what
    return {
        "what": what,
        "means": means,
        "refused": report["refused"],
        "named": named,
        "ran": len(jobs),
        "why": {name: reason for name, reason in why.items() if reason},
        "different": different,
        "crashed": crashes,
        "seconds": report["seconds"] + sum(job["seconds"] for job in jobs),
    }


def note(root: Path, found: dict[str, Any]) -> None:
    with (root / "edits.jsonl").open("a") as stream:
        stream.write(f"{json.dumps(found)}\n")
    numbers = {key: len(found[key]) for key in ("named", "different", "crashed")}
    print(found["what"], numbers, found["refused"][-300:])


@pytest.mark.parametrize(
    "seed", SEEDS, ids=[f"{s}-{KINDS[s % len(KINDS)].__name__}" for s in SEEDS]
)
def test_an_edit_of_the_program(small: Base, root: Path, tmp_path: Path, seed: int) -> None:
    edit = draw(seed, small.work.folder, small.executed)
    copy = tmp_path / "copy"
    report = small.after(copy, lambda work: edit.apply(work.folder), edit.path)
    found = check(report, edit.means, edit.diff)
    note(root, {"seed": seed, "kind": edit.kind, "path": edit.path, **found})
    shutil.rmtree(copy)


# ---- data, configuration, folders, environment ---------------------------------------------------


@dataclass(frozen=True)
class Change:
    """An edit of something else than code. means: False if nothing may be planned."""

    edit: Callable[[Work], object] = lambda work: None
    means: bool = True
    names: dict[str, str] = field(default_factory=dict)


def reordered(*keys: str) -> Change:
    """A list or table of the configuration in the other order."""

    def change(document: dict[str, Any]) -> None:
        section = document
        for key in keys[:-1]:
            section = section[key]
        value = section[keys[-1]]
        turned = dict(reversed(value.items())) if isinstance(value, dict) else value[::-1]
        assert list(turned) != list(value)
        section[keys[-1]] = turned

    return Change(lambda work: work.configure(change))


def configured(**values: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        new = changed(document, **values)
        document.clear()
        document.update(new)

    return Change(lambda work: work.configure(change))


def put(path: str, text: str, means: bool = True) -> Change:
    """A file that was not there."""

    def write(work: Work) -> None:
        assert not (work.folder / path).exists()
        (work.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (work.folder / path).write_text(text)

    return Change(write, means)


def replaced(path: str, old: str, new: str, means: bool = True) -> Change:
    def write(work: Work) -> None:
        text = (work.folder / path).read_text(encoding="utf-8")
        assert old in text
        (work.folder / path).write_text(text.replace(old, new, 1), encoding="utf-8")

    return Change(write, means)


def photo(name: str, colour: tuple[int, int, int]) -> Change:
    """A photo that is new, or another one than before."""
    return Change(lambda work: Image.new("RGB", (40, 40), colour).save(work.folder / name))


def moved(old: str, new: str) -> Change:
    def move(work: Work) -> None:
        (work.folder / new).parent.mkdir(exist_ok=True)
        (work.folder / old).rename(work.folder / new)

    return Change(move)


def style() -> Change:
    """Matplotlib reads it when it is imported; a variable more starts all programs from nothing."""
    file = put("matplotlibrc", "axes.grid: True\nfont.size: 14\n")
    return Change(file.edit, names={"MPLBACKEND": "agg"})


def weight(work: Work) -> None:
    """Another last number among the weights."""
    file = work.folder / "data/mini/open_clip_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-2] ^= 64
    file.write_bytes(data)


EXHIBIT = '''"""How many classes there are."""
SECTION = "Zero-shot"
ORDER = 35
PHASES = ("zero_shot",)
def table(results):
    raise NotImplementedError
'''
CHANGES: dict[str, Change] = {
    "another photo": photo("photos/marks/red_disc/03.png", (250, 10, 10)),
    "a photo more": photo("photos/dots/red_disc/zz.png", (10, 250, 10)),
    "a photo less": Change(lambda work: (work.folder / "photos/dots/blue_disc/07.png").unlink()),
    "a photo with another name": moved(
        "photos/marks/red_disc/00.png", "photos/marks/red_disc/z.png"
    ),
    "a photo in another class": moved(
        "photos/marks/red_disc/01.png", "photos/marks/blue_disc/z.png"
    ),
    "a class more": moved("photos/dots/green_disc/00.png", "photos/dots/violet_disc/00.png"),
    "another text": replaced("photos/marks.json", "a red round spot", "a red square spot"),
    "pairs of classes that appear": put("data/texts/dots.one_to_one.json", "{}"),
    "texts that appear and nobody reads": put("data/texts/dots.json", "{}", means=False),
    "another weight": Change(weight),
    "data sets in another order": reordered("datasets"),
    "models in another order": reordered("models"),
    "shots in another order": reordered("adapter", "shots"),
    "seeds in another order": reordered("adapter", "seeds"),
    "methods in another order": reordered("adapter", "methods"),
    "settings in another order": reordered("settings"),
    "numbers of texts in another order": reordered("evaluation", "text_counts"),
    "templates in another order": reordered("datasets", "marks", "templates"),
    "another template": configured(datasets__dots__templates={"name": "a picture of {class}"}),
    "another title": configured(title="another title"),
    "a key with its default": configured(evaluation__corrections=1),
    "a style of Matplotlib's": style(),
    "another stylesheet": replaced("src/coder_clip/templates/report.css", "{", "{ color: red;"),
    "a table more": put("src/coder_clip/reporting/exhibits/class_count.py", EXHIBIT),
    "a variable of Python's": Change(
        names={"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}, means=False
    ),
    "a variable of the columns": Change(names={"COLUMNS": "40", "LC_ALL": "C.UTF-8"}, means=False),
    "no data folder": Change(names={"CODER_CLIP_DATA": "photos"}),
    "only what is present": Change(names={"CODER_CLIP_ONLY_PRESENT": "true"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_edit_of_data(wide: Base, root: Path, tmp_path: Path, name: str) -> None:
    change = CHANGES[name]
    copy = tmp_path / "copy"
    found = check(wide.after(copy, change.edit, **change.names), change.means, name)
    note(root, {"kind": "data", **found})
    shutil.rmtree(copy)
