"""Labels from the page: what is learned from them, which come next, and how they leave the page."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from coder_clip.datasets.folder import FolderDataset
from coder_clip.errors import UserError
from coder_clip_photos import Classifier, export, labelling
from coder_clip_photos.duplicates import duplicate_groups
from coder_clip_photos.explorer import Explorer
from coder_clip_photos.study import Study
from coder_clip_photos.web_page import make_app
from tiny import save_tiny

TOKEN, HOST = "t", "localhost"
CLASSES = ["cat", "dog", "egg"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier(str(save_tiny(tmp_path_factory.mktemp("m") / "tiny")), CLASSES, cache=False)


@pytest.fixture
def explorer(classifier: Classifier, tmp_path: Path) -> Explorer:
    """Twelve photos without labels; two in other folders have the same name."""
    files = []
    for i in range(12):
        folder = tmp_path / "photos" / ("a" if i % 2 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        files.append(folder / f"{i // 2}.png")
        Image.new("RGB", (30, 30), (20 * i, 90, 250 - 20 * i)).save(files[-1])
    study = Study(classifier, classifier.features(files), [str(f) for f in files], None)
    made = Explorer(study, "12 photos", None, tmp_path / "work", files=files)
    made.folder.mkdir()
    return made


@pytest.fixture
def client(explorer: Explorer) -> Any:
    return make_app(explorer, TOKEN, {HOST}).test_client()


def send(client: Any, edit: str, **body: Any) -> Any:
    """An edit of the work as it is now."""
    version = client.get(f"/{TOKEN}/state").json["version"]
    return client.post(f"/{TOKEN}/edit/{edit}", json={"version": version, **body})


def labels_of(state: Any) -> dict[int, str]:
    return {p["id"]: p["yours"] for p in state["photos"] if p["yours"] is not None}


def test_photos_are_labelled_alone_and_together_and_taken_back(client: Any) -> None:
    send(client, "label", photos=[0], to="cat")
    send(client, "label", photos=[1, 2, 3], to="dog")
    send(client, "label", photos=[4], to="")
    state = send(client, "label", photos=[1], to=None).json
    assert labels_of(state) == {0: "cat", 2: "dog", 3: "dog", 4: ""}
    assert labels_of(send(client, "undo").json) == {0: "cat", 1: "dog", 2: "dog", 3: "dog", 4: ""}
    assert labels_of(send(client, "redo").json) == labels_of(state)
    state = send(client, "label", photos=[5], to="Fox").json
    assert [c["name"] for c in state["texts"]] == [*CLASSES, "Fox"], "a new name is a new class"
    state = send(client, "label", photos=[6], to="FOX").json
    assert labels_of(state)[6] == "Fox", "case makes no other class"
    state = send(client, "start-afresh").json
    assert (labels_of(state), [c["name"] for c in state["texts"]]) == ({}, CLASSES)
    assert len(labels_of(send(client, "undo").json)) == 6


def test_classes_are_added_renamed_and_removed_with_their_labels(client: Any) -> None:
    send(client, "add-class", name="red fox")
    send(client, "label", photos=[0, 1], to="red fox")
    send(client, "label", photos=[2], to="dog")
    state = send(client, "rename-class", name="red fox", to="fox").json
    assert labels_of(state) == {0: "fox", 1: "fox", 2: "dog"}
    state = send(client, "remove-class", name="fox").json
    assert labels_of(state) == {2: "dog"}
    assert labels_of(send(client, "undo").json) == {0: "fox", 1: "fox", 2: "dog"}
    for name, body, said in (
        ("add-class", {"name": " "}, "a class name is empty"),
        ("add-class", {"name": "CAT"}, "'cat' is there already"),
        ("rename-class", {"name": "cat", "to": "dog"}, "'dog' is there already"),
        ("rename-class", {"name": "cow", "to": "x"}, "no class 'cow'"),
        ("label", {"photos": [99], "to": "cat"}, "no photo 99"),
        ("label", {"photos": [], "to": "cat"}, "photos and the name of a class are needed"),
    ):
        answer = send(client, name, **body)
        assert (answer.status_code, said in answer.json["error"]) == (400, True), answer.json
    send(client, "remove-class", name="fox")
    send(client, "remove-class", name="cat")
    assert "two classes are needed" in send(client, "remove-class", name="dog").json["error"]


def test_an_edit_of_an_old_version_is_refused_with_the_state_as_it_is(client: Any) -> None:
    """Two tabs overwrote each other without a word."""
    body = {"version": 0, "photos": [0], "to": "cat"}
    assert client.post(f"/{TOKEN}/edit/label", json=body).status_code == 200
    answer = client.post(f"/{TOKEN}/edit/label", json={**body, "to": "dog"})
    assert answer.status_code == 409
    assert labels_of(answer.json["state"]) == {0: "cat"}
    assert "version" in client.post(f"/{TOKEN}/edit/undo", json={}).json["error"]


def test_the_answer_follows_the_labels_and_not_only_the_texts(client: Any) -> None:
    state = send(client, "label", photos=[0], to="cat").json
    assert not state["learned"], "one class tells nothing apart"
    send(client, "label", photos=[1, 2], to="cat")
    state = send(client, "label", photos=[9, 10, 11], to="egg").json
    assert state["learned"]
    assert client.get(f"/{TOKEN}/next").json
    rows = list(csv.DictReader(io.StringIO(client.get(f"/{TOKEN}/photos.csv").text)))
    assert [row["label"] for row in rows[:3]] == ["cat"] * 3
    assert [row["by_labels"] for row in rows] == [p["label"] for p in state["photos"]]


def test_labels_are_learned_from_well_within_a_second() -> None:
    """The answer comes with each key, on 2,000 photos, or labelling is no fun."""
    generator = torch.Generator().manual_seed(0)
    centre = torch.randn(10, 512, generator=generator)
    truth = torch.arange(2000) % 10
    x = centre[truth] + 2 * torch.randn(2000, 512, generator=generator)
    scores = torch.zeros(2000, 10).double()
    rows = list(range(100))
    labelling.learned_scores(x, scores, rows, truth[rows])
    started = time.process_time()
    found = labelling.learned_scores(x, scores, rows, truth[rows])
    assert time.process_time() - started < 1
    assert float((found.argmax(dim=1) == truth).double().mean()) > 0.9


@given(st.integers(2, 60), st.integers(0, 60), st.booleans(), st.integers(0, 5))
def test_proposed_photos_are_new_and_as_many_as_wanted(
    n: int, n_labelled: int, learned: bool, seed: int
) -> None:
    """A photo that has a label is not asked again, nor one twice; the last ones come, too."""
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=(n, 4))).float()
    unlabelled = sorted(rng.permutation(n)[min(n, n_labelled) :].tolist())
    scores = torch.from_numpy(rng.normal(size=(n, 3)))
    found = labelling.next_photos(x, scores, unlabelled, 10, learned=learned)
    assert len(found) == len(set(found)) == min(10, len(unlabelled))
    assert set(found) <= set(unlabelled)


def test_each_group_without_a_label_gives_its_most_typical_photo() -> None:
    """Ten photos of one kind would teach one thing. Beside plain distances."""
    rng = np.random.default_rng(3)
    centres = 10 * np.eye(6)
    x = np.concatenate([c + rng.normal(size=(20, 6)) for c in centres])
    unlabelled = [i for i in range(len(x)) if i not in (0, 25)]  # two groups have a label
    found = labelling.next_photos(
        torch.from_numpy(x).float(), torch.zeros(len(x), 2), unlabelled, 4, learned=False
    )
    assert sorted(i // 20 for i in found) == [2, 3, 4, 5]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    for i in found:
        group = unit[20 * (i // 20) : 20 * (i // 20) + 20]
        typical = [np.mean(np.linalg.norm(group - one, axis=1)) for one in group]
        assert i % 20 == int(np.argmin(typical))


def test_labels_go_out_and_come_in(client: Any, explorer: Explorer, tmp_path: Path) -> None:
    """As CSV, with the columns of Hugging Face's image folder, and as class folders."""
    send(client, "label", photos=[0, 1], to="cat")
    send(client, "label", photos=[2], to="fox")
    send(client, "label", photos=[3], to="")
    text = client.get(f"/{TOKEN}/labels.csv").text
    assert text.startswith("file_name,label\n")
    before = labels_of(client.get(f"/{TOKEN}/state").json)
    send(client, "start-afresh")
    state = client.post(f"/{TOKEN}/labels", data=text.encode()).json
    assert labels_of(state) == before
    assert "fox" in [c["name"] for c in state["texts"]]
    send(client, "start-afresh")
    export.take_labels(explorer, tmp_path / "photos")
    assert set(labels_of(client.get(f"/{TOKEN}/state").json).values()) == {"a", "b"}
    for wrong, said in (
        ("x,y\n1,2\n", "give the columns file_name,label"),
        ("file_name,label\nnowhere.png,cat\n", "1 photos are not among these"),
        ("file_name,label\n0.png,cat\n", "several have the name"),
    ):
        answer = client.post(f"/{TOKEN}/labels", data=wrong.encode())
        assert (answer.status_code, said in answer.json["error"]) == (400, True), answer.json
    only = "image,class\na/0.png,dog\n"
    assert labels_of(client.post(f"/{TOKEN}/labels", data=only.encode()).json)[1] == "dog"


