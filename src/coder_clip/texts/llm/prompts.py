"""Prompts: template files with a version, filled in for a class or for pairs.

The shipped ones are in templates/prompts/; a project may have its own (`generator.prompts`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ..sentences import fill
from . import answers

if TYPE_CHECKING:
    from ..generator import GeneratorConfig
    from .requests import Item

FOLDER = Path(__file__).parents[2] / "templates" / "prompts"
PARTS = {"system", "subject", "user", "again", "wrong", "json"}


@dataclass(frozen=True)
class Template:
    """One prompt file.

    note: kind, version and sha256, for provenance. An edit changes the sha256 and so asks again,
    even with the same version. parts: name -> text.
    """

    note: dict[str, str]
    parts: dict[str, str]


@dataclass(frozen=True)
class Request:
    """One request to the model, for one item or for several that belong together.

    parameters: sent besides model, messages and response format. items: their documents, in the
    order of the prompt.
    schema: the JSON schema of the answer.
    """

    model: str
    messages: tuple[tuple[str, str], ...]
    parameters: dict[str, Any]
    items: tuple[dict[str, Any], ...]
    schema: dict[str, Any] | None = field(default=None, compare=False)

    @cached_property
    def key(self) -> str:
        """Hash of the request, by which the store has its answer."""
        return digest(self.document())

    @property
    def item_keys(self) -> list[str]:
        """The key of each item. It does not depend on the other items of the request."""
        return [item_key(self.model, self.parameters, item) for item in self.items]

    def document(self) -> dict[str, Any]:
        """The request, for the store."""
        return {
            "model": self.model,
            "messages": [list(m) for m in self.messages],
            "parameters": self.parameters,
            "items": list(self.items),
        }


def digest(document: Any) -> str:
    """SHA-256 of a JSON document, independent of the order of keys."""
    return hashlib.sha256(
        json.dumps(document, sort_keys=True, ensure_ascii=False).encode()
    ).hexdigest()


def item_key(model: str, parameters: dict[str, Any], item: dict[str, Any]) -> str:
    """The key of an item (its `document`), by which the store has its answer."""
    return digest([model, parameters, item])


@cache
def template(kind: str, folder: Path | None = None) -> Template:
    """The prompt file of a kind of text: of ``folder`` if it has one, else the shipped one.

    UserError if there is no such folder, or a part of a file is missing.
    """
    if folder is not None and not folder.is_dir():
        raise UserError(f"generator.prompts: no folder {folder}; correct the path, or leave it out")
    path = FOLDER / f"{kind}.txt"
    if folder is not None and (folder / path.name).is_file():
        path = folder / path.name
    data = path.read_bytes()
    # after the head, names and texts of the parts alternate
    try:
        head, *rest = re.split(r"^\[(\w+)\]\n", data.decode(), flags=re.M)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    parts = {name: text.strip() for name, text in zip(rest[::2], rest[1::2], strict=True)}
    version = re.fullmatch(r"version: (\S+)\s*", head)
    if version is None or not set(parts) >= PARTS:
        raise UserError(
            f"{path}: needs 'version: …' in the first line and the parts "
            f"{', '.join(f'[{part}]' for part in sorted(PARTS))}; add what is missing"
        )
    return Template(
        {"kind": kind, "version": version[1], "sha256": hashlib.sha256(data).hexdigest()}, parts
    )


def document(item: Item, folder: Path | None = None) -> dict[str, Any]:
    """Everything that the question of an item consists of, for its key and the store.

    folder: of the prompts, as in `template`.
    """
    fields = dict(item.fields)
    # a hash instead of the list of all classes, which each stored item would repeat
    if "classes" in fields:
        fields["classes"] = digest(fields["classes"])
    return {
        "kind": item.kind,
        "template": template(item.kind, folder).note["sha256"],
        "fields": fields,
        "count": item.missing,
        "attempt": item.asked,
        "excluded": item.excluded,
        "wrong": item.wrong,
    }


def request(items: Sequence[Item], generator: GeneratorConfig) -> Request:
    """The request for items of one class."""
    described = {"name": "texts", "strict": True, "schema": answers.schema(items)}
    documents = tuple(document(item, generator.prompts) for item in items)
    return Request(
        generator.model,
        messages(items, generator.prompts),
        generator.parameters(items[0].asked),
        documents,
        described,
    )


def messages(items: Sequence[Item], folder: Path | None = None) -> tuple[tuple[str, str], ...]:
    """(role, content) of a request for items of one class. folder: of the prompts.

    The list of classes is in the first message, which is the same for every class, so that servers
    cache it."""

    def part(item: Item, name: str, **more: str) -> str:
        """A part of the prompt file of an item, filled in; empty if the file does not have it."""
        values = {**item.fields, "count": str(item.missing), **more}
        class_name = values.pop("class")
        return fill(template(item.kind, folder).parts.get(name, ""), class_name, **values)

    def section(item: Item) -> str:
        """The question of one item."""
        lines = [part(item, "user")]
        if item.excluded:
            lines.append(part(item, "again", excluded="; ".join(item.excluded)))
        if item.wrong:
            lines.append(part(item, "wrong", wrong=item.wrong))
        # questions about a class are told apart by their kind; the question of a pair names the
        # other class
        label = f'"{item.kind}": '
        if item.pair:
            label = ""
        return label + "\n".join(lines)

    first = items[0]
    # what several items have in common is said once
    system = dict.fromkeys(part(item, name) for item in items for name in ("system", "classes"))
    shape = json.dumps(answers.shape(items), ensure_ascii=False)
    user = [part(first, "subject"), *map(section, items), part(first, "json", shape=shape)]
    return ("system", "\n\n".join(filter(None, system))), ("user", "\n\n".join(user))
