"""Image features are open_clip's; views, devices and precisions change what they may and nothing
else.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from coder_clip.datasets.folder import FolderDataset
from coder_clip.encoders import encoder as encoders
from coder_clip.encoders import open_clip_towers
from coder_clip.encoders.encoder import Encoder, EncoderSpec, load_encoder, pick_device
from coder_clip.encoders.preprocessing import _crop_box
from coder_clip.errors import UserError
from coder_clip.foundation import reproducible
from coder_clip.pipeline.sections import ModelConfig
from tiny import TEXTS, UNCUT, local, picture, save_tiny

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_preprocessing_equals_open_clip(tiny_dir: Path, mode: str) -> None:
    cfg = json.loads((tiny_dir / "open_clip_config.json").read_text())
    cfg["preprocess_cfg"] = {"resize_mode": mode, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    folder = tiny_dir.parent / f"tiny-{mode}"
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(cfg))
    if not (folder / "open_clip_model.safetensors").exists():
        (folder / "open_clip_model.safetensors").symlink_to(
            tiny_dir / "open_clip_model.safetensors"
        )
    _, _, theirs = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    ours = local(folder)
    for size in ((50, 40), (20, 90), (32, 32), (7, 5)):
        assert torch.equal(ours.preprocess(picture(*size)), theirs(picture(*size))), size
    assert ours.metadata()["image_resize_mode"] == mode
    assert ours.metadata()["image_mean"] == "0.5,0.4,0.3"


def test_features_equal_open_clip(tiny: Encoder, tiny_dir: Path) -> None:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_dir}")
    with torch.inference_mode():
        theirs = model.eval().encode_image(
            torch.stack([preprocess(picture(50)), preprocess(picture(60))])
        )
    floats = tiny.encode_images(
        torch.stack([tiny.preprocess(picture(50)), tiny.preprocess(picture(60))])
    )
    pixels = torch.stack([tiny.preprocess.pixels(picture(50)), tiny.preprocess.pixels(picture(60))])
    assert torch.equal(floats, theirs)
    assert torch.equal(tiny.encode_images(pixels), theirs)
    assert tiny.encode_images(pixels[:0]).shape == (0, 16)


def test_coca_features_stay_raw(tmp_path: Path) -> None:
    """open_clip's CoCa makes unit image features by default; the method needs raw ones."""
    text, changes = UNCUT["coca"]
    encoder = local(save_tiny(tmp_path, text, **changes))
    norms = encoder.encode_images(torch.rand(3, 3, 32, 32)).norm(dim=1)
    assert ((norms - 1).abs() > 1e-3).all()


@pytest.mark.parametrize("precision", ["bf16", "fp16", "amp", "tf32"])
def test_low_precision_stays_close(tiny_dir: Path, tiny: Encoder, precision: Any) -> None:
    low = local(tiny_dir, precision=precision)
    assert {p.dtype for p in low.towers.model.parameters()} == {encoders.DTYPES[precision]}
    images = torch.stack([tiny.preprocess(picture(n)) for n in (40, 50, 60)])
    exact, rough = tiny.encode_images(images), low.encode_images(images)
    assert rough.dtype == torch.float32
    assert torch.cosine_similarity(exact, rough).min() > 0.999
    assert (tiny.encode_texts(TEXTS) * low.encode_texts(TEXTS)).sum(1).min() > 0.999
    assert low.metadata()["precision"] == precision
    assert low.metadata()["weights_sha256"] == tiny.metadata()["weights_sha256"]


def test_amp_multiplies_in_bfloat16_and_tf32_is_float32_without_a_gpu(
    tiny_dir: Path, tiny: Encoder
) -> None:
    images = torch.stack([tiny.preprocess(picture(n)) for n in (40, 50, 60)])
    expected = tiny.encode_images(images)
    assert torch.equal(local(tiny_dir, precision="tf32").encode_images(images), expected)
    assert not torch.equal(local(tiny_dir, precision="amp").encode_images(images), expected)
    assert not torch.is_autocast_enabled("cpu")


