"""What decides a job's outputs besides code and inputs: values of the configuration, and which images there are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..pipeline import phase_list

if TYPE_CHECKING:
    from ..pipeline.config import Config


def values(config: Config, rule: str, wildcards: Mapping[str, str]) -> dict[str, Any]:
    """The values that workflow/phases.yaml names for a rule, as JSON holds them."""
    found = phase_list.values(config, rule, wildcards)
    if rule == "list_images":
        from . import manifest  # other jobs do not execute it

        # a folder that is not on this machine (but on a colleague's) counts as unchanged
        found["images"] = manifest.listing(config, wildcards["dataset"])
    return json.loads(json.dumps(found, default=str))  # type: ignore[no-any-return]
