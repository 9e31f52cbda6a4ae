"""Download one file with progress; resume it after an interruption, and keep it only if its
checksum is right.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import httpx2
from tqdm import tqdm

from ..errors import UserError, one_line

TIMEOUT = 60.0  # seconds without a byte
SLOWEST = 1000.0  # bytes a second, over the time of PATIENCE: a slower server gives way to the next
PATIENCE = 60.0  # seconds
ANSWER = 10.0  # seconds, before a run
TRIES = 5  # in a row without a new byte
LONGEST = 300.0  # seconds that a busy server may ask to wait for
# what servers send in the place of a file -> how it begins
NO_FILE = {
    # a login, or Google Drive's daily limit
    "a web page": re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+)?html", re.IGNORECASE),
    # a store's error
    "an XML document": re.compile(rb"(\xef\xbb\xbf)?\s*<(\?xml|error\b)", re.IGNORECASE),
    "a Git LFS pointer": re.compile(rb"version https://git-lfs\.github\.com/spec/"),
}
# how an archive begins, by its name; what is not an archive may be an error in any form
ARCHIVES = {".zip": b"PK", ".rar": b"Rar!", ".gz": b"\x1f\x8b", ".tgz": b"\x1f\x8b"}


def fetch(
    urls: str | Sequence[str], target: Path, checksum: str | None, *, wait: float = 2.0
) -> None:
    """Download a file to ``target``, from the first of ``urls`` that gives the file; not for two
    processes at a time.

    checksum: "md5:…", "sha256:…" or "git:…" (the name of a Git blob) of the whole file; None if
    none is published. Received bytes are kept in ``{target}.part`` and not fetched again, in this
    run or the next. A target with the right checksum is kept.
    wait: seconds before a broken connection is tried again (doubled each time, or what the server
    asks for). UserError, and no ``target``: no connection, refused by the server, repeatedly
    interrupted, wrong checksum.
    """
    if isinstance(urls, str):
        urls = [urls]
    if target.exists():
        if checksum is None or checksum_like(target, checksum) == checksum:
            return
        raise UserError(
            f"{target} exists with another checksum than {checksum}; remove it and run again"
        )
    failed: list[str] = []
    for url in urls:
        try:
            return _fetch(url, target, checksum, wait)
        except UserError as error:
            failed.append(str(error))
        except OSError as error:
            raise UserError(f"cannot write {target}: {error.strerror or error}") from error
    if len(failed) == 1:
        raise UserError(failed[0])
    raise UserError(f"none of {len(urls)} addresses gave {target.name}: " + "; ".join(failed))


def _fetch(url: str, target: Path, checksum: str | None, wait: float) -> None:
    """Download ``target`` from one address, and compare its checksum. Arguments as in `fetch`."""
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.touch()
    began = _size(part)
    try:
        _complete(url, part, target, wait, checksum is not None)
        # the bytes of an earlier run can be the beginning of another file: fetch the whole file
        if began and checksum and checksum_like(part, checksum) != checksum:
            part.write_bytes(b"")
            _complete(url, part, target, wait, checksum is not None)
        if checksum:
            received = checksum_like(part, checksum)
            if received != checksum:
                part.write_bytes(b"")
                raise UserError(
                    f"{url}: checksum {received}, expected {checksum}: damaged during download, or "
                    "the file on the server has changed. Nothing was kept; try again, or download "
                    "it elsewhere by hand"
                )
    except UserError:
        # an empty part is of no use to the next run
        if not _size(part):
            part.unlink()
            _version_file(part).unlink(missing_ok=True)
        raise
    part.replace(target)
    _version_file(part).unlink(missing_ok=True)


def _complete(url: str, part: Path, target: Path, wait: float, checked: bool) -> None:
    """Download what ``part`` lacks, with retries, until the file is complete.

    target: where the file belongs, for messages. wait: seconds before a retry, doubled with each
    failure in a row.
    checked: the whole file will be compared with a checksum.
    UserError if the server refuses, cannot be reached, or fails TRIES times in a row.
    """
    # TRIES counts failures in a row without progress: a large file over a poor connection breaks
    # off many times and still arrives. Errors that waiting cannot cure end it at once: a wrong
    # address, or no network at all.
    by_hand = f"fetch it by hand where there is a network, put it at {target}, and run this again"
    began, failures = _size(part), 0
    # the largest size so far: a server that cannot resume begins again each time, without progress
    most = began
    while True:
        asked = 0.0  # seconds that the server asks to wait
        try:
            return _append(url, part, checked)
        except httpx2.HTTPStatusError as error:
            status = error.response.status_code
            problem = f"HTTP {status} {error.response.reason_phrase}"
            # waiting cures no client error but a timeout (408) and too many requests (429)
            if status < 500 and status not in (408, 429):
                raise UserError(f"{url}: {problem}; {by_hand}") from None
            after = error.response.headers.get("Retry-After", "")
            if after.isdecimal():
                asked = min(float(after), LONGEST)
        # ImportError, ValueError: a proxy of the environment that httpx2 cannot use
        except (httpx2.RequestError, httpx2.InvalidURL, ImportError, ValueError) as error:
            problem = one_line(error)
            # nothing came at all, and no server broke off: the address or the network is wrong
            if _size(part) == began and not isinstance(error, httpx2.RemoteProtocolError):
                raise UserError(f"{url} cannot be reached ({problem}); {by_hand}") from None
        have = _size(part)
        if have > most:
            failures, most = 0, have
        else:
            failures += 1
        if failures >= TRIES:
            then = "; try again later"
            if have:
                then = f", after {have:,} bytes. They are kept: run again to go on"
            raise UserError(f"{url}: {problem}, {TRIES} times in a row{then}")
        time.sleep(max(wait * 2**failures, asked))


def _append(url: str, part: Path, checked: bool) -> None:
    """Send one request for the bytes that ``part`` lacks, and append the answer.

    checked: True if a checksum will tell whether the file is the right one. HTTPStatusError if the
    server refuses, RequestError if the connection breaks off; UserError if certificates cannot be
    read, or if the answer is encoded, a web page or empty.
    """
    # Ask for the bytes after those that are here, and check what the answer really is: a server may
    # ignore the range, send another range, send a web page instead of the file, or stop early.
    # The file on the server may have changed since the first bytes came. A checksum shows that.
    # Without one, the version that they belong to is noted: with If-Range a server sends the rest
    # of that version or a whole new file, and bytes of an unknown version are not used.
    known = ""
    if not checked:
        known = _known_version(part)
    have = _size(part)
    headers = {"User-Agent": "coder-clip", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    if have and known:
        headers["If-Range"] = known
    with _client() as client, client.stream("GET", url, headers=headers) as response:
        # 416: the server has no bytes after these; the file is whole, or it is another one
        if response.status_code == 416 and have:
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return  # nothing is missing
            part.write_bytes(b"")
            return _append(url, part, checked)
        response.raise_for_status()
        blocks = response.iter_raw()
        first = next(blocks, b"")
        _refuse(url, response, first, Path(part.stem).suffix, checked)
        total = int(response.headers.get("Content-Length", 0))
        mode = "wb"
        if response.status_code == 206:  # else the server sends the whole file
            mode = "ab"
            # the size after the stroke is a star where the server does not know it
            span = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
            # bytes of another place or version must not be appended: begin again
            if have and (_is_other_part(span, have) or _is_other_file(known, response)):
                part.write_bytes(b"")
                return _append(url, part, checked)
            if span and span[2] != "*":
                total = int(span[2])
            elif total:
                total += have
        elif not checked:
            _version_file(part).write_text(_version(response))
        with part.open(mode, buffering=0) as stream:
            _write(stream, itertools.chain([first], blocks), url, total)
    if not _size(part):
        raise UserError(f"{url}: answers with an empty file")
    if _size(part) < total:  # some servers send a part of what was asked for
        raise httpx2.RemoteProtocolError("the connection ended early")


def _write(stream: IO[bytes], blocks: Iterable[bytes], url: str, total: int) -> None:
    """Write blocks to a file, with progress. total: bytes of the whole file; 0 if not known.

    UserError if they come more slowly than SLOWEST for PATIENCE seconds.
    """
    name = url.rsplit("/", 1)[-1]
    shown: dict[str, Any] = {"mininterval": 0.2, "initial": stream.tell()}
    if not sys.stderr.isatty():
        shown |= {"mininterval": 30, "ascii": True}
    with tqdm(desc=name, total=total or None, unit="B", unit_scale=True, **shown) as bar:
        began, received = time.monotonic(), 0
        for block in blocks:
            stream.write(block)
            bar.update(len(block))
            received += len(block)
            took = time.monotonic() - began
            if took >= PATIENCE:
                if received < SLOWEST * took:
                    raise UserError(
                        f"{url}: sent {received:,} bytes in {took:.0f} s; what came is kept: run "
                        "again to go on"
                    )
                began, received = time.monotonic(), 0


def _known_version(part: Path) -> str:
    """The version of the file that the part's bytes belong to; without one they are removed."""
    version = _version_file(part)
    if version.is_file():
        known = version.read_text()
        if known:
            return known
    part.write_bytes(b"")
    return ""


