"""A hundred commits and folders that nobody thought of, drawn from a seed: every command ends at
once, in one line, and nothing outside of the results folder changes.

The commands run in this process, with the plan of the project as it was, so that a case takes a
second. Another ``SEED`` is another hundred.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from coder_clip.errors import UserError
from coder_clip.pipeline.config import existing_file
from coder_clip.tracking import record as recording
from coder_clip.tracking import stages
from coder_clip.tracking.record import record
from coder_clip.tracking.share import pull, push
from coder_clip.tracking.status import status, table
from project import TOY

SEED, CASES = 55, 100
CONFIG = "config/reproduce.yaml"
# what the user can repair, of which the command line makes one line
REPAIRABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
PLACES = (
    "../victim", "../victim/file", "/etc/passwd", "src", "src/toy/page.py", "data", "data/a.txt",
    ".git/hooks/post-checkout", ".dvc/config", "config/reproduce.yaml", "results/scores",
    "results/../src", "..", ".", "", "Snakefile", "workflow/phases.yaml", "results/.envrc",
    "~/x", "results/texts/../../../victim/file", "a\\..\\b", "remote://store", "tracked",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    *PLACES, None, True, 0, -1, 2**70, 1.5, float("inf"), [], {}, ["x"], {"x": 1}, [[[]]],
    "\x1b[2J", "\u202egnp", "n" * 300, "x" * 5000, "é" * 200, "1" * 32, "1" * 32 + ".dir",
    "../../victim/file.dir", "\n", " ", "{wildcards.set}", "$(touch x)", "%(x)s", "${x}",
)  # fmt: skip
KEYS = ("files", "isexec", "remote", "cloud", "cache", "persist", "wdir", "foreach", "x\x1b", "")
SETTINGS = (
    "[cache]\n    dir = ../src", "[core]\n    remote = nowhere", "[core]\n    site_cache_dir = ../src",
    "['remote \"store\"']\n    url =", "['remote \"store\"']\n    url = ../src",
    "['remote \"store\"']\n    url = s3://x/y\n    configpath = ../aws\n    profile = evil",
    "['remote \"store\"']\n    url = ../../victim\n    bearer_token_command = touch x",
    "['remote \"store\"']\n    url = remote://store/x", "[[[", "\x00", "[core]\n    a = %(a)s",
    "['remote \"a\"']\n    url = ../../store\n    shared = group", "x" * 200_000,
)  # fmt: skip


class Hostile:
    """What one person does to a clone and its remote. Each method is a kind of change."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng, self.said = folder, rng, ""

    def kinds(self) -> list[Callable[[], None]]:
        return [
            *(self.lock_value, self.lock_key, self.lock_twice, self.listing, self.results),
            *(self.setting, self.other_kind, self.bytes_of, self.certificate, self.other_record),
        ]

    def some_changes(self) -> None:
        for _ in range(self.rng.choice([1, 1, 2, 3])):
            kind = self.rng.choice(self.kinds())
            self.said += f"{kind.__name__} "
            kind()

    def _lock(self, change: Callable[[list[Any]], None]) -> None:
        """Change one of the mappings and lists of dvc.lock; it can be damaged by now."""
        file = self.folder / "dvc.lock"
        try:
            document = yaml.safe_load(file.read_text())
            nodes = [node for node in _nodes(document) if node]
            change([self.rng.choice(nodes)])
        except (OSError, ValueError, IndexError, TypeError, yaml.YAMLError):
            return
        file.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))

    def lock_value(self) -> None:
        def change(chosen: list[Any]) -> None:
            node = chosen[0]
            keys = list(node) if isinstance(node, dict) else range(len(node))
            node[self.rng.choice(list(keys))] = self.rng.choice(VALUES)

        self._lock(change)

    def lock_key(self) -> None:
        def change(chosen: list[Any]) -> None:
            node = chosen[0]
            if isinstance(node, dict):
                node[self.rng.choice(KEYS)] = self.rng.choice(VALUES)
                node.pop(self.rng.choice(list(node)))

        self._lock(change)

    def lock_twice(self) -> None:
        def change(chosen: list[Any]) -> None:
            node = chosen[0]
            if isinstance(node, list):
                node.append(self.rng.choice(node))

        self._lock(change)

    def listing(self) -> None:
        """A list of files of an output, in the remote, that the lock names."""
        md5 = self._object(b"theirs")
        names = [self.rng.choice([*VALUES, *PLACES, "a.json"]) for _ in range(2)]
        hashes = [self.rng.choice([md5, md5, self.rng.choice(VALUES)]) for _ in names]
        document: Any = [{"relpath": n, "md5": h} for n, h in zip(names, hashes, strict=True)]
        document = self.rng.choice([document, document, {"x": document}, [document], names])
        oid = self._object(json.dumps(document).encode(), ".dir")
        lock = self.folder / "dvc.lock"
        try:
            found = self.rng.choice([w for w in lock.read_text().split() if w.endswith(".dir")])
            lock.write_text(lock.read_text().replace(found, oid))
        except (OSError, ValueError, IndexError):
            pass

    def _object(self, data: bytes, suffix: str = "") -> str:
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        path = self.folder.parent / "store/files/md5" / md5[:2] / (md5[2:] + suffix)
        if path.parent.parent.is_dir():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        return md5 + suffix

    def results(self) -> None:
        with (self.folder / CONFIG).open("a", encoding="utf-8") as stream:
            value = self.rng.choice([v for v in VALUES if v != float("inf")])
            stream.write(f"results: {json.dumps(value)}\n")

    def setting(self) -> None:
        self._put(".dvc/config", self.rng.choice(SETTINGS).encode())

    def _put(self, name: str, data: bytes) -> None:
        path = self.folder / name
        self._remove(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def _remove(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif os.path.lexists(path):
            path.unlink()

    def other_kind(self) -> None:
        """Something else in place of a file or folder."""
        objects = sorted((self.folder.parent / "store/files/md5").glob("??/*"))
        cached = sorted((self.folder / ".dvc/cache/files/md5").glob("??/*"))
        own = (
            *("dvc.lock", "dvc.yaml", "results", "results/texts", "results/texts/a.json"),
            *("results/report.html", "results/certificates", "results/metrics.json", "tracked"),
            *(".dvc/cache", ".dvc/config", ".dvc/tmp", ".snakemake/coder-clip/sums.json"),
        )
        places = [self.folder / name for name in own]
        path = self.rng.choice([*places, *places, *objects[:9], *cached[:9]])
        if not path.parent.is_dir() or path.parent.is_symlink():
            return
        self._remove(path)
        kind = self.rng.choice(["folder", "file", "pipe", "link", "link to a folder", "dangling"])
        self.said += f"({path.name}: {kind}) "
        if kind == "folder":
            (path / "x").mkdir(parents=True)
        elif kind == "file":
            path.write_bytes(b"x")
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            victim = self.folder.parent / "victim"
            aims = {"link": victim / "file", "link to a folder": victim, "dangling": victim / "no"}
            path.symlink_to(aims[kind])

    def bytes_of(self) -> None:
        """Other bytes in a file that comes with a commit or a pull."""
        names = ["dvc.lock", "dvc.yaml", ".snakemake/coder-clip/sums.json", ".dvc/config"]
        names += ["results/certificates/texts/text/a.json", "results/texts/a.json"]
        path = self.folder / self.rng.choice(names)
        if not path.is_file() or path.is_symlink():
            return
        data = bytearray(path.read_bytes() or b"x")
        for _ in range(self.rng.choice([1, 5, 50])):
            data[self.rng.randrange(len(data))] = self.rng.randrange(256)
        data = data[: self.rng.choice([len(data), len(data) // 2, 0])]
        self._put(str(path.relative_to(self.folder)), bytes(data))

    def certificate(self) -> None:
        path = self.folder / "results/certificates/scores/score/a.json"
        try:
            stated = json.loads(path.read_text())
            key = self.rng.choice(list(stated))
            value = self.rng.choice(VALUES)
            stated[key] = self.rng.choice([value, {"x": value}, {str(value): "x"}])
            self._put(str(path.relative_to(self.folder)), json.dumps(stated).encode())
        except (OSError, ValueError, IndexError):
            pass

    def other_record(self) -> None:
        """Of another configuration, which may claim what it likes."""
        place = self.rng.choice(PLACES)
        out = {"path": f"{place}/certificates/texts", "md5": "1" * 32 + ".dir"}
        dep = {"path": self.rng.choice(VALUES), "md5": "2" * 32}
        entry = {"cmd": "x", "outs": [out], "deps": [dep]}
        text = yaml.safe_dump({"stages": {"texts": entry}})
        self._put("tracked/x/dvc.lock", text.encode())
        self._put("tracked/x/dvc.yaml", f"#\n# Configuration: {place}\n".encode())


def _nodes(document: Any) -> Iterator[Any]:
    """All mappings and lists of a document."""
    if isinstance(document, (dict, list)):
        yield document
        for part in document.values() if isinstance(document, dict) else document:
            yield from _nodes(part)


def everything(folder: Path) -> dict[str, Any]:
    """What no record of others may change: kind and content of all that is in the clone and beside
    it, but for results, the remote, and what Git, DVC and Snakemake keep for themselves.
    """
    mine = ("work/results", "work/.snakemake", "work/.dvc/cache", "work/.dvc/tmp", "store", "home")
    # `record` writes these, and pulls and records move files to the last
    mine += ("work/dvc.lock", "work/dvc.yaml", "work/results-set-aside")
    found: dict[str, Any] = {}
    for top, folders, names in os.walk(folder):
        at = Path(top).relative_to(folder)
        skipped = [n for n in folders if (at / n).as_posix() in (*mine, "work/.git/objects")]
        folders[:] = [name for name in folders if name not in skipped]
        for name in [*folders, *names]:
            path = at / name
            # Git notes times of files in its index
            if path.as_posix() in mine or path.as_posix() in ("work/.git/index", "work/.git"):
                continue
            about = os.lstat(folder / path)
            content: Any = stat.S_IFMT(about.st_mode)
            if stat.S_ISREG(about.st_mode):
                content = (folder / path).read_bytes()
            elif stat.S_ISLNK(about.st_mode):
                content = os.readlink(folder / path)
            found[path.as_posix()] = content
    return found


@contextmanager
def ends_soon(what: str) -> Iterator[None]:
    """Fail if the block waits for somebody, or computes for two seconds."""

    def stop(*_: Any) -> None:
        pytest.fail(f"waits: {what}")

    before, began = signal.signal(signal.SIGALRM, stop), time.process_time()
    signal.alarm(60)  # of a busy machine
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert time.process_time() - began < 2, what


def said_by(command: Callable[[], Any]) -> str:
    """The line that a person reads if the command fails; "" if it does not."""
    try:
        command()
    except UserError as error:
        return str(error)
    except OSError as error:
        if error.errno not in REPAIRABLE:
            raise
        return str(error)
    return ""


@pytest.fixture
def as_toy(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs of the project, which do not depend on what others did to it."""
    monkeypatch.syspath_prepend(TOY / "src")
    monkeypatch.delitem(sys.modules, "toy", raising=False)  # the one of tests/integration/rerun
    toy = importlib.import_module("toy.jobs")
    config = toy.load_config(finished / "work" / CONFIG)
    monkeypatch.setattr(recording, "load_config", lambda path: config)
    monkeypatch.setattr(recording, "jobs", toy.jobs)
    monkeypatch.setattr(recording, "PHASES", toy.PHASES)
    monkeypatch.setattr(stages, "PHASES", toy.PHASES)


COMMANDS: dict[str, Callable[[], Any]] = {
    "status": lambda: table(status(existing_file(CONFIG))[0]),
    "pull": lambda: pull(str(existing_file(CONFIG))),
    "push": lambda: push(str(existing_file(CONFIG))),
    "record": lambda: record(existing_file(CONFIG), set_aside=True),
}


@pytest.mark.usefixtures("as_toy")
@pytest.mark.parametrize(
    "case",
    [pytest.param(n, marks=[] if n < 20 else pytest.mark.rest) for n in range(CASES)],
)
def test_nothing_outside_of_the_results_changes(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: int
) -> None:
    """Whoever shares a repository or a remote could otherwise change a colleague's files, or stop
    every command with a traceback.
    """
    subprocess.run(["cp", "-a", f"{finished}/.", str(tmp_path)], check=True)
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/file").write_text("mine")
    hostile = Hostile(tmp_path / "work", random.Random(f"{SEED}-{case}"))
    hostile.some_changes()
    monkeypatch.chdir(tmp_path / "work")
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"):
        monkeypatch.setenv(name, "A")
    before = everything(tmp_path)
    for name, command in COMMANDS.items():
        what = f"{case}: {hostile.said}; {name}"
        with ends_soon(what):
            message = said_by(command)
        assert "\n" not in message, what
        assert message.isprintable(), what
        after = everything(tmp_path)
        changed = [path for path in {**before, **after} if after.get(path) != before.get(path)]
        assert changed == [], what


def test_the_cases_are_of_every_kind(tmp_path: Path) -> None:
    """A generator that only damaged one file would prove little."""
    kinds: list[str] = []
    for case in range(CASES):
        hostile = Hostile(tmp_path, random.Random(f"{SEED}-{case}"))
        hostile.rng.choice([1, 1, 2, 3])  # as many changes
        kinds.append(hostile.rng.choice(hostile.kinds()).__name__)
    assert all(kinds.count(kind.__name__) > 3 for kind in hostile.kinds()), kinds
