"""Read a YAML file and report what is wrong in one line, with the nearest known key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ..errors import UserError, nearest, one_line


class _Loader(yaml.SafeLoader):
    """A YAML loader that refuses a key given twice; plain YAML silently keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"the key '{key.value}' is given twice; keep one", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """The document in a file. UserError, one line, for a file that cannot be read or is not YAML."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {one_line(error, None)}") from error


def explained(error: ValidationError, model: type[BaseModel]) -> str:
    """All of pydantic's errors in one line, with the nearest known key for an unknown one."""
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            *section, key = item["loc"]
            lines.append(f"unknown key '{where}'{nearest(str(key), _keys(model, section))}")
        elif item["type"] == "value_error":
            lines.append(str(item["ctx"]["error"]))
        elif item["type"] == "literal_error":
            known = re.findall(r"'([^']*)'", item["ctx"]["expected"])
            lines.append(f"{where}: '{item['input']}' is unknown{nearest(str(item['input']), known)}")
        else:
            lines.append(f"{where}: {item['msg'][0].lower()}{item['msg'][1:]} (got {item['input']!r})")
    return "; ".join(dict.fromkeys(lines))


def _keys(model: type[BaseModel], section: list[int | str]) -> list[str]:
    """The known keys of a section: those of its field's model, or of the model of that field's values."""
    if section:
        annotation = model.model_fields[str(section[0])].annotation
        models = [
            a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, BaseModel)
        ]
        model = models[0] if models else model
    return list(model.model_fields)
