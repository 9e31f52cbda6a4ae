"""The base model of files written by hand: configurations, text sets, entries."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, get_args

from pydantic import BaseModel, ConfigDict, Field

from ..errors import nearest, one_line

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# numbers that several sections of a configuration have
Count = Annotated[int, Field(ge=1)]
From = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # as far as scikit-learn's go


class Strict(BaseModel):
    """A model that refuses unknown keys, infinite numbers and invalid defaults.

    Its values cannot change.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


def explained(errors: Iterable[ErrorDetails], model: type[BaseModel]) -> str:
    """Describe pydantic's errors in one line, with the nearest known key for an unknown one."""
    lines = []
    for item in errors:
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            *section, key = item["loc"]
            lines.append(f"unknown key '{where}'{nearest(str(key), _keys(model, section))}")
        elif item["loc"][-1:] == ("[key]",):
            names = ".".join(str(part) for part in item["loc"][:-2])
            lines.append(
                f"{names}: a name must be text, but YAML reads this one as {item['input']!r}; put "
                "it in quotes"
            )
        elif item["type"] == "value_error":
            lines.append(str(item["ctx"]["error"]))
        elif item["type"] == "literal_error":
            # pydantic gives the allowed values only inside a text
            known = re.findall(r"'([^']*)'", item["ctx"]["expected"])
            lines.append(
                f"{where}: '{item['input']}' is unknown{nearest(str(item['input']), known)}"
            )
        else:
            given = one_line(repr(item["input"]), 80)
            lines.append(f"{where}: {item['msg'][0].lower()}{item['msg'][1:]} (got {given})")
    # the types of a union can report the same error several times
    return "; ".join(dict.fromkeys(lines))


def _keys(model: type[BaseModel], section: list[int | str]) -> list[str]:
    """The known keys of a section, to suggest one.

    The fields of its model, or, for a mapping, of the model of its values. section: the path of the
    section in the document.
    """
    if section:
        # only the first part: all that is below `datasets` is suggested the keys of a data set
        annotation = model.model_fields[str(section[0])].annotation
        # the model is the annotation itself, or inside `Model | None` or `dict[str, Model]`
        models = [
            a
            for a in (annotation, *get_args(annotation))
            if isinstance(a, type) and issubclass(a, BaseModel)
        ]
        # a section without a model: suggest the keys of the whole document
        model = models[0] if models else model
    return list(model.model_fields)
