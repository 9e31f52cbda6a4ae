"""Pickles from elsewhere: lists, dicts and strings, and nothing else. A pickle is a program, and can be any program.

Two locks. The opcodes are read without running them, and each has to be on the list below, which holds nothing that
can name or call a function; then the standard library's reader runs with its door to functions and classes shut.

Objects of named classes are read on request (CoOp's lists of shots): their attributes, whatever the class would do.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..errors import UserError

ALLOWED = frozenset(
    (
        "PROTO", "FRAME", "STOP", "MARK",
        "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS",
        "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
        "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET",
    )
)  # fmt: skip
RECORDS = ALLOWED | {
    "GLOBAL",
    "STACK_GLOBAL",
    "EMPTY_TUPLE",
    "NEWOBJ",
    "BUILD",
    "BININT",
    "BININT1",
    "BININT2",
}
LETTERS = 16  # of a string that count like an item
ITEMS = 10_000_000  # a few bytes of references can expand to more texts than fit into memory


class Record:
    """Attributes of an object of one of the classes asked for."""


class _Shut(pickle.Unpickler):
    def __init__(self, data: bytes, records: Collection[str]) -> None:
        super().__init__(io.BytesIO(data))
        self.records = records
        self.record = type("Record", (Record,), {})  # its own: what a file does to it ends with the file

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" in self.records:
            return self.record
        raise pickle.UnpicklingError(f"asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("asks for an object from outside")


def read_plain_pickle(path: str | Path, records: Collection[str] = ()) -> Any:
    """The lists, dicts and strings of a pickle file; where ``records`` names classes ("package.module.Class"), whole
    numbers and objects of these, as `Record`, too.

    UserError, with nothing of the file run, where it holds anything else, is no pickle, is cut off, contains
    itself, or expands to more than ten million items.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    allowed = RECORDS if records else ALLOWED
    plain = ", numbers and the records asked for" if records else " and strings"
    refusal = (
        f"{path} is refused: a pickle may hold lists, dicts{', strings' * bool(records)}{plain}, and this one"
    )
    try:
        operations = list(pickletools.genops(data))
    except Exception as error:  # genops raises whatever its readers raise on bytes that are no pickle
        raise UserError(f"{path} is no pickle file ({type(error).__name__})") from error
    for operation, argument, position in operations:
        if operation.name not in allowed:
            what = f" ({argument})" if operation.name in ("GLOBAL", "INST") else ""
            raise UserError(f"{refusal} holds {operation.name}{what} at byte {position}")
        if "PUT" in operation.name and int(argument or 0) > len(
            operations
        ):  # would make room for all up to it
            raise UserError(f"{refusal} refers to object {argument} of {len(operations)}")
    try:
        found = _Shut(data, records).load()
    except pickle.UnpicklingError as error:
        raise UserError(f"{refusal} cannot be read ({error})") from error
    except Exception as error:  # a well-formed opcode at a wrong place: index, type and attribute errors
        raise UserError(f"{refusal} cannot be read ({type(error).__name__})") from error
    if _items(found, {}, path) > ITEMS:
        raise UserError(f"{refusal} expands to more than {ITEMS:,} items")
    return found


def _items(value: Any, known: dict[int, int], path: Path) -> int:
    """How many values there are, counted as often as they are referred to, long strings as several."""
    if isinstance(value, Record):
        value = vars(value)
    if not isinstance(value, (list, dict)):
        return 1 + (len(value) // LETTERS if isinstance(value, str) else 0)
    if id(value) not in known:
        known[id(value)] = -1
        inside = value if isinstance(value, list) else value.values()
        try:
            known[id(value)] = 1 + sum(_items(v, known, path) for v in inside)
        except RecursionError:
            raise UserError(f"{path} is refused: its lists are nested too deep") from None
    if known[id(value)] < 0:
        raise UserError(f"{path} is refused: a list in it contains itself")
    return known[id(value)]
