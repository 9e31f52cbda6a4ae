"""What is read in a server's completion: the text, the model, and what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AliasPath, BaseModel, Field, ValidationError

from . import budget, server
from .prompts import Request
from .requests import Answer
from .store import today

if TYPE_CHECKING:
    from ..generator import GeneratorConfig

Count = Annotated[int, Field(ge=0)]


class NoAnswer(Exception):
    """A response that is no completion, although its status says that all went well."""


class _Part(BaseModel):
    text: str = ""


class _Message(BaseModel):
    content: str | list[_Part] | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: str | None = None

    @property
    def words(self) -> str | None:
        """The text of the message, which some servers send in parts.

        Without any it is in the reasoning, where a server takes all of an answer for that (vLLM's
        reasoning_content, Ollama's and OpenRouter's reasoning).
        """
        content = self.content
        if isinstance(content, list):
            content = "".join(part.text for part in content)
        if content and content.strip():
            return content
        for instead in (self.reasoning_content, self.reasoning):
            if isinstance(instead, str) and instead.strip():
                return instead
        return content


class _Completion(BaseModel):
    """The parts of a chat completion that are read.

    Pydantic bounds nesting and numbers, whatever a server sends.
    """

    message: _Message = Field(validation_alias=AliasPath("choices", 0, "message"))
    finish: str | None = Field(None, validation_alias=AliasPath("choices", 0, "finish_reason"))
    model: Any = None
    system_fingerprint: Any = None
    usage: Any = None


class _Usage(BaseModel):
    """Tokens of the prompt and of the answer, as a server counts them."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count = 0

    @property
    def written(self) -> int:
        """Tokens of the answer, with hidden reasoning that some servers count in the total alone.

        (xAI, Gemini's compatible endpoint).
        """
        return max(self.completion_tokens, self.total_tokens - self.prompt_tokens)


def read(content: str, request: Request, generator: GeneratorConfig) -> Answer:
    """The answer in a chat completion.

    NoAnswer for anything else, which servers may send with status 200, too.
    """
    # any field may repeat the key, which must not be stored
    content = server.masked(content, generator)
    try:
        found = _Completion.model_validate_json(content)
    except ValidationError:
        words = server.said(content, generator)
        raise NoAnswer(f"it sent something that is not an answer: '{words}'") from None
    filtered = "content filter" if found.finish == "content_filter" else None
    fields: dict[str, Any] = _origin(generator)
    of_server = {"served": found.model, "fingerprint": found.system_fingerprint}
    fields |= {name: value for name, value in of_server.items() if isinstance(value, str)}
    return Answer(
        text=found.message.words or None,
        refusal=found.message.refusal or filtered,
        finish=found.finish,
        **fields,
        **_cost(found.usage, request, generator),
    )


def _cost(usage: Any, request: Request, generator: GeneratorConfig) -> dict[str, Any]:
    """Tokens and money of an answer. Without a count: the most that it can cost."""
    try:
        counted = _Usage.model_validate(usage)
    except ValidationError:
        most = budget.estimate([request], generator).at_most
        return {"at_most": most} if generator.prices else {}
    sent, written = counted.prompt_tokens, counted.written
    tokens = {"prompt_tokens": sent, "completion_tokens": written}
    if generator.prices is None:
        return tokens
    return {**tokens, "cost": budget.money(generator.prices, sent, written)}


def refusal(words: str, generator: GeneratorConfig) -> Answer:
    """The answer to store if a server refuses a question with an error; it costs nothing."""
    return Answer(refusal=words, finish="refused", cost=0.0, **_origin(generator))


def _origin(generator: GeneratorConfig) -> dict[str, Any]:
    """Provenance fields that do not depend on the response."""
    return {
        "served": generator.model,
        "date": today(),
        "server": server.host(generator),
        "currency": generator.prices.currency if generator.prices else "",
    }
