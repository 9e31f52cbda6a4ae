"""The page of `coder-clip explore`: corrected labels, photos that are found, the table."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from coder_clip_photos.corrected import Labels
from coder_clip_photos.explorer import Explorer
from coder_clip_photos.find import most_like
from coder_clip_photos.listing import as_csv
from coder_clip_photos.study import Study
from coder_clip_photos.web_page import make_app
from photo_fixtures import HOST, TOKEN, edited, send

# ---- labels


@pytest.fixture
def labels(explorer: Explorer, study: Study, tmp_path: Path) -> Labels:
    (tmp_path / "config").mkdir()
    file = tmp_path / "config/pets.corrections.csv"
    start = client_state(explorer)
    folder_class = {p["name"]: p["truth"] for p in start["photos"]}
    explorer.labels = Labels(
        file, folder_class, ["cat", "dog", "egg"], "config/pets.corrections.csv", "Add it"
    )
    return explorer.labels


def client_state(explorer: Explorer) -> Any:
    return make_app(explorer, TOKEN, {HOST}).test_client().get(f"/{TOKEN}/state").json


def test_a_label_is_corrected_in_a_file_and_nowhere_else(
    client: Any, labels: Labels, study: Study
) -> None:
    """The photos stay, and the numbers of this run stay those of its labels."""
    before = client.get(f"/{TOKEN}/state").json
    assert before["corrects"] == {"file": "config/pets.corrections.csv", "advice": "Add it"}
    assert [p["truth"] for p in before["photos"][:2]] == ["cat", "cat"]
    assert not labels.file.exists()
    after = send(client, "correct", photo=1, to="egg").json
    after = send(client, "correct", photo=0, to="").json
    assert labels.file.read_text() == "image,from,to\n0.png,cat,\n1.png,cat,egg\n"
    assert [p["corrected"] for p in after["photos"][:3]] == ["", "egg", None]
    assert after["accuracy"] == before["accuracy"]
    assert [p["truth"] for p in after["photos"]] == [p["truth"] for p in before["photos"]]
    labels.file.write_text(labels.file.read_text() + "2.png,cat,dog\n")  # by hand, meanwhile
    after = send(client, "correct", photo=1, to="cat").json
    assert labels.file.read_text() == "image,from,to\n0.png,cat,\n2.png,cat,dog\n", "taken back"
    assert [p["corrected"] for p in after["photos"][:3]] == ["", None, "dog"]


def test_what_is_no_correction_is_refused(client: Any, labels: Labels) -> None:
    for body, said in (({"to": "cow"}, "no class 'cow'"), ({"to": None}, "'to' is missing")):
        answer = send(client, "correct", photo=0, **body)
        assert answer.status_code == 400
        assert said in answer.json["error"]
    assert send(client, "correct", photo=60000, to="cat").status_code == 400
    assert not labels.file.exists()


# ---- photos like a text


def test_photos_like_a_text_or_a_photo_come_by_the_score_of_find(client: Any, study: Study) -> None:
    x, body = study.features, {"plus": "whiskers, soft fur", "minus": " dog ,"}
    texts = study.encoder.texts(["whiskers", "soft fur", "dog"])
    expected = 100 * most_like(x, texts[:2], texts[2:])
    assert client.post(f"/{TOKEN}/like", json=body).json == expected.tolist()
    expected = 100 * most_like(x, x[3:4], x[:0])
    assert client.get(f"/{TOKEN}/like/3").json == expected.tolist()
    answer = client.post(f"/{TOKEN}/like", json={"plus": " , ", "minus": "dog"})
    assert answer.status_code == 400
    assert answer.json["error"] == "say what the photos should be like: red bird"


# ---- the table


def rows_of(client: Any) -> list[dict[str, str]]:
    answer = client.get(f"/{TOKEN}/photos.csv")
    assert answer.mimetype == "text/csv"
    assert answer.headers["Content-Disposition"] == "attachment; filename=photos.csv"
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_the_table_is_that_of_classify(client: Any, study: Study) -> None:
    """Two tables of the same photos that differ are not believed."""
    photos = study.start.classifier.photos(study.features, study.names, top=3)
    expected = list(csv.DictReader(io.StringIO(as_csv(photos, 3, 0))))
    found = rows_of(client)
    page = client.get(f"/{TOKEN}/state").json["photos"]
    assert [row["class"] for row in found] == [p["label"] for p in page]
    assert [row.pop("true_class") for row in found] == [p["truth"] for p in page]
    assert found == expected


def test_the_table_follows_texts_and_labels(client: Any, labels: Labels) -> None:
    """Who corrects labels on the page and opens the old table works with the wrong ones."""
    state = client.get(f"/{TOKEN}/state").json
    send(client, "correct", photo=0, to="")
    send(client, "correct", photo=1, to="egg")
    state = send(client, "texts", classes=edited(state, cat=["a beak", "two wings"])).json
    assert state["changed"] > 0
    found = rows_of(client)
    assert [row["class"] for row in found] == [p["label"] for p in state["photos"]]
    assert [row["class_before"] for row in found] == [p["before"] for p in state["photos"]]
    assert [row["next_run"] for row in found[:2]] == ["none of these", "egg"]
    assert [row["next_run"] for row in found[2:]] == [p["truth"] for p in state["photos"][2:]]
