"""python -m benchmarks: run all benchmarks, one after the other, and write docs/performance.md.

Each runs the published computation and this project's in one process and reports ratios. Run it on an idle machine:
ratios are robust, seconds are not.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
BENCHMARKS = {
    "method": "The method",
    "features": "Encoding",
    "imagenet": "ImageNet on one node",
    "plan": "Planning the paper",
    "tracking": "Snakemake and DVC at 2,000 outputs",
    "slurm": "The head node of a Slurm cluster",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=BENCHMARKS, help="one of them; prints, and leaves the page alone")
    only = parser.parse_args().only
    parts = []
    for name, title in BENCHMARKS.items():
        if only in (None, name):
            print(f"benchmarks/{name}.py …", file=sys.stderr)
            command = [sys.executable, str(HERE / f"{name}.py")]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            parts.append(f"## {title}\n\n`python benchmarks/{name}.py`\n\n{output.strip()}\n")
    text = "\n".join(parts)
    if only:
        print(text)
        return
    head = (
        "# Performance\n\n"
        "Written by `make benchmark`. Published: the published computation, reimplemented in benchmarks/, in the\n"
        f"same run. Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, load average "
        f"{os.getloadavg()[2]:.1f} over 15 minutes (where other work ran too, seconds are too long).\n\n"
    )
    PAGE.write_text(head + text, encoding="utf-8")
    print(f"wrote {PAGE}", file=sys.stderr)


if __name__ == "__main__":
    main()
