"""Time to plan the paper: `snakemake -n` on config/paper.yaml, without results and images.

ImageNet's folders exist: its class names come from open_clip, whose import takes almost as long as the plan.
Goal: below 10 seconds. Prints a Markdown table.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPEATS = 3
COMMAND = ["-m", "snakemake", "--dry-run", "--cores", "1", "--configfile", "config/paper.yaml"]


def main() -> None:
    """Print the median wall-clock and CPU seconds of several runs."""
    wall, cpu, output = [], [], ""
    root = Path(tempfile.mkdtemp())
    for split in ("train", "val"):
        (root / "imagenet" / split).mkdir(parents=True)
    for _ in range(REPEATS):
        start, before = time.perf_counter(), sum(os.times()[2:4])
        output = subprocess.run(
            [sys.executable, *COMMAND],
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "CODER_CLIP_TRACKING": "off", "CODER_CLIP_DATA": str(root)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        wall.append(time.perf_counter() - start)
        cpu.append(sum(os.times()[2:4]) - before)
    shutil.rmtree(root)
    jobs = re.findall(r"^total +(\d+)$", output, flags=re.M)[-1]
    print("| what | wall clock | CPU time | goal |\n| --- | ---: | ---: | ---: |")
    print(
        f"| plan of {jobs} jobs | {statistics.median(wall):.1f} s | {statistics.median(cpu):.1f} s | < 10 s |"
    )


if __name__ == "__main__":
    main()
