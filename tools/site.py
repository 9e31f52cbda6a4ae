"""What the site has beside the pages of docs/, made from the code while it is built (mkdocs.yml).

The first page is README, so that it stands once. Commands are shown by their own help, keys by the
schema, error messages as the code has them.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))  # mkdocs loads a hook by its file
from example import page_of
from gallery import gallery

REPO = Path(__file__).resolve().parents[1]
# modules of the library that README and docs/library.md name, and where their method is described
LIBRARY = ("neighbors", "rerank", "adapter", "zero_shot", "encoders.encoder", "encoders.features")
SOURCES = ("src", "packages/coder-clip-photos/src")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {
        "index.md": (REPO / "README.md").read_text(encoding="utf-8"),
        "contributing.md": (REPO / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        "reference/commands.md": commands(),
        "reference/configuration.md": configuration(),
        "reference/library.md": library(),
        "reference/messages.md": messages(),
    }
    made: dict[str, str | bytes] = dict(pages)
    for script in sorted((REPO / "docs/examples").glob("*.py")):
        page, pictures = page_of(script)
        made[f"examples/{script.stem}.md"] = page
        made |= {f"examples/{name}": picture for name, picture in pictures.items()}
    made["gallery.md"], pictures = gallery(REPO / "results")
    made |= pictures
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Links as the site has them. A file of the repository that is no page becomes its name."""
    folder = Path(page.file.src_uri).parent
    at_root = page.file.src_uri in ("index.md", "contributing.md")

    def link(match: re.Match[str]) -> str:
        image, words, target, anchor = match[1], match[2], match[3], match[4] or ""
        if "://" in target:
            return match[0]
        path = target
        if at_root:
            path = target.removeprefix("docs/")
        if path.endswith(".py") and "examples/" in path:
            path = path.removesuffix(".py") + ".md"  # the script as a page
        if target.rsplit("/", 1)[-1] == "CONTRIBUTING.md":
            path = os.path.relpath("contributing.md", folder)
        if files.get_file_from_path(os.path.normpath(folder / path)) is not None:
            return f"{image}[{words}]({path}{anchor})"
        name = os.path.normpath(target).removeprefix("../")
        if words == name:
            return f"`{name}`"
        return f"{words} (`{name}`)"

    return LINK.sub(link, markdown)


def commands() -> str:
    """Every command with its own help."""
    from coder_clip.cli import app

    root = typer.main.get_command(app)
    lines = ["# Commands", "", "As each says by `--help`.", ""]
    for words in _commands_of(root, ()):
        said = CliRunner().invoke(
            app, [*words, "--help"], prog_name="coder-clip", env={"COLUMNS": "100", "TERM": "dumb"}
        )
        assert said.exit_code == 0, said.output
        lines += [f"## coder-clip {' '.join(words)}", "", "```text", said.output.strip(), "```", ""]
    return "\n".join(lines)


