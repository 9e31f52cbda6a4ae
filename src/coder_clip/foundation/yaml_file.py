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
    """A YAML loader that refuses a key given twice; plain YAML silently keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are unique; PyYAML would silently keep the last of two."""
        seen: set[str] = set()
        for key, _ in node.value:
            # YAML merges ("<<") may be repeated
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"the key '{key.value}' is given twice; keep one",
                        problem_mark=key.start_mark,
                    )
                seen.add(key.value)
        built: dict[Any, Any] = super().construct_mapping(node, deep)
        return built

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None:
            # before anything is built from it: aliases of aliases grow without end
            _values(node, {})
        return node


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of values in a node, with all that its aliases repeat. YAMLError if they are too many.

    known: id of a node that was met -> its number; 0 while its own parts are counted.
    """
    if id(node) in known:
        if not known[id(node)]:
            raise yaml.YAMLError("an alias names the part that it is in")
        return known[id(node)]
    known[id(node)] = 0
    parts = node.value if isinstance(node, yaml.CollectionNode) else []
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.ScalarNode):
        node.value.encode()  # a lone surrogate cannot be printed
    number = 1 + sum(_values(part, known) for part in parts)
    if number > MOST:
        raise yaml.YAMLError(f"it has more than {MOST:,} values")
    known[id(node)] = number
    return number


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
    except RecursionError as error:
        raise UserError(f"{path} is not valid YAML: lists in lists without end") from error
    # ValueError: text that is not UTF-8, a date that no calendar has, a number without end
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} is not valid YAML: {one_line(error, None)}") from error
