"""Section `generator` of a configuration: the language model that writes texts."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, create_model, field_validator, model_validator
from pydantic_core import to_jsonable_python

from ..errors import KEYS
from ..foundation.strict import Count, From, Seed, Strict
from .kinds import ASKED_FOR

# environment variable: an answer that is not stored is an error (`coder-clip verify`)
STORED_ONLY = "CODER_CLIP_STORED_ANSWERS"


class Prices(Strict):
    """Prices of the model on some day."""

    date: datetime.date = Field(description="When these prices were looked up.")
    input: From = Field(description="Per million tokens of prompts.")
    output: From = Field(description="Per million tokens of answers.")
    currency: str = Field("USD", min_length=1, max_length=8)


TextCounts = create_model(
    "TextCounts",
    __base__=Strict,
    __doc__="How many texts to ask for, per class (one_to_one: per side of a pair).",
    **{kind: (Count, count) for kind, count in ASKED_FOR.items()},  # type: ignore[call-overload]
)


class GeneratorConfig(Strict):
    """The language model behind the source 'llm'. Its key comes only from the environment."""

    model: str = Field(min_length=1, description="The model's name on the server.")
    base_url: str | None = Field(
        None,
        exclude=True,
        description="Server with OpenAI's protocol (…/v1: vLLM, Ollama, llama.cpp); default: "
        "OpenAI.",
    )
    key_variable: str | None = Field(
        None,
        exclude=True,
        description="Environment variable with the key; default: OPENAI_API_KEY for OpenAI, else "
        "no key.",
    )
    temperature: From | None = Field(
        0.7, description="null: not sent, for models that do not accept it."
    )
    seed: Seed | None = Field(0, description="null: not sent.")
    max_tokens: Count | None = Field(
        1000,
        description="Maximal length of one answer; null: not sent. For servers with another name "
        "for it: null here, and max_completion_tokens below 'extra' (for OpenAI that is done).",
    )
    extra: dict[str, Any] = Field(
        {}, description="More parameters of each request, in the server's own names."
    )
    headers: dict[str, str] = Field(
        {},
        exclude=True,
        description="More headers of each request; $NAME: the value of that environment variable.",
    )
    texts_per_class: TextCounts = TextCounts()  # type: ignore[valid-type]
    max_shared: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1,
        description="Largest share of the classes that may have the same attribute; 0: none that "
        "two classes have.",
    )
    encoder: str | None = Field(
        None,
        description="Model that finds analogous classes that are too similar; default: the only "
        "one.",
    )
    max_pairs: Count | None = Field(
        1000,
        description="Pairs to write one-to-one texts for, most frequent first; null: all that can "
        "be confused.",
    )
    max_reasks: Annotated[int, Field(ge=0)] = Field(
        3, description="How often to ask again after an answer that cannot be used."
    )
    on_failure: Literal["stop", "skip"] = Field(
        "stop", description="If a class has no usable text in the end: stop, or continue without."
    )
    prompts: Path | None = Field(
        None,
        description="Folder with prompts (KIND.txt) and rules (rules.yaml) of your own, in any "
        "language; what has no file there is as shipped (docs/texts.md).",
    )
    max_in_flight: Count = Field(8, exclude=True, description="Simultaneous requests.")
    timeout: Annotated[float, Field(gt=0)] = Field(
        120, exclude=True, description="Seconds to wait for an answer."
    )
    retries: Annotated[int, Field(ge=0)] = Field(
        6, exclude=True, description="How often to retry after an error of the server."
    )
    prices: Prices | None = Field(None, exclude=True)
    max_cost: From | None = Field(
        None,
        exclude=True,
        description="Limit on the cost of all answers in the store; a run stops before it spends "
        "more.",
    )
    answers: Path = Field(
        Path("data/texts/answers"),
        exclude=True,
        description="Folder of the answers, which are kept for good and shared.",
    )

    @property
    def token_limit(self) -> int | None:
        """Most tokens of one answer, by either name of the parameter; None if no limit is sent."""
        return self.max_tokens or self.extra.get("max_completion_tokens")

    def access(self) -> dict[str, Any]:
        """The keys that change no answer, as plain JSON: server, limits, where answers are."""
        names = [name for name, field in type(self).model_fields.items() if field.exclude]
        plain: dict[str, Any] = to_jsonable_python({name: getattr(self, name) for name in names})
        return plain

    @property
    def secret(self) -> str | None:
        """Name of the environment variable with the key; None if the server needs none."""
        return self.key_variable or ("OPENAI_API_KEY" if self.base_url is None else None)

    @property
    def secrets(self) -> list[str]:
        """Names of the environment variables with secrets: the key, and those of headers."""
        in_headers = [value[1:] for value in self.headers.values() if value.startswith("$")]
        return [*filter(None, [self.secret]), *in_headers]

    def parameters(self, attempt: int) -> dict[str, Any]:
        """Parameters of a request besides model and messages.

        attempt: added to the seed, because with the same one a server would repeat its mistake.
        """
        sent = {"temperature": self.temperature, "max_tokens": self.max_tokens, **self.extra}
        if self.seed is not None:
            sent["seed"] = self.seed + attempt
        return {key: value for key, value in sent.items() if value is not None}

    @field_validator("key_variable")
    @classmethod
    def _no_key(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", value):
            raise ValueError(
                "generator.key_variable: give the NAME of an environment variable, never the key "
                "itself"
            )
        return value

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s@?#]+", value):
            raise ValueError(
                "generator.base_url: give an address such as http://localhost:8000/v1, without "
                "user, password or key"
            )
        return value

    @field_validator("extra")
    @classmethod
    def _no_secrets(cls, value: dict[str, Any]) -> dict[str, Any]:
        place = _secret(value, "generator.extra")
        if place:
            raise ValueError(
                f"{place}: keys come from the environment only (key_variable, headers)"
            )
        reserved = {
            "model",
            "messages",
            "n",
            "stream",
            "response_format",
            "seed",
            "temperature",
            "max_tokens",
        }
        for key in reserved & value.keys():
            raise ValueError(f"generator.extra.{key}: coder-clip sets this itself; remove it")
        limit = value.get("max_completion_tokens", 1)
        if type(limit) is not int or limit < 1:
            raise ValueError(
                "generator.extra.max_completion_tokens: give a whole number of tokens, at least 1"
            )
        return value

    @field_validator("headers")
    @classmethod
    def _no_secret_headers(cls, value: dict[str, str]) -> dict[str, str]:
        for name, header in value.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not (
                header.isascii() and header.isprintable()
            ):
                raise ValueError(
                    f"generator.headers.{name}: use letters, digits and '-' in the name, printable "
                    "ASCII in the value"
                )
            # $NAME refers to a variable; anything else must not look like a key
            variable = re.fullmatch(r"\$[A-Z_][A-Z0-9_]*", header) is not None
            if not variable and (header.startswith("$") or _secret({name: header}, "")):
                raise ValueError(f"generator.headers.{name}: name an environment variable: $NAME")
        return value

    @model_validator(mode="after")
    def _priced(self) -> GeneratorConfig:
        """Check that the token limit is given once, and that a limit on money can be kept."""
        if self.max_tokens is not None and "max_completion_tokens" in self.extra:
            raise ValueError(
                "generator.max_tokens and extra.max_completion_tokens are both given; make "
                "max_tokens null"
            )
        if self.max_cost is not None and self.prices is None:
            raise ValueError(
                "generator.max_cost needs generator.prices to compute the cost; add them"
            )
        if self.max_cost is not None and self.token_limit is None:
            raise ValueError(
                "generator.max_cost needs generator.max_tokens to limit the cost of an answer; set "
                "it"
            )
        return self


def _secret(value: Any, place: str) -> str | None:
    """The place, in nested values, of the first value that looks like a key.

    Or has a name such as "api_token"; None if there is none. place: of ``value`` itself.
    """
    if isinstance(value, str):
        # long, with digits and both cases, as keys are; or a long hexadecimal number
        random = re.search(
            r"\b(?:(?=\w*\d)(?=\w*[a-z])(?=\w*[A-Z])\w{24,}|[0-9a-fA-F]{32,})\b", value
        )
        if random or re.search(rf"{KEYS}|^\s*bearer\s", value, flags=re.I):
            return place
        return None
    inside: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    for key, item in inside:
        # a text or list under a name such as api_token; max_tokens does not match
        by_name = re.search(
            r"key|secret|password|authorization|bearer|cookie|(?:^|auth|access|api|_|-)token$",
            str(key),
            re.I,
        ) and isinstance(item, (str, list))
        if by_name:
            return f"{place}.{key}"
        secret = _secret(item, f"{place}.{key}")
        if secret:
            return secret
    return None
