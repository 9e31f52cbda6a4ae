"""Near twins of features are searched once: kept by what decides them, and never wrong."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coder_clip.datasets import kept_twins, twins
from coder_clip.datasets.features import FeatureDataset, Part
from coder_clip.foundation import evidence


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of kept searches in an empty cache; every search is kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept_twins, "KEPT", 1)
    return tmp_path / f"cache/coder-clip/features-twins-{kept_twins.FORMAT}"


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the sets that were searched."""
    made: list[int] = []

    def counted(features: Any) -> Any:
        made.append(len(features))
        return twins.alike(features)

    monkeypatch.setattr(kept_twins, "alike", counted)
    return made


def rows(n: int = 12, d: int = 6) -> Any:
    """Features of which the last half are near twins of the first."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(n // 2, d))
    return np.concatenate([first, first + 1e-3]).astype(np.float32)


def test_check_and_the_run_search_once(folder: Path, searches: list[int]) -> None:
    """92,000 rows were searched twice, in the check and in the first job of the run."""
    expected = [[f"val/{i}", f"test/{i}"] for i in range(6)]
    for _ in ("check", "run"):
        features = torch.from_numpy(rows())
        labels = np.zeros(6, dtype=np.int64)
        val = Part(features[:6], labels, [f"val/{i}" for i in range(6)])
        test = Part(features[6:], labels, [f"test/{i}" for i in range(6)])
        # shots from the validation images are the same rows, which count once
        data = FeatureDataset("mine", ["cat"], {"train": val, "val": val, "test": test})
        assert data.twins == expected
    assert searches == [12]
    assert len(list(folder.iterdir())) == 1


def test_whatever_decides_the_groups_makes_a_new_search(
    folder: Path, searches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of other features or by another rule would be near twins that are none."""
    features = rows()
    kept_twins.kept_alike(features)
    moved = features.copy()
    moved[3, 2] = np.nextafter(moved[3, 2], 9, dtype=np.float32)
    # the order of rows, their width and their type count as well as each bit
    for other in (moved, features[::-1], features[:, :5], features.astype(np.float64)):
        assert kept_twins.kept_alike(other).tolist() == twins.alike(other).tolist()
    assert len(searches) == 5
    monkeypatch.setattr(kept_twins, "COSINE", 0.99)
    kept_twins.kept_alike(features)
    assert len(searches) == 6
    code = {path: dict.fromkeys(blocks, "edited") for path, blocks in kept_twins._CODE.items()}
    monkeypatch.setattr(kept_twins, "_CODE", code)
    kept_twins.kept_alike(features)
    assert len(searches) == 7
    monkeypatch.setattr(kept_twins, "version", lambda _: "another")
    kept_twins.kept_alike(features)
    assert len(searches) == 8
    assert len(list(folder.iterdir())) == 8


def test_the_code_that_compares_counts() -> None:
    """An edit of the comparison would change nothing on a machine that searched before."""
    (module,) = [path for path in kept_twins._CODE if path.endswith("datasets/twins.py")]
    assert {"COSINE", "alike()", "_near()", "_blocks()", "connected()"} <= (
        kept_twins._CODE[module].keys()
    )


def test_a_damaged_file_counts_as_absent(folder: Path, searches: list[int]) -> None:
    """A full disk or a flipped bit must cost a search, not the result."""
    features = rows()
    expected = kept_twins.kept_alike(features).tolist()
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    middle = whole.index(b"number.npy") + 200
    damages = [b"", whole[:40], whole[:-30], whole[:middle] + b"\xff" + whole[middle + 1 :]]
    for damaged in damages:
        file.write_bytes(damaged)
        assert kept_twins.kept_alike(features).tolist() == expected
        # and it is there again
        assert file.read_bytes()[:4] == b"PK\x03\x04"
    assert len(searches) == 1 + len(damages)


