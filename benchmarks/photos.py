"""Classifying 200 photos in a new process: the first call, the next one, and plain forward passes.

first: ``Classifier(...).classify(files)`` with an empty cache, from the start of Python to the
answer.
plain: the least that any program needs: start Python, load the model with open_clip, and encode the
class names and the
    same pixels, which are decoded already (goal: the first call takes at most 1.1 times as long).
next: the first call again, which finds all features in the cache (goal: less than two seconds).
known: the second call on many tiny photos, none of which is read (goal: less than four seconds).
memory: what photos add, at the peak, to the memory of a process that has loaded the model; many
photos of up to 36
    megapixels (goal: at most 300 MB), and of more, which are decoded one at a time. Needs Linux.

Uses random weights in the shape of ViT-B-32, and 200 JPEGs of 500×375 pixels. Medians over
interleaved repeats; CPU seconds are those of all threads, and other programs on the machine change
them less."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from features import random_encoder, write_jpegs
from PIL import Image

MINI = Path(__file__).resolve().parents[1] / "data/mini"
# how many, of how many megapixels, and the ending
PHOTOS = [
    (8, 1, "jpg"),
    (8, 24, "jpg"),
    (8, 36, "png"),
    (4, 48, "jpg"),
    (4, 100, "jpg"),
    (4, 100, "png"),
]
CLASSES = ["cat", "dog", "fox", "hen", "car", "bus", "boat", "plane", "chair", "lamp"]
OURS = """
from coder_clip.encoders.spec import EncoderSpec
from coder_clip_photos import Classifier
from pathlib import Path
spec = EncoderSpec({model!r}, "weights.safetensors", quick_gelu=False, device="cpu")
found = Classifier(spec, {classes!r}).classify(sorted(Path("photos").iterdir()))
print(*(photo.label for photo in found))
"""
KNOWN = """
from coder_clip_photos import Classifier
from pathlib import Path
Classifier({model!r}, {classes!r}, device="cpu").classify(sorted(Path("photos").iterdir()))
"""
MEMORY = """
from coder_clip.encoders.spec import EncoderSpec
from coder_clip_photos import Classifier
from pathlib import Path
def memory(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)[what].split()[0]) / 1024
spec = EncoderSpec({model!r}, "weights.safetensors", quick_gelu=False, device="cpu")
c = Classifier(spec, {classes!r})
c.classify("first.png")
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
c.classify(sorted(Path("photos").iterdir()))
print(memory("VmHWM") - before)
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
    parser.add_argument(
        "--known", type=int, default=20_000, metavar="N", help="tiny photos (default %(default)s)"
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
        torch.save(
            torch.stack([preprocess(Image.open(file)) for file in files]), folder / "pixels.pt"
        )
        for i in range(args.repeats):
            answers = set()
            for call, code in (("plain", PLAIN), ("first", OURS), ("next", OURS)):
                code = code.format(model=args.model, classes=CLASSES)
                answer, *taken = run(code, folder, folder / f"cache-{i}")
                seconds[call].append((taken[0], taken[1]))
                answers.add(answer)
            assert len(answers) == 1, "the calls disagree"
        known = known_photos(folder / "known", args.known)
        memory = {
            (n, size, ending): added(folder, (n, size, ending), args.model)
            for n, size, ending in PHOTOS
        }
    wall, cpu = (
        {k: statistics.median(t[j] for t in v) for k, v in seconds.items()} for j in (0, 1)
    )
    ratios = [
        [f[j] / p[j] for f, p in zip(seconds["first"], seconds["plain"], strict=True)]
        for j in (0, 1)
    ]
    print("| what | wall clock | CPU | goal |\n| --- | ---: | ---: | ---: |")
    print(
        f"| start and plain forward passes of {args.images} photos | {wall['plain']:.1f} s | "
        f"{cpu['plain']:.1f} s | |"
    )
    print(f"| first call of `classify` | {wall['first']:.1f} s | {cpu['first']:.1f} s | |")
    print(
        "| ratio, median of pairs | "
        + " | ".join(f"{statistics.median(r):.2f}×" for r in ratios)
        + " | ≤ 1.1× |"
    )
    print(f"| next call | {wall['next']:.2f} s | {cpu['next']:.2f} s | < 2 s |")
    print(f"| known: {args.known:,} photos | {known[0]:.1f} s | {known[1]:.1f} s | < 4 s |")
    print("\n| photos | memory above the loaded model | bytes per pixel of one | goal |")
    print("| --- | ---: | ---: | ---: |")
    for (n, size, ending), megabytes in memory.items():
        goal = "≤ 300 MB" if size <= 36 else ""
        each = megabytes * 2**20 / (size * 1e6)
        print(
            f"| {n} {ending.upper()} of {size} megapixels | {megabytes:.0f} MB | {each:.1f} | "
            f"{goal} |"
        )
    print(f"\n{args.model} on cpu, {os.cpu_count()} cores, load {load:.1f} before the run.")


def known_photos(folder: Path, n: int) -> tuple[float, float]:
    """Wall-clock and CPU seconds of the second call on n tiny photos.

    With the small embedded encoder.
    """
    (folder / "photos").mkdir(parents=True)
    for i in range(n):
        colour = (i % 256, i // 256 % 256, i // 65536)
        Image.new("RGB", (8, 8), colour).save(folder / f"photos/{i:06d}.png")
    # a photo that changed within two seconds is read again
    time.sleep(3)
    code = KNOWN.format(model=str(MINI), classes=CLASSES)
    run(code, folder, folder / "cache")
    _, wall, cpu = run(code, folder, folder / "cache")
    return wall, cpu


def added(folder: Path, photos: tuple[int, int, str], model: str) -> float:
    """Peak memory in MB of a call on n photos, above that of the loaded model.

    Photos of this size and ending.
    """
    n, megapixels, ending = photos
    work = folder / f"memory-{n}-{megapixels}-{ending}"
    (work / "photos").mkdir(parents=True)
    (work / "weights.safetensors").symlink_to(folder / "weights.safetensors")
    Image.new("RGB", (500, 400)).save(work / "first.png")
    # JPEG allows 65,535 pixels of a side
    image = Image.new("RGB", (250 * megapixels, 4000), (200, 90, 9))
    for i in range(n):
        image.putpixel((0, 0), (i, 0, 0))
        image.save(work / f"photos/{i}.{ending}")
    return float(run(MEMORY.format(model=model, classes=CLASSES), work, work / "cache")[0])


def run(code: str, folder: Path, cache: Path) -> tuple[str, float, float]:
    """The output of a new process, and its wall-clock and CPU seconds."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return output, wall, used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
