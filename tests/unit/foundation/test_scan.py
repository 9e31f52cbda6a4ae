"""What is found by scanning a folder: a file that declares too little is named, not passed over in
silence.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_clip.baselines import methods
from coder_clip.reporting import all_exhibits, exhibits

WHOLE = (
    'LABEL = "Mine"\nABOUT = "a method"\nORDER: int = 5\nLINE = ("sky", "-", "P")\n\n\ndef '
    "fit(given): ...\n"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(methods, "BASELINES", tmp_path)
    return tmp_path


def test_methods_stand_in_their_order_ablations_last(folder: Path) -> None:
    (folder / "a.py").write_text(WHOLE + "ABLATION = True\n")
    (folder / "b.py").write_text(WHOLE.replace("5", "6"))
    (folder / "c.py").write_text(WHOLE)
    (folder / "helper.py").write_text("SIZE = 3\n")
    (folder / "__init__.py").write_text("LABEL = 1\n")
    found = methods._few_shot()
    assert list(found) == ["c", "b", "a"]
    assert found["c"] == methods.Method("Mine", "a method", ("sky", "-", "P"), order=5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WHOLE.replace("ABOUT", "ABUOT"), r"mine\.py has to declare ABOUT"),
        (WHOLE.replace("LABEL", "LABLE"), r"mine\.py has to declare LABEL"),
        (WHOLE.replace('"a method"', "str(1)"), r"mine\.py has to declare ABOUT, as a literal"),
        (WHOLE.replace("def fit", "def fitted"), "'mine' has no function fit"),
    ],
)
def test_a_method_that_declares_too_little_is_an_error(folder: Path, text: str, said: str) -> None:
    """A slip in one name would leave the method out of every table."""
    (folder / "mine.py").write_text(text)
    with pytest.raises(ImportError, match=said):
        methods._few_shot()


def test_an_exhibit_needs_a_place_and_something_to_show(tmp_path: Path) -> None:
    place = 'SECTION = "Texts"\nORDER = 1\nPHASES = ("rerank",)\n'

    def exhibit(text: str) -> exhibits.Exhibit:
        (tmp_path / "mine.py").write_text(text)
        return exhibits.exhibit("mine", tmp_path)

    found = exhibit(place + "SHOWS_IMAGES = True\nFIGURE = Drawing(draw, 'a', 'b', 'c')\n")
    assert (found.has_table, found.has_figure, found.shows_images) == (False, True, True)
    assert exhibit(place + "def table(results): ...\n").has_table
    with pytest.raises(ImportError, match="'mine' has neither"):
        exhibit(place + "def tabel(results): ...\n")
    with pytest.raises(ImportError, match="has to declare SECTION"):
        exhibit("ORDER = 1\ndef table(results): ...\n")


def test_a_section_that_is_not_listed_is_shown_last() -> None:
    found = exhibits.Exhibit("mine", "Elsewhere", 1, (), True, False, False)
    assert sorted([found, *all_exhibits.EXHIBITS], key=all_exhibits._place)[-1] is found
