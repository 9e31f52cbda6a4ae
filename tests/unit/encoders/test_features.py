from __future__ import annotations

import io
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from coder_clip.datasets.base import Split
from coder_clip.datasets.folder import FolderDataset
from coder_clip.encoders import families, features
from coder_clip.encoders.encoder import Encoder, EncoderSpec, load_encoder
from coder_clip.encoders.features import ImageFeatures, extract, merge
from coder_clip.encoders.store import MAKERS
from coder_clip.errors import UserError
from fixtures import SHARED
from tiny import save_tiny

N = 23


class Drawn:
    """N noise images of varying size; those in ``broken`` cannot be read."""

    name = "drawn"
    classes = ("a", "b")
    as_stored = False

    def __init__(self, broken: tuple[int, ...] = ()) -> None:
        self.broken = {f"{i}.png" for i in broken}
        self.pids: set[int] = set()

    def split(self, name: str) -> Split:
        return Split([f"{i}.png" for i in range(N)], np.arange(N, dtype=np.int64) % 2)

    def path(self, image_id: str) -> Path:
        return Path("/not/there") / image_id

    def image(self, image_id: str) -> Image.Image:
        if image_id in self.broken:
            raise UserError(f"/some/where/{image_id}: truncated")
        i = int(image_id.split(".")[0])
        noise = np.random.default_rng(i).integers(0, 256, (30 + i, 45, 3), dtype=np.uint8)
        return Image.fromarray(noise)

    def fingerprint(self) -> str:
        return "0" * 64


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = save_tiny(tmp_path_factory.mktemp("models") / "tiny")
    return load_encoder(EncoderSpec(f"local-dir:{folder}", device="cpu"))


def run(encoder: Encoder, broken: tuple[int, ...] = (), **options: Any) -> ImageFeatures:
    data = Drawn(broken)
    split = data.split("test")
    options = {"batch_size": 4, "progress": False, **options}
    return extract(data, split.ids, split.labels, encoder, **options)  # type: ignore[arg-type]


def same(a: ImageFeatures, b: ImageFeatures) -> bool:
    return (
        a.features.numpy().tobytes() == b.features.numpy().tobytes()
        and (a.kept_views is None) == (b.kept_views is None)
        and (
            a.kept_views is None or b.kept_views is None or torch.equal(a.kept_views, b.kept_views)
        )
        and torch.equal(a.labels, b.labels)
        and (a.ids, a.skipped, a.metadata) == (b.ids, b.skipped, b.metadata)
    )


# what hands the encoder to this code; test_encoders compares its features with open_clip's own
HAND_OVER = {
    "Encoder._encode_new.<locals>.<lambda>",
    "Encoder._forward",
    "Encoder.forward_images",
    "OpenClipTowers.image_features",
    "OpenClipTowers.text_features",
}


def test_the_store_names_all_code_between_a_photo_or_text_and_its_feature(
    encoder: Encoder,
) -> None:
    """A feature that was made by code outside of its key would be found after this code changed."""
    code = Path(features.__file__).parents[1]
    named = {f"{code}/{module}.py" for module in (*MAKERS, *families.of("local-dir:").makers)}
    ran, outside = set[str](), set[str]()

    def called(frame: FrameType, event: str, _: object) -> None:
        file, caller = frame.f_code.co_filename, frame.f_back and frame.f_back.f_code.co_filename
        if event == "call" and file.startswith(str(code)):
            ran.add(file)
            if caller in named and file not in named:
                outside.add(frame.f_code.co_qualname)

    sys.setprofile(called)
    try:
        run(encoder, workers=0)
        run(encoder, workers=0, views=2, keep_views=1)
        encoder.encode_texts(["a photo of a bird"], batch_size=1)
    finally:
        sys.setprofile(None)
    assert outside <= HAND_OVER
    # decoding: of a data set whose pictures are files
    assert named - ran == {f"{code}/datasets/decoding.py"}


