"""A small HTTP server on a loopback port, which can do what real servers do wrong."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Web:
    """files: path -> content. ranges: answers Range. begin: where every answer to Range begins
    (default: as asked).
    most: bytes of an answer to Range. cut: bytes after which every answer ends early; with several,
    one after the
    other and again. failing: status codes that come first. asked: the Range header of every request
    ("" for none).
    headers: in every answer. trickle: seconds between two bytes of an answer. knows_size: False for
    a star in Content-Range in the place of the file's size. obeys: sends the whole file if it is not the one that If-Range names.
    changed: what the files become after the first answer."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    begin: int | None = None
    most: int | None = None
    cut: int | list[int] | None = None
    failing: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    trickle: float = 0.0
    knows_size: bool = True
    obeys: bool = True
    changed: dict[str, bytes] = field(default_factory=dict)


@contextlib.contextmanager
def serve() -> Iterator[Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            web.asked.append(wanted)
            if web.failing:
                self.send_response(web.failing.pop(0))
                for name, value in web.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = web.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = re.fullmatch(r"bytes=(\d+)-", wanted)
            begin = int(start[1]) if start and web.ranges else 0
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            if web.obeys and self.headers.get("If-Range", etag) != etag:
                begin = 0
            web.files.update(web.changed)
            if begin and begin >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = content
            self.send_response(206 if begin else 200)
            if begin:
                first = begin if web.begin is None else web.begin
                body = content[first:][: web.most]
                size = len(content) if web.knows_size else "*"
                span = f"bytes {first}-{first + len(body) - 1}/{size}"
                self.send_header("Content-Range", span)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", etag)
            for name, value in web.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            cut = web.cut[len(web.asked) % len(web.cut)] if isinstance(web.cut, list) else web.cut
            if web.trickle:
                with contextlib.suppress(OSError):  # whoever asked has gone
                    for byte in body:
                        self.wfile.write(bytes([byte]))
                        time.sleep(web.trickle)
                return
            self.wfile.write(body[:cut])
            self.close_connection = True

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
