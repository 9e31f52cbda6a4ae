"""The Batch API: half the price for answers within a day. Submit, poll, and go on after a restart.

What was submitted stands in a file beside the answers, written before and after; a run that was killed between the
two finds its batch by the mark that it bears on the server. So no question is submitted twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ...errors import UserError
from .client import (
    GoneError,
    NoSchemaError,
    Question,
    RefusedError,
    TransientError,
    answer_of,
    body_of,
    client_error,
    connect,
)
from .prompts import Request
from .store import Answer, append, end_half_line

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from ...config import GeneratorConfig

_T = TypeVar("_T")

log = logging.getLogger("coder_clip")

MOST_REQUESTS, MOST_BYTES = 50_000, 150_000_000  # OpenAI takes 50,000 requests and 200 MB a batch
ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
MARK = "coder_clip"
OVER = ("completed", "failed", "expired", "cancelled")
TRIES = 3  # for questions that a batch gave back without an answer


class Batches:
    """Asks questions by batches. path: of the file that says what was submitted."""

    def __init__(self, generator: GeneratorConfig, path: Path) -> None:
        self.generator, self.path = generator, path
        self.structured = generator.structured != "list"

    def ask(self, questions: Iterable[Question], keep: Callable[[Request, Answer], None]) -> dict[str, str]:
        """As `client.Client.ask`. Takes as long as the server does; killed, a later run goes on waiting."""
        return asyncio.run(self._ask(list(questions), keep))

    async def _ask(
        self, questions: list[Question], keep: Callable[[Request, Answer], None]
    ) -> dict[str, str]:
        failed: dict[str, str] = {}
        known = {r.key: r for q in questions for r in (q.request, q.plain) if r is not None}
        waiting = {q.request.key: q for q in questions}

        def answered(request: Request, answer: Answer) -> None:
            for key, question in list(waiting.items()):
                if request.key in (key, question.plain and question.plain.key):
                    keep(request, answer)
                    del waiting[key]

        async with connect(self.generator) as server:
            for batch in self._submitted():  # of an earlier run
                if set(batch["keys"]) & {self._request(q).key for q in waiting.values()}:
                    identity = batch.get("id") or await self._find(server, batch["mark"])
                    if identity is None:  # it was never submitted
                        self._note(mark=batch["mark"], void=True)
                    else:
                        self._note(mark=batch["mark"], id=identity)
                        try:
                            await self._collect(server, identity, known, answered, failed)
                        except GoneError:  # of another account, or so old that its answers were deleted
                            log.warning(
                                "batch %s is not there any more; its questions are submitted anew", identity
                            )
                            self._void(identity)
            for _ in range(TRIES):
                requests = [self._request(q) for q in waiting.values()]
                for part in parts(requests, self.generator):
                    await self._collect(server, await self._submit(server, part), known, answered, failed)
                if not waiting:
                    break
        return {key: failed.get(self._request(q).key, "no answer in the batch") for key, q in waiting.items()}

    def _request(self, question: Question) -> Request:
        return question.request if self.structured or question.plain is None else question.plain

    def _submitted(self) -> list[dict[str, Any]]:
        """Batches that came into being, oldest first."""
        found: dict[str, dict[str, Any]] = {}
        for entry in self._entries():
            found.setdefault(entry["mark"], {}).update(entry)
        return [b for b in found.values() if "keys" in b and not b.get("void")]

    def _entries(self) -> list[dict[str, Any]]:
        found = []
        for text in self.path.read_bytes().split(b"\n") if self.path.is_file() else ():
            try:
                entry = json.loads(text)
            except ValueError:
                continue  # half a line of a killed run
            if isinstance(entry, dict) and isinstance(entry.get("mark"), str):
                found.append(entry)
        return found

    def _note(self, **entry: Any) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as stream:
            end_half_line(self.path, stream)
            append(stream, self.path, json.dumps(entry))

    async def _submit(self, server: AsyncOpenAI, requests: list[Request]) -> str:
        keys = sorted(r.key for r in requests)
        n = sum(1 for b in self._entries() if b.get("keys") == keys)  # the same questions, once more
        mark = hashlib.sha256(f"{n} {' '.join(keys)}".encode()).hexdigest()[:32]
        self._note(mark=mark, keys=keys)
        data = "".join(line(r, self.generator) for r in requests).encode()
        file = await self._patiently(
            lambda: server.files.create(file=("requests.jsonl", io.BytesIO(data)), purpose="batch")
        )

        async def create() -> str:
            try:
                with client_error(self.generator):
                    batch = await server.batches.create(
                        input_file_id=file.id,
                        endpoint=ENDPOINT,
                        completion_window="24h",
                        metadata={MARK: mark},
                    )
                return batch.id
            except TransientError:  # it may have come into being all the same
                if (identity := await self._find(server, mark)) is not None:
                    return identity
                raise

        identity = await self._patiently(create)
        self._note(mark=mark, id=identity)
        log.info(
            "batch %s: %d questions submitted; a run that is stopped goes on from here",
            identity,
            len(requests),
        )
        return identity

    async def _find(self, server: AsyncOpenAI, mark: str) -> str | None:
        """The batch with this mark among the server's latest thousand."""

        async def find() -> str | None:
            seen = 0
            async for batch in server.batches.list(limit=100):
                if (batch.metadata or {}).get(MARK) == mark:
                    return str(batch.id)
                seen += 1
                if seen >= 1000:
                    break
            return None

        return await self._patiently(find)

    async def _patiently(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """A call that does no harm when it is made again. UserError where it does not work in the end."""
        for left in range(self.generator.retries, -1, -1):
            try:
                with client_error(self.generator):
                    return await call()
            except TransientError as error:
                if not left:
                    raise UserError(
                        f"{error}; what was submitted goes on, run again to wait for it"
                    ) from None
                await asyncio.sleep(min(self.generator.poll, 10))
            except (RefusedError, NoSchemaError) as error:
                raise UserError(f"the server does not take the batch: {error}") from None
        raise AssertionError

    async def _collect(
        self,
        server: AsyncOpenAI,
        identity: str,
        known: dict[str, Request],
        answered: Callable[[Request, Answer], None],
        failed: dict[str, str],
    ) -> None:
        """Wait for a batch and take what it holds."""
        batch = await self._wait(server, identity)
        if batch.status == "failed":
            errors = [e.message or e.code or "" for e in (batch.errors.data or [])] if batch.errors else []
            self._void(identity)
            raise UserError(
                f"the server refused batch {identity}: {'; '.join(filter(None, errors[:2])) or 'it says no more'}"
            )
        for file in (batch.output_file_id, batch.error_file_id):
            if file is None:
                continue
            content = await self._patiently(partial(server.files.content, file))
            for row in rows(content.text):
                request = known.get(row["custom_id"])
                if request is None:
                    continue
                try:
                    answered(request, answer_of(row["response"]["body"], self.generator, batch=True))
                except (TransientError, KeyError, TypeError):
                    said = json.dumps(row.get("error") or row.get("response") or "no answer")
                    failed[request.key] = said[:200]
                    if "response_format" in said or "json_schema" in said:
                        self.structured = False

    def _void(self, identity: str) -> None:
        """A batch that the server did not take has no answers."""
        for batch in self._submitted():
            if batch.get("id") == identity:
                self._note(mark=batch["mark"], void=True)

    async def _wait(self, server: AsyncOpenAI, identity: str) -> Any:
        said = ""
        while True:
            batch = await self._patiently(lambda: server.batches.retrieve(identity))
            counts = batch.request_counts
            now = f"{batch.status}, {counts.completed} of {counts.total} done" if counts else batch.status
            if now != said:
                log.info("batch %s: %s", identity, now)
                said = now
            if batch.status in OVER:
                return batch
            await asyncio.sleep(self.generator.poll)


def line(request: Request, generator: GeneratorConfig) -> str:
    """One request of a batch file."""
    entry = {"custom_id": request.key, "method": "POST", "url": ENDPOINT, "body": body_of(request, generator)}
    return json.dumps(entry, ensure_ascii=False) + "\n"


def parts(requests: list[Request], generator: GeneratorConfig) -> Iterator[list[Request]]:
    """Batches that a server takes."""
    part: list[Request] = []
    size = 0
    for request in requests:
        length = len(line(request, generator).encode())
        if part and (len(part) >= MOST_REQUESTS or size + length > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(request)
        size += length
    if part:
        yield part


def rows(text: str) -> Iterator[dict[str, Any]]:
    """The answers of a batch file; only "\\n" ends a line, since a text may hold U+2028 or U+0085."""
    for entry in text.split("\n"):
        try:
            row = json.loads(entry)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("custom_id"), str):
            yield row
