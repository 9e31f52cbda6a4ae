"""The base of everything that people write by hand: configurations, text sets, entries of data sets."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Refuse unknown keys, infinite numbers and defaults that do not validate; the values do not change any more."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)
