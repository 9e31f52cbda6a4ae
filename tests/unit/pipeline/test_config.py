"""The configuration: what a person can get wrong in it, and what they then read."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from coder_clip.datasets import BUILTIN
from coder_clip.encoders.families.open_clip import names as open_clip_names
from coder_clip.errors import UserError
from coder_clip.pipeline.config import Config, load_config, schema
from fixtures import REPO

FOLDER = REPO / "config"
# those that its README lists: beside them lie a user's own, which are nobody else's
SHIPPED = re.findall(
    r"^\| `([a-z_]+\.yaml)`", (FOLDER / "README.md").read_text(encoding="utf-8"), flags=re.M
)
CONFIGS = [FOLDER / name for name in SHIPPED]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, in which the embedded model exists."""
    (tmp_path / "data/mini").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)


def load(text: str) -> Config:
    Path("c.yaml").write_text(text, encoding="utf-8")
    return load_config("c.yaml")


def refused(text: str) -> str:
    with pytest.raises(UserError) as caught:
        load(text)
    message = str(caught.value)
    assert "\n" not in message, "more than one line"
    assert "c.yaml" in message, "the person does not learn which file is wrong"
    return message


SMALL = "datasets: [shapes]\nmodels: [mini]\n"


def test_lists_are_short_for_built_in_names() -> None:
    """`datasets: [rare, shapes]` in the README would not work."""
    config = load("datasets: [rare, shapes]\nmodels: [mini]\n")
    assert list(config.datasets) == ["rare", "shapes"]
    assert config.models["mini"].model == "local-dir:data/mini"
    assert config.models["mini"].precision == "fp64", (
        "or the default makes other bytes on another processor"
    )
    assert (
        load("datasets: {shapes: , rare: {views: 3}}\nmodels: {mini: }\n").datasets["rare"].views
        == 3
    )


@pytest.mark.parametrize(
    ("text", "wrong", "offered"),
    [
        ("adaptor: {shots: [1]}", "adaptor", "adapter"),
        ("features: {batchsize: 3}", "features.batchsize", "batch_size"),
        ("settings: [cleen]", "cleen", "clean"),
        ("features: {on_error: skipp}", "skipp", "skip"),
    ],
)
def test_the_nearest_known_name_is_offered(text: str, wrong: str, offered: str) -> None:
    message = refused(SMALL + text + "\n")
    assert f"'{wrong}'" in message
    assert f"did you mean '{offered}'" in message


GROWING = "\n".join(
    [
        f"a0: &a0 [{', '.join('x' * 10)}]",
        *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20)),
    ]
)
MERGED = "\n".join(
    [
        "a0: &a0 {x: 1}",
        *(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 20)),
    ]
)
BIG = f"x: &x [{'1, ' * 80_000}1]\ntitle: [{'*x, ' * 60_000}1]\n"
LONG = "n" * 300


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(GROWING, "it has more than 100,000 values", id="growing aliases"),
        pytest.param(MERGED, "it has more than 100,000 values", id="growing merges"),
        pytest.param(BIG, "it has more than 100,000 values", id="500 kB of aliases"),
        pytest.param("title: &a [*a]", "it has more than 100,000 values", id="a loop"),
        pytest.param("title: a\ntitle: b", "the key 'title' is given twice; keep one", id="twice"),
        pytest.param(SMALL + "title: [" * 5000, "not valid YAML", id="deep"),
        pytest.param("- x\n" * 300_000, "is larger than 500,000 bytes", id="large"),
        pytest.param("- x\n" * 120_000, "it has more than 100,000 values", id="long"),
        pytest.param('"\\ud800": 1', "not valid YAML", id="a lone surrogate"),
        pytest.param("title: \udcff", "not valid YAML", id="not UTF-8"),
        pytest.param("title: 2001-99-99", "not valid YAML", id="no date"),
        pytest.param("title: \x1b[31m", "not valid YAML", id="an escape sequence"),
        pytest.param('"\\e[31m": 1', "unknown key '\\x1b[31m'", id="one as key"),
        pytest.param(f"datasets: [{LONG}]\nmodels: [mini]", "use at most 100 letters", id="data"),
    ],
)
def test_a_hostile_configuration_is_one_line_at_once(text: str, said: str) -> None:
    """375 bytes with aliases of aliases stopped every command for minutes."""
    Path("c.yaml").write_bytes(text.encode(errors="surrogateescape"))
    began = time.process_time()
    with pytest.raises(UserError) as caught:
        load_config("c.yaml")
    assert time.process_time() - began < 2
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_aliases_of_a_user_s_own_still_work() -> None:
    """A configuration may say once what holds for several data sets."""
    text = "datasets: {shapes: &one {views: 3}, rare: {<<: *one}}\nmodels: [mini]\n"
    assert load(text).datasets["rare"].views == 3


