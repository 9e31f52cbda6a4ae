"""Archives for tests: of all kinds, and some that mean harm."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any


def tar_with(path: Path, *members: tuple[str, Any], mode: str = "w:gz") -> Path:
    """Members: (name, bytes), or (name, TarInfo settings)."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, what in members:
            info = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                info.size = len(what)
                tar.addfile(info, io.BytesIO(what))
            else:
                for key, value in what.items():
                    setattr(info, key, value)
                tar.addfile(info)
    return path


def zip_with(path: Path, *members: tuple[str, bytes, int]) -> Path:
    """Members: (name, content, Unix mode)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            file.writestr(info, content)
    return path


def below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


EVIL_TAR: dict[str, tuple[str, Any]] = {
    "parent": ("../evil", b"x"),
    "hidden parent": ("d/../../evil", b"x"),
    "absolute": ("/tmp/evil-coder-clip", b"x"),
    "backslash": ("..\\evil", b"x"),
    "drive": ("C:evil", b"x"),
    "link out": ("d/link", {"type": tarfile.SYMTYPE, "linkname": "/etc"}),
    "link in": ("d/link", {"type": tarfile.SYMTYPE, "linkname": "good.jpg"}),
    "hard link": ("d/link", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}),
    "pipe": ("d/pipe", {"type": tarfile.FIFOTYPE}),
    "character device": ("d/null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}),
    "block device": ("d/sda", {"type": tarfile.BLKTYPE, "devmajor": 8, "devminor": 0}),
}
