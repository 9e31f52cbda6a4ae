"""Text towers: how far a batch of texts may be cut without changing a feature, and the cut forward
pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.transformer import TextTransformer, text_global_pool
from torch import Tensor, nn


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
    return "pooled" if causal and _pool_type(tower) in ("argmax", "eos") else "none"


def _pool_type(tower: nn.Module) -> str:
    """Name of the position at which the tower pools ("argmax", "eos", "last", …)."""
    return str(getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", "none"))


def _eos_id(tower: nn.Module) -> int | None:
    """Id of the end-of-text token; None for a tower that does not say."""
    return getattr(tower, "text_eos_id", getattr(tower, "eos_id", None))


def needed_lengths(model: nn.Module, tokens: Tensor) -> Tensor:
    """The number (M,) of leading tokens that each text of token ids (M, L) needs; L if the tower
    must see all.
    """
    tower: Any = getattr(model, "text", model)
    cut = can_cut(model)
    if cut == "pooled":
        # the end-of-text token of CLIP has the highest id; other towers name theirs
        ends = tokens if _pool_type(tower) == "argmax" else tokens.eq(_eos_id(tower) or 0).int()
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


def batches_by_length(lengths: Tensor, token_budget: int) -> Iterator[list[int]]:
    """Batches of positions of texts, shortest text first. lengths: (M,) of the texts. token_budget:
    most tokens of a batch, padding included.
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


def over_length(
    tokenizer: Callable[..., Tensor], tokens: Tensor, texts: list[str], context_length: int
) -> list[int]:
    """Positions of texts that lost tokens: with room for one more token they have one more.
    tokens: (M, L) of the texts.
    """
    hf = getattr(tokenizer, "tokenizer", None)
    pad = getattr(hf, "pad_token_id", None) or 0
    full = (tokens != pad).sum(dim=1) >= context_length - 1  # only those can have lost anything
    rows = full.nonzero().flatten().tolist()
    if not rows:
        return []
    # only a longer context shows whether a full text lost something
    roomy = tokenizer([texts[i] for i in rows], context_length=context_length + 1)
    longer = (roomy != pad).sum(dim=1) > (tokens[rows] != pad).sum(dim=1)
    return [i for i, over in zip(rows, longer.tolist(), strict=True) if over]
