"""Everything that a run fetches, fetched before: nodes of a cluster seldom have network, the head has.

Weights go to the Hugging Face cache (HF_HOME), published data sets below their root; both must lie where nodes see
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..datasets import PUBLISHED
from ..datasets.published import data_root
from ..datasets.supply import get
from ..encoders.encoder import EncoderSpec, load_encoder
from ..errors import UserError
from ..phases.common import encoder_spec
from ..pipeline.config import Config


def stage(config: Config) -> Iterator[str]:
    """Fetch what is not here yet; a line for what is here then.

    UserError: a model that cannot be fetched or does not load; at the end, data sets that only a person can get.
    """
    for name, model in config.models.items():
        spec = EncoderSpec(**encoder_spec(config, name))
        load_encoder(replace(spec, device="cpu"))  # as a node will; also fetches tokenizers and text towers
        yield f"model {name}: {model.model} is here"
    absent = []
    for name in (n for n, d in config.datasets.items() if n in PUBLISHED and d.root is None):
        found = get(name, data_root(config.data_root))
        yield from found.lines()
        if not found.usable:
            absent.append(name)
    if absent:
        raise UserError(f"not usable yet, see above: {', '.join(absent)}")
