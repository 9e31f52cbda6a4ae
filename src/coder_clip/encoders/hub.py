"""The Hugging Face hub: its cache, downloads, and why it does not give a file."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import huggingface_hub
from huggingface_hub import constants

from ..errors import UserError, one_line

T = TypeVar("T")
A_MODEL_HERE = (
    "use a model that is here: a folder, one in the Hugging Face cache, or a checkpoint file as "
    "pretrained (data/mini knows drawn images only)"
)
PATIENCE = 4  # seconds until a hub that does not answer counts as out of reach
ANY = "config.json"  # a file that many repositories have
FULL = 2**24  # free bytes below which a disk counts as full


class Absent(UserError):
    """Weights are not on this machine, and may not be downloaded.

    repository: of the Hugging Face hub. needs: a file that the repository must have.
    """

    def __init__(self, message: str, repository: str, needs: str = "") -> None:
        super().__init__(message)
        self.repository, self.needs = repository, needs


def verify(weights: Path) -> None:
    """Compare a file in the hub's cache with its sha256, by which the cache names large files.

    UserError if the file is damaged. The file is then removed, so that the next `find` fetches it
    again.
    """
    blob = weights.resolve()
    # the cache names large files by their sha256, and small ones by a shorter Git hash
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        with blob.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        if sha256 != blob.name:
            blob.unlink()
            raise UserError(
                f"{weights} was damaged during download (sha256 {sha256}) and has been removed"
            )


def from_hub(
    action: Callable[[], T], what: str, repository: str, offline: bool, needs: str = ""
) -> T:
    """Run ``action`` with the Hugging Face cache alone; if that fails and ``offline`` is False,
    with the network. what: the files that are needed, for messages. repository: of these files.
    needs: a file that the repository must have.

    UserError with advice (`hub_problem`, `download_problem`); Absent with ``offline``.
    """
    # The cache comes first even where the network is allowed: a run then works offline, and does
    # not wait for the hub.
    try:
        with hub(offline=True):
            return action()
    except (OSError, ValueError, RuntimeError) as error:
        missing = "not on this machine"
        if not isinstance(error, OSError):
            missing = f"cannot be used ({one_line(error)})"
    if offline:
        raise Absent(
            f"{what}: {missing}, and offline mode is on: {elsewhere(repository)}",
            repository,
            needs,
        )
    problem = hub_problem(repository, needs)
    if problem:
        raise UserError(f"{what}: {missing}, and {problem}")
    try:
        with hub(offline=False):
            return action()
    except (OSError, ValueError, RuntimeError) as error:
        problem = download_problem(error) or f"{one_line(error)}: {elsewhere(repository)}"
        raise UserError(f"{what}: could not be fetched: {problem}") from None


def elsewhere(repository: str) -> str:
    """Advice for a machine without access to the hub."""
    return (
        f"on a machine with network run 'hf download {repository}' and copy its Hugging Face cache "
        "here (HF_HOME says where; on a cluster 'coder-clip prefetch' on the head node does both), "
        f"or {A_MODEL_HERE}"
    )


def hub_problem(repository: str, needs: str = "") -> str:
    """Why the hub does not give the files of a repository, and advice; "" if the hub gives them.

    needs: a file that the repository must have; "": no special file. Asks for the headers of one
    small file, with the user's token."""
    endpoint = constants.ENDPOINT
    answer = _headers(f"{endpoint}/{repository}/resolve/main/{needs or ANY}")
    if isinstance(answer, str):
        return f"{endpoint} cannot be reached ({answer}): {elsewhere(repository)}"
    status, code = answer.status_code, answer.headers.get("X-Error-Code", "")
    said = f"HTTP {status}"
    if status >= 500 or status == 429:
        return (
            f"{endpoint} does not work at the moment ({said}): try again later, or {A_MODEL_HERE}"
        )
    # a gated repository can answer with 401, too, and then has this code
    if status == 403 or code == "GatedRepo":
        return (
            f"{repository} is gated ({said}): accept its terms at {endpoint}/{repository}, and set "
            "HF_TOKEN to a token of that account"
        )
    if status == 401:
        token = "the token that is set (HF_TOKEN, 'hf auth login') may not read it"
        if huggingface_hub.get_token() is None:
            token = "if it is private, set HF_TOKEN"
        return f"{endpoint} does not give {repository} ({said}): compare the name; {token}"
    # without `needs`, ANY was only a way to reach the repository, which may lack it
    if code == "EntryNotFound":
        if not needs:
            return ""
        return f"{repository} has no {needs}: it is not a model in the form that is needed here"
    if status >= 400:
        return f"{endpoint} has no {repository} ({said}): compare the name"
    # the hub names a commit in each answer; if it redirects to a store of large files, in the
    # answer before
    if not any("X-Repo-Commit" in each.headers for each in (answer, *answer.history)):
        return (
            f"something else answers in the place of {endpoint}, such as the login page of a "
            "network or a proxy: log in with a browser, or see HTTPS_PROXY and HF_ENDPOINT; then "
            "run this again"
        )
    return ""


def download_problem(error: BaseException) -> str:
    """Advice if a download ended because of a full disk or a missing permission, else ""."""
    cache = constants.HF_HUB_CACHE
    numbers = {cause.errno for cause in _causes(error) if isinstance(cause, OSError)}
    # the first error of two may have been dropped, so the free space is looked at, too
    if not numbers.isdisjoint((errno.ENOSPC, errno.EDQUOT)) or _free(cache) < FULL:
        return (
            f"no room in {cache}: make room, or set HF_HOME to a folder on a larger disk; then run "
            "this again"
        )
    if not numbers.isdisjoint((errno.EACCES, errno.EPERM, errno.EROFS)):
        return (
            f"{cache} cannot be written to: correct its permissions, or set HF_HOME to another "
            "folder"
        )
    return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and then the errors that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _free(folder: str) -> int:
    """Free bytes of the disk that a folder is on, or will be."""
    # the cache may not exist yet: the nearest folder above that exists is on the same disk
    place = next(p for p in (Path(folder), *Path(folder).absolute().parents) if p.is_dir())
    return shutil.disk_usage(place).free


def _headers(url: str) -> Any:
    """The hub's answer to a request for headers, or the reason, as text, if there is none within
    PATIENCE seconds.
    """
    # huggingface_hub itself would retry for a minute. A thread, because the name lookup has no
    # timeout.
    answers: list[Any] = []  # one, from the thread
    token = huggingface_hub.get_token()
    headers = {"authorization": f"Bearer {token}"} if token else {}

    def ask() -> None:
        try:
            session = huggingface_hub.get_session()
            answers.append(
                session.head(url, timeout=PATIENCE, headers=headers, follow_redirects=True)
            )
        except Exception as error:  # any failure means the same
            answers.append(one_line(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return answers[0] if answers else f"no answer in {PATIENCE} s"


@contextlib.contextmanager
def hub(offline: bool) -> Iterator[None]:
    """Set the hub's offline switch, which libraries read at every call."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = offline
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
