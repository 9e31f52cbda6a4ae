"""Whoever types a command, an option or a key of an earlier version reads what to use instead."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from coder_clip.cli import app
from coder_clip.errors import UserError, nearest
from coder_clip.old_words import OLD_WORDS

TYPED = [word for word in OLD_WORDS if word.startswith("coder-clip ")]
BARE = [word for word in OLD_WORDS if word not in TYPED]
# what people typed and wrote most
USED = {
    *("coder-clip review", "coder-clip merge", "coder-clip index", "coder-clip check --probe"),
    *("coder-clip texts sheet", "coder-clip texts agreement", "coder-clip texts skeleton"),
    *("isoclip", "mixed_prototypes", "of", "top_ks"),
}


@pytest.mark.parametrize("word", TYPED)
def test_an_old_command_or_option_says_in_one_line_what_to_do(word: str) -> None:
    ended = CliRunner().invoke(app, word.split()[1:], prog_name="coder-clip")
    assert isinstance(ended.exception, UserError)
    assert str(ended.exception) == f"'{word}' was removed: {OLD_WORDS[word]}"
    assert "\n" not in str(ended.exception)


@pytest.mark.parametrize("word", BARE)
def test_an_old_key_or_value_is_answered_in_place_of_a_similar_one(word: str) -> None:
    said = nearest(word, [f"{word}s", "another"])
    assert said == f" ('{word}' was removed: {OLD_WORDS[word]})"


def test_no_old_command_exists() -> None:
    assert OLD_WORDS.keys() >= USED
    commands = typer.main.get_command(app)
    for word in TYPED:
        *group, last = word.split()[1:]
        command = commands
        for name in group:
            command = command.commands[name]
        if last.startswith("--"):
            assert not any(last in option.opts for option in command.params)
        else:
            assert last not in command.commands
