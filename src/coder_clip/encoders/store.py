"""A cache of features by the content of the photo or text, so that a second call takes seconds.

A folder in the user's cache folder, for runs (also of many machines that share it) and for
`classify` alike. Every process adds files of its own, which are written under a temporary name,
renamed and never changed: there are no locks, and a killed process leaves whole files or none. A
damaged file counts as absent. The folder can be deleted at any time; where it cannot be written,
everything works without it.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import time
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import UserError
from ..foundation.artifacts import atomic_path, read_json, write_json
from ..rerun.hashes import of_code, stamp
from . import families
from .spec import EncoderSpec

log = logging.getLogger(__name__)

# libraries whose versions can change features, besides those of the encoder's family
LIBRARIES = ("torch", "torchvision", "pillow")
# Modules between an image or a text and its feature. Their code is part of the key: a feature holds
# as long as it is the same.
MAKERS = (
    "datasets/decoding",
    "encoders/passes",
    "encoders/preprocessing",
    "foundation/reproducible",
)
PACKAGE = Path(__file__).resolve().parents[1]
SECONDS = 60.0  # of work that a killed process loses at most
FILES, SMALL = 64, 1 << 20  # more than FILES files, each of fewer bytes than SMALL, become one
DAY = 86400.0  # seconds; an older temporary file was left by a killed process
Rows = dict[bytes, Tensor]  # digest (sha256 of the key) -> (size,) float32


class FeatureStore:
    """A store of features (size,) float32, keyed by encoder, kind ("image" or "text") and key.

    Thread-safe.

    folder: None stores nothing. Each encoder, kind and size has a folder of files, its place. A
    file has n rows: keys (n, 32) uint8, the sha256 of each key, and features (n, size) float32.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._lock = folder, RLock()
        # place -> digest -> file and row
        self._stored: dict[Path, dict[bytes, tuple[Path, int]]] = {}
        self._loaded: dict[Path, Tensor] = {}  # file -> its features, for files that were read
        self._new: dict[Path, Rows] = {}  # place -> rows that are not in a file yet
        self._oldest = 0.0  # when the first of the new rows was made; 0: no new rows
        if folder is not None:
            atexit.register(self.flush)

    def get(self, encoder: str, kind: str, keys: Sequence[str], size: int) -> dict[str, Tensor]:
        """Look up features (size,) by key.

        Keys that are not stored, or only in a damaged file, are absent.
        """
        if self._folder is None:
            return {}
        place = self._place(encoder, kind, size)
        with self._lock:
            new, stored = self._new.get(place, {}), self._index(place)
            rows = {key: self._row(new, stored, _digest(key)) for key in keys}
        return {key: row for key, row in rows.items() if row is not None}

    def put(self, encoder: str, kind: str, features: Iterable[tuple[str, Tensor]]) -> None:
        """Store features (size,) by key.

        They are in a file after SECONDS, after `flush`, or when the process ends.
        """
        if self._folder is None:
            return
        with self._lock:
            for key, feature in features:
                row = feature.detach().float().cpu().clone()
                self._new.setdefault(self._place(encoder, kind, len(row)), {})[_digest(key)] = row
            self._oldest = self._oldest or time.monotonic()
            if time.monotonic() - self._oldest > SECONDS:
                self.flush()

    def flush(self) -> None:
        """Write new rows to files, one per place, and free the features that were read."""
        with self._lock:
            new, self._new, self._oldest = self._new, {}, 0.0
            self._loaded.clear()
            for place, rows in new.items():
                with self._unless_it_fails():
                    path = _write(place, rows)
                    # an index in memory must learn the new rows; a later one reads the file
                    if place in self._stored:
                        self._stored[place] |= _digests(path)

    def metadata(self, spec: EncoderSpec) -> dict[str, str] | None:
        """Metadata of the encoder of this specification, without loading it.

        None if it is not stored, or a file of the encoder has changed.
        """
        if self._folder is None:
            return None
        path = self._about(spec)
        if not path.is_file():
            return None
        try:
            document = read_json(path)
            before, metadata = dict(document["files"]), dict(document["metadata"])
            # an empty `before` means that a file was missing: nothing can be compared
            unchanged = before and _stats(map(Path, before)) == before
        except (UserError, ValueError, TypeError):
            return None
        return metadata if unchanged else None

    def remember(self, spec: EncoderSpec, files: Iterable[Path], metadata: dict[str, str]) -> None:
        """Store an encoder's metadata. files: all files that decide its features."""
        if self._folder is not None:
            with self._unless_it_fails():
                write_json(self._about(spec), {"files": _stats(files), "metadata": metadata})

    def _index(self, place: Path) -> dict[bytes, tuple[Path, int]]:
        """Digest -> file and row, for all rows in the files of a place."""
        if place not in self._stored:
            index: dict[bytes, tuple[Path, int]] = {}
            for path in _files(place):
                index.update(_digests(path))
            self._stored[place] = index
        return self._stored[place]

    def _row(
        self, new: Rows, stored: dict[bytes, tuple[Path, int]], digest: bytes
    ) -> Tensor | None:
        """The features (size,) with a digest, from new rows or a file; None if there are none."""
        if digest in new:
            return new[digest]
        if digest not in stored:
            return None
        path, row = stored[digest]
        features = self._loaded.get(path)
        if features is None:
            features = self._loaded[path] = _features(path)
        # index and features are read at different times, and the file may be gone by now
        return features[row] if row < len(features) else None

    def _place(self, encoder: str, kind: str, size: int) -> Path:
        """The folder of an encoder, kind and size."""
        assert self._folder is not None
        return self._folder / encoder / f"{kind.replace(' ', '-')}-{size}"

    def _about(self, spec: EncoderSpec) -> Path:
        """The file with the metadata of an encoder."""
        assert self._folder is not None
        key = hashlib.sha256(encoder_key(asdict(spec)).encode()).hexdigest()
        return self._folder / "encoders" / f"{key}.json"

    @contextmanager
    def _unless_it_fails(self) -> Iterator[None]:
        """Context of a write.

        After an error (full disk, folder that cannot be written) the store keeps nothing more.
        """
        try:
            yield
        except UserError as error:
            log.warning("features are not kept: %s", error)
            self._folder = None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()


