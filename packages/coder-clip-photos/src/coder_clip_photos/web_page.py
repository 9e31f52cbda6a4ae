"""The page of ``coder-clip explore``.

A web server for this machine and the person who started it, nobody else.

It listens on 127.0.0.1 only; every address begins with a random token that only the terminal shows,
and the Host header has to be this machine's, so that no other web page can use it. Everybody on a
machine sees the command lines of all programs, so the browser gets the name of a file that only its
owner can read, and that leads to the page. The page asks nothing of any other server (its content
security policy forbids it), and files are never named by the browser: photos have numbers.
"""

from __future__ import annotations

import hmac
import io
import os
import re
import secrets
import socket
import tempfile
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, jsonify, request, send_from_directory
from PIL import Image
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from coder_clip.errors import UserError

from . import export
from .draft import Conflict, state_folder
from .explorer import Explorer

HOST = "127.0.0.1"
PAGE_FILES = Path(__file__).parent / "page_files"
TOKEN = re.compile(r"[\w-]{32}")  # as it is made
THUMBNAIL, VIEW = 240, 900  # pixels of the longer side
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
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


def _guard(app: Flask, explorer: Explorer, token: str, hosts: set[str]) -> None:
    """Refuse other persons before any route runs; headers and errors of all answers."""

    @app.before_request
    def only_this_person() -> None:
        given = str((request.view_args or {}).get("token", ""))
        if request.host not in hosts or not hmac.compare_digest(given.encode(), token.encode()):
            abort(404)

    @app.after_request
    def headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.errorhandler(Conflict)
    def conflict(error: Conflict) -> tuple[Response, int]:
        return jsonify({"error": str(error), "state": explorer.state()}), 409

    @app.errorhandler(UserError)
    def one_line(error: UserError) -> tuple[Response, int]:
        return jsonify({"error": str(error)}), 400


def make_app(explorer: Explorer, token: str, hosts: set[str]) -> Flask:
    """The web application. hosts: allowed values of the Host header."""
    # Other programs and web pages of this machine can reach the port, too. So every address
    # contains the token, and a request without it, or with a foreign Host header (DNS rebinding),
    # gets 404 before any route runs.
    app = Flask(__name__, static_folder=None, template_folder=None)
    app.json.ensure_ascii = True  # type: ignore[attr-defined]
    names = ", ".join(f"'{path.name}'" for path in sorted(PAGE_FILES.iterdir()))

    _guard(app, explorer, token, hosts)

    @app.get("/<token>/", defaults={"name": "page.html"})
    @app.get(f"/<token>/<any({names}):name>")
    def page(token: str, name: str) -> Response:
        return send_from_directory(PAGE_FILES, name)

    @app.get("/<token>/state")
    def state(token: str) -> Response:
        return jsonify(explorer.state())

    @app.get("/<token>/why/<int:position>")
    def why(token: str, position: int) -> Response:
        return jsonify(explorer.why(position))

    @app.get("/<token>/<any('thumbnail', 'photo'):size>/<int:position>")
    def photo(token: str, size: str, position: int) -> Response:
        if position >= len(explorer.study.names) or explorer.image is None:
            abort(404)
        side = VIEW
        if size == "thumbnail":
            side = THUMBNAIL
        return Response(_jpeg(explorer.image(position, side), side), mimetype="image/jpeg")

    _add_searches(app, explorer)
    _add_edits(app, explorer)
    _add_files(app, explorer)
    return app


def _add_searches(app: Flask, explorer: Explorer) -> None:
    """The routes that find photos: like a text or a photo, or to be labelled next."""

    @app.post("/<token>/like")
    def like(token: str) -> Response:
        return jsonify(explorer.like(_text("plus"), _text("minus")))

    @app.get("/<token>/like/<int:position>")
    def like_photo(token: str, position: int) -> Response:
        return jsonify(explorer.like_photo(position))

    @app.get("/<token>/next")
    def next_photos(token: str) -> Response:
        return jsonify(explorer.next_photos())


