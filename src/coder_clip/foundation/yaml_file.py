"""Read a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError, one_line

LARGEST = 500_000  # bytes of a file: the classes and templates of ImageNet take a tenth of it
MOST = 100_000  # values of a document, those counted again that an alias repeats
_Plain: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Plain):  # type: ignore[misc]
    """PyYAML's safe loader, but it refuses a key given twice, of which PyYAML keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are unique; YAML merges ("<<") may be repeated."""
        first: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            named = isinstance(key, yaml.ScalarNode) and key.value != "<<"
            if named and first.setdefault(key.value, key) is not key:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key '{key.value}' is given twice; keep one",
                    problem_mark=key.start_mark,
                )
        built: dict[Any, Any] = super().construct_mapping(node, deep)
        return built

    def get_single_node(self) -> Any:
        """The document. Aliases of aliases take no memory here, but whoever prints or walks it."""
        node = super().get_single_node()
        if _size(node, {}) > MOST:
            raise yaml.YAMLError(f"it has more than {MOST:,} values")
        return node


def _size(node: yaml.Node | None, known: dict[int, int]) -> int:
    """Number of values in a node, with all that its aliases repeat. known: those of other nodes."""
    if id(node) not in known:
        known[id(node)] = MOST  # for a node that is in itself
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        nodes = [part for item in parts for part in (item if type(item) is tuple else [item])]
        known[id(node)] = 1 + sum(_size(part, known) for part in nodes)
    return known[id(node)]


def parse_yaml(text: str) -> Any:
    """The document in a text. YAMLError, ValueError or RecursionError if it is not plain YAML."""
    return yaml.load(text, Loader=_Loader)


def read_yaml(path: Path) -> Any:
    """The document in a file.

    UserError, one line, for a file that cannot be read, is not YAML, or is too large.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path} is larger than {LARGEST:,} bytes; make it shorter")
        return parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    # ValueError: text that is not UTF-8, a date that no calendar has, a number without end
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {one_line(error, None)}") from error
