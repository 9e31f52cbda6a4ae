"""Data sets that have the images of another one, and texts of their own (key ``of``)."""

from __future__ import annotations

from typing import Any

from ..datasets import BUILTIN
from ..errors import nearest

# keys that say what the images and their labels are
OF_IMAGES = ("root", "features", "classes", "corrections", "groups", "split_file", "split", "views")
# the same, unless the section has its own
DEFAULTS = ("templates", "threshold", "few_shot")


def with_images(sections: Any) -> Any:
    """The sections of data sets, where each with ``of`` has the keys of the data set it names.

    sections: the value of ``datasets`` as it was read, by name; another value is returned as it is.
    ValueError, in one line, where ``of`` names no data set, or its section has keys of images.
    """
    if not isinstance(sections, dict):
        return sections
    complete = {}
    for name, section in sections.items():
        # other values than a table are reported with their types
        if isinstance(section, dict) and section.get("of") is not None:
            section = _complete(name, section, sections)
        complete[name] = section
    return complete


def _complete(name: str, section: dict[str, Any], sections: dict[str, Any]) -> dict[str, Any]:
    """A section with ``of``, and the keys of the data set that it names."""
    images = section["of"]
    where = f"datasets.{name}.of"
    if name in BUILTIN:
        raise ValueError(f"{where}: '{name}' is a built-in data set; give this one another name")
    if images == name:
        raise ValueError(f"{where}: names itself; name the data set whose images it has")
    known = [*(other for other in sections if other != name), *BUILTIN]
    if not isinstance(images, str) or images not in known:
        raise ValueError(
            f"{where}: no data set '{images}'{nearest(str(images), known)}; name one of this "
            "configuration, or a built-in one"
        )
    source = sections.get(images, {})
    if not isinstance(source, dict):
        return section
    if source.get("of") is not None:
        raise ValueError(
            f"{where}: '{images}' has the images of '{source['of']}' itself; name that one"
        )
    for key in OF_IMAGES:
        if key in section:
            raise ValueError(
                f"datasets.{name}.{key}: the images are those of '{images}' (of); leave it out"
            )
    given = {key: source[key] for key in (*OF_IMAGES, *DEFAULTS) if key in source}
    return {**given, **section}
