from __future__ import annotations

import json
import logging
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
from open_clip.factory import _MODEL_CONFIGS
from open_clip.pretrained import _PRETRAINED
from open_clip.transformer import QuickGELU
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import COCA, config, random_weights, save_tiny
from torch import nn

from coder_clip.datasets.folder import FolderDataset
from coder_clip.encoders import encoder as encoders
from coder_clip.encoders.encoder import Encoder, EncoderSpec, load_encoder, pick_device
from coder_clip.encoders.preprocessing import _crop_box
from coder_clip.encoders.text_towers import can_cut, needed_lengths, text_features
from coder_clip.errors import UserError
from coder_clip.foundation import exact

SHARED = Path(os.environ.get("CODER_CLIP_SHARED", Path(__file__).parents[2].parent / "shared"))
LITE = SHARED / "models/lite0-minilm"
MINI = Path(__file__).parents[2] / "data/mini"
needs_lite = pytest.mark.skipif(not LITE.is_dir(), reason="the shared lite0-minilm encoder is not here")

TEXTS = [
    "a photo of a cat.",
    "a dog",
    "a photo of a very long-haired dog which has floppy ears and a wet nose",
    "",
    "a dog",
    "naïve café ☕ 日本",
]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may leave the machine, wherever the tests run."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def local(folder: Path, **spec: Any) -> Encoder:
    return load_encoder(EncoderSpec(f"local-dir:{folder}", device="cpu", **spec))


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tiny(tiny_dir: Path) -> Encoder:
    return local(tiny_dir)


def picture(width: int = 50, height: int = 40) -> Image.Image:
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


# --- texts ------------------------------------------------------------------------------

CAUSAL = {
    "clip": ({}, {}),
    "custom_text": ({}, {"custom_text": True}),
    "eos": ({"pool_type": "eos", "eos_id": 49407}, {"custom_text": True}),
    "eos_clip": ({"pool_type": "eos", "eos_id": 49407}, {}),
    "projection_with_bias": ({"proj_bias": True}, {"custom_text": True}),
    "no_projection": ({"proj_type": "none"}, {"custom_text": True}),
    "custom_blocks": ({"qk_norm": True, "scale_fc": True}, {"custom_text": True}),
}
UNCUT = {
    "siglip": ({"no_causal_mask": True, "pool_type": "last"}, {"custom_text": True}),
    "no_causal_argmax": ({"no_causal_mask": True}, {"custom_text": True}),
    "causal_last": ({"pool_type": "last"}, {"custom_text": True}),
    "coca": ({"embed_cls": True, "output_tokens": True}, COCA),
}


@pytest.mark.parametrize("kind", CAUSAL)
def test_causal_towers_are_cut_exactly(tmp_path: Path, kind: str) -> None:
    text, changes = CAUSAL[kind]
    encoder = local(save_tiny(tmp_path, text, **changes))
    assert can_cut(encoder.model) == "pooled"
    model = encoder.model.double()
    tokens = encoder.tokenizer(TEXTS, context_length=24)
    lengths = needed_lengths(model, tokens)
    assert lengths.tolist() == [int(row.argmax()) + 1 for row in tokens]
    with torch.inference_mode():
        full = model.encode_text(tokens)
        assert (text_features(model, tokens) - full).abs().max() < 1e-12
        assert (text_features(model, tokens[:, : lengths.max()]) - full).abs().max() < 1e-12
        for i, n in enumerate(lengths):
            assert (text_features(model, tokens[i : i + 1, :n]) - full[i]).abs().max() < 1e-12


@pytest.mark.parametrize("kind", UNCUT)
def test_towers_that_see_the_padding_are_not_cut(tmp_path: Path, kind: str) -> None:
    text, changes = UNCUT[kind]
    encoder = local(save_tiny(tmp_path, text, **changes))
    assert can_cut(encoder.model) == "none"
    tokens = encoder.tokenizer(TEXTS, context_length=24)
    assert needed_lengths(encoder.model, tokens).tolist() == [24] * len(TEXTS)
    with torch.inference_mode():
        full = nn.functional.normalize(encoder.model.encode_text(tokens, normalize=False), dim=1)
    torch.testing.assert_close(encoder.encode_texts(TEXTS), full, atol=1e-5, rtol=0)


