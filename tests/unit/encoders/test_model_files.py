"""Weights: from open_clip's names, a file, a folder or the hub's cache; what is refused, and why."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
import pytest
import torch
from open_clip.factory import _MODEL_CONFIGS
from open_clip.pretrained import _PRETRAINED
from open_clip.transformer import QuickGELU
from safetensors.torch import load_file, save_file
from torch import nn

from coder_clip.encoders.encoder import Encoder, EncoderSpec, load_encoder
from coder_clip.errors import UserError
from fixtures import REPO
from pickles import Evil
from tiny import TEXTS, config, local, picture, random_weights, save_tiny

MINI = REPO / "data/mini"
pytestmark = pytest.mark.usefixtures("no_network")


def test_metadata_is_strings_without_paths(tiny: Encoder, tiny_dir: Path) -> None:
    data = tiny.metadata()
    assert all(isinstance(v, str) for v in data.values())
    assert not any("/" in v for v in data.values())
    assert data["model"] == "local-dir:tiny"
    assert data["pretrained"] == "open_clip_model.safetensors"
    assert "open_clip" not in data, "a version describes the run"
    assert data["image_size"] == "32x32"
    assert local(tiny_dir).metadata() == data
    assert (
        load_encoder(EncoderSpec(f"local-dir:{tiny_dir}/../tiny/", device="cpu")).metadata() == data
    )


def test_the_hash_is_of_the_weights_not_of_the_file(
    tmp_path: Path, tiny: Encoder, tiny_dir: Path
) -> None:
    state = load_file(tiny_dir / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(
        (tiny_dir / "open_clip_config.json").read_text()
    )
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "weights.bin"
    )
    assert local(tmp_path).metadata()["weights_sha256"] == tiny.metadata()["weights_sha256"]
    state["logit_scale"] += 1
    save_file(state, tmp_path / "open_clip_model.safetensors")  # preferred over the other
    assert local(tmp_path).metadata()["weights_sha256"] != tiny.metadata()["weights_sha256"]


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """An open_clip name "Tiny" with tags whose downloads are files; as ViT-B-32, openai needs
    QuickGELU.
    """
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
    towers = (encoder.towers.model.visual.transformer, encoder.towers.model.transformer)
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


@pytest.mark.parametrize(
    ("tag", "name"), [(t, m) for m in _PRETRAINED for t in _PRETRAINED[m]][::9]
)
def test_every_published_tag_says_what_it_needs(tag: str, name: str) -> None:
    """Every name and tag of open_clip resolves as far as the fetch, which is one clear line here."""
    with pytest.raises(UserError, match="hf download") as caught:
        load_encoder(EncoderSpec(name, tag, device="cpu"), offline=True)
    assert "\n" not in str(caught.value)


def test_local_checkpoints(zoo: dict[str, Any], tmp_path: Path) -> None:
    """A file does not tell its activation: asked for where both exist. Preprocessing is what all
    tags share.
    """
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
    assert activations(load_encoder(EncoderSpec("Tiny-quickgelu", str(path), device="cpu"))) == {
        QuickGELU
    }


def test_pickles_and_torchscript_are_refused(zoo: dict[str, Any], tmp_path: Path) -> None:
    torch.save({"state_dict": Evil(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="only tensors are read"):
        load_encoder(EncoderSpec("Tiny", str(tmp_path / "evil.pt"), device="cpu", quick_gelu=False))
    assert not (tmp_path / "ran").exists()
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "ViT-B-32.pt"))
    with pytest.raises(UserError, match="TorchScript"):
        load_encoder(
            EncoderSpec("Tiny", str(tmp_path / "ViT-B-32.pt"), device="cpu", quick_gelu=False)
        )
    (tmp_path / "broken.bin").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_encoder(
            EncoderSpec("Tiny", str(tmp_path / "broken.bin"), device="cpu", quick_gelu=False)
        )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (EncoderSpec("ViT-B-23", "openai"), "did you mean 'ViT-B-32'"),
        (EncoderSpec("ViT-B-32", "openia"), "did you mean 'openai'"),
        (EncoderSpec("ViT-B-32"), "needs pretrained"),
        (EncoderSpec("ViT-B-32", "none.pt"), r"does not exist: none\.pt"),
        (EncoderSpec("ViT-B/32", "openai"), "hf download timm/vit_base_patch32_clip_224.openai"),
        (EncoderSpec("hf-hub:org/name"), r"hf download org/name'.*HF_HOME"),
        (EncoderSpec("hf-hub:"), "nothing after"),
        (EncoderSpec("local-dir:none"), "does not exist: none"),
        (EncoderSpec("local-dir:x", "openai"), "brings its own weights"),
        (EncoderSpec("ViT-B-32", "openai", device="gpu"), "unknown device"),
        (EncoderSpec("ViT-B-32", "openai", device="cuda:99"), "not on this machine"),
        (EncoderSpec("ViT-B-32", "openai", "fp31"), "unknown precision 'fp31'"),  # type: ignore[arg-type]
    ],
)
@pytest.mark.parametrize("offline", [True, False])
def test_errors_are_one_line(
    spec: EncoderSpec, message: str, offline: bool, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_encoder(spec, offline=offline)
    assert "\n" not in str(caught.value)


def test_folder_errors(tmp_path: Path, tiny_dir: Path) -> None:
    """A wrong model folder would end in a traceback, not in one clear line."""
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
    """A truncated tokenizer beside the weights, from a relative path and from any working
    directory.
    """
    import gzip

    from open_clip.tokenizer import default_bpe

    folder = tmp_path / "small"
    folder.mkdir()
    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode().split("\n")[:1001]
    (folder / "merges.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    text = {"vocab_size": 512 + 1000 + 2, "tokenizer_kwargs": {"bpe_path": "merges.txt.gz"}}
    monkeypatch.chdir(
        folder
    )  # the helper that makes the weights resolves the path as open_clip does
    save_tiny(folder, text)
    monkeypatch.chdir(tmp_path)
    encoder = local(Path("small"))
    assert encoder.towers.tokenizer.vocab_size == 1514  # type: ignore[attr-defined]
    tokens = encoder.towers.tokenize(TEXTS, 24)
    assert int(tokens.max()) == 1513
    assert encoder.encode_texts(TEXTS).shape == (6, 16)


def test_from_the_hub_cache(
    tmp_path: Path, tiny_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert not encoder.towers.model.training
    assert not any(p.requires_grad for p in encoder.towers.model.parameters())


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
    assert any(isinstance(m, QuickGELU) for m in encoder.towers.model.transformer.modules())


def test_random_weights_are_reproducible(tiny_dir: Path) -> None:
    first, second = random_weights(tiny_dir), load_file(tiny_dir / "open_clip_model.safetensors")
    assert all(torch.equal(first[k], second[k]) for k in first)
