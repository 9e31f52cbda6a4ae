"""The commands of README for photos and before the paper, typed as printed: by somebody with an
empty cache of weights.

Elsewhere the others are typed (tests/unit/test_readme.py lists where, and why some are not).
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from first import First, first
from working_copy import REPO, environment

pytestmark = pytest.mark.rest

README = (REPO / "README.md").read_text(encoding="utf-8")
# photos: half of them for training, as config/photos.yaml takes up to four of each class
A_CLASS = 20


def commands(heading: str) -> list[str]:
    """The commands of the first block of a section, without their comments."""
    section = README.partition(f"\n## {heading}\n")[2]
    (block, *_) = re.findall(r"^```sh\n(.*?)^```", section, flags=re.M | re.S)
    return [line.partition("  #")[0].strip() for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[First]:
    """A clone after `make install`, with a folder `photos` and a hub that has the weights (random
    ones).
    """
    with first(tmp_path_factory.mktemp("readme")) as found:
        draw = np.random.default_rng(0)
        for name in ("cat", "dog"):
            folder = found.work.folder / "photos" / name
            folder.mkdir(parents=True)
            for i in range(A_CLASS):
                pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
        yield found


def start(here: First, command: str) -> subprocess.Popen[str]:
    """The command in a shell, as after `source .venv/bin/activate`, without a screen for a browser."""
    known = environment(here.work.folder)
    path = f"{here.work.folder}/.venv/bin:{known['PATH']}"
    names = {**known, **here.names, "PATH": path, "BROWSER": "true"}
    return subprocess.Popen(
        ["bash", "-ec", f"exec {command}"],
        cwd=here.work.folder,
        env=names,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("command", commands("Your own photos"))
def test_commands_on_photos_run_as_printed(here: First, command: str) -> None:
    """They are what a newcomer with photos types; in the order of README, because one needs
    another's results.
    """
    process = start(here, command)
    assert process.stdout
    said = ""
    if " explore " in f" {command} ":
        for line in process.stdout:
            said += line
            if "Control-C" in line:
                break
        process.send_signal(signal.SIGINT)
    said += process.communicate()[0]
    assert process.returncode == 0, f"{command}\n{said}"
    assert "Traceback" not in said
    if "classify" in command:
        assert said.count(".png") >= 2 * A_CLASS
    if "--sheet" in command:
        assert (here.work.folder / "birds.jpg").is_file()
    if command.startswith("make"):
        assert (here.work.folder / "results/photos/report.html").is_file()


def test_the_check_before_the_paper_says_what_is_missing(here: First) -> None:
    """Without images it fails, by name and with what to do."""
    (command,) = [line for line in commands("The paper") if line.startswith("coder-clip check")]
    process = start(here, command)
    said = process.communicate()[0]
    assert process.returncode == 1
    assert "where are the data sets? Set CODER_CLIP_DATA=" in said
    assert "model ViT-B-32: " in said, "the encoders are checked, too"
    assert "problems, see above" in said
