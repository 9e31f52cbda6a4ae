"""A second call reads only the photos that changed, and several threads decode only so many pixels
at once.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from coder_clip.foundation.caches import feature_store
from coder_clip_photos import Classifier, encoding, index
from coder_clip_photos.encoding import InFlight
from coder_clip_photos.index import Index, stamp
from tiny import save_tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Three photos whose last change counts as long ago."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "SETTLED", 0)
    files = []
    for i in range(3):
        files.append(tmp_path / f"{i}.png")
        draw(files[-1], i)
    return files


def draw(path: Path, i: int) -> None:
    Image.new("RGB", (40, 40), (80 * i, 10, 200 - 60 * i)).save(path)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The photos whose content is read, by name."""
    names: list[str] = []
    real = encoding._read

    def noted(path: str | Path) -> Any:
        names.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(encoding, "_read", noted)
    return names


def scores(model: Path, photos: list[Path], cache: bool = True) -> torch.Tensor:
    return Classifier(str(model), ["cat", "dog"], cache=cache).scores(photos)


def test_a_second_call_reads_only_what_changed(
    model: Path, photos: list[Path], read: list[str]
) -> None:
    """20,000 photos that were encoded before were read whole by every call."""
    first = scores(model, photos)
    assert read == ["0.png", "1.png", "2.png"]
    read.clear()
    assert torch.equal(scores(model, photos), first)
    assert read == []
    draw(photos[1], 2)
    again = scores(model, photos)
    assert read == ["1.png"]
    assert torch.equal(again, scores(model, photos, cache=False))
    assert torch.equal(again[1], first[2])


@pytest.mark.parametrize("harm", ["times set back", "another file of this name"])
def test_a_photo_that_changed_is_never_taken_for_the_old_one(
    model: Path, photos: list[Path], harm: str
) -> None:
    """A photo would get the class of the one that was there before."""
    scores(model, photos)
    old = os.stat(photos[0])
    if harm == "times set back":
        photos[0].write_bytes(photos[1].read_bytes().ljust(old.st_size, b"\0"))
        os.utime(photos[0], ns=(old.st_atime_ns, old.st_mtime_ns))
    else:
        os.replace(photos.pop(1), photos[0])
    assert torch.equal(scores(model, photos), scores(model, photos, cache=False))


ROW = np.arange(4, dtype=np.float32)


