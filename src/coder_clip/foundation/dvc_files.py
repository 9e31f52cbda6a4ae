"""dvc.lock and dvc.yaml: read by a strict schema, and written from the list of phases and from
hashes.

Both come from other people. Of dvc.lock only the hashes are used, of dvc.yaml nothing; keys and
paths that no record of this project has are refused, because DVC itself would follow them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from .dvc import MD5

STAGE = {
    "lock": {"cmd", "deps", "params", "outs"},
    "yaml": {"cmd", "deps", "outs", "metrics", "wdir"},
}
ENTRY = {"path", "hash", "md5", "size", "nfiles"}
OPTIONS = {"persist", "cache"}


class DamagedLock(UserError):
    """A dvc.lock that cannot be read, for example because its write was cut short."""


def read_lock(text: str, file: Path, outs_of: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """The stages of a dvc.lock: name -> stage.

    outs_of: phase -> its outputs. Other stages are the user's own, and are not checked.
    DamagedLock if the text is not a dvc.lock. UserError if a phase has a key or an output that
    'coder-clip record' never writes, because DVC would follow it.
    """
    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        stages = document["stages"]
        for name in outs_of.keys() & stages.keys():
            # raises TypeError where `deps` cannot be iterated
            list(stages[name].get("deps") or ())
            for out in stages[name]["outs"]:
                md5 = out["md5"].removesuffix(".dir")
                if not MD5.fullmatch(md5) or not isinstance(out["path"], str):
                    raise TypeError
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise DamagedLock(f"{file} is damaged; 'coder-clip record' repairs it") from None
    for name in outs_of.keys() & stages.keys():
        _check_keys(stages[name], STAGE["lock"], file, f"phase '{name}'")
        for kind in ("deps", "outs"):
            for entry in stages[name].get(kind) or ():
                _check_keys(entry, ENTRY, file, f"an entry of phase '{name}'")
        paths = [out["path"] for out in stages[name]["outs"]]
        _check_outputs(paths, outs_of[name], file, name)
    return dict(stages)


def read_yaml_stages(file: Path, outs_of: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """The document of a dvc.yaml; {} if the file does not exist.

    outs_of: as in `read_lock`. UserError if the file is damaged, or if a phase has a key, folder or
    output that 'coder-clip record' never writes.
    """
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        stages = document["stages"]
        if not isinstance(stages, dict):
            raise TypeError
        document = dict(document)
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError):
        raise UserError(f"{file} is damaged; 'git checkout HEAD -- {file}' restores it") from None
    for name in outs_of.keys() & stages.keys():
        place = f"phase '{name}'"
        _check_keys(stages[name], STAGE["yaml"], file, place)
        # commands run in the folder of dvc.yaml unless wdir leads back to the root
        wdir = "." if file.parent == Path() else "../.."
        if stages[name].get("wdir", wdir) != wdir:
            raise _refused(file, f"{place} has the working directory '{stages[name]['wdir']}'")
        for kind in ("outs", "metrics"):
            listed = stages[name].get(kind) or []
            if not isinstance(listed, list):
                raise _refused(file, f"{kind} of {place} is not a list")
            for out in listed:
                # an output is a path, or a mapping from its path to options
                described = out if isinstance(out, dict) else {str(out): {}}
                _check_outputs(described, outs_of[name], file, name)
                if len(described) != 1:
                    raise _refused(
                        file, f"{place} has several outputs in one entry, {', '.join(described)}"
                    )
                for path, options in described.items():
                    _check_keys(options or {}, OPTIONS, file, f"{place}, output '{path}'")
    return document


def _check_keys(entry: Any, keys: set[str], file: Path, place: str) -> None:
    """UserError if an entry is not a mapping, or has other keys than these. place: for messages."""
    if not isinstance(entry, dict):
        raise _refused(file, f"{place} is not a mapping")
    unknown = sorted(map(str, entry.keys() - keys))
    if unknown:
        raise _refused(file, f"{place} has the key '{unknown[0]}', which no record has")


def _check_outputs(paths: Iterable[Any], outs: Iterable[str], file: Path, phase: str) -> None:
    """UserError if one of the paths is not in ``outs``, the outputs of the phase."""
    for path in paths:
        if path not in outs:
            raise _refused(
                file,
                f"'{path}' is named as an output of the phase '{phase}', which does not make it",
            )


def _refused(file: Path, what: str) -> UserError:
    """The error for a file with content that no record writes."""
    return UserError(
        f"{file}: {what}; nothing was changed: look at the "
        f"commit that added it ('git log -p {file}')"
    )


def dump(document: Mapping[str, Any]) -> str:
    """A document in DVC's own layout, else its next commit changes every line."""
    from dvc.utils.serialize import dumps_yaml

    return str(dumps_yaml(document))
