"""Read untrusted pickles: lists, dicts and strings, and nothing else, because a pickle can be any
program.

The standard library's unpickler runs without access to functions and classes, and its result is
checked.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

from ..errors import UserError, one_line

LETTERS = 16  # so many characters of a string count like one item
ITEMS = 10_000_000  # a few bytes of references can expand to more texts than fit into memory


class _Reader(pickle.Unpickler):
    """An unpickler that refuses all functions and classes."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"asks for {module}.{name}")


def read_plain_pickle(path: str | Path) -> Any:
    """The lists, dicts and strings of a pickle file.

    UserError if the file holds anything else, is not a pickle, is cut off, contains itself, or
    expands to more than ITEMS items. No code of the file runs.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        # A pickle is a program. Its opcodes are scanned first, without executing them, for indices
        # that would make the reader reserve huge memory; then `_Reader` executes it, and refuses
        # every import.
        for code, argument, _ in pickletools.genops(data):
            # the reader would make room for all numbers up to this one
            if "PUT" in code.name and int(argument or 0) > len(data):
                raise pickle.UnpicklingError(f"numbers an object {argument}")
        value = _Reader(io.BytesIO(data)).load()
        size = _items(value, {})
    except Exception as error:  # wrong bytes fail in many ways
        raise UserError(
            f"{path} is refused: a pickle may hold lists, dicts and strings, and this one "
            f"{one_line(error)}"
        ) from error
    if size > ITEMS:
        raise UserError(f"{path} is refused: it expands to more than {ITEMS:,} items")
    return value


def _items(value: Any, known: dict[int, int]) -> int:
    """Count the values inside a value: each as often as it is referred to, long strings as several;
    UnpicklingError for other types.

    known: id of each list and dict so far -> its count.
    """
    if isinstance(value, str):
        return 1 + len(value) // LETTERS
    if not isinstance(value, (list, dict)):
        raise pickle.UnpicklingError(f"holds a {type(value).__name__}")
    # -1 marks a container that is being counted: to meet it again means a cycle
    if id(value) not in known:
        known[id(value)] = -1
        inside = value if isinstance(value, list) else [*value, *value.values()]
        known[id(value)] = 1 + sum(_items(v, known) for v in inside)
    if known[id(value)] < 0:
        raise pickle.UnpicklingError("contains itself")
    return known[id(value)]
