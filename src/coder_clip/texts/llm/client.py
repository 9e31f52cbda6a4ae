"""Asking a server that speaks OpenAI's protocol: many questions at once, politely, and through its bad days.

The `openai` package does the talking; what to do about trouble is decided here, because a wait that the server
asks for must hold for all questions, an answer that was paid for must be kept, and what a person reads must be one
line without a key in it.
"""

from __future__ import annotations

import asyncio
import email.utils
import logging
import os
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from . import cost
from .cost import Budget, Estimate
from .prompts import Request
from .store import Answer

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from ...config import GeneratorConfig

log = logging.getLogger("coder_clip")

OPENAI = "https://api.openai.com/v1"
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds of back-off, doubled each time, with jitter
PATIENCE = 600.0  # seconds that a server may ask us to wait
PATIENCE_IN_ALL = 3600.0  # the same of one question, over all its tries
GIVEN_UP_IN_A_ROW = 3  # questions without an answer, and none answered between: the server is down
QUOTA = (
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "credit balance",
    "payment required",
)
FILTER = ("content_filter", "content_policy", "content management policy", "safety system")


class NoSchemaError(Exception):
    """The server does not do structured output."""


class GoneError(UserError):
    """The server does not know what it was asked about."""


class RefusedError(Exception):
    """The server will not answer this one question."""


