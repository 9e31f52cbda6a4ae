"""The interface of encoders: what a family (``families/``) implements for its models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import torch
from torch import Tensor, nn

from .preprocessing import Preprocess


class Towers(ABC):
    """An image tower and a text tower whose features have one space.

    A subclass sets these attributes; `encoder.Encoder` does the rest (batches, precision, device,
    texts that are too long, the store of features).

    model: all weights, in evaluation mode; their hash is part of what identifies the encoder.
    info: what else identifies it, "model" and "pretrained" first. preprocess: of images.
    dim: d, the size of features. context_length: largest number of tokens of a text.
    padding: the token behind short texts. files: the weights first, for messages, and what else
    decides features.
    """

    model: nn.Module
    info: dict[str, str]
    preprocess: Preprocess
    dim: int
    context_length: int
    padding: int = 0
    files: list[Path]

    @abstractmethod
    def image_features(self, pixels: Tensor) -> Tensor:
        """Encode normalised pixels (B, 3, H, W) -> (B, d), not of unit length."""

    @abstractmethod
    def tokenize(self, texts: list[str], length: int) -> Tensor:
        """Token ids (M, length) of texts, cut and padded."""

    @abstractmethod
    def text_features(self, tokens: Tensor) -> Tensor:
        """Encode token ids (B, L) -> (B, d), not of unit length. L: see `needed_lengths`."""

    def needed_lengths(self, tokens: Tensor) -> Tensor:
        """The number (M,) of leading tokens that each text of (M, L) needs; default: all of them.

        Short texts are faster where a tower does not look at their padding.
        """
        return torch.full((len(tokens),), tokens.shape[1])

    def move(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the weights to a device, in a number type."""
        self.model = self.model.to(device=device, dtype=dtype)

    def over_length(self, tokens: Tensor, texts: list[str]) -> list[int]:
        """Positions of texts that lost tokens: with room for one more token they have one more.

        tokens: (M, L) of the texts.
        """
        # only full texts can have lost anything
        full = (tokens != self.padding).sum(dim=1) >= self.context_length - 1
        rows = full.nonzero().flatten().tolist()
        if not rows:
            return []
        # only a longer context shows whether a full text lost something
        roomy = self.tokenize([texts[i] for i in rows], self.context_length + 1)
        longer = (roomy != self.padding).sum(dim=1) > (tokens[rows] != self.padding).sum(dim=1)
        return [i for i, over in zip(rows, longer.tolist(), strict=True) if over]
