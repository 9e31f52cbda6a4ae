"""The server of a configuration: its address and key, what is sent to it, and what its refusals mean."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...errors import UserError, one_line

if TYPE_CHECKING:
    import httpx2

    from ...pipeline.config import GeneratorConfig
    from .prompts import Request

OPENAI = "https://api.openai.com/v1"
LONGEST_WAIT = 120.0  # seconds; a server that asks for more ends the run
QUOTA = (
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "credit balance",
    "payment required",
)
FILTER = ("content_filter", "content_policy", "content management policy", "safety system")
FORMAT = r"response_format|json_schema|json_object|structured output"


class NoFormatError(Exception):
    """The server does not take this response format."""


class RefusedError(Exception):
    """The server will not answer this one question."""


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


def body_of(request: Request, generator: GeneratorConfig) -> dict[str, Any]:
    """What is sent. OpenAI's newer models know the token limit by another name only, older servers by the old one."""
    messages = [{"role": role, "content": content} for role, content in request.messages]
    body = {"model": request.model, "messages": messages, **request.parameters}
    if generator.base_url is None and "max_tokens" in body:
        body["max_completion_tokens"] = body.pop("max_tokens")
    return body


def safe(text: str, generator: GeneratorConfig) -> str:
    """A server's words in one short line, without secrets: error messages repeat parts of them."""
    names = [key_variable(generator), *(v[1:] for v in generator.headers.values() if v.startswith("$"))]
    for name in names:
        if name and (value := os.environ.get(name, "").strip()):
            text = text.replace(value, "[key]")
    text = re.sub(r"\b(?:sk|pk)-[\w*.…-]{4,}|\bBearer \S+|\S*\*{3,}\S*", "[key]", text)
    return one_line(text)


def asked_wait(response: httpx2.Response, generator: GeneratorConfig) -> float:
    """Seconds for which nobody is to ask; 0 where the server does not say. (A date holds for its own question, by
    openai.) UserError where that is too long."""
    wait = 0.0
    for name, unit in (("retry-after", 1.0), ("retry-after-ms", 0.001)):
        if re.fullmatch(r"\d+(\.\d+)?", response.headers.get(name, "")):
            wait = float(response.headers[name]) * unit
    if wait > LONGEST_WAIT:
        raise UserError(
            f"{place(generator)} asks to wait {wait:.0f} s; every answer so far is kept, run again then"
        )
    return wait


def judge(response: httpx2.Response, generator: GeneratorConfig) -> None:
    """Raise what a refused request means, unless it may work another time.

    UserError: for the run. NoFormatError, RefusedError: for the question.
    """
    at, status = place(generator), response.status_code
    said, about = _words(response)
    said = safe(said, generator)
    if status == 401:
        name = key_variable(generator)
        key = f"the key in {name}" if name else "a request without a key (generator.key_variable names one)"
        raise UserError(f"{at} does not accept {key} ({status})")
    if status == 402 or (status == 429 and any(q in about for q in QUOTA)):
        raise UserError(
            f"{at}: the quota is used up; every answer so far is kept, run again when there is more"
        )
    if status in (400, 403, 422) and any(f in about for f in FILTER):
        raise RefusedError(said)
    if status in (400, 404, 415, 422, 501) and re.search(FORMAT, about):
        raise NoFormatError(said)
    if status in (408, 409, 425, 429) or status >= 500:
        return
    if 300 <= status < 400:
        to = safe(response.headers.get("location", "another address"), generator)
        raise UserError(f"{at} redirects to {to}; give that as generator.base_url")
    if status == 404:
        raise UserError(f"{at} has no model '{generator.model}', or is no such server (404: {said})")
    raise UserError(f"{at} does not take the request ({status}: {said})")


def _words(response: httpx2.Response) -> tuple[str, str]:
    """The server's own words, but no page of HTML; and all of them with its codes, to search in."""
    try:
        document = response.json()
    except (ValueError, RecursionError):
        document = None
    error = document.get("error", document) if isinstance(document, dict) else document
    inside = error if isinstance(error, dict) else {"message": error}
    said = inside.get("message") or inside.get("detail")
    words = str(said) if said else f"HTTP {response.status_code}"
    return words, f"{inside.get('code')} {inside.get('type')} {words}".casefold()
