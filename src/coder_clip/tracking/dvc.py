"""Calling DVC: with SSH host keys checked, and not believing a success that was none.

`python -m coder_clip.tracking.dvc push` is `dvc push`, but a server must show a host key that ~/.ssh/known_hosts
(or UserKnownHostsFile of ~/.ssh/config) has for it. Plain `dvc push` checks no host key at all: sshfs, which it
uses, switches the check off unless told otherwise, and DVC has no setting to tell it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import UserError
from .hashes import Hashes


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """DVC's answer. It gets no handle of ours that a child could hold on to."""
    command = [sys.executable, "-m", "coder_clip.tracking.dvc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def through(*arguments: str) -> int:
    """Exit status of DVC, which talks to the terminal itself."""
    return subprocess.run(
        [sys.executable, "-m", "coder_clip.tracking.dvc", *arguments], check=False
    ).returncode


def commit(stages: Iterable[str]) -> None:
    """Record stages as they lie here. UserError with DVC's words where it did not.

    DVC ends with success when its cache is full, so its errors are read, too.
    """
    done = call("commit", "--force", "--no-relink", *stages)
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR")]
    if done.returncode or errors:
        why = (errors or said[-1:] or ["it was stopped"])[0]
        raise UserError(
            f"DVC did not record ({why}). Nothing is lost: when that is mended, 'coder-clip record' does it"
        )


def missing_objects(md5s: Iterable[str], hashes: Hashes) -> list[str]:
    """Of these hashes those that the cache lacks. What holds other bytes than its name says is removed first."""
    from dvc.repo import Repo

    folder = Path(os.path.relpath(Repo().cache.local.path))
    missing = []
    for md5 in sorted(set(md5s)):
        path = folder / md5[:2] / md5[2:]
        if path.is_file() and hashes.md5(str(path)) != md5.removesuffix(".dir"):
            path.unlink()
        if not path.is_file():
            missing.append(md5)
    return missing


def check_host_keys() -> None:
    """Make DVC's SSH remotes refuse a server whose host key is not known. Nothing to do without dvc-ssh."""
    try:
        import dvc_ssh  # type: ignore[import-untyped]
    except ImportError:
        return
    prepare = dvc_ssh.SSHFileSystem._prepare_credentials

    def prepare_and_check(self: Any, **config: Any) -> Any:
        # (): what asyncssh does by itself, the files of OpenSSH; sshfs would put None, which is no check
        return {**prepare(self, **config), "known_hosts": ()}

    dvc_ssh.SSHFileSystem._prepare_credentials = prepare_and_check


def main() -> int:
    check_host_keys()
    from dvc.cli import main as dvc

    return int(dvc(sys.argv[1:]) or 0)


if __name__ == "__main__":
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    sys.exit(main())
