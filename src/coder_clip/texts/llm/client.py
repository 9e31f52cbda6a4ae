"""Asking a server that speaks OpenAI's protocol: many questions at once, politely, and through its bad days.

The `openai` package talks, waits and tries again. Its HTTP client is metered here: every try waits where the server
asks for it, reserves money, and has an answer of bounded size and time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx2
import openai
from pydantic import BaseModel, Field, ValidationError

from ...errors import UserError
from . import budget as cost
from . import server
from .budget import Budget, Question, Reserved
from .prompts import Request
from .store import Answer

if TYPE_CHECKING:
    from ...pipeline.config import GeneratorConfig

log = logging.getLogger("coder_clip")

MOST_BYTES = 4_000_000  # of an answer with its reasoning
IN_A_ROW = 3  # questions without an answer, and none answered between: is the server there at all?
ENVIRONMENT = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS")  # for OpenAI's own server only
FORMS: dict[str, list[str | None]] = {
    "auto": ["json_schema", "json_object", None],
    "json_schema": ["json_schema"],
    "list": [None],
}


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


class _Metered(openai.DefaultAsyncHttpxClient):
    """openai's HTTP client; each of its tries of a question goes through ``metered``."""

    def __init__(self, metered: Callable[..., Awaitable[httpx2.Response]], timeout: float) -> None:
        super().__init__(timeout=timeout, follow_redirects=False)  # headers with secrets would go along
        self.metered = metered

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        if request.method == "GET":  # the list of models
            return await super().send(request, **options)
        return await self.metered(request, super().send)


