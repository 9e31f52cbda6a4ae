"""python -m benchmarks [NAME ...]: run benchmarks one after the other.

Each renews its section of docs/performance.md.

Each runs the published computation and this project's in one process and reports ratios. Run it on
an idle machine: ratios are robust, seconds are not.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
# section of the page -> the commands whose output it holds
BENCHMARKS = {
    "method": ("The method", ["method.py"]),
    "features": ("Encoding", ["features.py --images 96 --texts 252 --repeats 2 --threads 1"]),
    "loading": ("Loading images", ["loading.py"]),
    "imagenet": (
        "ImageNet on one node",
        [
            "imagenet.py --methods ape tip_x tip_adapter gda coder_adapter",
            "imagenet.py --size caltech101 --threads 1",
        ],
    ),
    "phases": ("Every phase at ImageNet's size", ["phases.py"]),
    "photos": ("Classifying photos", ["photos.py --repeats 2"]),
    "tracking": ("Snakemake and DVC", ["tracking.py"]),
    "lasting": ("What an edit reruns", ["lasting.py"]),
    "slurm": ("The head node of a Slurm cluster", ["slurm.py"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all"
    )
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        parser.error(
            f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}"
        )
    for name in names:
        title, commands = BENCHMARKS[name]
        parts = [f"## {title}", _machine()]
        for command in commands:
            print(f"python benchmarks/{command} …", file=sys.stderr)
            run = [sys.executable, *f"{HERE}/{command}".split(" ")]
            output = subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True).stdout
            parts += [f"`python benchmarks/{command}`", output.strip()]
        _renew("\n\n".join(parts) + "\n")


def _machine() -> str:
    load = os.getloadavg()[0]
    return (
        f"Python {platform.python_version()}, {platform.machine()} with "
        f"{torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores, load average "
        f"{load:.1f} before the run."
    )


def _renew(section: str) -> None:
    """Put a section in the place of the one of its title; at the end where there is none.

    Other sections stay.
    """
    head, *sections = re.split(r"^(?=## )", PAGE.read_text(encoding="utf-8"), flags=re.M)
    title = section.partition("\n")[0]
    at = next((i for i, s in enumerate(sections) if s.partition("\n")[0] == title), len(sections))
    sections[at : at + 1] = [section]
    PAGE.write_text(head + "\n".join(s.rstrip("\n") + "\n" for s in sections), encoding="utf-8")


if __name__ == "__main__":
    main()
