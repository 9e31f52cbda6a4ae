"""The shots of published runs, from CoOp's pickles and from JSON: the same images, and no code run."""

from __future__ import annotations

import json
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from coder_clip.datasets import Split
from coder_clip.datasets.shot_files import DATUM, Shot, match, read_shots, shot_file
from coder_clip.errors import UserError
from coder_clip.phases.adapter import _skipped_shots
from coder_clip.phases.common import ImageFeatures
from coder_clip.phases.image_features import shot_images
from coder_clip.phases.shots import shot_rows
from coder_clip.pipeline.config import Config
from pickles import Evil, assert_refused

CLASSES = ("banded", "blotchy", "braided")
IDS = [f"{c}/{c}_{i:04}.jpg" for c in CLASSES for i in range(6)]
LABELS = np.repeat(np.arange(3), 6)
ELSEWHERE = "/home/somebody/data/dtd/images/"


@pytest.fixture(params=DATUM)
def datum(request: pytest.FixtureRequest) -> Iterator[type]:
    """The class as the repositories have it, under its true name, for the time of a test."""
    module, name = request.param.rsplit(".", 1)

    class Datum:
        def __init__(self, impath: str, label: int, classname: str) -> None:
            self._impath, self._label, self._domain, self._classname = impath, label, 0, classname

    Datum.__module__, Datum.__qualname__ = module, name
    parts = module.split(".")
    names = [".".join(parts[: i + 1]) for i in range(len(parts))]
    before = {n: sys.modules.get(n) for n in names}
    sys.modules.update({n: types.ModuleType(n) for n in names})
    sys.modules[module].Datum = Datum  # type: ignore[attr-defined]
    yield Datum
    for n, old in before.items():
        sys.modules.pop(n)
        if old is not None:
            sys.modules[n] = old


def sampled(shots: int, seed: int) -> list[str]:
    """As CoOp draws: for another number of shots other images."""
    rng = np.random.default_rng([shots, seed])
    return [i for c in range(3) for i in rng.permutation(IDS[6 * c : 6 * c + 6])[:shots].tolist()]


def entries(ids: list[str], labels: tuple[int, ...] = (0, 1, 2)) -> list[list[Any]]:
    return [[ELSEWHERE + i, labels[CLASSES.index(i.split("/")[0])], i.split("/")[0]] for i in ids]


def config(folder: Path, **adapter: Any) -> Config:
    dataset = {"root": "somewhere", "texts": "names", "shot_files": str(folder)}
    adapter = {"shots": [1, 2], "seeds": [1, 2], **adapter}
    return Config.model_validate({"datasets": {"dtd": dataset}, "models": ["mini"], "adapter": adapter})


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_coops_pickles_are_read_and_give_the_same_images(
    tmp_path: Path, datum: type, protocol: int, monkeypatch: pytest.MonkeyPatch, repo: Path
) -> None:
    """Otherwise the samples are not those of the published runs, and the figures cannot be compared."""
    for shots in (1, 2):
        for seed in (1, 2):
            data = {"train": [datum(*e) for e in entries(sampled(shots, seed))], "val": []}
            path = tmp_path / f"shot_{shots}-seed_{seed}.pkl"
            path.write_bytes(pickle.dumps(data, protocol=protocol))
    monkeypatch.chdir(repo)
    split, draws = shot_images(config(tmp_path), Split(IDS, LABELS), list(CLASSES), tmp_path)
    for shots in (1, 2):
        for seed in (1, 2):
            assert draws[f"{shots}/{seed}"] == [sampled(shots, seed)]
    assert split.ids == [i for i in IDS if any(i in d for [d] in draws.values())]  # in the order of the split
    assert [IDS.index(i) // 6 for i in split.ids] == split.labels.tolist()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_beside_true_records_does_nothing(
    tmp_path: Path, datum: type, protocol: int
) -> None:
    mark = tmp_path / "ran"
    data = pickle.dumps({"train": [datum("a/b.jpg", 0, "a"), Evil(mark)]}, protocol=protocol)
    assert_refused(read_shots, tmp_path / "shot_1-seed_1.pkl", data, mark)


class Other:
    pass


def test_an_object_of_another_class_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shot_1-seed_1.pkl"
    path.write_bytes(pickle.dumps({"train": [Other()]}))
    with pytest.raises(UserError, match=r"refused.*asks for .*Other"):
        read_shots(path)


def test_json_is_read_as_coops_split_files_are(tmp_path: Path) -> None:
    path = tmp_path / "shot_2-seed_1.json"
    path.write_text(json.dumps({"train": entries(sampled(2, 1)), "val": []}))
    assert shot_file(tmp_path, 2, 1) == path
    found = match(read_shots(path), IDS, LABELS.tolist(), path, 2, CLASSES)
    assert found == sampled(2, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not valid JSON"),
        ("[]", "must hold a list 'train'"),
        ('{"train": []}', "must hold a list 'train'"),
        ('{"train": [["a.jpg"]]}', "shot 0 has no path and label"),
        ('{"train": [["a.jpg", "0"]]}', "shot 0 has no path and label"),
        ('{"train": [[0, 0]]}', "shot 0 has no path and label"),
    ],
)
def test_what_is_no_file_of_shots_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "shot_1-seed_1.json"
    path.write_text(text)
    with pytest.raises(UserError, match=says):
        read_shots(path)


