"""A job of `snakemake smoke`: one line on what a node has, or on why jobs would fail there."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from ..datasets.published import data_root
from ..errors import UserError
from ..pipeline.config import Config, load_config


def main(gpu: bool) -> str:
    """What jobs find here. gpu: True if the profile asks for a GPU.

    UserError if jobs would fail here.
    """
    for words, folder in needed(load_config(os.environ["CODER_CLIP_CONFIG"])):
        if not os.access(folder, os.R_OK):
            raise UserError(
                f"{words} ({folder}) cannot be read: it must be on a file system that the nodes "
                "share, at the same path"
            )
    import torch

    works = f"Python {platform.python_version()} and torch {torch.__version__} work"
    given = os.environ.get("CUDA_VISIBLE_DEVICES", os.environ.get("ROCR_VISIBLE_DEVICES"))
    if not gpu:
        return works
    if torch.cuda.is_available():
        return f"{works} on {torch.cuda.get_device_name()}"
    if not given:
        raise UserError("Slurm gave no GPU; look at gpu, gpu_model or gres in the profile")
    return (
        f"{works}, but torch sees no GPU, and Slurm gave GPU {given}: install its build for the "
        "node's driver"
    )


def needed(config: Config) -> Iterator[tuple[str, Path]]:
    """Yield the images and the weights that jobs read, with words for messages."""
    from huggingface_hub.constants import HF_HUB_CACHE

    for name, data in config.datasets.items():
        if data.root or config.published(name):
            yield f"the images of {name}", Path(data.root or data_root(config.data_root))
    for name, model in config.models.items():
        for file in model.files or [Path(HF_HUB_CACHE)]:
            yield f"the weights of {name}", file


if __name__ == "__main__":
    node = os.environ.get("SLURMD_NODENAME", platform.node())
    try:
        print(f"{node}: {main('--gpu' in sys.argv)}")
    except Exception as error:  # whatever it is, the line has the node
        sys.exit(f"{node}: {error}")
