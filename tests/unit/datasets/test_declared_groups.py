"""Groups that a user declares: read as written, refused where they do not fit, and used in place of
near twins that would be looked for.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bursts import save_bursts
from coder_clip.datasets import load_dataset
from coder_clip.datasets.entry import entry
from coder_clip.datasets.features import FeatureDataset, PublishedFeatures
from coder_clip.datasets.fetch import checksum_like
from coder_clip.datasets.groups import of_images, of_rows
from coder_clip.errors import UserError
from coder_clip.evaluation.estimates import compare
from coder_clip.foundation.artifacts import Paths, read_json, read_tensors
from coder_clip.jobs import work
from coder_clip.pipeline.config import Config, DatasetConfig
from coder_clip.pipeline.listing import listing
from fixtures import SHARED

ROWS = {"train": ["t0", "t1"], "val": ["v0", "v1", "v2"], "test": ["e0", "e1", "e2", "e3"]}
UCF101 = SHARED / "data/splits/split_zhou_UCF101.json"
IMAS = SHARED / "data/true_clip/bunnieslala+IMAS@34a935a/caches"


def written(folder: Path, content: Any, name: str = "groups.json") -> Path:
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


def sets(groups: Any) -> set[frozenset[str]]:
    return {frozenset(group) for group in groups}


def test_a_group_for_each_row_and_one_for_each_named_image(tmp_path: Path) -> None:
    """A group that is read for another row makes strangers one observation and twins two."""
    file = written(tmp_path, {"val": ["a", 7, "b"], "test": ["b", "c", "7", "c"]})
    expected = {frozenset(["v1", "e2"]), frozenset(["v2", "e0"]), frozenset(["e1", "e3"])}
    assert sets(of_rows(file, ROWS)) == expected
    csv = written(tmp_path, "image,group\ne3,x\nv0,x\ne1,y\nt1,x\n", "groups.csv")
    assert sets(of_rows(csv, ROWS)) == {frozenset(["e3", "v0", "t1"])}
    # shots from val are the images of val, whose groups are given once
    shared = {**ROWS, "train": ROWS["val"]}
    assert sets(of_rows(file, shared)) == expected
    twice = {"val": ["a", 7, "b"], "test": ["b", "c", "7", "c"], "train": ["a", "b", "b"]}
    with pytest.raises(UserError, match="is in two groups, '7', 'b'"):
        of_rows(written(tmp_path, twice), shared)


WRONG = {
    "no groups of test; add a list": {"val": [0, 1, 2]},
    "3 groups of test, which has 4 rows": {"val": [0, 1, 2], "test": [0, 1, 2]},
    "'tests' is not a split": {"val": [0, 1, 2], "tests": [0, 1, 2, 3]},
    "the groups of val are not a list of names or numbers": {"val": [0, 1.5, 2], "test": [0] * 4},
    "the groups of test are not a list": {"val": [0, 1, 2], "test": {"0": 1}},
    "not a table of split and groups": [0, 1],
    "cannot be read": "{",
}


@pytest.mark.parametrize("says", WRONG)
def test_rows_that_do_not_fit_are_refused(says: str, tmp_path: Path) -> None:
    """Groups of another split or order would change every interval without a word."""
    with pytest.raises(UserError, match=says) as error:
        of_rows(written(tmp_path, WRONG[says]), ROWS)
    assert "groups.json" in str(error.value)
    assert "\n" not in str(error.value)


LINES = {
    "line 3: the data set has no image 'e9'": "image,group\ne1,x\ne9,x\n",
    "line 3: 'e1' is there twice": "image,group\ne1,x\ne1,y\n",
    "line 2: 'e1' has no group": "image,group\ne1,\n",
    "line 2: 3 cells; image and group are needed": "image,group\ne1,x,y\n",
    "the first line has to be image,group": "e1,x\n",
}


@pytest.mark.parametrize("says", LINES)
def test_lines_that_do_not_fit_are_refused(says: str, tmp_path: Path) -> None:
    """A name of another version of the data set must be told with its line."""
    with pytest.raises(UserError, match=says):
        of_images(
            written(tmp_path, LINES[says], "g.csv"), [i for ids in ROWS.values() for i in ids]
        )
    with pytest.raises(UserError, match="no file"):
        of_rows(tmp_path / "none.json", ROWS)


def test_a_configuration_names_files_that_are_there_and_are_used(tmp_path: Path) -> None:
    """A key that nothing reads, or a file that is not there, would leave groups undeclared."""

    def refused(says: str, **dataset: Any) -> None:
        with pytest.raises(ValueError, match=says):
            Config.model_validate({"datasets": {"shapes": dataset}, "models": ["mini"]})

    refused("datasets.shapes.groups: only for 'root' or 'features'", groups="g.csv")
    refused("datasets.shapes.split_file: only for 'features'", split_file="g.json")
    refused("datasets.shapes.groups: no file", groups="g.csv", root=str(tmp_path))
    given = {"features": str(tmp_path), "classes": ["a"], "split_file": "s.json"}
    refused("datasets.shapes.split_file: no file", **given)


def test_a_folder_of_photos_is_split_by_declared_groups(tmp_path: Path) -> None:
    """Photos of one animal on several days look different, and only their owner knows them."""
    save_bursts(tmp_path / "photos", ["cat", "dog"], 20)
    images = sorted(p.relative_to(tmp_path / "photos").as_posix() for p in tmp_path.rglob("*.png"))
    # two scenes after another are one animal
    lines = [f"{image},{image[:4]}{int(image[4:6]) // 2}" for image in images]
    file = written(tmp_path, "\n".join(["image,group", *lines]), "animals.csv")
    data: Any = load_dataset("mine", DatasetConfig(root=tmp_path / "photos", groups=file))
    assert data.grouped_by == "declared"
    assert {len(group) for group in data.twins} == {6}
    split_of = {i: split for split, pairs in data.splits.items() for i, _ in pairs}
    assert all(len({split_of[i] for i in group}) == 1 for group in data.twins)
    assert load_dataset("mine", DatasetConfig(root=tmp_path / "photos")).grouped_by == "pixels"


# ---- features


def folder_of_ucf101(folder: Path) -> dict[str, Any]:
    """Features for the images of UCF101's split: clips of one video differ as any others do."""
    folder.mkdir(parents=True)
    (folder / UCF101.name).write_bytes(UCF101.read_bytes())
    published: dict[str, Any] = json.loads(UCF101.read_bytes())
    rng = torch.Generator().manual_seed(1)
    for split in ("val", "test"):
        labels = torch.tensor([label for _, label, _ in published[split]])
        torch.save(torch.randn(len(labels), 16, generator=rng), folder / f"{split}_f.pt")
        torch.save(labels, folder / f"{split}_l.pt")
    torch.save(torch.randn(16, 1616, generator=rng), folder / "keys_16shots.pt")
    one_hot = torch.nn.functional.one_hot(torch.arange(101).repeat_interleave(16), 101)
    torch.save(one_hot.half(), folder / "values_16shots.pt")
    return published


