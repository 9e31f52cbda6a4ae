"""Measure the cost of loading images, and the gain of encoding texts at their own length.

(a) images: ``extract`` from JPEG files, and the same forward passes on pixels already in memory.
The difference is the
    share lost to loading (goal: below 5 %, on a CPU and, with --device cuda, on a GPU). Beside it
    open_clip's own transforms and model in a loop over a DataLoader, as CLIP_benchmark runs them.
(b) texts: one at a time at full context, as in the published code, and ``encode_texts`` (goal: at
least 6 times as
    fast), with the largest difference between the features.
(c) starts: a process that imports what an encoding job imports and loads the weights, once per data
set and model
    (docs/architecture.md).

Uses random weights in the shape of ViT-B-32: the speed does not depend on their values, and nothing
is downloaded. Prints a Markdown table. Times are medians over interleaved repeats.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image, ImageFilter
from safetensors.torch import save_file
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from coder_clip.datasets.folder import FolderDataset
from coder_clip.encoders.encoder import Encoder, EncoderSpec, load_encoder
from coder_clip.encoders.features import extract

OBJECTS = (
    "cat",
    "dog",
    "fox",
    "owl",
    "car",
    "bus",
    "boat",
    "plane",
    "chair",
    "lamp",
    "cup",
    "phone",
    "rose",
    "oak",
    "apple",
    "pizza",
    "bridge",
    "tower",
)
LOOKS = (
    "long floppy ears",
    "a narrow beak and large round eyes",
    "four rubber tires",
    "a thin stem",
    "red or yellow skin with small brown dots near the top",
    "a wooden frame",
    "white sails",
    "a layered crust topped with melted cheese and green basil",
    "sharp claws",
    "tinted windows",
)


def main() -> None:
    """Run all three measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="ViT-B-32", help="open_clip name (default %(default)s)")
    parser.add_argument(
        "--images", type=int, default=512, metavar="N", help="JPEG files (default %(default)s)"
    )
    parser.add_argument(
        "--texts", type=int, default=504, metavar="N", help="texts, at most 504 (default)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=64, help="images a batch (default %(default)s)"
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="threads that decode (default %(default)s)"
    )
    parser.add_argument(
        "--loaders", type=int, default=0, help="processes of open_clip's loader (default 0)"
    )
    parser.add_argument(
        "--threads", type=int, help="of the encoder on a CPU (default: torch's choice)"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="repeats of (a) (default %(default)s)"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps (default %(default)s)")
    parser.add_argument(
        "--precision", default="fp32", choices=("fp32", "tf32", "amp", "bf16", "fp16")
    )
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    with tempfile.TemporaryDirectory() as folder:
        encoder = random_encoder(Path(folder), args)
        write_jpegs(Path(folder) / "images" / "test" / "noise", args.images)
        result = {
            "machine": machine(encoder),
            "settings": vars(args),
            "images": images(encoder, Path(folder) / "images", args),
            "texts": texts(encoder, args.texts),
            "start": start(Path(folder), args),
        }
    print(table(result))


def random_encoder(folder: Path, args: argparse.Namespace) -> Encoder:
    """The model with random weights, loaded from a checkpoint file like any weights."""
    torch.manual_seed(0)
    model = open_clip.create_model(args.model)
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "weights.safetensors"
    )
    weights = str(folder / "weights.safetensors")
    gelu = False if not args.model.endswith("-quickgelu") else None
    return load_encoder(EncoderSpec(args.model, weights, args.precision, args.device, gelu))


def write_jpegs(folder: Path, count: int) -> None:
    """Write blurred noise of ImageNet's usual size (500×375), which decodes like photos."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        noise = Image.fromarray(rng.integers(0, 256, (94, 125, 3), dtype=np.uint8))
        noise = noise.resize((500, 375), Image.Resampling.BICUBIC).filter(
            ImageFilter.GaussianBlur(1)
        )
        noise.save(folder / f"{i:05}.jpg", quality=90)


def images(encoder: Encoder, root: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds with and without loading, and the share lost to it."""
    data = FolderDataset("benchmark", root)
    split = data.split("test")
    pixels = torch.stack([encoder.preprocess.pixels(data.image(i)) for i in split.ids])
    batches = list(torch.split(pixels, args.batch_size))
    encoder.encode_images(batches[0])  # warm up

    def forward() -> torch.Tensor:
        return torch.cat([encoder.encode_images(batch) for batch in batches])

    def whole() -> torch.Tensor:
        options = {"batch_size": args.batch_size, "workers": args.workers, "progress": False}
        return extract(data, split.ids, split.labels, encoder, **options).features

    model, _, preprocess = open_clip.create_model_and_transforms(args.model)
    model = model.eval().to(encoder.device)
    folder = ImageFolder(str(root / "test"), preprocess)

    @torch.inference_mode()
    def open_clip_loop() -> torch.Tensor:
        loader = DataLoader(folder, args.batch_size, num_workers=args.loaders)
        return torch.cat([model.encode_image(batch.to(encoder.device)) for batch, _ in loader])

    with_loading, without, of_open_clip = [], [], []
    for _ in range(args.repeats):  # interleaved: a busy machine hits both alike
        of_open_clip.append(timed(open_clip_loop)[1])
        loaded, seconds = timed(whole)
        with_loading.append(seconds)
        preloaded, seconds = timed(forward)
        without.append(seconds)
        assert torch.equal(loaded, preloaded), "loading changed the features"
    slow, fast = statistics.median(with_loading), statistics.median(without)
    return {
        "open_clip_s": statistics.median(of_open_clip),
        "extract_s": slow,
        "forward_s": fast,
        "share_lost": 1 - fast / slow,
        "images_per_s": len(split) / slow,
    }


