"""The recipes of docs/texts_generator.md, each against a server with that service's habits.

OpenAI's and Anthropic's compatible endpoint, Ollama, vLLM and OpenRouter. Anthropic's habits and
Ollama's fields were looked up in their documentation, those of the others are as remembered, and
no service was asked.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coder_clip.texts.llm import server as of_package
from coder_clip.texts.sets import load_text_set
from llm_server import Server

KEYS = {
    "OPENAI_API_KEY": "sk-openai-0123456789",
    "OPENROUTER_API_KEY": "sk-or-v1-0123456789",
    "ANTHROPIC_API_KEY": "sk-ant-0123456789",
}
NAMES = ["red fox", "grey wolf", "hare"]
Document = dict[str, Any]


def recipe(repo: Path, service: str) -> tuple[str, list[str]]:
    """Address and arguments of the command below a heading of docs/texts_generator.md."""
    text = (repo / "docs/texts_generator.md").read_text(encoding="utf-8")
    found = re.search(rf"^# {service}\n((?:.*\\\n)*.*\n)", text, flags=re.M)
    assert found is not None, f"docs/texts_generator.md has no recipe of {service}"
    words = shlex.split(found[1].replace("\\\n", " "), comments=True)
    assert words[:3] == ["coder-clip", "texts", "generate"]
    arguments = words[1:]
    if "--base-url" not in arguments:
        return of_package.OPENAI, arguments
    return arguments[arguments.index("--base-url") + 1], arguments


def refusal(body: Document, allowed: set[str], words: str) -> str:
    """What a strict server says of a parameter that it does not know; empty if it knows all."""
    unknown = sorted(body.keys() - allowed - {"model", "messages"})
    return words.format(unknown[0]) if unknown else ""


def openai(body: Document, document: Document) -> str:
    document["choices"][0]["message"] |= {"refusal": None, "annotations": []}
    document["usage"]["completion_tokens_details"] = {"reasoning_tokens": 0}
    allowed = {"max_completion_tokens", "temperature", "seed", "response_format"}
    assert body["response_format"]["json_schema"]["strict"] is True
    return refusal(body, allowed, "Unsupported parameter: '{}' is not supported with this model.")


def openai_reasoning(body: Document, document: Document) -> str:
    document["usage"]["completion_tokens"] += 2000
    document["usage"]["completion_tokens_details"] = {"reasoning_tokens": 2000}
    assert body["max_completion_tokens"] >= 4000
    allowed = {"max_completion_tokens", "seed", "response_format", "reasoning_effort"}
    return refusal(body, allowed, "Unsupported value: '{}' does not support 0.7 with this model.")


def ollama(body: Document, document: Document) -> str:
    document["system_fingerprint"] = "fp_ollama"
    document["model"] = body["model"]
    # small models put a comma too much, and brackets around
    message = document["choices"][0]["message"]
    message["content"] = f"[{message['content'][:-1]},}}]"
    return ""


def vllm(body: Document, document: Document) -> str:
    """A reasoning parser that takes all of an answer for reasoning."""
    document |= {"model": body["model"], "prompt_logprobs": None, "kv_transfer_params": None}
    message = document["choices"][0]["message"]
    message |= {"reasoning_content": message["content"], "content": None, "tool_calls": []}
    document["usage"]["prompt_tokens_details"] = None
    return ""


def openrouter(body: Document, document: Document) -> str:
    document |= {"provider": "DeepInfra", "model": body["model"]}
    document["choices"][0] |= {"native_finish_reason": "stop", "logprobs": None}
    document["choices"][0]["message"] |= {"reasoning": None, "refusal": None}
    document["usage"]["cost"] = 0.0001
    assert body["provider"] == {"require_parameters": True}
    return ""


def anthropic(body: Document, document: Document) -> str:
    """The format is ignored, so there are words around the object."""
    document |= {"model": "claude-haiku-4-5-20251001", "system_fingerprint": ""}
    message = document["choices"][0]["message"]
    message["content"] = f"Here are the texts:\n\n```json\n{message['content']}\n```"
    assert 0 <= body["temperature"] <= 1
    return ""


@pytest.mark.parametrize(
    ("service", "dialect", "key"),
    [
        ("OpenAI", openai, "OPENAI_API_KEY"),
        ("OpenAI, a model that reasons", openai_reasoning, "OPENAI_API_KEY"),
        ("Ollama", ollama, None),
        ("vLLM", vllm, None),
        ("OpenRouter", openrouter, "OPENROUTER_API_KEY"),
        ("Anthropic", anthropic, "ANTHROPIC_API_KEY"),
    ],
)
def test_a_recipe_makes_a_set_at_once(
    server: Server, repo: Path, tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch,
    service: str, dialect: Callable[[Document, Document], str], key: str | None,
) -> None:  # fmt: skip
    """A flag that is missing costs an evening, and each answer that is thrown away costs money."""
    for variable, value in KEYS.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(tmp_path)
    Path("names.txt").write_text("\n".join(NAMES))
    address, arguments = recipe(repo, service)
    arguments = [server.url if word == address else word for word in arguments]
    if address == of_package.OPENAI:
        monkeypatch.setattr(of_package, "OPENAI", server.url)
    completion = server.completion
    refused: list[str] = []

    def spoken(body: Document) -> Document:
        document = completion(body)
        document["model"] = body["model"]
        refused.append(dialect(body, document))
        return document

    server.completion = spoken  # type: ignore[method-assign]
    server.key = KEYS[key] if key else None
    done = command(*arguments)
    assert done.code == 0, done.err + done.out
    assert not any(refused)
    assert len(server.asked) == len(NAMES), "an answer was paid for and thrown away"
    sent = {headers.get("authorization") for headers in server.asked_headers}
    assert sent == {f"Bearer {KEYS[key]}" if key else "Bearer none"}
    texts = load_text_set(tmp_path / "my.json", "my", NAMES)
    assert all(len(c.attribute) == 10 for c in texts.classes)
