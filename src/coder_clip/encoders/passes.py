"""From pixels and tokens to features: every step that decides the numbers of a feature.

Between a photo or text and its feature: this module imports nothing of the program but others of
this kind, and the store of features names their code (`store.MAKERS`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..foundation.reproducible import stored
from .preprocessing import Preprocess

# of the weights; tf32 and amp keep float32 weights and multiply with fewer digits
DTYPES = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "tf32": torch.float32,
    "amp": torch.float32,
}


def pixels_of(image: Image.Image, preprocess: Preprocess, image_id: str, views: int) -> Tensor:
    """The pixels of an image, (3, H, W) uint8, or (E, 3, H, W) of E augmented views."""
    if not views:
        return preprocess.pixels(image).contiguous()
    return torch.stack([preprocess.view(image, image_id, v) for v in range(views)])


def image_rows(
    encode: Callable[[Tensor], Tensor],
    batch: Tensor,
    preprocess: Preprocess,
    device: torch.device,
    precision: str,
) -> Tensor:
    """Encode images (B, 3, H, W) -> (B, d) on the device, raw. encode: of normalised pixels.

    batch: float32 as `Preprocess` makes it, or uint8.
    """
    batch = batch.to(device, non_blocking=True)
    # uint8 is copied to the device: a quarter of the bytes of float32
    if batch.dtype == torch.uint8:
        batch = preprocess.normalise(batch, made(precision))
    batch = batch.to(DTYPES[precision])
    # the memory layout in which convolutions on a GPU are fastest
    if device.type == "cuda":
        batch = batch.contiguous(memory_format=torch.channels_last)
    return encode(batch).to(made(precision))


def image_features(
    forward: Callable[[Tensor], Tensor], pixels: Tensor, batch_size: int, views: int, kept: int
) -> Tensor:
    """Encode images (B, 3, H, W) or their views (B, E, 3, H, W), uint8 -> (B, 1 + kept, d)
    float32: the mean over views, then single views of length 1. On the encoder's device.

    forward: encodes (n, 3, H, W) -> (n, d). Means are taken in float64, and rounded once.
    """
    if not views:
        return stored(forward(pixels))[:, None]
    # views of one image may be in two chunks; the batch size bounds the memory
    chunks = torch.split(pixels.flatten(0, 1), batch_size)  # type: ignore[no-untyped-call]
    flat = torch.cat([forward(chunk) for chunk in chunks])
    each = flat.view(len(pixels), views, -1)
    # one rounding at the end instead of one per addition
    mean = each.double().mean(dim=1)
    mean = stored(mean) if each.dtype == torch.float64 else mean.float()
    # rounded to the float16 that is kept, then float32 again to be in one tensor
    single = F.normalize(each[:, :kept], dim=-1).half()
    return torch.cat([mean[:, None], single.float()], dim=1)


def text_rows(
    encode: Callable[[Tensor], Tensor],
    tokens: Tensor,
    lengths: Tensor,
    token_budget: int,
    device: torch.device,
    precision: str,
    running: Callable[[int], contextlib.AbstractContextManager[Any]],
) -> Tensor:
    """Encode token ids (M, L) -> (M, d) on the CPU, raw, in batches of similar length.

    encode: of token ids. lengths: (M,), tokens that each text needs. token_budget: tokens of a
    batch, padding included. running: context of a forward pass of so many texts.
    """
    features: Tensor | None = None
    for rows in batches_by_length(lengths, token_budget):
        batch = tokens[rows, : int(lengths[rows].max())]
        with running(len(rows)):
            encoded = encode(batch.to(device)).to(made(precision)).cpu()
        if features is None:
            features = torch.empty(len(tokens), encoded.shape[1], dtype=encoded.dtype)
        features[rows] = encoded
    assert features is not None
    return features


def unit_texts(rows: Tensor) -> Tensor:
    """Raw features of texts (M, d) -> (M, d) float32 unit, as they are stored."""
    # rounded first, so that stored and new features are the same bytes
    return stored(F.normalize(rows, dim=1))


def made(precision: str) -> torch.dtype:
    """The type of features before they are stored: float64 with fp64, else float32."""
    return torch.float64 if precision == "fp64" else torch.float32


def batches_by_length(lengths: Tensor, token_budget: int) -> Iterator[list[int]]:
    """Batches of positions of texts, shortest text first.

    lengths: (M,) of the texts. token_budget: most tokens of a batch, padding included.
    """
    rows: list[int] = []
    for i in torch.argsort(lengths, stable=True).tolist():
        # lengths ascend, so this text is the longest, and the others are padded to it
        if rows and (len(rows) + 1) * int(lengths[i]) > token_budget:
            yield rows
            rows = []
        rows.append(i)
    if rows:
        yield rows


@contextlib.contextmanager
def passes(precision: str, device: torch.device) -> Iterator[None]:
    """Set PyTorch up for forward passes: no gradients, and deterministic algorithms on CUDA.

    CUDA computes in TF32 only with the precision tf32.
    """
    with contextlib.ExitStack() as stack:
        # not inference_mode, whose tensors cannot be changed in place later
        stack.enter_context(torch.no_grad())
        if precision == "amp":
            stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
        if device.type == "cuda":
            # a global switch of PyTorch: set for this block, and put back after it
            tf32 = precision == "tf32"
            before = torch.backends.cuda.matmul.allow_tf32
            torch.backends.cuda.matmul.allow_tf32 = tf32
            stack.callback(setattr, torch.backends.cuda.matmul, "allow_tf32", before)
            stack.enter_context(
                torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=tf32)
            )
        yield
