"""Refuse what a commit may not decide in DVC's configuration.

DVC itself follows every key: some name programs to run, files with secrets, or folders to write to.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import UserError, one_line
from .git import git

FOLDER = Path(".dvc")
FILE = FOLDER / "config"
LOCAL = ".dvc/config.local"
# what Git may hold of DVC's folder
SHARED = re.compile(r"\.dvc/(config|\.gitignore|plots/.*)", re.DOTALL)
LARGEST = 100_000  # bytes
CORE = {"remote", "analytics", "check_update", "autostage", "no_scm", "checksum_jobs"}
CACHE = {"type"}
REMOTE = {
    "url",
    "endpointurl",
    "region",
    "port",
    "jobs",
    "verify",
    "timeout",
    "read_timeout",
    "connect_timeout",
    "use_ssl",
    "sse",
    "sse_kms_key_id",
    "acl",
    "projectname",
    "account_name",
}
KNOWN = {"core": CORE, "cache": CACHE}
# of addresses; other ones name folders of this machine, or another remote
SCHEMES = {"ssh", "s3", "gs", "gdrive", "azure", "oss", "hdfs", "webhdfs"}
SCHEMES |= {"http", "https", "webdav", "webdavs"}


def check_config() -> None:
    """Refuse a key of ``.dvc/config`` that is not known to be harmless.

    UserError also for a remote inside the clone, and for other files of DVC's folder that Git
    tracks.

    Each person's own settings are in ``.dvc/config.local``, which is not in Git.
    """
    _check_tracked()
    for section, values in _read().items():
        if section == "remote":
            for name, options in values.items():
                _check_keys(f"remote.{name}", options, REMOTE)
                _check_url(name, options.get("url", ""))
        else:
            _check_keys(section, values, KNOWN.get(section, set()))


def _check_tracked() -> None:
    """UserError if Git tracks a person's own settings, or anything that DVC writes to."""
    listed = b""
    # without Git nothing is tracked
    with suppress(OSError, UserError):
        listed = git("ls-files", "-z", "--", FOLDER.as_posix())
    for name in filter(None, listed.split(b"\0")):
        path = os.fsdecode(name)
        if not SHARED.fullmatch(path):
            raise UserError(
                f"{one_line(path)} is in Git, and belongs to one machine alone; 'git rm --cached "
                f"{one_line(path)}' takes it out"
            )


def _read() -> dict[str, Any]:
    """Section -> its keys and values, as DVC reads them; {} without the file."""
    from dvc.config import Config
    from dvc.exceptions import DvcException

    try:
        about = FILE.stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST:
            raise UserError(f"{FILE} is not a file of settings; 'git checkout HEAD -- {FILE}'")
        sections: dict[str, Any] = Config.load_file(FILE)
    except FileNotFoundError:
        return {}
    # configobj's own errors are SyntaxErrors
    except (DvcException, SyntaxError, OSError, ValueError, TypeError, LookupError) as error:
        raise UserError(f"{FILE} cannot be read: {one_line(error)}") from error
    return sections


def _check_keys(where: str, values: Any, known: set[str]) -> None:
    """UserError if a section has other keys. where: its name, for the message."""
    if not isinstance(values, dict):
        raise _refused(where)
    for key, value in values.items():
        if key not in known or not isinstance(value, str):
            raise _refused(f"{where}.{key}")


def _refused(key: str) -> UserError:
    return UserError(
        f"{FILE}: the key {one_line(key)} can run programs or write elsewhere, so it is not read "
        f"from a commit; nothing was changed: whoever wants it puts it into {LOCAL}"
    )


def _check_url(name: str, url: str) -> None:
    """UserError if a remote has no address, or is a folder of this clone."""
    where = f"{FILE}: remote.{one_line(name)}.url"
    scheme = re.match(r"(\w+)://", url)
    if not url.strip():
        raise UserError(f"{where} is empty; 'dvc remote modify {one_line(name)} url …' names it")
    if scheme and scheme[1].lower() in SCHEMES:
        return
    if scheme:
        raise UserError(f"{where}: '{one_line(url)}' is not an address; name a folder or a server")
    # a relative path starts at DVC's folder
    folder = Path(os.path.realpath(FOLDER / Path(url).expanduser()))
    if folder.is_relative_to(Path.cwd().resolve()):
        raise UserError(f"{where}: '{one_line(url)}' is in this clone; name a folder elsewhere")
