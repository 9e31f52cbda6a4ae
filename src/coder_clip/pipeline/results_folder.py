"""Refuse a results folder in which results would replace files of the project."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

from ..errors import UserError, one_line
from ..foundation.git import git
from .phase_list import FILE, phases

# Folders of the project: refused in a copy without Git, too, where nothing says what is tracked.
OWN = {
    "benchmarks",
    "config",
    "data",
    "docs",
    "licenses",
    "packages",
    "src",
    "tests",
    "tools",
    "tracked",
    "workflow",
}
LONGEST = 200  # letters of the path: file systems take 255 bytes of a name


def refuse_misplaced(results: str | Path, clone: Path, file: str | Path) -> None:
    """UserError if results may not be in this folder. file: the configuration that names it."""
    why = misplaced(results, clone)
    if why:
        raise UserError(
            f"{file}: results: '{one_line(results)}' {why}; nothing was changed: name a folder of "
            f"its own, such as results/{Path(file).stem}"
        )


def misplaced(results: str | Path, clone: Path) -> str:
    """Why results may not be in this folder; "" if they may.

    clone: folder of the Snakefile, at which a relative path starts. Any other folder is not a clone
    of this project, and nothing is pulled into it, so every folder may be used there.
    """
    if len(str(results)) > LONGEST:
        return f"is longer than {LONGEST} letters"
    if not (clone / FILE).is_file():
        return ""
    if os.path.isabs(results):
        return "is a path of this machine alone"
    top = os.path.abspath(clone)
    # the folder itself, and the one that it is a link to
    named = os.path.normpath(os.path.join(top, results))
    places = [_below(top, named)]
    linked = _below(os.path.realpath(top), os.path.realpath(named))
    if linked is not None:
        places.append(linked)
    for place in places:
        if place is None:
            return "is outside of this clone"
        if not place.parts:
            return "is the folder of the Snakefile"
        hidden = [part for part in place.parts if part.startswith(".")]
        if hidden:
            return f"has a name with a dot in front ('{hidden[0]}')"
        if place.parts[0].lower() in OWN:
            return f"is in '{place.parts[0]}', a folder of the project"
        tracked = _tracked(top, place)
        if tracked:
            return f"would share '{place.parts[0]}' with files that Git tracks ({tracked[0]})"
    return ""


def _below(top: str, path: str) -> PurePath | None:
    """A path relative to a folder; None if it is outside."""
    relative = PurePath(os.path.relpath(path, top))
    if ".." in relative.parts[:1]:
        return None
    return relative


def _tracked(top: str, place: PurePath) -> list[str]:
    """Files that Git tracks in the outermost folder of a path, but for outputs that Git keeps.

    [] without Git. top: folder of the clone.
    """
    # some machines do not tell letters of both cases apart
    names = f":(literal,icase){place.parts[0]}"
    try:
        listed = git("-C", top, "ls-files", "-z", "--", names)
    except (OSError, UserError):
        return []
    files = [PurePath(os.fsdecode(name)) for name in listed.split(b"\0") if name]
    if not files:
        return []
    keeps = {name for phase in phases(Path(top) / FILE) for name in phase.keeps}
    around = {place, *place.parents}

    def kept(file: PurePath) -> bool:
        """True below an output of results that Git keeps, unless the results are in there."""
        below = (file, *file.parents)
        return any(p.name in keeps and p not in around and len(p.parts) > 1 for p in below)

    return [file.as_posix() for file in files if not kept(file)]
