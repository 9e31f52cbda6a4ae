"""The server of a configuration.

Its address and key, what is sent to it, and what its errors mean.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from ...errors import UserError, one_line

if TYPE_CHECKING:
    import openai

    from ..generator import GeneratorConfig
    from .prompts import Request

OPENAI = "https://api.openai.com/v1"
SHORTEST_KEY = 8  # characters
QUOTA = (
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "credit balance",
    "payment required",
)
FILTER = (  # of one question: moderation, too long a prompt, an answer that does not fit its schema
    "content_filter", "content_policy", "content management policy", "safety system", "moderation",
    "flagged", "context_length_exceeded", "maximum context length", "context window",
    "exceeds the available context",
    "json_validate_failed",
)  # fmt: skip
# of a parameter, in the words of different servers
UNSUPPORTED = (
    r"unsupported|not support|unknown|unrecogni[sz]ed|unexpected|"
    r"not (?:allowed|permitted|accepted)|"
    r"deprecated|only the default|extra (?:inputs|fields)|invalid (?:parameter|argument|value)"
)
FORMAT = (
    r"response_format|json_schema|json_object|structured.output|xgrammar|"
    r"guided.(?:json|decoding)|\bgrammar\b"
)


def place(generator: GeneratorConfig) -> str:
    """The address of the server."""
    return generator.base_url or OPENAI


def host(generator: GeneratorConfig) -> str:
    """Host and port, for provenance."""
    return urlsplit(place(generator)).netloc


def api_key(generator: GeneratorConfig) -> str:
    """The key from the environment variable that the configuration names.

    UserError if it is missing.

    OpenAI's variable is the default for its own server only: the key must not go to another one.
    """
    name = generator.secret
    if name is None:
        return "none"
    return secret(name)


def secret(name: str) -> str:
    """The value of an environment variable, for a header."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise UserError(f"no key: set the environment variable {name} (docs/texts.md)")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise UserError(
            f"the environment variable {name} has no key: it has spaces or special characters"
        )
    return value


def headers(generator: GeneratorConfig) -> dict[str, str]:
    """The configured headers, with the values that start with $ from the environment."""
    return {k: secret(v[1:]) if v.startswith("$") else v for k, v in generator.headers.items()}


def body_of(request: Request, generator: GeneratorConfig) -> dict[str, Any]:
    """The body of a request.

    OpenAI's newer models have another name for the token limit, other servers the old one.
    """
    messages = [{"role": role, "content": content} for role, content in request.messages]
    body = {"model": request.model, "messages": messages, **request.parameters}
    if generator.base_url is None and "max_tokens" in body:
        body["max_completion_tokens"] = body.pop("max_tokens")
    return body


def same_model(asked: str, served: str) -> bool:
    """True if a server's name of a model is the name asked for.

    Whatever path is before it and whatever date or version is behind it.
    """
    # the last part of a path, without an ending that says nothing about the model
    wanted, given = (
        re.sub(r"(?:[-:]latest|\.gguf)$", "", name.casefold().rstrip("/").rpartition("/")[2])
        for name in (asked, served)
    )
    # after the name only dates, versions and words such as "preview" may follow
    if not given.startswith(wanted):
        return False
    rest = given.removeprefix(wanted)
    return re.fullmatch(r"(?:[-:@](?:preview|exp|v?\d[\d.-]+))*", rest) is not None


def masked(text: str, generator: GeneratorConfig) -> str:
    """A text of a server without the secrets that were sent to it."""
    for name in generator.secrets:
        value = os.environ.get(name, "").strip()
        # a local server's "none" or "test" is no secret, and an ordinary word in texts
        if len(value) >= SHORTEST_KEY:
            text = text.replace(value, "[key]")
    return text


def said(text: str, generator: GeneratorConfig) -> str:
    """A server's words in place of an answer, in one line without secrets.

    Its error message, else the first 200 characters, or "a page of HTML".
    """
    text = masked(text, generator).strip()
    try:
        error = json.loads(text)["error"]
        text = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    if text.startswith("<"):
        return "a page of HTML"
    return one_line(text) or "no words"


def judge(
    error: openai.APIStatusError, generator: GeneratorConfig
) -> Literal["again", "format", "refused"]:
    """What an error means for a question: "again": the same request may work later.

    "format": it may work in another response format; "refused": the server refuses this question.
    UserError if the error ends the run.
    """
    at, status, text = place(generator), error.status_code, error.response.text.casefold()
    words = said(error.response.text, generator)
    # errors that end the run come before those of one question
    if status == 401:
        name = generator.secret
        key = "a request without a key (generator.key_variable names one)"
        if name:
            key = f"the key in {name}"
        raise UserError(f"{at} does not accept {key} ({status})")
    if status == 402 or (status == 429 and any(q in text for q in QUOTA)):
        raise UserError(
            f"{at}: the quota is used up; every answer so far is kept, run again when there is more"
        )
    if status in (400, 403, 413, 422) and any(f in text for f in FILTER):
        return "refused"
    # some servers fail with 5xx at a response format that they do not have
    if (status in (400, 404, 415, 422) or status >= 500) and re.search(FORMAT, text):
        return "format"
    if status in (408, 409, 425, 429) or status >= 500:
        return "again"
    if 300 <= status < 400:
        to = masked(error.response.headers.get("location", "another address"), generator)
        raise UserError(f"{at} redirects to {one_line(to)}; give that as generator.base_url")
    if status == 404:
        hint = f"; is it {at.rstrip('/')}/v1?"
        if "/v1" in at:
            hint = ""
        raise UserError(
            f"{at} has no model '{generator.model}', or is not such a server (404: {words}){hint}"
        )
    raise UserError(
        f"{at} does not take the request ({status}: {words}){leave_out(words, generator)}"
    )


def leave_out(words: str, generator: GeneratorConfig) -> str:
    """What leaves out the parameter that a server refuses, in words; empty if it names none."""
    if not re.search(UNSUPPORTED, words, re.I):
        return ""
    sent = {"temperature": "null", "seed": "null", "max_tokens": "null", **generator.extra}
    named = re.findall(r"[\"'`]?\b(\w+)\b", words)
    # the first one: after it servers list what they take
    refused = next((name for name in named if name in sent), None)
    if refused is None and "max_completion_tokens" in named:
        refused = "max_tokens"  # as OpenAI calls it
    if refused is None:
        return ""
    if refused in generator.extra:
        return f"; remove generator.extra.{refused}"
    hint = f"; 'generator.{refused}: null' leaves it out"
    if refused == "max_tokens" and "max_completion_tokens" in words:
        hint += ", and generator.extra takes max_completion_tokens"
    return hint
