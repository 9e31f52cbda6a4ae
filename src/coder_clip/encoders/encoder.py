"""Image-text encoders: load a model of any family (`families/`), and run its towers fast.

Texts are encoded once each, sorted by length, and cut to what the tower looks at.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from huggingface_hub import constants
from torch import Tensor, nn

from ..errors import UserError, nearest
from . import families, memory
from .device import pick_device as pick_device  # public here
from .passes import DTYPES as DTYPES
from .passes import image_rows, made, passes, text_rows, unit_texts
from .preprocessing import Preprocess
from .proof import prove_towers, prove_weights
from .spec import EncoderSpec as EncoderSpec  # public here
from .spec import Precision
from .store import FeatureStore, features_key
from .towers import Towers

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextEncoding:
    """Encoded texts.

    features: (M, d) float32 unit rows in the order given. n_unique: number of different texts.
    over_length: positions of texts that did not fit the context and were truncated by the
    tokenizer.
    """

    features: Tensor
    n_unique: int
    over_length: list[int]


@dataclass
class Encoder:
    """A loaded encoder. Made by load_encoder.

    info: metadata of model and weights. store: of text features that are kept; None: all features
    are computed.
    """

    towers: Towers
    device: torch.device
    precision: Precision
    info: dict[str, str] = field(repr=False)
    store: FeatureStore | None = field(default=None, repr=False)

    @property
    def dim(self) -> int:
        """d, the size of features."""
        return self.towers.dim

    @property
    def context_length(self) -> int:
        """Largest number of tokens of a text."""
        return self.towers.context_length

    @property
    def preprocess(self) -> Preprocess:
        """The preprocessing of images."""
        return self.towers.preprocess

    def metadata(self) -> dict[str, str]:
        """Model, pretrained, weights_sha256, dim, preprocessing, precision; what the family adds.

        The same on every machine. weights_sha256 is over the loaded float32 weights (name, shape
        and bytes of every tensor in name order), so it does not depend on the file format or on
        where the file came from."""
        return {**self.info, **self.preprocess.metadata(), "precision": self.precision}

    def encode_images(self, batch: Tensor) -> Tensor:
        """Encode images: (B, 3, H, W) -> (B, d) float32 (float64 with fp64), raw (not unit), on the
        CPU.

        batch: float32 from `preprocess`, or uint8 from `preprocess.pixels` (normalised on the
        device). UserError if the device's memory is too small for the batch.
        """
        return self.forward_images(batch).cpu()

    def forward_images(self, batch: Tensor) -> Tensor:
        """Encode images as `encode_images`, but leave the features on the device, without waiting
        for it.
        """
        if len(batch) == 0:
            return torch.zeros(0, self.dim, dtype=made(self.precision))
        with self._forward(f"{len(batch)} images"):
            encode = self.towers.image_features
            return image_rows(encode, batch, self.preprocess, self.device, self.precision)

    def encode_texts(self, texts: Sequence[str], batch_size: int | None = None) -> Tensor:
        """Encode M texts -> (M, d) float32 on the CPU, unit rows in the order given; see
        encode_texts_report.

        Warns if texts are over the context length.
        """
        encoded = self.encode_texts_report(texts, batch_size)
        if encoded.over_length:
            log.warning(
                "%d texts are over %d tokens and were cut",
                len(encoded.over_length),
                self.context_length,
            )
        return encoded.features

    def encode_texts_report(
        self, texts: Sequence[str], batch_size: int | None = None
    ) -> TextEncoding:
        """Encode M texts, and report which texts were cut.

        Every different text is encoded once, in batches of similar length, cut as far as the tower
        allows.
        batch_size: texts per batch at full context (more texts if they are shorter); default 16 on
        a CPU, because a larger batch does not fit in its caches (measured: half as long again at
        64), 256 elsewhere. Texts over the context length are truncated (as published) and reported.
        UserError if a feature is not finite."""
        # Most prompts fill few of the context's tokens, so batches of texts of similar length, cut
        # to the longest of them, save most of the work. Stored and new features are put together
        # by text.
        unique = list(dict.fromkeys(texts))
        if not unique:
            return TextEncoding(torch.zeros(0, self.dim), 0, [])
        tokens = self._tokens(unique)
        cut = {unique[i] for i in self.towers.over_length(tokens, unique)}
        positions_cut = [i for i, text in enumerate(texts) if text in cut]

        key = features_key(self.metadata(), self.device) if self.store else ""
        known = self.store.get(key, "text", unique, self.dim) if self.store else {}
        new = [i for i, text in enumerate(unique) if text not in known]
        new_texts = [unique[i] for i in new]
        batch_size = batch_size or (16 if self.device.type == "cpu" else 256)
        features = self._encode_new(new_texts, tokens[new], batch_size)
        made = dict(zip(new_texts, features, strict=True))
        if self.store:
            self.store.put(key, "text", made.items())
        known |= made
        features = torch.stack([known[text] for text in texts])
        return TextEncoding(features, len(unique), positions_cut)

    def _tokens(self, texts: list[str]) -> Tensor:
        """Token ids (M, context length) of texts."""
        return self.towers.tokenize(texts, self.context_length)

    def _encode_new(self, texts: list[str], tokens: Tensor, batch_size: int) -> Tensor:
        """Encode M different texts, whose token ids are (M, L) -> (M, d) float32, unit.

        UserError if a feature is not finite.
        """
        if not texts:
            return torch.empty(0, self.dim)
        features = text_rows(
            self.towers.text_features,
            tokens,
            self.towers.needed_lengths(tokens),
            # the budget counts padded tokens, so a batch of short texts holds more of them
            batch_size * self.context_length,
            self.device,
            self.precision,
            lambda n: self._forward(f"{n} texts"),
        )
        norms = features.norm(dim=1)
        # a feature that is NaN or has length 0 has no direction to compare
        bad = ~(torch.isfinite(norms) & (norms > 0))
        if bad.any():
            text = texts[int(bad.nonzero()[0])]
            raise UserError(
                f"{self.info['model']}: no finite text feature for '{text}' ({self.precision})"
            )
        return unit_texts(features)

    @contextlib.contextmanager
    def _forward(self, what: str) -> Iterator[None]:
        """Context of a forward pass. UserError if the memory is too small for `what`."""
        try:
            with passes(self.precision, self.device):
                yield
        except torch.OutOfMemoryError:
            raise UserError(
                f"{self.info['model']}: {self.device} ran out of memory on {what}; lower batch_size"
            ) from None


def load_encoder(spec: EncoderSpec, offline: bool | None = None) -> Encoder:
    """Load the encoder that `spec` names, in evaluation mode, on its device.

    offline: True fetches nothing, False may fetch from the Hugging Face hub what is not cached yet;
    None reads HF_HUB_OFFLINE. A "local-dir:" model never fetches. Weights are read from
    safetensors, or from checkpoints by torch.load(weights_only=True); TorchScript archives and
    pickled objects are refused.

    UserError, one line: unknown model, tag or device (with the nearest known name); weights that
    are neither here nor reachable (what to fetch, where to put it); weights that do not fit the
    model; an encoder that does not tell two texts or two images apart (proof.py).
    """
    device = pick_device(spec.device)
    if spec.precision not in DTYPES:
        raise UserError(f"unknown precision '{spec.precision}'{nearest(spec.precision, DTYPES)}")
    if spec.precision == "fp64" and device.type == "mps":
        raise UserError("precision fp64: Apple's GPU has no float64; use device: cpu")
    if device.type == "cpu":
        memory.keep()
    offline = constants.HF_HUB_OFFLINE if offline is None else offline
    towers: Towers = families.of(spec.model).call("load", spec, offline)
    prove_weights(towers.model, towers.files[0])
    towers.model.eval().requires_grad_(False)
    # before the weights are cast, so that the hash is the same in every precision
    named = {key: towers.info[key] for key in ("model", "pretrained")}
    weights = {"weights_sha256": weights_sha256(towers.model)}
    info = {**named, **weights, **towers.info, "dim": str(towers.dim)}
    towers.move(device, DTYPES[spec.precision])
    encoder = Encoder(towers, device, spec.precision, info)
    prove_towers(encoder)
    return encoder


def weights_sha256(model: nn.Module) -> str:
    """sha256 over name, dtype, shape and bytes of every tensor of the state dict, in name order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # as bytes, because NumPy has no bfloat16
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
