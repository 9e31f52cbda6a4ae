"""Asking a server that speaks OpenAI's protocol: many questions at once, politely, and through its bad days.

The `openai` package talks, waits and retries. Hooks on its HTTP client do what it cannot know: reserve money for every
try, hold all requests where the server asks one to wait, and bound the size and time of an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx2
import openai
from pydantic import BaseModel, Field, ValidationError

from ...errors import UserError
from . import cost
from .cost import Budget, Question
from .prompts import Request
from .server import OPENAI, api_key, headers, host, key_variable, place, safe
from .store import Answer

if TYPE_CHECKING:
    from ...pipeline.config import GeneratorConfig

log = logging.getLogger("coder_clip")

MOST_BYTES = 4_000_000  # of an answer with its reasoning
LONGEST_HOLD = 120.0  # seconds, as openai's own retries: who asks for more ends the run
IN_A_ROW = 3  # questions without an answer, and none answered between: is the server there at all?
ENVIRONMENT = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS")  # for OpenAI's own server only
QUOTA = (
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "credit balance",
    "payment required",
)
FILTER = ("content_filter", "content_policy", "content management policy", "safety system")


class NoSchemaError(Exception):
    """The server does not take this response format."""


class RefusedError(Exception):
    """The server will not answer this one question."""


class TransientError(Exception):
    """May work another time. busy: the server says itself that it cannot now."""

    def __init__(self, why: str, busy: bool = False) -> None:
        super().__init__(why)
        self.busy = busy


@dataclass
class Tries:
    """The tries of one question. reserved: money of the one in flight; lost: of those that got no answer."""

    at_most: float | None
    task: asyncio.Task[Any] | None
    reserved: float | None = None
    lost: list[float] = field(default_factory=list)
    waits: bool = False  # for its next try
    deadline: float = 0.0


TRIES: ContextVar[Tries | None] = ContextVar("tries", default=None)


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(ge=0, le=10**9)
    completion_tokens: int = Field(ge=0, le=10**9)


class _Completion(BaseModel):
    """What is read of a chat completion. pydantic bounds nesting and numbers, whatever a server sends."""

    choices: list[_Choice] = Field(min_length=1)
    usage: Any = None
    model: Any = None
    system_fingerprint: Any = None


class _Bounded(httpx2.AsyncByteStream):
    """The body of an answer, up to a size and a time: a server could send for ever."""

    def __init__(self, stream: Any, deadline: float, at: str) -> None:
        self.stream, self.deadline, self.at = stream, deadline, at

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self.stream:
            size += len(chunk)
            if size > MOST_BYTES:
                raise UserError(f"{self.at} sends an answer of more than {MOST_BYTES:,} bytes")
            if time.monotonic() > self.deadline:
                raise httpx2.ReadTimeout("the answer is not whole in time")
            yield chunk

    async def aclose(self) -> None:
        await self.stream.aclose()


class Client:
    """Asks questions, at most ``max_in_flight`` at a time.

    keep: called with every answer as it arrives; lose: with the money and number of tries that got none. Both in
    another thread, one call at a time.
    """

    def __init__(
        self,
        generator: GeneratorConfig,
        budget: Budget,
        keep: Callable[[Request, Answer], None],
        lose: Callable[[float, int, str], None],
    ) -> None:
        self.generator, self.budget, self.keep, self.lose = generator, budget, keep, lose
        self.place = place(generator)
        forms = {"auto": ["json_schema", "json_object", None], "json_schema": ["json_schema"], "list": [None]}
        self.forms: list[str | None] = forms[generator.structured]  # type: ignore[assignment]
        self.stopped: BaseException | None = None
        self._resume = 0.0  # time.monotonic() before which nothing is sent
        self._in_a_row = 0
        self._active: dict[int, Tries] = {}

    def ask(self, questions: Sequence[Question]) -> dict[str, str]:
        """Ask all. Gives: key of a request -> why it has no answer.

        UserError where the run must end (key, quota, limit, a server that is down), SystemExit after Ctrl-C or
        SIGTERM; what is in flight then is still waited for and kept.
        """
        with ThreadPoolExecutor(max_workers=1) as self._disk:
            failed = asyncio.run(self._ask(deque((q, 1) for q in questions)))
        if self.stopped:
            raise self.stopped
        return failed

    async def _ask(self, queue: deque[tuple[Question, int]]) -> dict[str, str]:
        failed: dict[str, str] = {}
        async with self._connect() as server:

            async def work(most: float = float("inf")) -> None:
                while queue and most > 0 and not self.stopped:
                    most -= 1
                    question, left = queue.popleft()
                    try:
                        await self._one(server, question)
                        self._in_a_row = 0
                    except TransientError as error:
                        failed[question.request.key] = str(error)
                        if left:  # later once more; meanwhile the others go on
                            queue.append((question, left - 1))
                        await self._still_there(server, error)
                    except BaseException as error:
                        self.stopped = self.stopped or error
                    else:
                        failed.pop(question.request.key, None)

            with self._signals():
                await work(1)  # alone: a wrong key or a dear answer shows once, and not eight times
                await asyncio.gather(*(work() for _ in range(self.generator.max_in_flight)))
        return failed

    @contextlib.contextmanager
    def _signals(self) -> Any:
        """Ctrl-C and SIGTERM: ask no more, wait for what is in flight; a second Ctrl-C drops that, too."""
        loop = asyncio.get_running_loop()

        def stop(number: int) -> None:
            again = number == signal.SIGINT and isinstance(self.stopped, SystemExit)
            if not self.stopped:
                in_flight = sum(not t.waits for t in self._active.values())
                log.warning("stopping: waiting for %d answers in flight (Ctrl-C again drops them)", in_flight)
            self.stopped = self.stopped or SystemExit(128 + number)
            for tries in self._active.values():
                if (again or tries.waits) and tries.task:
                    tries.task.cancel()

        numbers = (signal.SIGINT, signal.SIGTERM)
        with contextlib.suppress(
            ValueError, RuntimeError, NotImplementedError
        ):  # not the main thread: no signals
            for number in numbers:
                loop.add_signal_handler(number, stop, number)
        try:
            yield
        finally:
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                for number in numbers:
                    loop.remove_signal_handler(number)

    def _connect(self) -> openai.AsyncOpenAI:
        """The server of the configuration, whatever OPENAI_BASE_URL says; other people's get no header of OpenAI's."""
        hidden = {}
        if self.place != OPENAI:
            hidden = {name: os.environ.pop(name) for name in ENVIRONMENT if name in os.environ}
        try:
            return openai.AsyncOpenAI(
                api_key=api_key(self.generator), base_url=self.place, timeout=self.generator.timeout,
                max_retries=self.generator.retries,
                default_headers={"Accept-Encoding": "identity", **headers(self.generator)},
                http_client=openai.DefaultAsyncHttpxClient(
                    timeout=self.generator.timeout,
                    follow_redirects=False,  # headers with secrets would go along
                    event_hooks={"request": [self._before], "response": [self._after]},
                ),
            )  # fmt: skip
        except (ImportError, ValueError) as error:  # a SOCKS proxy without its package, an impossible proxy
            raise UserError(f"cannot connect to {self.place}: {safe(str(error), self.generator)}") from None
        finally:
            os.environ.update(hidden)

    async def _before(self, request: httpx2.Request) -> None:
        """Before every try: the server's wait, then the money."""
        tries = TRIES.get()
        if tries is None:
            return
        tries.waits = True
        self._end(tries, None)
        while (seconds := self._resume - time.monotonic()) > 0 and not self.stopped:
            await asyncio.sleep(min(seconds, 0.5))
        if self.stopped:
            raise TransientError("the run is stopping")
        tries.reserved = self.budget.reserve(tries.at_most)
        tries.waits, tries.deadline = False, time.monotonic() + self.generator.timeout

    async def _after(self, response: httpx2.Response) -> None:
        """When the head of an answer is there, before its body is read."""
        tries = TRIES.get()
        status = response.status_code
        if tries is not None and status >= 400:
            tries.waits = True
            if status < 500:
                self._end(tries, 0.0)  # nothing was generated
        if status in (429, 503) and (wait := _asked_wait(response.headers)):
            self._resume = max(self._resume, time.monotonic() + min(wait, LONGEST_HOLD))
        if response.headers.get("content-encoding", "identity") not in ("identity", ""):
            raise UserError(
                f"{self.place} sends a compressed answer, which may be of any size; switch that off there"
            )
        deadline = tries.deadline if tries else time.monotonic() + self.generator.timeout
        response.stream = _Bounded(response.stream, deadline, self.place)

    def _end(self, tries: Tries, paid: float | None) -> None:
        """Settle a try that is open. paid: None where it got neither an answer nor a refusal."""
        if tries.reserved is not None:
            self.budget.settle(tries.reserved, paid if self.generator.prices else 0.0)
            tries.lost += [tries.reserved] if paid is None and tries.reserved else []
            tries.reserved = None

    async def _one(self, server: openai.AsyncOpenAI, question: Question) -> None:
        tries = Tries(question.expected.at_most, asyncio.current_task())
        TRIES.set(tries)
        self._active[id(tries)] = tries
        try:
            answer = await self._answer(server, question, tries)
            # A disk can take seconds, and in this thread that would stop the clocks of the other requests. What is paid
            # for is stored even if the run is cancelled now.
            await asyncio.shield(self._in_thread(self.keep, question.request, answer))
        except asyncio.CancelledError:
            raise TransientError("the run was stopped") from None
        finally:
            self._end(tries, None)
            del self._active[id(tries)]
            if tries.lost:
                day = datetime.now(UTC).date().isoformat()
                await self._in_thread(self.lose, sum(tries.lost), len(tries.lost), day)

    def _in_thread(self, do: Callable[..., None], *given: Any) -> asyncio.Future[None]:
        return asyncio.get_running_loop().run_in_executor(self._disk, do, *given)

    async def _answer(self, server: openai.AsyncOpenAI, question: Question, tries: Tries) -> Answer:
        while True:
            form = self.forms[0]
            body = body_of(question.request, self.generator)
            if form is not None:
                body["response_format"] = {"type": form}
                if form == "json_schema":
                    body["response_format"]["json_schema"] = question.schema
            try:
                raw = await server.chat.completions.with_raw_response.create(
                    model=body.pop("model"), messages=body.pop("messages"), extra_body=body
                )
                return self._read(raw.content, tries, question.request)
            except openai.OpenAIError as error:
                found = judged(error, self.generator)
            if isinstance(found, RefusedError):
                return replace(self._blank(), refusal=str(found), finish="refused")
            if not isinstance(found, NoSchemaError):
                raise found
            if self.forms[0] == form:  # no other question has found out before
                if len(self.forms) == 1:
                    raise UserError(
                        f"{self.place} does not do structured output; set generator.structured: list"
                    )
                self.forms.pop(0)
                log.info("%s does not take the response format %s; asking without", self.place, form)

    def _read(self, content: bytes, tries: Tries, request: Request) -> Answer:
        """The answer in a chat completion. TransientError where it is none: servers send errors with 200, too."""
        try:
            found = _Completion.model_validate_json(content)
        except ValidationError:
            raise TransientError(f"{self.place} sent something that is no answer") from None
        first = found.choices[0]
        refusal = "content filter" if first.finish_reason == "content_filter" else None
        answer = replace(
            self._blank(), text=first.message.content or None, refusal=first.message.refusal or refusal,
            finish=first.finish_reason, prompt_tokens=None, completion_tokens=None, cost=None,
        )  # fmt: skip
        if isinstance(found.model, str):
            answer = replace(answer, served=found.model)
        if isinstance(found.system_fingerprint, str):
            answer = replace(answer, fingerprint=found.system_fingerprint)
        with contextlib.suppress(ValidationError):
            usage = _Usage.model_validate(found.usage)
            counts = usage.prompt_tokens, usage.completion_tokens
            if not cost.too_few(*counts, request, answer.text or ""):
                paid = cost.money(self.generator.prices, *counts)
                answer = replace(answer, prompt_tokens=counts[0], completion_tokens=counts[1], cost=paid)
        if tries.reserved is not None and self.generator.prices:
            self.budget.settle(tries.reserved, answer.cost)
            answer = replace(answer, at_most=tries.reserved if answer.cost is None else None)
            tries.reserved = None
        return answer

    def _blank(self) -> Answer:
        """An answer that says and costs nothing."""
        day, where = datetime.now(UTC).date().isoformat(), host(self.generator)
        return Answer(None, None, None, self.generator.model, 0, 0, 0.0, day, server=where)

    async def _still_there(self, server: openai.AsyncOpenAI, error: TransientError) -> None:
        """End the run where the server is down or busy; questions that it cannot answer do not end it.

        The list of models costs nothing, and every server has one or says that it has none.
        """
        self._in_a_row += 1
        if self._in_a_row < IN_A_ROW or self.stopped:
            return
        TRIES.set(None)
        alive = not error.busy
        try:
            if alive:
                await server.with_options(max_retries=0).models.with_raw_response.list()
        except openai.APIStatusError as said:
            alive = said.status_code < 500
        except (openai.OpenAIError, UserError):
            alive = False
        if alive:
            self._in_a_row = 0
        else:
            self.stopped = self.stopped or UserError(
                f"{self.place} does not answer ({error}); every answer so far is kept, run again later"
            )


