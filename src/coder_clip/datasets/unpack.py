"""Unpack archives: only plain files and folders, below the target, all or nothing.

A tar or zip may hold names that lead out of the folder ("../../.bashrc", "/etc/passwd"), links that
do, and devices. None of the data sets' archives needs these, so all of them are refused, before
anything is in place.
"""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from ..errors import UserError


def unpack(archive: Path, into: Path, nested: bool = False) -> None:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip into a folder, beside the files that are there.

    nested: each tar inside the archive is unpacked, too, into a folder of its name. Everything goes
    into a hidden folder first, and is moved when all is well. The hidden folder of a killed call is
    removed, because its files may be incomplete. Not for two processes at a time.
    UserError, with the folder unchanged: not an archive, damaged, or with a member that is refused.
    """
    new = not into.exists()
    hidden = into / f".unpacking-{archive.name}"  # the same file system: moving costs nothing
    damaged = f"{archive} is damaged or not an archive"
    try:
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir(parents=True)
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                _unpack_zip(archive, file, hidden)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                _unpack_tar(archive, tar, hidden, nested)
        else:
            raise UserError(f"{damaged}: neither tar nor zip; remove it and fetch it again")
        _move(hidden, into)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        EOFError,
        zlib.error,
        RuntimeError,
        ValueError,
    ) as error:
        raise UserError(f"{damaged}: {error}; remove it and fetch it again") from None
    except OSError as error:
        raise UserError(
            f"{archive} cannot be unpacked into {into}: {error.strerror or error}"
        ) from None
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        # an empty folder that is left behind would look like a data set without images
        if new and into.is_dir() and not any(into.iterdir()):
            into.rmdir()


def _unpack_tar(archive: Path, tar: tarfile.TarFile, into: Path, nested: bool) -> None:
    """Unpack an open tar. archive: its path, for messages. UserError for an unsafe member."""
    for member in tar:
        _refuse_unsafe(archive, member.name, member.isreg() or member.isdir())
        stream = tar.extractfile(member)
        if stream is None:
            continue  # a folder: made with the first file in it
        if nested and member.name.endswith(".tar"):
            with tarfile.open(fileobj=stream) as inner:
                _unpack_tar(archive, inner, into / member.name.removesuffix(".tar"), nested=False)
        else:
            _write(stream, into / member.name)


def _unpack_zip(archive: Path, file: zipfile.ZipFile, into: Path) -> None:
    """Unpack an open zip. archive: its path, for messages. UserError for an unsafe member."""
    size = sum(member.file_size for member in file.infolist())
    free = shutil.disk_usage(into).free
    if size > free:  # a small file may hold any number of zeros
        raise UserError(
            f"{archive}: refused: it holds {size:,} bytes, and {free:,} are free; nothing was "
            "unpacked"
        )
    for member in file.infolist():
        # the upper half is the Unix mode; it is 0 where another system wrote the zip
        kind = stat.S_IFMT(member.external_attr >> 16)
        _refuse_unsafe(archive, member.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
        # macOS adds files of its own in __MACOSX
        if not member.is_dir() and not member.filename.startswith("__MACOSX/"):
            with file.open(member) as stream:
                _write(stream, into / member.filename)


def _refuse_unsafe(archive: Path, name: str, plain: bool) -> None:
    """UserError for a member that leads out of the folder.

    plain: False for a link or a device, which is refused, too.
    """
    if not plain:
        raise UserError(f"{archive}: refused: '{name}' is a link or a device; nothing was unpacked")
    if name.startswith("/") or ".." in PurePosixPath(name).parts:
        raise UserError(
            f"{archive}: refused: '{name}' leads out of the folder; nothing was unpacked"
        )


def _write(stream: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        shutil.copyfileobj(stream, out, 1 << 20)


def _move(source: Path, target: Path) -> None:
    """Move all members of ``source`` into ``target``. Folders that ``target`` has are merged."""
    for path in sorted(source.iterdir()):
        place = target / path.name
        if path.is_dir() and place.is_dir():
            _move(path, place)
        else:
            path.replace(place)
