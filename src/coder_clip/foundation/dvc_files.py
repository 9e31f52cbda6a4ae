"""dvc.lock: read by a strict schema, and written in DVC's own layout.

The file comes from other people. Only its hashes are used; keys and paths that no record of this
project has are refused, because DVC itself would follow them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError, one_line
from .dvc import MD5
from .yaml_file import parse_yaml

STAGE = {"cmd", "deps", "outs"}
ENTRY = {"path", "hash", "md5", "size", "nfiles"}
LARGEST = 500_000  # bytes of a dvc.lock, fifty times what the default has


class DamagedLock(UserError):
    """A dvc.lock that cannot be read, for example because its write was cut short."""


def lock_bytes(file: Path) -> bytes:
    """The bytes of a dvc.lock.

    FileNotFoundError if there is none, DamagedLock if it is a link, a pipe or too large, UserError
    if it is a folder.
    """
    about = os.lstat(file)
    if stat.S_ISDIR(about.st_mode):
        raise UserError(f"{file} is a folder; move it away, and 'git checkout HEAD -- {file}'")
    if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST:
        raise _damaged(file)
    return file.read_bytes()


def read_lock(data: bytes, file: Path, phases: Collection[str]) -> dict[str, Any]:
    """Phase -> its stage in a dvc.lock; other stages are left out.

    DamagedLock if the data is no dvc.lock.

    file: for messages. phases: names of all phases.
    """
    try:
        document = parse_yaml(data.decode())["stages"]
        if not isinstance(document, dict):
            raise TypeError
        stages = {name: document[name] for name in phases if name in document}
        for stage in stages.values():
            stage.pop("params", None)  # of earlier versions
            # raises TypeError where `deps` cannot be iterated
            list(stage.get("deps") or ())
            for out in stage["outs"]:
                if not MD5.fullmatch(out["md5"].removesuffix(".dir")):
                    raise TypeError
                if not isinstance(out["path"], str):
                    raise TypeError
    except (yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
        raise _damaged(file) from None
    return stages


def _damaged(file: Path) -> DamagedLock:
    return DamagedLock(f"{file} is damaged; 'coder-clip record' repairs it")


def fault(phase: str, stage: Mapping[str, Any], outs: Collection[str]) -> str:
    """What a phase's stage has that 'coder-clip record' never writes; "" if nothing.

    outs: the outputs of the phase."""
    why = _unknown_key(stage, STAGE, f"phase '{phase}'")
    listed = [entry for kind in ("deps", "outs") for entry in stage.get(kind) or ()]
    for entry in listed:
        why = why or _unknown_key(entry, ENTRY, f"an entry of phase '{phase}'")
        if not why and not isinstance(entry.get("path"), str):
            why = f"an entry of phase '{phase}' has no path"
    if why:
        return why
    paths = [out["path"] for out in stage["outs"]]
    for path in paths:
        if path not in outs:
            return (
                f"'{one_line(path)}' is named as an output of the phase '{phase}', which does not "
                "make it"
            )
        if paths.count(path) > 1:
            return f"'{path}' is named twice as an output of the phase '{phase}'"
    return ""


def _unknown_key(entry: Any, keys: set[str], place: str) -> str:
    """Say what is wrong with an entry that is not a mapping, or has other keys; "" if nothing is.

    place: for messages."""
    if not isinstance(entry, dict):
        return f"{place} is not a mapping"
    for unknown in sorted(map(str, entry.keys() - keys)):
        return f"{place} has the key '{one_line(unknown)}', which no record has"
    return ""


def dump(document: Mapping[str, Any]) -> str:
    """A document in DVC's own layout, else its next commit changes every line."""
    from dvc.utils.serialize import dumps_yaml

    return str(dumps_yaml(document))
