"""The keys that a job reads of a configuration.

Noted while it runs, and looked up later.

A key is the path of a value (``adapter.rounds``, ``datasets.rare.views``), the path of a table for
its names (``datasets``), or the call of a `derived` method with its argument (``few_shot(rare)``):
of such a method the result is noted, and not what it reads.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from types import MethodType
from typing import Any, TypeVar, cast

from pydantic import BaseModel

from . import evidence, tracing

ABSENT = "not there"
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class _NoResult:
    """Annotation of a key that changes no result.

    Where files are, and how the work is distributed.
    """


NO_RESULT = _NoResult()


def derived(method: F) -> F:
    """Mark a method of a section, with at most one argument, as one value.

    `observed` notes its result, not the keys that the method reads.
    """
    method.__dict__["derived"] = True
    return method


def observed(config: T, noted: dict[str, Any]) -> T:
    """Wrap a configuration, a section or a mapping, to note the keys that are read.

    Each is added to ``noted``, with its value.
    """
    if isinstance(config, Mapping):
        return cast(T, _Table(config, "", noted))
    return cast(T, _Section(config, "", noted))


def lookup(config: Any, key: str) -> Any:
    """Current value of a key, `path` or `path.method(argument)`; ABSENT if there is none.

    Keys can come from other people's files, so only methods marked as `derived` are called.
    """
    path, call, argument = key.partition("(")
    try:
        if not call:
            return plain(_find(config, key))
        section_path, _, name = path.rpartition(".")
        section = _find(config, section_path)
        # static, because getattr would run a property before its mark is checked
        method = inspect.getattr_static(type(section), name)
        # a property keeps its function in `fget`
        method = getattr(method, "fget", method)
        if not method.__dict__.get("derived"):
            return ABSENT
        arguments = [text for text in [argument.removesuffix(")")] if text]
        return plain(method(section, *arguments))
    except Exception:  # whatever a key that is not of this configuration raises
        return ABSENT


def deciding(section: Any) -> dict[str, Any]:
    """A section as a document: its keys that are set, without those marked NO_RESULT."""
    document: dict[str, Any] = {}
    for name, field in section.__class__.model_fields.items():
        if NO_RESULT in field.metadata:
            continue
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            value = deciding(value)
        elif isinstance(value, Mapping) and _is_table(value):
            value = {entry: deciding(value[entry]) for entry in value}
        if value is not None:
            document[name] = plain(value)
    return document


def plain(value: Any) -> Any:
    """A value as certificates store it: True for a section, the names of a table, else JSON."""
    if isinstance(value, BaseModel):
        return True
    if isinstance(value, Mapping) and _is_table(value):
        return list(value)
    return json.loads(json.dumps(value, default=str))


def _note(noted: dict[str, Any], key: str, value: Any) -> None:
    """Note a key, also for a worker process, whose ``noted`` ends with it."""
    if key not in noted:
        noted[key] = value
        evidence.note("value", key, value)


def _is_table(value: Mapping[str, Any]) -> bool:
    """True for a mapping from names to sections."""
    return bool(value) and all(isinstance(entry, BaseModel) for entry in value.values())


def _find(value: Any, path: str) -> Any:
    """The value at a path. Names can contain dots, so the longest name that fits is taken."""
    if not path:
        return value
    if isinstance(value, BaseModel):
        name, _, rest = path.partition(".")
        # only fields, because getattr would run a property
        if name not in type(value).model_fields:
            raise KeyError(name)
        return _find(getattr(value, name), rest)
    fitting = [name for name in value if path == name or path.startswith(f"{name}.")]
    name = max(fitting, key=len)
    return _find(value[name], path[len(name) + 1 :])


def _watched(value: Any, key: str, noted: dict[str, Any]) -> Any:
    """A value that was read: a section or table is wrapped, any other value noted under ``key``."""
    if isinstance(value, BaseModel):
        return _Section(value, f"{key}.", noted)
    if isinstance(value, Mapping) and _is_table(value):
        return _Table(value, f"{key}.", noted)
    _note(noted, key, plain(value))
    return value


class _Section:
    """Wrapper of a section that notes each key that is read.

    Methods get the wrapper as ``self``, so the keys that they read are noted, too.
    """

    def __init__(self, section: Any, path: str, noted: dict[str, Any]) -> None:
        self._section, self._path, self._noted = section, path, noted

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """The section's class, which isinstance asks: callers need not know about the wrapper."""
        return type(self._section)

    def __getattr__(self, name: str) -> Any:
        model = type(self._section)
        if name in model.model_fields:
            value, field = getattr(self._section, name), model.model_fields[name]
            if NO_RESULT in field.metadata:
                return value
            if field.default is None and isinstance(value, BaseModel):
                _note(self._noted, f"{self._path}{name}", True)  # it could be missing
            return _watched(value, f"{self._path}{name}", self._noted)
        member = inspect.getattr_static(model, name)
        # a property keeps its function in `fget`
        method = getattr(member, "fget", member)
        # other members, such as pydantic's methods, can read every key: note all of them
        if not inspect.isfunction(method) or method.__module__.startswith("pydantic"):
            deciding(self)
            return getattr(self._section, name)
        call: Callable[..., Any] = MethodType(method, self)
        if "derived" in method.__dict__:
            call = self._noting(method)
        if isinstance(member, property):
            return call()
        return call

    def _noting(self, method: Callable[..., T]) -> Callable[..., T]:
        """A derived method, bound to the section, whose calls note their result."""

        def call(*arguments: str) -> T:
            # the judge calls the method as it is then, so its result stands for what it does
            with tracing.quiet():
                value = method(self._section, *arguments)
            called_with = ", ".join(map(str, arguments))
            _note(self._noted, f"{self._path}{method.__name__}({called_with})", plain(value))
            return value

        return call


class _Table(Mapping[str, Any]):
    """Wrapper of a mapping that notes the entries that are read.

    All names, if these are listed or counted.
    """

    def __init__(self, table: Mapping[str, Any], path: str, noted: dict[str, Any]) -> None:
        self._table, self._path, self._noted = table, path, noted

    def __getitem__(self, name: str) -> Any:
        key = f"{self._path}{name}"
        if name not in self._table:
            _note(self._noted, key, ABSENT)
        return _watched(self._table[name], key, self._noted)

    def __contains__(self, name: object) -> bool:
        if name not in self._table:
            _note(self._noted, f"{self._path}{name}", ABSENT)
        return name in self._table

    def __iter__(self) -> Iterator[str]:
        _note(self._noted, self._path.removesuffix("."), list(self._table))
        return iter(self._table)

    def __len__(self) -> int:
        # by __iter__, which notes the names: the length depends on them
        return len(list(iter(self)))
