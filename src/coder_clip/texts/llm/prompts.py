"""What a model is asked: template files with a version (templates/prompts/), filled in for a class or a pair."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from ..sentences import fill

FOLDER = Path(__file__).parents[2] / "templates" / "prompts"
KINDS = ("attribute", "analogous", "synonym", "one_to_one")
LISTS = {
    kind: ("first", "second") if kind == "one_to_one" else ("texts",) for kind in KINDS
}  # an answer's parts


@dataclass(frozen=True)
class Template:
    """One prompt file. sha256: of its bytes, so an edit asks anew even where the version was forgotten."""

    kind: str
    version: str
    sha256: str
    parts: dict[str, str]

    def note(self) -> dict[str, str]:
        """As provenance and cache keys hold it."""
        return {"kind": self.kind, "version": self.version, "sha256": self.sha256}


@dataclass(frozen=True)
class Request:
    """One question to the model. Everything in it is part of `key`; nothing else decides what may be reused.

    parameters: what is sent besides model and messages. attempt: counts what was asked before in vain.
    """

    model: str
    messages: tuple[tuple[str, str], ...]
    parameters: dict[str, Any]
    template: dict[str, str]
    attempt: int = 0

    @property
    def kind(self) -> str:
        return self.template["kind"]

    @cached_property
    def key(self) -> str:
        text = json.dumps(self.document(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def document(self) -> dict[str, Any]:
        """As the store holds it."""
        return {
            "model": self.model,
            "messages": [list(m) for m in self.messages],
            "parameters": self.parameters,
            "template": self.template,
            "attempt": self.attempt,
        }

    def body(self) -> dict[str, Any]:
        """As the server gets it."""
        messages = [{"role": role, "content": content} for role, content in self.messages]
        return {"model": self.model, "messages": messages, **self.parameters}


@cache
def template(kind: str) -> Template:
    """The prompt of a kind of text."""
    data = (FOLDER / f"{kind}.txt").read_bytes()
    head, *rest = re.split(r"^\[(\w+)\]\n", data.decode(), flags=re.M)
    parts = {name: text.strip() for name, text in zip(rest[::2], rest[1::2], strict=True)}
    version = re.fullmatch(r"version: (\S+)\s*", head)
    if version is None or set(parts) != {"system", "user", "again", "json", "list"}:
        raise ValueError(f"{kind}.txt: needs a version and the parts system, user, again, json and list")
    return Template(kind, version[1], hashlib.sha256(data).hexdigest(), parts)


def messages(
    kind: str, fields: Mapping[str, str], excluded: list[str], structured: bool
) -> tuple[tuple[str, str], ...]:
    """(role, content) of a question. fields: what stands in braces in the template, class names among it."""
    parts = template(kind).parts
    asked = [parts["user"], *([parts["again"]] if excluded else []), parts["json" if structured else "list"]]
    values = {**fields, "excluded": "; ".join(excluded)}
    name = values.pop("class")
    return ("system", parts["system"]), ("user", fill("\n\n".join(asked), name, **values))


def schema(kind: str) -> dict[str, Any]:
    """The parameter ``response_format`` that makes a server send a JSON object of lists of strings."""
    names = list(LISTS[kind])
    strings = {"type": "array", "items": {"type": "string"}}
    shape = {"type": "object", "properties": dict.fromkeys(names, strings), "required": names}
    described = {"name": kind, "strict": True, "schema": {**shape, "additionalProperties": False}}
    return {"type": "json_schema", "json_schema": described}