class TransientError(Exception):
    """May work another time. wait: seconds that the server asked for."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


@dataclass(frozen=True)
class Question:
    """A request with what it is expected to cost; plain: the same one without structured output."""

    request: Request
    expected: Estimate
    plain: Request | None = None


def api_key(generator: GeneratorConfig) -> str:
    """The key from the environment variable that the configuration names. UserError, without it, if it is missing.

    No variable is named by default but for OpenAI's own server: its key must not go to another one.
    """
    name = key_variable(generator)
    if name is None:
        return "none"
    key = os.environ.get(name, "").strip()
    if not key:
        raise UserError(f"no key: set the environment variable {name} (docs/texts.md)")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(f"the environment variable {name} holds no key: it has spaces or special characters")
    return key


def key_variable(generator: GeneratorConfig) -> str | None:
    return generator.key_variable or ("OPENAI_API_KEY" if generator.base_url is None else None)


def connect(generator: GeneratorConfig) -> AsyncOpenAI:
    """The server of the configuration; what OPENAI_BASE_URL says does not count."""
    from openai import AsyncOpenAI

    url = generator.base_url or OPENAI
    return AsyncOpenAI(api_key=api_key(generator), base_url=url, timeout=generator.timeout, max_retries=0)


class Client:
    """Asks questions, at most ``max_in_flight`` at a time."""

    def __init__(self, generator: GeneratorConfig, budget: Budget) -> None:
        self.generator, self.budget = generator, budget
        self.place = generator.base_url or OPENAI
        self.structured = generator.structured != "list"
        self.stopped: UserError | None = None
        self._resume = 0.0  # time.monotonic() before which nothing is sent
        self._given_up = 0

    def ask(self, questions: Iterable[Question], keep: Callable[[Request, Answer], None]) -> dict[str, str]:
        """Ask all. keep: called with every answer as it arrives, one at a time, in another thread.

        Gives: key of a request -> why it has no answer.

        UserError where the run must end (key, quota, limit, a server that is down); what was under way is still
        waited for and kept.
        """
        with ThreadPoolExecutor(max_workers=1) as self._disk:
            return asyncio.run(self._ask(list(questions), keep))

    async def _ask(
        self, questions: list[Question], keep: Callable[[Request, Answer], None]
    ) -> dict[str, str]:
        failed: dict[str, str] = {}
        waiting = iter(questions)
        async with connect(self.generator) as server:

            async def work() -> None:
                for question in waiting:
                    if self.stopped:
                        return
                    try:
                        await self._one(server, question, keep, failed)
                    except UserError as error:
                        self.stopped = self.stopped or error

            await asyncio.gather(*(work() for _ in range(self.generator.max_in_flight)))
        if self.stopped:
            raise self.stopped
        return failed

    async def _one(
        self,
        server: AsyncOpenAI,
        question: Question,
        keep: Callable[[Request, Answer], None],
        failed: dict[str, str],
    ) -> None:
        self.budget.start(question.expected)
        try:
            request, answer = await self._until_answered(server, question)
            # A disk can take seconds to store an answer. In this thread that would also stop the clocks of the other
            # requests: their answers, which have arrived and are paid for, would count as late and be asked for again.
            storing = asyncio.get_running_loop().run_in_executor(self._disk, keep, request, answer)
            await asyncio.shield(storing)  # what is paid for is stored even if the run is interrupted now
            self._given_up = 0
        except TransientError as error:
            failed[question.request.key] = str(error)
            self._given_up += 1
            if self._given_up >= GIVEN_UP_IN_A_ROW:
                raise UserError(
                    f"{self.place} does not answer ({error}); every answer so far is kept, run again later"
                ) from None
        finally:
            self.budget.end(question.expected)

    async def _until_answered(self, server: AsyncOpenAI, question: Question) -> tuple[Request, Answer]:
        tries, waited = 0, 0.0
        while True:
            structured = self.structured or question.plain is None
            request = question.request if structured else question.plain
            assert request is not None
            await self._turn()
            try:
                return request, await self._send(server, request)
            except NoSchemaError:
                if question.plain is None:
                    raise UserError(
                        f"{self.place} does not do structured output; set generator.structured: list"
                    ) from None
                if self.structured:
                    log.info("%s does not do structured output; asking for lists", self.place)
                self.structured = False
            except RefusedError as error:
                return request, _answer(None, str(error), "refused", request.model, (0, 0), self.generator)
            except TransientError as error:
                if self.stopped:
                    raise
                if error.wait is not None:  # a wait that the server asks for is no failure: it is just busy
                    self._hold(error.wait)
                    waited += max(1.0, error.wait)
                    if waited > PATIENCE_IN_ALL:
                        raise
                    log.info("%s and asks to wait %.1f s", error, error.wait)
                    continue
                tries += 1
                if tries > self.generator.retries:
                    raise
                log.info("%s (try %d of %d)", error, tries, self.generator.retries + 1)
                backoff = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (tries - 1))
                await asyncio.sleep(backoff * random.uniform(0.5, 1))

    async def _turn(self) -> None:
        """Wait until the server wants to be asked again. UserError where another question has ended the run."""
        while (seconds := self._resume - time.monotonic()) > 0 and not self.stopped:
            await asyncio.sleep(min(seconds, 1) + random.uniform(0, 0.05))  # not all in one moment
        if self.stopped:
            raise self.stopped

    def _hold(self, seconds: float) -> None:
        if seconds > PATIENCE:
            raise UserError(
                f"{self.place} asks to wait {seconds:.0f} s; every answer so far is kept, run again then"
            )
        self._resume = max(self._resume, time.monotonic() + seconds)

    async def _send(self, server: AsyncOpenAI, request: Request) -> Answer:
        """One request. Raises TransientError, RefusedError, NoSchemaError or UserError."""
        body = body_of(request, self.generator)
        with client_error(self.generator):
            async with asyncio.timeout(
                self.generator.timeout
            ):  # of the whole answer: a drip resets the other one
                raw = await server.chat.completions.with_raw_response.create(
                    model=body.pop("model"), messages=body.pop("messages"), extra_body=body
                )
            if (rest := wait_of_limits(raw.headers)) is not None:
                self._resume = max(self._resume, time.monotonic() + min(rest, PATIENCE))
            return answer_of(raw.http_response.json(), self.generator)


@contextmanager
def client_error(generator: GeneratorConfig) -> Iterator[None]:
    """What goes wrong in a call, as what it means: TransientError, RefusedError, NoSchemaError or UserError."""
    import openai

    place = generator.base_url or OPENAI
    try:
        yield
    except (TimeoutError, openai.APITimeoutError):
        raise TransientError(f"{place}: no whole answer within {generator.timeout:g} s") from None
    except openai.APIStatusError as error:
        raise _judged(error, generator, place) from None
    except openai.APIConnectionError as error:
        raise TransientError(f"{place}: {safe(str(error.__cause__ or error), generator)}") from None
    except (ValueError, openai.APIResponseValidationError):  # a page of a proxy, JSON that breaks off
        raise TransientError(f"{place} sent something that is no answer") from None


def _judged(error: Any, generator: GeneratorConfig, place: str) -> Exception:
    """What an HTTP status means for the run."""
    status: int = error.status_code
    said = safe(_message(error), generator)
    about = f"{error.code or ''} {error.type or ''} {said}".casefold()
    filtered = any(f in about for f in FILTER)
    if status == 401 or (status == 403 and not filtered):
        name = key_variable(generator)
        key = f"the key in {name}" if name else "a request without a key (generator.key_variable names one)"
        return UserError(f"{place} does not accept {key} ({status})")
    if status == 402 or (status == 429 and any(q in about for q in QUOTA)):
        return UserError(
            f"{place}: the quota is used up; every answer so far is kept, run again when there is more"
        )
    if status in (400, 403, 422) and filtered:
        return RefusedError(said)
    if status in (400, 404, 422, 501) and re.search(r"response_format|json_schema|structured output", about):
        return NoSchemaError(said)
    if status in (408, 409, 425, 429) or status >= 500:
        return TransientError(f"{place} answers {status}", retry_after(error.response.headers))
    if status == 404:
        return GoneError(f"{place} has no model '{generator.model}', or is no such server (404: {said})")
    return UserError(f"{place} does not take the request ({status}: {said})")


def safe(text: str, generator: GeneratorConfig) -> str:
    """A server's words in one short line, without the key: error messages repeat parts of it."""
    name = key_variable(generator)
    key = os.environ.get(name, "").strip() if name else ""
    text = text.replace(key, "[key]") if key else text
    text = re.sub(r"\b(?:sk|pk)-[\w*.…-]{4,}|\bBearer \S+|\S*\*{3,}\S*", "[key]", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]


