"""Labels from the page: what is learned from them, which come next, and how they leave the page."""

from __future__ import annotations

import csv
import io
import re
import sys
import time
import tomllib
from importlib.metadata import packages_distributions
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
from coder_clip.pipeline.config import load_config
from coder_clip.texts.sets import read_text_set
from coder_clip_photos import Classifier, export, labelling, openings
from coder_clip_photos.duplicates import duplicate_groups
from coder_clip_photos.explorer import Explorer
from coder_clip_photos.study import Study
from coder_clip_photos.texts import shipped_or_own, text_set
from coder_clip_photos.web_page import make_app
from tiny import save_tiny

TOKEN, HOST = "t", "localhost"
CLASSES = ["cat", "dog", "egg"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier(str(save_tiny(tmp_path_factory.mktemp("m") / "tiny")), CLASSES, cache=False)


def picture(seed: int) -> Image.Image:
    """No near twin of one with another seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    return small.resize((120, 120), Image.Resampling.BICUBIC)


@pytest.fixture
def explorer(classifier: Classifier, tmp_path: Path) -> Explorer:
    """Twelve photos without labels; two in other folders have the same name."""
    files = []
    for i in range(12):
        folder = tmp_path / "photos" / ("a" if i % 2 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        files.append(folder / f"{i // 2}.png")
        picture(i).save(files[-1])
    study = Study(classifier, classifier.features(files), [str(f) for f in files], None)
    made = Explorer(study, "12 photos", None, tmp_path / "work")
    made.folder.mkdir()
    return made


@pytest.fixture
def client(explorer: Explorer) -> Any:
    return make_app(explorer, TOKEN, {HOST}).test_client()


def send(client: Any, edit: str, **body: Any) -> Any:
    """An edit of the work as it is now."""
    version = client.get(f"/{TOKEN}/state").json["version"]
    return client.post(f"/{TOKEN}/edit/{edit}", json={"version": version, **body})


def send_labels(client: Any, text: str) -> Any:
    """A CSV file of labels, dropped on the page as it is now."""
    version = client.get(f"/{TOKEN}/state").json["version"]
    return client.post(f"/{TOKEN}/labels?version={version}", data=text.encode())


def labels_of(state: Any) -> dict[int, str]:
    return {p["id"]: p["yours"] for p in state["photos"] if p["yours"] is not None}


def test_photos_are_labelled_alone_and_together_and_taken_back(client: Any) -> None:
    send(client, "label", photos=[0], to="cat")
    send(client, "label", photos=[1, 2, 3], to="dog")
    send(client, "label", photos=[4], to="none of these")
    state = send(client, "label", photos=[1], to=None).json
    assert labels_of(state) == {0: "cat", 2: "dog", 3: "dog", 4: ""}
    state = send(client, "label", photos=[5], to="Fox").json
    assert [c["name"] for c in state["texts"]] == [*CLASSES, "Fox"], "a new name is a new class"
    state = send(client, "label", photos=[6], to="FOX").json
    assert labels_of(state)[6] == "Fox", "case makes no other class"
    state = send(client, "start-afresh").json
    assert (labels_of(state), [c["name"] for c in state["texts"]]) == ({}, CLASSES)


def test_classes_are_added_renamed_and_removed_with_their_labels(client: Any) -> None:
    send(client, "add-class", name="red fox")
    send(client, "label", photos=[0, 1], to="red fox")
    send(client, "label", photos=[2], to="dog")
    state = send(client, "rename-class", name="red fox", to="fox").json
    assert labels_of(state) == {0: "fox", 1: "fox", 2: "dog"}
    state = send(client, "remove-class", name="fox").json
    assert labels_of(state) == {2: "dog"}
    send(client, "remove-class", name="cat")
    assert "two classes are needed" in send(client, "remove-class", name="dog").json["error"]


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("label", {"photos": [99], "to": "cat"}, "no photo 99"),
        ("label", {"photos": [], "to": "cat"}, "a list of photos and the name of a class"),
        ("label", {"photos": [[]], "to": "cat"}, "a list of photos and the name of a class"),
        ("label", {"photos": [True], "to": "cat"}, "a list of photos and the name of a class"),
        ("label", {"photos": [0], "to": "\x00"}, "'\\x00': remove the control character"),
        ("add-class", {"name": " "}, "a class name is empty"),
        ("add-class", {"name": "CAT"}, "'cat' is there already"),
        ("add-class", {"name": "None of these"}, "'none of these' is what a photo without a class"),
        ("rename-class", {"name": "cat", "to": "dog"}, "'dog' is there already"),
        ("rename-class", {"name": "cow", "to": "x"}, "no class 'cow'"),
        ("correct", {"photo": [], "to": "cat"}, "no photo []"),
    ],
)
def test_edits_that_make_no_sense_are_one_line(
    client: Any, name: str, body: dict[str, Any], said: str
) -> None:
    """They were errors of the server."""
    answer = send(client, name, **body)
    assert (answer.status_code, said in answer.json["error"]) == (400, True), answer.json


def test_an_edit_of_an_old_version_is_refused_with_the_state_as_it_is(client: Any) -> None:
    """Two tabs overwrote each other without a word."""
    body = {"version": 0, "photos": [0], "to": "cat"}
    assert client.post(f"/{TOKEN}/edit/label", json=body).status_code == 200
    for answer in (
        client.post(f"/{TOKEN}/edit/label", json={**body, "to": "dog"}),
        client.post(f"/{TOKEN}/labels?version=0", data="image,class\na/0.png,dog\n"),
    ):
        assert answer.status_code == 409
        assert labels_of(answer.json["state"]) == {0: "cat"}
    for answer in (
        client.post(f"/{TOKEN}/edit/start-afresh", json={}),
        client.post(f"/{TOKEN}/labels", data="image,class\na/0.png,dog\n"),
    ):
        assert "version" in answer.json["error"]


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
    truth = torch.arange(2000) % 10
    x = torch.randn(10, 512, generator=generator)[truth]
    x += 2 * torch.randn(x.shape, generator=generator)
    given = (x, torch.zeros(2000, 10).double(), range(100), truth[:100])
    labelling.learned_scores(*given)
    started = time.process_time()
    found = labelling.learned_scores(*given)
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
    state = send_labels(client, text).json
    assert labels_of(state) == before
    assert "fox" in [c["name"] for c in state["texts"]]
    only = "image,class\ra/0.png,dog\rb/0.png,None_of_these\r"  # as old spreadsheets end lines
    state = send_labels(client, only).json
    assert [labels_of(state)[i] for i in (0, 1)] == ["", "dog"]
    assert state["said"] == "2 photos from the file"
    send(client, "start-afresh")
    export.take_labels(explorer, tmp_path / "photos")
    assert set(labels_of(client.get(f"/{TOKEN}/state").json).values()) == {"a", "b"}


def test_a_csv_of_the_page_comes_back_whatever_the_names_are(
    classifier: Classifier, tmp_path: Path
) -> None:
    """The page refused its own file: a name with a backslash, one with a carriage return, and a
    photo that went after it was labelled.
    """
    names = ["a\\b.png", "c\rd.png", "gone.png", "here.png"]
    labels = dict(zip(names, ["cat", "cat", "cat", ""], strict=True))
    text = export.labels_csv(labels)
    assert '"none of these"' in text
    found = export.read_labels(text, [names[i] for i in (0, 1, 3)], "x")
    del labels["gone.png"]
    assert found.labels == labels | {"here.png": "none of these"}
    assert found.said("the file") == "3 photos from the file; 1 not here, such as gone.png"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x,y\n1,2\n", "give the columns file_name,label in the first line, and a line per"),
        ("", "give the columns file_name,label"),
        ("file_name,label\nno.png,cat\n", "no photo of it is among these; the first: no.png"),
        ("file_name,label\n0.png,cat\n", "line 2: several photos end in '0.png'"),
        ("image,class\na/0.png,dog\na/1.png,\n", "line 3: 'a/1.png' has no label: write a class"),
        ("image,class\na/0.png,dog\na/0.png,cat\n", "line 3: 'a/0.png' is there a second time"),
        (f"image,class\na/0.png,{'x' * 200_000}\n", "after line 1: no CSV file: field larger"),
        ("image,class\na/0.png,\u202efox\n", "'\\u202efox': remove the control character"),
    ],
)
def test_a_csv_of_labels_with_a_mistake_changes_nothing(client: Any, text: str, said: str) -> None:
    """A line without a label was "none of these", and of two lines of a photo the last one won."""
    answer = send_labels(client, text)
    assert (answer.status_code, said in answer.json["error"]) == (400, True), answer.json
    assert labels_of(client.get(f"/{TOKEN}/state").json) == {}


def test_a_file_of_labels_is_taken_once(explorer: Explorer, tmp_path: Path) -> None:
    """Each start with --labels undid what was labelled since."""
    file = tmp_path / "known.csv"
    file.write_text("file_name,label\na/0.png,cat\na/1.png,dog\n")
    assert export.take_labels(explorer, file).endswith("2 photos from " + str(file))
    assert explorer.yours == {1: "cat", 3: "dog"}
    explorer.label([1], "egg")
    explorer.label([3], None)
    said = export.take_labels(explorer, file)
    assert said.endswith("2 were taken at an earlier start, and stay as you have them now")
    assert explorer.yours == {1: "egg"}
    file.write_text("file_name,label\na/0.png,cat\na/1.png,fox\n")  # one line of it changed
    export.take_labels(explorer, file)
    assert explorer.yours == {1: "egg", 3: "fox"}


def test_labels_and_draft_follow_the_photos_however_their_path_was_typed(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who typed the whole path at the next start had no labels; a link in it made another draft."""
    (tmp_path / "disk/photos").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    for i in range(3):
        picture(i).save(tmp_path / f"disk/photos/{i}.png")
    monkeypatch.chdir(tmp_path / "disk")
    for typed in ("photos", str(tmp_path / "disk/photos"), "../link/photos", "photos/"):
        files = sorted(Path(typed).iterdir())
        page, _ = openings.explore_photos(classifier, files, tmp_path, [typed])
        if not page.yours:
            page.label([1], "dog")
        assert page.yours == {1: "dog"}, typed
        assert page.labels_by_name == {str(files[1]): "dog"}
        page.draft.close()


def test_class_folders_and_a_configuration_are_what_a_run_reads(
    client: Any, explorer: Explorer
) -> None:
    """Photos of one name must not replace each other, nor a run what is there already."""

    def made(name: str = "mine") -> Any:
        return client.post(f"/{TOKEN}/make-run", json={"name": name}).json

    assert "labelled photos of two classes" in made()["error"]
    send(client, "label", photos=[0, 1, 2, 6, 8], to="red fox")
    send(client, "label", photos=[3], to="dog")
    send(client, "label", photos=[5], to="")
    originals = [Path(explorer.study.names[i]) for i in (0, 1, 2, 3, 6, 8)]
    contents = sorted(photo.read_bytes() for photo in originals)
    gone = originals[3].rename(originals[3].with_name("gone.png"))
    assert str(originals[3]) in made()["error"]
    assert list(explorer.folder.iterdir()) == [], "half of a folder would be in the way"
    gone.rename(originals[3])
    folder, file = explorer.folder / "mine", explorer.folder / "mine.yaml"
    command = f"make reproduce CONFIG={file}"
    assert made() == {"photos": 6, "folder": str(folder), "command": command}
    assert FolderDataset("mine", folder).classes == ["dog", "red fox"]
    assert sorted(copy.read_bytes() for copy in folder.glob("*/*.png")) == contents
    dataset = load_config(file, root=explorer.folder).datasets["mine"]
    assert (dataset.root, dataset.few_shot) == (folder, False)
    (explorer.folder / "own.yaml").write_text("title: my own\n")
    for name, said in (
        ("mine", "is there already"),
        ("own", "is there already"),
        ("../x", "give a name of letters"),
        ("x" * 101, "too long"),
    ):
        assert said in made(name)["error"]
    send(client, "label", photos=[4], to="red/fox")
    send(client, "label", photos=[5], to="red:fox")
    assert "would have one folder" in made("another")["error"]


def test_in_a_clone_the_paths_of_a_run_are_relative(client: Any, explorer: Explorer) -> None:
    """`record` keeps a configuration of this folder alone."""
    (explorer.folder / "Snakefile").touch()
    send(client, "label", photos=[*range(6)], to="cat")
    send(client, "label", photos=[*range(6, 12)], to="dog")
    send(client, "texts", classes=[{"name": c, "attribute": [f"a {c} face"]} for c in CLASSES])
    made = client.post(f"/{TOKEN}/make-run", json={"name": "mine"}).json
    assert made["command"] == "make reproduce CONFIG=config/mine.yaml"
    document = yaml.safe_load((explorer.folder / "config/mine.yaml").read_text())
    assert document["datasets"] == {"mine": {"root": "mine", "texts": "mine.texts.json"}}
    assert document["adapter"] == {"shots": [1, 2]}
    described = read_text_set(explorer.folder / "mine.texts.json")
    assert [c.attribute for c in described.classes] == [["a cat face"], ["a dog face"]]


def test_photos_without_pictures_are_a_list(client: Any, explorer: Explorer) -> None:
    """Features without images were 447 broken pictures."""
    assert client.get(f"/{TOKEN}/state").json["pictures"] is False
    assert client.get(f"/{TOKEN}/thumbnail/0").status_code == 404


def test_copies_and_near_twins_are_groups_whose_largest_file_is_kept(tmp_path: Path) -> None:
    """Different trucks were shown as nearly the same, and copies were missed."""
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
    picture(1).save(files[0])
    files[1].write_bytes(files[0].read_bytes())
    picture(2).resize((60, 60)).save(files[2])
    picture(2).save(files[3])
    picture(3).save(files[4])
    for broken in files[5:]:
        broken.write_bytes(b"no photo")
    assert duplicate_groups(files) == [([0, 1], True), ([3, 2], False), ([5, 6], True)]


def test_of_a_photo_and_a_link_to_it_the_photo_is_kept(tmp_path: Path) -> None:
    """Who removed the others of each group had links to nothing."""
    picture(1).save(tmp_path / "photo.png")
    picture(2).save(tmp_path / "sub.png")
    (tmp_path / "a-link.png").symlink_to("photo.png")
    (tmp_path / "broken.png").write_bytes(b"no photo")
    (tmp_path / "b-link.png").symlink_to("broken.png")
    files = [tmp_path / n for n in ("a-link.png", "b-link.png", "broken.png", "photo.png")]
    assert duplicate_groups(files) == [([3, 0], True), ([2, 1], True)]


def test_copies_among_the_photos_say_nothing_on_the_terminal(recwarn: Any) -> None:
    """scikit-learn warned about fewer clusters than it was asked for."""
    x = torch.eye(3).repeat(20, 1)
    found = labelling.next_photos(x, torch.zeros(60, 2), range(60), 10, learned=False)
    assert len(set(found)) == 10
    assert list(recwarn) == []


def test_all_that_the_package_imports_is_declared() -> None:
    """Without scikit-learn the page answered "Which ten next?" with an error of the server."""
    own = Path(__file__).resolve().parents[1] / "pyproject.toml"
    declared = set()
    for file in (own, own.parents[2] / "pyproject.toml"):
        for line in tomllib.loads(file.read_text())["project"]["dependencies"]:
            declared.add(re.split(r"[<>=]", line)[0].lower().replace("_", "-"))
    imported = set()
    for file in Path(labelling.__file__).parent.glob("*.py"):
        imported |= set(re.findall(r"^ *(?:from|import) (\w+)", file.read_text(), re.MULTILINE))
    distributions = packages_distributions()
    others = imported - sys.stdlib_module_names - {"coder_clip", "coder_clip_photos"}
    found = {distributions[name][0].lower().replace("_", "-") for name in others}
    # werkzeug is a part of flask; pandas is needed for runs alone, which bring it; `find` uses a
    # font of matplotlib where that is installed
    assert found - declared == {"matplotlib", "pandas", "werkzeug"}


def test_a_shipped_text_set_is_taken_by_name(tmp_path: Path, monkeypatch: Any) -> None:
    """The README's own example had no file outside of the clone."""
    monkeypatch.chdir(tmp_path)
    assert len(text_set(shipped_or_own(Path("oxford_pets"))).classes) == 37
    (tmp_path / "mine.json").write_text("{}")
    assert shipped_or_own(Path("mine.json")) == Path("mine.json")
    with pytest.raises(UserError, match=r"no text set has this name \(did you mean 'oxford_pets'"):
        shipped_or_own(Path("oxford_pet"))
