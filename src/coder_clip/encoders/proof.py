"""Prove a loaded encoder before it is used: it must tell two texts and two images apart.

Where the files of a tokenizer are missing, transformers returns one of five tokens and says
nothing. Every text then has the same feature, and every photo the same class. So probes go through
both towers at every load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..errors import UserError, one_line

if TYPE_CHECKING:
    from .preprocessing import Preprocess

# Both have the same numbers of words and letters, so that tokens for unknown words or letters do
# not tell the texts apart.
TEXTS = ("a photo of a red cat", "a photo of a big dog")
# distance of two unit rows; different inputs of tiny encoders with random weights are 0.01 apart
SAME = 1e-4


class Loaded(Protocol):
    """The parts of a loaded encoder (`encoder.Encoder`) that are proved."""

    info: dict[str, str]
    precision: Any

    @property
    def preprocess(self) -> Preprocess: ...

    @property
    def context_length(self) -> int: ...

    def encode_texts_report(self, texts: Sequence[str]) -> Any:
        """Features of M texts, (M, d), in a result with the attribute ``features``."""

    def encode_images(self, batch: Tensor) -> Tensor:
        """Features of B images, (B, d)."""
        ...


class Indistinct(OSError):
    """A tokenizer gives different texts the same tokens, as where its files are missing."""


def prove_tokenizer(
    tokenizer: Callable[..., Tensor], context_length: int, vocabulary: int, label: str
) -> None:
    """Indistinct if two texts get the same tokens.

    UserError if the tokenizer has more tokens than the text tower.

    vocabulary: number of tokens of the text tower. label: the model, in messages.
    """
    n_tokens = int(getattr(tokenizer, "vocab_size", 0))
    if n_tokens > vocabulary:
        raise UserError(
            f"{label}: the tokenizer has {n_tokens} tokens, the text tower only {vocabulary}"
        )
    first, second = tokenizer(list(TEXTS), context_length=context_length)
    if torch.equal(first, second):
        files = getattr(getattr(tokenizer, "tokenizer", None), "vocab_files_names", {})
        missing = ""
        if files:
            missing = f", as without its files ({', '.join(files.values())})"
        raise Indistinct(f"its tokenizer gives different texts the same tokens{missing}")


def prove_weights(model: nn.Module, file: Any) -> None:
    """UserError if a weight is not a finite number. file: of the weights, for the message."""
    for name, weights in model.named_parameters():
        # minimum and maximum: one pass without a copy, a tenth of the time of isfinite on all
        if weights.numel() and not torch.stack(weights.aminmax()).isfinite().all():
            raise UserError(
                f"weights {file}: {name} has values that are no finite numbers; fetch the file "
                "again"
            )


def prove_towers(encoder: Loaded) -> None:
    """UserError unless both towers give finite features that differ for different inputs.

    The text tower must also encode a text as long as the context.

    Costs as much as to encode three texts and two images.
    """
    label = encoder.info["model"]
    std = encoder.preprocess.std
    if not all(deviation > 0 for deviation in std):
        raise UserError(
            f"{label}: its preprocessing divides pixels by std {list(std)}; give numbers above 0 "
            "in preprocess_cfg of its configuration file"
        )
    # as many words as the context has tokens: every position is used
    long = " ".join(["photo"] * encoder.context_length)
    try:
        texts = encoder.encode_texts_report([*TEXTS, long]).features
        images = encoder.encode_images(
            torch.stack([encoder.preprocess(i) for i in _images(encoder)])
        )
    except (RuntimeError, IndexError, ValueError) as error:
        raise UserError(f"{label}: it cannot encode: {one_line(error)}") from None
    for what, features in (("texts", texts[:2]), ("images", images)):
        if not torch.isfinite(features).all():
            raise UserError(
                f"{label}: features of {what} are no finite numbers ({encoder.precision}); try "
                "precision: fp32"
            )
        if _same(features):
            raise UserError(
                f"{label}: two different {what} get the same feature, so it cannot classify "
                f"anything; are these the weights of {encoder.info['pretrained']}, whole, and for "
                "this architecture?"
            )


def _same(features: Sequence[Tensor] | Tensor) -> bool:
    """True if two features (2, d) have the same direction."""
    first, second = (F.normalize(row.double(), dim=0) for row in features)
    return bool((first - second).norm() < SAME)


def _images(encoder: Loaded) -> list[Image.Image]:
    """A ramp of colour and a chessboard, of the size that the tower sees."""
    height, width = encoder.preprocess.size
    # a gradient and a pattern: no crop or scaling makes them alike
    y, x = np.mgrid[:height, :width]
    ramp = np.stack([255 * x // width, 255 * y // height, np.full_like(x, 40)], axis=-1)
    board = np.where((x // 8 + y // 8)[..., None] % 2, 230, [20, 60, 90])
    return [Image.fromarray(pixels.astype(np.uint8)) for pixels in (ramp, board)]