def _files(place: Path) -> list[Path]:
    """The complete files of a place, oldest first; [] if the place cannot be listed."""
    # oldest first: of two files with the same key the newer one counts
    try:
        return sorted(
            (p for p in place.iterdir() if p.suffix == ".npz" and not p.name.startswith(".")),
            key=lambda p: (p.stat().st_mtime_ns, p.name),
        )
    except OSError:
        return []


def _digests(path: Path) -> dict[bytes, tuple[Path, int]]:
    """Digest -> the file and the row, for each key of a file; {} if the file is damaged or gone."""
    keys = _array(path, "keys", np.uint8, 32)
    return {key.tobytes(): (path, row) for row, key in enumerate(keys)}


def _features(path: Path) -> Tensor:
    """The features (n, size) of a file; n = 0 if the file is damaged or gone."""
    size = int(path.parent.name.rpartition("-")[2])  # as in `_place`
    return torch.from_numpy(_array(path, "features", np.float32, size))


def _array(path: Path, name: str, dtype: type, width: int) -> NDArray[Any]:
    """An array (n, width) of a file, its checksum compared; n = 0 if the file is damaged or gone,
    or the array has another type or shape.
    """
    try:
        with zipfile.ZipFile(path) as file:
            # a zip bomb: these files are not compressed
            if file.getinfo(f"{name}.npy").file_size > path.stat().st_size:
                raise ValueError
        with np.load(path, allow_pickle=False) as file:
            array: NDArray[Any] = file[name]
        if array.dtype == dtype and array.ndim == 2 and array.shape[1] == width:
            return array
    # zipfile (also for a wrong CRC-32) and numpy raise almost any exception for damaged bytes
    except Exception:
        pass
    return np.empty((0, width), dtype)


def _write(place: Path, rows: Rows) -> Path:
    """Write rows to a new file of a place.

    The rows of its small files join them if there are many of these. UserError if the file cannot
    be written.

    Two processes that write at once both keep all rows. A process that was about to read a file
    that is gone misses its rows, and computes them.
    """
    # small files are merged only when there are many, because that reads all of them
    small = [path for path in _files(place) if _size(path) < SMALL]
    if len(small) <= FILES:
        small = []
    for path in small:
        features = _features(path)
        # fewer features than keys if the file went away between the two reads
        stored = {
            digest: features[row]
            for digest, (_, row) in _digests(path).items()
            if row < len(features)
        }
        rows = stored | rows  # a new row replaces a stored one
    target = place / f"{uuid.uuid4().hex}.npz"
    keys = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 32)
    with atomic_path(target) as part:
        np.savez(part, keys=keys, features=torch.stack([*rows.values()]).numpy())
    # only now: a process that is killed before leaves all rows in the old files
    for path in small:
        path.unlink(missing_ok=True)
    for path in place.glob(".*.npz"):
        with suppress(OSError):  # another process has removed it
            if time.time() - path.stat().st_mtime > DAY:
                path.unlink()
    return target


def _size(path: Path) -> int:
    """Bytes of a file; SMALL (which does not count as small) if another process has merged it."""
    try:
        return path.stat().st_size
    except OSError:
        return SMALL


def encoder_key(of: Mapping[str, Any], device: str = "") -> str:
    """The key of what was made with an encoder: its metadata (``of``), the class of device (cpu,
    cuda, mps), the versions of libraries, and the code of `MAKERS`, here and of its family.
    """
    family = families.of(of["model"])
    versions = {name: version(name) for name in (*LIBRARIES, *family.libraries)}
    code = [_CODE[module] for module in (*MAKERS, *family.makers)]
    return json.dumps({**of, **versions, "code": code, "computed_on": device}, sort_keys=True)


def features_key(metadata: Mapping[str, str], device: torch.device) -> str:
    """sha256 of `encoder_key` for a loaded encoder's metadata on this device."""
    return hashlib.sha256(encoder_key(metadata, device.type).encode()).hexdigest()


# when this module is imported, and not when features are stored: a file can change meanwhile
_CODE = {
    module: of_code((PACKAGE / f"{module}.py").read_bytes())["code"]
    for makers in (MAKERS, *(family.makers for family in families.FAMILIES.values()))
    for module in makers
}


def _stats(files: Iterable[Path]) -> dict[str, list[int]]:
    """File -> its stamp (times, size, inode); {} if a file is missing."""
    try:
        return {str(path): stamp(str(path)) for path in sorted(files)}
    except OSError:
        return {}
