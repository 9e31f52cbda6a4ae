"""The phases of a configuration in one process, in the order of the pipeline: what Snakemake does,
without its starts.

python whole_run.py CONFIG [THREADS]

Run in a working copy; results lie where the configuration says. THREADS: of PyTorch, whatever the
configuration says."""

from __future__ import annotations

import sys

from working_copy import PHASES


def main(config: str, threads: int | None = None) -> None:
    import torch

    from coder_clip.cli import app

    if threads:
        torch.set_num_threads(threads)
        torch.set_num_threads = lambda _: None
    for phase in (*PHASES, "table", "figure", "report"):
        app([phase, "--config", config], standalone_mode=False)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
