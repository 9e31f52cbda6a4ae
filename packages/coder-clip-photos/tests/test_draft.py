"""What a person types on the page is kept, and is never overwritten unseen."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from coder_clip.errors import UserError
from coder_clip.texts.sets import ClassTexts
from coder_clip_photos.draft import Draft, draft_file

CAT, DOG, EGG, FOX = (ClassTexts(name=name) for name in ("cat", "dog", "egg", "fox"))
FURRY = CAT.model_copy(update={"attribute": ["soft fur"]})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state/draft.json"


def test_a_draft_is_there_after_the_program_was_killed(file: Path) -> None:
    """An afternoon of labels was gone when the terminal was closed."""
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from coder_clip.texts.sets import ClassTexts\n"
        "from coder_clip_photos.draft import Draft\n"
        "d = Draft([ClassTexts(name='cat'), ClassTexts(name='dog')], Path(sys.argv[1]))\n"
        "for i in range(3):\n"
        "    d.change(labels={**d.work.labels, f'{i}.png': 'cat'})\n"
        "os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(file)], check=False)
    assert killed.returncode == -9
    draft = Draft([CAT, DOG], file)
    assert draft.work.labels == {"0.png": "cat", "1.png": "cat", "2.png": "cat"}
    assert draft.continued
    assert draft.work.version == 3, "the version of an open page goes on"
    assert file.parent.stat().st_mode & 0o077 == 0, "other users can read it"
    with pytest.raises(UserError, match="in another terminal"):
        Draft([CAT, DOG], file)
    draft.close()
    Draft([CAT, DOG], file).close()


def test_other_classes_at_the_next_start_lose_no_label(file: Path) -> None:
    """Who names one class more at the next start had to label again."""
    first = Draft([CAT, DOG], file)
    labels = {"a.png": "fox", "b.png": "cat"}
    first.change(classes=[FURRY, DOG, FOX], labels=labels)
    first.close()
    second = Draft([CAT, EGG], file)
    assert second.work.classes == [FURRY, EGG, FOX], "the edited texts of a class that both have"
    assert second.work.labels == labels
    second.close()
    third = Draft([CAT, DOG], file)
    assert third.work.classes == [FURRY, DOG, FOX]
    third.close()


def test_what_is_no_draft_is_left_as_it_is(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("not a draft\n")
    with pytest.raises(UserError, match="not a draft any more: move it away"):
        Draft([CAT, DOG], file)
    assert file.read_text() == "not a draft\n"


def test_labels_of_an_earlier_version_are_not_passed_over(file: Path) -> None:
    """They would seem to be lost."""
    file.parent.mkdir()
    file.with_suffix(".jsonl").write_text("{}\n")
    with pytest.raises(UserError, match=r"draft\.jsonl has labels of an earlier version"):
        Draft([CAT, DOG], file)


def test_a_draft_belongs_to_what_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The edits of one folder must not appear on the photos of another."""
    monkeypatch.chdir(tmp_path)
    assert draft_file(["photos"]) == draft_file([tmp_path / "photos"])
    assert draft_file(["photos", "more"]) == draft_file(["more", "photos"])
    assert draft_file(["photos"]) != draft_file(["more"])
    assert draft_file(["photos"]).parent == tmp_path / ".state/coder-clip"


def test_a_disk_that_is_full_once_costs_that_edit_alone(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page went on with labels that were not kept."""
    draft = Draft([CAT, DOG], file)
    draft.change(labels={"x": "cat"})
    before, work = file.read_bytes(), draft.work

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="No space left"):
            draft.change(labels={"x": "dog"})
    with pytest.raises(UserError, match="not valid Unicode"):
        draft.change(labels={"x": "\ud800"})
    assert (file.read_bytes(), draft.work) == (before, work)
    draft.close()
