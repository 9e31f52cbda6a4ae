"""How images reach a CUDA GPU, on a machine without one (tests/support/pretended_cuda.py).

With a GPU that is fed in a slow way a run takes several times as long, and nothing else tells."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from coder_clip.datasets.folder import FolderDataset
from coder_clip.encoders.encoder import DTYPES, Encoder, EncoderSpec, load_encoder
from coder_clip.encoders.features import ImageFeatures, extract
from pretended_cuda import CUDA, PretendedCuda, Transfer, pretend
from tiny import save_tiny

N, SIZE = 23, 4
PRECISIONS = ["fp32", "tf32", "amp", "bf16", "fp16", "fp64"]
CLOSE = {"amp": 2e-2, "bf16": 2e-2, "fp16": 2e-3}  # the memory layout changes the order of sums


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local-dir:{save_tiny(tmp_path_factory.mktemp('models') / 'tiny')}"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> FolderDataset:
    root = tmp_path_factory.mktemp("photos")
    for i in range(N):
        path = root / "test" / ("cat", "dog")[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 256, (40, 45, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    return FolderDataset("photos", root)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> PretendedCuda:
    return pretend(monkeypatch)


def on_gpu(gpu: PretendedCuda, model: str, precision: str = "fp32") -> Encoder:
    """An encoder on the pretended GPU, which has noted nothing yet."""
    encoder = load_encoder(EncoderSpec(model, device="cuda:0", precision=precision))  # type: ignore[arg-type]
    assert encoder.device == CUDA
    gpu.watch(encoder.towers)
    gpu.forget()
    return encoder


def run(
    photos: FolderDataset, encoder: Encoder, views: int = 0, batch_size: int = SIZE
) -> ImageFeatures:
    split = photos.split("test")
    options = {"batch_size": batch_size, "workers": 2, "views": views, "progress": False}
    return extract(photos, split.ids, split.labels, encoder, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_gpu_computes_as_its_precision_says(
    gpu: PretendedCuda, model: str, photos: FolderDataset, precision: str
) -> None:
    """Else tf32 is as slow as fp32, or fp32 as coarse as tf32, and repeated runs differ."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    on_cpu = run(photos, load_encoder(EncoderSpec(model, device="cpu", precision=precision)))  # type: ignore[arg-type]
    encoder = on_gpu(gpu, model, precision)
    made = run(photos, encoder)
    assert {p.dtype for p in gpu.passes} == {DTYPES[precision]}
    assert {p.tf32 for p in gpu.passes} == {(precision == "tf32", precision == "tf32")}
    assert {p.autocast for p in gpu.passes} == {torch.bfloat16 if precision == "amp" else None}
    assert all(p.channels_last and p.deterministic and not p.gradients for p in gpu.passes)
    patches: Tensor = encoder.towers.model.visual.conv1.weight  # type: ignore[union-attr,assignment]
    assert patches.is_contiguous(memory_format=torch.channels_last)
    assert before == (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    close = CLOSE.get(precision, 1e-5)
    torch.testing.assert_close(made.features, on_cpu.features, atol=close, rtol=close)


@pytest.mark.parametrize("views", [0, 2])
def test_pixels_are_copied_as_bytes_from_pinned_memory(
    gpu: PretendedCuda, model: str, photos: FolderDataset, views: int
) -> None:
    """float32 is four times as much to copy; from other memory, the copy waits for the GPU."""
    run(photos, on_gpu(gpu, model), views)
    pixels = [t for t in gpu.transfers if len(t.shape) == 4]
    images = SIZE if not views else SIZE // views * views
    batches, rest = divmod(N * max(1, views), images)
    full, last = ((n, 3, 32, 32) for n in (images, rest))
    expected = [Transfer(torch.uint8, full, pinned=True, non_blocking=True)] * batches
    assert pixels[:batches] == expected
    assert [t.shape for t in pixels[batches:]] == [last]
    assert all(t.pinned and t.non_blocking for t in pixels)
    assert gpu.transfers == pixels, "nothing else is copied"


def test_the_main_thread_only_copies_and_encodes(
    gpu: PretendedCuda, model: str, photos: FolderDataset
) -> None:
    """The GPU waits while the thread that feeds it puts a batch together."""
    run(photos, on_gpu(gpu, model))
    assert len(gpu.pinning) == len(gpu.passes)
    assert all(name.startswith("batches") for name in gpu.pinning)


def test_the_main_thread_waits_for_the_gpu_after_the_last_batch(
    gpu: PretendedCuda, model: str, photos: FolderDataset
) -> None:
    """Each wait between two batches is a gap in the work of the GPU."""
    run(photos, on_gpu(gpu, model))
    assert len(gpu.passes) == 6
    assert set(gpu.waits) == {6}


def test_images_that_wait_for_their_features_take_no_memory(
    gpu: PretendedCuda, model: str, photos: FolderDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to 64 batches wait for a GPU: with 256 images each, 2.5 GB of pixels."""
    encoder, real, images = on_gpu(gpu, model), Encoder.forward_images, [0]
    # pinned memory is kept by the pretended GPU
    monkeypatch.setattr(PretendedCuda, "pin", lambda _, tensor: tensor)

    def live() -> int:
        """Number of images whose pixels are in memory."""
        tensors = [t for t in gc.get_objects() if type(t) is Tensor and t.dtype == torch.uint8]
        return sum(t.numel() for t in tensors) // (3 * 32 * 32)

    gc.collect()
    of_other_tests = live()

    def forward(e: Encoder, batch: Tensor) -> Tensor:
        if len(gpu.passes) == 8:
            images[0] = live() - of_other_tests
        return real(e, batch)

    monkeypatch.setattr(Encoder, "forward_images", forward)
    run(photos, encoder, batch_size=2)
    # the batch that is encoded; one that is put together, and its images; one that is read, one
    # image per thread, and one that was just taken
    assert 0 < images[0] <= 2 + 4 + 2 + 2 + 1
