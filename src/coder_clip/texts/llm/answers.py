"""The form of an answer: the JSON schema that is sent to the server, and the texts in what it sends back.

One object per request. Classes: a key per kind of text. Pairs: a key per other class, and below it both class names, so
that no order of keys can swap the sides. What does not fit is not repaired: it is asked again, with what was wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from ..names import name_key

if TYPE_CHECKING:
    from .items import Item

Sides = dict[str, list[str]]
MOST = 100_000  # characters of an answer; what is longer does not stop
_MARK = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s+")  # of a line of a list


def shape(items: Sequence[Item]) -> dict[str, Any]:
    """The object that is asked for, in words: part of every prompt, for servers that are not sent a schema."""
    found: dict[str, Any] = {}
    for item in items:
        texts = [f"{'at most ' if item.optional else ''}{item.missing} strings"]
        found[item.key] = dict.fromkeys(item.pair, texts) if item.pair else texts
    return found


def schema(items: Sequence[Item]) -> dict[str, Any]:
    """The same as a JSON schema that is strict in OpenAI's sense. Lists are references: servers count what is sent."""
    lists: dict[str, Any] = {}

    def texts(item: Item) -> dict[str, Any]:
        least = 0 if item.optional else item.missing
        name = f"List{least}to{item.missing}"
        bounds = {"minItems": least, "maxItems": item.missing}
        lists[name] = {"type": "array", "items": {"type": "string"}, **bounds}
        return {"$ref": f"#/$defs/{name}"}

    def closed(properties: dict[str, Any]) -> dict[str, Any]:
        required = list(properties)
        return {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }

    properties = {
        item.key: closed(dict.fromkeys(item.pair, texts(item))) if item.pair else texts(item)
        for item in items
    }
    return {**closed(properties), "$defs": lists}


def read(content: str, item: Item, form: str) -> Sides | str:
    """The texts of an item's sides as the answer has them, or what is wrong with it, in words for the model."""
    bare = content.rpartition("</think>")[2]  # a draft in the reasoning is no answer
    if form == "list":
        return _from_lines(bare, item)
    if len(bare) > MOST:
        return "it was far too long"
    try:
        document = from_json(bare[bare.find("{") : bare.rfind("}") + 1])
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return "it was not one JSON object"
    value = _by_name(document).get(name_key(item.key))
    lists = [_by_name(value).get(name_key(name)) for name in item.pair] if item.pair else [value]
    texts = TypeAdapter(Annotated[list[str], Field(min_length=item.fewest, strict=True)])
    try:
        return {side: texts.validate_python(found) for side, found in zip(item.sides, lists, strict=True)}
    except ValidationError as error:
        wrong = error.errors()[0]
        place = " / ".join(map(str, (item.key, *wrong["loc"])))
        return f"{place}: {wrong['msg'][:1].lower()}{wrong['msg'][1:]}"


def _by_name(value: Any) -> dict[str, Any]:
    """An object by its keys, however they are spelled; nothing where it is none."""
    return {name_key(str(key)): inside for key, inside in value.items()} if isinstance(value, dict) else {}


def _from_lines(content: str, item: Item) -> Sides | str:
    """The paper's form: texts in one line with underscores, or one a line; of a pair a labelled line per side."""
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    found: Sides = {}
    for side in item.sides:
        of_side = lines
        if item.pair:
            of_side = [m[1] for line in lines if (m := re.match(rf"{side}\s*:(.+)", line, flags=re.I))]
        joined = [line for line in of_side if "_" in line.strip("_")]
        found[side] = [t.strip() for line in joined for t in line.split("_") if t.strip()] or [
            _MARK.sub("", line) for line in of_side
        ]
        if len(found[side]) < item.fewest:
            return f"{side}: {len(found[side])} texts, {item.missing} were asked for"
    return found
