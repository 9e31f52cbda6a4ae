"""The description of an encoder, in a module of its own, because loading one imports torch and the
library of its family, which takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp64", "fp32", "tf32", "amp", "bf16", "fp16"]


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder with its precision and device.

    model: a name ("ViT-B-32"), "hf-hub:org/name", "local-dir:PATH" (a folder with configuration
    and weights), or with the prefix of another family (``families/``). pretrained: for a plain
    name a tag ("openai") or a checkpoint file (.safetensors, .bin, .pt, .pth); none otherwise.
    precision: of all weights and activations; tf32: float32, whose products are rounded to TF32 on
    a GPU that has it and nowhere else; amp: float32, products in bfloat16.
    device: "auto" (cuda, else mps, else cpu), or a torch device name. quick_gelu: for a checkpoint
    file, True if its weights were trained with QuickGELU; needed for a model that has weights with
    and without QuickGELU."""

    model: str
    pretrained: str | None = None
    precision: Precision = "tf32"
    device: str = "auto"
    quick_gelu: bool | None = None


@dataclass(frozen=True)
class Size:
    """The size of an encoder.

    parameters: number in both towers. dim: width of a feature. image, token: floating-point
    operations for one image, for one text token."""

    parameters: float
    dim: int
    image: float
    token: float
    activations: float  # bytes of one image in flight


# of a model whose size is not known: a large ViT
LARGE = Size(parameters=4.3e8, dim=768, image=1.6e11, token=1.7e8, activations=2.6e7)