@pytest.mark.parametrize("how", ["link", "copy"])
def test_class_folders_are_what_a_run_reads(
    client: Any, explorer: Explorer, tmp_path: Path, how: str
) -> None:
    """Photos of one name must not replace each other, and labels that changed leave nothing old."""
    send(client, "label", photos=[0, 1, 2], to="red fox")
    send(client, "label", photos=[3, 4], to="dog")
    send(client, "label", photos=[5], to="")
    made = client.post(f"/{TOKEN}/make-run", json={"name": "mine", "how": how}).json
    assert (made["photos"], made["configuration"], made["can_run"]) == (5, "mine.yaml", False)
    data = FolderDataset("mine", explorer.folder / "mine")
    assert data.classes == ["dog", "red fox"]
    files = sorted((explorer.folder / "mine").glob("*/*.png"))
    originals = [Path(explorer.study.names[i]) for i in (3, 4, 0, 1, 2)]
    assert sorted(f.read_bytes() for f in files) == sorted(f.read_bytes() for f in originals)
    assert all((f.stat().st_nlink > 1) == (how == "link") for f in files)
    assert all(f.is_file() for f in originals), "the photos stay"
    send(client, "label", photos=[0], to="dog")
    client.post(f"/{TOKEN}/make-run", json={"name": "mine", "how": how})
    assert len(list((explorer.folder / "mine").glob("*/*.png"))) == 5
    document = yaml.safe_load((explorer.folder / "mine.yaml").read_text())
    assert document["datasets"]["mine"] == {"root": "mine", "texts": "names", "few_shot": False}
    (explorer.folder / "other").mkdir()
    for name, said in (
        ("other", "is there already"),
        ("../x", "give a name of letters"),
        ("x" * 101, "too long"),
    ):
        answer = client.post(f"/{TOKEN}/make-run", json={"name": name, "how": how})
        assert (answer.status_code, said in answer.json["error"]) == (400, True), answer.json
    send(client, "start-afresh")
    answer = client.post(f"/{TOKEN}/make-run", json={"name": "mine", "how": how})
    assert "labelled photos of two classes" in answer.json["error"]


