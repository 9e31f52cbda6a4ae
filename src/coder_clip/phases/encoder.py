"""The encoder of a model in the configuration."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from ..encoders.encoder import Encoder, EncoderSpec, load_encoder
from .common import encoder_spec

if TYPE_CHECKING:
    from ..pipeline.config import Config

# one is enough: a command without --dataset runs all data sets of a model one after the other
_loaded = lru_cache(maxsize=1)(load_encoder)


def encoder_of(config: Config, model: str) -> Encoder:
    """Load the encoder once for all data sets of a process. UserError as from load_encoder."""
    return _loaded(EncoderSpec(**encoder_spec(config, model)))
