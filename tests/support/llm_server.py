"""A language model's server on loopback that misbehaves on a schedule and counts what it answers.

It speaks OpenAI's protocol as far as the package uses it, over real sockets: chat completions and
the list of models."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import socket
import struct
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
    "tall",
    "curved",
    "flat",
    "small",
    "bent",
]


def words(about: str, count: int) -> list[str]:
    """Different texts for different things, always the same ones."""
    digest = hashlib.sha256(about.encode()).hexdigest()
    start = int(digest, 16)
    # a zero between, since three equal letters in a row are no word
    codes = [f"{digest[4 * i : 4 * i + 2]}0{digest[4 * i + 2 : 4 * i + 4]}" for i in range(count)]
    article = "" if about.startswith("synonym") else "a "
    return [f"{article}{WORDS[(start >> 4 * i) % 12]} part {code}" for i, code in enumerate(codes)]


def tokens(text: str) -> int:
    """How this server counts: words and punctuation marks."""
    return len(re.findall(r"\w+|[^\w\s]", text))


Said = tuple[int, str, str | None, dict[str, str]]
SAID: dict[
    str, Said
] = {  # what servers say of one question or of a schema: status, message, code, headers
    "vllm": (
        400,
        "The provided JSON schema contains features not supported by xgrammar.",
        None,
        {},
    ),
    "llama.cpp": (500, "failed to parse grammar", None, {}),
    "groq": (
        400,
        "Failed to generate JSON. Please adjust your prompt.",
        "json_validate_failed",
        {},
    ),
    "openrouter": (
        403,
        "tiny requires moderation. Your input was flagged for 'violence'",
        None,
        {},
    ),
    "context": (
        400,
        "This model's maximum context length is 512 tokens.",
        "context_length_exceeded",
        {},
    ),
    "seed": (
        400,
        "Unsupported parameter: 'seed'. Supported: model, messages, response_format",
        None,
        {},
    ),
    "parameter": (400, "Unsupported parameter: 'temperature'", None, {}),
    "format": (400, "response_format: this request cannot be taken", None, {}),
    "forbidden": (403, "Country not supported", None, {}),
    "quota": (429, "You exceeded your current quota", "insufficient_quota", {}),
    "filter": (400, "rejected by our safety system", "content_policy_violation", {}),
    "retry-after": (429, "slow down", "rate_limit_exceeded", {"Retry_After": "1"}),
    "retry-after-long": (429, "slow down", "rate_limit_exceeded", {"Retry_After": "7200"}),
    "retry-after-0": (429, "slow down", "rate_limit_exceeded", {"Retry_After": "0"}),
    "retry-after-past": (429, "slow down", None, {"Retry_After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
}


class Server(ThreadingHTTPServer):
    """behaviours: what happens to the first requests, one each ("ok" after them). See
    Handler.misbehave.

    paid: questions that were answered in full, how often each. open and most_open: requests in
    flight."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, texts: Texts = words, behaviours: list[str] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.texts, self.behaviours = texts, list(behaviours or [])
        self.key: str | None = None
        self.formats = ["json_schema", "json_object", None]  # response formats that it takes
        self.answer: Callable[[dict[str, Any]], Any] | None = (
            None  # instead of texts: content of the message
        )
        self.delay = 0.0
        self.down = False  # the list of models, too, says 503
        self.served: Any = "tiny-2026"  # the model's full name
        self.fingerprint = "fp_1"
        self.count = tokens
        self.usage: Any = (
            "counted"  # or what it says instead: (prompt, completion) tokens, None or nonsense
        )
        self.headers: dict[str, str] = {}
        self.paid: Counter[str] = Counter()
        self.billed: list[tuple[int, int]] = []  # tokens of each answer, whatever it says
        self.asked: list[dict[str, Any]] = []
        self.asked_headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.open = self.most_open = 0
        self.lock = threading.Lock()
        self.released = threading.Event()  # what is stuck goes on

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that were killed are no news."""

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        """A chat completion."""
        content = self.answer(body) if self.answer else self.texts_for(body)
        message = (
            dict(content)
            if isinstance(content, dict)
            else {"role": "assistant", "content": content}
        )
        message["content"] = in_name(message["content"], named(body))
        finish = message.pop("finish_reason", "stop")
        sent = sum(self.count(m["content"]) for m in body["messages"])
        sent += self.count(json.dumps(body["response_format"])) if "response_format" in body else 0
        with self.lock:
            self.billed.append((sent, self.count(message["content"] or "")))
        usage = self.billed[-1] if self.usage == "counted" else self.usage
        if isinstance(usage, tuple):
            usage = dict(
                zip(("prompt_tokens", "completion_tokens", "total_tokens"), usage, strict=False)
            )
        return {
            "id": "x", "object": "chat.completion", "created": 1, "model": self.served,
            "system_fingerprint": self.fingerprint,
            "choices": [{"index": 0, "finish_reason": finish, "message": message}],
            **({} if usage is None else {"usage": usage}),
        }  # fmt: skip

    def texts_for(self, body: dict[str, Any]) -> str:
        """What is asked for, in the form that is asked for."""
        question = body["messages"][-1]["content"]
        name = named(body)
        wanted = json.loads(re.search(r"nothing else: (\{.*\})", question)[1])  # type: ignore[index]
        found: dict[str, Any] = {}
        for key, value in wanted.items():
            if key == name:
                found[key] = {
                    kind: self.texts(f"{kind} of {name}", number(n)) for kind, n in value.items()
                }
            else:
                a, b = value
                found[key] = {
                    x: self.texts(f"{x} not {y}", number(value[x])) for x, y in ((a, b), (b, a))
                }
        return json.dumps(found)


def in_name(content: Any, name: str) -> Any:
    """An answer of a test under the name of the class that is asked about, for which it says
    {class}.
    """
    if isinstance(content, list):
        return [{**part, "text": in_name(part["text"], name)} for part in content]
    return content and content.replace("{class}", name)


def named(body: dict[str, Any]) -> str:
    """The class that a question is about."""
    found = re.search(r'The class is "(.+?)"\.', body["messages"][-1]["content"])
    assert found is not None
    return found[1]


def number(value: list[str]) -> int:
    """Of ["at most 5 strings"]."""
    return int(re.search(r"\d+", value[0])[0])  # type: ignore[index]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def send(
        self, status: int, document: Any, kind: str = "application/json", **headers: str
    ) -> None:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in {**self.server.headers, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def fail(
        self, status: int, message: str = "trouble", code: str | None = None, **headers: str
    ) -> None:
        self.send(status, {"error": {"message": message, "type": "t", "code": code}}, **headers)

    def allowed(self) -> bool:
        given = self.headers.get("Authorization", "")
        if self.server.key is not None and given != f"Bearer {self.server.key}":
            self.fail(
                401,
                f"Incorrect API key provided: {given.removeprefix('Bearer ')}",
                "invalid_api_key",
            )
            return False
        return True

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.allowed():
            return
        self.chat(json.loads(data))

    def do_GET(self) -> None:
        if self.allowed():
            if self.server.down:
                self.fail(503)
            else:
                self.send(200, {"object": "list", "data": []})

    # ---- chat ----

    def chat(self, body: dict[str, Any]) -> None:
        server = self.server
        with server.lock:
            server.asked.append(body)
            server.asked_headers.append({k.lower(): v for k, v in self.headers.items()})
            server.times.append(time.monotonic())
            server.open += 1
            server.most_open = max(server.most_open, server.open)
            behaviour = server.behaviours.pop(0) if server.behaviours else "ok"
        try:
            if (body.get("response_format") or {}).get("type") not in server.formats:
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
            self.close_connection = True
        finally:
            with server.lock:
                server.open -= 1

    def reset(self) -> None:
        """Close the connection so that the client sees a reset and not an end."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def misbehave(self, behaviour: str, body: dict[str, Any]) -> None:
        page = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
        if behaviour.isdigit():
            self.fail(int(behaviour))
        elif behaviour == "redirect":
            self.send(307, {}, Location="http://127.0.0.1:9/v1/chat/completions")
        elif behaviour == "gzip":
            data = gzip.compress(b" " * 150_000_000)
            self.send(200, data, Content_Encoding="gzip")
        elif behaviour == "endless":
            self.send(200, b" " * 5_000_000)
        elif behaviour == "deep":
            self.send(200, b"[" * 200_000)
        elif behaviour in SAID:
            status, message, code, headers = SAID[behaviour]
            self.fail(status, message, code, **headers)
        elif behaviour == "sse":
            self.send(
                200,
                b'data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: [DONE]\n',
                "text/event-stream",
            )
        elif behaviour == "model":
            self.fail(404, f"The model `{body['model']}` does not exist", "model_not_found")
        elif behaviour == "html":
            self.send(502, page, "text/html")
        elif behaviour == "html-200":
            self.send(200, page, "text/html")
        elif behaviour == "type":
            self.send(200, json.dumps({"choices": []}).encode(), "text/plain")
        elif behaviour == "error-200":
            self.send(200, {"error": {"message": "overloaded"}})
        elif behaviour == "key":
            self.fail(400, f"bad request with {self.headers.get('Authorization')}")
        elif behaviour == "key-200":
            self.send(200, {"error": {"message": f"your key {self.headers.get('Authorization')}"}})
        elif behaviour == "null":
            self.send(200, None)
        elif behaviour == "drop":
            self.close_connection = True
            self.connection.shutdown(2)
        elif behaviour == "reset":
            self.reset()
        elif behaviour == "half-reset":
            self.send_response(200)
            self.send_header("Content-Length", "5000")
            self.end_headers()
            self.wfile.write(b'{"choices": [{"mess')
            self.wfile.flush()
            time.sleep(0.1)
            self.reset()
        elif behaviour == "half-500":
            self.send_response(500)
            self.send_header("Content-Length", "5000")
            self.end_headers()
            self.wfile.write(b'{"error": {"mess')
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
        elif behaviour == "stuck":
            self.server.released.wait(600)
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


@contextmanager
def serving(texts: Texts = words, behaviours: list[str] | None = None) -> Iterator[Server]:
    """A server that answers until the block ends."""
    server = Server(texts, behaviours)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