def test_a_run_of_labels_replaces_nothing_that_is_another_s(
    client: Any, explorer: Explorer
) -> None:
    """The page overwrote config/paper.yaml, removed files, and made one class of two."""

    def refused(name: str) -> str:
        answer = client.post(f"/{TOKEN}/make-run", json={"name": name, "how": "copy"})
        assert answer.status_code == 400
        return str(answer.json["error"])

    send(client, "label", photos=[0, 1], to="cats/dogs")
    send(client, "label", photos=[2, 3], to="owl")
    own = explorer.folder / "keep.yaml"
    own.write_text("title: my own\n")
    assert "keep.yaml is there already" in refused("keep")
    assert own.read_text() == "title: my own\n"
    assert not (explorer.folder / "keep").exists()
    assert (
        client.post(f"/{TOKEN}/make-run", json={"name": "mine", "how": "copy"}).status_code == 200
    )
    notes = explorer.folder / "mine" / "owl" / "notes.txt"
    notes.write_text("mine")
    assert "did not write, such as owl/notes.txt" in refused("mine")
    assert notes.is_file()
    send(client, "label", photos=[4], to="cats:dogs")
    assert "would have one folder" in refused("another")


def test_photos_without_pictures_are_a_list(client: Any, explorer: Explorer) -> None:
    """Features without images were 447 broken pictures."""
    assert client.get(f"/{TOKEN}/state").json["pictures"] is False
    assert client.get(f"/{TOKEN}/thumbnail/0").status_code == 404


def test_more_like_this_is_the_cosine(client: Any, explorer: Explorer) -> None:
    x = torch.nn.functional.normalize(explorer.study.features.double(), dim=1)
    expected = (100 * x @ x[3]).tolist()
    assert client.get(f"/{TOKEN}/like/3").json == pytest.approx(expected, abs=1e-4)


def test_copies_and_near_twins_are_groups_whose_largest_file_is_kept(tmp_path: Path) -> None:
    """Different trucks were shown as nearly the same, and copies were missed."""

    def photo(seed: int) -> Image.Image:
        rng = np.random.default_rng(seed)
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        return small.resize((120, 120), Image.Resampling.BICUBIC)

    names = [
        "one.png",
        "copy.png",
        "small.png",
        "two.png",
        "three.png",
        "broken.png",
        "broken2.png",
    ]
    files = [tmp_path / name for name in names]
    photo(1).save(files[0])
    files[1].write_bytes(files[0].read_bytes())
    photo(2).resize((60, 60)).save(files[2])
    photo(2).save(files[3])
    photo(3).save(files[4])
    for broken in files[5:]:
        broken.write_bytes(b"no photo")
    assert duplicate_groups(files) == [([0, 1], True), ([3, 2], False), ([5, 6], True)]


def test_a_shipped_text_set_is_taken_by_name(tmp_path: Path, monkeypatch: Any) -> None:
    """The README's own example had no file outside of the clone."""
    from coder_clip_photos.texts import shipped_or_own, text_set

    monkeypatch.chdir(tmp_path)
    assert len(text_set(shipped_or_own(Path("oxford_pets"))).classes) == 37
    (tmp_path / "mine.json").write_text("{}")
    assert shipped_or_own(Path("mine.json")) == Path("mine.json")
    with pytest.raises(UserError, match=r"no text set has this name \(did you mean 'oxford_pets'"):
        shipped_or_own(Path("oxford_pet"))
