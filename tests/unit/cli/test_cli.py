"""The command line: what it teaches, and how bad input ends."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from coder_clip import __version__
from coder_clip.errors import UserError, nearest
from coder_clip.reporting.answer import answers
from fake_results import Fake

IN_ORDER = [
    "manifest", "texts", "image-features", "merge-shards", "text-features", "coder", "zero-shot",
    "pair-texts", "pair-features", "rerank", "adapter", "evaluation", "table", "figure", "report", "summary",
]  # fmt: skip
Command = Callable[..., Any]


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data/mini").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c.yaml"
    path.write_text("datasets: [rare, shapes]\nmodels: [mini]\nadapter: {shots: [1, 2]}\n")
    return path


def one_line(answer: Any) -> str:
    assert answer.code == 1
    lines = answer.err.splitlines()
    assert len(lines) == 1, f"not one line: {answer.err}"
    assert lines[0].startswith("coder-clip: error: ")
    assert "Traceback" not in answer.err
    return str(lines[0])


def test_help_lists_every_phase_in_order(command: Command) -> None:
    """A reader of the paper would not find the phases."""
    answer = command("--help")
    assert answer.code == 0
    listed = re.findall(r"^[│ ] ([a-z][a-z0-9-]*)  ", answer.out, flags=re.M)
    assert [c for c in listed if c in IN_ORDER] == IN_ORDER
    assert listed[:3] == ["check", "prefetch", "schema"]


@pytest.mark.parametrize("name", ["check", "prefetch", "schema", *IN_ORDER])
def test_every_command_explains_itself(command: Command, name: str) -> None:
    answer = command(name, "--help")
    assert answer.code == 0
    assert len(answer.out.splitlines()) > 6
    assert name == "schema" or "--config" in answer.out


@pytest.mark.parametrize(
    "name",
    [
        (),
        ("check",),
        ("explain",),
        ("table",),
        ("texts",),
        ("texts", "review"),
        ("data", "get"),
    ],
)
def test_help_shows_no_types_of_python(command: Command, name: tuple[str, ...]) -> None:
    """It had <bool> for a switch."""
    assert not re.findall(r"<(list|str|bool|int|float|path)", command(*name, "--help").out)


def test_sentences_of_the_help_fill_its_lines(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal that is narrower than the source would cut each line of a docstring in two."""
    monkeypatch.setenv("COLUMNS", "80")
    names = ["check", "prefetch", "status", "record", "pull", "merge", "explain", *IN_ORDER]
    said = "".join(command(name, "--help").out for name in names)
    boxes_and_lists = ("╭", "│", "╰", "  •", "    ")
    lines = [line.rstrip() for line in said.splitlines()]
    prose = [line for line in lines if not line.startswith(boxes_and_lists)]
    for line, after in itertools.pairwise(prose):
        if line and after:
            assert len(line) + 1 + len(after.split()[0]) > 78, (line, after)


def test_version(command: Command) -> None:
    """A bug report could not name the version."""
    assert command("--version").out == f"{__version__}\n"


def test_nothing_shows_the_help(command: Command) -> None:
    assert "Phases, in order" in "".join([(a := command()).out, a.err])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["zero-shot", "--dataset", "shape"], "no data set 'shape' in the configuration (did you "
"mean 'shapes'?)"),
        (["zero-shot", "--model", "minni"], "no model 'minni' in the configuration "
"(did you mean 'mini'?)"),
        (["texts", "-d", "x"], "(known: rare, shapes)"),
        (["adapter", "--shots", "3"], "no number of shots '3'"),
        (["image-features", "--split", "tests"], "did you mean 'test'"),
        (["image-features", "--shard", "3", "--shards", "2"], "no shard '3' in the configuration (known: 0)"),
        (["zero-shot"], "image_features/mini/rare/test.safetensors is missing; 'snakemake "),
        (["summary"], "results/tables/claims.md is missing; 'snakemake "),
    ],
)  # fmt: skip
def test_bad_arguments_are_one_line(
    command: Command, configuration: Path, arguments: list[str], says: str
) -> None:
    assert says in one_line(command(*arguments, "--config", configuration))


def test_show_names_no_report_that_is_not_here(command: Command, configuration: Path) -> None:
    """A clone has tables alone, and the path of a page that did not exist was printed."""
    Path("results/tables").mkdir(parents=True)
    Path("results/tables/claims.md").write_text("Zero-shot.\n\n| Method |\n| --- |\n| CLIP |\n")
    out = command("summary", "--config", configuration).out
    assert (
        "report: results/report.html is not here; 'make pull' or 'make reproduce' brings it" in out
    )
    assert "tables: results/tables/\n" in out
    Path("results/report.html").write_text("")
    assert "report: results/report.html\n" in command("summary", "--config", configuration).out