@pytest.mark.skipif(not UCF101.is_file(), reason="shared split file of UCF101 is not here")
def test_the_shipped_set_and_an_own_folder_of_its_features_give_one_answer(tmp_path: Path) -> None:
    """UCF101's sign turned: contradicted as a user's folder, open as the shipped set."""
    folder = tmp_path / "clip_features/ucf101"
    published = folder_of_ucf101(folder)
    found = entry("ucf101_clip")
    here = [
        d.model_copy(update={"checksum": checksum_like(folder / d.gives, "sha256:")})
        for d in found.downloads
    ]
    shipped = PublishedFeatures(
        "ucf101_clip", found.model_copy(update={"downloads": here}), tmp_path
    )
    video = {i: i.rsplit("_c", 1)[0] for s in ("val", "test") for i, _, _ in published[s]}
    names = {s: [video[i] for i, _, _ in published[s]] for s in ("val", "test")}
    numbers = {s: [sorted(set(video.values())).index(v) for v in names[s]] for s in names}
    split_file = folder / UCF101.name
    ways: dict[str, dict[str, Any]] = {
        "names of rows": {"groups": written(tmp_path, names, "names.json")},
        "numbers of rows": {"groups": written(tmp_path, numbers, "numbers.json")},
        "the split file, by the entry's pattern": {"split_file": split_file},
        "images by name": {
            "split_file": split_file,
            "groups": written(
                tmp_path,
                "\n".join(["image,group", *(f"{i},{v}" for i, v in video.items())]),
                "g.csv",
            ),
        },
    }
    # CODER right and raw wrong in one video more than the other way round, with many clips
    rng = np.random.default_rng(0)
    test_ids = [i for i, _, _ in published["test"]]
    right = {v: rng.random(2) < 0.5 for v in sorted(set(names["test"]))}
    before, after = np.array([right[video[i]] for i in test_ids]).T
    position = {i: k for k, i in enumerate(test_ids)}

    def judged(data: FeatureDataset) -> Any:
        ids = [i for i, _ in data.splits["test"]]
        groups = np.arange(len(ids))
        place = {i: k for k, i in enumerate(ids)}
        for group in data.twins:
            members = [place[i] for i in group if i in place]
            groups[members] = min(members, default=0)
        order = [position[i] if i in position else int(i.split("/")[1]) for i in ids]
        return compare(before[order], after[order], groups=groups), len(set(groups.tolist()))

    expected, n_groups = judged(shipped)
    assert n_groups == 707
    assert shipped.grouped_by == "names"
    assert shipped.counts == {"train": 1616, "val": 1898, "test": 3783}
    assert shipped.miscounted() is None
    of_video: dict[str, set[str]] = {}
    for image, of in video.items():
        of_video.setdefault(of, set()).add(image)
    assert sets(shipped.twins) == {frozenset(i) for i in of_video.values() if len(i) > 1}
    for way, given in ways.items():
        data: Any = load_dataset("ucf101", DatasetConfig(features=folder, **given))
        assert data.grouped_by == ("declared" if "groups" in given else "names"), way
        got, n = judged(data)
        assert n == 707, way
        assert got == pytest.approx(expected, abs=1e-12), way
    alone: Any = load_dataset("ucf101", DatasetConfig(features=folder))
    assert alone.grouped_by == "features"
    assert judged(alone)[1] > 3700, "features find no video: a weak stand-in"


