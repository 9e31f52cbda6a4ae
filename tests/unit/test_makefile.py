"""What the Makefile sets before anything runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def make(folder: Path, repo: Path, command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command as a recipe of the repository's Makefile, in another folder."""
    (folder / "with").write_text(f"include {repo}/Makefile\nshow:\n\t@{command}\n")
    # `make test` would hand its own options on
    of_make = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")
    known = {name: value for name, value in os.environ.items() if name not in of_make}
    return subprocess.run(
        ["make", "--no-print-directory", "--file", "with", "show"],
        cwd=folder,
        env={**known, **env},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_a_clone_in_a_folder_with_an_umlaut(repo: Path, tmp_path: Path) -> None:
    """In the locale C its Python ended with a traceback before it read a line."""
    folder = tmp_path / "ümläut"
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "v"], cwd=folder, check=True)
    (site,) = folder.glob("v/lib/python*/site-packages")
    (site / "editable.pth").write_text(f"{folder}\n", encoding="utf-8")
    assert subprocess.run(["v/bin/python", "-c", ""], cwd=folder, env={"LC_ALL": "C"}).returncode
    for of_user in ({"LC_ALL": "C"}, {"LC_ALL": "", "LC_CTYPE": "", "LANG": "POSIX"}):
        done = make(folder, repo, "v/bin/python -c 'print(1)'", **of_user)
        assert done.stdout == "1\n", done.stderr
