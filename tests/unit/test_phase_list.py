"""The list of phases, workflow/phases.yaml, and the values of a configuration that decide the outputs of a rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from coder_clip.errors import UserError
from coder_clip.pipeline.config import Config, DatasetConfig, GeneratorConfig
from coder_clip.pipeline.phase_list import FILE, nested, phases, values

OPERATION = {  # where files are and how the work is distributed: these keys change no result
    *("data_root", "only_present", "fetch", "features.workers", "features.device"),
    "features.cache",
    *("generator.base_url", "generator.key_variable", "generator.max_in_flight", "generator.timeout"),
    *("generator.retries", "generator.prices", "generator.max_cost", "generator.headers"),
    "generator.answers",
}


def test_every_key_of_the_configuration_is_read_by_a_rule(repo: Path) -> None:
    """A key that none reads would change results unseen. It belongs into phases.yaml, or into OPERATION above."""
    read = {key for p in phases(repo / FILE) if p.name != "report" for of in p.reads.values() for key in of}
    shown = {"title", "note", "results"}  # in the report alone; where the results are
    shown |= {"datasets.*.few_shot"}  # which jobs there are
    for key in _keys(Config):
        above = {key.rsplit(".", n)[0] for n in range(key.count(".") + 1)}
        assert above & (read | shown | OPERATION), key


def test_the_report_shows_every_key_that_counts_and_no_other(repo: Path) -> None:
    page = next(p.reads["page"] for p in phases(repo / FILE) if "page" in p.reads)
    for key in _keys(Config):
        above = {key.rsplit(".", n)[0] for n in range(key.count(".") + 1)} - {key}
        shown = key in page or bool(above & set(page)) or key.startswith("datasets.")
        assert shown == (key not in OPERATION - {"only_present"} | {"features.shards"}), key


def _keys(model: type[BaseModel], before: str = "") -> list[str]:
    """Keys that can be written, data sets as *."""
    found = []
    for name, field in model.model_fields.items():
        below = {"datasets": DatasetConfig, "generator": GeneratorConfig}.get(name, field.annotation)
        star = "*." if name == "datasets" else ""
        if isinstance(below, type) and issubclass(below, BaseModel):
            found += _keys(below, f"{before}{name}.{star}")
        else:
            found.append(before + name)
    return found


def test_dvc_reads_the_list_of_phases_as_we_do(repo: Path) -> None:
    """Its YAML is stricter: a duplicate section stops every dvc command."""
    from dvc.utils.serialize import parse_yaml

    text = (repo / FILE).read_text(encoding="utf-8")
    assert parse_yaml(text, FILE.as_posix()) == yaml.safe_load(text)


JOB = {"dataset": "shapes", "model": "m"}


def read(rule: str, document: dict[str, Any], repo: Path, **job: str) -> dict[str, Any]:
    whole = {"datasets": {"shapes": {}}, "models": {"m": {"model": "hf-hub:a/b"}}, **document}
    return values(Config.model_validate(whole), rule, {**JOB, **job}, repo / FILE)


def test_only_what_counts_of_a_key_decides(repo: Path) -> None:
    """Encoding all images again because another number of shots is tried would cost hours."""
    one = read("encode_images", {"adapter": {"shots": [1, 16], "methods": ["tip_adapter"]}}, repo)
    same = read("encode_images", {"adapter": {"shots": [1, 2, 16], "methods": ["coder_adapter"]}}, repo)
    assert one == same
    assert read("encode_images", {"adapter": {"shots": [32]}}, repo) != one
    assert read("encode_images", {"adapter": {"methods": ["gda"]}}, repo) != one  # wants single views
    zero_shot = {"datasets": {"shapes": {"few_shot": False}}}
    assert read("encode_images", zero_shot, repo) == read(
        "encode_images", {"adapter": {"shots": [32], "seeds": [9]}, **zero_shot}, repo
    )
    pairs = read("confusable_pairs", {"rerank": {"thresholds": [0.0, 1.0]}}, repo)
    assert pairs == read("confusable_pairs", {"rerank": {"thresholds": [1.0, 0.5]}}, repo)
    assert pairs == read("confusable_pairs", {"datasets": {"shapes": {"threshold": 0.7}}, **WIDEST}, repo)
    narrow = {"rerank": {"thresholds": [0.5]}}
    assert read("confusable_pairs", {"datasets": {"shapes": {"threshold": 0.7}}, **narrow}, repo) != read(
        "confusable_pairs", narrow, repo
    )


def test_the_evaluation_depends_on_the_shots_that_it_compares_images_by(repo: Path) -> None:
    """The largest number of shots of the first seed: the others must not run it again."""
    one = read("evaluate", {"adapter": {"shots": [1, 16], "seeds": [1, 2]}}, repo)
    assert one == read("evaluate", {"adapter": {"shots": [4, 16], "seeds": [1, 9]}}, repo)
    assert one != read("evaluate", {"adapter": {"shots": [1, 8], "seeds": [1, 2]}}, repo)
    assert one != read("evaluate", {"adapter": {"shots": [1, 16], "seeds": [2, 1]}}, repo)
    zero_shot = {"datasets": {"shapes": {"few_shot": False}}}
    assert {k for k in read("evaluate", zero_shot, repo) if k.startswith("adapter")} == set()


WIDEST = {"rerank": {"thresholds": [0.0, 1.0]}}


def test_another_data_set_or_model_changes_nothing(repo: Path) -> None:
    two = {
        "datasets": {"shapes": {}, "rare": {}},
        "models": {"m": {"model": "hf-hub:a/b"}, "n": {"model": "hf-hub:c/d"}},
    }
    for rule in ("list_images", "encode_images", "encode_texts", "classify", "rerank_top", "fit_adapters"):
        assert read(rule, two, repo) == read(rule, {}, repo), rule


def test_the_settings_of_a_language_model_count_where_it_is_asked(repo: Path) -> None:
    asked = {"datasets": {"shapes": {"texts": {"attribute": "llm"}}}, "generator": {"model": "one"}}
    other = {**asked, "generator": {"model": "two"}}
    faster = {
        **asked,
        "generator": {"model": "one", "base_url": "http://a/v1", "max_in_flight": 1, "timeout": 9},
    }
    assert read("generate_texts", asked, repo) != read("generate_texts", other, repo)
    assert read("generate_texts", asked, repo) == read("generate_texts", faster, repo)
    for rule in ("encode_images", "encode_texts", "text_set"):
        assert read(rule, asked, repo) == read(rule, other, repo), rule
    names = {**asked, "datasets": {"shapes": {"texts": {"analogous": "llm"}}}}  # compared by an encoder
    assert "models" in read("generate_texts", names, repo)
    assert "models" not in read("generate_texts", asked, repo)


def test_the_gate_that_is_published_is_a_value_like_a_written_one(repo: Path) -> None:
    """A new default in the code counts as a change."""
    assert read("rerank_top", {}, repo)["datasets.shapes.threshold"] == 0.1
    assert read("fit_adapters", {}, repo)["adapter.initial"] == [1.0, 1.0]


def test_sections_come_back_from_keys() -> None:
    flat = {
        "title": "t",
        "features.threads": 1,
        "generator.model": None,
        "models": {"m": {"x": None, "y": {}}},
    }
    assert nested(flat) == {"title": "t", "features": {"threads": 1}, "models": {"m": {"y": {}}}}


@pytest.mark.parametrize("text", ["", "phases: [", "phases: {texts: {}}", "phases: 3"])
def test_a_damaged_list_of_phases_is_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no workflow/phases\.yaml here"):
        phases(Path("none.yaml"))
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"p\.yaml cannot be read"):
        phases(file)
