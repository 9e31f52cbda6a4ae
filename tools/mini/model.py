"""The architecture of `mini` and its folder.

An open_clip configuration, a short BPE file, float16 weights.

open_clip loads the folder as ``local-dir:PATH``. The one thing it does not do itself is to find the
BPE file: `tokenizer_kwargs.bpe_path` in the configuration is relative to the folder and has to be
made absolute, which `encoders.load_encoder` does for every local folder.
"""

from __future__ import annotations

import gzip
import json
import re
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import open_clip
from open_clip.tokenizer import default_bpe
from safetensors.torch import save_file

from . import birds, captions

WEIGHTS, CONFIG, BPE = "open_clip_model.safetensors", "open_clip_config.json", "bpe.txt.gz"
VOCABULARY = 4096
CONTEXT = 40

# A small ResNet learns from little compute; its text tower is CLIP's own, causal and read at the
# end of text. Channels are multiples of eight throughout: with a width of 24 a training step took
# three times as long (measured).
ARCHITECTURE: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64},
    "text_cfg": {
        "context_length": CONTEXT,
        "vocab_size": VOCABULARY,
        "width": 128,
        "heads": 2,
        "layers": 2,
        "tokenizer_kwargs": {"bpe_path": BPE},
    },
}
PREPROCESS: dict[str, Any] = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


Clip = Any  # open_clip's CLIP, which comes without types


def prepare(folder: Path) -> None:
    """Writes the configuration and the vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"model_cfg": ARCHITECTURE, "preprocess_cfg": PREPROCESS}, indent=2)
    (folder / CONFIG).write_text(text + "\n")
    # mtime=0: the same bytes on every day; no last newline: open_clip would read it as one more
    # merge
    (folder / BPE).write_bytes(gzip.compress("\n".join(merges()).encode(), mtime=0))


def merges() -> list[str]:
    """A header and as many of CLIP's own BPE merges as 4,096 tokens allow, in CLIP's order.

    All that the words of the captions need come first, so that these words are split as CLIP splits
    them (mostly not at all); the most frequent of the rest fill up.
    """
    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode().split("\n")
    header, ranked = lines[0], lines[1 : 49152 - 256 - 2 + 1]  # the cut that CLIP makes
    rank = {tuple(line.split()): i for i, line in enumerate(ranked)}
    room = VOCABULARY - 2 * 256 - 2  # bytes, bytes at a word's end, start and end of text
    needed: set[int] = set()
    for word in vocabulary():
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            pairs = [rank.get(pair, len(rank)) for pair in pairwise(parts)]
            best = min(pairs)
            if best == len(rank):
                break
            needed.add(best)
            at = pairs.index(best)
            parts[at : at + 2] = ["".join(parts[at : at + 2])]
    rest = (i for i in range(len(ranked)) if i not in needed)
    kept = needed | set(islice(rest, room - len(needed)))
    return [header, *(ranked[i] for i in sorted(kept))]


def vocabulary() -> list[str]:
    """Every word that a caption can hold, sorted."""
    texts = [*captions.words(), *birds.words()]
    return sorted(
        {word for text in texts for word in re.findall("[a-z]+", re.sub(r"{\w*}", " ", text))}
    )


def build() -> Clip:
    """The model with fresh weights."""
    return open_clip.model.CLIP(**ARCHITECTURE)


def save(model: Clip, folder: Path) -> None:
    """Writes the weights as float16 beside the configuration, in one rename."""
    state = {k: v.detach().cpu() for k, v in model.state_dict().items()}
    state = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}
    part = folder / (WEIGHTS + ".part")  # a suffix that no loader takes for weights
    save_file(state, part)
    part.chmod(0o644)  # safetensors writes for the owner alone
    part.replace(folder / WEIGHTS)
