"""Speed of the loader of images, and of encoders that it feeds.

(a) one thread: JPEG files decoded and resized for ViT-B/32, as the loader does it, and decoded
alone (``Image.open().load()``), the limit of a loader that decodes with Pillow. In CPU seconds.
(b) the whole loader, with threads: files are read, hashed, decoded, resized and put together, and
nothing encodes them.
(c) with --models: images that a model encodes in a second, from files and from memory, on the
--device.

Prints Markdown tables. Pictures are drawn in ImageNet's usual size (500×375); --photos names a
folder of real ones. Weights are random: speed does not depend on their values. With a GPU:

    python benchmarks/loading.py --device cuda --models ViT-B-32 ViT-L-14 --precisions tf32 bf16 \\
      --batch-size 256 --images 8192
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from features import random_encoder, write_jpegs
from open_clip.transform import PreprocessCfg
from PIL import Image
from torch import Tensor, nn

from coder_clip.datasets.folder import FolderDataset
from coder_clip.datasets.images import read_image
from coder_clip.encoders.encoder import Encoder
from coder_clip.encoders.features import extract
from coder_clip.encoders.open_clip_towers import preprocessing
from coder_clip.encoders.towers import Towers
from coder_clip.pipeline.resources import MOST_WORKERS, cores

SUFFIXES = {".jpg", ".jpeg"}
DECODED = 256  # images of (a), which are in memory
NOT_MEASURED = f"""\
Not measured: images that ViT-B/32 and ViT-L/14 encode in a second on a GPU, and loaders of more
threads than this machine has cores ({cores()}; with a GPU a job takes up to {MOST_WORKERS}). On a
machine with a GPU this command measures both, and prints the name of the card:

    python benchmarks/loading.py --device cuda --models ViT-B-32 ViT-L-14 --precisions tf32 bf16 \\
      --batch-size 256 --images 8192"""


class Nothing(Towers):
    """Towers that compute nothing: what is left is the loader."""

    def __init__(self) -> None:
        self.model, self.info, self.dim, self.context_length = nn.Module(), {"model": "none"}, 1, 77
        self.preprocess = preprocessing(PreprocessCfg())

    def image_features(self, pixels: Tensor) -> Tensor:
        """Zeros."""
        return torch.zeros(len(pixels), self.dim)

    def tokenize(self, texts: list[str], length: int) -> Tensor:
        """Not used."""
        raise NotImplementedError

    def text_features(self, tokens: Tensor) -> Tensor:
        """Not used."""
        raise NotImplementedError


class WithoutPass(Encoder):
    """An encoder that leaves the pixels where they are."""

    def forward_images(self, batch: Tensor) -> Tensor:
        """Zeros, at once."""
        return self.towers.image_features(batch)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="JPEG files to read")
    parser.add_argument("--images", type=int, default=512, metavar="N", help="files (default 512)")
    parser.add_argument("--models", nargs="*", default=[], help="names of open_clip (default none)")
    parser.add_argument("--precisions", nargs="+", default=["fp32"], help="(default fp32)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps (default auto)")
    parser.add_argument("--batch-size", type=int, default=64, help="images a batch (default 64)")
    parser.add_argument("--workers", type=int, help="threads of (b) and (c); default: one per core")
    args = parser.parse_args()
    args.workers = args.workers or min(MOST_WORKERS, cores())
    torch.set_num_threads(1)  # as in a job; more threads wait for each other in CPU time
    if args.photos and not args.photos.is_dir():
        print(f"skipped: {args.photos} is not a folder; without --photos, pictures are drawn")
        return
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "images" / "test" / "pictures"
        prepare(files, args)
        decoded(sorted(files.iterdir())[:DECODED])
        data = FolderDataset("benchmark", files.parents[1])
        loaded(data, args)
        if args.models:
            encoded(data, Path(folder), args)
        else:
            print(f"\n{NOT_MEASURED}")


def prepare(files: Path, args: argparse.Namespace) -> None:
    """Draw pictures, or link to photos, several times to the same one if there are too few."""
    if not args.photos:
        write_jpegs(files, args.images)
        return
    files.mkdir(parents=True)
    photos = sorted(p for p in args.photos.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not photos:
        raise SystemExit(f"no .jpg or .jpeg below {args.photos}")
    for i, photo in zip(range(args.images), itertools.cycle(photos), strict=False):
        (files / f"{i:06}.jpg").symlink_to(photo.resolve())


def decoded(files: list[Path]) -> None:
    """Table (a)."""
    contents = [path.read_bytes() for path in files]
    preprocess = preprocessing(PreprocessCfg())

    def load(content: bytes) -> None:
        Image.open(io.BytesIO(content)).load()

    def pixels(content: bytes) -> None:
        preprocess.pixels(read_image("", content=content)).contiguous()

    with Image.open(io.BytesIO(contents[0])) as first:
        width, height = first.size
    bare, whole = (images_per_cpu_second(step, contents) for step in (load, pixels))
    kilobytes = sum(map(len, contents)) / len(contents) / 1000
    print("| one thread | images per CPU second | of decoding alone |")
    print("| --- | ---: | ---: |")
    print(f"| JPEG decoded by Pillow alone, {width}×{height}, {kilobytes:.0f} kB | {bare:,.0f} | |")
    print(f"| decoded and resized to 224×224 | {whole:,.0f} | {whole / bare:.2f}× |")


def images_per_cpu_second(step: Callable[[bytes], None], contents: list[bytes]) -> float:
    """From the fastest of five times of each: what else the machine does can only slow it down."""
    seconds = 0.0
    for content in contents:
        times = []
        for _ in range(5):
            start = time.thread_time()
            step(content)
            times.append(time.thread_time() - start)
        seconds += min(times)
    return len(contents) / seconds


def loaded(data: FolderDataset, args: argparse.Namespace) -> None:
    """Table (b)."""
    nothing = WithoutPass(Nothing(), torch.device("cpu"), "fp32", {"model": "none"})
    print("\n| whole loader, nothing encoded | images/s | per CPU second |")
    print("| --- | ---: | ---: |")
    counts = {1, args.workers}
    for workers in sorted(counts):
        cpu, wall = time.process_time(), time.perf_counter()
        n = len(through(data, nothing, workers, args.batch_size))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(f"| threads that decode: {workers} | {n / wall:,.0f} | {n / cpu:,.0f} |")


def encoded(data: FolderDataset, folder: Path, args: argparse.Namespace) -> None:
    """Table (c)."""
    print("\n| model, precision | images/s from files | from memory | of it |")
    print("| --- | ---: | ---: | ---: |")
    for model, precision in itertools.product(args.models, args.precisions):
        args.model, args.precision = model, precision  # as random_encoder reads them
        encoder = random_encoder(folder, args)
        from_memory = images_per_second_from_memory(encoder, data, args)
        start = time.perf_counter()
        n = len(through(data, encoder, args.workers, args.batch_size))
        rate = n / (time.perf_counter() - start)
        share = rate / from_memory
        print(f"| {model}, {precision} | {rate:,.0f} | {from_memory:,.0f} | {share:.0%} |")
    print(
        f"\n{card(encoder.device)}, {os.cpu_count()} cores of which {cores()} may be used, "
        f"{args.workers} threads that decode, {args.batch_size} images a batch, load "
        f"{os.getloadavg()[0]:.1f}."
    )


def images_per_second_from_memory(
    encoder: Encoder, data: FolderDataset, args: argparse.Namespace
) -> float:
    """The limit of the device: batches that are decoded already, and pinned for a GPU."""
    ids = data.split("test").ids
    some = [encoder.preprocess.pixels(data.image(i)) for i in ids[: args.batch_size]]
    batch = torch.stack(some)
    if encoder.device.type == "cuda":
        batch = batch.pin_memory()
    encoder.encode_images(batch)  # warm up
    batches = max(1, len(ids) // len(batch))
    start = time.perf_counter()
    made = [encoder.forward_images(batch) for _ in range(batches)]
    torch.cat(made).cpu()
    return batches * len(batch) / (time.perf_counter() - start)


def through(data: FolderDataset, encoder: Encoder, workers: int, batch_size: int) -> Tensor:
    """The features of all images."""
    split = data.split("test")
    return extract(
        data,
        split.ids,
        split.labels,
        encoder,
        batch_size=batch_size,
        workers=workers,
        progress=False,
    ).features


def card(device: torch.device) -> str:
    """The name of the GPU, or the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(device)


if __name__ == "__main__":
    main()
