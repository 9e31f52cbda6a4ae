"""Ask many questions at once, through a server's bad days.

The `openai` package sends, waits and retries.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import httpx2
import openai

from ...errors import UserError, one_line
from ..generator import STORED_ONLY
from . import completion, server
from .budget import Budget
from .completion import NoAnswer
from .prompts import Request
from .requests import Answer

if TYPE_CHECKING:
    from ..generator import GeneratorConfig

log = logging.getLogger("coder_clip")

# questions in a row without a usable text, after which a run ends
USELESS = 10
# for OpenAI's own server only
ENVIRONMENT = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS")
# response formats; the first one that the server takes is used
FORMS: list[str | None] = ["json_schema", "json_object", None]
Keep = Callable[[Request, Answer], bool]


class Http(openai.DefaultAsyncHttpxClient):
    """The connections to the server: no redirects, and no retry of a late answer."""

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request. A late answer may have been charged, so openai must not retry it."""
        try:
            return await super().send(request, **options)
        except httpx2.ReadTimeout as late:
            raise openai.APITimeoutError(request=request) from late


class Client:
    """Asks questions, at most ``max_in_flight`` at a time.

    keep: called with an answer, says whether it has a usable text; it runs in a thread, because a
    disk can take seconds while the clocks of other requests run. patient: go on without usable
    texts.
    """

    def __init__(
        self, generator: GeneratorConfig, budget: Budget, keep: Keep, patient: bool = False
    ) -> None:
        self.generator, self.budget = generator, budget
        self.keep, self.patient = keep, patient
        self.address = server.place(generator)
        # the strictest first; those that the server refuses are removed
        self.response_formats = FORMS.copy()
        self.stopped: BaseException | None = None  # why nothing more is asked
        self.failed: dict[str, str] = {}  # key of a request -> why it has no answer
        self.useless: set[str] = set()  # keys of questions in a row without a usable text
        self.answered = False  # True once the server has answered

    def ask(self, requests: Sequence[Request]) -> dict[str, str]:
        """Ask all requests. Returns key of a request -> why it has no answer.

        UserError if the run must end (key, quota, limit, a server that is down), SystemExit after
        Ctrl-C or SIGTERM; answers in flight are still received and kept.
        """
        if requests and os.environ.get(STORED_ONLY):
            raise UserError(
                f"{len(requests)} answers of {self.generator.model} are not stored, and nothing is "
                f"asked here ({STORED_ONLY})"
            )
        try:
            asyncio.run(self._ask(requests))
        except KeyboardInterrupt:  # the second one
            raise SystemExit(130) from None
        if self.stopped:
            raise self.stopped
        return self.failed

    async def _ask(self, requests: Sequence[Request]) -> None:
        """Ask the first request, then the others, then those that failed once more."""
        self.connection = self._connect()
        async with self.connection:
            with self._signals():
                # alone: a wrong key shows once, and not eight times
                await self._ask_together(requests[:1])
                await self._ask_together(requests[1:])
                await self._ask_together([r for r in requests if r.key in self.failed])

    async def _ask_together(self, requests: Sequence[Request]) -> None:
        """Ask requests at the same time, at most ``max_in_flight``."""
        places = asyncio.Semaphore(self.generator.max_in_flight)
        await asyncio.gather(*(self._ask_one(request, places) for request in requests))

    async def _ask_one(self, request: Request, places: asyncio.Semaphore) -> None:
        """Ask one question and keep its answer; nothing if the run is stopped."""
        async with places:
            if self.stopped:
                return
            try:
                self.budget.check_next(request)
                answer = await self._answer(request)
                useful = await asyncio.to_thread(self.keep, request, answer)
            except (openai.OpenAIError, NoAnswer) as error:
                self._fail(request, error)
            except Exception as error:
                self._stop(error)
            else:
                self.answered = True
                self.failed.pop(request.key, None)
                words = answer.refusal or answer.text or "an empty answer"
                if useful:
                    self.useless.clear()
                elif not self.patient:
                    self._count(request, words)

    def _fail(self, request: Request, error: Exception) -> None:
        """Note that a question has no answer; stop if the server is not there."""
        why = self._said(error)
        late = isinstance(error.__cause__, httpx2.ReadTimeout)
        if isinstance(error, openai.APIConnectionError) and not late and not self.answered:
            self._stop(
                UserError(
                    f"{self.address} does not answer ({why}); every answer so far is kept, run "
                    "again later"
                )
            )
        if not self.failed:
            log.warning("%s; such questions are asked once more, after the others", why)
        self.failed[request.key] = why
        self._count(request, why)

    def _count(self, request: Request, said: str) -> None:
        """Count a question without a usable text; stop after USELESS of them in a row.

        said: words of the answer, or why there is none.
        """
        self.useless.add(request.key)
        if len(self.useless) >= USELESS:
            self._stop(
                UserError(
                    f"stopped: {USELESS} questions in a row have no usable text from "
                    f"{self.generator.model}, the last: '{one_line(said)}'; every answer is kept; "
                    "try another model, more max_tokens or a longer timeout"
                )
            )

    async def _answer(self, request: Request) -> Answer:
        """The answer to a question, in the first response format that the server takes."""
        while True:
            form = self.response_formats[0]
            body = server.body_of(request, self.generator)
            if form is not None:
                schema = {"json_schema": request.schema} if form == "json_schema" else {}
                body["response_format"] = {"type": form, **schema}
            try:
                response = await self.connection.chat.completions.with_raw_response.create(
                    model=body.pop("model"), messages=body.pop("messages"), extra_body=body
                )
            except openai.APIStatusError as error:
                words = server.said(error.response.text, self.generator)
                match server.judge(error, self.generator):
                    case "refused":
                        return completion.refusal(words, self.generator)
                    case "format":
                        self._next_form(form, words)
                    case _:
                        raise
            else:
                return completion.read(response.text, request, self.generator)

    def _next_form(self, form: str | None, words: str) -> None:
        """Remove the response format that the server refuses. UserError if it is the last one."""
        if self.response_formats[0] != form:
            return  # another question has found out before
        if len(self.response_formats) == 1:
            hint = server.leave_out(words, self.generator)
            raise UserError(f"{self.address} does not take the request ({words}){hint}")
        self.response_formats.pop(0)
        log.info(
            "%s does not take the response format %s (%s); asking without",
            self.address,
            form,
            words,
        )

    def _stop(self, error: BaseException) -> None:
        """Ask nothing more; what is in flight is still received and kept."""
        self.stopped = self.stopped or error

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Stop at Ctrl-C and SIGTERM; another Ctrl-C drops what is in flight."""
        loop, numbers = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)

        def stop(number: int) -> None:
            loop.remove_signal_handler(signal.SIGINT)  # the next one is Python's own
            log.warning("stopping: waiting for answers in flight (Ctrl-C again drops them)")
            self._stop(SystemExit(128 + number))

        with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread
            for number in numbers:
                loop.add_signal_handler(number, stop, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _connect(self) -> openai.AsyncOpenAI:
        """Connect to the server of the configuration, whatever OPENAI_BASE_URL says."""
        # its line per request has the server's words as they come, and they may repeat the key
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        hidden = {}
        if self.address != server.OPENAI:  # other servers must not get OpenAI's headers
            hidden = {name: os.environ.pop(name) for name in ENVIRONMENT if name in os.environ}
        try:
            return openai.AsyncOpenAI(
                api_key=server.api_key(self.generator),
                base_url=self.address,
                timeout=self.generator.timeout,
                max_retries=self.generator.retries,
                default_headers=server.headers(self.generator),
                # no redirects: secret headers would go to the other server
                http_client=Http(timeout=self.generator.timeout, follow_redirects=False),
            )
        # a SOCKS proxy without its package, an impossible proxy
        except (ImportError, ValueError) as error:
            why = one_line(server.masked(str(error), self.generator))
            raise UserError(f"cannot connect to {self.address}: {why}") from None
        finally:
            os.environ.update(hidden)

    def _said(self, error: Exception) -> str:
        """Why there is no answer, in words."""
        if isinstance(error, openai.APIStatusError):
            return f"{self.address} answers {error.status_code}"
        if isinstance(error, openai.APITimeoutError):
            limit = f"{self.generator.timeout:g} s (generator.timeout)"
            return f"{self.address}: no answer within {limit}"
        why = server.masked(one_line(error.__cause__ or error), self.generator)
        return f"{self.address}: {why}"
