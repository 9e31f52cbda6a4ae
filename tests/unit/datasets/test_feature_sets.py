"""Data sets that are features, and texts that are features: what is read, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from coder_clip.datasets import FEATURE_SETS, load_dataset
from coder_clip.datasets.entry import entry
from coder_clip.datasets.features import FeatureDataset, _named, _relabelled, caches, halved, plain
from coder_clip.datasets.layouts import Place
from coder_clip.datasets.shots import draw_shots
from coder_clip.encoders import families
from coder_clip.encoders.table_list import TABLES, listed, read_list
from coder_clip.encoders.text_tables import TextTables
from coder_clip.errors import UserError
from coder_clip.phases.adapter import ScoredSplit
from coder_clip.phases.common import SplitFeatures
from coder_clip.phases.shots import different, shot_rows
from coder_clip.pipeline.config import Config, DatasetConfig

CLASSES = ["ash", "oak", "elm"]


def folder_of_caches(
    folder: Path, each: int = 4, shots: int = 3, width: int = 6
) -> dict[str, torch.Tensor]:
    """Caches as Tip-Adapter writes them: half precision, keys transposed, labels of shots one-hot."""
    rng = torch.Generator().manual_seed(7)
    folder.mkdir(exist_ok=True)
    files = {}
    for split in ("val", "test"):
        files[f"{split}_f"] = torch.randn(3 * each, width, generator=rng).half()
        files[f"{split}_l"] = torch.arange(3 * each) % 3
    for n in (1, shots):
        labels = torch.arange(3).repeat_interleave(n)
        files[f"keys_{n}shots"] = torch.randn(width, 3 * n, generator=rng).half()
        files[f"values_{n}shots"] = torch.nn.functional.one_hot(labels, 3).half()
    for name, tensor in files.items():
        torch.save(tensor, folder / f"{name}.pt")
    return files


def test_caches_are_read_as_they_are(tmp_path: Path) -> None:
    """A transposed array or labels of other rows would be accuracies of nothing."""
    files = folder_of_caches(tmp_path / "caches")
    config = DatasetConfig(features=tmp_path / "caches", classes=CLASSES)
    data = load_dataset("trees", config)
    assert isinstance(data, FeatureDataset)
    for split in ("val", "test"):
        part = data.split(split)
        assert part.labels.tolist() == files[f"{split}_l"].tolist()
        for i in (5, 0, 2):  # one by one, in any order
            assert torch.equal(
                data.features(split, [part.ids[i]])[0], files[f"{split}_f"][i].float()
            )
    # shots are from the largest cache
    train = data.split("train")
    assert len(train.ids) == 9
    for i, image in enumerate(train.ids):
        assert torch.equal(data.features("train", [image])[0], files["keys_3shots"][:, i].float())
        assert files["values_3shots"][i].argmax() == train.labels[i]
    with pytest.raises(UserError, match="it has no images to show"):
        data.image("val/00000")


def test_without_a_cache_shots_are_validation_images(tmp_path: Path) -> None:
    """A seed's shots must then not be among the images that it chooses on: see the next test."""
    folder_of_caches(tmp_path / "c")
    for file in (tmp_path / "c").glob("*shots.pt"):
        file.unlink()
    data = load_dataset("trees", DatasetConfig(features=tmp_path / "c", classes=CLASSES))
    assert data.split("train").ids == data.split("val").ids


def test_no_seed_chooses_on_its_own_shots() -> None:
    """Hyper-parameters that are chosen on the very shots of a cache are those that memorise them."""
    meta = {"dataset": "trees", "classes": CLASSES}
    val = SplitFeatures(torch.eye(5), torch.tensor([0, 1, 2, 0, 1]), list("abcde"), meta)
    scored = ScoredSplit(val, torch.arange(15.0).view(5, 3))
    rest = scored.without({"b", "e", "elsewhere"})
    assert rest.images.ids == ["a", "c", "d"]
    assert rest.images.labels.tolist() == [0, 2, 0]
    assert torch.equal(rest.images.features, torch.eye(5)[[0, 2, 3]])
    assert torch.equal(rest.clip, scored.clip[[0, 2, 3]])
    assert scored.without({"elsewhere"}) is scored
    with pytest.raises(UserError, match="all validation images are shots"):
        scored.without(set("abcde"))


