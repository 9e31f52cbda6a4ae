"""What a person types on the page is kept, can be undone, and is never overwritten unseen."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_clip.errors import UserError
from coder_clip.texts.sets import ClassTexts
from coder_clip_photos.history import Change, Conflict, History, Work, class_steps, draft_file

CAT, DOG, EGG = (ClassTexts(name=name) for name in ("cat", "dog", "egg"))
FURRY = CAT.model_copy(update={"attribute": ["soft fur"]})


def label(photo: str, before: str | None, after: str | None) -> Change:
    return Change(what=f"{photo} {after}", labels={photo: (before, after)})


def texts(before: Work, *after: ClassTexts) -> Change:
    return Change(what="texts", classes=class_steps(before.classes, after))


@given(st.data())
def test_undo_and_redo_are_a_stack(data: Any) -> None:
    """One wrong click took everything back. Beside a plain list of all states."""
    history = History([CAT, DOG])
    states, at = [history.work], 0
    for _ in range(data.draw(st.integers(1, 12))):
        action = data.draw(st.sampled_from(["texts", "label", "undo", "redo"]))
        if action == "undo" and at > 0:
            history.undo(history.version)
            at -= 1
        elif action == "redo" and at + 1 < len(states):
            history.redo(history.version)
            at += 1
        elif action in ("texts", "label"):
            names = data.draw(st.lists(st.sampled_from("abcd"), min_size=1, unique=True))
            change = texts(history.work, *(ClassTexts(name=n, attribute=[n]) for n in names))
            if action == "label":
                photo, to = data.draw(st.sampled_from("xy")), data.draw(st.sampled_from("ab"))
                change = label(photo, history.work.labels.get(photo), to)
            before = history.version
            history.change(change, before)
            if history.version == before:  # it changed nothing
                continue
            states = [*states[: at + 1], history.work]
            at += 1
        assert history.work == states[at]
        assert bool(history.undo_what) == (at > 0)
        assert bool(history.redo_what) == (at + 1 < len(states))


def test_a_draft_is_there_after_the_program_was_killed(tmp_path: Path) -> None:
    """An afternoon of labels was gone when the terminal was closed."""
    file = tmp_path / "draft.jsonl"
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from coder_clip.texts.sets import ClassTexts\n"
        "from coder_clip_photos.history import Change, History\n"
        "h = History([ClassTexts(name='cat'), ClassTexts(name='dog')], Path(sys.argv[1]))\n"
        "for i in range(3):\n"
        "    h.change(Change(what='x', labels={f'{i}.png': (None, 'cat')}))\n"
        "h.undo()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(file)], check=False)
    assert killed.returncode == -9
    with file.open("a") as stream:
        stream.write('{"change": {"what": "cut o')  # what was being written
    history = History([CAT, DOG], file)
    assert history.work.labels == {"0.png": "cat", "1.png": "cat"}
    assert history.continued
    assert (history.version, history.edits) == (5, 2), "the version of an open page goes on"
    history.redo(5)
    assert history.work.labels["2.png"] == "cat"
    history.close()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(lines) == 6, "nothing of the line that was cut off is left"
    assert os.stat(file).st_mode & 0o077 == 0, "other users can read it"


def test_other_classes_at_the_next_start_lose_no_label(tmp_path: Path) -> None:
    """Who names one class more at the next start had to label again."""
    file = tmp_path / "draft.jsonl"
    first = History([CAT, DOG], file)
    first.change(texts(first.work, FURRY, DOG, ClassTexts(name="fox")))
    first.change(label("a.png", None, "fox"))
    first.change(label("b.png", None, "cat"))
    first.close()
    second = History([CAT, EGG], file)
    assert [c.name for c in second.work.classes] == ["cat", "egg", "fox"]
    assert second.work.classes[0] == FURRY, "the edited texts of a class that both have"
    assert second.work.labels == {"a.png": "fox", "b.png": "cat"}
    second.undo()
    assert [c.name for c in second.work.classes] == ["cat", "dog", "fox"], "as the draft was"
    second.close()


def test_an_edit_of_an_old_version_is_refused() -> None:
    """Two tabs overwrote each other without a word."""
    history = History([CAT, DOG])
    seen = history.version
    history.change(label("a", None, "cat"), seen)
    for edit in (
        lambda: history.change(label("a", None, "dog"), seen),
        lambda: history.undo(seen),
        lambda: history.redo(seen),
    ):
        with pytest.raises(Conflict, match="another tab"):
            edit()
    assert history.work.labels == {"a": "cat"}


def test_a_second_program_is_refused(tmp_path: Path) -> None:
    """Two programs would write their edits between each other."""
    first = History([CAT, DOG], tmp_path / "draft.jsonl")
    with pytest.raises(UserError, match="in another terminal"):
        History([CAT, DOG], tmp_path / "draft.jsonl")
    first.close()
    History([CAT, DOG], tmp_path / "draft.jsonl").close()


def test_nothing_to_undo_is_one_line_and_a_damaged_draft_is_not_overwritten(tmp_path: Path) -> None:
    history = History([CAT, DOG])
    with pytest.raises(UserError, match="nothing to undo"):
        history.undo()
    with pytest.raises(UserError, match="nothing to redo"):
        history.redo()
    file = tmp_path / "draft.jsonl"
    file.write_text("not a draft\n")
    with pytest.raises(UserError, match="not a draft any more: move it away"):
        History([CAT, DOG], file)
    assert file.read_text() == "not a draft\n"


def test_a_draft_belongs_to_what_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The edits of one folder must not appear on the photos of another."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    assert draft_file(["photos"]) == draft_file([tmp_path / "photos"])
    assert draft_file(["photos", "more"]) == draft_file(["more", "photos"])
    assert draft_file(["photos"]) != draft_file(["more"])
    assert draft_file(["photos"]).parent == tmp_path / "state/coder-clip"


def test_a_disk_that_is_full_once_costs_that_edit_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a line made the whole draft unreadable, and labels were kept on an edit that was not."""
    file = tmp_path / "draft.jsonl"
    history = History([CAT, DOG], file)
    history.change(label("x", None, "cat"))
    before, work, version = file.read_bytes(), history.work, history.version

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for edit in (lambda: history.change(label("y", None, "dog")), history.undo):
            with pytest.raises(UserError, match="the edit is not kept"):
                edit()
    with pytest.raises(UserError, match="not valid Unicode"):
        history.change(label("y", None, "\ud800"))
    assert (file.read_bytes(), history.work, history.version) == (before, work, version)
    history.change(label("y", None, "cat"))
    history.close()
    again = History([CAT, DOG], file)
    assert again.work.labels == {"x": "cat", "y": "cat"}
    again.close()
