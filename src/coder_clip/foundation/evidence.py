"""What the processes of a job do, noted while they do it, for the job's certificate.

Notes are lines of one file, which threads, forks and worker processes append to, so that none is
lost (`note`). Noted are blocks of code (foundation/tracing.py), keys of the configuration
(foundation/reads.py), and here: files that are opened, folders that are listed, paths that are
looked for, files that are written, environment variables. Empty outside of jobs.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

NOTES = "CODER_CLIP_NOTES"  # environment variable: the file of notes, for worker processes
# what opens source files to import them, or to show their lines in messages
NO_READERS = ("<frozen importlib", "linecache.py", "tokenize.py", "inspect.py")
# what others open and look for files with
TOOLS = ("genericpath", "posixpath", "pathlib")
FLAGS = "__executed__"  # name in each module that is traced (foundation/tracing.py)
config: Any = None  # the configuration of this job, which notes what is read of it
sources: dict[str, str] = {}  # module -> sha256 of the source that this process executes
_file: int | None = None  # descriptor of the file of notes; None before and after the work
_lines: set[str] = set()  # noted by this process
_at_import: list[str] = []  # files that were read before the work, by statements of modules
_ignored: tuple[str, ...] = ()
_quiet = threading.local()
# Python's own functions, whose calls `watch` notes
_stat, _lstat, _access = os.stat, os.lstat, os.access


def begin(ignored: Iterable[str | Path]) -> None:
    """Start noting.

    ignored: folders whose files are known in other ways, such as images. Never noted are files of
    tools in the clone (names with a dot in front: environments, caches, Git), files outside of the
    clone, and an installer's files about packages, whose versions the certificate names.
    """
    handle, path = tempfile.mkstemp(prefix="coder-clip-notes-")
    os.close(handle)
    os.environ[NOTES] = path
    _lines.clear()
    folders = [f"{os.path.abspath(folder)}/" for folder in (*ignored, sys.prefix)]
    Path(path).write_text(json.dumps(folders) + "\n", encoding="utf-8")
    attach()
    for line in _at_import:
        _write(line)
    for module, sha in sources.items():
        compiled(module, sha)


def attach() -> None:
    """Note in the file that `begin` made: also in a worker process, which starts from nothing."""
    global _file, _ignored
    path = os.environ[NOTES]
    with open(path, encoding="utf-8") as stream:
        _ignored = tuple(json.loads(stream.readline()))
    _file = os.open(path, os.O_WRONLY | os.O_APPEND)
    watch()


def end() -> list[list[Any]]:
    """Stop noting; return the notes of all processes: kind and values."""
    global _file
    assert _file is not None
    os.close(_file)
    _file = None
    path = Path(os.environ.pop(NOTES))
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    path.unlink()
    return [json.loads(line) for line in dict.fromkeys(lines)]


def noting() -> bool:
    """True while this thread works on a job; False also inside of `quiet`."""
    return _file is not None and not getattr(_quiet, "depth", 0)


@contextmanager
def quiet() -> Iterator[None]:
    """Context of code that is known in another way.

    By its result, or because a module is imported (foundation/blocks.py).
    """
    _quiet.depth = getattr(_quiet, "depth", 0) + 1
    try:
        yield
    finally:
        _quiet.depth -= 1


@contextmanager
def unseen() -> Iterator[None]:
    """Context of code that opens files and notes what it reads of them itself."""
    _quiet.unseen = getattr(_quiet, "unseen", 0) + 1
    try:
        yield
    finally:
        _quiet.unseen -= 1


def note(kind: str, *values: Any) -> None:
    """Add a line to the notes of the job."""
    if noting():
        _write(json.dumps([kind, *values]))


def made_by(code: Mapping[str, Iterable[str]]) -> None:
    """Note the code that made what a cache gave, module -> blocks.

    It decides the result of the job, which does not execute it.
    """
    for module, blocks in code.items():
        for block in blocks:
            note("block", module, block)


def _write(line: str) -> None:
    if line not in _lines and _file is not None:
        _lines.add(line)
        # one call, so that lines of several processes do not mix
        os.write(_file, f"{line}\n".encode())


def stamp(path: str) -> list[int]:
    """Times, size and inode of a file, by which a change is noticed.

    Tools can restore the mtime of a changed file, but not its ctime.
    """
    s = _stat(path)
    return [s.st_mtime_ns, s.st_size, s.st_ino, s.st_ctime_ns]


def compiled(module: str, sha: str) -> None:
    """Note the source of a module that this process executes; before the work, too."""
    sources[module] = sha
    _write(json.dumps(["source", module, sha]))


def wrote(path: str | Path, sha: str) -> None:
    """Note a file that this job wrote. sha: sha256 of the bytes that were written."""
    note("wrote", os.path.relpath(path), sha)


def reading(path: str | Path) -> None:
    """Note a file before compiled code opens it, which Python does not see.

    Arrow and safetensors are such libraries. Every such library is called behind this door.
    """
    _saw_open(str(path))


def variable(name: str) -> str | None:
    """The value of an environment variable that decides a result; noted by its hash."""
    value = os.environ.get(name)
    note("variable", name, hash_of_variable(name))
    return value


def hash_of_variable(name: str) -> str:
    """sha256 of the value of an environment variable, which can be a secret.

    "" if it is not set.
    """
    if name not in os.environ:
        return ""
    return hashlib.sha256(os.environ[name].encode(errors="replace")).hexdigest()


# ---- files ---------------------------------------------------------------------------------------


def watch() -> None:
    """Watch files from now on: those that modules read while they are imported, too."""
    if os.stat is _stat:
        sys.addaudithook(_audit)
        # Python reports what is opened and listed, but not what is looked for
        os.stat, os.lstat, os.access = _watched(_stat), _watched(_lstat), _watched_access


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook: a file is opened, or a folder is listed."""
    if event == "open":
        path, _, flags = arguments
        # what is created is a result, not an input
        created = flags & os.O_CREAT and flags & (os.O_EXCL | os.O_TRUNC)
        if not (flags & os.O_WRONLY or created):
            _saw_open(path)
    elif event in ("os.listdir", "os.scandir"):
        path = arguments[0]
        if path is None:
            path = "."
        full = _full(path)
        if full:
            _saw(_there(full, "listed"), f"{full}/")
    elif event == "sqlite3.connect":
        _saw_open(arguments[0])


