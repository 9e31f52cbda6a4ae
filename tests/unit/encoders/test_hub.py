"""The model hub: each way in which it refuses has its own advice, the same wherever weights are
asked for.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from coder_clip.encoders import hub as hub_module
from coder_clip.encoders.checkpoints import CONFIG
from coder_clip.encoders.encoder import EncoderSpec, load_encoder
from coder_clip.encoders.hub import ANY, download_problem, from_hub, hub_problem
from coder_clip.errors import UserError
from coder_clip.pipeline.config import load_config
from coder_clip.preflight import thorough
from coder_clip.preflight.check import Run, before_run

COMMIT = {"X-Repo-Commit": "0" * 40}


@dataclass
class Hub:
    """A server that answers every request in one way. asked: path and token of each request."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    found = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.path, self.headers.get("authorization", "")))
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", found.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    thorough._hub_problem.cache_clear()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


ANSWERS = {
    "private or misspelt": (401, {"X-Error-Code": "RepoNotFound"}, "compare the name; if it is "
"private, set HF_TOKEN"),
    "gated without a token": (401, {"X-Error-Code": "GatedRepo"}, "org/vit is gated (HTTP 401): "
"accept its terms at"),
    "gated": (403, {"X-Error-Code": "GatedRepo"}, "org/vit is gated (HTTP 403): "
"accept its terms at"),
    "misspelt": (404, {"X-Error-Code": "RepoNotFound"}, "has no org/vit (HTTP 404): "
"compare the name"),
    "no model": (404, {"X-Error-Code": "EntryNotFound"}, f"org/vit has no {CONFIG}: it is "
"not a model in"),
    "out of order": (503, {}, "does not work at the moment (HTTP 503): try again later"),
    "too many": (429, {}, "does not work at the moment (HTTP 429): try again later"),
    "login page": (200, {"Content-Type": "text/html"}, "something else answers in the place of"),
}  # fmt: skip


@pytest.mark.parametrize("case", ANSWERS)
def test_each_refusal_has_its_own_advice(hub: Hub, case: str) -> None:
    """Told that there is no network, people look for a cable, though they only have to accept the
    model's terms.
    """
    hub.status, hub.headers, advice = ANSWERS[case]
    assert advice in hub_problem("org/vit", CONFIG)
    others = {words for name, (_, _, words) in ANSWERS.items() if words != advice and name != case}
    assert not [words for words in others if words in hub_problem("org/vit", CONFIG)]
    assert "hf download" not in hub_problem("org/vit", CONFIG), "the advice for a missing network"


def test_a_token_that_may_not_read_it_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_secret")
    hub.status = 401
    problem = hub_problem("org/vit")
    assert "the token that is set (HF_TOKEN, 'hf auth login') may not read it" in problem
    assert "hf_secret" not in problem
    assert hub.asked == [(f"/org/vit/resolve/main/{ANY}", "Bearer hf_secret")]


def test_a_hub_that_gives_the_model_is_no_problem(hub: Hub) -> None:
    """A repository of a tokenizer has no configuration of open_clip, which is fine."""
    hub.headers = COMMIT
    assert hub_problem("org/vit") == ""
    hub.status, hub.headers = 404, {"X-Error-Code": "EntryNotFound"}
    assert hub_problem("org/tokenizer") == ""


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    problem = hub_problem("org/vit")
    assert problem.startswith("http://127.0.0.1:9 cannot be reached (")
    assert "'hf download org/vit' and copy its Hugging Face cache here" in problem


@pytest.mark.parametrize("case", ["gated", "misspelt", "out of order", "login page"])
def test_every_door_says_the_same(
    hub: Hub,
    case: str,
    command: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """check said it right; prefetch, classify and a run blamed the network."""
    monkeypatch.chdir(tmp_path)
    hub.status, hub.headers, advice = ANSWERS[case]
    Path("c.yaml").write_text(
        "datasets: {shapes: {texts: names}}\nmodels: {clip: {model: hf-hub:org/vit}}\nadapter: "
        "{shots: [1]}\n"
    )
    Path("photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(b"no photo is opened before the model is found")
    doors = [
        ("check", "--config", "c.yaml"),
        ("prefetch", "--config", "c.yaml"),
    ]
    if find_spec("coder_clip_photos"):
        doors.append(("classify", "photos", "--classes", "cat,dog", "--model", "hf-hub:org/vit"))
    for door in doors:
        answer = command(*door)
        assert answer.code == 1
        said = answer.out + answer.err
        assert advice in said, (door, said)
        assert "hf download" not in said
        assert "Traceback" not in said
    with pytest.raises(UserError) as job:
        load_encoder(EncoderSpec("hf-hub:org/vit", device="cpu"))
    config = load_config("c.yaml")
    with pytest.raises(UserError) as run:
        before_run(Run(config, Path("c.yaml"), [], ["clip"], asks=False, here=True))
    for error in (job, run):
        assert advice in str(error.value)
        assert "\n" not in str(error.value)


def _raised(number: int) -> Callable[[], None]:
    def action() -> None:
        if hub_module.huggingface_hub.constants.HF_HUB_OFFLINE:
            raise FileNotFoundError("not cached")
        try:
            raise OSError(number, os.strerror(number))
        except OSError as error:  # as open_clip does
            raise FileNotFoundError("Failed to download file") from error

    return action


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "no room in {cache}: make room, or set HF_HOME"),
        (errno.EDQUOT, "no room in {cache}: make room, or set HF_HOME"),
        (errno.EACCES, "{cache} cannot be written to: correct its permissions, or set HF_HOME"),
    ],
)
def test_a_disk_that_takes_no_weights(hub: Hub, tmp_path: Path, number: int, advice: str) -> None:
    """Told to copy the cache here, people would fill the same disk again."""
    hub.headers = COMMIT
    with pytest.raises(UserError) as caught:
        from_hub(_raised(number), "weights of vit", "org/vit", offline=False)
    assert advice.format(cache=tmp_path / "cache") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_seen_where_its_error_was_dropped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """open_clip tries two files, and reports that the second does not exist."""
    assert download_problem(FileNotFoundError("no such entry")) == ""
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert "no room in" in download_problem(FileNotFoundError("no such entry"))
