"""A language model's server on loopback that misbehaves on a schedule and counts what it answers.

It speaks OpenAI's protocol as far as the package uses it, over real sockets: chat completions, files, batches.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Texts = Callable[[str, int], list[str]]  # (what it is asked about, how many) -> texts
WORDS = [
    "red",
    "round",
    "striped",
    "long",
    "thin",
    "shiny",
    "soft",
    "open",
    "curved",
    "flat",
    "small",
    "bent",
]


def words(about: str, count: int) -> list[str]:
    """Different texts for different things, always the same ones."""
    start = int(hashlib.sha256(about.encode()).hexdigest(), 16)
    return [
        f"a {WORDS[(start >> 4 * i) % 12]} {WORDS[(start >> 4 * i + 9) % 12]} part {i}" for i in range(count)
    ]


class Server(ThreadingHTTPServer):
    """behaviours: what happens to the first requests, one each ("ok" after them). See Handler.misbehave.

    paid: questions that were answered in full, how often each. open and most_open: requests under way.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, texts: Texts = words, behaviours: list[str] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.texts, self.behaviours = texts, list(behaviours or [])
        self.key: str | None = None
        self.structured = True
        self.answer: Callable[[dict[str, Any]], Any] | None = None  # instead of texts: content of the message
        self.delay = 0.0
        self.served = "tiny-2026"  # the model's full name
        self.usage = 100, 50  # tokens of a question and of its answer
        self.headers: dict[str, str] = {}
        self.paid: Counter[str] = Counter()
        self.asked: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.open = self.most_open = 0
        self.lock = threading.Lock()
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.polls = 2  # looks at a batch until it is done
        self.batch_fails: list[str] = []  # custom behaviours of batches: "failed", "half", "lost"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that were killed are no news."""

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        """A chat completion."""
        question = body["messages"][-1]["content"]
        content = self.answer(body) if self.answer else self.list_for(question, "response_format" in body)
        message = content if isinstance(content, dict) else {"role": "assistant", "content": content}
        finish = message.pop("finish_reason", "stop")
        return {
            "id": "x", "object": "chat.completion", "created": 1, "model": self.served,
            "choices": [{"index": 0, "finish_reason": finish, "message": message}],
            "usage": dict(zip(("prompt_tokens", "completion_tokens"), self.usage, strict=True)),
        }  # fmt: skip

    def list_for(self, question: str, structured: bool) -> str:
        count = int(re.search(r"(?:Name|Name up to) (?:up to )?(\d+)", question)[1])  # type: ignore[index]
        if pair := re.search(r"tell a (.+) from a (.+) in a photo", question):
            sides = [
                self.texts(f"{pair[1]} not {pair[2]}", count),
                self.texts(f"{pair[2]} not {pair[1]}", count),
            ]
            if structured:
                return json.dumps({"first": sides[0], "second": sides[1]})
            return f"first: {'_'.join(sides[0])}\nsecond: {'_'.join(sides[1])}"
        texts = self.texts(question.splitlines()[0], count)
        return json.dumps({"texts": texts}) if structured else "_".join(texts)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def send(self, status: int, document: Any, kind: str = "application/json", **headers: str) -> None:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in {**self.server.headers, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def fail(self, status: int, message: str = "trouble", code: str | None = None, **headers: str) -> None:
        self.send(status, {"error": {"message": message, "type": "t", "code": code}}, **headers)

    def allowed(self) -> bool:
        given = self.headers.get("Authorization", "")
        if self.server.key is not None and given != f"Bearer {self.server.key}":
            self.fail(401, f"Incorrect API key provided: {given.removeprefix('Bearer ')}", "invalid_api_key")
            return False
        return True

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.allowed():
            return
        if self.path == "/v1/files":
            content = data.split(b"\r\n\r\n", 1)[1] if b"jsonl" in data.split(b"\r\n\r\n", 1)[0] else data
            rows = [line for line in re.findall(rb"^\{.*\}", content, flags=re.M) if b"custom_id" in line]
            name = f"file-{len(self.server.files)}"
            self.server.files[name] = b"\n".join(rows)
            self.send(200, {"id": name, "object": "file", "bytes": 1, "created_at": 1, "filename": "r.jsonl",
                            "purpose": "batch", "status": "processed"})  # fmt: skip
        elif self.path == "/v1/batches":
            self.create_batch(json.loads(data))
        else:
            self.chat(json.loads(data))

    def do_GET(self) -> None:
        if not self.allowed():
            return
        if found := re.fullmatch(r"/v1/files/([\w-]+)/content", self.path):
            self.send(200, self.server.files[found[1]], "application/octet-stream")
        elif found := re.fullmatch(r"/v1/batches/([\w-]+)", self.path):
            batch = self.server.batches.get(found[1])
            if batch is None:
                self.fail(404, "No such batch")
                return
            batch["looks"] += 1
            if batch["looks"] >= self.server.polls and batch["status"] == "in_progress":
                self.finish_batch(batch)
            self.send(200, {k: v for k, v in batch.items() if k not in ("looks", "fate")})
        elif self.path.startswith("/v1/batches"):
            rows = [{k: v for k, v in b.items() if k != "looks"} for b in self.server.batches.values()]
            self.send(200, {"object": "list", "data": rows[::-1], "has_more": False})
        else:
            self.fail(404, "no such place")

    # ---- chat ----

    def chat(self, body: dict[str, Any]) -> None:
        server = self.server
        with server.lock:
            server.asked.append(body)
            server.times.append(time.monotonic())
            server.open += 1
            server.most_open = max(server.most_open, server.open)
            behaviour = server.behaviours.pop(0) if server.behaviours else "ok"
        try:
            if "response_format" in body and not server.structured:
                self.fail(400, "response_format is not supported by this model")
            elif behaviour != "ok":
                self.misbehave(behaviour, body)
            else:
                time.sleep(server.delay)
                document = server.completion(body)
                with (
                    server.lock
                ):  # counted before it is sent: what a client that dies then has lost is paid, too
                    server.paid[json.dumps(body, sort_keys=True)] += 1
                self.send(200, document)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with server.lock:
                server.open -= 1

    def misbehave(self, behaviour: str, body: dict[str, Any]) -> None:
        page = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
        if behaviour.isdigit():
            self.fail(int(behaviour))
        elif behaviour == "retry-after":
            self.fail(429, "slow down", "rate_limit_exceeded", Retry_After="1")
        elif behaviour == "soon":
            self.fail(429, "slow down", "rate_limit_exceeded", Retry_After_Ms="20")
        elif behaviour == "retry-after-long":
            self.fail(429, "slow down", "rate_limit_exceeded", Retry_After="7200")
        elif behaviour == "limits":
            self.fail(429, "slow down", x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="1s")
        elif behaviour == "quota":
            self.fail(429, "You exceeded your current quota", "insufficient_quota")
        elif behaviour == "filter":
            self.fail(400, "rejected by our safety system", "content_policy_violation")
        elif behaviour == "model":
            self.fail(404, f"The model `{body['model']}` does not exist", "model_not_found")
        elif behaviour == "parameter":
            self.fail(400, "Unsupported parameter: 'temperature'")
        elif behaviour == "html":
            self.send(502, page, "text/html")
        elif behaviour == "html-200":
            self.send(200, page, "text/html")
        elif behaviour == "type":
            self.send(200, json.dumps({"choices": []}).encode(), "text/plain")
        elif behaviour == "error-200":
            self.send(200, {"error": {"message": "overloaded"}})
        elif behaviour == "null":
            self.send(200, None)
        elif behaviour == "drop":
            self.close_connection = True
            self.connection.shutdown(2)
        elif behaviour == "half":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "5000")
            self.end_headers()
            self.wfile.write(b'{"choices": [{"mess')
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
        elif behaviour == "hang":
            time.sleep(4)
            self.close_connection = True
        elif behaviour == "drip":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "5000")
            self.end_headers()
            for _ in range(40):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.1)
            self.close_connection = True
        else:
            raise ValueError(behaviour)

    # ---- batches ----

    def create_batch(self, body: dict[str, Any]) -> None:
        server = self.server
        fate = server.batch_fails.pop(0) if server.batch_fails else "ok"
        name = f"batch_{len(server.batches)}"
        rows = server.files[body["input_file_id"]].splitlines()
        batch = {
            "id": name, "object": "batch", "endpoint": body["endpoint"], "completion_window": "24h", "created_at": 1,
            "input_file_id": body["input_file_id"], "status": "in_progress", "metadata": body.get("metadata"),
            "request_counts": {"total": len(rows), "completed": 0, "failed": 0}, "looks": 0, "fate": fate,
        }  # fmt: skip
        server.batches[name] = batch
        if fate == "lost":  # it came into being, but the client never learns of it
            self.close_connection = True
            self.connection.shutdown(2)
        else:
            self.send(200, {k: v for k, v in batch.items() if k not in ("looks", "fate")})

    def finish_batch(self, batch: dict[str, Any]) -> None:
        server = self.server
        if batch["fate"] == "failed":
            batch["status"] = "failed"
            batch["errors"] = {
                "object": "list",
                "data": [{"code": "token_limit_exceeded", "message": "too many"}],
            }
            return
        rows = [json.loads(row) for row in server.files[batch["input_file_id"]].splitlines()]
        good = rows[: len(rows) // 2] if batch["fate"] == "half" else rows
        out = []
        for row in good:
            server.paid[json.dumps(row["body"], sort_keys=True)] += 1
            body = server.completion(row["body"])
            out.append(
                {"custom_id": row["custom_id"], "error": None, "response": {"status_code": 200, "body": body}}
            )
        bad = [{"custom_id": r["custom_id"], "response": None, "error": {"code": "batch_expired", "message": "late"}}
               for r in rows[len(good):]]  # fmt: skip
        batch["status"] = "expired" if bad else "completed"
        batch["request_counts"]["completed"] = len(good)
        for key, entries in (("output_file_id", out), ("error_file_id", bad)):
            if entries:
                batch[key] = f"{key}-{batch['id']}"
                server.files[batch[key]] = "\n".join(map(json.dumps, entries)).encode()


@contextmanager
def serving(texts: Texts = words, behaviours: list[str] | None = None) -> Iterator[Server]:
    """A server that answers until the block ends."""
    server = Server(texts, behaviours)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
