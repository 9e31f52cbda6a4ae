"""Features by open_clip's towers; texts are cut to what a text tower looks at.

Between a photo or text and its feature: this module imports nothing of the program but others of
this kind, and the store of features names its code (`families.open_clip.MAKERS`).
"""

from __future__ import annotations

from typing import Any, Literal

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import TextTransformer, text_global_pool
from torch import Tensor, nn

from .preprocessing import Preprocess


def image_features(model: nn.Module, pixels: Tensor) -> Tensor:
    """Encode normalised pixels (B, 3, H, W) -> (B, d), not of unit length."""
    # CoCa's encode_image makes unit rows unless asked otherwise
    return model.encode_image(pixels, normalize=False)  # type: ignore[operator,no-any-return]


def preprocessing(cfg: PreprocessCfg) -> Preprocess:
    """open_clip's evaluation transform; equal to it bit for bit."""
    size = cfg.size
    return Preprocess(
        size=(size, size) if isinstance(size, int) else (size[0], size[1]),
        mean=tuple(cfg.mean),
        std=tuple(cfg.std),
        interpolation=cfg.interpolation,
        resize_mode=cfg.resize_mode,
        # the last two are ToTensor and Normalize
        steps=tuple(image_transform_v2(cfg, is_train=False).transforms[:-2]),
    )


def can_cut(model: nn.Module) -> Literal["pooled", "padding", "none"]:
    """How far a text batch may be cut without changing the features, per kind of text tower.

    "pooled": behind the end-of-text token, because a causal tower that pools at this token never
    looks behind it. "padding": only the padding, which a Hugging Face tower hides by its attention
    mask. "none": not at all, for towers that see every position (no causal mask), pool at the last
    position, or append a class token behind the padding (CoCa); and for unknown towers."""
    tower = getattr(model, "text", model)
    if isinstance(tower, HFTextEncoder):
        return "padding"
    if (
        not isinstance(tower, (TextTransformer, open_clip.CLIP))
        or getattr(tower, "cls_emb", None) is not None
    ):
        return "none"
    mask = tower.attn_mask
    # causal: -inf above the diagonal hides every later token
    causal = mask is not None and bool(
        torch.isneginf(mask[torch.ones_like(mask).triu(1).bool()]).all()
    )
    if causal and _pool_type(tower) in ("argmax", "eos"):
        return "pooled"
    return "none"


def _pool_type(tower: nn.Module) -> str:
    """Name of the position at which the tower pools ("argmax", "eos", "last", …)."""
    return str(getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", "none"))


def _eos_id(tower: nn.Module) -> int | None:
    """Id of the end-of-text token; None for a tower that does not say."""
    return getattr(tower, "text_eos_id", getattr(tower, "eos_id", None))


def needed_lengths(model: nn.Module, tokens: Tensor) -> Tensor:
    """The number (M,) of leading tokens that each text of token ids (M, L) needs.

    L if the tower must see all.
    """
    tower: Any = getattr(model, "text", model)
    cut = can_cut(model)
    if cut == "pooled":
        # the end-of-text token of CLIP has the highest id; other towers name theirs
        ends = tokens
        if _pool_type(tower) != "argmax":
            ends = tokens.eq(_eos_id(tower) or 0).int()
        return ends.argmax(dim=1) + 1
    if cut == "padding":
        visible = tokens.ne(tower.config.pad_token_id).int()  # the tower's own rule
        # up to the last visible token; one token for a text without a visible one
        return (tokens.shape[1] - visible.flip(1).argmax(dim=1)).where(visible.any(dim=1), 1)
    return torch.full((len(tokens),), tokens.shape[1])


def text_features(model: nn.Module, tokens: Tensor) -> Tensor:
    """Encode token ids (B, L) -> features (B, d), raw, in the tower's precision.

    L: at least the needed length of every text (`needed_lengths`).
    """
    if can_cut(model) != "pooled":
        return model.encode_text(tokens, normalize=False)  # type: ignore[operator,no-any-return]
    # open_clip's own forward with position table and causal mask sliced, which it does not offer
    tower: Any = getattr(model, "text", model)
    n = tokens.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    x = tower.token_embedding(tokens).to(dtype) + tower.positional_embedding[:n].to(dtype)
    x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:n, :n]))
    x = text_global_pool(x, tokens, _pool_type(tower), eos_token_id=_eos_id(tower))
    if tower.text_projection is None:
        return x  # type: ignore[no-any-return]
    linear = isinstance(tower.text_projection, nn.Linear)
    return tower.text_projection(x) if linear else x @ tower.text_projection  # type: ignore[no-any-return]