def test_cutting_a_siglip_tower_would_be_wrong(tmp_path: Path) -> None:
    """The reason for the rule above: behind the last word such a tower still reads."""
    text, changes = UNCUT["siglip"]
    model = local(save_tiny(tmp_path, text, **changes)).model
    tokens = open_clip.tokenize(["a dog"], context_length=24)
    with torch.inference_mode():
        shorter = torch.cat([tokens[:, :8], tokens[:, 8:16] * 0 + 5, tokens[:, 16:]], 1)
        assert (model.encode_text(tokens) - model.encode_text(shorter)).abs().max() > 1e-3


def test_an_unknown_tower_is_not_cut() -> None:
    assert can_cut(nn.Linear(2, 2)) == "none"


def test_vit_b_32_text_tower(tmp_path: Path) -> None:
    """The real text tower's shape, thinned to two layers, against open_clip's own call."""
    cfg = open_clip.get_model_config("ViT-B-32")
    encoder = local(save_tiny(tmp_path, {**cfg["text_cfg"], "layers": 2}))
    tokens = encoder.tokenizer(TEXTS)
    with torch.inference_mode():
        full = encoder.model.encode_text(tokens, normalize=True)
    torch.testing.assert_close(encoder.encode_texts(TEXTS), full, atol=1e-5, rtol=0)


def test_texts_come_back_in_order_once_each(tiny: Encoder) -> None:
    report = tiny.encode_texts_report(TEXTS, batch_size=1)
    assert report.n_unique == 5
    assert report.over_length == []
    assert report.features.dtype == torch.float32
    torch.testing.assert_close(report.features.norm(dim=1), torch.ones(6))
    assert torch.equal(report.features[1], report.features[4])
    for i, text in enumerate(TEXTS):
        torch.testing.assert_close(tiny.encode_texts([text])[0], report.features[i], atol=1e-5, rtol=0)


def test_no_texts(tiny: Encoder) -> None:
    assert tiny.encode_texts([]).shape == (0, 16)


def test_each_different_text_is_encoded_once(tiny: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    real = encoders.text_features
    monkeypatch.setattr(encoders, "text_features", lambda m, t: seen.append(tuple(t.shape)) or real(m, t))
    tiny.encode_texts(["a dog", "one two three four five six", "a dog", "a cat"] * 5)
    assert seen == [(3, 8)]
    seen.clear()
    tiny.encode_texts([f"{'word ' * n}" for n in range(1, 15)], batch_size=1)
    assert sum(rows for rows, _ in seen) == 14
    assert all(rows == 1 or rows * length <= 24 for rows, length in seen)
    assert [length for _, length in seen] == sorted(length for _, length in seen)


def test_texts_over_the_context_are_reported(tiny: Encoder, caplog: pytest.LogCaptureFixture) -> None:
    fits, over = " ".join(["dog"] * 22), " ".join(["dog"] * 23)  # 24 tokens with start and end
    with caplog.at_level(logging.WARNING):
        report = tiny.encode_texts_report(["a", over, fits, over])
        assert caplog.text == "", "the caller has the report, and would warn a second time"
        tiny.encode_texts(["a", over, fits, over])
    assert report.over_length == [1, 3]
    assert "2 texts are over 24 tokens" in caplog.text
    torch.testing.assert_close(report.features[1], report.features[2], atol=1e-6, rtol=0)  # truncated


def test_a_text_without_a_finite_feature_is_named(tiny_dir: Path) -> None:
    encoder = local(tiny_dir)
    encoder.model.text_projection.data.zero_()
    with pytest.raises(UserError, match="'a dog'"):
        encoder.encode_texts(["a dog"])


# --- images ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_preprocessing_equals_open_clip(tiny_dir: Path, mode: str) -> None:
    cfg = json.loads((tiny_dir / "open_clip_config.json").read_text())
    cfg["preprocess_cfg"] = {"resize_mode": mode, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    folder = tiny_dir.parent / f"tiny-{mode}"
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(cfg))
    if not (folder / "open_clip_model.safetensors").exists():
        (folder / "open_clip_model.safetensors").symlink_to(tiny_dir / "open_clip_model.safetensors")
    _, _, theirs = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    ours = local(folder)
    for size in ((50, 40), (20, 90), (32, 32), (7, 5)):
        assert torch.equal(ours.preprocess(picture(*size)), theirs(picture(*size))), size
    assert ours.metadata()["image_resize_mode"] == mode
    assert ours.metadata()["image_mean"] == "0.5,0.4,0.3"


def test_features_equal_open_clip(tiny: Encoder, tiny_dir: Path) -> None:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_dir}")
    with torch.inference_mode():
        theirs = model.eval().encode_image(torch.stack([preprocess(picture(50)), preprocess(picture(60))]))
    floats = tiny.encode_images(torch.stack([tiny.preprocess(picture(50)), tiny.preprocess(picture(60))]))
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
    assert {p.dtype for p in low.model.parameters()} == {encoders.DTYPES[precision]}
    images = torch.stack([tiny.preprocess(picture(n)) for n in (40, 50, 60)])
    exact, rough = tiny.encode_images(images), low.encode_images(images)
    assert rough.dtype == torch.float32
    assert torch.cosine_similarity(exact, rough).min() > 0.999
    assert (tiny.encode_texts(TEXTS) * low.encode_texts(TEXTS)).sum(1).min() > 0.999
    assert low.metadata()["precision"] == precision
    assert low.metadata()["weights_sha256"] == tiny.metadata()["weights_sha256"]