def test_seeds_that_draw_the_same_images_are_one() -> None:
    """Three equal draws would look like three that agree, and a claim clear that is about one draw."""
    labels = np.repeat(np.arange(3), 4)
    ids = [f"i{n}" for n in range(12)]
    draws = {
        str(seed): [[ids[i] for i in shot] for shot in np.split(draw_shots(labels, 4, seed, 3), 4)]
        for seed in (5, 1, 2)
    }
    pool = SplitFeatures(torch.zeros(12, 2), torch.from_numpy(labels), ids, {"draws": draws})
    assert different([5, 1, 2], pool, 2) == [5, 1, 2]
    assert different([5, 1, 2], pool, 4) == [5]  # all four of four


def test_fewer_shots_are_the_first_ones_and_a_draw_without_images_is_named() -> None:
    """Fewer shots would be other images than the larger draw holds, or a table would show results
    of no image.
    """
    ids = ["a0", "a1", "b0", "b1"]
    draws = {"1": [["a1", "b0"], ["a0", "b1"]]}  # two shots of two classes
    meta = {"dataset": "shapes", "draws": draws, "skipped": []}
    pool = SplitFeatures(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]), ids, meta)
    assert shot_rows(pool, 1, 1).tolist() == [1, 2]
    assert shot_rows(pool, 2, 1).tolist() == [1, 2, 0, 3]
    with pytest.raises(UserError, match="no 4-shot draw of seed 1"):
        shot_rows(pool, 4, 1)
    broken = {**meta, "skipped": [(i, "broken") for i in ids]}
    empty = SplitFeatures(torch.zeros(0, 2), torch.zeros(0), [], broken)
    with pytest.raises(
        UserError, match="'shapes': none of the 2 images of the 1-shot draw of seed 1"
    ):
        shot_rows(empty, 1, 1, skip=True)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.file}",)


BROKEN = {
    "val_f.pt: NaN, infinity or nothing but zeros in row 2": (
        "val_f",
        lambda t: t.index_fill(0, torch.tensor(2), 0),
    ),
    "test_f.pt: NaN, infinity or nothing but zeros in row 1": (
        "test_f",
        lambda t: t.index_fill(0, torch.tensor(1), torch.inf),
    ),
    "test_f.pt: .* where features": ("test_f", lambda t: t.int()),
    "val_f.pt: .* where features": ("val_f", lambda t: t.flatten()),
    "val_l.pt: 12 labels for 11 features": ("val_f", lambda t: t[1:]),
    "val_l.pt: labels from 0 to 3, where the data set has 3 classes": (
        "val_l",
        lambda t: t + (t == 2),
    ),
    "test_l.pt: labels from -1 to 1": ("test_l", lambda t: t - 1),
    "val_l.pt: torch.float32, where labels are whole numbers": ("val_l", lambda t: t.float()),
    "features of several widths, so of several encoders": ("test_f", lambda t: t[:, :4]),
    "no val image of class 2": ("val_l", lambda t: t % 2),
    "no test image of class 2": ("test_l", lambda t: t % 2),
    "values_3shots.pt: its rows are not one-hot": ("values_3shots", lambda t: t * 0),
    r"values_3shots.pt: \(9, 2\), where \(shots, 3 classes\)": (
        "values_3shots",
        lambda t: t[:, :2],
    ),
    "values_3shots.pt: 8 labels for 9 features": ("values_3shots", lambda t: t[1:]),
    "test_f.pt: holds a dict, not a tensor": ("test_f", lambda t: {"features": t}),
}


@pytest.mark.parametrize("says", BROKEN)
def test_what_does_not_fit_is_one_line_with_the_file(says: str, tmp_path: Path) -> None:
    """Files of other people fail in many ways; each must name the file before any number is
    computed.
    """
    name, change = BROKEN[says]
    files = folder_of_caches(tmp_path)
    torch.save(change(files[name]), tmp_path / f"{name}.pt")
    with pytest.raises(UserError, match=says) as error:
        load_dataset("trees", DatasetConfig(features=tmp_path, classes=CLASSES))
    assert "\n" not in str(error.value)


def test_a_pickle_runs_no_code(tmp_path: Path) -> None:
    """A cache from the web could otherwise do anything that its reader may do."""
    folder_of_caches(tmp_path)
    torch.save(Trap(tmp_path / "sprung"), tmp_path / "test_f.pt")
    with pytest.raises(
        UserError, match=r"test_f\.pt: not a plain tensor file, so it is not opened"
    ):
        load_dataset("trees", DatasetConfig(features=tmp_path, classes=CLASSES))
    np.save(
        tmp_path / "texts.npy",
        np.array([Trap(tmp_path / "sprung")], dtype=object),
        allow_pickle=True,
    )
    tables = tables_in(tmp_path, [{"file": "texts.npy", "use": ["vocabulary"]}])
    with pytest.raises(UserError, match=r"texts\.npy: not a plain array"):
        tables.texts("trees", CLASSES)
    assert not (tmp_path / "sprung").exists()
    (tmp_path / "test_f.pt").unlink()
    with pytest.raises(UserError, match=r"no file .*test_f\.pt"):
        load_dataset("trees", DatasetConfig(features=tmp_path, classes=CLASSES))


