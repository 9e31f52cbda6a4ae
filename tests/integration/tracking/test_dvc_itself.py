"""Why results are moved by code of this project: what DVC's own commands do with bad objects.

Where one of these tests fails, DVC has become careful, and a part of `foundation/dvc.py` can go.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.rest


@dataclass
class Shared:
    """A clone with a folder of one file, and the directory to which it was pushed."""

    clone: Path
    remote: Path

    def dvc(self, *arguments: str) -> None:
        """DVC says that all went well."""
        command = [sys.executable, "-m", "dvc", *arguments]
        subprocess.run(command, cwd=self.clone, check=True, capture_output=True)

    def listing(self) -> Path:
        (found,) = self.remote.rglob("*.dir")
        return found

    def damage(self) -> Path:
        """Another number in the remote's copy of the file."""
        (entry,) = json.loads(self.listing().read_text())
        copy = self.remote / "files/md5" / entry["md5"][:2] / entry["md5"][2:]
        copy.chmod(0o644)
        copy.write_text("0.9\n")
        return copy

    def pull_anew(self) -> None:
        """As a colleague does, who has neither the results nor a cache."""
        shutil.rmtree(self.clone / "out")
        shutil.rmtree(self.clone / ".dvc/cache")
        self.dvc("pull")


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    found = Shared(tmp_path / "a/clone", tmp_path / "remote")
    (found.clone / "out").mkdir(parents=True)
    (found.clone / "out/number").write_text("0.5\n")
    subprocess.run(["git", "init", "--quiet"], cwd=found.clone, check=True)
    found.dvc("init")
    found.dvc("remote", "add", "--default", "store", str(found.remote))
    found.dvc("add", "out")
    found.dvc("push")
    return found


def test_a_pull_of_dvc_places_a_damaged_object(shared: Shared) -> None:
    shared.damage()
    shared.pull_anew()
    assert (shared.clone / "out/number").read_text() == "0.9\n"


def test_a_push_of_dvc_leaves_a_damaged_object(shared: Shared) -> None:
    copy = shared.damage()
    shared.dvc("push")
    assert copy.read_text() == "0.9\n"


def test_a_pull_of_dvc_writes_outside_of_the_clone(shared: Shared) -> None:
    """As the list of files of somebody else says."""
    (entry,) = json.loads(shared.listing().read_text())
    shared.listing().chmod(0o644)
    shared.listing().write_text(json.dumps([{**entry, "relpath": "../../outside"}]))
    shared.pull_anew()
    assert (shared.clone.parent / "outside").read_text() == "0.5\n"