def test_amp_multiplies_in_bfloat16_and_tf32_is_float32_without_a_gpu(tiny_dir: Path, tiny: Encoder) -> None:
    images = torch.stack([tiny.preprocess(picture(n)) for n in (40, 50, 60)])
    expected = tiny.encode_images(images)
    assert torch.equal(local(tiny_dir, precision="tf32").encode_images(images), expected)
    assert not torch.equal(local(tiny_dir, precision="amp").encode_images(images), expected)
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("kind", ["plain", *UNCUT])
def test_a_model_that_is_not_filled_first_is_the_same(tmp_path: Path, kind: str) -> None:
    """Buffers are computed and not loaded: they must be there; parameters all come from the file."""
    text, changes = UNCUT[kind] if kind != "plain" else (None, {})
    folder = save_tiny(tmp_path, text, **changes)
    with torch.random.fork_rng():
        usual = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    ours = encoders.empty_model(f"local-dir:{folder}")
    expected, found = dict(usual.named_buffers()), dict(ours.named_buffers())
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert dict(usual.named_parameters()).keys() == dict(ours.named_parameters()).keys()
    assert torch.nn.Linear(4, 4).weight.std() > 0, "others are filled as ever"


@pytest.mark.rest
def test_jobs_side_by_side_take_a_gpu_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coder_clip.phases import encoder as slots

    monkeypatch.setattr(slots.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    code = (
        "import sys; from coder_clip.phases.encoder import take_gpu; take_gpu(); import os; "
        "print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    first, second = (subprocess.Popen(command, **pipes) for _ in range(2))  # type: ignore[call-overload]
    try:
        taken = {first.stdout.readline().strip(), second.stdout.readline().strip()}
        assert taken == {"2", "5"}
        first.communicate()
        slots._held.clear()
        slots.take_gpu()
        assert os.environ["CUDA_VISIBLE_DEVICES"] in taken, "free when the job has ended"
    finally:
        slots._held.clear()
        for process in (first, second):
            process.kill()
            process.wait()


def test_float64_is_computed_in_float64_and_stored_in_float32(tiny_dir: Path, tiny: Encoder) -> None:
    double = local(tiny_dir, precision="fp64")
    pixels = torch.stack([tiny.preprocess.pixels(picture(n)) for n in (40, 50, 60)])
    made = double.encode_images(pixels)
    assert made.dtype == torch.float64
    torch.testing.assert_close(made.float(), tiny.encode_images(pixels), atol=1e-5, rtol=1e-4)
    assert not torch.equal(made, made.float().double()), "computed in float32"
    apart = torch.cat([double.encode_images(image[None]) for image in pixels])
    assert torch.equal(exact.stored(made), exact.stored(apart)), (
        "a batch of another size gives the same features"
    )
    texts = double.encode_texts(TEXTS)
    assert texts.dtype == torch.float32
    torch.testing.assert_close(texts, tiny.encode_texts(TEXTS), atol=1e-5, rtol=1e-4)
    assert torch.equal(texts, exact.to_places(texts.double(), exact.KEPT + 1).float()), "on the grid"
    assert double.metadata()["weights_sha256"] == tiny.metadata()["weights_sha256"]


def test_no_float64_on_a_gpu_that_has_none(tiny_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(UserError, match="fp64: Apple's GPU has no float64; use device: cpu"):
        load_encoder(EncoderSpec(f"local-dir:{tiny_dir}", precision="fp64", device="mps"))


def test_freed_memory_is_kept() -> None:
    """Otherwise the kernel clears the same pages at every layer, which takes longer than the layer."""
    code = (
        "import resource, sys; import numpy as np; from coder_clip.encoders import memory\n"
        "if sys.argv[1:]: memory.keep()\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "np.ones(6_250_000); before = faults()\n"  # 50 MB: up to 32 MB glibc learns by itself to keep
        "for _ in range(20): np.ones(6_250_000)\n"
        "print(faults() - before)"
    )
    faults = [
        int(subprocess.run([sys.executable, "-c", code, *a], capture_output=True, check=True).stdout)
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


# --- loading ------------------------------------------------------------------------------


def test_metadata_is_strings_without_paths(tiny: Encoder, tiny_dir: Path) -> None:
    data = tiny.metadata()
    assert all(isinstance(v, str) for v in data.values())
    assert not any("/" in v for v in data.values())
    assert data["model"] == "local-dir:tiny"
    assert data["pretrained"] == "open_clip_model.safetensors"
    assert "open_clip" not in data, "a version describes the run"
    assert data["image_size"] == "32x32"
    assert local(tiny_dir).metadata() == data
    assert load_encoder(EncoderSpec(f"local-dir:{tiny_dir}/../tiny/", device="cpu")).metadata() == data


def test_the_hash_is_of_the_weights_not_of_the_file(tmp_path: Path, tiny: Encoder, tiny_dir: Path) -> None:
    state = load_file(tiny_dir / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text((tiny_dir / "open_clip_config.json").read_text())
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "weights.bin")
    assert local(tmp_path).metadata()["weights_sha256"] == tiny.metadata()["weights_sha256"]
    state["logit_scale"] += 1
    save_file(state, tmp_path / "open_clip_model.safetensors")  # preferred over the other
    assert local(tmp_path).metadata()["weights_sha256"] != tiny.metadata()["weights_sha256"]


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """An open_clip name "Tiny" with tags whose downloads are files; as ViT-B-32, openai needs QuickGELU."""
    cfg = config()
    monkeypatch.setitem(_MODEL_CONFIGS, "Tiny", cfg)
    monkeypatch.setitem(_MODEL_CONFIGS, "Tiny-quickgelu", {**cfg, "quick_gelu": True})
    base = {
        "url": "",
        "mean": (0.5,) * 3,
        "std": (0.25,) * 3,
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }
    tags = {
        "openai": {**base, "hf_hub": "timm/tiny.openai/", "quick_gelu": True},
        "laion2b": {**base, "hf_hub": "laion/tiny/"},
    }
    monkeypatch.setitem(_PRETRAINED, "Tiny", tags)
    monkeypatch.setitem(_PRETRAINED, "Tiny-quickgelu", {"openai": tags["openai"]})
    file = save_tiny(tmp_path / "zoo") / "open_clip_model.safetensors"
    monkeypatch.setattr(open_clip, "download_pretrained", lambda cfg: str(file))
    return {"file": file, "tags": tags}


def activations(encoder: Encoder) -> set[type]:
    """Kinds of activation modules in both towers' blocks."""
    towers = (encoder.model.visual.transformer, encoder.model.transformer)
    return {type(b.mlp.gelu) for tower in towers for b in tower.resblocks}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("model", "tag", "kind"),
    [
        ("Tiny", "openai", QuickGELU),
        ("Tiny-quickgelu", "openai", QuickGELU),
        ("Tiny", "laion2b", nn.GELU),
        ("Tiny", "OpenAI", QuickGELU),
    ],
)
def test_quickgelu_follows_the_tag(zoo: dict[str, Any], model: str, tag: str, kind: type) -> None:
    encoder = load_encoder(EncoderSpec(model, tag, device="cpu"))
    assert activations(encoder) == {kind}
    assert encoder.metadata()["quick_gelu"] == ("true" if kind is QuickGELU else "false")
    assert encoder.metadata()["image_resize_mode"] == "squash"  # the tag's own preprocessing
    assert encoder.metadata()["image_std"] == "0.25,0.25,0.25"


@pytest.mark.parametrize(("tag", "name"), [(t, m) for m in _PRETRAINED for t in _PRETRAINED[m]][::9])
def test_every_published_tag_says_what_it_needs(tag: str, name: str) -> None:
    """Every name and tag of open_clip resolves as far as the fetch, which is one clear line here."""
    with pytest.raises(UserError, match="hf download") as caught:
        load_encoder(EncoderSpec(name, tag, device="cpu"), offline=True)
    assert "\n" not in str(caught.value)


def test_local_checkpoints(zoo: dict[str, Any], tmp_path: Path) -> None:
    """A file does not tell its activation: asked for where both exist. Preprocessing is what all tags share."""
    tagged = load_encoder(EncoderSpec("Tiny", "laion2b", device="cpu"))
    state = load_file(zoo["file"])
    for suffix in ("safetensors", "bin", "pt"):
        path = tmp_path / f"my.{suffix}"
        save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
        with pytest.raises(UserError, match="set quick_gelu"):
            load_encoder(EncoderSpec("Tiny", str(path), device="cpu"))
        encoder = load_encoder(EncoderSpec("Tiny", str(path), device="cpu", quick_gelu=False))
        told = load_encoder(EncoderSpec("Tiny", str(path), device="cpu", quick_gelu=True))
        assert activations(told) == {QuickGELU}
        assert activations(encoder) == {nn.GELU}
        assert encoder.metadata() == {**tagged.metadata(), "pretrained": path.name}
    assert activations(load_encoder(EncoderSpec("Tiny-quickgelu", str(path), device="cpu"))) == {QuickGELU}


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("exit 1",)


def test_pickles_and_torchscript_are_refused(zoo: dict[str, Any], tmp_path: Path) -> None:
    torch.save({"state_dict": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="only tensors are read"):
        load_encoder(EncoderSpec("Tiny", str(tmp_path / "evil.pt"), device="cpu", quick_gelu=False))
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "ViT-B-32.pt"))
    with pytest.raises(UserError, match="TorchScript"):
        load_encoder(EncoderSpec("Tiny", str(tmp_path / "ViT-B-32.pt"), device="cpu", quick_gelu=False))
    (tmp_path / "broken.bin").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_encoder(EncoderSpec("Tiny", str(tmp_path / "broken.bin"), device="cpu", quick_gelu=False))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (EncoderSpec("ViT-B-23", "openai"), "did you mean 'ViT-B-32'"),
        (EncoderSpec("ViT-B-32", "openia"), "did you mean 'openai'"),
        (EncoderSpec("ViT-B-32"), "needs pretrained"),
        (EncoderSpec("ViT-B-32", "none.pt"), r"does not exist: none\.pt"),
        (EncoderSpec("ViT-B/32", "openai"), "hf download timm/vit_base_patch32_clip_224.openai"),
        (EncoderSpec("hf-hub:org/name"), "hf download org/name"),
        (EncoderSpec("hf-hub:"), "nothing after"),
        (EncoderSpec("local-dir:none"), "does not exist: none"),
        (EncoderSpec("local-dir:x", "openai"), "brings its own weights"),
        (EncoderSpec("ViT-B-32", "openai", device="gpu"), "unknown device"),
        (EncoderSpec("ViT-B-32", "openai", device="cuda:99"), "not on this machine"),
    ],
)
@pytest.mark.parametrize("offline", [True, False])
def test_errors_are_one_line(spec: EncoderSpec, message: str, offline: bool, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_encoder(spec, offline=offline)
    assert "\n" not in str(caught.value)


def test_folder_errors(tmp_path: Path, tiny_dir: Path) -> None:
    with pytest.raises(UserError, match=r"lacks open_clip_config\.json"):
        local(tmp_path)
    (tmp_path / "open_clip_config.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        local(tmp_path)
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": 4}}')
    with pytest.raises(UserError, match=r"lacks model_cfg\.text_cfg"):
        local(tmp_path)
    cfg = config()
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": cfg}))
    with pytest.raises(UserError, match="no weights"):
        local(tmp_path)
    save_file({"x": torch.zeros(2)}, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(UserError, match="cannot be loaded into"):
        local(tmp_path)
    cfg["text_cfg"]["vocab_size"] = 100
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": cfg}))
    with pytest.raises(UserError, match="49408 tokens, the text tower only 100"):
        local(tmp_path)
    cfg["text_cfg"]["tokenizer_kwargs"] = {"bpe_path": "merges.txt.gz"}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": cfg}))
    with pytest.raises(UserError, match=r"merges\.txt\.gz"):
        local(tmp_path)
    cfg["text_cfg"] = {"hf_model_name": "."}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": cfg}))
    with pytest.raises(UserError, match=r"lacks config\.json"):
        local(tmp_path)


def test_a_folder_with_its_own_merges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A truncated tokenizer beside the weights, from a relative path and from any working directory."""
    import gzip

    from open_clip.tokenizer import default_bpe

    folder = tmp_path / "small"
    folder.mkdir()
    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode().split("\n")[:1001]
    (folder / "merges.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    text = {"vocab_size": 512 + 1000 + 2, "tokenizer_kwargs": {"bpe_path": "merges.txt.gz"}}
    monkeypatch.chdir(folder)  # the helper that makes the weights resolves the path as open_clip does
    save_tiny(folder, text)
    monkeypatch.chdir(tmp_path)
    encoder = local(Path("small"))
    assert encoder.tokenizer.vocab_size == 1514  # type: ignore[attr-defined]
    tokens = encoder.tokenizer(TEXTS, context_length=24)
    assert int(tokens.max()) == 1513
    assert encoder.encode_texts(TEXTS).shape == (6, 16)


def test_from_the_hub_cache(tmp_path: Path, tiny_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that someone fetched before loads without network."""
    repository = tmp_path / "models--org--tiny"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (snapshot / name).write_bytes((tiny_dir / name).read_bytes())
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for offline in (True, False):
        encoder = load_encoder(EncoderSpec("hf-hub:org/tiny", device="cpu"), offline=offline)
        assert encoder.metadata()["model"] == "hf-hub:org/tiny"
        assert encoder.metadata()["weights_sha256"] == local(tiny_dir).metadata()["weights_sha256"]
        assert encoder.encode_texts(TEXTS).shape == (6, 16)


def test_loading_leaves_no_trace(tiny_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    handlers, disabled = list(logging.root.handlers), logging.root.manager.disable
    state, offline = torch.random.get_rng_state(), huggingface_hub.constants.HF_HUB_OFFLINE
    encoder = local(tiny_dir)
    assert caplog.text == ""
    assert logging.root.handlers == handlers
    assert logging.root.manager.disable == disabled
    assert torch.equal(torch.random.get_rng_state(), state)
    assert offline == huggingface_hub.constants.HF_HUB_OFFLINE
    assert not encoder.model.training
    assert not any(p.requires_grad for p in encoder.model.parameters())


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert pick_device("auto").type == best
    with pytest.raises(UserError, match="unknown device"):
        pick_device("meta")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same_features(tiny_dir: Path, tiny: Encoder) -> None:
    cuda = load_encoder(EncoderSpec(f"local-dir:{tiny_dir}", device="cuda"))
    pixels = torch.stack([tiny.preprocess.pixels(picture(n)) for n in (40, 50)])
    torch.testing.assert_close(cuda.encode_images(pixels), tiny.encode_images(pixels), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(cuda.encode_texts(TEXTS), tiny.encode_texts(TEXTS), atol=1e-5, rtol=0)
    assert cuda.metadata() == tiny.metadata()


def test_too_little_memory_is_one_line(tiny_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = local(tiny_dir)

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(encoder.model, "encode_image", full)
    with pytest.raises(UserError, match="2 images; lower batch_size"):
        encoder.encode_images(torch.zeros(2, 3, 32, 32))


# --- real models ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lite() -> Encoder:
    if not LITE.is_dir():
        pytest.skip("the shared lite0-minilm encoder is not here")
    return local(LITE)


@needs_lite
def test_hugging_face_tower_is_cut_to_its_padding(lite: Encoder) -> None:
    assert can_cut(lite.model) == "padding"
    tokens = lite.tokenizer(TEXTS, context_length=77)
    lengths = needed_lengths(lite.model, tokens)
    assert lengths.tolist() == [int((row != 0).sum()) for row in tokens]
    with torch.inference_mode():
        full = nn.functional.normalize(lite.model.encode_text(tokens), dim=1)
    torch.testing.assert_close(lite.encode_texts(TEXTS), full, atol=1e-5, rtol=0)
    over = lite.encode_texts_report(["dog " * 75, "dog " * 76]).over_length
    assert over == [1]  # 75 words and two special tokens are 77


@pytest.mark.rest
@needs_lite
@pytest.mark.skipif(not (SHARED / "data/cifar10").is_dir(), reason="shared CIFAR-10 photos are not here")
def test_real_encoder_on_real_photos(lite: Encoder) -> None:
    """Ten test images a class, zero-shot: chance is 10 %, this encoder has 47-50 % on more of them."""
    data = FolderDataset("cifar10", SHARED / "data/cifar10")
    test = data.split("test")
    chosen = [i for label in range(10) for i in np.flatnonzero(test.labels == label)[:10]]
    pixels = torch.stack([lite.preprocess.pixels(data.image(test.ids[i])) for i in chosen])
    images = torch.cat([lite.encode_images(pixels[i : i + 25]) for i in range(0, 100, 25)])
    texts = lite.encode_texts([f"a photo of a {name}." for name in data.classes])
    hits = (images @ texts.T).argmax(1).numpy() == test.labels[chosen]
    assert hits.mean() > 0.25


def test_the_embedded_model_loads_offline() -> None:
    encoder = load_encoder(EncoderSpec(f"local-dir:{MINI}", device="cpu"), offline=True)
    assert encoder.encode_texts(TEXTS).shape == (6, encoder.dim)
    pixels = encoder.preprocess.pixels(picture()).unsqueeze(0)
    assert torch.isfinite(encoder.encode_images(pixels)).all()


@pytest.mark.rest
@pytest.mark.parametrize("name", ["ViT-B-32", "RN50"])
def test_full_size_local_checkpoints(tmp_path: Path, name: str) -> None:
    """Random weights of the paper's architectures through a file, against open_clip's own pipeline."""
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms(name, force_quick_gelu=True)
    path = tmp_path / "weights.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    encoder = load_encoder(EncoderSpec(f"{name}-quickgelu", str(path), device="cpu"))
    model.eval()
    with torch.inference_mode():
        images = model.encode_image(
            torch.stack([preprocess(picture(300, 200)), preprocess(picture(90, 120))])
        )
        texts = model.encode_text(open_clip.tokenize(TEXTS), normalize=True)
    pixels = torch.stack([encoder.preprocess.pixels(picture(*s)) for s in ((300, 200), (90, 120))])
    torch.testing.assert_close(encoder.encode_images(pixels), images, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoder.encode_texts(TEXTS), texts, atol=1e-5, rtol=0)
    assert encoder.metadata()["quick_gelu"] == "true"
    assert encoder.dim == texts.shape[1]
    assert any(isinstance(m, QuickGELU) for m in encoder.model.transformer.modules())


def test_random_weights_are_reproducible(tiny_dir: Path) -> None:
    first, second = random_weights(tiny_dir), load_file(tiny_dir / "open_clip_model.safetensors")
    assert all(torch.equal(first[k], second[k]) for k in first)
