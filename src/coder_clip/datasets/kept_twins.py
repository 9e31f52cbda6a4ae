"""Near twins of features, kept in the user's cache, so that `check` and a run search once.

A file per search, named by everything that decides its result: the features, the limit, the code
that compares and the versions of its libraries. It is written under a temporary name, renamed and
never changed. A damaged file counts as absent. The folder can be deleted at any time; where it
cannot be written, everything works without it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..foundation import evidence
from ..foundation.artifacts import atomic_path
from ..foundation.blocks import Code
from ..foundation.caches import user_cache
from .twins import COSINE, alike

log = logging.getLogger(__name__)

FORMAT = 1  # of the files
KEPT = 5000  # images from which a search takes longer than reading its file
PACKAGE = Path(__file__).resolve().parents[1]
# The code that compares, as it is now, at import: a file can change before a search ends.
_CODE = Code(PACKAGE.parent, PACKAGE.name).closure(
    [(f"{PACKAGE.parent.name}/{PACKAGE.name}/datasets/twins.py", "alike()")], static=True
)


def kept_alike(features: NDArray[Any]) -> NDArray[np.int64]:
    """`twins.alike`, from the user's cache if the same features were compared before: (N,)."""
    if len(features) < KEPT:
        return alike(features)
    path = _folder() / f"{_key(features)}.npz"
    found = _read(path, len(features))
    if found is not None:
        evidence.made_by(_CODE)
        return found
    number = alike(features)
    try:
        with atomic_path(path) as part:
            np.savez(part, number=number.astype(np.int32))
    except UserError as error:
        log.warning("near twins are not kept: %s", error)
    return number


def _folder() -> Path:
    """The folder of files: below XDG_CACHE_HOME, by default ~/.cache.

    Its name begins as the one of stored features does, so that `verify` searches again.
    """
    return user_cache() / "coder-clip" / f"features-twins-{FORMAT}"


def _key(features: NDArray[Any]) -> str:
    """sha256 of everything that decides the groups of features (N, d)."""
    about = {
        "shape": features.shape,
        "type": features.dtype.str,
        "cosine": COSINE,
        "code": _CODE,
        "versions": {name: version(name) for name in ("numpy", "scipy")},
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(features).data)
    return digest.hexdigest()


def _read(path: Path, n: int) -> NDArray[np.int64] | None:
    """The group numbers (n,) of a file; None if it is damaged or not there."""
    try:
        with zipfile.ZipFile(path) as file:
            # a zip bomb: these files are not compressed
            if file.getinfo("number.npy").file_size > path.stat().st_size:
                return None
        with np.load(path, allow_pickle=False) as arrays:
            number = arrays["number"]
    # zipfile (also for a wrong CRC-32) and numpy raise almost any exception for damaged bytes
    except Exception:
        return None
    if number.dtype != np.int32 or number.shape != (n,):
        return None
    # each number is the first member of its group
    groups: NDArray[np.int64] = number.astype(np.int64)
    in_range = (groups >= 0) & (groups <= np.arange(n))
    if not in_range.all() or (groups[groups] != groups).any():
        return None
    return groups
