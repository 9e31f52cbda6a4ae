"""What `make check` says of code that is hard to read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytest.importorskip(
    "tools.reading", reason="the measure of reading is in tools/, which is not here"
)
from tools import reading


def of(text: str) -> list[tuple[int, str]]:
    return list(reading.places(text, ast.parse(text)))


def test_plain_code_has_no_places() -> None:
    text = '''"""One line."""\n\n\ndef f(a):\n    """One line.\n\n    More."""\n    return a\n'''
    assert of(text) == []


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('def f():\n    """A first paragraph\n    that ends."""\n', 1, "ends on 'that ends.'"),
        ('"""A module\nhere."""\n', 1, "ends on 'here.'"),
        ('x = [\n    *("a", "b"),\n    "c",\n]\n', 2, "a literal in a literal"),
        ('x = {**{"a": 1}, "b": 2}\n', 1, "a literal in a literal"),
        ('x = (\n    "one "\n    "two three"\n)\n', 2, "'two' fits"),
        ('x = (\n    "one"\n    " two"\n)\n', 2, "'two"),
        ('x = (\n    "one "\n    f"{1 + 1} two"\n)\n', 2, "'{1 + 1}' fits"),
    ],
)
def test_debris_is_found_at_its_line(text: str, line: int, says: str) -> None:
    """A change of the width would leave lines that end early, and nobody would see them."""
    ((found, what),) = of(text)
    assert found == line
    assert says in what


@pytest.mark.parametrize(
    "text",
    [
        'x = (\n    "one\\n"\n    "two"\n)\n',  # a line break of the text
        'x = (\n    r"one|"\n    r"two"\n)\n',  # parts of a pattern
        f'x = (\n    "{"a" * 90} "\n    "two three"\n)\n',  # no room: 98 and 4 columns
        'x = ["one ", "two"]\n',  # two strings
        'x = [*a, "b"]\n',
    ],
)
def test_what_may_end_early_is_left_alone(text: str) -> None:
    assert of(text) == []


def test_the_last_word_comes_with_what_closes_it() -> None:
    """A word that fits without its bracket would be asked onto a line of 101 columns."""
    line = f'f("{"a" * 91} "'
    assert len(f'f("{"a" * 91} two")') == 100
    assert len(of(f'{line}\n  "two")\n')) == 1
    assert of(f'{line}\n  "twos")\n') == []


def test_sizes_and_branches_are_counted() -> None:
    """A function of 81 lines, or of 21 branches, would be hard to keep in mind."""
    long = "def f():\n" + "    pass\n" * 79
    assert of(long) == []
    assert "81 lines" in of(long + "    pass\n")[0][1]
    many = "def f(a):\n" + "    if a and a: pass\n" * 9
    assert reading.complexity(ast.parse(many).body[0]) == 1 + 2 * 9  # type: ignore[arg-type]
    assert "601 lines" in of("a = 1\n" * 601)[0][1]
    loop = "def f(a):\n    return [b if b else 1 for b in a if b]\n"
    assert reading.complexity(ast.parse(loop).body[0]) == 4  # type: ignore[arg-type]


def test_shares_of_a_room() -> None:
    """A room would fill with conditional expressions and long first paragraphs."""
    text = '"""Short."""\n\n\ndef f(a):\n    """Long\n    one."""\n    return 1 if a else 2\n'
    counts = reading.room_counts(text, ast.parse(text))
    assert counts == {"lines": 7, "conditionals": 1, "docstrings": 2, "long": 1}


def test_rooms_are_packages() -> None:
    """A limit would hold for all the code at once, and one bad room would go unseen."""
    rooms = {
        "src/coder_clip/neighbors.py": "coder_clip",
        "src/coder_clip/texts/llm/store.py": "coder_clip.texts",
        "packages/coder-clip-photos/src/coder_clip_photos/find.py": "coder-clip-photos",
        "tools/mini/model.py": "tools",
    }
    assert {file: reading.room(Path(file)) for file in rooms} == rooms


def test_a_short_name_of_a_test_needs_a_docstring() -> None:
    """`test_copes` would tell a newcomer nothing when it fails."""
    text = "def test_copes(): ...\ndef test_a_run_copes_with_nothing(): ...\ndef copes(): ...\n"
    ((line, what),) = reading.unclear_tests(ast.parse(text))
    assert line == 1
    assert "test_copes" in what
