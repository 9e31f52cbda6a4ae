"""Messages: what others wrote into names and files does not reach the terminal as commands."""

from __future__ import annotations

import pytest

from coder_clip.cli.options import print_lines
from coder_clip.errors import UserError, printable

HOSTILE = "a\x1b]0;title\x07b\x9bc\rd\u202ee\ud800f"


def test_control_characters_are_written_out() -> None:
    """A certificate's reason could clear the screen, rename the window or hide a line."""
    assert printable(HOSTILE) == r"a\x1b]0;title\x07b\x9bc\rd\u202ee\ud800f"
    assert str(UserError(HOSTILE)) == printable(HOSTILE)


@pytest.mark.parametrize("text", ["größe → 猫 …", "a\tb\nc", "−3.5 %", "naïve ☕ 👩\u200d🔬"])
def test_other_characters_stay(text: str) -> None:
    """A message would mangle names in other scripts."""
    assert printable(text) == text


def test_lines_of_commands_are_printable(capsys: pytest.CaptureFixture[str]) -> None:
    """A lone surrogate was a traceback, because no terminal takes it."""
    print_lines(["phase", HOSTILE])
    assert capsys.readouterr().out == f"phase\n{printable(HOSTILE)}\n"
