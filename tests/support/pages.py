"""Commands of pages: read from their fenced blocks, checked by the parsers of the programs that they
call, and typed as they stand.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[2]
PAGES = {
    page.relative_to(REPO).as_posix(): page.read_text(encoding="utf-8")
    for pattern in ("*.md", "docs/*.md", "config/*.md", "data/*/README.md", "packages/*/README.md")
    for page in sorted(REPO.glob(pattern))
    if page.name != "CHANGELOG.md"
}
WRITTEN = ("config/mine.yaml", "config/foxes.yaml")  # by the reader, as pages say
# Beginning of a command that no parser of this project knows -> why it is not tried, or where it is.
EXCEPTIONS = {
    "cd ": "the shell's",
    "export ": "the shell's",
    "mkdir ": "the shell's",
    "run=": "the shell's",
    "source ": "the shell's",
    "tail ": "looks at logs",
    "find ": "looks at logs",
    "git ": "Git's; tracking/test_docs.py types those of docs/sharing.md",
    "ssh ": "the user's server",
    "pip install": "needs a package index; test_wheel.py installs the wheels of these folders",
    "apt-get install": "changes the machine; .ci/run installs these packages",
    "sudo apt-get install": "changes the machine; .ci/run installs these packages",
    "module load": "the site's",
    "tmux new": "opens a terminal",
    "squeue ": "Slurm's",
    "sbatch ": "Slurm's; test_default.py submits its head in the same way",
    "sudo python packages/": "the executor's tests start their cluster with it",
    "python -m nltk.downloader": "needs a network; small_wordnet.py has its files",
    "vllm serve": "needs a GPU and a download; test_dialects.py answers as this server does",
    "ollama ": "the same",
    "llama-server ": "the same",
    "pytest tests": "this is what runs now",
}


def blocks(text: str, language: str = "sh") -> list[str]:
    """The fenced blocks of a language; those in lists are moved to the margin."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, flags=re.M | re.S)
    return [re.sub(rf"^{indent}", "", block, flags=re.M) for indent, block in found]


def section(text: str, heading: str) -> str:
    """The part of a page below a heading, up to the next one of its level."""
    return text.partition(f"\n{heading}\n")[2].partition(f"\n{heading.split(' ')[0]} ")[0]


def lines(block: str) -> list[str]:
    """The lines of a block as they are typed, without their comments."""
    joined = block.replace("\\\n", " ").splitlines()
    return [line for full in joined if (line := re.sub(r"(^|\s+)# .*", "", full).strip())]


def commands(line: str) -> Iterator[list[str]]:
    """The words of each command of a line, parted at && and ;."""
    words: list[str] = []
    for word in [*shlex.split(line), "&&"]:
        if word != "&&":
            words.append(word.removesuffix(";"))
        if words and (word == "&&" or word.endswith(";")):
            yield [words[0].removeprefix(".venv/bin/"), *words[1:]]
            words = []


def inline(text: str) -> Iterator[list[str]]:
    """coder-clip … and make … within a sentence or table."""
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)
    for span in re.findall(r"(?<!`)`((?:\.venv/bin/)?(?:coder-clip|make) [^`]+)`(?!`)", prose):
        yield from commands(" ".join(span.split()))


def type_lines(
    block: str,
    folder: Path,
    environment: Mapping[str, str],
    replaced: Mapping[str, str] | None = None,
) -> str:
    """Type the lines of a block in a shell, and return what they say. The first that fails ends it.

    replaced: regular expression -> what stands there in this folder.
    """
    said = ""
    for line in lines(block):
        here = line
        for pattern, other in (replaced or {}).items():
            here = re.sub(pattern, other, here)
        done = subprocess.run(
            ["bash", "-ec", here],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said += done.stdout
        assert done.returncode == 0, f"{here}\n{done.stdout[-6000:]}"
    return said


# ---- what is wrong with a command, by the parser of its program


def wrong(words: list[str], whole: bool = True) -> str:
    """What is wrong with a command; empty if nothing is.

    whole: False within a sentence, where arguments are often left out.
    """
    parse = PARSERS.get(words[0])
    if parse is not None:
        return parse(words[1:], whole)
    line = " ".join(words)
    if any(line.startswith(known) for known in EXCEPTIONS):
        return ""
    return "no parser reads it, and EXCEPTIONS has no reason"


@cache
def program() -> Any:
    import typer

    from coder_clip.cli import app

    return typer.main.get_command(app)


def _coder_clip(words: list[str], whole: bool) -> str:
    command, rest, name = program(), list(words), ""
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name, *rest = rest
        if name not in command.commands:
            return f"no command '{name}'"
        command = command.commands[name]
    if not whole or "--help" in rest or "--version" in rest:
        known = {name for option in command.params for name in option.opts + option.secondary_opts}
        given = {word.partition("=")[0] for word in rest if word.startswith("--")}
        unknown = given - known - {"--help"}
        return f"no option {unknown}" if unknown else ""
    if hasattr(command, "commands"):
        return "a group alone"
    try:
        given = command.make_context(name, rest).params
    except Exception as error:
        return f"{type(error).__name__}: {getattr(error, 'message', error)}"
    return _missing(given.get("config"))


def _make(words: list[str], whole: bool) -> str:
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    targets = " ".join(re.findall(r"^\.PHONY: (.*)", makefile, flags=re.M)).split()
    variables = {*re.findall(r"\$\((\w+)\)", makefile), "CODER_CLIP_DATA"}
    given = dict(word.split("=", 1) for word in words if "=" in word)
    for word in words:
        name, is_variable, _ = word.partition("=")
        if name not in (variables if is_variable else targets):
            return f"make knows no {name}"
    profile = f"workflow/profiles/{given.get('PROFILE', 'default')}"
    return _missing(profile) or (_missing(given.get("CONFIG")) if whole else "")


def _snakemake(words: list[str], whole: bool) -> str:
    from snakemake.cli import get_argument_parser

    from coder_clip.jobs import MORE_TARGETS, PHASES

    given = _parsed(lambda: get_argument_parser().parse_args(words))
    if isinstance(given, str):
        return given
    known = {"all", "prefetch", "smoke", *MORE_TARGETS}
    known |= {phase.target or phase.name for phase in PHASES}
    unknown = set(given.targets) - known
    if unknown:
        return f"no target {unknown}"
    profiles = [REPO / profile / "config.yaml" for profile in given.profile or ()]
    return "".join(map(_missing, [*given.configfile, *profiles]))


def _dvc(words: list[str], whole: bool) -> str:
    from dvc.cli import parse_args

    given = _parsed(lambda: parse_args(words))
    return given if isinstance(given, str) else ""


def _parsed(parse: Callable[[], Any]) -> Any:
    """What a parser returns, or the words with which it ends the program."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return parse()
    except BaseException as error:
        return said.getvalue() or str(error) or type(error).__name__


def _missing(file: Any) -> str:
    """Words on a configuration that is neither in the repository nor written by the reader."""
    known = file is None or str(file) in WRITTEN or (REPO / file).exists()
    return "" if known else f"no {file}"


PARSERS = {"coder-clip": _coder_clip, "make": _make, "snakemake": _snakemake, "dvc": _dvc}