def test_a_file_that_changed_just_now_or_meanwhile_is_read_again(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two changes within one tick of the clock have the same times: the first content would stay
    known.
    """
    kept = Index(tmp_path / "cache", "key", 4)
    file, before = str(photos[0]), stamp(photos[0])
    monkeypatch.setattr(index, "SETTLED", 2 * 10**9)
    kept.add([(file, before, ROW)])
    assert kept.rows([file]).tolist() == [-1]
    monkeypatch.setattr(index, "SETTLED", 0)
    draw(photos[0], 2)
    kept.add([(file, before, ROW)])
    assert kept.rows([file]).tolist() == [-1]
    kept.add([(file, stamp(file), ROW)])
    assert kept.rows([file]).tolist() == [0]


def test_only_this_user_can_read_the_paths(model: Path, photos: list[Path]) -> None:
    """The index has the names of photos, which the features alone do not tell."""
    scores(model, photos, cache=False)
    assert not feature_store().exists(), "nothing is kept without a cache"
    scores(model, photos)
    files = [p for p in feature_store().rglob("index-*/*") if p.is_file()]
    assert {p.suffix for p in files} == {".sqlite", ".f32"}
    assert all(p.stat().st_mode & 0o077 == 0 for p in files)


@pytest.mark.parametrize("kind", ["sqlite", "f32"])
@pytest.mark.parametrize("harm", [b"", b"no index", "cut"])
def test_a_damaged_file_only_costs_time(
    model: Path, photos: list[Path], harm: bytes | str, kind: str
) -> None:
    first = scores(model, photos)
    (file,) = feature_store().rglob(f"*.{kind}")
    file.write_bytes(file.read_bytes()[:-10] if isinstance(harm, str) else harm)
    assert torch.equal(scores(model, photos), first)


@given(data=st.data())
def test_rows_are_those_of_a_plain_table(
    data: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A photo would get the feature of another one. Beside a dictionary, in any order of calls."""
    folder = tmp_path_factory.mktemp("index")
    names = [str(folder / sub / f"{i}.jpg") for sub in ("", "a", "ab") for i in range(4)]
    for name in names:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(name)
    plain: dict[str, float] = {}
    some = st.lists(st.sampled_from(names), unique=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "SETTLED", -(10**9))
        patch.setattr(index, "PIECE", 3)
        for number in range(data.draw(st.integers(1, 6))):
            kept = Index(folder / "cache", "key", 2)
            values = {name: 10.0 * number + i for i, name in enumerate(data.draw(some))}
            kept.add([(n, stamp(n), np.full(2, v, np.float32)) for n, v in values.items()])
            plain |= values
            asked = data.draw(some)
            rows = kept.rows(asked)
            assert [row >= 0 for row in rows.tolist()] == [n in plain for n in asked]
            found = kept.read(rows[rows >= 0])
            assert found[:, 0].tolist() == [plain[n] for n in asked if n in plain]


def add_many(folder: str, start: int) -> None:
    """A process that adds rows, a few at a time, until it has added all or is killed."""
    index.SETTLED = 0
    kept = Index(Path(folder) / "cache", "key", 4)
    for i in range(start, start + 40):
        path = f"{folder}/{i}.jpg"
        kept.add([(path, stamp(path), np.full(4, i, np.float32))])


@pytest.mark.rest
def test_killed_processes_and_two_at_once_lose_and_mix_nothing(tmp_path: Path) -> None:
    """kill -9 left half a row, and of two processes the rows of one were lost."""
    paths = [str(tmp_path / f"{i}.jpg") for i in range(120)]
    for path in paths:
        Path(path).write_text(path)
    kept = Index(tmp_path / "cache", "key", 4)
    fork = multiprocessing.get_context("fork")
    killed, *both = [fork.Process(target=add_many, args=(tmp_path, n)) for n in (80, 0, 40)]
    killed.start()
    while killed.is_alive() and (kept.rows(paths[80:]) >= 0).sum() < 3:
        time.sleep(0.001)
    killed.kill()
    killed.join()
    for process in both:
        process.start()
    for process in both:
        process.join()
    rows = kept.rows(paths)
    assert (rows[:80] >= 0).all(), "of two processes that wrote at once, rows are lost"
    assert (rows[80:] >= 0).sum() >= 3, "what was kept before the kill is lost"
    assert kept.read(rows[rows >= 0])[:, 3].tolist() == np.flatnonzero(rows >= 0).tolist()


def test_a_large_file_is_decoded_as_a_small_one(
    model: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large files are not kept in memory between hashing and decoding."""
    first = scores(model, photos, cache=False)
    monkeypatch.setattr(encoding, "SMALL", 10)
    assert torch.equal(scores(model, photos, cache=False), first)
    real = encoding._read

    def changed_later(path: str | Path) -> Any:
        file = real(path)
        draw(Path(path), 0)
        return file

    monkeypatch.setattr(encoding, "_read", changed_later)
    found = Classifier(str(model), ["cat", "dog"]).encoder.photos(photos[2:])
    assert found.skipped == [(str(photos[2]), "it changed while it was read")]


def test_pixels_in_flight_are_limited(model: Path, photos: list[Path]) -> None:
    """Six photos of 177 megapixels took 5.7 GB: each thread decoded one."""
    in_flight = InFlight(2)
    now: list[int] = []
    seen: list[int] = []

    def decode(photo: int, pixels: int) -> None:
        with in_flight(pixels):
            now.append(photo)
            seen.append(len(now))
            time.sleep(0.02)
            now.remove(photo)

    for pixels, most in ((1, 2), (3, 1)):  # one above the limit is decoded alone
        seen.clear()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(decode, range(8), [pixels] * 8))
        assert max(seen) == most
    with pytest.raises(ValueError, match="damaged"), in_flight(100):
        raise ValueError("damaged")
    with in_flight(1), in_flight(1):  # nothing blocks the others for ever
        pass
    asked: list[int] = []

    def noted(pixels: int) -> AbstractContextManager[None]:
        asked.append(pixels)
        return nullcontext()

    encoder = Classifier(str(model), ["cat", "dog"], cache=False).encoder
    encoder._in_flight = noted  # type: ignore[assignment]
    encoder.photos(photos)
    assert asked == [40 * 40] * len(photos)


PEAK = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from coder_clip_photos import encoding

class Preprocess:
    def pixels(self, image):
        return encoding.torch.zeros(image.resize((8, 8)).size)

def one(path):
    return encoding._pixels(Preprocess, in_flight, encoding._read(path))

def peak():
    # not ru_maxrss, which begins with the memory of the process that started this one
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)["VmHWM"].split()[0]) // 1024

in_flight = encoding.InFlight(encoding.IN_FLIGHT)
files = sorted(Path(sys.argv[1]).iterdir())
before = peak()
with ThreadPoolExecutor(4) as pool:
    found = list(pool.map(one, files))
assert all(f.shape == (8, 8) for f in found), found
print(peak() - before)
"""


@pytest.mark.rest
@pytest.mark.skipif(
    sys.platform != "linux", reason="the peak memory of a process is asked of Linux"
)
def test_large_photos_take_at_most_300_mb(tmp_path: Path) -> None:
    """Eight photos of 24 megapixels took 700 MB, because each thread kept the memory of one, and
    had two copies.
    """
    (tmp_path / "photos").mkdir()
    image = Image.new("RGB", (6000, 4000), (200, 90, 9))
    for i in range(8):
        image.putpixel((0, 0), (i, 0, 0))
        image.save(tmp_path / f"photos/{i}.jpg")
    command = [sys.executable, "-c", PEAK, str(tmp_path / "photos")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    # each pixel takes four bytes, once, and one photo fits at a time
    assert int(done.stdout) < 150
