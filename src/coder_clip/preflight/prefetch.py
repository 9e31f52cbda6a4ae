"""Download everything that a run needs before it starts: nodes of a cluster seldom have network
access, the head has.

Weights go to the Hugging Face cache (HF_HOME), published data sets below their root.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..datasets.availability import get
from ..datasets.published import data_root
from ..encoders.checkpoints import find, verify
from ..encoders.encoder import EncoderSpec, load_encoder
from ..encoders.table_list import is_list
from ..encoders.text_tables import TextTables
from ..errors import UserError
from ..phases.common import encoder_spec
from ..pipeline.config import Config


def prefetch(config: Config, models: Iterable[str] | None = None) -> Iterator[str]:
    """Download what is missing: for the whole configuration, or only for ``models``. Yields a line
    on each model and data set.

    Continues after a failure. UserError at the end: models that cannot be downloaded or loaded,
    data sets that cannot be downloaded or that the user has to download.
    """
    # Downloads take hours and often run unattended, so a failure must not keep the others from
    # being fetched.
    failed = []
    for name in config.models if models is None else models:
        try:
            yield from _weights(config, name)
            yield f"model {name}: {config.models[name].model} is here"
        except UserError as error:
            failed.append(f"model {name}")
            yield f"model {name}: {error}"
    for name in config.datasets if models is None else ():
        if not config.published(name):
            continue
        try:
            findings = get(name, data_root(config.data_root))
        except UserError as error:
            failed.append(f"data set {name}")
            yield f"data set {name}: {error}"
            continue
        yield from findings.lines()
        if not findings.usable:
            failed.append(f"data set {name}")
    if failed:
        raise UserError(f"not usable yet, see above: {', '.join(failed)}")


def _weights(config: Config, name: str) -> Iterator[str]:
    """Download a model's weights, tokenizer and text tower, and load them on the CPU, to be sure
    that a node can. Damaged weights are downloaded again, after a line that says so.
    """
    if is_list(config.models[name].model):
        yield from TextTables(config.models[name].model, config.data_root).fetch()
        return
    spec = EncoderSpec(**encoder_spec(config, name))
    offline = False
    where = (spec.model, spec.pretrained, offline, spec.quick_gelu)
    weights = find(*where).weights
    # `verify` removes a damaged file, so that the second `find` downloads it again
    try:
        verify(weights)
    except UserError as damaged:
        yield f"model {name}: {damaged}"
        verify(find(*where).weights)
    load_encoder(replace(spec, device="cpu"))
