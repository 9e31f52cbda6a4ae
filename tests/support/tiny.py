"""Tiny encoders with random weights, saved the way real ones are: a folder that open_clip loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from safetensors.torch import save_file

from coder_clip.encoders.encoder import Encoder, EncoderSpec, load_encoder

torch.set_num_threads(
    1
)  # towers this small only wait for a second thread, four times as long on busy cores

TEXT = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
VISION = {"image_size": 32, "patch_size": 16, "width": 32, "head_width": 16, "layers": 2}
COCA = {
    "multimodal_cfg": {
        "context_length": 24,
        "width": 16,
        "heads": 2,
        "layers": 1,
        "attn_pooler_heads": 2,
    },
    "vision_cfg": {
        **VISION,
        "attentional_pool": True,
        "attn_pooler_heads": 2,
        "output_tokens": True,
    },
    "custom_text": True,
}
UNCUT = {
    "siglip": ({"no_causal_mask": True, "pool_type": "last"}, {"custom_text": True}),
    "no_causal_argmax": ({"no_causal_mask": True}, {"custom_text": True}),
    "causal_last": ({"pool_type": "last"}, {"custom_text": True}),
    "coca": ({"embed_cls": True, "output_tokens": True}, COCA),
}

TEXTS = [
    "a photo of a cat.",
    "a dog",
    "a photo of a very long-haired dog which has floppy ears and a wet nose",
    "",
    "a dog",
    "naïve café ☕ 日本",
]


def read_vocabulary_once() -> None:
    """open_clip reads its vocabulary for every tokenizer, which is nearly all the time that a tiny
    encoder takes.
    """
    read, known = SimpleTokenizer.__init__, {}

    def init(self: SimpleTokenizer, *arguments: Any, **options: Any) -> None:
        if arguments or "bpe_path" in options:  # another vocabulary
            return read(self, *arguments, **options)
        key = repr(sorted(options.items()))
        if key not in known:
            read(self, **options)
            known[key] = dict(vars(self))
        vars(self).update(known[key])

    SimpleTokenizer.__init__ = init


read_vocabulary_once()


def config(text: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A tiny model_cfg; ``text`` and ``changes`` go on top."""
    return {
        "embed_dim": 16,
        "vision_cfg": dict(VISION),
        "text_cfg": {**TEXT, **(text or {})},
        **changes,
    }


def save_tiny(
    folder: Path, text: dict[str, Any] | None = None, seed: int = 0, **changes: Any
) -> Path:
    """Writes open_clip_config.json and open_clip_model.safetensors; gives the folder back."""
    folder.mkdir(parents=True, exist_ok=True)
    cfg = config(text, **changes)
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": cfg, "preprocess_cfg": {}})
    )
    save_file(random_weights(folder, seed), folder / "open_clip_model.safetensors")
    return folder


def random_weights(folder: Path, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights for a folder's configuration, spread enough that every part of the tower
    matters.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        state = {k: v.clone().contiguous() for k, v in model.state_dict().items()}
        # open_clip leaves the last one as it finds the memory
        spread = ("positional_embedding", "token_embedding", "cls_emb", "decoder.text_projection")
        for name, tensor in state.items():
            if any(part in name for part in spread):
                tensor.normal_()
        return state


def local(folder: Path, **spec: Any) -> Encoder:
    return load_encoder(EncoderSpec(f"local-dir:{folder}", device="cpu", **spec))


def picture(width: int = 50, height: int = 40) -> Image.Image:
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)
