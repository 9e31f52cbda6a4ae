"""Download everything that a run needs before it starts.

Nodes of a cluster seldom have network access, the head has.

Weights go to the Hugging Face cache (HF_HOME), published data sets below their root.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..datasets.availability import get
from ..datasets.published import data_root
from ..encoders import families
from ..encoders.encoder import load_encoder
from ..errors import UserError
from ..pipeline.config import Config


def prefetch(config: Config, models: Iterable[str] | None = None) -> Iterator[str]:
    """Download what is missing: for the whole configuration, or only for ``models``.

    Yields a line on each model and data set.

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
    published = [name for name in config.datasets if config.published(name)]
    for name in published if models is None else ():
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
    """Download what a model needs, and load it on the CPU, to be sure that a node can.

    Yields what was wrong with files that were here.
    """
    spec = config.models[name].spec("cpu")
    family = families.of(spec.model)
    for line in family.call("fetch", spec, config.data_root, default=()):
        yield f"model {name}: {line}"
    if family.encodes:
        load_encoder(spec)
