"""Ask git about the repository."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

from ..errors import UserError


def git(*arguments: str) -> bytes:
    """Output of a git command. UserError if it fails, OSError if Git is not installed."""
    done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[:1]  # the usage may follow
        raise UserError(f"git {arguments[0]}: {''.join(said)}")
    return done.stdout


def in_conflict(path: Path) -> bool:
    """True if a file has an unresolved merge conflict."""
    with suppress(OSError, UserError):
        return bool(git("ls-files", "--unmerged", "--", str(path)))
    return False


def shown(revision: str, path: Path) -> bytes | None:
    """The content of a file in a revision; None if the revision does not have it."""
    try:
        return git("show", f"{revision}:./{path.as_posix()}")
    except UserError:
        return None
