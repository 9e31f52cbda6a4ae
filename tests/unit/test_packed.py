"""Images from the node's own disk: the same images, made into an archive once, and nothing left after kill -9."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coder_clip.datasets.folder import FolderDataset
from coder_clip.datasets.packed import on_this_machine
from coder_clip.errors import UserError

HOLD = """
import sys, time
from pathlib import Path
from coder_clip.datasets.folder import FolderDataset
from coder_clip.datasets.packed import on_this_machine
data = FolderDataset("photos", Path(sys.argv[1]))
with on_this_machine(data, data.split("train").ids, Path(sys.argv[2])) as images:
    print(type(images).__name__, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for i, name in enumerate(("cat", "dog")):
        (root / "train" / name).mkdir(parents=True)
        for j in range(3):
            pixels = np.full((8, 8, 3), 40 * i + j, dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"train/{name}/{j}.png")
    return root


def test_the_same_images_though_the_shared_disk_is_gone(photos: Path, tmp_path: Path) -> None:
    data = FolderDataset("photos", photos)
    ids = data.split("train").ids
    before = {i: np.asarray(data.image(i)) for i in ids}
    with on_this_machine(data, ids[:-1], tmp_path / "packed/train.0-of-1") as images:
        last = data.path(ids[-1])
        for path in photos.rglob("*.png"):
            if path != last:
                path.unlink()
        for i in ids:
            np.testing.assert_array_equal(np.asarray(images.image(i)), before[i])
        again = pickle.loads(pickle.dumps(images))  # as a worker process gets it
        np.testing.assert_array_equal(np.asarray(again.image(ids[0])), before[ids[0]])
        assert images.classes == data.classes
        with pytest.raises(UserError, match="no image 'nowhere'"):
            images.image("nowhere")


def test_an_archive_is_made_once_for_all_models(photos: Path, tmp_path: Path) -> None:
    data = FolderDataset("photos", photos)
    ids = data.split("train").ids
    times = []
    for _ in range(2):
        with on_this_machine(data, ids, tmp_path / "packed/train.0-of-1"):
            (archive,) = (tmp_path / "packed").glob("*.tar")
            times.append(archive.stat().st_mtime_ns)
    assert times[0] == times[1]
    with on_this_machine(data, ids[1:], tmp_path / "packed/train.0-of-1"):
        (other,) = (tmp_path / "packed").glob("*.tar")
    assert other != archive, "of other images; the old one is gone"


def test_nothing_is_left_on_the_node_after_a_kill(photos: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-c", HOLD, str(photos), str(tmp_path / "packed/train.0-of-1")]
    environment = {**os.environ, "TMPDIR": str(scratch), "PYTHONPATH": os.pathsep.join(sys.path)}
    job = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    assert job.stdout.readline().strip() == "Packed"
    files = [os.readlink(f) for f in Path(f"/proc/{job.pid}/fd").iterdir()]
    assert any(f.startswith(str(scratch)) for f in files), "it is on the node's disk"
    job.send_signal(signal.SIGKILL)
    job.communicate()
    assert list(scratch.iterdir()) == []


def test_a_full_disk_is_no_reason_to_stop(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = FolderDataset("photos", photos)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "w+b"))  # noqa: SIM115
    with on_this_machine(data, data.split("train").ids, tmp_path / "packed/train.0-of-1") as images:
        assert images is data
