"""What decides a job's result, noted by the processes of the job while they do it.

Noted are modules that are imported, variables of the environment that the program reads, and files
that are opened, looked for or listed; of the program and its data alone, which are below the
working directory. Every process, thread and fork of a job adds lines to one file of notes.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import stat
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from .hashes import stamp

NOTES = "RERUN_NOTES"  # environment variable: the file of notes, for worker processes
PACKAGE = f"{Path(__file__).parent}{os.sep}"  # this package, whose own code is not noted
IMPORTS = "<frozen importlib"  # files of functions that import modules
# files of functions by which programs reach the environment and paths
TOOLS = (PACKAGE, os.__file__, "<frozen ")
# Functions whose compiled code opens the files that it is given: Python does not see that.
COMPILED = {
    "pyarrow": ("OSFile", "input_stream", "memory_map"),
    "pyarrow.csv": ("open_csv", "read_csv"),
    "pyarrow.dataset": ("dataset",),
    "pyarrow.feather": ("read_feather", "read_table"),
    "pyarrow.json": ("read_json",),
    "pyarrow.orc": ("ORCFile", "read_table"),
    "pyarrow.parquet": (
        "ParquetDataset",
        "ParquetFile",
        "read_metadata",
        "read_pandas",
        "read_schema",
        "read_table",
    ),
    "safetensors": ("safe_open",),
    "torchvision.io": ("decode_image", "read_file", "read_image", "read_video"),
}
_stat, _lstat, _access = os.stat, os.lstat, os.access  # Python's own
_root = ""  # the working directory when noting began, with a "/"
_ignored: dict[str, tuple[str, ...]] = {"folders": (), "changing": (), "variables": ()}
_file: int | None = None  # descriptor of the file of notes; None while nothing is noted
_lines: set[str] = set()  # noted by this process
_own = threading.local()  # `depth` above 0 while this module works


def begin(
    folders: Iterable[str] = (), changing: Iterable[str] = (), variables: Iterable[str] = ()
) -> None:
    """Start noting, in this process and those that it starts.

    folders: whose files are known in other ways. changing: folders to which other jobs write, whose
    files count if they are read, but not whether they are there or listed. variables: which change
    no result; a "*" at the end stands for any end. Never noted are files outside of the working
    directory, and hidden ones in it.
    """
    handle, path = tempfile.mkstemp(prefix="rerun-notes-")
    os.close(handle)
    ignored = {
        "folders": [f"{os.path.abspath(folder)}/" for folder in (*folders, sys.prefix)],
        "changing": [f"{os.path.abspath(folder)}/" for folder in changing],
        "variables": [*variables, NOTES],
        "root": f"{os.getcwd()}/",
    }
    Path(path).write_text(json.dumps(ignored) + "\n", encoding="utf-8")
    os.environ[NOTES] = path
    attach()
    # of modules that are there already
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    for file in filter(None, files):
        if file.endswith(".py"):
            _saw("read", os.path.abspath(file))


def attach() -> None:
    """Note in the file that `begin` made: also in a worker process that starts from nothing."""
    global _file, _root, _ignored
    path = os.environ[NOTES]
    with open(path, encoding="utf-8") as stream:
        known = json.loads(stream.readline())
    _root = known.pop("root")
    _ignored = {kind: tuple(names) for kind, names in known.items()}
    _lines.clear()
    _watch()
    _file = os.open(path, os.O_WRONLY | os.O_APPEND)


def end() -> list[list[Any]]:
    """Stop noting; return the notes of all processes: kind, name, and more."""
    global _file
    assert _file is not None
    os.close(_file)
    _file = None
    path = Path(os.environ.pop(NOTES))
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    path.unlink()
    return [json.loads(line) for line in dict.fromkeys(lines)]


def _note(*values: Any) -> None:
    line = json.dumps(values)
    if line not in _lines and _file is not None:
        _lines.add(line)
        os.write(_file, f"{line}\n".encode())  # one call: lines of processes do not mix


@contextmanager
def _noting() -> Iterator[bool]:
    """Context of this module's own work, which is not noted. False if nothing is to be noted."""
    depth = getattr(_own, "depth", 0)
    _own.depth = depth + 1
    try:
        yield _file is not None and not depth
    finally:
        _own.depth = depth


