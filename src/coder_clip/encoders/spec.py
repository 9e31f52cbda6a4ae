"""The description of an encoder, in a module of its own: loading one imports open_clip, which takes
four seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp64", "fp32", "tf32", "amp", "bf16", "fp16"]


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder with its precision and device.

    model: an open_clip name ("ViT-B-32"), "hf-hub:org/name", or "local-dir:PATH" (a folder with
    open_clip_config.json and weights). pretrained: for an open_clip name a tag ("openai") or a
    checkpoint file (.safetensors, .bin, .pt, .pth); none otherwise. precision: of all weights and
    activations; tf32: float32, whose products are rounded to TF32 on a GPU that has it and nowhere
    else; amp: float32, products in bfloat16.
    device: "auto" (cuda, else mps, else cpu), or a torch device name. quick_gelu: for a checkpoint
    file, True if its weights were trained with QuickGELU; needed for a model that has weights with
    and without QuickGELU."""

    model: str
    pretrained: str | None = None
    precision: Precision = "tf32"
    device: str = "auto"
    quick_gelu: bool | None = None
