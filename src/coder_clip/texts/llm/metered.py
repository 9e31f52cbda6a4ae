"""The HTTP client of the `openai` package, with each try metered.

It waits, reserves money, and is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import httpx2
import openai
from pydantic import AliasPath, BaseModel, Field

from ...errors import UserError
from . import budget as cost
from . import server
from .answers import Repeated, unique
from .budget import Budget
from .prompts import Request
from .requests import Answer
from .store import Answers, today

if TYPE_CHECKING:
    from ..generator import GeneratorConfig

MAX_BYTES = 4_000_000  # of an answer with its reasoning
ASKED: ContextVar[Request] = ContextVar("ASKED")  # the question that the current task asks
USELESS = 10  # questions in a row without a usable text, after which a run ends
Keep = Callable[[Request, Answer], bool]


class NoAnswer(Exception):
    """A request that was sent, may have cost money and has no answer: unreadable, cut off or late.

    It is not tried again at once.
    """


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
    """What a server says of tokens; each field may be anything."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    total_tokens: Any = None

    def counts(self, sent: int, text: str) -> tuple[int | None, int | None]:
        """Tokens of the prompt and of the answer with its hidden reasoning.

        None for a count that is missing or cannot be true.

        Each is judged alone: a wrong count of the prompt says nothing against a large count of the
        answer. Some servers count hidden reasoning in the total alone (xAI, Gemini's compatible
        endpoint). sent: bytes of the request.
        """
        prompt, completion, total = map(
            _whole, (self.prompt_tokens, self.completion_tokens, self.total_tokens)
        )
        written = completion
        if total is not None:
            # without a count of the prompt, the most that it can have
            of_prompt = round(sent / cost.FEWEST_BYTES) if prompt is None else prompt
            written = max(completion or 0, total - of_prompt)
        if prompt is not None and cost.too_few(prompt, sent):
            prompt = None
        if written is not None and cost.too_few(written, len(text.encode())):
            written = None
        return prompt, written


def _whole(value: Any) -> int | None:
    """The value if it is a number of tokens."""
    if type(value) is int and 0 <= value <= 10**9:
        return value
    return None