def test_one_row_an_image(encoder: Encoder) -> None:
    result = run(encoder)
    assert result.features.shape == (N, 16)
    assert result.features.dtype == torch.float32
    assert result.labels.dtype == torch.int64
    assert result.labels.tolist() == [i % 2 for i in range(N)]
    assert result.ids == [f"{i}.png" for i in range(N)]
    assert result.skipped == []
    assert result.metadata["shard"] == "0/1"
    assert "device" not in result.metadata, (
        "it describes the run, and float64 gives every machine the same"
    )
    assert result.metadata["weights_sha256"] == encoder.metadata()["weights_sha256"]
    assert all(isinstance(v, str) for v in result.metadata.values())
    alone = encoder.encode_images(encoder.preprocess(Drawn().image("7.png")).unsqueeze(0))[0]
    torch.testing.assert_close(result.features[7], alone, atol=1e-5, rtol=1e-5)
    assert (result.features.norm(dim=1) - 1).abs().min() > 1e-3  # raw


@pytest.mark.parametrize(
    ("shards", "views", "kept"),
    [(1, 0, 0), (3, 0, 0), (7, 0, 0), (40, 0, 0), (3, 2, 0), (3, 2, 2), (40, 2, 1)],
)
def test_shards_merge_to_the_same_bytes(
    encoder: Encoder, shards: int, views: int, kept: int
) -> None:
    broken = (5, 8, 9, 10, 11)  # one of a batch, and all of another
    options = {"on_error": "skip", "views": views, "keep_views": kept}
    whole = run(encoder, broken, **options)
    parts = [run(encoder, broken, **options, shard=(i, shards)) for i in range(shards)]
    assert same(merge(parts), whole)
    assert len(whole.ids) == N - 5


def test_workers_change_no_byte(encoder: Encoder) -> None:
    for options in ({}, {"views": 2}, {"broken": (3,), "on_error": "skip"}):
        assert same(run(encoder, workers=0, **options), run(encoder, workers=2, **options))  # type: ignore[arg-type]


def test_loading_leaves_the_callers_random_numbers_alone(encoder: Encoder) -> None:
    state = torch.random.get_rng_state()
    run(encoder, views=2)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_skipping_moves_no_other_image(encoder: Encoder) -> None:
    """The others keep their batch and their bytes; the skipped have no row and a reason."""
    whole, holes = run(encoder), run(encoder, (0, 6, 22), on_error="skip")
    assert [i for i, _ in holes.skipped] == ["0.png", "6.png", "22.png"]
    assert all("truncated" in reason for _, reason in holes.skipped)
    keep = [i for i in range(N) if i not in (0, 6, 22)]
    assert torch.equal(holes.features, whole.features[keep])
    assert holes.labels.tolist() == [i % 2 for i in keep]
    assert holes.ids == [f"{i}.png" for i in keep]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_fails_in_one_line(encoder: Encoder, workers: int) -> None:
    with pytest.raises(UserError) as caught:
        run(encoder, (6,), workers=workers)
    assert str(caught.value) == "/some/where/6.png: truncated"


def test_the_reason_for_skipping_holds_no_path(encoder: Encoder, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "test" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "test" / name / "0.png")
    (tmp_path / "test/a/1.png").write_text("broken")
    data = FolderDataset("x", tmp_path)
    split = data.split("test")
    result = extract(data, split.ids, split.labels, encoder, on_error="skip", progress=False)
    assert result.ids == ["test/a/0.png", "test/b/0.png"]
    assert result.skipped[0][0] == "test/a/1.png"
    assert str(tmp_path) not in result.skipped[0][1]


def test_no_image_left(encoder: Encoder) -> None:
    """A run would go on although none of its images can be read."""
    with pytest.raises(UserError, match="none of 23 images could be read"):
        run(encoder, tuple(range(N)), on_error="skip")
    shards = [run(encoder, tuple(range(N)), on_error="skip", shard=(i, 2)) for i in range(2)]
    with pytest.raises(UserError, match="none of 23 images could be read"):
        merge(shards)


