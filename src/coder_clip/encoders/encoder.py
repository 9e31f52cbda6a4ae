"""Image-text encoders: any open_clip model, by name, hub id, local checkpoint or local folder.

open_clip builds the towers, reads the weights and tokenizes. Here they are loaded (checkpoints.py
finds the
files), and run fast: texts once each, sorted by length, cut to what the tower looks at
(text_towers.py)."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import huggingface_hub
import open_clip
import torch
import torch.nn.functional as F
from open_clip.transform import PreprocessCfg
from open_clip.transformer import QuickGELU
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from coder_clip.encoders import memory
from coder_clip.encoders.checkpoints import SAFE, find, from_hub, hub, quiet
from coder_clip.encoders.device import pick_device as pick_device  # public here
from coder_clip.encoders.preprocessing import Preprocess
from coder_clip.encoders.proof import prove_tokenizer, prove_towers, prove_weights
from coder_clip.encoders.spec import EncoderSpec as EncoderSpec  # public here
from coder_clip.encoders.spec import Precision
from coder_clip.encoders.store import FeatureStore, features_key
from coder_clip.encoders.text_towers import (
    batches_by_length,
    needed_lengths,
    over_length,
    text_features,
)
from coder_clip.errors import UserError, nearest, one_line
from coder_clip.foundation import evidence
from coder_clip.foundation.reproducible import stored

log = logging.getLogger(__name__)

# of the weights; tf32 and amp keep float32 weights and multiply with fewer digits
DTYPES = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "tf32": torch.float32,
    "amp": torch.float32,
}


@dataclass(frozen=True)
class TextEncoding:
    """Encoded texts. features: (M, d) float32 unit rows in the order given. n_unique: number of
    different texts.
    over_length: positions of texts that did not fit the context and were truncated by the
    tokenizer."""

    features: Tensor
    n_unique: int
    over_length: list[int]


@dataclass
class Encoder:
    """A loaded encoder. Made by load_encoder.

    dim: d, the size of both feature spaces. context_length: largest number of tokens of a text.
    info: metadata of model and weights. store: of text features that are kept; None: all features
    are computed.
    """

    model: nn.Module
    tokenizer: Callable[..., Tensor]
    preprocess: Preprocess
    device: torch.device
    precision: Precision
    dim: int
    context_length: int
    info: dict[str, str] = field(repr=False)
    store: FeatureStore | None = field(default=None, repr=False)

    def metadata(self) -> dict[str, str]:
        """Model, pretrained, weights_sha256, preprocessing, precision, quick_gelu, dim.

        The same on every machine. weights_sha256 is over the loaded float32 weights (name, shape
        and bytes of every tensor in name order), so it does not depend on the file format or on
        where the file came from."""
        return {**self.info, **self.preprocess.metadata(), "precision": self.precision}

    def projections(self) -> tuple[Tensor, Tensor] | None:
        """The last linear layers of the image tower (d, p) and of the text tower (d, q), on the
        CPU, by which features are W times what enters them; None if one has no such layer.
        """
        text: Any = getattr(self.model, "text", self.model)
        image: Any = self.model.visual
        found = []
        for layer in (getattr(image, "proj", None), getattr(text, "text_projection", None)):
            weight = layer
            if isinstance(layer, nn.Linear) and layer.bias is None:
                weight = layer.weight.T
            if not isinstance(weight, Tensor) or weight.ndim != 2:
                return None
            found.append(weight.detach().T.cpu().contiguous())
        return found[0], found[1]

    def encode_images(self, batch: Tensor) -> Tensor:
        """Encode images: (B, 3, H, W) -> (B, d) float32 (float64 with fp64), on the CPU, raw (not
        unit).

        batch: float32 from ``preprocess``, or uint8 from ``preprocess.pixels`` (normalised on the
        device). UserError if the device's memory is too small for the batch.
        """
        return self.forward_images(batch).cpu()

    def forward_images(self, batch: Tensor) -> Tensor:
        """Encode images as :meth:`encode_images`, but leave the features on the device and do not
        wait for the device.
        """
        if len(batch) == 0:
            return torch.zeros(0, self.dim, dtype=self._made)
        with self._forward(f"{len(batch)} images"):
            batch = batch.to(self.device, non_blocking=True)
            # uint8 is copied to the device: a quarter of the bytes of float32
            if batch.dtype == torch.uint8:
                batch = self.preprocess.normalise(batch, self._made)
            batch = batch.to(DTYPES[self.precision])
            # the memory layout in which convolutions on a GPU are fastest
            if self.device.type == "cuda":
                batch = batch.contiguous(memory_format=torch.channels_last)
            # CoCa's encode_image makes unit rows unless asked otherwise
            features: Tensor = self.model.encode_image(batch, normalize=False)  # type: ignore[operator]
            return features.to(self._made)

    @property
    def _made(self) -> torch.dtype:
        """The type of returned features: float64 with fp64, else float32."""
        return torch.float64 if self.precision == "fp64" else torch.float32

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

        Every different text is encoded once, in batches of similar length, cut as far as `can_cut`
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
        cut = {unique[i] for i in over_length(self.tokenizer, tokens, unique, self.context_length)}
        positions_cut = [i for i, text in enumerate(texts) if text in cut]

        key = features_key(self.metadata(), self.device, "text") if self.store else ""
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
        return self.tokenizer(texts, context_length=self.context_length)

    def _encode_new(self, texts: list[str], tokens: Tensor, batch_size: int) -> Tensor:
        """Encode M different texts, whose token ids are (M, L) -> (M, d) float32, unit. UserError
        if a feature is not finite.
        """
        lengths = needed_lengths(self.model, tokens)
        features = torch.empty(len(texts), self.dim, dtype=self._made)
        # the budget counts padded tokens, so a batch of short texts holds more of them
        for rows in batches_by_length(lengths, batch_size * self.context_length):
            batch = tokens[rows, : int(lengths[rows].max())]
            with self._forward(f"{len(rows)} texts"):
                encoded = text_features(self.model, batch.to(self.device))
                features[rows] = encoded.to(self._made).cpu()
        norms = features.norm(dim=1)
        # a feature that is NaN or has length 0 has no direction to compare
        bad = ~(torch.isfinite(norms) & (norms > 0))
        if bad.any():
            text = texts[int(bad.nonzero()[0])]
            raise UserError(
                f"{self.info['model']}: no finite text feature for '{text}' ({self.precision})"
            )
        # rounded first, so that stored and new features are the same bytes
        return stored(F.normalize(features, dim=1))

    @contextlib.contextmanager
    def _forward(self, what: str) -> Iterator[None]:
        """Context of a forward pass. UserError if the memory is too small for ``what``."""
        try:
            with passes(self.precision, self.device):
                yield
        except torch.OutOfMemoryError:
            raise UserError(
                f"{self.info['model']}: {self.device} ran out of memory on {what}; lower batch_size"
            ) from None


@contextlib.contextmanager
def passes(precision: Precision, device: torch.device) -> Iterator[None]:
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


def load_encoder(spec: EncoderSpec, offline: bool | None = None) -> Encoder:
    """Load the encoder that ``spec`` names, in evaluation mode, on its device.

    offline: True fetches nothing, False may fetch from the Hugging Face hub what is not cached yet;
    None reads HF_HUB_OFFLINE. A "local-dir:" model never fetches. Weights are read from
    safetensors, or from checkpoints by torch.load(weights_only=True); TorchScript archives and
    pickled objects are refused.

    UserError, one line: unknown model, tag or device (with the nearest known name); weights that
    are neither here nor reachable (what to fetch, where to put it); weights that do not fit the
    model; an encoder that does not tell two texts or two images apart (proof.py).
    """
    # Three steps, which fail for different reasons and so have their own messages: find the files,
    # build an empty model and its tokenizer (these may need files of the hub, too), load the
    # weights strictly. The hash of the weights is taken before they are cast, so that it is the
    # same in every precision.
    device = pick_device(spec.device)
    if spec.precision not in DTYPES:
        raise UserError(f"unknown precision '{spec.precision}'{nearest(spec.precision, DTYPES)}")
    if spec.precision == "fp64" and device.type == "mps":
        raise UserError("precision fp64: Apple's GPU has no float64; use device: cpu")
    if device.type == "cpu":
        memory.keep()
    offline = huggingface_hub.constants.HF_HUB_OFFLINE if offline is None else offline
    source = find(spec.model, spec.pretrained, offline, spec.quick_gelu)
    offline = offline or source.local

    text: dict[str, Any] = source.model_cfg["text_cfg"]
    context_length = int(text.get("context_length", 77))

    def build() -> tuple[nn.Module, Callable[..., Tensor]]:
        """The empty model and its tokenizer, which is proved here: a cache with a part of a
        tokenizer's files must count as a cache without the tokenizer.
        """
        with quiet():
            tokenizer = open_clip.get_tokenizer(source.name, **source.tokenizer_options)
            model = empty_model(source.name, **source.options)
        tower: Any = getattr(model, "text", model)
        prove_tokenizer(tokenizer, context_length, int(tower.vocab_size), source.label[0])
        return model, tokenizer

    # a folder is complete or wrong: the hub is not asked for missing files
    if source.local:
        try:
            with hub(offline=True):
                model, tokenizer = build()
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, AssertionError) as error:
            raise UserError(
                f"{source.label[0]}: cannot be built from its folder: {one_line(error)}"
            ) from None
    else:
        # the repository of the files that may be missing: tokenizer, text tower or model
        repository = text.get("hf_tokenizer_name") or text.get("hf_model_name") or spec.model
        model, tokenizer = from_hub(
            build,
            f"the tokenizer or text tower of {spec.model}",
            repository.removeprefix("hf-hub:"),
            offline,
        )
    evidence.reading(source.weights)
    try:
        with quiet():
            open_clip.load_checkpoint(model, str(source.weights), strict=True, weights_only=True)
    except Exception as error:  # damaged, hostile and unfitting files fail in many ways
        advice = ""
        if source.weights.suffix not in SAFE:
            advice = "; only tensors are read: use a .safetensors file of these weights"
        if source.weights.is_symlink():  # as all files in the hub's cache
            advice += "; 'coder-clip prefetch' fetches it again if it is damaged"
        raise UserError(
            f"weights {source.weights} cannot be loaded into "
            f"{source.label[0]}: {one_line(error)}{advice}"
        ) from None

    prove_weights(model, source.weights)
    model.eval().requires_grad_(False)
    visual: Any = model.visual
    info = {
        "model": source.label[0],
        "pretrained": source.label[1],
        "weights_sha256": weights_sha256(model),
        "quick_gelu": str(has_quick_gelu(model)).lower(),
        "dim": str(source.model_cfg["embed_dim"]),
    }
    model = model.to(device=device, dtype=DTYPES[spec.precision])
    if device.type == "cuda":
        visual.to(memory_format=torch.channels_last)
    encoder = Encoder(
        model=model,
        tokenizer=tokenizer,
        preprocess=Preprocess(PreprocessCfg(**visual.preprocess_cfg)),
        device=device,
        precision=spec.precision,
        dim=int(info["dim"]),
        context_length=context_length,
        info=info,
    )
    prove_towers(encoder)
    return encoder


class _NoFill(TorchFunctionMode):
    """Skip the random values with which constructors fill tensors, which takes seconds. The tensors
    stay as they were allocated.
    """

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        # an in-place fill returns the tensor that it was called on
        if func in RANDOM_FILLS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


RANDOM_FILLS = {
    *(torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.erfinv_),
    *(nn.init.normal_, nn.init.uniform_, nn.init.trunc_normal_),
    *(
        nn.init.kaiming_normal_,
        nn.init.kaiming_uniform_,
        nn.init.xavier_normal_,
        nn.init.xavier_uniform_,
    ),
}


def empty_model(name: str, **options: Any) -> nn.Module:
    """Build an open_clip model with uninitialised parameters; buffers have the values that its
    constructors compute.
    """
    # fork_rng: building a model must not advance the caller's random numbers
    with quiet(), torch.random.fork_rng(devices=[]), _NoFill():
        model: nn.Module = open_clip.create_model(
            name, load_weights=False, pretrained_text=False, **options
        )
    return model


def has_quick_gelu(model: nn.Module) -> bool:
    """True if the towers have the activation that OpenAI, MetaCLIP and DFN trained with."""
    return any(isinstance(m, QuickGELU) for m in model.modules())


def weights_sha256(model: nn.Module) -> str:
    """sha256 over name, dtype, shape and bytes of every tensor of the state dict, in name order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # as bytes, because NumPy has no bfloat16
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
