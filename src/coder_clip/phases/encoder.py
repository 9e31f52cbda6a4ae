"""The encoder of a model in the configuration."""

from __future__ import annotations

import fcntl
import os
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

import torch

from ..encoders.encoder import Encoder, EncoderSpec, load_encoder
from ..encoders.store import FeatureStore, cache_folder

if TYPE_CHECKING:
    from ..pipeline.sections import FeaturesConfig, ModelConfig

_held: dict[str, IO[str]] = {}  # file lock on this process's GPU, released when the process ends


def encoder_of(model: ModelConfig, features: FeaturesConfig) -> Encoder:
    """The encoder of a model, loaded once per process. UserError as in load_encoder."""
    # not `model.spec`: a job depends on the values that it reads, not on the module that has them
    spec = EncoderSpec(**model.model_dump(), device=features.device)
    if spec.device in ("auto", "cuda") and torch.cuda.device_count() > 1:
        spec = replace(spec, device=free_gpu())
    store = _store(cache_folder()) if features.cache else None
    return replace(_loaded(spec), store=store)


# Functions and not lru_cache(…)(load_encoder): all that a statement mentions counts as executed
# (foundation/blocks.py), such as what the hub's errors are called. One encoder is enough: a command
# without --dataset runs all data sets of a model one after the other.
@lru_cache(maxsize=1)
def _loaded(spec: EncoderSpec) -> Encoder:
    return load_encoder(spec)


@lru_cache(maxsize=1)
def _store(folder: Path) -> FeatureStore:
    return FeatureStore(folder)


def free_gpu() -> str:
    """The first GPU, as "cuda:1", that no other job of this machine has taken; "cuda:0" if all are
    taken.

    As many jobs run at a time as there are GPUs (`pipeline/resources.py`), so that each gets one.
    """
    # a job that sees only some GPUs counts them from 0, so the name of the lock file has the name
    # in CUDA_VISIBLE_DEVICES, which is the same for all processes, and not the index
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    for index in range(torch.cuda.device_count()):
        device = f"cuda:{index}"
        name = ""
        if index < len(visible):
            name = visible[index]
        if device in _held:
            return device
        lock_file = Path(tempfile.gettempdir()) / f"coder-clip-gpu-{os.getuid()}-{name or index}"
        lock = lock_file.open("w")
        # a held lock means that another job uses the GPU; it is freed even if that job is killed
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        _held[device] = lock
        return device
    return "cuda:0"
