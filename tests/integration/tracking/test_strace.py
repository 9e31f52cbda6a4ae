"""Certificates name all files that a job touches: compared with what strace sees of its processes.

One small run executes every rule. Seen are files that are read, folders that are listed, and paths
that are looked for and absent, by compiled code and by child processes, too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from coder_clip.jobs import RULES
from llm_server import serving, words
from working_copy import Work, environment, few_pictures, working_copy

pytestmark = pytest.mark.rest

CALLS = (
    *("open", "openat", "openat2", "creat", "stat", "lstat", "newfstatat", "statx"),
    *("access", "faccessat", "faccessat2", "getdents", "getdents64", "chdir", "unlink", "unlinkat"),
    *("execve", "clone", "clone3", "fork", "vfork"),
)
STRACE = [
    *("strace", "--follow-forks", "--output-separately", "--seccomp-bpf", "--decode-fds=path"),
    *("--absolute-timestamps=format:unix,precision:us", "--string-limit=4096"),
    *("--quiet=all", "--signal=none"),
]
LINE = re.compile(r"(\d+\.\d+) (\w+)\((.*)\) += (-?\d+)(.*)")
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
JOB = re.compile(r'"coder_clip\.job", "[^"]*", "[^"]*/certificates/([^"]+)\.json"')
KEY = "sk-strace-0123456789"
TEXTS = {"attribute": "llm", "analogous": "llm", "synonym": "llm", "one_to_one": "llm"}
DOCUMENT: dict[str, Any] = {
    "title": "strace",
    "datasets": {
        "marks": {"root": "photos/marks", "views": 2, "texts": {"name": "names", **TEXTS}}
    },
    "models": ["mini"],
    "features": {"batch_size": 8},
    "adapter": {"shots": [1], "seeds": [1, 2], "betas": [0.1, 200, 10], "alphas": [0.1, 20, 5]},
    "evaluation": {"tsne_images": 40, "text_counts": [1], "draws": 1},
    "generator": {
        "model": "tiny",
        "texts_per_class": {"attribute": 4, "analogous": 2, "synonym": 2, "one_to_one": 2},
        "max_pairs": 12,
        "prices": {"date": "2026-11-01", "input": 1.0, "output": 2.0},
        "max_cost": 1.0,
        "key_variable": "TINY_KEY",
        "on_failure": "skip",
    },
}
# An embedded data set, whose features are made in parts.
PARTS: dict[str, Any] = {
    "title": "parts",
    "results": "results/parts",
    "datasets": {"shapes": {"views": 1}},
    "models": ["mini"],
    "features": {"shards": 2},
}
BY_CAT = '    __import__("subprocess").run(["cat", "README.md"], check=True)\n'
# Not in records, as `rerun.note` documents: files of tools, and an installer's.
TOOLS = re.compile(r"\.|.*(__pycache__|\.egg-info)")
# Modules are looked for; what notes is not noted.
CODE = re.compile(r"(src|packages/[\w-]+/src)(/\w+)*(/\w+\.py|/__init__\.[\w.-]*so)?$")
OBSERVER = re.compile(r"src/coder_clip/rerun/")
# Folders whose files are known in other ways (`known_folders`): images and answers.
KNOWN = re.compile(r"(photos/marks|data/embedded/\w+|data/texts/answers)(/|$)")
# torch names files that are nowhere, and Python looks for their source to show lines of it.
# What notes looks whether an argument of a compiled reader is a path.
NOWHERE = re.compile(r"_(classes|ops)\.py|(cpu|mmap|numpy|pt)$")
ELSEWHERE = (TOOLS, OBSERVER, KNOWN, NOWHERE)


@dataclass
class Seen:
    """What strace saw of a job. touched: time, kind (read, listed, absent) and path below the clone.

    begin, end: of the work, between which everything counts.
    """

    touched: list[tuple[float, str, str]] = field(default_factory=list)
    wrote: set[str] = field(default_factory=set)
    begin: float = 0.0
    end: float = 0.0


class Traces:
    """The files of one strace, one for each process and thread."""

    def __init__(self, folder: Path, clone: Path) -> None:
        self._clone = f"{clone}/"
        self._calls: dict[int, list[tuple[float, str, str, int, str]]] = {}
        self._children: dict[int, list[int]] = defaultdict(list)
        for path in folder.iterdir():
            pid = int(path.suffix.removeprefix("."))
            self._calls[pid] = list(_parsed(path))
            self._children[pid] += [
                result
                for _, call, _, result, _ in self._calls[pid]
                if call in ("clone", "clone3", "fork", "vfork") and result > 0
            ]

    def jobs(self) -> dict[str, Seen]:
        """What was seen of each job, by its name."""
        found = {}
        for pid, calls in self._calls.items():
            started = [
                JOB.search(a) for _, call, a, code, _ in calls if (call, code) == ("execve", 0)
            ]
            for match in filter(None, started):
                found[match[1]] = self._seen(pid)
        return found

    def _seen(self, pid: int) -> Seen:
        """Everything that a process and its children did."""
        seen = Seen()
        family = [pid]
        for member in family:  # the list grows in the loop
            family += self._children.get(member, [])
            for time, kind, path in self._events(self._calls.get(member, [])):
                if "/rerun-notes-" in path:
                    # the file of notes is made where the work begins, and removed at its end
                    if kind == "wrote" and not seen.begin:
                        seen.begin = time
                    elif kind == "removed":
                        seen.end = time
                elif path.startswith(self._clone):
                    below = path.removeprefix(self._clone)
                    if kind == "wrote":
                        seen.wrote.add(below)
                    elif kind != "removed":
                        seen.touched.append((time, kind, below))
        return seen

    def _events(
        self, calls: list[tuple[float, str, str, int, str]]
    ) -> Iterator[tuple[float, str, str]]:
        """Time, kind and absolute path of what the calls of a process did."""
        here = self._clone
        for time, call, arguments, result, error in calls:
            # the descriptor of a folder is shown with its path
            opened = re.match(r"(?:AT_FDCWD|\d+)<(.*?)>", arguments)
            string = STRING.search(arguments)
            if call.startswith("getdents") and opened:
                yield time, "listed", _text(opened[1])
            if string is None or not string[1] or call.startswith(("exec", "clone", "getdents")):
                continue
            folder = _text(opened[1]) if opened else here
            path = os.path.normpath(os.path.join(folder, _text(string[1])))
            if call == "chdir":
                here = path
            elif call.startswith("unlink"):
                yield time, "removed", path
            elif result < 0:
                if "ENOENT" in error or "ENOTDIR" in error:
                    yield time, "absent", path
            elif call.startswith(("open", "creat")) and "O_DIRECTORY" not in arguments:
                made = call == "creat" or re.search(r"O_WRONLY|O_CREAT.*O_(TRUNC|EXCL)", arguments)
                yield time, "wrote" if made else "read", path


def _parsed(path: Path) -> Iterator[tuple[float, str, str, int, str]]:
    """Time, name, arguments, result and error of each call."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        match = LINE.match(line)
        if match:
            yield float(match[1]), match[2], match[3], int(match[4]), match[5]