def judged(error: openai.OpenAIError, generator: GeneratorConfig) -> Exception:
    """What an error means for the run, after openai's retries."""
    at, name = place(generator), key_variable(generator)
    if isinstance(error, openai.APITimeoutError):
        return TransientError(f"{at}: no whole answer within {generator.timeout:g} s")
    if not isinstance(error, openai.APIStatusError):
        return TransientError(f"{at}: {safe(str(error.__cause__ or error), generator)}")
    status = error.status_code
    said = safe(_message(error), generator)
    about = f"{error.code or ''} {error.type or ''} {said}".casefold()
    filtered = any(f in about for f in FILTER)
    if status == 401:
        key = f"the key in {name}" if name else "a request without a key (generator.key_variable names one)"
        return UserError(f"{at} does not accept {key} ({status})")
    if status == 402 or (status == 429 and any(q in about for q in QUOTA)):
        return UserError(
            f"{at}: the quota is used up; every answer so far is kept, run again when there is more"
        )
    if status in (400, 403, 422) and filtered:
        return RefusedError(said)
    if status in (400, 404, 415, 422, 501) and re.search(
        r"response_format|json_schema|json_object|structured output", about
    ):
        return NoSchemaError(said)
    if status in (408, 409, 425, 429) or status >= 500:
        if (wait := _asked_wait(error.response.headers)) > LONGEST_HOLD:
            return UserError(f"{at} asks to wait {wait:.0f} s; every answer so far is kept, run again then")
        return TransientError(f"{at} answers {status}", busy=status in (429, 503))
    if 300 <= status < 400:
        to = safe(error.response.headers.get("location", "another address"), generator)
        return UserError(f"{at} redirects to {to}; give that as generator.base_url")
    if status == 404:
        return UserError(f"{at} has no model '{generator.model}', or is no such server (404: {said})")
    return UserError(f"{at} does not take the request ({status}: {said})")


def _asked_wait(headers: Any) -> float:
    """Seconds that a server asks to wait; 0 where it does not say. (A date holds for its own question, by openai.)"""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if re.fullmatch(r"\d+(\.\d+)?", headers.get(name, "")):
            return float(headers[name]) * unit
    return 0.0


def body_of(request: Request, generator: GeneratorConfig) -> dict[str, Any]:
    """What is sent. OpenAI's newer models know the token limit by another name only, older servers by the old one."""
    messages = [{"role": role, "content": content} for role, content in request.messages]
    body = {"model": request.model, "messages": messages, **request.parameters}
    if generator.base_url is None and "max_tokens" in body:
        body["max_completion_tokens"] = body.pop("max_tokens")
    return body


def _message(error: openai.APIStatusError) -> str:
    """The server's own words, but no page of HTML."""
    body = error.body
    said = body.get("message") or body.get("detail") if isinstance(body, dict) else body
    if isinstance(said, str) and said.lstrip().startswith("<"):
        said = None
    return str(said) if said else f"HTTP {error.status_code}"
