"""The form of the documentation that no other check looks at."""

from __future__ import annotations

import re
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
FOLDERS = ("src", "packages", "tests", "tools", "benchmarks", "workflow", "docs")


def test_lines_of_tables_can_be_read_in_an_editor() -> None:
    """A longer line is a paragraph in a cell: narrow on a phone, and a diff shows all of it."""
    pages = [
        p
        for folder in ("", "docs", "config", "data/*", "packages/*")
        for p in REPO.glob(f"{folder}/*.md".lstrip("/"))
    ]
    assert len(pages) > 30
    long = [
        f"{page.relative_to(REPO)}:{number}"
        for page in pages
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        if line.lstrip().startswith("|") and len(line) >= 200
    ]
    assert long == []


def test_what_is_within_a_list_is_indented_by_four_spaces() -> None:
    """The site's Markdown ends a list at fewer: 2. and 3. of a recipe would be 1., and code would be
    text.
    """
    pages = [REPO / "README.md", REPO / "CONTRIBUTING.md", *(REPO / "docs").glob("*.md")]
    inner = re.compile(r"^(?:    )* {1,3}(?:```|[-*] |\d+\. |\|)|(?<=\n\n)(?:    )* {1,3}\S", re.M)
    for page in pages:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        text = re.sub(r"^( {4,})```.*?^\1```", r"\1", text, flags=re.M | re.S)
        assert inner.findall(text) == [], page.name


def test_files_that_pages_name_exist() -> None:
    """A page that tells of a file which is gone explains machinery which is gone."""
    files = [p for folder in FOLDERS for p in (REPO / folder).rglob("*") if p.is_file()]
    names = {"/" + file.relative_to(REPO).as_posix() for file in files}
    gone = []
    for page in [REPO / "README.md", REPO / "CONTRIBUTING.md", *(REPO / "docs").glob("*.md")]:
        text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for name in re.findall(r"`([\w./-]+\.(?:py|smk|j2|css|js))`", text):
            if not any(known.endswith("/" + name) for known in names):
                gone.append(f"{page.name}: {name}")
    assert gone == []


def test_docstrings_have_no_roles_of_sphinx() -> None:
    """The site shows docstrings as Markdown, and would show them raw."""
    role = re.compile(r":(?:meth|func|class|mod|attr|data|exc|ref):`")
    files = [f for folder in ("src", "packages", "tools") for f in (REPO / folder).rglob("*.py")]
    assert [str(f) for f in files if role.search(f.read_text(encoding="utf-8"))] == []