def _watched(look: Any) -> Any:
    """`os.stat` or `os.lstat`, noting paths that were looked for."""

    def noted(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        """Call `look` and note whether the path is there."""
        try:
            result: os.stat_result = look(path, *arguments, **options)
        except (FileNotFoundError, NotADirectoryError):
            _saw("absent", _full(path, options.get("dir_fd")))
            raise
        _saw("present", _full(path, options.get("dir_fd")))
        return result

    return noted


def _watched_access(path: Any, *arguments: Any, **options: Any) -> bool:
    """`os.access`, noting paths that were looked for."""
    full = _full(path, options.get("dir_fd"))
    _saw(_there(full, "present"), full)
    return _access(path, *arguments, **options)


def _there(full: str, kind: str) -> str:
    """The kind of evidence of a path: ``kind`` if something is there, else "absent"."""
    if _mode(full):
        return kind
    return "absent"


def _saw_open(path: Any) -> None:
    """Note a file that is opened for reading as read, or as looked for if it is not there."""
    full = _full(path)
    mode = _mode(full)
    if not mode:
        _saw("absent", full)
    elif stat.S_ISREG(mode):
        _saw("read", full)


def _full(path: Any, folder: int | None = None) -> str:
    """The absolute path; "" for a descriptor, or below a folder that is one."""
    if folder or not isinstance(path, (str, bytes, os.PathLike)):
        return ""
    return os.path.abspath(os.fsdecode(path))


def _mode(full: str) -> int:
    """Type and permissions of a file; 0 if it is not there."""
    try:
        return _stat(full).st_mode
    except OSError:
        return 0


def _saw(kind: str, full: str) -> None:
    """Note a path, unless it is not of the kind that counts (`begin`)."""
    if getattr(_quiet, "unseen", 0):
        return
    path = full.removeprefix(f"{os.getcwd()}/")
    # a path that stays absolute is outside of the clone
    if (
        path == full
        or path.startswith(".")
        or f"{full}/".startswith(_ignored or (f"{sys.prefix}/",))
    ):
        return
    # every import looks for the folders of sys.path, and lists them
    if kind != "read" and full.rstrip("/") in map(os.path.abspath, sys.path):
        return
    if "__pycache__" in path or ".egg-info" in path:
        return
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_tool(frame):
        frame = frame.f_back
    if any(reader in frame.f_code.co_filename for reader in NO_READERS):
        return
    _note_from(frame, kind, path, stamp(full) if kind == "read" else [])


def took(module: str, name: str) -> None:
    """Note a name that is read of a module's source, without importing it."""
    _note_from(sys._getframe(1), "attribute", module, name)


def _note_from(frame: FrameType, *values: Any) -> None:
    """Note something that code in a frame did.

    While a module is imported, it counts if the statement that did it does: its module and line are
    noted. What a library does while it is imported always counts, because the first module that
    needs the library imports it for all. In another quiet place it does not count.
    """
    if noting():
        note(*values, "", 0)
        return
    while frame.f_back is not None and not (_is_of_module(frame) or _is_of_library(frame)):
        frame = frame.f_back
    place: list[Any] = ["", 0]
    if _is_of_module(frame):
        place = [os.path.relpath(frame.f_code.co_filename), frame.f_lineno]
    if frame.f_back is not None:
        line = json.dumps([*values, *place])
        _at_import.append(line)
        _write(line)


def _is_tool(frame: FrameType) -> bool:
    """True for this module, and for functions of paths, which others call."""
    file = frame.f_code.co_filename
    return frame.f_globals is globals() or any(tool in file for tool in TOOLS)


def _is_of_module(frame: FrameType) -> bool:
    """True for the top level of a module of this program."""
    return frame.f_code.co_name == "<module>" and FLAGS in frame.f_globals


def _is_of_library(frame: FrameType) -> bool:
    """True for the top level of a library's module.

    Not for that of a script, which Python starts itself.
    """
    by = frame.f_back.f_code.co_filename if frame.f_back is not None else ""
    return frame.f_code.co_name == "<module>" and "importlib" in by and FLAGS not in frame.f_globals
