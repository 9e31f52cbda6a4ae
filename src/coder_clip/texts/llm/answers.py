"""The form of an answer: the JSON schema for the server, and the texts in its answer.

One object per request, with every list under the names that it belongs to: texts of a class under
its name and their kind, texts of a pair under the other class's name and below it both names. So
neither an order of keys nor a server that mixes up its answers can give a class the texts of
another. What says nothing around them goes (a comma too much, brackets or an object around the
object, an object around a text). Any other answer that does not fit is not repaired; the model is
asked again, with what was wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..names import name_key
from .requests import Item, Sides

MAX_CHARACTERS = 100_000  # of an answer; longer ones did not stop
MAX_BRACES = 1_000  # of an answer, that begin no object
TEXTS = TypeAdapter(list[str])
# How an answer ends that was cut off, in the words of different servers.
CUT_OFF = re.compile(r"length|limit|max_?(?:output_?)?tokens|truncat|incomplete", re.I)
_REASONING = re.compile(r"</(?:think|thinking|thought|reasoning)>|\[/THINK\]|◁/think▷", re.I)
_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[\]}])')
_WRAPPED = re.compile(r"\A\s*(?:```\w*\s*)?\[\s*(\{.*\})\s*\](?:\s*```)?\s*\Z", re.S)
_UNFINISHED = re.compile(r"<(?:think|thinking|thought|reasoning)>|\[THINK\]|◁think▷", re.I)


class Repeated(Exception):
    """A key that is there twice, where Python would silently keep the last one."""


def shape(items: Sequence[Item]) -> dict[str, Any]:
    """The object of an answer, with words in place of its texts ("5 strings").

    It is part of every prompt, for servers without JSON schemas.
    """
    form: dict[str, Any] = {}
    for item in items:
        at_most = ""
        if item.optional:
            at_most = "at most "
        texts = [f"{at_most}{item.missing} strings"]
        form.setdefault(item.key, {}).update(dict.fromkeys(item.lists, texts))
    return form


def schema(items: Sequence[Item]) -> dict[str, Any]:
    """The object of an answer as a JSON schema, strict in OpenAI's sense.

    Lists are references, because servers bill the schema.
    """
    lists: dict[str, Any] = {}
    properties: dict[str, dict[str, Any]] = {}
    for item in items:
        least = item.missing
        if item.optional:
            least = 0
        # lists of the same size share one definition
        name = f"List{least}to{item.missing}"
        lists[name] = {
            "type": "array", "items": {"type": "string"}, "minItems": least,
            "maxItems": item.missing,
        }  # fmt: skip
        texts = {"$ref": f"#/$defs/{name}"}
        properties.setdefault(item.key, {}).update(dict.fromkeys(item.lists, texts))
    objects = {key: _closed(of_key) for key, of_key in properties.items()}
    return {**_closed(objects), "$defs": lists}


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object that has all of these properties and no others."""
    required = list(properties)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def read(content: str, item: Item) -> Sides | str:
    """The texts of an item per side, or what is wrong with the answer, in words for the model."""
    bare = _REASONING.split(content)[-1]  # without the reasoning, which may have drafts
    if len(bare) > MAX_CHARACTERS:
        return "it was far too long"
    if _UNFINISHED.search(bare):
        return "its reasoning had no end"  # an object in it is a draft
    try:
        lists = _lists(bare, item.key)
    except Repeated as repeated:
        return f"the key '{repeated}' was there twice"
    except (ValueError, RecursionError):
        return "it was not one JSON object"
    if lists is None:
        return f"it had no texts under '{item.key}'"
    texts = []
    for name in item.lists:
        try:
            texts.append(TEXTS.validate_python(_bare(lists.get(name_key(name))), strict=True))
        except ValidationError as error:
            wrong = error.errors()[0]
            place = " / ".join(map(str, (item.key, name, *wrong["loc"])))
            message = wrong["msg"]
            return f"{place}: {message[:1].lower()}{message[1:]}"
    try:
        # fails for half a character, which no file can hold
        "".join(text for side in texts for text in side).encode()
    except UnicodeEncodeError:
        return "it had half a character"
    return dict(zip(item.sides, texts, strict=True))


def _lists(text: str, key: str) -> dict[str, Any] | None:
    """Name -> list of texts under a key of the last object that has it; None if none has.

    ValueError without an object.
    """
    documents = list(_objects(_whole_text(text)))
    if not documents:
        raise ValueError("no object")
    # an object may be around them, such as {"answer": {…}}
    inside = [value for document in documents if len(document) == 1 for value in document.values()]
    for objects in (documents, inside):
        fitting = [d for d in map(_by_name, objects) if name_key(key) in d]
        if fitting:
            return _by_name(fitting[-1][name_key(key)])
    return None


def _whole_text(text: str) -> str:
    """A text without forms of JSON that only small models write.

    Without commas before a closing bracket, and without brackets around its only object: forms that
    small models write, and that say nothing else.
    """
    # strings are matched first, so that commas in them stay
    text = _COMMA.sub(lambda found: found[1] or "", text)
    return _WRAPPED.sub(r"\1", text)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a text. The last one counts: words and drafts may be before it.

    ValueError if the text ends with the beginning of an object or has two objects side by side,
    Repeated for equal keys."""
    decoder = json.JSONDecoder(object_pairs_hook=unique)
    # Try each brace: if nothing can be parsed from it on, no object begins there. The tries are
    # limited, because each may read the whole rest of the text.
    start = text.find("{")
    end = 0  # of the last object
    failed = 0  # braces that begin no object
    while start >= 0:
        try:
            document, end_of_this = decoder.raw_decode(text, start)
        except ValueError:
            failed += 1
            if failed > MAX_BRACES:
                raise
            start = text.find("{", start + 1)
            continue
        # nothing but space or a comma between two objects: it is unclear which one counts
        if end and not text[end:start].strip(" \t\r\n,"):
            raise ValueError("two objects")
        end = end_of_this
        # `"key":` before this object, or `,` `]` `}` after it: the object around it was broken off,
        # and a part of it is not the answer
        after_key = re.search(r'"\s*:\s*$', text[:start])
        goes_on = text[end:].lstrip().startswith((",", "]", "}"))
        if not after_key and not goes_on:
            yield document
        start = text.find("{", end)
    # a brace and a quote after the last object: another one was cut off
    if re.search(r'\{\s*"', text[end:]):
        raise ValueError("an object without an end")


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are unique, also in other spellings."""
    found = dict[str, Any]()
    seen = set[str]()
    for key, value in pairs:
        if name_key(key) in seen:
            raise Repeated(key[:60])
        seen.add(name_key(key))
        found[key] = value
    return found


def _bare(value: Any) -> Any:
    """A list with the texts in place of objects that hold one text each, as in {"text": "a tail"}.

    Anything else as it is.
    """
    if not isinstance(value, list):
        return value
    bare = []
    for text in value:
        inside = list(text.values()) if isinstance(text, dict) else []
        single = len(inside) == 1 and isinstance(inside[0], str)
        bare.append(inside[0] if single else text)
    return bare


def _by_name(value: Any) -> dict[str, Any]:
    """An object by the `name_key` of its keys; empty for anything that is not an object."""
    if not isinstance(value, dict):
        return {}
    return {name_key(str(key)): inside for key, inside in value.items()}