@pytest.mark.parametrize(
    "number",
    [
        np.zeros(11, np.int32),
        np.zeros(12, np.float64),
        np.full(12, -1, np.int32),
        np.full(12, 12, np.int32),
        np.array([0, 0, 1, *range(3, 12)], np.int32),  # 1 is not the first of its group
        np.array([{}] * 12),
    ],
)
def test_numbers_that_are_no_groups_are_not_taken(
    folder: Path, searches: list[int], number: Any
) -> None:
    """A file of another program under this name."""
    features = rows()
    expected = kept_twins.kept_alike(features).tolist()
    (file,) = folder.iterdir()
    np.savez(file, number=number)
    assert kept_twins.kept_alike(features).tolist() == expected
    assert len(searches) == 2


def test_a_cache_that_cannot_be_written_stops_nothing(folder: Path, searches: list[int]) -> None:
    """Home folders of clusters are often full or read-only."""
    folder.parents[1].mkdir()
    folder.parent.write_text("a file in the way")
    for _ in range(2):
        assert kept_twins.kept_alike(rows()).tolist() == [*range(6), *range(6)]
    assert len(searches) == 2


def test_a_job_that_finds_groups_depends_on_the_code_that_made_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an edit of the comparison, its certificate would hold although the groups are old."""
    noted: list[tuple[Any, ...]] = []
    monkeypatch.setattr(evidence, "note", lambda *values: noted.append(values))
    kept_twins.kept_alike(rows())
    noted.clear()
    kept_twins.kept_alike(rows())
    assert ("block", "src/coder_clip/datasets/twins.py", "alike()") in noted


def test_few_images_are_compared_and_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file for each small set would only fill the user's cache."""
    monkeypatch.setattr(kept_twins, "KEPT", 13)
    kept_twins.kept_alike(rows())
    assert not folder.exists()


def test_a_long_comparison_shows_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` of a large set was silent for minutes."""
    monkeypatch.setattr(twins, "MANY_ROWS", 10)
    twins.alike(rows())
    assert "comparing images: 100%" in capsys.readouterr().err
    monkeypatch.setattr(twins, "MANY_ROWS", 100)
    twins.alike(rows())
    assert capsys.readouterr().err == ""


# ---- speed


@pytest.mark.rest
def test_rows_that_are_all_alike_take_as_long_as_there_are_rows() -> None:
    """A camera that never moves: each pair was compared, 34 s for 8,000 rows."""
    rng = np.random.default_rng(0)

    def seconds(n: int) -> float:
        features = rng.standard_normal((n, 128), dtype=np.float32) * 0.01 + 1
        features[n // 2] *= -1  # one image of something else in between
        began = time.process_time()
        number = twins.alike(features)
        took = time.process_time() - began
        assert len(set(number.tolist())) == 2
        return took

    seconds(2000)  # imports scipy
    assert seconds(64_000) < 8 * seconds(16_000) + 0.5  # each pair: 16 times


SEARCH = """
import resource, time
import numpy as np
from coder_clip.datasets import twins
rng = np.random.default_rng(0)
n, d = 92_000, 512
spread = np.arange(1, d + 1, dtype=np.float32) ** -0.6  # about as CLIP's features
features = rng.standard_normal((n, d), dtype=np.float32)
features *= spread
features += 0.7 * np.linalg.norm(spread) / d**0.5
features[-500:] = features[:500] * 1.5
began = time.process_time()
number = twins.alike(features)
print(time.process_time() - began, len(set(number.tolist())))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


@pytest.mark.proof
def test_a_large_set_takes_half_a_minute_and_a_gigabyte() -> None:
    """92,000 rows took 104 s and 1.8 GB, and `manifest` asks Slurm for one."""
    output = subprocess.run(
        [sys.executable, "-c", SEARCH], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split()
    seconds, n_groups, gigabytes = map(float, output)
    assert n_groups == 91_500
    assert seconds < 30
    assert gigabytes < 1
