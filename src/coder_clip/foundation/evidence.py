"""Evidence of what this process executes, reads and writes, for the certificate of a job
(`coder_clip.tracking`).

Empty outside jobs. `cli/job.py` fills ``sources`` and names the command; `tracking.certify` starts
the rest."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

command = ""  # of coder-clip, such as "zero-shot"
config: Any = None  # the configuration of this job, which notes what is read of it
# source file of this package -> sha256 of the bytes that were compiled and executed
sources: dict[str, str] = {}
written: dict[str, str] | None = None  # path -> sha256 of the bytes that were written
# path below the working directory -> its `stamp` when it was first read; folders end with "/"
read: dict[str, list[int]] | None = None
_ignored: tuple[str, ...] = ()
_hooked = False


def stamp(path: str) -> list[int]:
    """Times, size and inode of a file, by which a change is noticed. Tools can restore the mtime of
    a changed file, but not its ctime.
    """
    s = os.stat(path)
    return [s.st_mtime_ns, s.st_size, s.st_ino, s.st_ctime_ns]


def watch_files(ignored: Iterable[str | Path]) -> None:
    """Note, in ``read``, the files below the working directory that are opened for reading, and the
    folders that are listed.

    ignored: folders whose files are known in other ways, such as images. Never noted:
    - names with a dot in front: environments, caches, Git;
    - modules and their folders: ``sources`` has the code that is executed;
    - an installer's files about packages: the certificate names their versions.
    """
    global read, _ignored, _hooked
    read = {}
    _ignored = tuple(f"{os.path.abspath(folder)}/" for folder in (*ignored, sys.prefix))
    if not _hooked:
        sys.addaudithook(_note)
        _hooked = True


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook: note a file that is opened for reading, or a folder that is listed."""
    if read is None or event not in ("open", "os.listdir", "os.scandir"):
        return
    name = arguments[0]
    if not isinstance(name, (str, bytes, os.PathLike)):
        return  # a descriptor
    # files that are opened for writing are results, not inputs; the third argument is the flags
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        return
    # a folder is noted with "/" at its end, which tells it from a file
    full = os.path.abspath(os.fsdecode(name)) + ("" if event == "open" else "/")
    # a path that stays absolute is outside of the working directory
    path = full.removeprefix(f"{os.getcwd()}/")
    if (
        path == full
        or path in read
        or full.startswith(_ignored)
        or "/." in f"/{path}"
        or "__pycache__" in path
        or ".egg-info/" in path
    ):
        return
    is_there = os.path.isfile(full) if event == "open" else os.path.isdir(full)
    # every import lists the folders of packages and of sys.path
    of_modules = path.endswith(".py") or os.path.isfile(f"{full}__init__.py")
    of_modules |= full.rstrip("/") in map(os.path.abspath, sys.path)
    if path and is_there and not of_modules:
        read[path] = stamp(full)