@functools.cache
def _watch() -> None:
    """Watch this process from now on; once."""
    sys.addaudithook(_audit)
    # Python reports what is opened, listed and renamed, but not what is looked for
    os.stat, os.lstat, os.access = _looking(_stat), _looking(_lstat), _looking_access
    os.environ.__class__ = _variables(type(os.environ))
    # finders made before would read modules without a note, so they are forgotten
    sys.path_hooks.insert(0, _finder)
    sys.path_importer_cache.clear()
    sys.meta_path.insert(0, _Compiled())


# ---- modules -------------------------------------------------------------------------------------


def _finder(path: str) -> FileFinder:
    """The finder of modules in a folder of the program."""
    folder = f"{os.path.abspath(path)}/"
    if not _counts(folder) or _ignores(folder):
        raise ImportError(path)  # Python asks the next hook then
    return FileFinder(path, (_Source, SOURCE_SUFFIXES))


class _Source(SourceFileLoader):
    """Loads a module from its source, never from bytecode.

    Bytecode can be that of another source of the same size and time.
    """

    def get_code(self, fullname: str) -> CodeType:
        with _noting() as noting:
            source = self.get_data(self.path)
            if noting and not self.path.startswith(PACKAGE):
                sha = hashlib.sha256(source).hexdigest()
                _note("module", os.path.abspath(self.path).removeprefix(_root), sha)
        code: CodeType = compile(source, self.path, "exec", dont_inherit=True)
        return code


class _Compiled(MetaPathFinder):
    """Lets functions of COMPILED note the files that they are given."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The spec of one of these modules, as the finders behind this one have it."""
        if name not in COMPILED:
            return None
        finders = sys.meta_path[sys.meta_path.index(self) + 1 :]
        specs = (finder.find_spec(name, path, target) for finder in finders)
        spec = next((spec for spec in specs if spec), None)
        if spec and spec.loader:
            spec.loader.exec_module = functools.partial(  # type: ignore[method-assign]
                _execute, spec.loader.exec_module
            )
        return spec


def _execute(execute: Any, module: ModuleType) -> None:
    """Execute a module of COMPILED, and replace its functions by those that note."""
    execute(module)
    for name in COMPILED[module.__name__]:
        if hasattr(module, name):
            setattr(module, name, _with_notes(getattr(module, name)))


def _with_notes(function: Any) -> Any:
    """A function that notes each path that it is given."""

    @functools.wraps(function, updated=())
    def noted(*arguments: Any, **options: Any) -> Any:
        with _noting() as noting:
            for value in (*arguments, *options.values()):
                # a text without a slash can be anything
                if noting and (isinstance(value, os.PathLike) or _is_path(value)):
                    _saw_open(value)
        return function(*arguments, **options)

    return noted


def _is_path(value: Any) -> bool:
    return isinstance(value, str | bytes) and ("/" in os.fsdecode(value) or _mode(_full(value)) > 0)


# ---- variables -----------------------------------------------------------------------------------


def _variables(environment: type) -> type:
    """The type of ``os.environ``, noting what the program reads."""

    class Noted(environment):  # type: ignore[misc]
        """`os.environ`, noting what is read."""

        def __getitem__(self, name: str) -> Any:
            with _noting() as noting:
                if noting and _is_of_program():
                    _saw_variable(name)
            return super().__getitem__(name)

    return Noted


def _saw_variable(name: str) -> None:
    for ignored in _ignored["variables"]:
        if name == ignored or (ignored.endswith("*") and name.startswith(ignored[:-1])):
            return
    _note("variable", name)


def _is_of_program() -> bool:
    """True if code below the working directory asks, and not a library."""
    frame = sys._getframe(2)
    while frame.f_back is not None and _is_tool(frame.f_code.co_filename):
        frame = frame.f_back
    file = f"{os.path.abspath(frame.f_code.co_filename)}/"
    return _counts(file) and not _ignores(file)


def _is_tool(file: str) -> bool:
    return file.startswith(TOOLS) or file.endswith(("_collections_abc.py", "contextlib.py"))