def test_a_card_multiplies_in_tf32_unless_told_otherwise() -> None:
    """The choice is the same on every machine, so features of a card and of a CPU node belong to
    one run.
    """
    rounds = torch.backends.cuda.matmul
    before, card = rounds.allow_tf32, torch.device("cuda")
    for precision, expected in (
        (EncoderSpec("ViT-B-32").precision, True),
        ("fp32", False),
        ("tf32", True),
    ):
        with encoders.passes(precision, card):
            assert (rounds.allow_tf32, torch.backends.cudnn.allow_tf32) == (expected, expected)
        assert rounds.allow_tf32 == before, "the program around us has its own choice"
    assert ModelConfig(model="ViT-B-32").precision == EncoderSpec("ViT-B-32").precision


@pytest.mark.parametrize("kind", ["plain", *UNCUT])
def test_a_model_that_is_not_filled_first_is_the_same(tmp_path: Path, kind: str) -> None:
    """Buffers are computed and not loaded: they must be there; parameters all come from the file."""
    text, changes = UNCUT[kind] if kind != "plain" else (None, {})
    folder = save_tiny(tmp_path, text, **changes)
    with torch.random.fork_rng():
        usual = open_clip.create_model(
            f"local-dir:{folder}", load_weights=False, pretrained_text=False
        )
    ours = open_clip_towers.empty_model(f"local-dir:{folder}")
    expected, found = dict(usual.named_buffers()), dict(ours.named_buffers())
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert dict(usual.named_parameters()).keys() == dict(ours.named_parameters()).keys()
    assert torch.nn.Linear(4, 4).weight.std() > 0, "others are filled as ever"