def _client() -> httpx2.Client:
    """A client for downloads. UserError if the machine's certificates cannot be read."""
    try:
        return httpx2.Client(timeout=TIMEOUT, follow_redirects=True)
    except OSError as error:
        raise UserError(
            f"certificates cannot be read ({one_line(error)}); see SSL_CERT_FILE, SSL_CERT_DIR"
        ) from None


def _refuse(url: str, response: httpx2.Response, first: bytes, suffix: str, checked: bool) -> None:
    """UserError for an answer that is something else than the file.

    first: its first bytes. suffix: of the file's name. checked: a checksum will show what came.
    """
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity" and not checked:
        raise UserError(
            f"{url}: sent in the encoding '{encoding}', which was not asked for; open it in a "
            "browser"
        )
    # whoever is between can send any file
    if url.startswith("https:") and response.url.scheme != "https" and not checked:
        raise UserError(f"{url}: leads to {response.url}, which is not encrypted")
    kind = response.headers.get("Content-Type", "").lower()
    instead = [what for what, begins in NO_FILE.items() if begins.match(first)]
    if kind.startswith("text/html"):
        instead = ["a web page"]
    if instead:
        raise UserError(
            f"{url}: answers with {instead[0]} in the place of the file; open it in a browser"
        )
    magic = ARCHIVES.get(suffix, b"")
    if response.status_code != 206 and magic[: len(first)] != first[: len(magic)]:
        raise UserError(
            f"{url}: answers with something else than a {suffix} archive, which begins "
            f"{first[:20]!r}; open it in a browser"
        )


