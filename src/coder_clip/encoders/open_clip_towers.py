"""open_clip's models: load one, and encode with its towers.

open_clip builds the towers, reads the weights and tokenizes; `checkpoints` finds the files,
`open_clip_features` encodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import open_clip
import torch
from open_clip.transform import PreprocessCfg
from open_clip.transformer import QuickGELU
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import UserError, one_line
from .checkpoints import SAFE, Checkpoint, find, quiet
from .hub import from_hub, hub
from .open_clip_features import image_features, needed_lengths, preprocessing, text_features
from .proof import prove_tokenizer
from .spec import EncoderSpec
from .towers import Towers

Tokenizer = Callable[..., Tensor]


class OpenClipTowers(Towers):
    """A model of open_clip, as an implementation of the interface."""

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, source: Checkpoint) -> None:
        """Take a model with its weights. source: the files that it is from."""
        self.model, self.tokenizer = model, tokenizer
        visual: Any = model.visual
        self.preprocess = preprocessing(PreprocessCfg(**visual.preprocess_cfg))
        self.dim = int(source.model_cfg["embed_dim"])
        self.context_length = _context_length(source)
        self.padding = getattr(getattr(tokenizer, "tokenizer", None), "pad_token_id", None) or 0
        self.info = {
            "model": source.label[0],
            "pretrained": source.label[1],
            "quick_gelu": str(has_quick_gelu(model)).lower(),
        }
        self.files = [source.weights]
        if source.local:
            others = {path for path in source.weights.parent.rglob("*") if path.is_file()}
            self.files += sorted(others - {source.weights})

    def image_features(self, pixels: Tensor) -> Tensor:
        """Encode normalised pixels (B, 3, H, W) -> (B, d), not of unit length."""
        return image_features(self.model, pixels)

    def tokenize(self, texts: list[str], length: int) -> Tensor:
        """Token ids (M, length) of texts, cut and padded."""
        return self.tokenizer(texts, context_length=length)

    def text_features(self, tokens: Tensor) -> Tensor:
        """Encode token ids (B, L) -> (B, d), not of unit length."""
        return text_features(self.model, tokens)

    def needed_lengths(self, tokens: Tensor) -> Tensor:
        """The number (M,) of leading tokens that each text of (M, L) needs."""
        return needed_lengths(self.model, tokens)

    def move(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the weights to a device, in a number type."""
        super().move(device, dtype)
        if device.type == "cuda":
            visual: Any = self.model.visual
            visual.to(memory_format=torch.channels_last)


def load(spec: EncoderSpec, offline: bool) -> OpenClipTowers:
    """Load a model on the CPU, in float32; UserError as in `encoder.load_encoder`."""
    # Three steps, which fail for different reasons and so have their own messages: find the files,
    # build an empty model and its tokenizer (these may need files of the hub, too), load the
    # weights strictly.
    source = find(spec.model, spec.pretrained, offline, spec.quick_gelu)
    model, tokenizer = _build(source, spec.model, offline or source.local)
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
            f"weights {source.weights} cannot be loaded into {source.label[0]}: "
            f"{one_line(error)}{advice}"
        ) from None
    return OpenClipTowers(model, tokenizer, source)


def _build(source: Checkpoint, name: str, offline: bool) -> tuple[nn.Module, Tokenizer]:
    """The empty model and its tokenizer. name: of the model, as the user wrote it."""

    def build() -> tuple[nn.Module, Tokenizer]:
        """The model without weights and its tokenizer, which was proved."""
        # the tokenizer is proved here: a cache with a part of its files must count as a cache
        # without it
        with quiet():
            tokenizer = open_clip.get_tokenizer(source.name, **source.tokenizer_options)
            model = empty_model(source.name, **source.options)
        tower: Any = getattr(model, "text", model)
        vocabulary = int(tower.vocab_size)
        prove_tokenizer(tokenizer, _context_length(source), vocabulary, source.label[0])
        return model, tokenizer

    # a folder is complete or wrong: the hub is not asked for missing files
    if source.local:
        try:
            with hub(offline=True):
                return build()
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, AssertionError) as error:
            raise UserError(
                f"{source.label[0]}: cannot be built from its folder: {one_line(error)}"
            ) from None
    # the repository of the files that may be missing: tokenizer, text tower or model
    text: dict[str, Any] = source.model_cfg["text_cfg"]
    repository = text.get("hf_tokenizer_name") or text.get("hf_model_name") or name
    what = f"the tokenizer or text tower of {name}"
    return from_hub(build, what, repository.removeprefix("hf-hub:"), offline)


def _context_length(source: Checkpoint) -> int:
    """Largest number of tokens of a text."""
    return int(source.model_cfg["text_cfg"].get("context_length", 77))


class _NoFill(TorchFunctionMode):
    """Skip the random values with which constructors fill tensors, which takes seconds; the tensors
    stay as allocated.
    """

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Skip fills with random numbers; call every other function as usual."""
        # an in-place fill returns the tensor that it was called on
        if func in RANDOM_FILLS:
            if args:
                return args[0]
            return (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


RANDOM_FILLS = {
    torch.Tensor.normal_,
    torch.Tensor.uniform_,
    torch.Tensor.erfinv_,
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.trunc_normal_,
    nn.init.kaiming_normal_,
    nn.init.kaiming_uniform_,
    nn.init.xavier_normal_,
    nn.init.xavier_uniform_,
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
