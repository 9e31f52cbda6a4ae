"""What README and docs show runs as printed and is what the project does."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from coder_clip.pipeline.phase_list import FILE, phases
from coder_clip.texts.sets import load_pair_set, load_text_set

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("page", "table"), [("docs/claims.md", "claims"), ("docs/embedded.md", "zero_shot")]
)
def test_a_table_of_a_page_is_that_of_the_results(page: str, table: str) -> None:
    """Figures that no command gives would mislead."""
    file = REPO / f"results/tables/{table}.md"
    if not file.is_file():
        pytest.skip("no results here: make reproduce")
    rows = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    text = (REPO / page).read_text(encoding="utf-8")
    shown = text.partition("<!-- table: begin -->\n")[2].partition("<!-- table: end -->")[0]
    assert len(shown.splitlines()) > 8
    assert [line for line in rows if line in shown.splitlines()] == shown.splitlines(), (
        "a line that is not in the table, or another order"
    )


def test_the_first_table_has_the_numbers_of_the_page_behind_it() -> None:
    """Who skims quotes README; its numbers are those of docs/true_clip.md, which tells of them."""
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    page = (REPO / "docs/true_clip.md").read_text(encoding="utf-8")
    intervals = re.findall(r"[+−][\d.]+ \[[+−][\d.]+, [+−][\d.]+\]", readme)
    assert len(intervals) >= 9
    assert [interval for interval in intervals if interval not in page] == []


def test_readme_is_read_in_minutes() -> None:
    """First what was found and what to type; all else has a page of its own."""
    lines = (REPO / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 120
    assert any(line.startswith("make true-clip ") for line in lines[:25])


def test_every_link_leads_somewhere() -> None:
    """A reader who follows a link of the documentation finds a file."""
    for page in [
        *REPO.glob("*.md"),
        *sorted((REPO / "docs").glob("*.md")),
        REPO / "data/texts/README.md",
    ]:
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" in link:
                continue
            target = (page.parent / link).resolve()
            assert target.exists(), f"{page.name}: {link}"


# Command of README -> the file that types it, and words of that file. Of photos and the paper it
# takes the lines of README.
ON_PHOTOS = ("tests/integration/test_readme.py", 'commands("Your own photos")')
TYPED = {
    "make reproduce": (".ci/run", "make reproduce"),
    "make test": (".ci/run", "make test"),
    "make first": ("tests/integration/test_first.py", '"make", "first"'),
    "coder-clip classify photos --classes cat,dog": ON_PHOTOS,
    "coder-clip classify photos --texts oxford_pets --why 3": ON_PHOTOS,
    'coder-clip find photos "a red bird on a branch" --sheet birds.jpg': ON_PHOTOS,
    "coder-clip explore photos --classes cat,dog": ON_PHOTOS,
    "make reproduce CONFIG=config/photos.yaml": ON_PHOTOS,
    "coder-clip explore results/photos": ON_PHOTOS,
    "coder-clip check --config config/paper.yaml": (
        "tests/integration/test_readme.py",
        'commands("The paper")',
    ),
    'git add dvc.lock results && git commit -m "Results" && coder-clip push && git push': (
        "tests/integration/tracking/test_docs.py",
        'lines("prints the next line")',
    ),
    "coder-clip verify --sample 3": (
        "tests/integration/tracking/test_verify.py",
        '"coder-clip", "verify", "--sample"',
    ),
    "dvc metrics diff FETCH_HEAD": (
        "tests/integration/tracking/test_docs.py",
        "def test_another_s_numbers",
    ),
    "git clone … && cd … && make pull && make reproduce": (
        "tests/integration/tracking/test_real.py",
        'begin = "git clone … && cd … && "',
    ),
    "coder-clip explain results/tables/zero_shot.csv dataset=rare,method=coder accuracy": (
        "tests/integration/tracking/test_real.py",
        '"^coder-clip explain .*", (ROOT / "docs/sharing.md")',
    ),
}
NOT_TYPED = {
    "git clone … && cd coder-clip": "the address is that of the reader's copy",
    "make true-clip": (
        "make would install; test_true_clip.py starts the same run, from a server "
        "of the shared files"
    ),
    "make reproduce CONFIG=config/paper.yaml FETCH=1": (
        "needs a GPU for days, and 210 GB of images; test_paper.py runs it with few, small images"
    ),
    "make reproduce CONFIG=config/paper.yaml FETCH=1 CODER_CLIP_DATA=FOLDER": "the same",
    "export CODER_CLIP_DATA=FOLDER": "tests have folders of their own in this variable",
    "coder-clip check --profile slurm": (
        "needs the user's cluster; test_check.py and test_guide.py have one of their own"
    ),
    "make reproduce PROFILE=slurm": (
        "the same; test_default.py runs the default there, with the shipped profile"
    ),
}


def test_every_command_is_typed_by_a_test_or_it_is_said_why_not() -> None:
    """A command of README that no test types fails for the first user who does."""
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    table = readme.partition("| you want | you type |")[2].partition("\n\n")[0]
    commands = {line.split(" | ")[1].strip("`") for line in table.splitlines()[2:]}
    lines = [line for block in blocks("README.md", "sh") for line in block.splitlines()]
    commands |= {line.partition("  #")[0].strip() for line in lines if line.strip()}
    assert commands == TYPED.keys() | NOT_TYPED.keys()
    for command, (file, words) in TYPED.items():
        assert words in (REPO / file).read_text(encoding="utf-8"), command
    shared = (REPO / "docs/sharing.md").read_text(encoding="utf-8")
    for command in (line for line in TYPED if line.startswith(("git", "coder-clip explain"))):
        assert command in shared, f"its test types the line of docs/sharing.md: {command}"


def test_every_command_of_the_first_table_is_one(command: Callable[..., Any]) -> None:
    """A newcomer types them first. Tests run each, but for the paper and a cluster of the user."""
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    table = readme.partition("| you want | you type |")[2].partition("\n\n")[0]
    typed = [line.split(" | ")[1].strip("`") for line in table.splitlines()[2:]]
    assert len(typed) >= 8
    targets = re.findall(
        r"^([a-z][a-z -]*):", (REPO / "Makefile").read_text(encoding="utf-8"), flags=re.M
    )
    known = {target for line in targets for target in line.split()}
    for line in typed:
        program, name, *rest = shlex.split(line)
        if program == "make":
            assert name in known, line
            values = dict(word.split("=") for word in rest)
            assert not values.keys() - {"CONFIG", "FETCH", "PROFILE", "CODER_CLIP_DATA"}, line
            assert (REPO / values.get("CONFIG", "config/reproduce.yaml")).is_file()
            assert (REPO / "workflow/profiles" / values.get("PROFILE", "default")).is_dir()
        else:
            assert program == "coder-clip"
            if find_spec("coder_clip_photos") is None:
                continue
            help_ = command(name, "--help")
            assert help_.code == 0
            for option in (word for word in rest if word.startswith("--")):
                assert option in help_.out, line


def blocks(page: str, language: str) -> list[str]:
    """Code blocks of a page, those in lists moved to the margin."""
    text = (REPO / page).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, flags=re.M | re.S)
    return [re.sub(rf"^{indent}", "", block, flags=re.M) for indent, block in found]


def test_the_library_block_runs_as_printed() -> None:
    """It is what people paste first."""
    (block,) = blocks("docs/library.md", "python")
    seen: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(compile(block, "docs/library.md", "exec"), seen)
    images, classes = len(seen["images"]), seen["C"]
    assert seen["scores"].shape == seen["logits"].shape == (images, classes)
    assert seen["predictions"].shape == (images,)
    assert len(seen["differences"]) == classes * (classes - 1), "one-sided pairs count nothing"
    assert seen["looked_at"].any(), "the rerank had nothing to do"
    assert seen["clip_logits"].abs().max() <= 100
    assert seen["clip_logits"].abs().max() > 1, "logits are 100 times a cosine"
    hits = (seen["logits"].argmax(dim=1) == seen["labels"]).double().mean()
    assert float(hits) == pytest.approx(seen["best"].accuracy)


def test_the_text_sets_shown_for_own_photos_are_read(tmp_path: Path) -> None:
    """People copy them and change the words."""
    classes = ["red_fox", "arctic_fox"]
    (texts,) = blocks("docs/photos_labelling.md", "json")
    (pairs,) = blocks("docs/photos_measuring.md", "json")
    for name, block in (("photos.json", texts), ("photos.one_to_one.json", pairs)):
        (tmp_path / name).write_text(block)
        assert json.loads(block)["dataset"] == "my-photos"
    assert [
        c.name for c in load_text_set(tmp_path / "photos.json", "my-photos", classes).classes
    ] == [
        "red fox",
        "arctic fox",
    ]
    (pair,) = load_pair_set(tmp_path / "photos.one_to_one.json", "my-photos", classes).pairs
    assert pair.a_not_b
    assert pair.b_not_a


def test_each_line_of_the_profile_for_clusters_is_explained() -> None:
    """The one file to edit: a line that nobody explains is left alone, or guessed at."""
    lines = (REPO / "workflow/profiles/slurm/config.yaml").read_text(encoding="utf-8").splitlines()
    bare = [
        line.partition(":")[0]
        for before, line in pairwise(lines)
        if re.match(r"[a-z][\w-]+:", line) and "#" not in line and not before.startswith("#")
    ]
    assert bare == [
        "default-resources",
        "printshellcmds",
        "quiet",
    ]  # the lines in it, and above, tell


def snakemake_commands(text: str) -> list[str]:
    """Command lines that call Snakemake, comments off, with a block's variable `run` put in."""
    found, run = [], ""
    for line in text.splitlines():
        if given := re.match(r' *run="([^"]*)"', line):
            run = given[1]
        command = re.sub(r" +#.*", "", line).replace("$run", run)
        found += [command] if re.search(r"\bsnakemake ", command) else []
    return found


def test_no_target_stands_behind_an_option_that_takes_several_values() -> None:
    """Snakemake would read 'texts' in '--configfile config/paper.yaml texts' as a second
    configuration.
    """
    swallowed = re.compile(r"--config(?:file)?[ =][^\s`\"';&|]+ +[\w{]")
    assert swallowed.search("snakemake --configfile config/paper.yaml texts -n")
    shown = [REPO / "README.md", *(REPO / "docs").glob("*.md"), *(REPO / "config").glob("*.yaml")]
    said = [*(REPO / "src").rglob("*.py"), *(REPO / "workflow").rglob("*.smk")]
    lines = [
        c for page in shown + said for c in snakemake_commands(page.read_text(encoding="utf-8"))
    ]
    assert len(lines) > 10
    assert [line for line in lines if swallowed.search(line)] == []


def test_phases_one_at_a_time_are_looked_at() -> None:
    """The commands of the paper's guide are among those that are looked at."""
    commands = snakemake_commands((REPO / "docs/paper.md").read_text(encoding="utf-8"))
    targets = {command.split()[1] for command in commands if command.startswith("snakemake ")}
    assert "texts" in targets
    assert targets <= {phase.target for phase in phases(REPO / FILE)}