def _is_other_part(span: re.Match[str] | None, have: int) -> bool:
    """True if the bytes do not begin where ``have`` bytes end. span: of Content-Range."""
    return span is None or int(span[1]) != have


def _is_other_file(known: str, response: httpx2.Response) -> bool:
    """True if the server's file has another version than the known one."""
    answered = _version(response)
    return bool(known and answered and known != answered)


def _version_file(part: Path) -> Path:
    """The file beside a part with the version, on the server, that the part's bytes belong to."""
    return part.with_name(part.name + ".version")


def _version(response: httpx2.Response) -> str:
    """The version of the file on the server, in the form of If-Range; empty if the server does not
    say.
    """
    etag: str = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):  # a weak one may not be sent
        return etag
    return str(response.headers.get("Last-Modified", ""))


def refusal(url: str) -> str:
    """Why an address does not give its file; "" if it does.

    Asks for one byte, through redirects.
    """
    headers = {"User-Agent": "coder-clip", "Accept-Encoding": "identity", "Range": "bytes=0-0"}
    try:
        with (
            httpx2.Client(timeout=ANSWER, follow_redirects=True) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            if response.is_error:
                return f"HTTP {response.status_code} {response.reason_phrase}"
            return ""
    except (httpx2.RequestError, httpx2.InvalidURL, ImportError, ValueError, OSError) as error:
        # ImportError, ValueError: a proxy of the environment that httpx2 cannot use
        return one_line(error)


def _size(file: Path) -> int:
    return file.stat().st_size


def checksum_like(path: Path, like: str) -> str:
    """The checksum of a file, "kind:hex", of the same kind as the checksum ``like``."""
    kind = like.partition(":")[0]
    if kind == "git":
        # Git hashes a header with the length before the content
        content = path.read_bytes()  # lists of images, a few MB
        blob = b"blob %d\0" % len(content) + content
        return f"git:{hashlib.sha1(blob).hexdigest()}"
    with path.open("rb") as stream:
        return f"{kind}:{hashlib.file_digest(stream, kind).hexdigest()}"