@pytest.mark.rest
def test_jobs_side_by_side_have_a_gpu_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coder_clip.phases import encoder as jobs

    monkeypatch.setattr(jobs.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(jobs.torch.cuda, "device_count", lambda: 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,7")
    code = (
        "import sys, torch; torch.cuda.device_count = lambda: 3; "
        "from coder_clip.phases.encoder import free_gpu; "
        "print(free_gpu(), free_gpu(), flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    running = [subprocess.Popen(command, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    try:
        taken = [process.stdout.readline().split() for process in running]
        assert sorted(taken) == [[f"cuda:{i}"] * 2 for i in range(3)], "a process keeps its own"
        assert jobs.free_gpu() == "cuda:0", "more jobs than GPUs (--resources on_gpu=4) do not stop"
        ended = running.pop(1)
        ended.communicate()
        assert jobs.free_gpu() == taken[1][0], "free when the job has ended"
    finally:
        jobs._held.clear()
        for process in running:
            process.kill()
            process.wait()


def test_float64_is_computed_in_float64_and_stored_in_float32(
    tiny_dir: Path, tiny: Encoder
) -> None:
    double = local(tiny_dir, precision="fp64")
    pixels = torch.stack([tiny.preprocess.pixels(picture(n)) for n in (40, 50, 60)])
    made = double.encode_images(pixels)
    assert made.dtype == torch.float64
    torch.testing.assert_close(made.float(), tiny.encode_images(pixels), atol=1e-5, rtol=1e-4)
    assert not torch.equal(made, made.float().double()), "computed in float32"
    apart = torch.cat([double.encode_images(image[None]) for image in pixels])
    assert torch.equal(reproducible.stored(made), reproducible.stored(apart)), (
        "a batch of another size gives the same features"
    )
    texts = double.encode_texts(TEXTS)
    assert texts.dtype == torch.float32
    torch.testing.assert_close(texts, tiny.encode_texts(TEXTS), atol=1e-5, rtol=1e-4)
    assert torch.equal(
        texts, reproducible.to_bits(texts.double(), reproducible.STORED_BITS + 1).float()
    ), "on the grid"
    assert double.metadata()["weights_sha256"] == tiny.metadata()["weights_sha256"]


def test_no_float64_on_a_gpu_that_has_none(tiny_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(UserError, match="fp64: Apple's GPU has no float64; use device: cpu"):
        load_encoder(EncoderSpec(f"local-dir:{tiny_dir}", precision="fp64", device="mps"))


@pytest.mark.rest
def test_freed_memory_is_kept() -> None:
    """Otherwise the kernel clears the same pages at every layer, which takes longer than the layer."""
    code = (
        "import resource, sys; import numpy as np; from coder_clip.encoders import memory\n"
        "if sys.argv[1:]: memory.keep()\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        # 50 MB: up to 32 MB glibc learns by itself to keep
        "np.ones(6_250_000); before = faults()\n"
        "for _ in range(20): np.ones(6_250_000)\n"
        "print(faults() - before)"
    )
    faults = [
        int(
            subprocess.run([sys.executable, "-c", code, *a], capture_output=True, check=True).stdout
        )
        for a in ([], ["keep"])
    ]
    assert faults[1] < faults[0] / 3 or platform.libc_ver()[0] != "glibc"


def test_views_depend_on_the_image_and_the_view_only(tiny: Encoder) -> None:
    view = tiny.preprocess.view
    first = view(picture(), "a.png", 0)
    torch.manual_seed(5)
    assert torch.equal(first, view(picture(), "a.png", 0))
    assert first.shape == (3, 32, 32)
    others = [view(picture(), "a.png", 1), view(picture(), "b.png", 0)]
    assert not any(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("size", [(50, 40), (300, 10), (10, 300), (1, 1)])
def test_views_cover_half_to_all_of_the_image(size: tuple[int, int]) -> None:
    width, height = size
    for seed in range(200):
        top, left, h, w = _crop_box(height, width, Random(seed))
        assert 0 <= top <= height - h
        assert 0 <= left <= width - w
        assert h > 0
        assert w > 0
        if size == (50, 40):
            assert 0.45 < h * w / (height * width) <= 1
            assert 0.7 < w / h < 1.4


def test_half_of_the_views_are_flipped(tiny: Encoder) -> None:
    """A picture dark on the left: how often does a view show it dark on the right?"""
    ramp = Image.fromarray(np.tile(np.arange(0, 250, 5, dtype=np.uint8), (50, 1))).convert("RGB")
    views = [tiny.preprocess.view(ramp, str(i), 0)[0].float() for i in range(200)]
    flipped = sum(bool(v[:, 0].mean() > v[:, -1].mean()) for v in views)
    assert 70 < flipped < 130


def test_devices() -> None:
    """`device: auto` would leave the GPU unused, or a wrong name would end in a traceback."""
    assert pick_device("cpu").type == "cpu"
    best = (
        "cuda"
        if torch.cuda.is_available()
        else "mps"
        if torch.backends.mps.is_available()
        else "cpu"
    )
    assert pick_device("auto").type == best
    for name in ("meta", "cpu:", "cpu:x"):
        with pytest.raises(UserError, match="unknown device"):
            pick_device(name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same_features(tiny_dir: Path, tiny: Encoder) -> None:
    cuda = load_encoder(EncoderSpec(f"local-dir:{tiny_dir}", precision="fp32", device="cuda"))
    pixels = torch.stack([tiny.preprocess.pixels(picture(n)) for n in (40, 50)])
    torch.testing.assert_close(
        cuda.encode_images(pixels), tiny.encode_images(pixels), atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(
        cuda.encode_texts(TEXTS), tiny.encode_texts(TEXTS), atol=1e-5, rtol=0
    )
    assert cuda.metadata() == tiny.metadata()


def test_too_little_memory_is_one_line(tiny_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = local(tiny_dir)

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(encoder.towers.model, "encode_image", full)
    with pytest.raises(UserError, match="2 images; lower batch_size"):
        encoder.encode_images(torch.zeros(2, 3, 32, 32))


@pytest.mark.rest
def test_real_encoder_on_real_photos(lite: Encoder, shared: Path) -> None:
    """Ten test images a class, zero-shot: chance is 10 %, this encoder has 47-50 % on more of them."""
    data = FolderDataset("cifar10", shared / "data/cifar10")
    test = data.split("test")
    chosen = [i for label in range(10) for i in np.flatnonzero(test.labels == label)[:10]]
    pixels = torch.stack([lite.preprocess.pixels(data.image(test.ids[i])) for i in chosen])
    images = torch.cat([lite.encode_images(pixels[i : i + 25]) for i in range(0, 100, 25)])
    texts = lite.encode_texts([f"a photo of a {name}." for name in data.classes])
    hits = (images @ texts.T).argmax(1).numpy() == test.labels[chosen]
    assert hits.mean() > 0.25