def texts(encoder: Encoder, count: int) -> dict[str, Any]:
    """Seconds one at a time at full context, and with encode_texts; all texts differ."""
    names = [f"a photo of a {name}." for name in OBJECTS]
    attributes = [f"a photo of a {name} which has {look}." for look in LOOKS for name in OBJECTS]
    analogous = [f"a photo of a {a} similar to a {b}." for a in OBJECTS for b in OBJECTS if a != b]
    prompts = (names + attributes + analogous)[:count]

    @torch.inference_mode()
    def published() -> torch.Tensor:
        rows = []
        for prompt in prompts:
            tokens = encoder.towers.tokenize([prompt], encoder.context_length).to(encoder.device)
            rows.append(encoder.towers.text_features(tokens).float().cpu())
        return torch.nn.functional.normalize(torch.cat(rows), dim=1)

    encoder.encode_texts(prompts[:8])  # warm up
    ours, fast = timed(lambda: encoder.encode_texts(prompts))
    theirs, slow = timed(published)
    return {
        "published_s": slow,
        "ours_s": fast,
        "ratio": slow / fast,
        "texts": len(prompts),
        "max_difference": float((ours - theirs).abs().max()),
        "mean_tokens": float(
            (encoder.towers.tokenize(prompts, encoder.context_length).argmax(1) + 1).float().mean()
        ),
    }


def start(folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """Seconds of a new process for its imports and for the weights, which are in the page cache."""
    gelu = None if args.model.endswith("-quickgelu") else False
    code = (
        "import time; began = time.time(); import coder_clip.phases.image_features;"
        "from coder_clip.encoders.encoder import EncoderSpec, load_encoder; imported = time.time();"
        f"load_encoder(EncoderSpec({args.model!r}, {str(folder / 'weights.safetensors')!r}, "
        f"{args.precision!r}, {args.device!r}, {gelu})); print(imported - began, time.time() - "
        "imported)"
    )
    runs = []
    for _ in range(max(2, args.repeats)):
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        )
        runs.append([float(x) for x in done.stdout.split()])
    imports, weights = (statistics.median(x) for x in zip(*runs, strict=True))
    return {"imports_s": imports, "weights_s": weights}


def timed(action: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, float]:
    """The result and the wall-clock seconds."""
    start = time.perf_counter()
    result = action()
    return result, time.perf_counter() - start


def machine(encoder: Encoder) -> dict[str, Any]:
    """The machine of the measurement."""
    gpu = torch.cuda.get_device_name(encoder.device) if encoder.device.type == "cuda" else None
    return {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "device": str(encoder.device),
        "gpu": gpu,
    }


def table(result: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    i, t, m, c = result["images"], result["texts"], result["machine"], result["start"]
    n, k = result["settings"]["images"], t["texts"]
    return "\n".join(
        [
            "| what | plain | here | result | goal |",
            "| --- | --- | --- | --- | --- |",
            f"| {n} JPEGs, {i['images_per_s']:.1f} images/s | {i['forward_s']:.2f} s forward "
            f"passes alone | {i['extract_s']:.2f} s | {i['share_lost']:.1%} lost to loading | < 5 "
            "% |",
            f"| the same, open_clip's transforms and model in a loop | {i['open_clip_s']:.2f} s | "
            f"{i['extract_s']:.2f} s | {i['open_clip_s'] / i['extract_s']:.2f}× | ≥ 1× |",
            f"| {k} texts, {t['mean_tokens']:.1f} tokens each | {t['published_s']:.2f} s one by "
            f"one | {t['ours_s']:.2f} s | {t['ratio']:.1f}×, differs by {t['max_difference']:.0e} "
            "| ≥ 6× |",
            f"| start of a job |  | {c['imports_s'] + c['weights_s']:.1f} s | imports "
            f"{c['imports_s']:.1f} s, weights {c['weights_s']:.1f} s |  |",
            "",
            f"{result['settings']['model']} {result['settings']['precision']} on "
            f"{m['gpu'] or m['device']}, {m['cores']} cores, {m['threads']} threads, load "
            f"{m['load']:.1f} before the run.",
        ]
    )


if __name__ == "__main__":
    main()
