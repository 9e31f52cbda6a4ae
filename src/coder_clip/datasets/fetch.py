"""Download of one file: with progress, resumed where it broke off, and kept only if its checksum is right."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from ..errors import UserError

BLOCK = 1 << 20
TIMEOUT = 60.0  # seconds without a byte
TRIES = 5  # in a row without a new byte


def fetch(urls: str | Sequence[str], target: Path, checksum: str | None, *, wait: float = 2.0) -> None:
    """Download the first of ``urls`` that gives the file to ``target``.

    checksum: "md5:…" or "sha256:…" of the whole file; None where nobody publishes one. What has come so far is in
    ``{target}.part`` and is not fetched again, in this run or the next. A target that is there and right is left alone.
    wait: seconds before a broken connection is tried again (doubled each time).
    UserError: no connection, refused by the server, broken off for good, wrong checksum; ``target`` is then not there.
    """
    urls = [urls] if isinstance(urls, str) else list(urls)
    if target.exists():
        if checksum is None or checksum_like(target, checksum) == checksum:
            return
        raise UserError(f"{target} is there with another checksum than {checksum}; remove it and run again")
    failed: list[str] = []
    for url in urls:
        try:
            return _fetch(url, target, checksum, wait)
        except UserError as error:
            failed.append(str(error))
    if len(failed) == 1:
        raise UserError(failed[0])
    raise UserError(f"none of {len(urls)} addresses gave {target.name}: " + "; ".join(failed))


def _fetch(url: str, target: Path, checksum: str | None, wait: float) -> None:
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as stream, _alone(stream, target):
            began = stream.tell()
            try:
                _complete(url, stream, target, wait)
            except UserError:
                if not stream.tell():
                    part.unlink()
                raise
            if checksum is not None:
                # another file's beginning: once more, in whole
                if began and checksum_like(part, checksum) != checksum:
                    _empty(stream)
                    _complete(url, stream, target, wait)
                found = checksum_like(part, checksum)
                if found != checksum:
                    part.unlink()
                    raise UserError(
                        f"{url}: checksum {found}, expected {checksum}: damaged during download, or the file on "
                        "the server has changed. Nothing was kept; try again, or download it elsewhere by hand"
                    )
            part.replace(target)
    except OSError as error:
        raise UserError(
            f"cannot write {target}: {error.strerror or error}; what came so far stays in {part.name}"
        ) from error


class _Broken(Exception):
    """The connection could not be made, or ended; unlike an OSError of the disk."""


def _complete(url: str, stream: BinaryIO, target: Path, wait: float) -> None:
    """Append until the whole file is there."""
    began, failures = stream.tell(), 0
    while True:
        have = stream.tell()
        try:
            if _append(url, stream):
                return
            problem = "the connection ended early"
        except urllib.error.HTTPError as error:
            problem = f"HTTP {error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 429):
                raise UserError(f"{url}: {problem}; {_by_hand(target)}") from None
        except _Broken as error:
            problem = str(error)
            if stream.tell() == began:  # not one byte: there is no network
                raise UserError(f"{url} cannot be reached ({problem}); {_by_hand(target)}") from None
        failures = 0 if stream.tell() > have else failures + 1
        if failures >= TRIES:
            raise UserError(
                f"{url}: {problem}, {TRIES} times in a row, after {stream.tell():,} bytes. They are kept: run again"
                " to go on"
            )
        time.sleep(wait * 2**failures)


def _append(url: str, stream: BinaryIO) -> bool:
    """One request for what is missing. True: the file is whole; False: it broke off. Raises HTTPError, _Broken."""
    have = stream.tell()
    request = urllib.request.Request(url, headers={"User-Agent": "coder-clip", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        size = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if error.code != 416 or not have:
            raise
        if size and int(size[1]) == have:
            return True  # nothing is missing
        _empty(stream)
        return False
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_reason(error)) from None
    with response:
        if response.headers.get_content_type() == "text/html":  # a login, or Google Drive's daily limit
            raise UserError(f"{url}: answers with a web page in the place of the file; open it in a browser")
        span = re.match(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if response.status == 206 and span and int(span[1]) == have:
            total: int | None = int(span[2])
        else:  # a server that cannot resume sends the whole file
            _empty(stream)
            length = response.headers.get("Content-Length")
            have, total = 0, int(length) if length else None
        with _bar(url, have, total) as bar:
            for block in _blocks(response):
                stream.write(block)
                stream.flush()
                bar.update(len(block))
    return total is None or stream.tell() >= total


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while block := response.read(BLOCK):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_reason(error)) from None


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__


def _empty(stream: BinaryIO) -> None:
    stream.truncate(0)
    stream.seek(0)


def _bar(url: str, have: int, total: int | None) -> tqdm[Any]:
    """Bytes, rate and time left; in a log a line every 30 seconds."""
    watched = sys.stderr.isatty()
    return tqdm(
        desc=url.rsplit("/", 1)[-1],
        initial=have,
        total=total,
        unit="B",
        unit_scale=True,
        mininterval=0.2 if watched else 30,
        ascii=not watched,
    )


def checksum_like(path: Path, like: str) -> str:
    """The file's checksum of the same kind."""
    kind = like.partition(":")[0]
    with path.open("rb") as stream:
        return f"{kind}:{hashlib.file_digest(stream, kind).hexdigest()}"


@contextlib.contextmanager
def _alone(stream: BinaryIO, target: Path) -> Iterator[None]:
    """Two downloads into one file would mix; a file system without locks is trusted."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{target} is being downloaded by another process; wait for it") from None
    except OSError:
        pass
    stream.seek(0, os.SEEK_END)
    yield


def _by_hand(target: Path) -> str:
    return f"fetch it by hand where there is a network, put it at {target}, and run this again"
