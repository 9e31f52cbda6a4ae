"""Classifying 200 photos in a new process: the first call, the next one, and plain forward passes.

first: ``Classifier(...).classify(files)`` with an empty cache, from the start of Python to the answer.
plain: the least that any program needs: start Python, load the model with open_clip, and encode the class names and the
    same pixels, which are decoded already (goal: the first call takes at most 1.1 times as long).
next: the first call again, which finds all features in the cache (goal: less than two seconds).

Uses random weights in the shape of ViT-B-32, and 200 JPEGs of 500×375 pixels. Medians over interleaved repeats; CPU
seconds are those of all threads, and other programs on the machine change them less.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from features import random_encoder, write_jpegs
from PIL import Image

CLASSES = ["cat", "dog", "fox", "hen", "car", "bus", "boat", "plane", "chair", "lamp"]
OURS = """
from coder_clip.encoders.spec import EncoderSpec
from coder_clip.photos import Classifier
from pathlib import Path
spec = EncoderSpec({model!r}, "weights.safetensors", quick_gelu=False, device="cpu")
found = Classifier(spec, {classes!r}).classify(sorted(Path("photos").iterdir()))
print(*(photo.label for photo in found))
"""
PLAIN = """
import open_clip, torch
model = open_clip.create_model({model!r}, "weights.safetensors").eval()
with torch.inference_mode():
    texts = open_clip.get_tokenizer({model!r})(["a photo of a " + c + "." for c in {classes!r}])
    texts = torch.nn.functional.normalize(model.encode_text(texts), dim=1)
    images = torch.cat([model.encode_image(batch) for batch in torch.load("pixels.pt").split(32)])
print(*({classes!r}[i] for i in (images @ texts.T).argmax(dim=1)))
"""


def main() -> None:
    """Measure the three calls."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="ViT-B-32", help="open_clip name (default %(default)s)")
    parser.add_argument(
        "--images", type=int, default=200, metavar="N", help="JPEG files (default %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="of each call (default %(default)s)")
    args = parser.parse_args()
    args.precision, args.device, load = "fp32", "cpu", os.getloadavg()[0]

    seconds: dict[str, list[tuple[float, float]]] = {"plain": [], "first": [], "next": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        preprocess = random_encoder(folder, args).preprocess
        write_jpegs(folder / "photos", args.images)
        files = sorted((folder / "photos").iterdir())
        torch.save(torch.stack([preprocess(Image.open(file)) for file in files]), folder / "pixels.pt")
        for i in range(args.repeats):
            answers = set()
            for call, code in (("plain", PLAIN), ("first", OURS), ("next", OURS)):
                code = code.format(model=args.model, classes=CLASSES)
                answer, *taken = run(code, folder, folder / f"cache-{i}")
                seconds[call].append((taken[0], taken[1]))
                answers.add(answer)
            assert len(answers) == 1, "the calls disagree"
    wall, cpu = ({k: statistics.median(t[j] for t in v) for k, v in seconds.items()} for j in (0, 1))
    ratios = [[f[j] / p[j] for f, p in zip(seconds["first"], seconds["plain"], strict=True)] for j in (0, 1)]
    print("| what | wall clock | CPU | goal |\n| --- | ---: | ---: | ---: |")
    print(
        f"| start and plain forward passes of {args.images} photos | {wall['plain']:.1f} s | {cpu['plain']:.1f} s | |"
    )
    print(f"| first call of `classify` | {wall['first']:.1f} s | {cpu['first']:.1f} s | |")
    print(
        "| ratio, median of pairs | "
        + " | ".join(f"{statistics.median(r):.2f}×" for r in ratios)
        + " | ≤ 1.1× |"
    )
    print(f"| next call | {wall['next']:.2f} s | {cpu['next']:.2f} s | < 2 s |")
    print(f"\n{args.model} on cpu, {os.cpu_count()} cores, load {load:.1f} before the run.")


def run(code: str, folder: Path, cache: Path) -> tuple[str, float, float]:
    """The output of a new process, its wall-clock and its CPU seconds."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
