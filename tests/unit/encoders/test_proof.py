"""An encoder is proven at every load: it must tell texts and images apart, or nothing is computed
with it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from coder_clip.encoders.checkpoints import find, quiet
from coder_clip.encoders.encoder import EncoderSpec, load_encoder
from coder_clip.encoders.hub import Absent
from coder_clip.encoders.proof import TEXTS
from coder_clip.errors import UserError
from tiny import VISION, local, save_tiny

pytestmark = pytest.mark.usefixtures("no_network")

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *dict.fromkeys(" ".join([*TEXTS, "photo"]).split()),
]
TOKENIZER = {  # of transformers, one word a token
    "vocab.txt": "\n".join(WORDS) + "\n",
    "tokenizer_config.json": json.dumps(
        {"tokenizer_class": "BertTokenizer", "model_max_length": 24}
    ),
}
SMALL: dict[str, Any] = {"vocab_size": len(WORDS), "hidden_size": 16, "pad_token_id": 0}
LAYERS = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
TOWERS = {  # every architecture of open_clip.hf_configs
    "bert": {**SMALL, **LAYERS},
    "roberta": {**SMALL, **LAYERS, "max_position_embeddings": 40},
    "xlm-roberta": {**SMALL, **LAYERS, "max_position_embeddings": 40},
    "mt5": {
        "vocab_size": len(WORDS),
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 16,
        "num_layers": 1,
        "num_heads": 2,
    },
    "m2m_100": {
        **{
            "vocab_size": len(WORDS),
            "d_model": 16,
            "pad_token_id": 0,
            "max_position_embeddings": 40,
        },
        **{"encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16},
        **{"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16},
    },
}


def save_tower(folder: Path, kind: str, name: str = ".", **changes: Any) -> Path:
    """A folder with an encoder whose text tower is one of transformers'. name: of its tower and
    tokenizer.
    """
    folder.mkdir(parents=True)
    for file, content in TOKENIZER.items():
        (folder / file).write_text(content)
    AutoConfig.for_model(kind, **{**TOWERS[kind], **changes}).save_pretrained(folder)
    text = {
        **{
            "hf_model_name": name,
            "hf_tokenizer_name": name,
            "hf_proj_type": "linear",
            "context_length": 24,
        },
        **{"hf_pooler_type": "mean_pooler", "hf_model_pretrained": False},
    }
    cfg = {"embed_dim": 16, "vision_cfg": dict(VISION), "text_cfg": text}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": cfg, "preprocess_cfg": {}})
    )
    return folder


def write_weights(folder: Path, into: Path | None = None) -> None:
    """Random ones."""
    file = folder / "open_clip_model.safetensors"
    file.touch()
    source = find(f"local-dir:{folder}", None, offline=True)
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        model = open_clip.create_model(
            source.name, load_weights=False, pretrained_text=False, **source.options
        )
    save_file({k: v.clone() for k, v in model.state_dict().items()}, (into or folder) / file.name)


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.rest] * (k == "m2m_100")) for k in TOWERS]
)
def test_every_tower_of_transformers_is_proven(tmp_path: Path, kind: str) -> None:
    """The tokenizer's files lost, as by a copy of the weights alone, must not give every text one
    feature.
    """
    folder = save_tower(tmp_path / "m", kind)
    write_weights(folder)
    encoder = local(folder)
    assert encoder.encode_texts(TEXTS).unique(dim=0).shape == (2, 16)
    for file in TOKENIZER:
        (folder / file).unlink()
    with pytest.raises(UserError, match="its folder"):
        local(folder)


def test_a_copy_without_its_tokenizer_names_the_files(tmp_path: Path, shared: Path) -> None:
    """It was loaded, and said of every photo that it is of the first class."""
    whole = shared / "models/lite0-minilm"
    names = ("open_clip_config.json", "open_clip_model.safetensors", "config.json")
    (tmp_path / "m").mkdir()
    for name in names:
        shutil.copy(whole / name, tmp_path / "m")
    with pytest.raises(UserError, match=r"different texts the same tokens.*vocab\.txt"):
        local(tmp_path / "m")


def test_a_cache_with_a_part_of_a_model_counts_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a text tower whose config.json alone is there, the rest is to be fetched."""
    model = save_tower(tmp_path / "m", "bert", "org/text")
    hub = tmp_path / "hub"

    def cached(repository: str, *names: str) -> None:
        snapshot = hub / f"models--{repository.replace('/', '--')}/snapshots/0"
        (snapshot.parent.parent / "refs").mkdir(parents=True, exist_ok=True)
        (snapshot.parent.parent / "refs/main").write_text("0")
        snapshot.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copy(model / name, snapshot)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(hub), raising=False)
    cached("org/text", "config.json")
    spec = EncoderSpec("hf-hub:org/m", device="cpu")
    same = save_tower(tmp_path / "same", "bert")
    write_weights(same, into=model)
    cached("org/m", "open_clip_config.json", "open_clip_model.safetensors")
    with pytest.raises(Absent) as missing:
        load_encoder(spec, offline=True)
    assert missing.value.repository == "org/text"
    cached("org/text", *TOKENIZER)
    assert load_encoder(spec, offline=True).encode_texts(TEXTS).unique(dim=0).shape == (2, 16)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(tmp_path: Path, value: float) -> None:
    """One row of a table of tokens: most texts would not even meet it."""
    folder = save_tiny(tmp_path)
    file = folder / "open_clip_model.safetensors"
    weights = load_file(file)
    weights["token_embedding.weight"][7, 3] = value
    save_file(weights, file)
    with pytest.raises(
        UserError, match=r"token_embedding\.weight has values that are no finite numbers"
    ):
        local(folder)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("visual.proj", "images"),
        ("positional_embedding", "nothing"),
        ("token_embedding.weight", "texts"),
    ],
)
def test_towers_that_tell_nothing_apart_are_refused(tmp_path: Path, name: str, what: str) -> None:
    """Weights of zeros, as of a file that was allocated and never written."""
    folder = save_tiny(tmp_path)
    file = folder / "open_clip_model.safetensors"
    weights = load_file(file)
    weights[name].zero_()
    save_file(weights, file)
    if what == "nothing":
        assert local(folder).dim == 16
        return
    with pytest.raises(UserError, match=f"two different {what} get the same feature"):
        local(folder)


def test_pixels_cannot_be_divided_by_a_deviation_of_zero(tmp_path: Path) -> None:
    """The advice would be another precision, which changes nothing."""
    folder = save_tiny(tmp_path)
    file = folder / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["preprocess_cfg"] = {**config.get("preprocess_cfg", {}), "std": [0.0, 0.0, 0.0]}
    file.write_text(json.dumps(config))
    with pytest.raises(
        UserError, match=r"std \[0\.0, 0\.0, 0\.0\]; give numbers above 0 in preprocess_cfg"
    ):
        local(folder)


def test_a_context_that_the_tower_does_not_have(tmp_path: Path) -> None:
    """Only the longest text of a run would meet it, after hours."""
    folder = save_tower(tmp_path / "m", "bert", max_position_embeddings=12)
    write_weights(folder)
    with pytest.raises(UserError, match="cannot encode"):
        local(folder)
