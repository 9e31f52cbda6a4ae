"""Ask many questions at once, through a server's bad days.

The `openai` package sends, waits and retries.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import openai

from ...errors import UserError
from ..generator import STORED_ONLY
from . import server
from .budget import Budget
from .metered import ASKED, Keep, Metered, NoAnswer, refusal
from .prompts import Request
from .store import Answers

if TYPE_CHECKING:
    from ..generator import GeneratorConfig

log = logging.getLogger("coder_clip")

# questions in a row without an answer, after which the server is checked
IN_A_ROW = 3
# for OpenAI's own server only
ENVIRONMENT = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS")
# response formats; the first one that the server takes is used
FORMS: list[str | None] = ["json_schema", "json_object", None]


class Client:
    """Asks questions, at most ``max_in_flight`` at a time.

    answers: the open store. keep: called with an answer, says whether it has a usable text.
    patient: go on without usable texts.
    """

    def __init__(
        self,
        generator: GeneratorConfig,
        budget: Budget,
        answers: Answers,
        keep: Keep,
        patient: bool = False,
    ) -> None:
        self.generator, self.budget, self.answers = generator, budget, answers
        self.keep, self.patient = keep, patient
        self.address = server.place(generator)
        # the strictest first; those that the server refuses are removed
        self.response_formats = FORMS.copy()
        self.stopped: BaseException | None = None  # why nothing more is asked
        self.failed: dict[str, str] = {}  # key of a request -> why it has no answer
        self.in_a_row = 0  # failed questions since the last answer
        self.warned = False  # True after the warning about tries without an answer
        self.tasks: list[asyncio.Task[None]] = []

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
        self.connection, self.http = self._connect()
        async with self.connection:
            with self._signals():
                # alone: a wrong key shows once, and not eight times
                await self._ask_together(requests[:1])
                await self._ask_together(requests[1:])
                await self._ask_together([r for r in requests if r.key in self.failed])
                await asyncio.gather(*self.http.in_flight, return_exceptions=True)

    async def _ask_together(self, requests: Sequence[Request]) -> None:
        """Ask requests at the same time, at most ``max_in_flight``.

        Nothing if the run is stopped.
        """
        if not self.stopped:
            places = asyncio.Semaphore(self.generator.max_in_flight)
            self.tasks = [asyncio.create_task(self._ask_one(r, places)) for r in requests]
            await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _ask_one(self, request: Request, places: asyncio.Semaphore) -> None:
        """Ask one question, in the first response format that the server takes."""
        async with places:
            ASKED.set(request)
            try:
                form = self.response_formats[0]
                words = await self._refused_form(request, form)
                # until a format is taken; another question may have moved on to the next one
                while words:
                    if self.response_formats[0] == form:  # no other question has found out before
                        self._next_form(form, words)
                    form = self.response_formats[0]
                    words = await self._refused_form(request, form)
            except (openai.OpenAIError, NoAnswer) as error:
                self.failed[request.key] = self._said(error)
                if isinstance(error, NoAnswer) and not self.warned:
                    log.warning(
                        "%s; such questions are asked once more, after the others",
                        self._said(error),
                    )
                    self.warned = True
                await self._check_server(error)
            except Exception as error:
                self._stop(error)
            else:
                self.in_a_row = 0
                self.failed.pop(request.key, None)

    async def _refused_form(self, request: Request, form: str | None) -> str:
        """Ask in a response format.

        Returns the server's words if it does not take the format, else "". `Metered` keeps the
        answer.
        """
        body = server.body_of(request, self.generator)
        if form is not None:
            schema = {"json_schema": request.schema} if form == "json_schema" else {}
            body["response_format"] = {"type": form, **schema}
        try:
            await self.connection.chat.completions.with_raw_response.create(
                model=body.pop("model"), messages=body.pop("messages"), extra_body=body
            )
        except openai.APIStatusError as error:
            match server.judge(error, self.generator):
                case "format":
                    return server.said(error, self.generator)
                case "refused":
                    await self.http.keep(request, refusal(error, self.generator))
                case _:
                    raise
        return ""

    def _next_form(self, form: str | None, words: str) -> None:
        """Remove the response format that the server refuses. UserError if it is the last one."""
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
        """Ask nothing more. `Metered` still receives and keeps what is in flight."""
        self.stopped = self.stopped or error
        for task in self.tasks:
            task.cancel()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Stop at Ctrl-C and SIGTERM; another Ctrl-C drops what is in flight."""
        loop, numbers = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)

        def stop(number: int) -> None:
            loop.remove_signal_handler(signal.SIGINT)  # the next one is Python's own
            if not self.stopped:
                waiting = len(self.http.in_flight)
                log.warning(
                    "stopping: waiting for %d answers in flight (Ctrl-C again drops them)", waiting
                )
            self._stop(SystemExit(128 + number))

        with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread
            for number in numbers:
                loop.add_signal_handler(number, stop, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _connect(self) -> tuple[openai.AsyncOpenAI, Metered]:
        """Connect to the server of the configuration, whatever OPENAI_BASE_URL says."""
        hidden = {}
        if self.address != server.OPENAI:  # other servers must not get OpenAI's headers
            hidden = {name: os.environ.pop(name) for name in ENVIRONMENT if name in os.environ}
        try:
            http = Metered(self.generator, self.budget, self.answers, self.keep, self.patient)
            connection = openai.AsyncOpenAI(
                api_key=server.api_key(self.generator),
                base_url=self.address,
                timeout=self.generator.timeout,
                max_retries=self.generator.retries,
                default_headers={"Accept-Encoding": "identity", **server.headers(self.generator)},
                http_client=http,
            )
            return connection, http
        # a SOCKS proxy without its package, an impossible proxy
        except (ImportError, ValueError) as error:
            why = server.safe(str(error), self.generator)
            raise UserError(f"cannot connect to {self.address}: {why}") from None
        finally:
            os.environ.update(hidden)

    async def _check_server(self, error: Exception) -> None:
        """Stop if the server is down or busy; questions that it cannot answer do not end the run.

        The list of models costs nothing, and every server has one or says that it has none.
        """
        self.in_a_row += 1
        if self.in_a_row < IN_A_ROW or self.stopped:
            return
        busy = isinstance(error, openai.APIStatusError) and error.status_code in (429, 503)
        alive = not busy
        try:
            if alive:
                async with asyncio.timeout(self.generator.timeout):
                    await self.connection.with_options(
                        max_retries=0
                    ).models.with_raw_response.list()
        except openai.APIStatusError as answered:
            alive = answered.status_code < 500
        except (openai.OpenAIError, TimeoutError):
            alive = False
        if alive:
            self.in_a_row = 0
            return
        self._stop(
            UserError(
                f"{self.address} does not answer ({self._said(error)}); every answer so far is "
                "kept, run again later"
            )
        )

    def _said(self, error: Exception) -> str:
        """Why there is no answer, in words."""
        if isinstance(error, openai.APIStatusError):
            return f"{self.address} answers {error.status_code}"
        return f"{self.address}: {server.safe(error.__cause__ or error, self.generator)}"