def test_a_name_that_no_file_system_takes_is_a_missing_file() -> None:
    with pytest.raises(UserError, match="no configuration file"):
        load_config(f"config/{LONG}.yaml")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("datasets: {shapes: {shot_files: x}}\nmodels: [mini]\n", "datasets.shapes.shot_files"),
        (f"{SMALL}generator: {{structured: true}}\n", "generator.structured"),
    ],
)
def test_a_key_of_an_earlier_version_says_what_to_do(text: str, key: str) -> None:
    """ "Unknown key" lets a reader look for a misspelling."""
    last = key.split(".")[-1]
    assert f"unknown key '{key}' ('{last}' was removed: leave it out)" in refused(text)
    changes = (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"{key.split('.')[-1]}`" in changes


def test_a_misspelt_mini_is_recognised() -> None:
    message = refused("datasets: [shapes]\nmodels: {mimi: }\n")
    assert "models.mimi" in message
    assert "did you mean 'mini'" in message
    assert "did you mean" not in refused("datasets: [shapes]\nmodels: {clip-large: }\n")


def test_outside_of_the_project_the_way_into_it_is_named() -> None:
    with pytest.raises(UserError, match="go to the folder of the Snakefile"):
        load_config("config/reproduce.yaml")


@pytest.mark.parametrize(
    ("text", "wrong", "offered"),
    [
        ("datasets: [shape]\nmodels: [mini]", "datasets.shape", "shapes"),
        ("datasets: {shapes: {view: 3}}\nmodels: [mini]", "datasets.shapes.view", "views"),
        ("datasets: {shapes: {templates: {nam: x}}}\nmodels: [mini]", "templates.nam", "name"),
        (
            "datasets: [shapes]\nmodels: {big: {model: ViT-B32, pretrained: openai}}",
            "ViT-B32",
            "ViT-B-32",
        ),
    ],
)
def test_the_nearest_known_data_set_or_model_is_offered(
    text: str, wrong: str, offered: str
) -> None:
    message = refused(text)
    assert wrong in message
    assert f"did you mean '{offered}'" in message


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("features: {batch_size: 0}", "features.batch_size"),
        ("features: {threads: 0}", "features.threads"),
        ("features: {shards: 0}", "features.shards"),
        ("features: {workers: -1}", "features.workers"),
        ("features: {batch_size: many}", "features.batch_size"),
        ("rerank: {top_k: 1}", "rerank.top_k"),
        ("rerank: {thresholds: [1.5]}", "rerank.thresholds.0"),
        ("rerank: {thresholds: [.nan]}", "rerank.thresholds.0"),
        ("rerank: {thresholds: []}", "rerank.thresholds"),
        ("adapter: {shots: [0]}", "adapter.shots.0"),
        ("adapter: {shots: []}", "adapter.shots"),
        ("adapter: {shots: [1, 1]}", "adapter.shots"),
        ("adapter: {methods: [gda, gda]}", "adapter.methods"),
        ("adapter: {methods: []}", "adapter.methods"),
        ("adapter: {methods: [tip_adaptor]}", "did you mean 'tip_adapter'"),
        ("adapter: {seeds: [1, 1]}", "adapter.seeds"),
        ("adapter: {betas: [0.1, 200]}", "adapter.betas"),
        ("adapter: {betas: [0.1, 200, 0]}", "adapter.betas.2"),
        ("adapter: {betas: [9, 1, 5]}", "adapter.betas: from 9 to 1 is falling"),
        ("adapter: {alphas: []}", "adapter.alphas"),
        ("adapter: {alphas: [-1, 1, 5]}", "adapter.alphas.0"),
        ("adapter: {alphas: [0.1, .inf, 5]}", "adapter.alphas.1"),
        ("adapter: {initial: [.nan, 1]}", "adapter.initial.0"),
        ("features: {threads: 1000}", "features.threads"),
        ("adapter: {seeds: [1180591620717411303424]}", "adapter.seeds.0"),
        ("adapter: {seeds: [4294967296]}", "adapter.seeds.0"),
        ("adapter: {betas: [0.1, 200, 10000000000]}", "adapter.betas.2"),
        ("adapter: {alphas: [0.1, 200, 10000]}", "adapter.alphas.2"),
        ("evaluation: {seed: -1}", "evaluation.seed"),
        ("settings: []", "settings"),
        ("settings: [clean, clean]", "settings"),
    ],
)
def test_impossible_values_are_refused_before_any_job(text: str, where: str) -> None:
    """An hour of features later the run would end in a traceback."""
    assert where in refused(SMALL + text + "\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("datasets: []\nmodels: [mini]", "at least one"),
        ("datasets: [shapes]\nmodels: {}", "at least one"),
        ("models: [mini]", "datasets"),
        ("datasets: [shapes]", "models"),
        ("datasets: shapes\nmodels: [mini]", "datasets"),
        ("datasets: [shapes: {views: 3}]\nmodels: [mini]", "datasets"),
        ("datasets: [shapes, shapes]\nmodels: [mini]", "shapes"),
        ("datasets: [1]\nmodels: [mini]", "datasets"),
        ("datasets: {'a/b': {root: x}}\nmodels: [mini]", "datasets.a/b"),
        ("datasets: {mine: {}}\nmodels: [mini]", "'root'"),
        ("datasets: {shapes: {classes: [one]}}\nmodels: [mini]", "datasets.shapes.classes"),
        ("datasets: {shapes: {threshold: 2}}\nmodels: [mini]", "datasets.shapes.threshold"),
        ("datasets: {shapes: {templates: {name: a photo}}}\nmodels: [mini]", "{class}"),
        ("datasets: {shapes: {templates: {attribute: 'a {class}'}}}\nmodels: [mini]", "{attribute}"),
        ("datasets: {shapes: {templates: {prompts: []}}}\nmodels: [mini]", "templates.prompts"),
        ("datasets: {shapes: {templates: {name: ['a {class}', 'b {class}']}}}\nmodels: [mini]", "templates.name"),
        ("datasets: [shapes]\nmodels: {big: {model: ViT-B-32}}", "'pretrained'"),
        ("datasets: [shapes]\nmodels: [big]", "models.big.model"),
        ("datasets: [shapes]\nmodels: {m: {model: 'local-dir:nowhere'}}", "nowhere"),
        (
            "datasets: [shapes]\nmodels: {m: {model: /tmp}}",
            "models.m.model: a folder is written 'local-dir:/tmp'",
        ),
        (
            "datasets: [shapes]\nmodels: {m: {model: ViT-B-32, pretrained: 'local-dir:data/mini'}}",
            "'local-dir:' belongs in 'model' (model: local-dir:data/mini)",
        ),
        ("just words", "datasets"),
        ("", "datasets"),
        ("datasets: [shapes\nmodels: [mini]", "YAML"),
        ("datasets:\n\tshapes: {}\nmodels: [mini]", "YAML"),
    ],
)  # fmt: skip
def test_what_makes_no_configuration_is_refused(text: str, says: str) -> None:
    assert says in refused(text)