@pytest.mark.parametrize(
    ("dataset", "following"),
    [
        ("shapes", "make first"),
        ("eurosat", "make push"),
        ("pets", "coder-clip explore results --model mini"),
    ],
)
@pytest.mark.usefixtures("configuration")
def test_a_run_ends_with_the_next_command(command: Command, dataset: str, following: str) -> None:
    """As it must be typed: of two models one has to be named."""
    models = {"mini": {}, "other": {"model": "ViT-B-32", "pretrained": "openai"}}
    config = {
        "datasets": {dataset: {"root": "pets"} if dataset == "pets" else {}},
        "models": models,
    }
    Path("next.yaml").write_text(yaml.safe_dump(config))
    Path("results/tables").mkdir(parents=True)
    Path("results/tables/claims.md").write_text("Zero-shot.\n\n| Method |\n| --- |\n| CLIP |\n")
    said = command("summary", "--config", "next.yaml")
    assert f"\nnext: {following}  (" in said.out, said


@pytest.mark.usefixtures("configuration")
def test_own_photos_end_with_their_answer(command: Command) -> None:
    """Their owner asks how many are right, and what to use; most claims of a paper are off there."""
    results = Fake(Path("results"), datasets=("pets",), shots=(1,)).write()
    config = {
        "datasets": {"pets": {"root": "pets", "texts": "names"}},
        "models": ["mini"],
        "adapter": {"shots": [1]},
    }
    Path("pets.yaml").write_text(yaml.safe_dump(config))
    Path("results/tables").mkdir(parents=True)
    Path("results/tables/claims.md").write_text("Zero-shot.\n\n| Method |\n| --- |\n| CLIP |\n")
    Path("results/report.html").write_text("")
    said = command("summary", "--config", "pets.yaml").out
    (answer,) = answers(results)
    assert f"pets: {answer.numbers}\n{answer.advice}\n" in said
    assert "Zero-shot." not in said


@pytest.mark.parametrize(
    "name", ["check", "prefetch", *(c for c in IN_ORDER if c not in ("table", "figure"))]
)
def test_every_command_names_a_missing_configuration(
    command: Command, tmp_path: Path, name: str
) -> None:
    arguments: list[str] = []
    answer = command(name, *arguments, "--config", tmp_path / "nowhere.yaml")
    assert "nowhere.yaml" in one_line(answer)


def test_a_stopped_command_says_so(
    command: Command, configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control-C would end in a traceback, or in success."""

    def stop(job: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("coder_clip.cli.phases.call", stop)
    answer = command("zero-shot", "--config", configuration)
    assert answer.code == 130
    assert answer.err.strip().splitlines()[-1] == "coder-clip: stopped"
    assert "Traceback" not in answer.err


def test_an_error_of_several_lines_becomes_one(
    command: Command, configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages of other libraries hold line breaks; logs are read line by line."""

    def fail(job: object) -> None:
        raise UserError("first\n  second")

    monkeypatch.setattr("coder_clip.cli.phases.call", fail)
    assert one_line(command("zero-shot", "--config", configuration)).endswith("error: first second")


def test_help_starts_without_torch() -> None:
    """Asking for help, and every start of Snakemake, would take seconds."""
    code = (
        "import sys, coder_clip.cli; print([m for m in ('torch', 'pandas', 'open_clip') if m "
        "in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nearest_offers_or_lists() -> None:
    assert nearest("Shape", ["rare", "shapes"]) == " (did you mean 'shapes'?)"
    assert nearest("x", ["b", "a"]) == " (known: a, b)"
    assert nearest("x", []) == " (known: none)"
    many = [f"model-{i}" for i in range(130)]
    assert nearest("x7", many).startswith(" (130 are known, the nearest: ")
    assert len(nearest("x7", many)) < 100


def test_a_model_is_loaded_once_for_all_its_data_sets(
    command: Command, configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading weights takes seconds; a process keeps those of one model."""
    from coder_clip.phases import image_features

    configuration.write_text(
        "datasets: [rare, shapes]\nadapter: {shots: [1, 2]}\n"
        "models: {a: {model: RN50, pretrained: openai}, b: {model: ViT-B-32, pretrained: openai}}\n"
    )
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(
        image_features, "run", lambda model, dataset, **_: asked.append((model, dataset))
    )
    assert command("image-features", "--config", str(configuration)).code == 0
    assert asked == [(m, d) for m in ("a", "b") for d in ("rare", "shapes")]
