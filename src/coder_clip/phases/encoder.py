"""The encoder of a job, and what it says of texts."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from textwrap import shorten
from typing import IO, Any

import torch

from ..encoders.encoder import Encoder, EncoderSpec, load_encoder
from ..encoders.store import FeatureStore
from .common import log

_held: dict[str, IO[str]] = {}  # file lock on this process's GPU, released when the process ends


def encoder_of(encoder: Mapping[str, Any], device: str, store: str) -> Encoder:
    """Load an encoder, once per process. UserError as in load_encoder.

    encoder: fields of `EncoderSpec` but the device. store: folder of the feature store; "" without.
    """
    spec = EncoderSpec(**encoder, device=device)
    if spec.device in ("auto", "cuda") and torch.cuda.device_count() > 1:
        spec = replace(spec, device=free_gpu())
    return replace(_loaded(spec), store=_store(store) if store else None)


# One encoder is enough: a command without --dataset runs all data sets of a model one after the
# other.
@lru_cache(maxsize=1)
def _loaded(spec: EncoderSpec) -> Encoder:
    return load_encoder(spec)


@lru_cache(maxsize=1)
def _store(folder: str) -> FeatureStore:
    return FeatureStore(Path(folder))


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


def warn_cut(cut: Sequence[str], of: int, context_length: int, path: Path) -> None:
    """Warn, in one line, of texts that were cut.

    cut: these texts; of: number of all texts; path: the file whose metadata lists the cut texts.
    """
    if cut:
        log.warning(
            "%d of %d texts are over %d tokens and were cut; 'over_length' in the metadata of %s "
            "lists them: '%s'",
            len(cut),
            of,
            context_length,
            path,
            shorten(cut[0], 80, placeholder=" …"),
        )
