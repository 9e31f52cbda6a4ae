"""Columns in a terminal and in a pipe: aligned, one line per row, nothing read as markup."""

from __future__ import annotations

import sys

import pytest

from coder_clip.foundation import terminal

ROWS = [["short", "1"], ["[bold]not markup[/bold]", "12"], ["猫と犬", "−3.5"], ["x" * 400, ""]]


def test_piped_rows_are_one_line_each_and_aligned() -> None:
    """A program that cuts at two spaces, or a person with grep, must find each row whole."""
    head, *lines = terminal.table(["name", "number"], ROWS, right={1})
    assert len(lines) == len(ROWS)
    assert lines[1].startswith("[bold]not markup[/bold] ")
    assert lines[3] == "x" * 400
    assert lines[0].index("1") + 1 == len(head) == 400 + 2 + len("number")
    assert len(lines[2]) == len(head) - 3, "each of the three wide characters takes two columns"
    assert "\033" not in "".join([head, *lines])


def test_people_see_bold(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best number of a table would not stand out on a terminal."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    head, first, second = terminal.table(["a", "b"], [["x", "y"], ["z", "w"]], bold={(0, 1)})
    assert "\033[1m" in head
    assert "\033[1my" in first
    assert "\033" not in second


def test_without_a_head() -> None:
    """A list without a heading would begin with an empty line, or not align."""
    assert terminal.table([], [["a", "bc"], ["abc", "d"]]) == ["a    bc", "abc  d"]
    assert terminal.table([], []) == []


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (0.0011, 0.0009, ("1.1 MB", "0.9 MB")),
        (0.05, 0.02, ("50 MB", "20 MB")),
        (12.34, 12.31, ("12.34 GB", "12.31 GB")),
        (1.5, 0.04, ("1.5 GB", "40 MB")),
        # "0.1 GB" and "100 MB" are the same size
        (0.1001, 0.0999, ("0.10 GB", "99.9 MB")),
        (2.0, 2.0, ("2.000000000 GB", "2.000000000 GB")),
    ],
)
def test_two_sizes_show_which_one_is_larger(
    one: float, other: float, told: tuple[str, str]
) -> None:
    """A message about a full disk named the same size twice."""
    assert terminal.two_sizes(one, other) == told
