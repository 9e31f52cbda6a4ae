"""What a person makes on the page of ``explore``, with undo and redo, kept in a draft file.

The draft is a journal: one line of JSON per edit, on the disk before the page hears of it. A
program that is killed loses nothing, and the next start plays the journal again. An edit names the
version of the work that it was made on, so that a second tab cannot overwrite what it has not
seen.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from coder_clip.errors import UserError
from coder_clip.texts.sets import ClassTexts

Pairs = dict[str, tuple[str | None, str | None]]  # photo -> (before, after); None: nothing


class Conflict(UserError):
    """An edit of work that has changed meanwhile, in another tab."""


class ClassStep(BaseModel):
    """A class is put in (before is None), taken out (after is None) or changed, at a position."""

    at: int
    before: ClassTexts | None = None
    after: ClassTexts | None = None


class Change(BaseModel):
    """One edit, which can be undone.

    what: in words, for the button that undoes it. taken: photo -> label of a file that was read
    with ``--labels``, which is not taken again.
    """

    what: str
    classes: list[ClassStep] = []
    labels: Pairs = {}
    corrections: Pairs = {}
    taken: dict[str, str] = {}

    @property
    def empty(self) -> bool:
        return not (self.classes or self.labels or self.corrections or self.taken)

    def inverse(self) -> Change:
        """The change that undoes this one."""
        steps = [ClassStep(at=s.at, before=s.after, after=s.before) for s in reversed(self.classes)]
        return Change(
            what=self.what,
            classes=steps,
            labels=_turned(self.labels),
            corrections=_turned(self.corrections),
        )


@dataclass(frozen=True)
class Work:
    """Classes with their texts, in order; photo -> class of labels; photo -> corrected class."""

    classes: tuple[ClassTexts, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    corrections: Mapping[str, str] = field(default_factory=dict)

    def after(self, change: Change) -> Work:
        """The work after a change. ValueError for a change that was made on other work."""
        classes = list(self.classes)
        for step in change.classes:
            if step.before is not None and classes[step.at : step.at + 1] != [step.before]:
                raise ValueError(f"class {step.at} is another one")
            # taken out first, then put in: a class that changes is both
            if step.before is not None:
                del classes[step.at]
            if step.after is not None:
                classes.insert(step.at, step.after)
        return Work(
            tuple(classes),
            _applied(self.labels, change.labels),
            # their file can be edited by hand meanwhile, so what was there before is not compared
            {**self.corrections, **{i: to for i, (_, to) in change.corrections.items() if to}},
        )


def class_steps(before: Sequence[ClassTexts], after: Sequence[ClassTexts]) -> list[ClassStep]:
    """The steps from one list of classes to another: changes in place where both have as many."""
    if len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [ClassStep(at=i, before=a, after=b) for i, (a, b) in pairs if a != b]
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    out = [ClassStep(at=same, before=c) for c in before[same:]]
    return out + [ClassStep(at=same + i, after=c) for i, c in enumerate(after[same:])]


class History:
    """The work with its edits. file: the draft; None keeps it in memory alone.

    keys: name of a photo as it was typed -> its name in the draft (`photo_keys`), for drafts that
    have names as they were typed then. taken: the labels that ``--labels`` has brought so far.

    start: the classes of this start. If a draft was made with other classes, they are merged: what
    the command names stays, labels stay, and classes that only the draft has stay if they have
    labels. UserError if another program has the draft open.
    """

    def __init__(
        self,
        start: Sequence[ClassTexts],
        file: Path | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> None:
        self.work = Work(tuple(start))
        self.taken: dict[str, str] = {}
        self._keys = keys or {}
        self.version = 0  # lines of the journal: grows with each edit, also with undo and redo
        self.continued = ""  # when a draft that this start goes on with was last changed
        self._done: list[Change] = []
        self._undone: list[Change] = []
        self._file = file
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = FileLock(f"{file}.lock")
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise UserError(
                    "coder-clip explore shows this already in another terminal: end it there, or "
                    "go on with its page"
                ) from None
            self._play(start)

    def close(self) -> None:
        """Let another program open the draft."""
        if self._file is not None:
            self._lock.release()

    @property
    def undo_what(self) -> str:
        """What undo takes back, in words; "" for nothing."""
        if not self._done:
            return ""
        return self._done[-1].what

    @property
    def redo_what(self) -> str:
        """What redo makes again, in words; "" for nothing."""
        if not self._undone:
            return ""
        return self._undone[-1].what

    @property
    def edits(self) -> int:
        """Number of edits that can be undone."""
        return len(self._done)

    def tried(self) -> list[tuple[ClassTexts, ...]]:
        """The classes after each edit of this draft that is not undone."""
        work, found = self.work, []
        for change in reversed(self._done):
            found.append(work.classes)
            work = work.after(change.inverse())
        return found

    def change(self, change: Change, version: int | None = None) -> None:
        """Make an edit. version: of the work that it was made on; None: of the work as it is.

        Conflict if the work has another version by now. An edit that changes nothing is no edit.
        """
        self.refuse_old(version)
        if change.empty:
            return
        # memory follows the disk: an edit that cannot be kept is not made
        self.work.after(change)
        self._write({"change": change.model_dump(exclude_defaults=True) | {"what": change.what}})
        self._make(change)

    def undo(self, version: int | None = None) -> Change:
        """Take the last edit back, and return the change that does. UserError without an edit."""
        self.refuse_old(version)
        if not self._done:
            raise UserError("there is nothing to undo")
        self._write({"undo": True})
        return self._take_back()

    def redo(self, version: int | None = None) -> Change:
        """Make the last undone edit again, and return it. UserError without one."""
        self.refuse_old(version)
        if not self._undone:
            raise UserError("there is nothing to redo")
        self._write({"redo": True})
        return self._make_again()

    def refuse_old(self, version: int | None) -> None:
        """Raise Conflict for an edit of another version than the work has."""
        if version is not None and version != self.version:
            raise Conflict(
                "this was changed in another tab meanwhile; the page now shows it as it is, so "
                "make your edit again"
            )

    def _make(self, change: Change) -> None:
        self.work = self.work.after(change)
        self.taken |= change.taken
        self._done.append(change)
        self._undone.clear()

    def _take_back(self) -> Change:
        inverse = self._done[-1].inverse()
        self.work = self.work.after(inverse)
        self._undone.append(self._done.pop())
        return inverse

    def _make_again(self) -> Change:
        change = self._undone[-1]
        self.work = self.work.after(change)
        self._done.append(self._undone.pop())
        return change

    def _play(self, start: Sequence[ClassTexts]) -> None:
        """Play the journal of an earlier start, and merge its work with the classes of this one."""
        assert self._file is not None
        lines, whole = _lines(self._file)
        first: dict[str, Any] = {}
        if lines:
            first = lines[0]
        if "start" not in first:
            self._write({"start": [c.model_dump() for c in start]})
            return
        if self._file.stat().st_size > whole:
            os.truncate(self._file, whole)  # the last line of a program that was killed in it
        before = [ClassTexts.model_validate(c) for c in first["start"]]
        self.work = Work(tuple(before))
        self.version = len(lines)
        for line in lines[1:]:
            if "change" in line:
                change = Change.model_validate(line["change"])
                labels = {self._keys.get(name, name): to for name, to in change.labels.items()}
                self._make(change.model_copy(update={"labels": labels}))
            elif "undo" in line:
                self._take_back()
            elif "redo" in line:
                self._make_again()
        if self._done:
            self.continued = str(lines[-1].get("at", ""))
        merged = _merged(before, start, self.work)
        self.change(
            Change(what="classes of this start", classes=class_steps(self.work.classes, merged))
        )

    def _write(self, line: dict[str, Any]) -> None:
        """Put one line on the disk, whole or not at all. UserError if the disk does not take it."""
        if self._file is not None:
            self._append(self._file, line)
        self.version += 1

    @staticmethod
    def _append(file: Path, line: dict[str, Any]) -> None:
        """Append a line to a file; a file that takes half of it is as before."""
        try:
            json.dumps(line, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise UserError("the edit has a character that is not valid Unicode") from None
        now = datetime.datetime.now().isoformat(" ", timespec="minutes")
        size = 0
        with suppress(OSError):
            size = file.stat().st_size
        try:
            handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with open(handle, "w", encoding="utf-8") as stream:
                stream.write(json.dumps(line | {"at": now}) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            with suppress(OSError):  # else the next line would be appended to half of this one
                os.truncate(file, size)
            raise UserError(
                f"the edit is not kept: cannot write {file}: {error.strerror}"
            ) from None


def draft_file(what: Iterable[str | Path]) -> Path:
    """The draft of photos or a run, by their paths, in the user's state folder (XDG_STATE_HOME)."""
    key = "\0".join(sorted(os.path.realpath(path) for path in what))
    return state_folder() / f"{hashlib.sha256(key.encode(errors='replace')).hexdigest()[:24]}.jsonl"


