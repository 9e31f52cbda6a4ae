"""Sources of a phase: an edit must rerun every phase whose result it can change, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coder_clip.datasets import BUILTIN
from coder_clip.pipeline import source_files as module
from coder_clip.pipeline.phase_list import FILE, phases
from coder_clip.pipeline.source_files import sources

PHASES = sorted(p.stem for p in (Path(__file__).parents[2] / "src/coder_clip/phases").glob("[!_]*.py"))
HELPERS = {"common", "encoder", "predictions", "shots"}  # shared by phases, none themselves


def names(*modules: str) -> set[str]:
    return {path.removeprefix("src/coder_clip/") for path in sources(*modules)}


def test_paths_are_those_of_the_repository(repo: Path) -> None:
    """Snakemake would look for them somewhere else."""
    for phase in PHASES:
        for path in sources(f"phases.{phase}"):
            assert (repo / path).is_file(), path
    assert sources("phases.zero_shot") == sorted(set(sources("phases.zero_shot")))


@pytest.mark.parametrize(
    ("phase", "needs", "not_needs"),
    [
        (
            "zero_shot",
            {"neighbors.py", "zero_shot.py", "baselines/zero_shot.py", "foundation/artifacts.py"},
            {"encoders/encoder.py", "baselines/gda.py"},
        ),
        ("coder", {"neighbors.py"}, {"encoders/encoder.py", "rerank.py", "adapter.py"}),
        (
            "rerank",
            {"rerank.py", "neighbors.py"},
            {"encoders/encoder.py", "adapter.py", "evaluation/text_ablations.py"},
        ),
        (
            "adapter",
            {"adapter.py", "baselines/few_shot.py"},
            {"encoders/encoder.py", "rerank.py", "baselines/gda.py"},
        ),
        (
            "evaluation",
            {"evaluation/text_ablations.py", "neighbors.py"},
            {"encoders/encoder.py", "rerank.py", "adapter.py"},
        ),
        (
            "texts",
            {"texts/sets.py", "datasets/folder.py"},
            {"encoders/encoder.py", "neighbors.py", "texts/llm/generate.py"},
        ),
        (
            "manifest",
            {"datasets/__init__.py", "datasets/folder.py"},
            {"encoders/encoder.py", "texts/sets.py"},
        ),
        (
            "image_features",
            {"encoders/encoder.py", "encoders/features.py", "datasets/shots.py"},
            {"neighbors.py", "baselines/gda.py"},
        ),
        (
            "text_features",
            {"encoders/encoder.py", "texts/random_words.py"},
            {"neighbors.py", "baselines/zero_shot.py", "encoders/features.py"},
        ),
        ("pairs", {"neighbors.py", "zero_shot.py"}, {"encoders/encoder.py", "rerank.py", "adapter.py"}),
        (
            "one_to_one",
            {"encoders/encoder.py", "rerank.py"},
            {"adapter.py", "encoders/features.py", "texts/llm/client.py"},
        ),
        (
            "generate_texts",
            {"encoders/encoder.py", "texts/sources/__init__.py"},
            {"neighbors.py", "texts/llm/generate.py", "texts/sources/wordnet.py"},
        ),
        (
            "tables",
            {"foundation/scan.py", "reporting/exhibits/__init__.py"},
            {"reporting/exhibits/settings.py"},
        ),
        ("figures", {"foundation/scan.py", "reporting/parts/style.py"}, {"reporting/exhibits/tsne.py"}),
        (
            "generate_pairs",
            {"encoders/encoder.py", "texts/sources/__init__.py"},
            {"neighbors.py", "texts/llm/generate.py", "texts/sources/wordnet.py"},
        ),
    ],
)
def test_a_phase_depends_on_what_it_calls(phase: str, needs: set[str], not_needs: set[str]) -> None:
    found = names(f"phases.{phase}")
    assert f"phases/{phase}.py" in found
    assert needs <= found
    assert not not_needs & found


@pytest.mark.parametrize("phase", [p for p in PHASES if p not in HELPERS])
def test_no_phase_depends_on_configuration_or_command_line(phase: str) -> None:
    """Every edit of config.py would encode all images again; values reach a rule as params."""
    assert not {"pipeline/config.py", "cli.py"} & names(f"phases.{phase}")


def test_a_data_set_depends_on_its_own_module_only() -> None:
    assert "datasets/shapes.py" in names("datasets.shapes")
    assert "datasets/rare.py" not in names("datasets.shapes")
    assert not {f"datasets/{m}.py" for m, _ in BUILTIN.values()} & names("phases.image_features")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "src/coder_clip"
    (folder / "sub").mkdir(parents=True)
    for name in ("a", "b", "c", "d", "e", "sub/__init__", "sub/x", "sub/y"):
        (folder / f"{name}.py").write_text("")
    monkeypatch.setattr(module, "PACKAGE", folder)
    return folder


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from . import b", {"b"}),
        ("from .b import thing", {"b"}),
        ("from coder_clip.b import thing", {"b"}),
        ("from coder_clip import b", {"b"}),
        ("import coder_clip.b", {"b"}),
        ("import coder_clip.sub.x as x", {"sub/__init__", "sub/x"}),
        ("from .sub import x", {"sub/__init__", "sub/x"}),
        ("from .sub.x import thing", {"sub/__init__", "sub/x"}),
        ("def late():\n    from .b import thing", {"b"}),
        ("class A:\n    def late(self):\n        if True:\n            from . import b", {"b"}),
        ("try:\n    from .b import x\nexcept ImportError:\n    from .c import x", {"b", "c"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import T", set()),
        ("import typing\nif typing.TYPE_CHECKING:\n    from .b import T", set()),
        ("if TYPE_CHECKING:\n    from .b import T\nelse:\n    from .c import T", {"c"}),
        ("if TYPE_CHECKING:\n    from .b import T\nelse:\n    import os\n    from .c import T", {"c"}),
        ("import os\nfrom pathlib import Path", set()),
    ],
)  # fmt: skip
def test_every_way_to_import_counts(package: Path, text: str, found: set[str]) -> None:
    (package / "a.py").write_text(text)
    assert names("a") == {"a.py", *(f"{f}.py" for f in found)}


def test_imports_are_followed_also_in_circles_and_out_of_packages(package: Path) -> None:
    (package / "a.py").write_text("from .sub import x")
    (package / "sub/x.py").write_text("from ..c import thing\nfrom . import y")
    (package / "c.py").write_text("from .a import thing")
    assert names("a") == {"a.py", "c.py", "sub/__init__.py", "sub/x.py", "sub/y.py"}


def test_an_unknown_module_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing"):
        sources("phases.nothing")


# ---- the rules -------------------------------------------------------------------------------------


def rules(repo: Path) -> dict[str, str]:
    """Text of every rule by name; rules made in a loop are named after their place."""
    found: dict[str, str] = {}
    for path in sorted((repo / "workflow/rules").glob("*.smk")):
        parts = re.split(r"^ *rule(?: (\w+))?:$", path.read_text(encoding="utf-8"), flags=re.M)
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            found[name or f"{path.stem}.{len(found)}"] = text
    return found


def making(repo: Path) -> dict[str, str]:
    """Those that make an artefact: not the targets of phases, nor `prefetch`, which fetches weights and data."""
    found = {name: text for name, text in rules(repo).items() if "output:" in text}
    assert len(found) >= 13
    assert [name for name, text in rules(repo).items() if "shell:" in text and name not in found] == [
        "prefetch"
    ]
    return found


def test_every_rule_that_makes_something_lists_its_sources(repo: Path) -> None:
    """After an edit, or a pull of a colleague's edit, old results would be taken for new ones."""
    for name, text in making(repo).items():
        assert re.search(r"sources=(\w+_)?sources\(", text), f"rule {name} lists no sources"


