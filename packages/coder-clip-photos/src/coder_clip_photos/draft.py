"""What a person makes on the page of ``explore``, kept in a draft file.

The file is written again with each edit, whole or not at all, before the page hears of the edit: a
program that is killed loses nothing. An edit names the version of the work that it was made on, so
that a second tab cannot overwrite what it has not seen.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from coder_clip.errors import UserError
from coder_clip.foundation.artifacts import write_text
from coder_clip.texts.sets import ClassTexts


class Conflict(UserError):
    """An edit of work that has changed meanwhile, in another tab."""


class Work(BaseModel):
    """Classes with their texts, in order, and labels.

    start: the classes that the command named. labels: photo -> class. taken: photo -> label of a
    file that was read with ``--labels``, which is not taken again. tried: hashes of the text sets
    that were compared with the first one. version: grows with each edit.
    """

    start: list[ClassTexts]
    classes: list[ClassTexts]
    labels: dict[str, str] = {}
    taken: dict[str, str] = {}
    tried: list[str] = []
    version: int = 0


class Draft:
    """The work of a person. file: None keeps it in memory alone.

    start: the classes of this start. If the draft was made with other classes, they are merged:
    what the command names stays, labels stay, and classes that only the draft has stay if they have
    labels. UserError if another program has the draft open, or if the file is no draft.
    """

    def __init__(self, start: Sequence[ClassTexts], file: Path | None = None) -> None:
        self.work = Work(start=[*start], classes=[*start])
        self.continued = ""  # when the draft that this start goes on with was last changed
        self._file = file
        if file is None:
            return
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = FileLock(f"{file}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                "coder-clip explore shows this already in another terminal: end it there, or go on "
                "with its page"
            ) from None
        if file.exists():
            self.work = _read(file)
            changed = datetime.datetime.fromtimestamp(file.stat().st_mtime)
            self.continued = changed.isoformat(" ", timespec="minutes")
            if self.work.start != [*start]:
                self.change(start=[*start], classes=_merged(self.work, start))
        elif file.with_suffix(".jsonl").exists():
            raise UserError(
                f"{file.with_suffix('.jsonl')} has labels of an earlier version, which this one "
                "does not read: save them as CSV with that version, or move the file away to begin "
                "without them"
            )

    def close(self) -> None:
        """Let another program open the draft."""
        if self._file is not None:
            self._lock.release()

    def change(self, version: int | None = None, **new: Any) -> None:
        """Make an edit, which gives fields of the work new values.

        version: of the work that the edit was made on; None: of the work as it is. Conflict if the
        work has another version by now.
        """
        self.refuse_old(version)
        work = self.work.model_copy(update=new | {"version": self.work.version + 1})
        # memory follows the disk: an edit that cannot be kept is not made
        if self._file is not None:
            try:
                write_text(self._file, json.dumps(work.model_dump(), ensure_ascii=False))
            except UnicodeEncodeError:
                raise UserError("the edit has a character that is not valid Unicode") from None
        self.work = work

    def refuse_old(self, version: int | None) -> None:
        """Raise Conflict for an edit of another version than the work has."""
        if version is not None and version != self.work.version:
            raise Conflict(
                "this was changed in another tab meanwhile; the page now shows it as it is, so "
                "make your edit again"
            )


def draft_file(what: Iterable[str | Path]) -> Path:
    """The draft of photos or a run, by their paths, in the user's state folder (XDG_STATE_HOME)."""
    key = "\0".join(sorted(os.path.realpath(path) for path in what))
    return state_folder() / f"{hashlib.sha256(key.encode(errors='replace')).hexdigest()[:24]}.json"


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


def _read(file: Path) -> Work:
    try:
        return Work.model_validate_json(file.read_bytes())
    except ValidationError:
        raise UserError(f"{file} is not a draft any more: move it away, and start again") from None


def _merged(work: Work, start: Sequence[ClassTexts]) -> list[ClassTexts]:
    """The classes to go on with: those of this start, edited as in the draft where the start is the
    same as then, and the other labelled classes of the draft.
    """
    earlier = {c.name: c for c in work.start}
    edited = {c.name: c for c in work.classes}
    merged = []
    for c in start:
        unchanged = earlier.get(c.name) == c
        merged.append(edited.get(c.name, c) if unchanged else c)
    labelled = set(work.labels.values()) - {c.name for c in start}
    return [*merged, *(c for c in work.classes if c.name in labelled)]
