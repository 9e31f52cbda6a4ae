"""Every command that a page shows is one: the parser of its program reads it here, and tests of
tests/integration type many.
"""

from __future__ import annotations

import re
import shlex

import pytest

from pages import EXCEPTIONS, PAGES, REPO, blocks, commands, inline, lines, wrong

# pages show the commands of all parts


def shown(text: str) -> list[list[str]]:
    """The commands of a page's blocks."""
    return [w for block in blocks(text) for line in lines(block) for w in commands(line)]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_is_one(page: str) -> None:
    """A reader types it as it stands, and the page would be wrong."""
    found = [(words, wrong(words)) for words in shown(PAGES[page])]
    found += [(words, wrong(words, whole=False)) for words in inline(PAGES[page])]
    assert [problem for problem in found if problem[1]] == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("coder-clip texts check --confg mine.yaml", "No such option"),
        ("coder-clip text check", "no command 'text'"),
        ("coder-clip texts review", "MissingParameter"),
        ("coder-clip check --config config/papr.yaml", "no config/papr.yaml"),
        ("make reproduce CONFG=config/mine.yaml", "make knows no CONFG"),
        ("make reprodce", "make knows no reprodce"),
        ("make reproduce PROFILE=slrum", "no workflow/profiles/slrum"),
        ("snakemake --configfile config/paper.yaml texts", "no texts"),  # two configurations
        ("snakemake text --configfile config/paper.yaml", "no target {'text'}"),
        ("snakemake --profle workflow/profiles/slurm", "--profle"),
        ("dvc remote ad store /shared", "ad"),
        ("perl mine.pl", "EXCEPTIONS has no reason"),
    ],
)
def test_a_slip_is_seen(line: str, says: str) -> None:
    """The test of the test above: each kind of slip."""
    assert says in wrong(shlex.split(line))


def test_each_exception_is_that_of_a_command() -> None:
    """A reason for a command that no page has would hide the next one."""
    typed = [" ".join(words) for text in PAGES.values() for words in shown(text)]
    assert len(typed) > 150
    for known in EXCEPTIONS:
        assert any(line.startswith(known) for line in typed), known


def test_no_target_stands_behind_an_option_that_takes_several_values() -> None:
    """Snakemake would read 'texts' in '--configfile config/paper.yaml texts' as a second
    configuration; in messages and remarks, too, which no parser reads.
    """
    swallowed = re.compile(r"snakemake .*--config(?:file)?[ =][^\s`\"';&|]+ +[\w{]")
    assert swallowed.search("snakemake --configfile config/paper.yaml texts -n")
    files = [f for name in ("src", "workflow", "config") for f in (REPO / name).rglob("*.*")]
    said = [f.read_text(encoding="utf-8") for f in files if f.suffix in (".py", ".smk", ".yaml")]
    assert [found for text in said if (found := swallowed.search(text))] == []


# ---- form


def test_lines_of_tables_can_be_read_in_an_editor() -> None:
    """A longer line is a paragraph in a cell: narrow on a phone, and a diff shows all of it."""
    lines = [(page, line) for page, text in PAGES.items() for line in text.splitlines()]
    rows = [(page, line) for page, line in lines if line.lstrip().startswith("|")]
    assert [(page, line) for page, line in rows if len(line) >= 200] == []


def test_what_is_within_a_list_is_indented_by_four_spaces() -> None:
    """The site's Markdown ends a list at fewer: 2. and 3. of a recipe would be 1., and code would be
    text.
    """
    inner = re.compile(r"^(?:    )* {1,3}(?:```|[-*] |\d+\. |\|)|(?<=\n\n)(?:    )* {1,3}\S", re.M)
    for page, text in PAGES.items():
        bare = re.sub(r"^( *)```.*?^\1```", r"\1", text, flags=re.M | re.S)
        assert inner.findall(bare) == [], page


def test_files_that_pages_name_exist() -> None:
    """A page that tells of a file which is gone explains machinery which is gone."""
    folders = ("src", "packages", "tests", "tools", "benchmarks", "workflow", "docs")
    listed = [f"/{f.relative_to(REPO)}" for name in folders for f in (REPO / name).rglob("*.*")]
    gone = []
    for page, text in PAGES.items():
        prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)
        now = re.sub(r"at\s+commit \w{8}\s+with\s+`\S+`\s+there", "", prose)
        names = set(re.findall(r"`([\w./-]+\.(?:py|smk|j2|css|js))`", now))
        gone += [(page, n) for n in names if not any(f.endswith(f"/{n}") for f in listed)]
    assert gone == []


def test_docstrings_have_no_roles_of_sphinx() -> None:
    """The site shows docstrings as Markdown, and would show them raw."""
    role = re.compile(r":(?:meth|func|class|mod|attr|data|exc|ref):`")
    files = [f for folder in ("src", "packages", "tools") for f in (REPO / folder).rglob("*.py")]
    assert [str(f) for f in files if role.search(f.read_text(encoding="utf-8"))] == []
