"""The base of all files that people write by hand: configurations, text sets, entries of data sets."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A model that refuses unknown keys, infinite numbers and invalid defaults, and whose values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)