class Client:
    """Asks questions, at most ``max_in_flight`` at a time.

    keep: called with every answer as it arrives; lose: with the money of a try that got none and its day. Both in
    another thread, one call at a time: a disk can take seconds, and the clocks of other requests run on.
    """

    def __init__(
        self,
        generator: GeneratorConfig,
        budget: Budget,
        keep: Callable[[Request, Answer], None],
        lose: Callable[[float, str], None],
    ) -> None:
        self.generator, self.budget, self.keep, self.lose = generator, budget, keep, lose
        self.place = server.place(generator)
        self.forms = list(FORMS[generator.structured])
        self.stopped: BaseException | None = None
        self._failed: dict[str, str] = {}
        self._in_a_row = 0
        self._resume = 0.0  # time.monotonic() before which nothing is sent
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending: set[asyncio.Task[Any] | None] = set()

    def ask(self, questions: Sequence[Question]) -> dict[str, str]:
        """Ask all. Gives: key of a request -> why it has no answer.

        UserError where the run must end (key, quota, limit, a server that is down), SystemExit after Ctrl-C or
        SIGTERM; what is in flight then is still waited for and kept.
        """
        with ThreadPoolExecutor(max_workers=1) as self._disk:
            asyncio.run(self._ask(questions))
        if self.stopped:
            raise self.stopped
        return self._failed

    async def _ask(self, questions: Sequence[Question]) -> None:
        self._room, self._places = asyncio.Condition(), asyncio.Semaphore(self.generator.max_in_flight)
        async with self._connect() as connection:
            with self._signals():
                # The first one alone: a wrong key or a dear answer shows once, and not eight times.
                await self._all(connection, questions[:1])
                await self._all(connection, questions[1:])
                again = [question for question in questions if question.request.key in self._failed]
                await self._all(connection, again)  # meanwhile the others went on

    async def _all(self, connection: openai.AsyncOpenAI, questions: Sequence[Question]) -> None:
        if self.stopped:
            return
        async with asyncio.TaskGroup() as group:
            self._tasks = {group.create_task(self._one(connection, question)) for question in questions}

    async def _one(self, connection: openai.AsyncOpenAI, question: Question) -> None:
        """One question, from its place in the queue to the store."""
        async with self._places:
            try:
                answer = await self._answer(connection, question)
                # What is paid for is stored even if the run is cancelled now.
                await asyncio.shield(self._in_thread(self.keep, question.request, answer))
                self._limit_holds(answer)
            except openai.OpenAIError as error:  # no answer after all of openai's tries
                self._failed[question.request.key] = self._said(error)
                await self._still_there(connection, error)
            except Exception as error:
                self._stop(error)
            else:
                self._in_a_row = 0
                self._failed.pop(question.request.key, None)
            finally:
                self._sending.discard(asyncio.current_task())

    def _stop(self, error: BaseException, drop: bool = False) -> None:
        """Ask no more and wait for what is in flight. drop: do not wait."""
        self.stopped = self.stopped or error
        for task in self._tasks:
            if drop or task not in self._sending:
                task.cancel()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM stop; a second Ctrl-C drops what is in flight."""
        loop, numbers = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)

        def stop(number: int) -> None:
            again = number == signal.SIGINT and isinstance(self.stopped, SystemExit)
            if not self.stopped:
                log.warning(
                    "stopping: waiting for %d answers in flight (Ctrl-C again drops them)", len(self._sending)
                )
            self._stop(SystemExit(128 + number), drop=again)

        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):  # not in the main thread
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
        if self.place != server.OPENAI:
            hidden = {name: os.environ.pop(name) for name in ENVIRONMENT if name in os.environ}
        try:
            return openai.AsyncOpenAI(
                api_key=server.api_key(self.generator),
                base_url=self.place,
                timeout=self.generator.timeout,
                max_retries=self.generator.retries,
                default_headers={"Accept-Encoding": "identity", **server.headers(self.generator)},
                http_client=_Metered(self._try, self.generator.timeout),
            )
        except (ImportError, ValueError) as error:  # a SOCKS proxy without its package, an impossible proxy
            raise UserError(
                f"cannot connect to {self.place}: {server.safe(str(error), self.generator)}"
            ) from None
        finally:
            os.environ.update(hidden)

    async def _answer(self, connection: openai.AsyncOpenAI, question: Question) -> Answer:
        """In the first response format that the server takes."""
        while True:
            form = self.forms[0]
            body = server.body_of(question.request, self.generator)
            if form is not None:
                body["response_format"] = {"type": form}
            if form == "json_schema":
                body["response_format"]["json_schema"] = question.schema
            try:
                raw = await connection.chat.completions.with_raw_response.create(
                    model=body.pop("model"), messages=body.pop("messages"), extra_body=body
                )
                answer: Answer = raw.http_response.extensions["answer"]
                return answer
            except server.RefusedError as refused:
                return replace(self._blank(), refusal=str(refused), finish="refused", cost=0.0)
            except server.NoFormatError:
                if self.forms[0] == form:  # no other question has found out before
                    self._next_form(form)

    def _next_form(self, form: str | None) -> None:
        if len(self.forms) == 1:
            raise UserError(f"{self.place} does not do structured output; set generator.structured: list")
        self.forms.pop(0)
        log.info("%s does not take the response format %s; asking without", self.place, form)

    async def _try(
        self, request: httpx2.Request, send: Callable[..., Awaitable[httpx2.Response]]
    ) -> httpx2.Response:
        """One of openai's tries: wait where the server says so, reserve money, send, read the whole answer.

        Raises what ends the run or this question; openai sees the rest, and tries again.
        """
        while (seconds := self._resume - time.monotonic()) > 0:
            await asyncio.sleep(seconds)
        if self.stopped:  # an earlier try of this question was in flight then
            raise openai.OpenAIError("the run is stopping")
        reserved = self.budget.most(len(request.content))
        async with self._room:
            await self._room.wait_for(lambda: self.budget.has_room(reserved))
            self.budget.reserve(reserved)
        task = asyncio.current_task()
        self._sending.add(task)
        answer, paid = None, None  # nobody knows what a try costs that gets no answer
        try:
            async with asyncio.timeout(self.generator.timeout):
                response = await self._whole(await send(request, stream=True))
            if response.is_success:
                answer = self._read(response.content, len(request.content), reserved)
                response.extensions["answer"], paid = answer, answer.cost
            else:
                paid = 0.0 if response.status_code < 500 else None  # refused: nothing was generated
                self._resume = max(
                    self._resume, time.monotonic() + server.asked_wait(response, self.generator)
                )
                server.judge(response, self.generator)
            return response
        except TimeoutError:
            raise httpx2.ReadTimeout("the answer is not whole in time") from None
        finally:
            async with self._room:
                self.budget.settle(reserved, paid)
                self._room.notify_all()
            if answer is None:  # else it is in flight until it is stored
                self._sending.discard(task)
                if paid is None and reserved.at_most:
                    await asyncio.shield(self._in_thread(self.lose, reserved.at_most, _today()))

    async def _whole(self, response: httpx2.Response) -> httpx2.Response:
        """With its body, up to a size: a server could send for ever."""
        body = bytearray()
        try:
            if response.headers.get("content-encoding", "identity") not in ("identity", ""):
                raise UserError(
                    f"{self.place} sends a compressed answer, which may be of any size; switch that off there"
                )
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise UserError(f"{self.place} sends an answer of more than {MOST_BYTES:,} bytes")
        finally:
            await response.aclose()
        return httpx2.Response(
            response.status_code, headers=response.headers, content=bytes(body), request=response.request
        )

    def _read(self, content: bytes, sent: int, reserved: Reserved) -> Answer:
        """The answer in a chat completion; servers send errors with status 200, too."""
        try:
            found = _Completion.model_validate_json(content)
        except ValidationError:
            raise httpx2.RemoteProtocolError("it sent something that is not an answer") from None
        first = found.choices[0]
        filtered = "content filter" if first.finish_reason == "content_filter" else None
        answer = replace(
            self._blank(),
            text=first.message.content or None,
            refusal=first.message.refusal or filtered,
            finish=first.finish_reason,
            at_most=reserved.at_most if self.generator.prices else None,
        )
        if isinstance(found.model, str):
            answer = replace(answer, served=found.model)
        if isinstance(found.system_fingerprint, str):
            answer = replace(answer, fingerprint=found.system_fingerprint)
        with contextlib.suppress(ValidationError):
            usage = _Usage.model_validate(found.usage)
            counts = usage.prompt_tokens, usage.completion_tokens
            if not cost.too_few(*counts, sent, answer.text or ""):
                answer = replace(answer, prompt_tokens=counts[0], completion_tokens=counts[1])
                if self.generator.prices:
                    answer = replace(answer, cost=cost.money(self.generator.prices, *counts), at_most=None)
        return answer

    def _blank(self) -> Answer:
        """An answer that says nothing, and whose cost nobody knows."""
        where = server.host(self.generator)
        return Answer(None, None, None, self.generator.model, None, None, None, _today(), server=where)

    def _limit_holds(self, answer: Answer) -> None:
        """UserError where the server ignores the limit on tokens that the limit on money is computed from."""
        allowed, written = self.generator.token_limit or 0, answer.completion_tokens or 0
        if self.budget.limit is not None and written > allowed:
            raise UserError(
                f"stopped: {self.place} counts {written} tokens in an answer where max_tokens allows {allowed}, so "
                "generator.max_cost cannot be kept; every answer is kept, a run with a limit that the server keeps "
                "to goes on from here"
            )

    async def _still_there(self, connection: openai.AsyncOpenAI, error: openai.OpenAIError) -> None:
        """End the run where the server is down or busy; questions that it cannot answer do not end it.

        The list of models costs nothing, and every server has one or says that it has none.
        """
        self._in_a_row += 1
        if self._in_a_row < IN_A_ROW or self.stopped:
            return
        alive = not (isinstance(error, openai.APIStatusError) and error.status_code in (429, 503))  # busy
        try:
            if alive:
                async with asyncio.timeout(self.generator.timeout):
                    await connection.with_options(max_retries=0).models.with_raw_response.list()
        except openai.APIStatusError as answered:
            alive = answered.status_code < 500
        except (openai.OpenAIError, TimeoutError):
            alive = False
        if alive:
            self._in_a_row = 0
        else:
            self._stop(
                UserError(
                    f"{self.place} does not answer ({self._said(error)}); every answer so far is kept, run again later"
                )
            )

    def _said(self, error: openai.OpenAIError) -> str:
        """Why there is no answer, for people."""
        if isinstance(error, openai.APITimeoutError):
            return f"{self.place}: no whole answer within {self.generator.timeout:g} s"
        if isinstance(error, openai.APIStatusError):
            return f"{self.place} answers {error.status_code}"
        return f"{self.place}: {server.safe(str(error.__cause__ or error), self.generator)}"

    def _in_thread(self, do: Callable[..., None], *given: Any) -> asyncio.Future[None]:
        return asyncio.get_running_loop().run_in_executor(self._disk, do, *given)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