def test_every_rule_has_log_benchmark_and_resources(repo: Path) -> None:
    for name, text in making(repo).items():
        for key in ("log:", "benchmark:", "resources:", "message:"):
            assert key in text, f"rule {name} lacks {key}"


def test_every_command_stands_where_dvc_compares_it(repo: Path) -> None:
    """workflow/phases.yaml, below its phase; one of its own in a rule would change unseen by `dvc status`."""
    listed = {rule: p.name for p in phases(repo / FILE) for rule in p.commands}
    used = []
    for path in sorted((repo / "workflow/rules").glob("*.smk")):
        for shell in re.findall(r"shell:\n *(.*)\n", path.read_text(encoding="utf-8")):
            if path.stem in ("prefetch", "fetch"):  # they make no artefact
                continue
            found = re.fullmatch(r'command\("(\w+)"\)', shell)
            assert found, f'{path.name}: shell: command("…"), not {shell}'
            assert listed[found[1]] == path.stem
            used.append(found[1])
    assert sorted(used) == sorted(listed)
    for phase in phases(repo / FILE):
        for command in phase.commands.values():
            assert command.endswith(" 2> {log}"), command


def test_every_rule_takes_the_keys_it_reads_from_the_list(repo: Path) -> None:
    """Parameters of its own would change unseen by `dvc status`, `status` and `explain`."""
    for name, text in making(repo).items():
        assert re.search(r'reads=reads\("\w+"\)', text), f"rule {name} lacks reads=reads(…)"


def test_every_phase_is_run_by_a_rule_that_lists_it(repo: Path) -> None:
    text = "".join(rules(repo).values())
    for phase in sorted(set(PHASES) - HELPERS):
        assert re.search(rf'sources\(\s*"(phases\.)?{phase}"', text), phase
