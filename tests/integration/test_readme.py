"""The commands of README for photos and before the paper, typed as printed: by somebody with an
empty cache of weights (tests/unit/test_pages.py reads the others).
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from first import First, first
from pages import PAGES, blocks, lines, section
from working_copy import environment

pytestmark = pytest.mark.rest

# photos: half of them for training, as config/photos.yaml takes up to four of each class
A_CLASS = 20


def commands(heading: str) -> list[str]:
    """The commands of the first block of a section."""
    return lines(blocks(section(PAGES["README.md"], heading))[0])


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[First]:
    """A clone after `make install`, with a folder `photos` and a hub that has random weights."""
    with first(tmp_path_factory.mktemp("readme")) as found:
        draw = np.random.default_rng(0)
        for name in ("cat", "dog"):
            folder = found.work.folder / "photos" / name
            folder.mkdir(parents=True)
            for i in range(A_CLASS):
                pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
        yield found


def typed(here: First, command: str) -> tuple[int, str]:
    """Status and words of a command in a shell, as after `source .venv/bin/activate`; a server is
    ended by Control-C.
    """
    known = environment(here.work.folder)
    path = f"{here.work.folder}/.venv/bin:{known['PATH']}"
    process = subprocess.Popen(
        ["bash", "-ec", f"exec {command}"],
        cwd=here.work.folder,
        env={**known, **here.names, "PATH": path, "BROWSER": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    said = ""
    for line in process.stdout:
        said += line
        if "Control-C" in line:
            process.send_signal(signal.SIGINT)
    return process.wait(), said


@pytest.mark.parametrize("command", commands("## Your own photos"))
def test_commands_on_photos_run_as_printed(here: First, command: str) -> None:
    """They are what a newcomer with photos types; in the order of README, because one needs
    another's results.
    """
    status, said = typed(here, command)
    assert status == 0, f"{command}\n{said}"
    assert "Traceback" not in said
    if "classify" in command:
        assert said.count(".png") >= 2 * A_CLASS
    for word, file in (("--sheet", "birds.jpg"), ("make", "results/photos/report.html")):
        assert word not in command or (here.work.folder / file).is_file()


def test_the_check_before_the_paper_says_what_is_missing(here: First) -> None:
    """Without images it fails, by name and with what to do."""
    (command,) = [line for line in commands("## The paper") if line.startswith("coder-clip check")]
    status, said = typed(here, command)
    assert status == 1
    assert "where are the data sets? Set CODER_CLIP_DATA=" in said
    assert "model ViT-B-32: " in said, "the encoders are checked, too"
    assert "problems, see above" in said
