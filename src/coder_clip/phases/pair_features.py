"""Phase one_to_one: features of the texts of pairs, one difference per unordered pair (paper,
section 3.4).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..datasets.base import Templates
from ..foundation.artifacts import read_classes, write_tensors
from ..rerank import OneToOne
from ..texts.sentences import pair_sentences
from ..texts.sets import load_pair_set
from .common import AS_PUBLISHED, use_threads
from .encoder import encoder_of, warn_cut


def run(
    *,
    manifest: str,
    texts: str,
    files: list[str],
    out: str,
    model: str,
    dataset: str,
    templates: dict[str, Any],
    encoder: dict[str, Any],
    device: str,
    store: str,
    threads: int,
) -> None:
    """Encode the one-to-one texts: one difference vector per unordered pair.

    A second set, with the prefix "as_published.", is made from the published code's sentences, if
    they differ.

    texts: the pair set. files: of the encoder. templates: fields of `Templates`. encoder, device,
    store: as in `encoder_of`.
    """
    # The prompts of both sets are encoded in one call, which encodes equal prompts once. The
    # features are then split in the order in which the prompts were listed: by set, then by pair.
    use_threads(threads)
    classes, sentences = read_classes(Path(manifest)), Templates.of(templates)
    of = {"model": model, "dataset": dataset, "classes": classes}
    pair_set = load_pair_set(texts, dataset, classes, made=True)
    # prefix of the tensors -> ordered pair of classes -> its prompts
    ordered = {"": pair_sentences(pair_set, sentences)}
    published = pair_sentences(pair_set, sentences, as_published=True)
    if published != ordered[""]:
        ordered[AS_PUBLISHED] = published
    prompts = [s for of_pairs in ordered.values() for some in of_pairs.values() for s in some]
    loaded = encoder_of(encoder, device, store)
    encoded = loaded.encode_texts_report(prompts)
    cut = [prompts[i] for i in encoded.over_length]
    warn_cut(cut, len(prompts), loaded.context_length, Path(out))
    # sizes cut the features back into pairs, in the order of the flat list
    sizes = [len(some) for of_pairs in ordered.values() for some in of_pairs.values()]
    parts = iter(torch.split(encoded.features, sizes))
    state: dict[str, torch.Tensor] = {}
    for prefix, of_pairs in ordered.items():
        pairs = OneToOne({pair: next(parts) for pair in of_pairs}, n_classes=len(classes))
        state |= {prefix + key: tensor for key, tensor in pairs.state().items()}
    meta = {"encoder": loaded.metadata(), "texts": len(prompts), "over_length": cut}
    write_tensors(out, state, {**of, **meta})
