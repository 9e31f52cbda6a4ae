"""The encoder of a model in the configuration."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from ..encoders.encoder import Encoder, EncoderSpec, load_encoder
from .common import encoder_spec

if TYPE_CHECKING:
    from ..pipeline.config import Config

# one: a command without --dataset does a model's data sets one after the other
_loaded = lru_cache(maxsize=1)(load_encoder)


def encoder_of(config: Config, model: str) -> Encoder:
    """Loaded once for all data sets of a process. UserError as of load_encoder."""
    return _loaded(EncoderSpec(**encoder_spec(config, model)))
