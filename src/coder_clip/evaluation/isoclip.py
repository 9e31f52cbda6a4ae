"""IsoCLIP: image features without the directions that the two towers do not share.

Magistri et al., "IsoCLIP: Decomposing CLIP Projectors for Efficient Intra-modal Alignment", CVPR
2026, arXiv 2603.19862; apply_iso in src/retrieval.py and README.md of simomagi/IsoCLIP at commit
2015573. No labels, no texts, no training.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..foundation.reproducible import exact_matmul, on_grid
from ..neighbors import l2_normalize

# (model, pretrained) -> numbers of first and last directions left out, as the authors' README has
# them for images
PUBLISHED = {
    ("ViT-B-32", "openai"): (150, 50),
    ("ViT-B-16", "openai"): (200, 50),
    ("ViT-B-16", "datacomp_xl_s13b_b90k"): (100, 100),
}
# Of other models the same shares of the directions as of ViT-B/32, which has 512; this is ours.
SHARES = (150 / 512, 50 / 512)


def left_out(model: str, pretrained: str, directions: int) -> tuple[int, int]:
    """Numbers of first and last directions that are left out of ``directions``."""
    published = PUBLISHED.get((model.removesuffix("-quickgelu"), pretrained))
    if published is not None:
        return published
    first, last = (round(share * directions) for share in SHARES)
    return first, last


def aligned(
    x: Tensor, image_projection: Tensor, text_projection: Tensor, model: str, pretrained: str
) -> Tensor:
    """IsoCLIP's features of images with features x (N, d): (N, d) float64.

    image_projection: W_i (d, p), text_projection: W_t (d, q), the last linear layers of the towers;
    model, pretrained: of the encoder, whose published numbers of directions count.

        Ψ = W_iᵀ W_t = U S Vᵀ        y = W_i U_k U_kᵀ z = (W_i U_k U_kᵀ W_i⁺) x

    z is what enters the projection, x = W_i z. U_k leaves out the first and the last directions.
    Ψ's left singular vectors are in the span of W_i's rows, and W_i⁺ x is the part of z in that
    span. So y follows from x, and nothing has to be encoded again.
    """
    w_i, w_t = image_projection.double(), text_projection.double()
    u, s, _ = torch.linalg.svd(w_i.T @ w_t, full_matrices=False)
    first, last = left_out(model, pretrained, len(s))
    kept = u[:, first : len(s) - last]
    to_aligned = w_i @ kept @ (kept.T @ torch.linalg.pinv(w_i))
    return exact_matmul(l2_normalize(x, width=len(w_i)).cpu(), on_grid(to_aligned))
