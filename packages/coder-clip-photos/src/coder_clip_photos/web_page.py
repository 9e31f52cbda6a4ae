"""The page of ``coder-clip explore``: a web server for this machine and the person who started it,
nobody else.

It listens on 127.0.0.1 only; every address begins with a random token that only the terminal shows,
and the Host header has to be this machine's, so that no other web page can use it. Everybody on a
machine sees the command lines of all programs, so the browser gets the name of a file that only its
owner can read, and that leads to the page. The page asks nothing of any other server (its content
security policy forbids it), and files are never named by the browser: photos have numbers.
"""

from __future__ import annotations

import hmac
import io
import secrets
import socket
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from threading import Lock
from typing import Any

from flask import Flask, Response, abort, jsonify, request, send_from_directory
from PIL import Image
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from coder_clip.errors import UserError

from .explorer import Explorer

HOST = "127.0.0.1"
LARGEST = 100 * 2**20  # bytes of a photo that is dropped on the page
THUMBNAIL, VIEW = 240, 900  # pixels of the longer side
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

REDIRECT = """<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={address}">
<title>coder-clip explore</title>
<a href="{address}">To the page of coder-clip explore</a>
"""


def make_app(explorer: Explorer, token: str, hosts: set[str]) -> Flask:
    """The web application. hosts: allowed values of the Host header."""
    # Other programs and web pages of this machine can reach the port, too. So every address
    # contains the token, and a request without it, or with a foreign Host header (DNS rebinding),
    # gets 404 before any route runs.
    app = Flask(__name__, static_folder=None, template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST
    app.json.ensure_ascii = True  # type: ignore[attr-defined]
    decoding = Lock()  # one photo at a time is in memory

    @app.before_request
    def only_this_person() -> None:
        given = str((request.view_args or {}).get("token", ""))
        if request.host not in hosts or not hmac.compare_digest(given.encode(), token.encode()):
            abort(404)

    @app.after_request
    def headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(UserError)
    def one_line(error: UserError) -> tuple[Response, int]:
        return jsonify({"error": str(error)}), 400

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(_: RequestEntityTooLarge) -> tuple[Response, int]:
        most = f"at most {LARGEST // 2**20} MB can be dropped here"
        return jsonify(
            {"error": f"the photo is too large: {most}; classify it with coder-clip classify"}
        ), 413

    @app.get("/<token>/", defaults={"name": "page.html"})
    @app.get("/<token>/<any('page.css', 'page.js'):name>")
    def page(token: str, name: str) -> Response:
        return send_from_directory(Path(__file__).parent / "page_files", name)

    @app.get("/<token>/state")
    def state(token: str) -> Response:
        return jsonify({**explorer.state(), "largest": LARGEST})

    @app.get("/<token>/why/<int:position>")
    def why(token: str, position: int) -> Response:
        return jsonify(explorer.why(position))

    @app.get("/<token>/<any('thumbnail', 'photo'):size>/<int:position>")
    def photo(token: str, size: str, position: int) -> Response:
        if position >= len(explorer.study.names):
            abort(404)
        side = THUMBNAIL if size == "thumbnail" else VIEW
        with decoding:  # a browser asks for many at once, and each may have 178 megapixels
            content = _jpeg(explorer.image(position), side)
        return Response(content, mimetype="image/jpeg")

    @app.post("/<token>/texts")
    def texts(token: str) -> Response:
        return jsonify(explorer.edit(request.get_json(silent=True)))

    @app.post("/<token>/classify")
    def classify(token: str) -> Response:
        content = request.get_data()
        with decoding:
            return jsonify(explorer.classify(content))

    @app.post("/<token>/correct/<int:position>")
    def correct(token: str, position: int) -> Response:
        return jsonify(explorer.correct(position, _text("to")))

    @app.post("/<token>/like")
    def like(token: str) -> Response:
        return jsonify(explorer.like(_text("plus"), _text("minus")))

    @app.get("/<token>/alike")
    def alike(token: str) -> Response:
        return jsonify(explorer.alike())

    @app.get("/<token>/photos.csv")
    def table(token: str) -> Response:
        headers = {"Content-Disposition": "attachment; filename=photos.csv"}
        return Response(explorer.csv(), mimetype="text/csv", headers=headers)

    @app.post("/<token>/save")
    def save(token: str) -> Response:
        return jsonify({"path": explorer.save(_text("name"))})

    return app


def _text(key: str) -> str:
    """The text with this key in the request's JSON object. UserError if there is none."""
    given: Any = request.get_json(silent=True)
    value = given.get(key) if isinstance(given, dict) else None
    if not isinstance(value, str):
        raise UserError(f"'{key}' is missing, or not a text")
    return value


class _Quiet(WSGIRequestHandler):
    def log_request(self, *_: Any) -> None: ...  # a line per thumbnail would be noise


def server(explorer: Explorer, port: int = 0) -> tuple[BaseWSGIServer, str]:
    """A server, which ``serve_forever`` starts, and the page's address. port: 0 for a free one.
    UserError for a port in use.
    """
    token = secrets.token_urlsafe(24)
    try:
        with socket.create_server((HOST, port)) as listening:
            port = listening.getsockname()[1]
            app = make_app(explorer, token, {f"{HOST}:{port}", f"localhost:{port}"})
            fd = listening.fileno()  # the server makes a copy of it
            made = make_server(HOST, port, app, threaded=True, request_handler=_Quiet, fd=fd)
    except OSError as error:
        raise UserError(
            f"port {port} cannot be used: {error.strerror}; leave --port out for a free one"
        ) from None
    return made, f"http://{HOST}:{port}/{token}/"


@contextmanager
def in_browser(address: str) -> Iterator[None]:
    """Open a page in the browser, by a file that only this user can read. The file is removed at
    the end.
    """
    # mkstemp makes a file of mode 0600
    handle, name = tempfile.mkstemp(prefix="coder-clip-", suffix=".html")
    path = Path(name)
    try:
        with open(handle, "w", encoding="utf-8") as stream:
            stream.write(REDIRECT.format(address=escape(address)))
        webbrowser.open(path.as_uri())
        yield
    finally:
        path.unlink(missing_ok=True)


def _jpeg(image: Image.Image, side: int) -> bytes:
    """Encode as JPEG, at most ``side`` pixels wide and high; smaller pictures are not enlarged."""
    image.thumbnail((side, side))
    out = io.BytesIO()
    image.convert("RGB").save(out, "JPEG", quality=88)
    return out.getvalue()