def _text(shown: str) -> str:
    """A string as it was, with bytes that strace shows as \\ooo."""
    return shown.encode().decode("unicode_escape").encode("latin-1").decode(errors="replace")


def traced(work: Work, *targets: str, **more: str) -> dict[str, Seen]:
    """Run Snakemake under strace; what was seen of each job."""
    folder = work.folder.parent / f"traces{len(list(work.folder.parent.iterdir()))}"
    folder.mkdir()
    output = [f"--output={folder}/trace", f"--trace={','.join(CALLS)}"]
    done = subprocess.run(
        [*STRACE, *output, *work.snakemake_command(*targets)],
        cwd=work.folder,
        env={**environment(work.folder), **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return Traces(folder, work.folder).jobs()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    if subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], check=False).returncode:
        pytest.skip("strace may not trace here, as in a container without SYS_PTRACE")
    made = working_copy(tmp_path_factory.mktemp("strace") / "copy", DOCUMENT)
    few_pictures(made.folder)
    return made


@pytest.fixture(scope="module")
def seen(work: Work) -> dict[str, Seen]:
    """Of every job of both runs."""
    with serving(lambda about, count: words(about, count), ["ok"]) as server:
        server.key, server.served = KEY, "tiny"
        work.configure(lambda document: document["generator"].update(base_url=server.url))
        found = traced(work, TINY_KEY=KEY)
    work.configure(lambda document: (document.clear(), document.update(PARTS)))
    return found | traced(work, "image_features")


def test_every_rule_was_traced(seen: dict[str, Seen]) -> None:
    ran = {name.split("/")[1] for name in seen}
    assert ran == {rule.name for rule in RULES}
    assert all(0 < job.begin < job.end and job.touched for job in seen.values())


def test_certificates_name_all_that_strace_saw(work: Work, seen: dict[str, Seen]) -> None:
    """What is not in a certificate can change and nobody notices."""
    assert unnamed(work, seen) == {}


def test_a_file_that_only_strace_sees_is_found(work: Work, seen: dict[str, Seen]) -> None:
    """Of a program that a job starts nothing is noted: the test above would say so."""
    assert seen
    module = work.folder / "src/coder_clip/phases/manifest.py"
    line = "    described = Source.of(source)\n"
    text = module.read_text()
    assert line in text
    module.write_text(text.replace(line, BY_CAT + line))
    again = traced(work, "results/parts/manifests/shapes.json")
    assert unnamed(work, again) == {"read README.md": "texts/list_images/shapes"}


def unnamed(work: Work, seen: dict[str, Seen]) -> dict[str, str]:
    """What jobs touched and their certificates do not name: kind and path -> one of the jobs.

    Before the work, the old record is judged, which looks for much.
    """
    found: dict[str, str] = {}
    for name, job in seen.items():
        (path,) = work.folder.glob(f"results/**/certificates/{name}.json")
        own = path.relative_to(work.folder).as_posix()
        results = own.partition("/certificates/")[0]
        certificate = json.loads(path.read_text())
        named = {*certificate["inputs"], *certificate["outputs"], *certificate["files"]}
        named |= {*certificate["modules"]}
        known = {file.rstrip("/") for file in named} | job.wrote | {own}
        for time, kind, touched in job.touched:
            # after it, what the certificate names is hashed
            if time > job.end or time < job.begin:
                continue
            # other jobs write into the folders of results all the time
            of_results = kind == "listed" and f"{touched}/".startswith(f"{results}/")
            elsewhere = any(expression.match(touched) for expression in ELSEWHERE)
            elsewhere |= kind != "read" and CODE.match(touched) is not None
            if not (touched in known or of_results or elsewhere):
                found.setdefault(f"{kind} {touched}", name)
    return found
