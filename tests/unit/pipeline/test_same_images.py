"""Data sets with the images of another one: what they take from it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_clip.datasets import load_dataset, load_templates
from coder_clip.errors import UserError
from coder_clip.pipeline.config import Config, load_config
from working_copy import draw_marks


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, in which the embedded model exists."""
    (tmp_path / "data/mini").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)


def load(datasets: str) -> Config:
    Path("c.yaml").write_text(f"datasets: {{{datasets}}}\nmodels: [mini]\n", encoding="utf-8")
    return load_config("c.yaml")


def test_everything_but_texts_comes_from_the_data_set_that_is_named() -> None:
    """Else two rows of one table would be of other images, shots or sentences, and their
    difference would not be that of the texts."""
    config = load(
        "cub200: {texts: a.json, one_to_one: b.json, views: 3, threshold: 0.3, "
        "few_shot: false, templates: {name: 'a bird, {class}.'}}, "
        "cub200-cupl: {of: cub200, texts: c.json}"
    )
    first, second = config.datasets.values()
    differing = {k for k in type(first).model_fields if getattr(first, k) != getattr(second, k)}
    assert differing == {"of", "texts", "one_to_one"}
    assert str(second.texts) == "c.json"
    assert second.one_to_one is None
    for name in config.datasets:
        assert config.published(name)
        assert config.published_name(name) == config.images_of(name) == "cub200"
        assert load_templates(name, config.datasets[name]).name == "a bird, {class}."
    assert config.encoded("cub200") == config.encoded("cub200-cupl")


def test_a_section_may_have_sentences_and_a_gate_of_its_own() -> None:
    config = load("dtd: {views: 2}, mine: {of: dtd, threshold: 0.4, templates: {name: '{class}.'}}")
    assert config.threshold("mine") == 0.4
    assert load_templates("mine", config.datasets["mine"]).name == "{class}."
    assert load_templates("dtd", config.datasets["dtd"]).name != "{class}."
    assert config.datasets["mine"].views == 2


def test_published_settings_are_those_of_the_images() -> None:
    """The paper's gate and start of the search belong to a data set, not to a name in a file."""
    config = load(
        "cub200: {}, eurosat: {}, a: {of: cub200}, b: {of: eurosat}, c: {of: imagenet_v2}"
    )
    assert config.threshold("a") == config.threshold("cub200")
    assert config.initial("b") == config.initial("eurosat")
    assert config.few_shot("b")
    assert not config.has_val("c"), "a test split alone"


def test_drawn_images_and_photos_are_the_same() -> None:
    draw_marks(Path("photos"))
    config = load(
        "rare: {}, rare-b: {of: rare, texts: names}, shapes-b: {of: shapes, texts: names}, "
        "marks: {root: photos, texts: names}, marks-b: {of: marks, texts: names}"
    )
    for name, images in (("rare-b", "rare"), ("marks-b", "marks")):
        one = load_dataset(images, config.datasets[images])
        other = load_dataset(name, config.datasets[name])
        assert one.classes == other.classes
        assert one.split("train").ids == other.split("train").ids
        assert one.fingerprint() == other.fingerprint()
    assert load_dataset("shapes-b", config.datasets["shapes-b"]).name == "shapes"
    assert config.listing("marks") == config.listing("marks-b")
    assert config.listing("rare-b") is None


def test_one_of_the_same_images_counts() -> None:
    """Images that count twice in a mean, or among the images that describe those of another data
    set, would weigh that data set by its sets of texts."""
    config = load(
        "x: {of: rare, texts: names}, rare: {}, y: {of: shapes, texts: names}, "
        "z: {of: shapes, texts: names}"
    )
    assert {d: config.counted_as(d) for d in config.datasets} == {
        **{"x": "rare", "rare": "rare", "y": "y", "z": "y"}
    }
    assert config.others("rare") == config.others("x") == ["y"]
    assert config.others("y") == config.others("z") == ["rare"]


@pytest.mark.parametrize(
    ("datasets", "said"),
    [
        ("rare: {}, a: {of: rar}", "datasets.a.of: no data set 'rar' (did you mean 'rare'?)"),
        ("rare: {}, a: {of: 3}", "datasets.a.of: no data set '3'"),
        ("rare: {}, a: {of: a}", "datasets.a.of: names itself; name the data set"),
        ("a: {of: rare}, b: {of: a}", "datasets.b.of: 'a' has the images of 'rare' itself"),
        ("rare: {of: shapes}", "datasets.rare.of: 'rare' is a built-in data set"),
        ("a: {of: rare, root: photos}", "datasets.a.root: the images are those of 'rare' (of)"),
        ("a: {of: dtd, split: x}", "datasets.a.split: the images are those of 'dtd' (of)"),
        ("a: {of: dtd, views: 2}", "datasets.a.views: the images are those of 'dtd' (of)"),
    ],
)
def test_a_slip_is_one_line(datasets: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        load(datasets)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "c.yaml" in str(caught.value)
