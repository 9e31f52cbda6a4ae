"""The gallery of the site: every table and figure of the embedded default, made from its results.

A title and a sentence stand where the exhibit declares them: tables in the head of their file,
figures in their module.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coder_clip.reporting.parts.style import Drawing

FEW = 12  # rows of a table that is shown open
PAGE = re.compile(r"docs/(\w+\.md)")  # as texts of the report name a page


def gallery(results: Path) -> tuple[str, dict[str, bytes]]:
    """The page in Markdown, and its pictures: name -> PNG.

    What is not below ``results`` is named with the commands that bring it.
    """
    from coder_clip.reporting.all_exhibits import EXHIBITS
    from coder_clip.reporting.exhibits import SECTIONS

    lines = [
        "# Gallery",
        "",
        "Every table and figure of the embedded default (`make reproduce`), as this site's build "
        "found them in `results/`. They show how the method works on drawings with a small model, "
        "and are [no evidence about the paper](embedded.md#what-this-does-not-show). The report, "
        "`results/report.html`, has all of it with more words.",
        "",
    ]
    pictures: dict[str, bytes] = {}
    section = ""
    for exhibit in EXHIBITS:
        if exhibit.section != section:
            section = exhibit.section
            about = PAGE.sub(r"[\1](\1)", SECTIONS.get(section, ""))
            lines += [f"## {section}", "", about, ""]
        file = results / "tables" / f"{exhibit.name}.md"
        title, parts = exhibit.name.replace("_", " ").capitalize(), []
        if exhibit.has_figure:
            title = exhibit.drawing.title
            parts += _figure(exhibit.name, exhibit.drawing, results, pictures)
        if exhibit.has_table and file.is_file():
            title, table = _table(file.read_text(encoding="utf-8"))
            parts = table + parts
        elif exhibit.has_table:
            parts = [_absent(file), "", *parts]
        lines += [f"### {title}", "", *parts]
    return "\n".join(lines), pictures


def first_sentence(caption: str) -> str:
    """A caption up to the first full stop before a space."""
    return re.split(r"(?<=\.) ", caption, maxsplit=1)[0]


def _table(text: str) -> tuple[str, list[str]]:
    """The title of a table's file, and its first sentence with the table as lines."""
    head, _, body = text.partition("\n")
    title, caption = head.removeprefix("**").split(".** ", 1)
    rows = [line for line in body.splitlines() if line.startswith("|")]
    lines = [first_sentence(caption), ""]
    if len(rows) > FEW + 2:
        lines += ['<details markdown="1">', f"<summary>{len(rows) - 2} rows</summary>", ""]
        lines += [*rows, "", "</details>", ""]
    elif rows:
        lines += [*rows, ""]
    else:
        lines += ["Empty in this run.", ""]
    return title, lines


def _figure(name: str, drawing: Drawing, results: Path, pictures: dict[str, bytes]) -> list[str]:
    """The figure with its first sentence; puts its picture to the others."""
    file = results / "figures" / f"{name}.png"
    if not file.is_file():
        return [first_sentence(drawing.caption), "", _absent(file), ""]
    pictures[f"gallery-{name}.png"] = file.read_bytes()
    return [first_sentence(drawing.caption), "", f"![{drawing.alt}](gallery-{name}.png)", ""]


def _absent(file: Path) -> str:
    shown = "/".join(file.parts[-3:])
    return f"`{shown}` is not here: `make pull` or `make reproduce` brings it."
