"""Training of `mini`: open_clip's own contrastive loss on captioned images that the project draws."""

from __future__ import annotations

import copy
import json
import math
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.loss import ClipLoss
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from coder_clip.datasets.drawn.drawing import DrawnDataset
from coder_clip.datasets.drawn.rare import Rare
from coder_clip.datasets.drawn.shapes import Shapes
from coder_clip.encoders.encoder import EncoderSpec, load_encoder
from coder_clip.encoders.open_clip_towers import text_features
from coder_clip.errors import UserError
from coder_clip.texts.sentences import fill

from . import model as mini
from .model import Clip
from .samples import CAPTIONS, draw_all

DATASETS: tuple[DrawnDataset, ...] = (Shapes(), Rare())
BATCH = 128
RATE, DECAY, WARMUP = 1e-3, 0.1, 300
STEPS = 5000
SAVE_EVERY, SAY_EVERY = 300.0, 20.0  # seconds


def default_store() -> Path:
    """Where drawn images lie between runs: about 1 GB, safe to delete."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "coder-clip" / "mini"


def train(
    out: Path,
    steps: int = STEPS,
    seed: int = 1,
    threads: int = 2,
    images: int = 60_000,
    store: Path | None = None,
    half: bool = True,
) -> None:
    """Trains `mini` for so many steps and keeps a loadable model in `out` all the while.

    Same machine, same threads, same weights.
    """
    if steps <= 0:
        raise UserError("mini: --steps must be more than 0")
    if images < BATCH:
        raise UserError(f"mini: --images must be at least one batch ({BATCH})")
    if not 1 <= threads <= BATCH:
        raise UserError(f"mini: --threads must be between 1 and {BATCH}")
    store = store or default_store()
    torch.set_num_threads(1)  # see `learn`: the cores share a batch, not an operation
    torch.manual_seed(seed)
    mini.prepare(out)
    files = draw_all(store, seed, images, out / mini.BPE, mini.CONTEXT, threads)
    pictures, tokens = (np.load(f, mmap_mode="r") for f in files)

    net = mini.build().train().to(memory_format=torch.channels_last)
    optimizer = _optimizer(net)
    loss_of = ClipLoss()
    # Twins share the parameters, not the batch norm's running means, so that threads do not race
    # for these.
    twins = [
        net,
        *(copy.deepcopy(net, {id(p): p for p in net.parameters()}) for _ in range(threads - 1)),
    ]
    workers = ThreadPoolExecutor(threads)

    said = saved = time.monotonic()
    ahead = ThreadPoolExecutor(1)  # the next batch is built while this one is learnt
    coming = ahead.submit(batch, pictures, tokens, seed, 0)
    losses: list[float] = []
    step = first = 0
    while True:
        if step >= steps:
            break
        progress = step / steps
        for group in optimizer.param_groups:
            group["lr"] = (
                RATE * min(1, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * progress))
            )
        with torch.no_grad():
            net.logit_scale.fill_(log_scale(progress))
        x, t = coming.result()
        coming = ahead.submit(batch, pictures, tokens, seed, step + 1)
        loss = learn(twins, loss_of, workers, x, t, half)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss)
        step += 1

        now = time.monotonic()
        if now - said > SAY_EVERY:
            rate = BATCH * (step - first) / (now - said)
            left = (steps - step) * (now - said) / (step - first)
            _say(
                f"step {step}  loss {np.mean(losses):.3f}  {rate:.0f} images/s  {left / 60:.1f} "
                "min left"
            )
            losses, said, first = [], now, step
        if now - saved > SAVE_EVERY:
            mini.save(net, out)
            _say(f"validation: {_in_words(premise(out, 'val'))}")
            saved = now
    mini.save(net, out)
    _say(f"{step} steps, {step * BATCH:,} images; weights in {out}")
    _say(f"validation: {_in_words(premise(out, 'val'))}")


def learn(
    twins: list[Clip],
    loss_of: ClipLoss,
    workers: ThreadPoolExecutor,
    x: Tensor,
    t: Tensor,
    half: bool,
) -> float:
    """Adds the gradient of the loss of one batch to the parameters; returns the loss.

    Every core takes its share of the batch through both towers, the loss is taken over the whole
    batch, and every core takes its share back. Two threads inside each operation wait for each
    other thousands of times a batch and crawl as soon as another program needs a core (measured on
    two busy cores: 80 images/s, and 330 with one thread); shares wait for each other twice.
    """

    def forward(net: Clip, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            # texts are as long as the longest: open_clip would pad them to the context, for twice
            # the time
            i, c = net.encode_image(images, normalize=True), text_features(net, texts)
            return i.float(), normalize(c, dim=-1).float()

    n = len(twins)
    parts = list(workers.map(forward, twins, x.chunk(n), t.chunk(n)))
    images, texts = (torch.cat([p[k].detach() for p in parts]).requires_grad_() for k in (0, 1))
    loss = loss_of(images, texts, twins[0].logit_scale.exp())
    loss.backward()
    assert images.grad is not None
    assert texts.grad is not None
    grads = zip(images.grad.chunk(n), texts.grad.chunk(n), strict=True)
    list(workers.map(torch.autograd.backward, parts, grads))
    return float(loss.detach())


def batch(
    pictures: NDArray[np.uint8], tokens: NDArray[np.uint16], seed: int, step: int
) -> tuple[Tensor, Tensor]:
    """The images (B, 3, 64, 64) and tokens (B, L) of a step, L the longest text.

    A pure function of its arguments.

    A caption that the batch already holds is replaced by another of the same image, because the
    loss would call two equal captions each other's opposite.
    """
    rng = np.random.Generator(np.random.PCG64([seed, step]))
    chosen = np.sort(rng.choice(len(pictures), BATCH, replace=False))
    seen: set[bytes] = set()
    rows = []
    for options, start in zip(tokens[chosen], rng.integers(CAPTIONS, size=BATCH), strict=True):
        for k in range(CAPTIONS):
            row = options[(start + k) % CAPTIONS]
            if row.tobytes() not in seen:
                break
        seen.add(row.tobytes())
        rows.append(row)
    t = np.stack(rows).astype(np.int64)
    t = t[:, : int((t != 0).sum(1).max())]

    pad = 4  # shifts of up to four pixels, then light and contrast: no epoch sees the same pixels
    x = np.pad(pictures[chosen], ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    n = pictures.shape[1]
    shifts = rng.integers(0, 2 * pad + 1, (BATCH, 2))
    x = np.stack([image[i : i + n, j : j + n] for image, (i, j) in zip(x, shifts, strict=True)])
    y = torch.from_numpy(x).permute(0, 3, 1, 2).float().div_(255)
    mean, std = (torch.tensor(mini.PREPROCESS[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    light = torch.from_numpy(rng.uniform(-0.08, 0.08, (BATCH, 1, 1, 1)).astype(np.float32))
    contrast = torch.from_numpy(rng.uniform(0.85, 1.15, (BATCH, 1, 1, 1)).astype(np.float32))
    y = ((y - 0.5) * contrast + 0.5 + light).clamp_(0, 1)
    return ((y - mean) / std).contiguous(memory_format=torch.channels_last), torch.from_numpy(t)


def log_scale(progress: float) -> float:
    """The logarithm of the factor on cosines: from 14, where CLIP starts, to 100, where CLIP ends.

    CLIP learns it; so short a training would stop at 20. But the method multiplies cosines by 100
    and reads the softmax as confidence (stage two looks at uncertain images), so the model has to
    be trained for it."""
    return math.log(1 / 0.07) + (math.log(100) - math.log(1 / 0.07)) * min(1.0, progress / 0.7)


def premise(
    folder: Path, split: str, texts: Path = Path("data/texts")
) -> dict[str, dict[str, float]]:
    """Accuracy of a saved model per data set.

    With the name alone, and with the attributes and no name at all.

    This is what a world is accepted by: in `rare` attributes classify better than names by at least
    ten points, in `shapes` names do. Nothing that CODER or the rerank score is looked at.
    """
    encoder = load_encoder(EncoderSpec(f"local-dir:{folder}", device="cpu"), offline=True)
    result = {}
    for place, dataset in enumerate(DATASETS):
        labels = torch.from_numpy(dataset.split(split).labels)
        x = torch.stack([encoder.preprocess.pixels(image) for image in _images(place, split)])
        images = torch.cat([encoder.encode_images(part) for part in torch.split(x, 2 * BATCH)])
        names = encoder.encode_texts([fill(dataset.templates.name, c) for c in dataset.classes])
        classes = json.loads((texts / f"{dataset.name}.json").read_text())["classes"]
        attributes = torch.stack([encoder.encode_texts(c["attribute"]).mean(0) for c in classes])
        result[dataset.name] = {
            kind: float(((images @ weights.T).argmax(1) == labels).float().mean())
            for kind, weights in (("name", names), ("attributes", attributes))
        }
    return result


def _in_words(scores: dict[str, dict[str, float]]) -> str:
    return ", ".join(
        f"{d} {kind} {value:.1%}"
        for d, by_kind in scores.items()
        for kind, value in by_kind.items()
    )


@cache
def _images(place: int, split: str) -> list[Image.Image]:
    dataset = DATASETS[place]
    return [dataset.image(i) for i in dataset.split(split).ids]


def _optimizer(net: Clip) -> torch.optim.AdamW:
    decayed = [p for p in net.parameters() if p.ndim >= 2]
    rest = [
        p for p in net.parameters() if p.ndim < 2
    ]  # gains, biases and the logit scale do not decay
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), eps=1e-6)


def _say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)