def test_windows_paths_and_another_numbering_are_the_same_images(tmp_path: Path) -> None:
    """CoOp numbers some data sets' classes in another order; the path says which class it is."""
    path = tmp_path / "shot_1-seed_1.json"
    train = [["D:" + p.replace("/", "\\"), label] for p, label, _ in entries(sampled(1, 1), (7, 3, 5))]
    path.write_text(json.dumps({"train": train}))
    assert match(read_shots(path), IDS, LABELS.tolist(), path, 1, CLASSES) == sampled(1, 1)


def test_the_adapters_take_the_shots_of_the_file_and_not_the_beginning_of_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: Path
) -> None:
    for shots in (1, 2):
        for seed in (1, 2):
            file = tmp_path / f"shot_{shots}-seed_{seed}.json"
            file.write_text(json.dumps({"train": entries(sampled(shots, seed))}))
    monkeypatch.chdir(repo)
    c = config(tmp_path)
    split, draws = shot_images(c, Split(IDS, LABELS), list(CLASSES), tmp_path)
    features = torch.arange(float(len(split.ids)))[:, None]
    pool = ImageFeatures(features, torch.from_numpy(split.labels), split.ids, {"draws": draws, "skipped": []})
    assert sampled(1, 1) != sampled(2, 1)[::2]
    for shots in (1, 2):
        assert [split.ids[i] for i in shot_rows(c, pool, shots, 1)] == sampled(shots, 1)
        different = len({*sampled(shots, 1), *sampled(shots, 2)})
        assert _skipped_shots(c, pool, shots) == {"shots": 0, "drawn": different}
    with pytest.raises(UserError, match="no 4-shot draw of seed 1"):
        shot_rows(c, pool, 4, 1)
    skipping = c.model_copy(update={"features": c.features.model_copy(update={"on_error": "skip"})})
    broken = {"dataset": "dtd", "draws": draws, "skipped": [(i, "broken") for i in split.ids]}
    with pytest.raises(
        UserError,
        match="data set 'dtd': none of the 3 images of the 1-shot draw of seed 1 can be read; replace",
    ):
        shot_rows(skipping, ImageFeatures(features[:0], torch.zeros(0), [], broken), 1, 1)


@pytest.mark.parametrize(
    ("ids", "labels", "says"),
    [
        (["banded/banded_9999.jpg"], (0, 1, 2), "'.*banded_9999.jpg' is not a training image"),
        (["other/banded_0000.jpg"], (0, 1, 2), "is not a training image"),
        (["banded/banded_0000.jpg", "blotchy/blotchy_0000.jpg"], (0, 0, 2), "another class"),
        (["banded/banded_0000.jpg", "banded/banded_0001.jpg"], (0, 1, 2), "2 shots of a class, not 1"),
    ],
)
def test_files_of_another_data_set_or_split_are_refused(
    ids: list[str], labels: tuple[int, ...], says: str
) -> None:
    """A test image among the shots, or classes mixed up, would give figures that look like figures."""
    shots = [
        Shot(ELSEWHERE + i, labels[max(0, next((k for k, c in enumerate(CLASSES) if c in i), 0))])
        for i in ids
    ]
    with pytest.raises(UserError, match=says):
        match(shots, IDS, LABELS.tolist(), Path("x.pkl"), 1, CLASSES)


@pytest.mark.parametrize("names", [("bandedx", "blotchyx", "braidedx"), ("blotchy", "braided", "banded")])
def test_class_names_of_another_data_set_or_order_are_refused(names: tuple[str, ...]) -> None:
    """The path says the class; where the file says another, one of them is wrong."""
    images = sampled(1, 1)
    shots = [Shot(i, k, name) for k, (i, name) in enumerate(zip(images, names, strict=True))]
    with pytest.raises(UserError, match=f"class '{names[0]}' there and 'banded' here, and 3 of 3 shots"):
        match(shots, IDS, LABELS.tolist(), Path("x.pkl"), 1, CLASSES)
    one = [*(s._replace(name=c.upper()) for s, c in zip(shots, CLASSES, strict=True))]
    one[0] = shots[0]  # of a thousand names some are spelled in other ways elsewhere
    assert match(one, IDS, LABELS.tolist(), Path("x.pkl"), 1, CLASSES) == images


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no folder {tmp_path}/nope"):
        shot_file(tmp_path / "nope", 1, 1)


def test_an_image_that_two_names_fit_is_refused() -> None:
    shots = [Shot("/data/x/0.jpg", 0)]
    with pytest.raises(UserError, match=r"could be 'a/x/0\.jpg' or 'b/x/0\.jpg'"):
        match(shots, ["a/x/0.jpg", "b/x/0.jpg"], [0, 1], Path("x.pkl"), 1, ("a", "b"))


def test_a_file_that_is_not_there_is_said_before_any_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: Path
) -> None:
    monkeypatch.chdir(repo)
    (tmp_path / "shot_1-seed_1.json").write_text("{}")
    with pytest.raises(ValidationError, match=r"no shot_1-seed_2\.pkl .*there are: shot_1-seed_1\.json\)"):
        config(tmp_path)