def _add_edits(app: Flask, explorer: Explorer) -> None:
    """The routes of edits. Each names the version that it is an edit of, and answers the state."""
    edits: dict[str, Callable[[dict[str, Any], int], dict[str, Any]]] = {
        "texts": lambda given, v: explorer.edit(given.get("classes"), v),
        "label": lambda given, v: explorer.label(given.get("photos"), given.get("to"), v),
        "correct": lambda given, v: explorer.correct(given.get("photo", -1), _text("to"), v),
        "add-class": lambda _, v: explorer.add_class(_text("name"), v),
        "rename-class": lambda _, v: explorer.rename_class(_text("name"), _text("to"), v),
        "remove-class": lambda _, v: explorer.remove_class(_text("name"), v),
        "start-afresh": lambda _, v: explorer.start_afresh(v),
    }

    @app.post("/<token>/edit/<name>")
    def edit(token: str, name: str) -> Response:
        if name not in edits:
            abort(404)
        given = _given()
        return jsonify(edits[name](given, _number(given.get("version"))))


def _add_files(app: Flask, explorer: Explorer) -> None:
    """The routes of files that leave the page, and of labels that come in."""

    @app.get("/<token>/photos.csv")
    def table(token: str) -> Response:
        return _download(export.photos_csv(explorer), "photos.csv")

    @app.get("/<token>/labels.csv")
    def labels(token: str) -> Response:
        return _download(export.labels_csv(explorer.labels_by_name), "labels.csv")

    @app.post("/<token>/labels")
    def take_labels(token: str) -> Response:
        try:
            text = request.get_data().decode("utf-8")
        except UnicodeDecodeError:
            raise UserError("labels: this is no CSV file in UTF-8") from None
        version = _number(request.args.get("version", type=int))
        found = export.read_labels(text, explorer.study.names, "labels")
        state = explorer.label_by_name(found.labels, version)
        return jsonify({**state, "said": found.said("the file")})

    @app.post("/<token>/save")
    def save(token: str) -> Response:
        with explorer.lock:
            return jsonify({"path": export.save_texts(explorer, _text("name"))})

    @app.post("/<token>/make-run")
    def make_run(token: str) -> Response:
        with explorer.lock:
            photos, folder, command = export.make_run(explorer, _text("name"))
        return jsonify({"photos": photos, "folder": str(folder), "command": command})


def _download(text: str, name: str) -> Response:
    headers = {"Content-Disposition": f"attachment; filename={name}"}
    return Response(text, mimetype="text/csv", headers=headers)


def _given() -> dict[str, Any]:
    """The JSON object of the request; empty if there is none."""
    given = request.get_json(silent=True)
    if not isinstance(given, dict):
        return {}
    return given


def _number(version: Any) -> int:
    """The version of the work that an edit is of. UserError if there is none."""
    if not isinstance(version, int):
        raise UserError("'version' is missing, or not a number")
    return version


def _text(key: str) -> str:
    """The text with this key in the request's JSON object. UserError if there is none."""
    value = _given().get(key)
    if not isinstance(value, str):
        raise UserError(f"'{key}' is missing, or not a text")
    return value


class _Quiet(WSGIRequestHandler):
    def log_request(self, *_: Any) -> None: ...  # a line per thumbnail would be noise


def server(explorer: Explorer, port: int = 0) -> tuple[BaseWSGIServer, str]:
    """A server, which ``serve_forever`` starts, and the page's address.

    port: 0 for a free one, with a new address; another one has the same address at each start, so
    that an open page goes on. UserError for a port in use.
    """
    token = secrets.token_urlsafe(24)
    if port:
        token = _kept_token(port)
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


def _kept_token(port: int) -> str:
    """The token of the pages on this port, in a file that only this user can read."""
    path = state_folder() / f"page-{port}.token"
    try:
        if path.is_file():
            kept = path.read_text(encoding="ascii", errors="replace").strip()
            if TOKEN.fullmatch(kept):
                return kept
            path.unlink()  # of a start that was killed, or a disk that was full
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        token = secrets.token_urlsafe(24)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w", encoding="ascii") as stream:
            stream.write(token)
        return token
    except OSError as error:
        raise UserError(f"the address cannot be kept in {path}: {error.strerror}") from None


@contextmanager
def in_browser(address: str) -> Iterator[None]:
    """Open a page in the browser, by a file that only this user can read.

    The file is removed at the end.
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