def test_a_key_given_twice_is_refused() -> None:
    """YAML takes the last one: half of what the person wrote would silently not count."""
    assert "adapter" in refused(SMALL + "adapter: {rounds: 1}\nadapter: {shots: [1]}\n")


def test_a_file_that_is_no_text_is_refused() -> None:
    Path("c.yaml").write_bytes(b"\xff\xfe\x00datasets")
    with pytest.raises(UserError, match=r"c\.yaml"):
        load_config("c.yaml")


def test_a_missing_file_names_those_that_are_there() -> None:
    Path("config").mkdir()
    Path("config/mine.yaml").write_text(SMALL)
    with pytest.raises(UserError, match=r"config/mine\.yaml"):
        load_config("config/my.yaml")


def test_published_values_are_defaults_of_published_data_sets() -> None:
    config = load("datasets: {dtd: {root: x}, mine: {root: x, threshold: 0}}\nmodels: [mini]\n")
    assert config.threshold("dtd") == 0.6
    assert config.threshold("mine") == 0  # not the default: 0 is a value
    assert config.initial("dtd") == (2.57, 30.18)
    assert config.initial("mine") == (1.0, 1.0)


def test_own_texts_without_one_to_one_do_not_borrow_another_data_sets() -> None:
    Path("data/texts").mkdir(parents=True)
    Path("data/texts/shapes.one_to_one.json").write_text("{}")
    config = load("datasets: {shapes: {texts: names}}\nmodels: [mini]\n")
    assert config.datasets["shapes"].text_source("shapes") is None
    assert config.datasets["shapes"].pair_source("shapes") is None
    assert load(SMALL).datasets["shapes"].pair_source("shapes") is not None


def test_open_clip_names_are_read_without_importing_it() -> None:
    assert {"ViT-B-32", "RN50", "ViT-B-16-quickgelu"} <= set(open_clip_names())


# ---- schema ---