def test_views_are_the_mean_of_the_raw_features(encoder: Encoder) -> None:
    result = run(encoder, views=3)
    assert result.metadata["views"] == "3"
    data = Drawn()
    for i in (0, 13):
        image_id = f"{i}.png"
        views = torch.stack(
            [encoder.preprocess.view(data.image(image_id), image_id, v) for v in range(3)]
        )
        mean = encoder.encode_images(views).mean(dim=0)
        torch.testing.assert_close(result.features[i], mean, atol=1e-5, rtol=1e-5)


def test_kept_views_are_the_unit_features_one_by_one_and_change_no_mean(encoder: Encoder) -> None:
    """What a Gaussian is fitted to: the mean over views has no spread."""
    result = run(encoder, views=3, keep_views=2)
    assert result.kept_views is not None
    assert result.kept_views.shape == (N, 2, 16)
    assert result.kept_views.dtype == torch.float16
    assert torch.equal(result.features, run(encoder, views=3).features)
    views = torch.stack(
        [encoder.preprocess.view(Drawn().image("13.png"), "13.png", v) for v in range(2)]
    )
    expected = torch.nn.functional.normalize(encoder.encode_images(views), dim=1)
    torch.testing.assert_close(result.kept_views[13].float(), expected, atol=1e-3, rtol=0)


def test_more_views_than_the_batch_holds(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = Encoder.forward_images
    monkeypatch.setattr(Encoder, "forward_images", lambda e, b: sizes.append(len(b)) or real(e, b))
    run(encoder, views=10)
    assert set(sizes) == {4, 2}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_feature_that_is_not_finite_names_the_image(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    real = Encoder.forward_images

    def spoiled(self: Encoder, batch: torch.Tensor) -> torch.Tensor:
        result = real(self, batch)
        result[1, 3] = value
        return result

    monkeypatch.setattr(Encoder, "forward_images", spoiled)
    with pytest.raises(UserError, match=r"image '1\.png' is not finite"):
        run(encoder)


def test_shards_of_different_runs_are_not_merged(encoder: Encoder) -> None:
    parts = [run(encoder, shard=(i, 3)) for i in range(3)]
    other = replace(parts[1], metadata={**parts[1].metadata, "precision": "bf16"})
    with pytest.raises(UserError, match="precision is bf16, not tf32"):
        merge([parts[0], other, parts[2]])
    ids, labels = [f"{i}.png" for i in range(1, N)], [0] * (N - 1)
    fewer = extract(Drawn(), ids, labels, encoder, batch_size=4, shard=(1, 3), progress=False)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="run is"):
        merge([parts[0], fewer, parts[2]])
    ids = [f"{i}.png" for i in range(N)]
    relabelled = extract(Drawn(), ids, [0] * N, encoder, batch_size=4, shard=(1, 3), progress=False)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="run is"):
        merge([parts[0], relabelled, parts[2]])


