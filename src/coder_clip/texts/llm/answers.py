"""The form of an answer: the JSON schema for the server, and the texts in its answer.

One object per request. Classes: one key per kind of text. Pairs: one key per other class, and below it both class
names, so that no order of keys can swap the sides. An answer that does not fit is not repaired; the model is asked
again, with what was wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from ..names import name_key

if TYPE_CHECKING:
    from .requests import Item

Sides = dict[str, list[str]]
MAX_CHARACTERS = 100_000  # of an answer; longer ones did not stop
TEXTS = TypeAdapter(list[str])


def shape(items: Sequence[Item]) -> dict[str, Any]:
    """The object in words: part of every prompt, for servers without JSON schemas."""
    found: dict[str, Any] = {}
    for item in items:
        texts = [f"{'at most ' if item.optional else ''}{item.missing} strings"]
        found[item.key] = dict.fromkeys(item.pair, texts) if item.pair else texts
    return found


def schema(items: Sequence[Item]) -> dict[str, Any]:
    """The object as a JSON schema, strict in OpenAI's sense. Lists are references, because servers bill the schema."""
    lists: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    for item in items:
        least = 0 if item.optional else item.missing
        name = f"List{least}to{item.missing}"
        lists[name] = {
            "type": "array", "items": {"type": "string"}, "minItems": least, "maxItems": item.missing
        }  # fmt: skip
        texts = {"$ref": f"#/$defs/{name}"}
        properties[item.key] = _closed(dict.fromkeys(item.pair, texts)) if item.pair else texts
    return {**_closed(properties), "$defs": lists}


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def read(content: str, item: Item) -> Sides | str:
    """The texts of an item per side, or what is wrong with the answer, in words for the model."""
    bare = content.rpartition("</think>")[2]  # no drafts
    if len(bare) > MAX_CHARACTERS:
        return "it was far too long"
    try:
        document = from_json(bare[bare.find("{") : bare.rfind("}") + 1])
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return "it was not one JSON object"
    value = _by_name(document).get(name_key(item.key))
    lists = [_by_name(value).get(name_key(name)) for name in item.pair] if item.pair else [value]
    try:
        return {
            side: TEXTS.validate_python(found, strict=True)
            for side, found in zip(item.sides, lists, strict=True)
        }
    except ValidationError as error:
        wrong = error.errors()[0]
        place = " / ".join(map(str, (item.key, *wrong["loc"])))
        return f"{place}: {wrong['msg'][:1].lower()}{wrong['msg'][1:]}"


def _by_name(value: Any) -> dict[str, Any]:
    """An object with one spelling of its keys; empty for anything else."""
    return {name_key(str(key)): inside for key, inside in value.items()} if isinstance(value, dict) else {}