def _commands_of(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The words of each command, groups before theirs."""
    for name, inner in getattr(command, "commands", {}).items():
        if inner.hidden:
            continue
        if not hasattr(inner, "commands"):
            yield (*words, name)
        yield from _commands_of(inner, (*words, name))


def configuration() -> str:
    """Every key of a configuration, from its schema."""
    schema = json.loads((REPO / "config/schema.json").read_text(encoding="utf-8"))
    lines = ["# Configuration", "", "A configuration is a YAML file; `config/` has examples.", ""]
    sections = {"Top level": schema, **schema["$defs"]}
    for title, section in sections.items():
        if "properties" not in section:
            continue
        lines += [f"## {title}", "", section.get("description", ""), ""]
        lines += ["| key | type | default | what it does |", "| --- | --- | --- | --- |"]
        for name, key in section["properties"].items():
            default = json.dumps(key["default"]) if "default" in key else ""
            cells = [f"`{name}`", _type(key), f"`{default}`" if default else "", _words(key)]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _type(key: dict[str, Any]) -> str:
    """The type of a key, in words of JSON."""
    if "$ref" in key:
        return str(key["$ref"].rsplit("/", 1)[-1])
    kinds = [_type(one) for one in key.get("anyOf", key.get("oneOf", []))]
    if kinds:
        return " or ".join(kinds)
    return str(key.get("type", key.get("const", "any")))


def _words(key: dict[str, Any]) -> str:
    return " ".join(str(key.get("description", "")).split())


def library() -> str:
    """The documented functions and classes of the library's modules."""
    lines = ["# Library", "", "What [your own code](../library.md) calls.", ""]
    for name in LIBRARY:
        lines += [f"## coder_clip.{name}", "", f"::: coder_clip.{name}", ""]
    return "\n".join(lines)


def messages() -> str:
    """Every message with which a command ends, as the code has it."""
    lines = [
        "# Error messages",
        "",
        "A command that cannot go on ends with one line, `coder-clip: error: …`, which names what "
        "is wrong, where, and what to do. These are all such lines of the code, by module; `{…}` "
        "stands for a name or a number. Search for the words of yours. Some have more words in "
        "[Troubleshooting](../troubleshooting.md).",
        "",
    ]
    help_ = explained((REPO / "docs/troubleshooting.md").read_text(encoding="utf-8"))
    for module, tree in _trees().items():
        found = sorted(set(_messages_of(tree)))
        if found:
            lines += [f"## {module}", ""]
            lines += [f"- `` {message} ``{_more(message, help_)}" for message in found]
            lines.append("")
    return "\n".join(lines)


def explained(page: str) -> dict[str, str]:
    """The messages that a page explains, as docs/troubleshooting.md -> the anchor of their section.

    ValueError for one that the code does not say any more.
    """
    anchors: dict[str, str] = {}
    for section in page.split("\n## ")[1:]:
        anchor = re.sub(r"[^a-z]+", "-", section.partition("\n")[0].lower())
        for message in re.findall(r"^- `([^`]+)`: ", section, flags=re.M):
            if not any(_pattern(message).search(text) for text in _said()):
                raise ValueError(f"docs/troubleshooting.md: the code does not say '{message}'")
            anchors[message] = anchor
    return anchors


@cache
def _said() -> set[str]:
    """All strings of the code."""
    return {text for tree in _trees().values() for text in _texts_of(tree)}


@cache
def _trees() -> dict[str, ast.Module]:
    """The modules that may end a command, parsed, by their paths below a folder of sources."""
    return {
        file.relative_to(REPO / folder).as_posix(): ast.parse(file.read_text(encoding="utf-8"))
        for folder in SOURCES
        for file in sorted((REPO / folder).rglob("*.py"))
    }


def _pattern(message: str) -> re.Pattern[str]:
    """The words of a message in their order; whatever stands for "…" between them."""
    return re.compile(".*".join(re.escape(part.strip()) for part in message.split("…")), re.S)


def _texts_of(tree: ast.AST) -> Iterator[str]:
    """All strings of a module but its docstrings, with {…} for what is computed."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in docstrings:
            continue
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
            yield _template(node)


def _more(message: str, help_: dict[str, str]) -> str:
    """A link to more words about a message, if there are some."""
    for known, anchor in help_.items():
        if _pattern(known).search(message):
            return f" ([more](../troubleshooting.md#{anchor}))"
    return ""


def _messages_of(tree: ast.AST) -> Iterator[str]:
    """The texts of `UserError(…)` in a module."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UserError"):
            continue
        for argument in node.args[:1]:
            text = _template(argument)
            if text.strip("{…} "):
                yield text


def _template(node: ast.expr) -> str:
    """A string, an f-string or a sum of them, with {…} for what is computed."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(value) for value in node.values)
    if isinstance(node, ast.BinOp):
        return _template(node.left) + _template(node.right)
    return "{…}"