def photo_keys(paths: Sequence[str | Path]) -> list[str]:
    """What each photo is called in a draft, however its path was typed.

    Links are followed in its folder alone, so that two links to one photo stay two.
    """
    folders: dict[str, str] = {}
    keys = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        keys.append(os.path.join(folders[folder], name))
    return keys


def state_folder() -> Path:
    """The folder of drafts and of page addresses. It is no cache: what it holds is nowhere else."""
    root = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(root) / "coder-clip"


def _merged(
    before: Sequence[ClassTexts], start: Sequence[ClassTexts], work: Work
) -> tuple[ClassTexts, ...]:
    """The classes to go on with: those of this start, edited as in the draft where the start is the
    same as then, and the other labelled classes of the draft.
    """
    if list(before) == list(start):
        return work.classes
    earlier = {c.name: c for c in before}
    edited = {c.name: c for c in work.classes}
    merged = []
    for c in start:
        unchanged = earlier.get(c.name) == c
        merged.append(edited.get(c.name, c) if unchanged else c)
    labelled = set(work.labels.values()) - {c.name for c in start}
    return (*merged, *(c for c in work.classes if c.name in labelled))


def _lines(file: Path) -> tuple[list[dict[str, Any]], int]:
    """The whole lines of a journal, and how many bytes they are. UserError for another file."""
    if not file.exists():
        return [], 0
    content = file.read_bytes()
    whole = content.rfind(b"\n") + 1
    try:
        return [json.loads(line) for line in content[:whole].splitlines()], whole
    except (ValueError, ValidationError):
        raise UserError(f"{file} is not a draft any more: move it away, and start again") from None


def _turned(pairs: Pairs) -> Pairs:
    return {photo: (after, before) for photo, (before, after) in pairs.items()}


def _applied(now: Mapping[str, str], pairs: Pairs) -> dict[str, str]:
    """The labels after a change. ValueError for a change that was made on other labels."""
    found = dict(now)
    for photo, (before, after) in pairs.items():
        if found.pop(photo, None) != before:
            raise ValueError(f"{photo} has another label")
        if after is not None:
            found[photo] = after
    return found
