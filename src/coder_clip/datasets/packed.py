"""Images from the disk of the machine that encodes them: one large read of a shared file system, not many small ones.

An archive per split and shard is made once, beside the results, and serves all models. A job copies it into a file
without a name in TMPDIR, which the kernel frees with the process, however that ends.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import FileLock
from PIL import Image

from ..foundation.artifacts import atomic_path
from .base import Dataset

log = logging.getLogger("coder_clip")


class Packed:
    """A data set whose images come from an archive on this machine; all else is the data set's own."""

    def __init__(self, data: Any, archive: IO[bytes]) -> None:
        self._data, self._archive = data, archive
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            self._places = {member.name: (member.offset_data, member.size) for member in tar}

    def image(self, image_id: str) -> Image.Image:
        """The image, as from the data set itself; one that could not be packed is read from its original place."""
        if image_id not in self._places:
            return self._data.image(image_id)  # type: ignore[no-any-return]
        offset, size = self._places[image_id]
        content = os.pread(
            self._archive.fileno(), size, offset
        )  # processes that share the file do not disturb
        return self._data.image(image_id, content)  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_data"], name)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle for worker processes, which do not inherit open files."""
        return {**self.__dict__, "_archive": f"/proc/{os.getpid()}/fd/{self._archive.fileno()}"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _archive=open(state["_archive"], "rb"))  # noqa: SIM115


@contextmanager
def on_this_machine(data: Dataset, ids: Sequence[str], archive: Path) -> Iterator[Dataset]:
    """The data set with these images on the local disk. archive: made if it does not exist.

    Drawn data sets have no files and stay as they are; without enough space, images are read from their place.
    """
    if not hasattr(data, "path"):
        yield data
        return
    key = hashlib.sha256("\n".join([data.fingerprint(), *ids]).encode()).hexdigest()[:12]
    path = archive.with_name(f"{archive.name}-{key}.tar")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{archive}.lock"):
        if not path.exists():
            _pack(data, ids, path)
            for old in archive.parent.glob(f"{archive.name}-*.tar"):
                if old != path:
                    old.unlink(missing_ok=True)
    with tempfile.TemporaryFile() as local:
        try:
            with path.open("rb") as shared:
                shutil.copyfileobj(shared, local, 1 << 22)
            local.flush()
        except OSError as error:
            log.warning("%s: %s; images are read from their place", tempfile.gettempdir(), error.strerror)
            yield data
            return
        local.seek(0)
        yield Packed(data, local)


def _pack(data: Any, ids: Sequence[str], path: Path) -> None:
    with atomic_path(path) as part, tarfile.open(part, "w") as tar:
        for image_id in ids:
            with suppress(OSError):  # its own error comes when it is read
                tar.add(data.path(image_id).resolve(), arcname=image_id, recursive=False)