def test_near_twins_are_found_over_all_splits_shots_included(tmp_path: Path) -> None:
    """A shot that is a test image saved again makes its class look easy."""
    files = folder_of_caches(tmp_path)
    shots = files["keys_3shots"].clone()
    shots[:, 4] = 2 * files["test_f"][7]
    shots[:, 5] = files["val_f"][1]
    torch.save(shots, tmp_path / "keys_3shots.pt")
    data: Any = load_dataset("trees", DatasetConfig(features=tmp_path, classes=CLASSES))
    groups = {frozenset(group) for group in data.twins}
    assert frozenset(["keys_3shots/00004", "test/00007"]) in groups
    assert frozenset(["keys_3shots/00005", "val/00001"]) in groups


def test_half_of_val_is_test_where_test_is_not_published(tmp_path: Path) -> None:
    """An image in both halves would be chosen on and reported on."""
    files = folder_of_caches(tmp_path, each=5)
    parts = halved(tmp_path, CLASSES, [])
    ids = [set(parts[s].ids) for s in ("val", "test")]
    assert not ids[0] & ids[1]
    assert ids[0] | ids[1] == {f"val/{i:05d}" for i in range(15)}
    taken: list[list[int]] = [[], []]
    of_class: dict[int, list[int]] = {}
    for i, label in enumerate(files["val_l"].tolist()):
        of_class.setdefault(label, []).append(i)
    for place, i in enumerate(i for c in sorted(of_class) for i in of_class[c]):
        taken[place % 2].append(i)
    for split, rows in zip(("val", "test"), taken, strict=True):
        assert parts[split].ids == [f"val/{i:05d}" for i in sorted(rows)]


def test_labels_of_another_order_are_refused(tmp_path: Path) -> None:
    """Of another split or order each number would be about other images than it says."""
    folder_of_caches(tmp_path)
    found = entry("dtd").model_copy(update={"classes": CLASSES})
    order = [int(i) % 3 for i in range(12)]
    rows = {
        s: [[f"{s}{i}.jpg", c, CLASSES[c]] for i, c in enumerate(order)]
        for s in ("train", "val", "test")
    }
    file = "split_zhou_DescribableTextures.json"
    (tmp_path / file).write_text(json.dumps(rows))
    place = Place("trees", tmp_path, tmp_path, found)
    parts = caches(tmp_path, CLASSES, ["keys_3shots.pt"])
    named = _named(parts, place, file)
    assert named["test"].ids == [f"test{i}.jpg" for i in range(12)]
    assert named["train"].ids == parts["train"].ids  # of a cache no image is known
    # without a cache, shots are the images of val: none is there twice
    from_val = _named(caches(tmp_path, CLASSES, []), place, file)
    assert from_val["train"].ids == from_val["val"].ids == [f"val{i}.jpg" for i in range(12)]
    rows["val"][3], rows["val"][4] = rows["val"][4], rows["val"][3]
    (tmp_path / file).write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"label 0 of val row 3, where .* has 1 \('val4\.jpg'\)"):
        _named(parts, place, file)
    for n in (11, 13):  # one image less, one more
        rows["test"] = [[f"test{i}.jpg", i % 3, CLASSES[i % 3]] for i in range(n)]
        (tmp_path / file).write_text(json.dumps(rows))
        with pytest.raises(UserError, match=f"12 features of test, where .* has {n} images"):
            _named(parts, place, file)


def test_some_classes_keep_their_images(tmp_path: Path) -> None:
    """A part of a data set with labels of the whole would call an elm an ash."""
    folder_of_caches(tmp_path)
    parts = caches(tmp_path, CLASSES, [])
    some = _relabelled(parts, CLASSES, ["maple", "Elm", "as-h"])
    for split, part in some.items():
        of_elm = [i for i, c in zip(parts[split].ids, parts[split].labels, strict=True) if c == 2]
        assert part.ids == of_elm
        assert set(part.labels.tolist()) == {1}
    assert plain("Soccer_ball ") == plain("soccer-Ball")


# ---- texts


def tables_in(folder: Path, tables: list[dict[str, Any]]) -> TextTables:
    file = folder / f"list{len(list(folder.glob('list*')))}.yaml"
    file.write_text(yaml.safe_dump({"tables": tables}))
    return TextTables(f"features:{file}", None)