def accepts(document: Any) -> bool:
    validator = jsonschema.validators.validator_for(
        schema(), default=jsonschema.Draft202012Validator
    )
    return bool(validator(schema()).is_valid(document))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_editors_accept_every_configuration_that_we_ship(path: Path) -> None:
    assert accepts(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert re.search(
        r"\$schema=(\./)?schema\.json$", path.read_text(encoding="utf-8").splitlines()[0]
    )


def test_paths_start_at_the_folder_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is loaded from anywhere, and without a change of the working directory."""
    document = (
        "datasets: {mine: {root: photos}}\nmodels: [mini]\ndata_root: ~/data\nresults: results/a\n"
    )
    assert load(document).results == Path("results/a"), "jobs name files relative to their folder"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="no folder data/mini"):
        load_config(tmp_path / "c.yaml")
    config = load_config(tmp_path / "c.yaml", root=tmp_path)
    assert config.results == tmp_path / "results/a"
    assert config.datasets["mine"].root == tmp_path / "photos"
    assert config.data_root == Path.home() / "data"


@pytest.mark.parametrize(
    "document",
    [
        {"datasets": ["shapes"], "models": ["mini"], "adapter": {"shot": [1]}},
        {"datasets": {"shapes": {"view": 1}}, "models": ["mini"]},
        {"datasets": ["shapes"], "models": {"m": {"model": "RN50", "precision": "fp61"}}},
        {"datasets": ["shapes"], "models": ["mini"], "adapter": {"methods": ["tipx"]}},
        {"datasets": ["shapes"]},
    ],
)
def test_editors_mark_a_typing_error(document: Any) -> None:
    assert not accepts(document)


def test_own_photos_are_decoded_ahead_of_the_encoder_with_the_same_result_everywhere(
    repo: Path,
) -> None:
    """Decoding in the main process leaves the encoder waiting; a machine's own thread count would
    change bytes.
    """
    features = yaml.safe_load((repo / "config/photos.yaml").read_text(encoding="utf-8"))["features"]
    assert features["workers"] > 0
    assert "threads" not in features
    spread = {"workers": 4, "shards": 8, "device": "cuda"}
    document = {"datasets": ["shapes"], "models": ["mini"]}
    one, other = (
        Config.model_validate(document | {"features": f}).model_dump() for f in ({}, spread)
    )
    assert one == other


def test_views_are_kept_one_by_one_only_for_a_method_that_needs_them() -> None:
    """They are most of what a shot takes on disk."""
    document = {"datasets": {"shapes": {"views": 20}}, "models": ["mini"]}
    kept = [
        Config.model_validate(document | {"adapter": {"methods": m}}).views_stored("shapes")
        for m in (["gda"], ["tip_adapter", "ape"])
    ]
    assert kept == [10, 0]


def test_the_committed_schema_is_that_of_the_code(repo: Path) -> None:
    """Editors would mark a key that exists; `coder-clip schema > config/schema.json` renews it."""
    assert json.loads((repo / "config/schema.json").read_text(encoding="utf-8")) == schema()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_configuration_that_we_ship_loads(
    path: Path, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repo if (repo / "data/mini").is_dir() else tmp_path)
    config = load_config(path)
    assert all(d.root is not None or name in BUILTIN for name, d in config.datasets.items())


def test_features_have_ten_seeds_by_default(tmp_path: Path) -> None:
    """Three seeds hardly give a verdict, and who has features pays for ten what three cost."""
    (tmp_path / "birds").mkdir()
    mine = "mine: {features: birds, classes: [a, b], texts: names}"
    model = "models: {mini: {}}\n"
    ten, three = list(range(1, 11)), [1, 2, 3]
    assert load(f"datasets: {{{mine}}}\n{model}").adapter.seeds == ten
    assert load(f"datasets: {{{mine}, dtd_clip: {{}}}}\n{model}").adapter.seeds == ten
    # with photos among the data sets, each seed has its shots encoded
    assert load(f"datasets: {{{mine}, shapes: {{}}}}\n{model}").adapter.seeds == three
    assert load(SMALL).adapter.seeds == three
    named = f"datasets: {{{mine}}}\n{model}adapter: {{seeds: [1, 2, 3]}}\n"
    assert load(named).adapter.seeds == three, "what the file says, even if it is the default"
    others = f"datasets: {{{mine}}}\n{model}adapter: {{shots: [4]}}\n"
    assert load(others).adapter.seeds == ten


@pytest.mark.parametrize(("name", "read_as"), [("no", "False"), ("2024", "2024")])
def test_a_name_that_yaml_reads_as_no_text(name: str, read_as: str) -> None:
    """The message named "datasets.0.[key]", which nobody had typed."""
    said = refused(f"datasets:\n  {name}: {{root: photos}}\nmodels: [mini]\n")
    assert said.endswith(
        f"datasets: a name must be text, but YAML reads this one as {read_as}; put it in quotes"
    )


def test_other_data_sets_have_other_images() -> None:
    """Images of a data set would be described by themselves, and a part's would count twice."""
    names = "caltech101_clip, caltech101_lvis_clip, dtd_clip, oxford_pets_named_clip, imagenet_v2, shapes"
    config = load(f"datasets: [{names}]\nmodels: [mini]\n")
    assert config.others("caltech101_lvis_clip") == ["dtd_clip", "shapes"]
    assert config.others("shapes") == ["caltech101_clip", "dtd_clip"]
