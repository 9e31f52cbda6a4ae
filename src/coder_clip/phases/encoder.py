"""The encoder of a model in the configuration."""

from __future__ import annotations

import fcntl
import os
import tempfile
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..encoders.encoder import Encoder, EncoderSpec, load_encoder
from ..encoders.store import FeatureStore, cache_file
from ..pipeline.resources import SHARE, gpus
from .common import encoder_spec

if TYPE_CHECKING:
    from ..pipeline.config import Config

# one is enough: a command without --dataset runs all data sets of a model one after the other
_loaded = lru_cache(maxsize=1)(load_encoder)
_held: list[IO[str]] = []  # the lock of this process's place on its GPU


def encoder_of(config: Config, model: str) -> Encoder:
    """The encoder of a model, loaded once per process. UserError as in load_encoder."""
    spec = EncoderSpec(**encoder_spec(config, model))
    if spec.device == "auto" and not _held:
        take_gpu()
    encoder = _loaded(spec)
    keeps = (
        config.features.cache and "SLURM_JOB_ID" not in os.environ
    )  # a file that hundreds of nodes would lock
    return replace(encoder, store=FeatureStore(cache_file() if keeps else None))


def take_gpu() -> None:
    """Make only one of several GPUs visible, the one that the fewest other jobs use."""
    cards = gpus()
    for place, card in product(range(SHARE), cards if len(cards) > 1 else []):
        lock = (Path(tempfile.gettempdir()) / f"coder-clip-gpu-{os.getuid()}-{card}-{place}").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        _held.append(lock)  # until this process ends
        os.environ["CUDA_VISIBLE_DEVICES"] = card
        return