class Metered(openai.DefaultAsyncHttpxClient):
    """Sends each try of the `openai` package within the budget, and keeps the answer.

    answers: the open store. keep: called with an answer, says whether it has a usable text. Both
    run in a thread, because a disk can take seconds while the clocks of other requests run.
    patient: go on without usable texts. in_flight: tries that are received and kept even if the
    task that asked is cancelled.
    """

    def __init__(
        self,
        generator: GeneratorConfig,
        budget: Budget,
        answers: Answers,
        keep: Keep,
        patient: bool = False,
    ) -> None:
        # Its line per request has the server's words as they come, and they may repeat the key.
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        # No redirects: secret headers would go to the other server.
        super().__init__(timeout=generator.timeout, follow_redirects=False)
        self.generator, self.budget, self.patient = generator, budget, patient
        self.answers = answers
        self._keep = keep
        self.useless: set[str] = set()  # keys of questions in a row without a usable text
        self.in_flight: set[asyncio.Task[httpx2.Response]] = set()
        self._room = asyncio.Condition()
        self._resume = 0.0  # time.monotonic() before which nothing is sent

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request when the server and the budget allow it."""
        if request.method == "GET":  # the list of models
            return await super().send(request, **options)
        # a loop, because another answer may ask for a longer wait meanwhile
        while self._resume > time.monotonic():
            await asyncio.sleep(max(0.0, self._resume - time.monotonic()))
        reserved = self.budget.most(len(request.content))
        # reserved before it is sent, so that requests in flight cannot pass the limit together
        async with self._room:
            await self._room.wait_for(lambda: self.budget.has_room(reserved))
            self.budget.in_flight.append(reserved)
            task = asyncio.create_task(self._exchange(request, reserved))
        self.in_flight.add(task)
        task.add_done_callback(self.in_flight.discard)
        return await asyncio.shield(task)  # it goes on if this question is cancelled

    async def keep(self, request: Request, answer: Answer) -> None:
        """Keep an answer. UserError if too many answers in a row have no usable text."""
        useful = await asyncio.to_thread(self._keep, request, answer)
        words = answer.refusal or answer.text or "an empty answer"
        self._count(useful, server.safe(words, self.generator))

    def _count(self, useful: bool, said: str) -> None:
        """Count questions in a row without a usable text. UserError if there are USELESS of them.

        said: words of the answer, for the message.
        """
        if useful:
            self.useless.clear()
        else:
            self.useless.add(ASKED.get().key)
        if len(self.useless) >= USELESS and not self.patient:
            raise UserError(
                f"stopped: {USELESS} questions in a row have no usable text from "
                f"{self.generator.model}, the last: '{said}'; every answer is kept; try another "
                "model, more max_tokens or a longer timeout"
            )

    async def _exchange(self, request: httpx2.Request, reserved: float) -> httpx2.Response:
        """One try, from sending to the store.

        Errors after which openai may try again are those of httpx. reserved: the most that the try
        can cost.
        """
        key = ASKED.get().key
        answer = None
        paid: float | None = 0.0  # None: unknown, because it was sent and has no answer
        noted = False  # True if the journal has the try
        try:
            if reserved:
                # On disk before it is sent, so that it counts if this process is killed.
                await asyncio.to_thread(self.answers.begin, key, reserved, self.budget.currency)
                noted = True
            sent = asyncio.Event()
            try:
                response = await self._receive(request, sent)
                if response.is_success:
                    answer = self._read(response.content, len(request.content), reserved)
            finally:
                paid = None if sent.is_set() else 0.0
            if answer is not None:
                paid = answer.cost
            elif response.status_code < 500 and not server.generated(response):
                paid = 0.0  # refused: nothing was generated
        except NoAnswer as error:
            self._count(False, str(error))
            raise
        finally:
            async with self._room:
                self.budget.settle(reserved, paid, answer.at_most if answer else None)
                self._room.notify_all()
            if answer is not None:
                await self.keep(ASKED.get(), answer)
            elif noted and paid is None:
                await asyncio.to_thread(self.answers.lose, key, reserved, self.budget.currency)
            elif noted:
                await asyncio.to_thread(self.answers.end, key)
        if answer is not None:
            self._check_limit(answer)
        else:
            self._resume = max(self._resume, time.monotonic() + server.asked_wait(response))
            if server.is_final(response):
                response.headers["x-should-retry"] = "false"  # read by openai
        return response

    async def _receive(self, request: httpx2.Request, sent: asyncio.Event) -> httpx2.Response:
        """The whole response, within a size and a time, because a server could send forever.

        sent: set as soon as the request is written to a connection; before that a failure costs
        nothing."""

        async def trace(event: str, info: dict[str, Any]) -> None:
            # A request CONNECT goes to a proxy and not to the server.
            started = event.endswith("send_request_headers.started")
            if started and info["request"].method != b"CONNECT":
                sent.set()

        request.extensions = {**request.extensions, "trace": trace}
        place = server.place(self.generator)
        response: httpx2.Response | None = None
        body = bytearray()
        try:
            async with (
                asyncio.timeout(self.generator.timeout),
                contextlib.aclosing(await super().send(request, stream=True)) as response,
            ):
                if response.headers.get("content-encoding", "identity") not in ("identity", ""):
                    raise UserError(
                        f"{place} sends a compressed answer, which may be of any size; switch that "
                        "off there"
                    )
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        raise UserError(f"{place} sends an answer of more than {MAX_BYTES:,} bytes")
        except (TimeoutError, httpx2.TimeoutException):
            limit = f"{self.generator.timeout:g} s (generator.timeout)"
            if not sent.is_set():
                raise httpx2.ConnectTimeout(
                    f"no connection within {limit}", request=request
                ) from None
            if response is None or response.is_success:
                raise NoAnswer(f"no whole answer within {limit}") from None
        except httpx2.TransportError as error:
            if not sent.is_set():
                raise
            if response is None or response.is_success:
                raise NoAnswer(f"the answer was cut off ({self._words_of(error)})") from None
        assert response is not None
        # A status that says that there is no answer holds, even if the words after it were cut off.
        return httpx2.Response(
            response.status_code, headers=response.headers, content=bytes(body), request=request
        )

    def _words_of(self, error: httpx2.TransportError) -> str:
        """What went wrong with a connection: the error's message, or its type if it has none."""
        if isinstance(error, httpx2.ReadError | httpx2.WriteError) and not str(error):
            return "the server reset the connection"
        return server.safe(error, self.generator)

    def _read(self, content: bytes, sent: int, reserved: float) -> Answer:
        """The answer in a chat completion.

        NoAnswer for anything else, which servers may send with status 200, too. sent: bytes of the
        request. reserved: the most that it can cost.
        """
        try:
            found = _Completion.model_validate_json(content)
            json.loads(content, object_pairs_hook=unique)
        except (ValueError, RecursionError, Repeated):  # pydantic's error is a ValueError
            words = server.words_of(content, self.generator)
            raise NoAnswer(f"it sent something that is not an answer: {words}") from None
        fields: dict[str, Any] = _origin(self.generator)
        text, prices = found.message.words or None, self.generator.prices
        usage = _Usage()
        if isinstance(found.usage, dict):
            usage = _Usage.model_validate(found.usage)
        prompt, completion = usage.counts(sent, text or "")
        fields |= {"prompt_tokens": prompt, "completion_tokens": completion}
        if prices:
            fields["currency"] = prices.currency
            if prompt is not None and completion is not None:
                fields["cost"] = cost.money(prices, prompt, completion)
            else:
                # of the two the larger amount: what was reserved, and what is counted
                most_prompt = sent / cost.FEWEST_BYTES if prompt is None else prompt
                most_written = self.budget.max_tokens if completion is None else completion
                most = cost.money(prices, most_prompt, most_written)
                fields["at_most"] = max(reserved, most)
        filtered = "content filter" if found.finish == "content_filter" else None
        of_server = {
            "text": text,
            "refusal": found.message.refusal or filtered,
            "finish": found.finish,
            "served": found.model,
            "fingerprint": found.system_fingerprint,
        }
        for name, value in of_server.items():
            if isinstance(value, str):
                # any field may repeat the key, which must not be stored
                fields[name] = server.masked(value, self.generator)
        return Answer(**fields)

    def _check_limit(self, answer: Answer) -> None:
        """Check that the server keeps the limit on tokens, from which the limit on money follows.

        UserError if not.
        """
        allowed, written = self.generator.token_limit or 0, answer.completion_tokens or 0
        if self.budget.limit is not None and written > allowed:
            raise UserError(
                f"stopped: {server.place(self.generator)} counts {written} tokens in an answer "
                f"where max_tokens allows {allowed}, so generator.max_cost cannot be kept; every "
                "answer is kept, a run with a limit that the server keeps continues from here"
            )


def refusal(error: openai.APIStatusError, generator: GeneratorConfig) -> Answer:
    """The answer to store if a server refuses a question with an error; it costs nothing."""
    said = server.said(error, generator)
    currency = generator.prices.currency if generator.prices else ""
    return Answer(refusal=said, finish="refused", cost=0.0, currency=currency, **_origin(generator))


def _origin(generator: GeneratorConfig) -> dict[str, Any]:
    """Provenance fields that do not depend on the response."""
    return {"served": generator.model, "date": today(), "server": server.host(generator)}