def test_texts_are_found_by_name(tmp_path: Path) -> None:
    """The text of another class would be an accuracy of nothing; a class without one must be told."""
    names = ["Oak", "birch", "ash", "elm tree"]
    array = np.random.default_rng(0).normal(size=(5, 4))
    np.save(tmp_path / "a.npy", array.T)
    (tmp_path / "names.json").write_text(
        json.dumps([{"name": n, "id": 9 - i} for i, n in enumerate(names[::-1])])
    )
    table = {
        "file": "a.npy",
        "names": {"file": "names.json"},
        "transpose": True,
        "rows": [1, 5],
        "text": "a {name}",
    }
    tables = tables_in(tmp_path, [{**table, "use": ["vocabulary", "name"], "of": ["trees"]}])
    found = tables.texts("trees", ["ash", "oak"])
    unit = array[1:] / np.linalg.norm(array[1:], axis=1, keepdims=True)
    assert [(t.text, t.kind, t.owner) for t in found] == [
        *((f"a {name}", "vocabulary", -1) for name in names),
        ("a ash", "name", 0),
        ("a oak", "name", 1),
    ]
    rows = [0, 1, 2, 3, 2, 0]
    np.testing.assert_allclose(
        torch.stack([t.feature for t in found]).numpy(), unit[rows], rtol=1e-5
    )
    assert len(tables.imagenet_names()) == 0
    assert {t.kind for t in tables.texts("others", ["x"])} == {"vocabulary"}
    with pytest.raises(UserError, match=r"a\.npy: no text of class 'elm' of trees"):
        tables.texts("trees", ["ash", "elm"])
    (tmp_path / "names.json").write_text(json.dumps(names[1:]))
    with pytest.raises(UserError, match=r"a\.npy: 4 rows for 3 names"):
        tables.texts("trees", ["ash"])


def test_another_file_than_published_is_not_opened(tmp_path: Path) -> None:
    """Whoever controls a repository would otherwise decide the numbers, or more."""
    np.save(tmp_path / "a.npy", np.eye(3))
    tables = tables_in(
        tmp_path, [{"file": "a.npy", "use": ["vocabulary"], "checksum": f"sha256:{'0' * 64}"}]
    )
    with pytest.raises(
        UserError, match=r"a\.npy: checksum sha256:\w+, published: sha256:0+; remove it"
    ):
        tables.texts("trees", CLASSES)


def test_a_list_says_what_is_wrong_in_it(tmp_path: Path) -> None:
    """Configurations are checked before the first job."""
    models = {"m": {"model": "features:tru_clip"}}
    with pytest.raises(ValueError, match="no list of text features"):
        Config.model_validate({"datasets": ["dtd_clip"], "models": models})
    file = tmp_path / "x.yaml"
    file.write_text("tables: [{file: a.npy, use: [names]}]")
    with pytest.raises(UserError, match=r"x\.yaml: .*names"):
        read_list(file)
    with pytest.raises(ValueError, match="encodes no images; leave out 'shapes'"):
        Config.model_validate(
            {"datasets": ["shapes"], "models": {"m": {"model": "features:true_clip"}}}
        )
    with pytest.raises(ValueError, match=r"datasets\.trees\.classes: name the classes"):
        Config.model_validate(
            {"datasets": {"trees": {"features": str(tmp_path)}}, "models": ["mini"]}
        )
    with pytest.raises(ValueError, match=r"datasets\.trees\.features: no folder"):
        Config.model_validate(
            {"datasets": {"trees": {"features": "nowhere", "classes": CLASSES}}, "models": ["mini"]}
        )


@pytest.mark.parametrize("name", FEATURE_SETS)
def test_published_features_name_a_commit_a_checksum_and_a_licence(name: str) -> None:
    """A file that changes on the server must not change a result, and nobody may take what he may
    not.
    """
    found = entry(name)
    assert found.licence
    assert {d.gives for d in found.downloads} == {n for rule in found.splits for n in rule.needs}
    for download in found.downloads:
        assert download.checksum is not None
        assert download.checksum.startswith("sha256:")
        assert not {"main", "master"} & set(download.url.split("/"))
    if found.of is not None:
        names = {plain(c) for c in entry(found.of).class_names()}
        assert any(plain(c) in names for c in found.class_names())


def test_every_published_text_has_a_checksum() -> None:
    for path in TABLES.glob("*.yaml"):
        tables = read_list(path)
        assert all(f.checksum and f.source in tables.sources for f in tables.files)
        known = {d for table in tables.tables for d in table.of}
        assert known <= set(FEATURE_SETS)
        assert listed(f"features:{path.stem}") == path
        assert not families.encodes(f"features:{path.stem}")
