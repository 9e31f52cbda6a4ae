"""The server of a configuration: its address, its key, and its words without either's secrets."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ...errors import UserError

if TYPE_CHECKING:
    from ...pipeline.config import GeneratorConfig

OPENAI = "https://api.openai.com/v1"


def place(generator: GeneratorConfig) -> str:
    return generator.base_url or OPENAI


def host(generator: GeneratorConfig) -> str:
    """For provenance: host and port, no path."""
    return urlsplit(place(generator)).netloc


def key_variable(generator: GeneratorConfig) -> str | None:
    return generator.key_variable or ("OPENAI_API_KEY" if generator.base_url is None else None)


def api_key(generator: GeneratorConfig) -> str:
    """The key from the environment variable that the configuration names. UserError, without it, if it is missing.

    No variable is named by default but for OpenAI's own server: its key must not go to another one.
    """
    name = key_variable(generator)
    return "none" if name is None else secret(name)


def secret(name: str) -> str:
    """The value of an environment variable that goes into a header."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise UserError(f"no key: set the environment variable {name} (docs/texts.md)")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise UserError(f"the environment variable {name} has no key: it has spaces or special characters")
    return value


def headers(generator: GeneratorConfig) -> dict[str, str]:
    """The configured headers, those that start with $ from the environment."""
    return {k: secret(v[1:]) if v.startswith("$") else v for k, v in generator.headers.items()}


def safe(text: str, generator: GeneratorConfig) -> str:
    """A server's words in one short line, without secrets: error messages repeat parts of them."""
    names = [key_variable(generator), *(v[1:] for v in generator.headers.values() if v.startswith("$"))]
    for name in names:
        if name and (value := os.environ.get(name, "").strip()):
            text = text.replace(value, "[key]")
    text = re.sub(r"\b(?:sk|pk)-[\w*.…-]{4,}|\bBearer \S+|\S*\*{3,}\S*", "[key]", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
