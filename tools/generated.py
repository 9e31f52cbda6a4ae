"""Write what is generated from the code: `make generated`, after a recipe of CONTRIBUTING.md.

The schema of configurations, the published data sets and the table of text sources. A table is
replaced where its first line stands; rows that the code does not know stay below it.
"""

from __future__ import annotations

import json
from pathlib import Path

from coder_clip.datasets import entry
from coder_clip.pipeline.config import schema
from coder_clip.texts import sources

REPO = Path(__file__).resolve().parents[1]


def main() -> None:
    """Write all of it, and print the files that changed."""
    made = json.dumps(schema(), indent=1) + "\n"
    pages = {
        "config/schema.json": made,
        "docs/data.md": with_section("docs/data.md", entry.table()),
        "docs/texts.md": with_table("docs/texts.md", sources.table()),
    }
    for name, text in pages.items():
        if (REPO / name).read_text(encoding="utf-8") != text:
            (REPO / name).write_text(text, encoding="utf-8")
            print(name)


BEGIN, END = "<!-- python -m coder_clip.datasets.entry -->\n", "<!-- end of the data sets -->\n"


def with_section(page: str, text: str) -> str:
    """The page with the text between its two marks."""
    whole = (REPO / page).read_text(encoding="utf-8")
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}{text}\n{end}{after}"


def with_table(page: str, rows: list[str]) -> str:
    """The page with the rows in place of its table that begins with the first of them."""
    lines = (REPO / page).read_text(encoding="utf-8").splitlines()
    first = lines.index(rows[0])
    end = first
    while lines[end].startswith("|"):
        end += 1
    # rows of the page alone, as "none" of text sources: their first cell is in no row of the code
    known = {row.split("|")[1] for row in rows}
    own = [line for line in lines[first:end] if line.split("|")[1] not in known and rows_of(line)]
    return "\n".join([*lines[:first], *rows, *own, *lines[end:]]) + "\n"


def rows_of(line: str) -> bool:
    """False for a row that goes on with a data set of the row above."""
    return bool(line.split("|")[1].strip())


if __name__ == "__main__":
    main()
