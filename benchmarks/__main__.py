"""Run one benchmark, or all; each renews its section of docs/performance.md.

Each compares the published computation with this project's in one process and reports ratios. Run
it on an idle machine: ratios are robust, seconds are not.
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
# name -> section of the page, and the command whose output it holds
BENCHMARKS = {
    "method": ("The method", "method.py"),
    "features": ("Encoding", "features.py --images 96 --texts 252 --repeats 2 --threads 1"),
}


def main() -> None:
    """Run the named benchmark, by default all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", choices=BENCHMARKS)
    chosen = parser.parse_args().name
    for name in [chosen] if chosen else BENCHMARKS:
        title, command = BENCHMARKS[name]
        parts = [f"## {title}", _machine(), f"`python benchmarks/{command}`"]
        print(f"python benchmarks/{command} …", file=sys.stderr)
        run = [sys.executable, *f"{HERE}/{command}".split(" ")]
        output = subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True).stdout
        _renew(title, "\n\n".join([*parts, output.strip()]) + "\n\n")


def _machine() -> str:
    load = os.getloadavg()[0]
    return (
        f"Python {platform.python_version()}, {platform.machine()} with "
        f"{torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores, load average "
        f"{load:.1f} before the run."
    )


def _renew(title: str, section: str) -> None:
    """Replace the section of this title on the page; the others stay."""
    old = re.compile(rf"^## {title}\n.*?(?=^## )", flags=re.M | re.S)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(old.sub(lambda _: section, page), encoding="utf-8")


if __name__ == "__main__":
    main()