# ---- files ---------------------------------------------------------------------------------------


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook: a file is opened or renamed, or a folder is listed."""
    if _file is None:
        return
    if event not in ("open", "os.listdir", "os.scandir", "os.rename", "sqlite3.connect"):
        return
    with _noting() as noting:
        if not noting:
            return
        if event == "open":
            path, _, flags = arguments
            if flags & os.O_CREAT and flags & (os.O_EXCL | os.O_TRUNC):
                _note("created", _full(path).removeprefix(_root))
            elif not flags & os.O_WRONLY:
                _saw_open(path)
        elif event == "os.rename":
            _saw_renamed(*map(_full, arguments[:2]))
        elif event == "sqlite3.connect":
            _saw_open(_database(arguments[0]))
        elif IMPORTS not in sys._getframe(1).f_code.co_filename:
            full = _full("." if arguments[0] is None else arguments[0])
            _saw("listed" if _mode(full) else "absent", f"{full}/")


def _looking(look: Any) -> Any:
    """`os.stat` or `os.lstat`, noting paths that are looked for: a file counts with its bytes."""

    def noted(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        try:
            result: os.stat_result = look(path, *arguments, **options)
        except (FileNotFoundError, NotADirectoryError):
            _looked(path, options, 0)
            raise
        _looked(path, options, result.st_mode)
        return result

    return noted


def _looking_access(path: Any, *arguments: Any, **options: Any) -> bool:
    """`os.access`, noting paths that are looked for."""
    _looked(path, options, _mode(_full(path)))
    return _access(path, *arguments, **options)


def _looked(path: Any, options: dict[str, Any], mode: int) -> None:
    """Note a path that was looked for."""
    if _file is None or options.get("dir_fd") is not None:
        return
    with _noting() as noting:
        if noting:
            kind = "absent"
            if mode:
                kind = "read" if stat.S_ISREG(mode) else "present"
            _saw(kind, _full(path))


def _saw_open(path: Any) -> None:
    """Note a file that is opened for reading, or looked for if it is not there."""
    full = _full(path)
    mode = _mode(full)
    if not mode:
        _saw("absent", full)
    elif stat.S_ISREG(mode):
        _saw("read", full)


def _database(name: Any) -> Any:
    """The path of an SQLite database, which can be named by "file:PATH?OPTIONS"."""
    if isinstance(name, str) and name.startswith("file:"):
        return name.removeprefix("file:").partition("?")[0]
    return name


def _saw_renamed(source: str, target: str) -> None:
    """Note the bytes of a file that is renamed to where a result belongs."""
    if source and _counts(target) and stat.S_ISREG(_mode(source)):
        with open(source, "rb") as stream:
            sha = hashlib.file_digest(stream, "sha256").hexdigest()
        _note("wrote", target.removeprefix(_root), sha)


def _saw(kind: str, full: str) -> None:
    """Note a path, unless it does not count."""
    if not _counts(full) or _ignores(full):
        return
    if kind != "read" and f"{full.rstrip('/')}/".startswith(_ignored["changing"] or "\0"):
        return
    # imports look for the folders of sys.path
    if kind != "read" and full.rstrip("/") in map(os.path.abspath, sys.path):
        return
    path = full.removeprefix(_root)
    if ".egg-info/" in f"{path}/":
        return  # an installer's notes
    if "__pycache__" in path:
        if not path.endswith(".pyc"):
            return
        # a library or plug-in that Python loads by itself
        path, full = (importlib.util.source_from_cache(p) for p in (path, full))
    if full.startswith(PACKAGE):
        return
    if path.endswith(".py") and kind == "read":
        _note("module", path, "")
    else:
        _note(kind, path, stamp(full) if kind == "read" else [])


def _counts(full: str) -> bool:
    """True for a path below the working directory that is not hidden."""
    return full.startswith(_root) and "/." not in full.removeprefix(_root[:-1])


def _ignores(full: str) -> bool:
    """True for a path in a folder that does not count."""
    return f"{full.rstrip('/')}/".startswith(_ignored["folders"] or "\0")


def _full(path: Any) -> str:
    """The absolute path; "" for a descriptor."""
    if not isinstance(path, str | bytes | os.PathLike):
        return ""
    return os.path.abspath(os.fsdecode(path))


def _mode(full: str) -> int:
    """Type and permissions of a file; 0 if it is not there."""
    try:
        return _stat(full).st_mode
    except OSError:
        return 0