@pytest.mark.skipif(not IMAS.is_dir(), reason="shared features of true CLIP are not here")
def test_a_folder_of_published_features_has_the_images_of_the_shipped_set(tmp_path: Path) -> None:
    """Whoever copies the files into a configuration of his own must get the same numbers."""
    root = tmp_path / "clip_features/dtd"
    root.mkdir(parents=True)
    for file in (IMAS / "dtd").glob("*_?.pt"):
        (root / file.name).write_bytes(file.read_bytes())
    split = SHARED / "data/splits/split_zhou_DescribableTextures.json"
    (root / split.name).write_bytes(split.read_bytes())
    shipped: Any = load_dataset("dtd_clip", DatasetConfig(), tmp_path)
    own: Any = load_dataset("dtd", DatasetConfig(features=root, split_file=split))
    assert own.splits == shipped.splits
    assert sets(own.twins) == sets(shipped.twins)
    assert own.grouped_by == shipped.grouped_by == "features"
    (root / "val_f.pt").write_bytes((root / "test_f.pt").read_bytes())
    with pytest.raises(UserError, match=r"val_f\.pt is not the published file .* 'coder-clip data"):
        load_dataset("dtd_clip", DatasetConfig(), tmp_path)


def test_a_run_has_the_declared_groups_and_says_so(tmp_path: Path) -> None:
    """Groups that end in the manifest change no interval; and a plan must see that they changed."""
    folder = tmp_path / "caches"
    folder.mkdir()
    rng = torch.Generator().manual_seed(3)
    for split in ("val", "test"):
        torch.save(torch.randn(12, 5, generator=rng), folder / f"{split}_f.pt")
        torch.save(torch.arange(12) % 3, folder / f"{split}_l.pt")
    file = written(tmp_path, {"val": list(range(12)), "test": [i // 4 for i in range(12)]})
    config = Config.model_validate(
        {
            "results": tmp_path / "results",
            "datasets": {
                "trees": {"features": str(folder), "classes": ["a", "b", "c"], "groups": str(file)}
            },
            "models": {"m": {"model": "hf-hub:a/b"}},
            "adapter": {"shots": [1], "seeds": [1]},
        }
    )
    work(config, "list_images", dataset="trees")
    work(config, "encode_images", model="m", dataset="trees")
    document = read_json(Paths(config.results).manifest("trees"))
    assert document["grouped_by"] == "declared"
    # numbers are names: group 0 of val is group 0 of test
    assert document["near_twins"]["test"] == {
        "images": 12,
        "elsewhere": 12,
        "together": 12,
        "groups": 3,
    }
    tensors, meta = read_tensors(Paths(config.results).image_features("m", "trees", "test"))
    assert meta["ids"] == [f"test/{i:05d}" for i in range(12)]
    groups = tensors["groups"].tolist()
    for i in range(12):
        for j in range(12):
            assert (groups[i] == groups[j]) == (i // 4 == j // 4)
    before = listing(config, "trees")
    written(tmp_path, {"val": list(range(12)), "test": [i // 3 for i in range(12)]})
    assert listing(config, "trees") != before
