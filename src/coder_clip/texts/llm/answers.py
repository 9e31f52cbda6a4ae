"""The form of an answer: pydantic models of what is asked for, as JSON schema for the server and to read what it sends.

One object per request. Classes: a key per kind of text. Pairs: a key per other class, and below it both class names, so
that no order of keys can swap the sides. What does not fit is not repaired: it is asked again, with what was wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import from_json
from typing_extensions import TypeAliasType

from ..names import name_key

if TYPE_CHECKING:
    from .generate import Item

Sides = dict[str, list[str]]
SIDES = {"one_to_one": ("first", "second")}  # of the class and of the other one; other kinds have one list
MOST = 100_000  # characters of an answer; what is longer does not stop
_MARK = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s+")  # of a line of a list


def sides(kind: str) -> tuple[str, ...]:
    return SIDES.get(kind, ("texts",))


def key_of(item: Item) -> str:
    """Where an item's texts are in the object of an answer."""
    return item.fields["other"] if item.kind == "one_to_one" else item.kind


def shape(items: Sequence[Item]) -> dict[str, Any]:
    """The object that is asked for, in words, for servers that are not sent a schema."""

    def wanted(item: Item) -> Any:
        most = "at most " if item.kind == "synonym" else ""
        texts = [f"{most}{item.missing} strings"]
        return dict.fromkeys(_names(item), texts) if item.kind == "one_to_one" else texts

    return {key_of(item): wanted(item) for item in items}


def schema(items: Sequence[Item]) -> dict[str, Any]:
    """The same as a JSON schema that is strict in OpenAI's sense."""
    document = _object("Texts", {key_of(item): _type(item) for item in items}).model_json_schema()
    parts = document.get("$defs", {})
    document["$defs"] = {name: part for name, part in parts.items() if name.startswith("List")}

    def inline(node: Any) -> Any:
        """Only lists as references, and no titles, which repeat the keys: servers count what is sent."""
        if not isinstance(node, dict):
            return node
        name = node["$ref"].rpartition("/")[2] if isinstance(node.get("$ref"), str) else "List"
        if not name.startswith("List"):
            return inline(parts[name])
        return {k: inline(v) for k, v in node.items() if not (k == "title" and isinstance(v, str))}

    found: dict[str, Any] = inline(document)
    return found


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
    return _from_object({name_key(str(key)): value for key, value in document.items()}, item)


def _from_object(given: dict[str, Any], item: Item) -> Sides | str:
    key, value = key_of(item), given.get(name_key(key_of(item)))
    if item.kind == "one_to_one" and isinstance(value, dict):
        value = {
            next((n for n in _names(item) if name_key(n) == name_key(k)), k): v for k, v in value.items()
        }
    try:
        found = (
            _object("Texts", {key: _type(item)}).model_validate({key: value}).model_dump(by_alias=True)[key]
        )
    except ValidationError as error:
        first = error.errors()[0]
        return f"{' / '.join(map(str, first['loc']))}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return dict(zip(sides(item.kind), found.values() if isinstance(found, dict) else [found], strict=True))


def _names(item: Item) -> tuple[str, str]:
    return item.fields["class"], item.fields["other"]


def _type(item: Item) -> Any:
    """The type of an item's value. Of an answer half of what was asked for is enough; the schema asks for all."""
    most = item.missing
    asked, least = (0, 0) if item.kind == "synonym" else (most, (most + 1) // 2)
    bounds: Any = {"minItems": asked, "maxItems": most}
    named = f"List{asked}to{most}"  # so the schema has it once
    texts = TypeAliasType(named, Annotated[list[str], Field(min_length=least, json_schema_extra=bounds)])  # type: ignore[misc]
    return _object("Pair", dict.fromkeys(_names(item), texts)) if item.kind == "one_to_one" else texts


def _object(name: str, types: dict[str, Any]) -> type[BaseModel]:
    """A model whose keys are any strings, class names among them."""
    fields: dict[str, Any] = {
        f"f{i}": (kind, Field(alias=key)) for i, (key, kind) in enumerate(types.items())
    }
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=True), **fields)


def _from_lines(content: str, item: Item) -> Sides | str:
    """The paper's form: texts in one line with underscores, or one a line; of a pair a labelled line per side."""
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    found: Sides = {}
    for side in sides(item.kind):
        of_side = lines
        if item.kind == "one_to_one":
            of_side = [m[1] for line in lines if (m := re.match(rf"{side}\s*:(.+)", line, flags=re.I))]
        joined = [line for line in of_side if "_" in line.strip("_")]
        found[side] = [t.strip() for line in joined for t in line.split("_") if t.strip()] or [
            _MARK.sub("", line) for line in of_side
        ]
        if len(found[side]) < (0 if item.kind == "synonym" else (item.missing + 1) // 2):
            return f"{side}: {len(found[side])} texts, {item.missing} were asked for"
    return found
