"""A SigLIP of Hugging Face with random weights, saved the way real ones are."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import SiglipConfig, SiglipModel

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,'-"
SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
HEADS = {"num_attention_heads": 2}


def save_siglip(folder: Path) -> Path:
    """Weights, tokenizer (a token for each letter) and image processor; gives the folder back."""
    folder.mkdir(parents=True)
    tokens = ["[PAD]", "[UNK]", *LETTERS]
    text = {**SIZES, **HEADS, "vocab_size": len(tokens), "max_position_embeddings": 64}
    ids = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    vision = {**SIZES, **HEADS, "image_size": 32, "patch_size": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SiglipModel(SiglipConfig(text_config={**text, **ids}, vision_config=vision))
        # as spread as those of a trained model, so that different inputs have different features
        for weights in model.parameters():
            weights.data.normal_(std=0.3)
    model.save_pretrained(folder)
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.save(str(folder / "tokenizer.json"))
    of_tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "model_max_length": 64,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(of_tokenizer))
    of_images = {
        "image_processor_type": "SiglipImageProcessor",
        "size": {"height": 32, "width": 32},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(of_images))
    return folder
