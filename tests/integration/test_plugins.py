"""Commands of other distributions: one that is not here, or broken, takes no other with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ENTRY = "[coder_clip.commands]\nclassify = {module}\n"
HELLO = """
from coder_clip.cli.options import app

@app.command()
def classify() -> None:
    print("hello")
"""


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`coder-clip` with the entry points of ``folder`` alone."""
    code = (
        "import importlib.metadata as m, sys\n"
        "found = m.distributions(path=[sys.argv.pop(1)])\n"
        "points = m.EntryPoints(p for d in found for p in d.entry_points)\n"
        "m.entry_points = lambda **chosen: points.select(**chosen)\n"
        "from coder_clip.cli import main\n"
        "main()\n"
    )
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-c", code, str(folder), *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


def install(folder: Path, source: str | None) -> None:
    """A distribution whose command `classify` is in the module ``hello``."""
    (folder / "hello-1.dist-info").mkdir()
    (folder / "hello-1.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: hello\nVersion: 1\n"
    )
    (folder / "hello-1.dist-info/entry_points.txt").write_text(ENTRY.format(module="hello"))
    if source is not None:
        (folder / "hello.py").write_text(source)


@pytest.mark.parametrize(
    "arguments", [("classify",), ("find", "photos", "--top", "3"), ("explore", "--help")]
)
def test_a_command_that_is_not_installed_says_how_to_get_it(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """ "No such command" would send people to a registry, where anybody could have this name."""
    said = start(tmp_path, *arguments)
    assert said.returncode == 1
    assert said.stderr == (
        f"coder-clip: error: '{arguments[0]}' is not installed: "
        "pip install ./packages/coder-clip-photos in a clone of coder-clip (make does it)\n"
    )
    assert said.stdout == ""


def test_help_lists_only_what_is_installed(tmp_path: Path) -> None:
    assert " classify " not in start(tmp_path, "--help").stdout
    install(tmp_path, HELLO)
    assert " classify " in start(tmp_path, "--help").stdout
    assert start(tmp_path, "classify").stdout == "hello\n"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "ModuleNotFoundError: No module named 'hello'"),
        ("import coder_clip.nowhere", "ModuleNotFoundError: No module named 'coder_clip.nowhere'"),
        ("raise ValueError('a\\nb')", "ValueError: a b"),
        ("def (", "SyntaxError: "),
    ],
)
def test_a_command_that_cannot_be_loaded_is_one_line(
    tmp_path: Path, source: str | None, reason: str
) -> None:
    """A half-installed package would end every command of coder-clip in a traceback."""
    install(tmp_path, source)
    said = start(tmp_path, "classify", "photos", "--classes", "cat,dog")
    assert said.returncode == 1
    assert said.stderr.startswith(
        f"coder-clip: error: 'classify' of hello cannot be loaded: {reason}"
    )
    assert said.stderr.count("\n") == 1, said.stderr
    assert start(tmp_path, "--version").returncode == 0