def body_of(request: Request, generator: GeneratorConfig) -> dict[str, Any]:
    """What is sent. OpenAI's newer models know the token limit by another name only, older servers by the old one."""
    body = request.body()
    if generator.base_url is None and "max_tokens" in body:
        body["max_completion_tokens"] = body.pop("max_tokens")
    return body


def _message(error: Any) -> str:
    """The server's own words, but no page of HTML."""
    body = error.body
    said = body.get("message") or body.get("detail") if isinstance(body, dict) else body
    if isinstance(said, str) and said.lstrip().startswith("<"):
        said = None
    return str(said) if said else f"HTTP {error.status_code}"


def answer_of(document: Any, generator: GeneratorConfig, batch: bool = False) -> Answer:
    """The answer in a chat completion. TransientError where it is none: servers send errors with status 200, too."""
    try:
        choice = document["choices"][0]
        message = choice["message"]
        usage = document.get("usage") or {}
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
        text, refusal = message.get("content"), message.get("refusal")
        finish = choice.get("finish_reason")
        served = document.get("model") or generator.model
    except (KeyError, IndexError, TypeError, AttributeError):
        raise TransientError("the server sent something that is no answer") from None
    if finish == "content_filter" and not refusal:
        refusal = "content filter"
    counts = tuple(n if isinstance(n, int) and n >= 0 else None for n in (prompt, completion))
    return _answer(_unicode(text), _unicode(refusal), _unicode(finish), str(served), counts, generator, batch)


def _answer(
    text: str | None,
    refusal: str | None,
    finish: str | None,
    served: str,
    counts: tuple[int | None, ...],
    generator: GeneratorConfig,
    batch: bool = False,
) -> Answer:
    prompt, completion = counts
    known = prompt is not None and completion is not None
    return Answer(
        text=text,
        refusal=refusal,
        finish=finish,
        served=_unicode(served) or "",
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=cost.money(generator.prices, prompt or 0, completion or 0, batch) if known else None,
        date=datetime.now(UTC).date().isoformat(),
        way="batch" if batch else "live",
    )


def _unicode(text: Any) -> str | None:
    """What can be written to a file: half characters become question marks."""
    return text.encode(errors="replace").decode() if isinstance(text, str) and text else None


# ---- what servers say about waiting ------------------------------------------------------------------


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of Retry-After (seconds or a date) or retry-after-ms; None without."""
    try:
        if value := headers.get("retry-after-ms"):
            return max(0.0, float(value) / 1000)
        if value := headers.get("retry-after"):
            if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
                return float(value)
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        pass
    return wait_of_limits(headers)


def wait_of_limits(headers: Mapping[str, str]) -> float | None:
    """Seconds until the server takes requests again, where its rate-limit headers say that nothing is left."""
    waits = []
    for what in ("requests", "tokens"):
        left, reset = headers.get(f"x-ratelimit-remaining-{what}"), headers.get(f"x-ratelimit-reset-{what}")
        if left is not None and left.strip() == "0" and reset and (seconds := duration(reset)) is not None:
            waits.append(seconds)
    return max(waits, default=None)


def duration(text: str) -> float | None:
    """Seconds of "1m6.5s", "250ms" or "12"; None for anything else."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h|d))+", text):
        return None
    return sum(float(n) * units[u] for n, u in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text))
