"""Archives from elsewhere: only plain files and folders, only below the target, all of it or nothing.

A tar or zip may hold names that lead out of the folder ("../../.bashrc", "/etc/passwd"), links that do, and devices.
None of the data sets' archives needs these, so all of them are refused, before anything is in place.
"""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from ..errors import UserError


class _Member(NamedTuple):
    """name: checked, relative. size: in bytes. stream: the file's bytes; None for a folder."""

    name: PurePosixPath
    size: int
    stream: IO[bytes] | None


def unpack(archive: Path, into: Path, nested: bool = False) -> None:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip into a folder, beside what is there.

    nested: each tar in it is unpacked, too, into a folder of its name. Everything goes into a hidden folder first and
    is moved when all is well. A call that was killed leaves that folder, and the next one goes on with it: files that
    are whole are not written again. Not for two processes at a time.
    UserError: no archive, damaged, or with a member that is refused; the folder is then as it was.
    """
    new = not into.exists()
    hidden = into / f".unpacking-{archive.name}"  # the same file system: moving costs nothing
    try:
        hidden.mkdir(parents=True, exist_ok=True)
        for member in _members(archive, nested):
            path = hidden / member.name
            if member.stream is None:
                path.mkdir(parents=True, exist_ok=True)
                continue
            with member.stream as source:
                if path.is_file() and path.stat().st_size == member.size:
                    continue  # whole: bytes are written in order
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
        _move(hidden, into)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        EOFError,
        zlib.error,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise UserError(
            f"{archive} is damaged or no archive: {error}; remove it and fetch it again"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{archive} cannot be unpacked into {into}: {reason}") from None
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        if new and into.is_dir() and not any(into.iterdir()):
            into.rmdir()


def _members(archive: Path, nested: bool) -> Iterator[_Member]:
    if zipfile.is_zipfile(archive):
        yield from _of_zip(archive)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            yield from _of_tar(archive, tar, nested)
    else:
        raise UserError(
            f"{archive} is damaged or no archive: neither tar nor zip; remove it and fetch it again"
        )


def _of_tar(archive: Path, tar: tarfile.TarFile, nested: bool) -> Iterator[_Member]:
    for member in tar:
        name = _checked(archive, member.name)
        if member.isdir():
            yield _Member(name, 0, None)
        elif member.isreg():
            stream = tar.extractfile(member)
            assert stream is not None
            if nested and name.suffix == ".tar":
                with tarfile.open(fileobj=stream) as inner:
                    for part in _of_tar(archive, inner, nested=False):
                        yield part._replace(name=name.with_suffix("") / part.name)
            elif _wanted(name):
                yield _Member(name, member.size, stream)
        else:
            what = "a link" if member.issym() or member.islnk() else "a device"
            raise UserError(f"{archive}: refused: '{member.name}' is {what}; nothing was unpacked")


def _of_zip(archive: Path) -> Iterator[_Member]:
    with closing(zipfile.ZipFile(archive)) as file:
        for member in file.infolist():
            name = _checked(archive, member.filename)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                what = "a link" if kind == stat.S_IFLNK else "a device"
                raise UserError(f"{archive}: refused: '{member.filename}' is {what}; nothing was unpacked")
            if member.is_dir():
                yield _Member(name, 0, None)
            elif _wanted(name):
                yield _Member(name, member.file_size, file.open(member))


def _checked(archive: Path, name: str) -> PurePosixPath:
    """The name as a path below the folder; UserError where it is absolute or leads out of it."""
    path = PurePosixPath(name)
    if "\\" in name or "\0" in name or path.is_absolute() or ".." in path.parts or name[1:2] == ":":
        raise UserError(f"{archive}: refused: '{name}' leads out of the folder; nothing was unpacked")
    return path


def _wanted(name: PurePosixPath) -> bool:
    """Not what a Mac adds."""
    return name.parts[:1] != ("__MACOSX",) and not name.name.startswith("._")


def _move(source: Path, target: Path) -> None:
    """Everything in ``source`` into ``target``, which may hold some of it already."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        place = target / path.name
        if path.is_dir() and place.is_dir():
            _move(path, place)
        else:
            path.replace(place)