def test_progress_in_a_log_is_a_few_lines(
    encoder: Encoder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(encoder, progress=True, batch_size=1)
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 3
    assert f"{N}/{N}" in lines[-1]
    assert "img/s" in lines[-1]
    assert not any("\r" in line for line in lines)

    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", terminal)
    run(encoder, progress=True)
    assert "\r" in terminal.getvalue()
    run(encoder, progress=False)
    assert terminal.getvalue().count("100%") == 1


@pytest.mark.skipif(
    not (SHARED / "data/cifar10").is_dir(), reason="shared CIFAR-10 photos are not here"
)
def test_photos_from_a_folder(encoder: Encoder) -> None:
    data = FolderDataset("cifar10", SHARED / "data/cifar10", classes=["cat", "dog"])
    split = data.split("val")
    result = extract(data, split.ids, split.labels, encoder, workers=2, progress=False)
    assert result.features.shape == (40, 16)
    assert result.ids == split.ids


class Busy(Drawn):
    """Notes which images are being read, and how many were read."""

    def __init__(self, fails: str = "") -> None:
        super().__init__()
        self.fails, self.read, self.now, self.most = fails, 0, 0, 0
        self.lock = threading.Lock()

    def image(self, image_id: str) -> Image.Image:
        with self.lock:
            self.read, self.now = self.read + 1, self.now + 1
            self.most = max(self.most, self.now)
        try:
            if image_id == self.fails:
                raise ZeroDivisionError("no reason that anyone foresaw")
            return super().image(image_id)
        finally:
            with self.lock:
                self.now -= 1


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_exception_in_a_thread_ends_the_job_with_its_message(
    encoder: Encoder, workers: int
) -> None:
    data, ids = Busy("9.png"), [f"{i}.png" for i in range(N)]
    with pytest.raises(ZeroDivisionError, match="no reason that anyone foresaw"):
        extract(data, ids, [0] * N, encoder, batch_size=2, workers=workers, progress=False)  # type: ignore[arg-type]
    assert data.most <= max(1, workers)


@pytest.mark.parametrize("workers", [1, 3])
def test_few_images_are_read_ahead_of_the_encoder(
    encoder: Encoder, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once would not fit in memory."""
    data, encoded = Busy(), [0]
    real = Encoder.forward_images

    def forward(e: Encoder, batch: torch.Tensor) -> torch.Tensor:
        time.sleep(0.05)  # threads read on, as far as they may
        assert data.read <= encoded[0] + 3 * 2 + workers + 1
        encoded[0] += len(batch)
        return real(e, batch)

    monkeypatch.setattr(Encoder, "forward_images", forward)
    ids = [f"{i}.png" for i in range(N)]
    extract(data, ids, [0] * N, encoder, batch_size=2, workers=workers, progress=False)  # type: ignore[arg-type]
    assert (data.read, encoded[0]) == (N, N)


@pytest.mark.parametrize("stops", [KeyboardInterrupt, UserError])
def test_when_the_pass_ends_early_no_further_image_is_read(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, stops: type[BaseException]
) -> None:
    """Ctrl-C, or a device without memory."""

    def forward(*_: object) -> torch.Tensor:
        raise stops

    monkeypatch.setattr(Encoder, "forward_images", forward)
    data, ids = Busy(), [f"{i % N}.png" for i in range(500)]
    with pytest.raises(stops):
        extract(data, ids, [0] * 500, encoder, batch_size=2, workers=2, progress=False)  # type: ignore[arg-type]
    time.sleep(0.2)
    assert data.read < 20


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
def test_no_process_and_no_shared_memory(encoder: Encoder) -> None:
    """A container has 64 MB of /dev/shm, with which loader processes hung for ever."""

    def look() -> set[str]:
        children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        processes = {pid for task in children for pid in task.read_text().split()}
        lines = Path("/proc/self/maps").read_text().splitlines()
        return processes | {line for line in lines if "/dev/shm" in line}

    class Looking(Drawn):
        def image(self, image_id: str) -> Image.Image:
            seen.update(look())
            return super().image(image_id)

    before, seen = look(), set[str]()
    ids = [f"{i}.png" for i in range(8)]
    extract(Looking(), ids, [0] * 8, encoder, batch_size=2, workers=2, progress=False)  # type: ignore[arg-type]
    assert seen == before


def test_features_stay_on_the_device_until_a_part_is_full(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU; the features and their order are the same, and a bad one still names its image."""
    expected = run(encoder, views=2, keep_views=1)
    monkeypatch.setattr(features, "_most_waiting", lambda _: 5)
    assert same(run(encoder, views=2, keep_views=1), expected)
    test_a_feature_that_is_not_finite_names_the_image(encoder, monkeypatch, float("nan"))
