"""Every command that a page shows is one: tests type it, or its own parser reads it here.

A command of a page that has no test, is read by no parser and stands in no list fails.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from coder_clip.cli import app

REPO = Path(__file__).resolve().parents[2]
PAGES = [
    REPO / "README.md",
    REPO / "CONTRIBUTING.md",
    *sorted((REPO / "docs").glob("*.md")),
    *sorted((REPO / "config").glob("*.md")),
    *sorted((REPO / "data").glob("*/README.md")),
    *sorted((REPO / "packages").glob("*/README.md")),
]

# Every block of these pages is typed as printed by a test, whatever its program. The test fails if
# a block is added that it does not type.
TYPED_WHOLE = {
    "docs/sharing.md": ("tests/integration/tracking/test_docs.py", "test_no_block_is_left_out"),
    "docs/slurm.md": ("tests/integration/slurm/test_guide.py", "OWN_CLUSTER = re.findall("),
}
# Command -> the test that types it, and words of that test.
TYPED = {
    "snakemake --profile workflow/profiles/default --configfile config/mine.yaml": (
        "tests/integration/test_extension.py",
        '"config/mine.yaml"',
    ),
}
# Command, or its beginning with "…" -> why no test types it.
NOT_TYPED = {
    "git clone …": "the address is that of the reader's copy, or needs a network",
    "cd …": "after a clone that no test makes",
    "export …": "a variable of the shell; tests have folders and keys of their own",
    "git add …": "typed by tests/integration/tracking/test_docs.py with the lines of docs/sharing.md",
    "git commit -m Results": "the same",
    "git push": "the same",
    "dvc metrics diff FETCH_HEAD": "the same",
    "snakemake --profile workflow/profiles/default --configfile config/first.yaml": (
        "test_first.py starts the same run by `make first`"
    ),
    "snakemake texts --configfile config/paper.yaml --profile workflow/profiles/default": (
        "needs the images; tests/unit/test_readme.py looks up its target"
    ),
    "python -m tools.mini train": "trains for hours; tests/unit/tools/test_mini.py has each step",
    "apt-get install …": "changes the machine",
    "sudo apt-get install …": "changes the machine",
    "pip install …": "needs a package index; test_wheel.py installs the wheels of these folders",
    "python -m nltk.downloader wordnet": "needs a network; small_wordnet.py has its files",
    "vllm serve …": "needs a GPU and a download; test_dialects.py answers as this server does",
    "ollama serve": "the same",
    "ollama pull llama3.1": "the same",
    "llama-server …": "the same",
    "snakemake --executor slurm-resilient …": (
        "needs a cluster; the executor's tests/cluster run this example on one"
    ),
    "pytest tests": "this is what runs now",
}


def blocks(page: Path) -> list[str]:
    """The blocks of a page that are typed in a shell."""
    text = page.read_text(encoding="utf-8")
    return [block for _, block in re.findall(r"^( *)```sh\n(.*?)^\1```", text, flags=re.M | re.S)]


def simple(block: str) -> Iterator[list[str]]:
    """The words of each command of a block: lines are joined, and parted at && and ;."""
    for line in block.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word != "&&" and not word.endswith(";"):
                words.append(word)
                continue
            words += [word.removesuffix(";")] if word.endswith(";") else []
            if words:
                yield [words[0].removeprefix(".venv/bin/"), *words[1:]]
            words = []


SHOWN = [
    (page.relative_to(REPO).as_posix(), words)
    for page in PAGES
    for block in blocks(page)
    for words in simple(block)
]
# coder-clip … and make … within a sentence or table
INLINE = [
    (page.relative_to(REPO).as_posix(), words)
    for page in PAGES
    for span in re.findall(
        r"(?<!`)`((?:\.venv/bin/)?(?:coder-clip|make) [^`]+)`(?!`)",
        re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S),
    )
    for words in simple(" ".join(span.split()))
]


@cache
def program() -> Any:
    """The parser of `coder-clip`."""
    return typer.main.get_command(app)


def wrong(words: list[str], *, whole: bool = True) -> str:
    """What is wrong with a command of `coder-clip` or `make`; empty if nothing is.

    whole: missing arguments are wrong, too.
    """
    if words[0] == "make":
        return wrong_target(words[1:])
    command = program()
    rest = words[1:]
    while hasattr(command, "commands") and rest and rest[0] != "--help":
        name, *rest = rest
        if name not in command.commands:
            return f"no command '{name}'"
        command = command.commands[name]
    if hasattr(command, "commands"):
        return "" if not whole else "a group alone"
    if not whole:
        known = {name for option in command.params for name in option.opts + option.secondary_opts}
        unknown = [w for w in rest if w.startswith("--") and w.partition("=")[0] not in known]
        return f"no option {unknown}" if set(unknown) - {"--help"} else ""
    try:
        command.make_context(words[1], rest)
    except Exception as error:
        return f"{type(error).__name__}: {getattr(error, 'message', error)}"
    return ""


def wrong_target(words: list[str]) -> str:
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    targets = {
        name
        for line in re.findall(r"^\.PHONY: (.*)", makefile, flags=re.M)
        for name in line.split()
    }
    variables = {*re.findall(r"\$\((\w+)\)", makefile), "CODER_CLIP_DATA"}
    for word in words:
        name, is_variable, value = word.partition("=")
        if is_variable and name not in variables:
            return f"make reads no variable {name}"
        if not is_variable and name not in targets:
            return f"make has no target {name}"
        if name == "PROFILE" and not (REPO / "workflow/profiles" / value).is_dir():
            return f"no profile {value}"
    return ""


@pytest.mark.parametrize("page", sorted({page for page, _ in SHOWN}))
def test_every_command_of_a_page_is_one_or_it_is_said_why_not(page: str) -> None:
    """A reader types it as it stands, and the page would be wrong."""
    problems = []
    for where, words in SHOWN:
        line = " ".join(words)
        if where != page:
            continue
        if words[0] in ("coder-clip", "make"):
            reason = wrong(words)
            problems += [f"{line}: {reason}"] if reason else []
        elif page not in TYPED_WHOLE and line not in TYPED and not excused(line):
            problems.append(f"{line}: no test types it, and NOT_TYPED has no reason")
    assert problems == []


def excused(line: str) -> bool:
    """Whether NOT_TYPED has the line, or its beginning."""
    return any(
        line == known or (known.endswith("…") and line.startswith(known.removesuffix("…")))
        for known in NOT_TYPED
    )


def test_commands_within_sentences_exist() -> None:
    """Their options, too; arguments are often left out there."""
    assert len(INLINE) >= 90
    reasons = [(page, words, wrong(words, whole=False)) for page, words in INLINE]
    assert [problem for problem in reasons if problem[-1]] == []


def test_a_misspelt_option_is_seen() -> None:
    """The test of the tests above: each kind of slip."""
    assert "No such option" in wrong(shlex.split("coder-clip texts check --confg mine.yaml"))
    assert wrong(["coder-clip", "text", "check"]) == "no command 'text'"
    assert "MissingParameter" in wrong(["coder-clip", "texts", "review"])
    assert wrong(["make", "reproduce", "CONFG=config/mine.yaml"]) == "make reads no variable CONFG"
    assert wrong(["make", "reprodce"]) == "make has no target reprodce"


def test_the_lists_name_what_is_there() -> None:
    """A reason for a command that no page has, or a test that is gone, would hide the next one."""
    lines = [" ".join(words) for _, words in SHOWN]
    for known in NOT_TYPED:
        assert any(line.startswith(known.removesuffix("…")) for line in lines), known
    for command, (file, words) in TYPED.items():
        assert command in lines
        assert words in (REPO / file).read_text(encoding="utf-8"), command
    for page, (file, words) in TYPED_WHOLE.items():
        text = (REPO / file).read_text(encoding="utf-8")
        assert page in text
        assert words in text
