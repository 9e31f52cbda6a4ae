"""The page of `coder-clip explore`: corrected labels, photos that are found, the table."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coder_clip_photos import Classifier
from coder_clip_photos.corrected import Labels
from coder_clip_photos.explorer import Explorer
from coder_clip_photos.find import MostAlike, TwoPhotos, grouped
from coder_clip_photos.listing import as_csv
from coder_clip_photos.openings import BUILT_IN_LABELS
from coder_clip_photos.study import Study
from coder_clip_photos.texts import text_set
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
    for body, said in (
        ({"to": "cow"}, "no class 'cow'"),
        ({"to": None}, "'to' is missing"),
        ({}, "'to'"),
    ):
        answer = send(client, "correct", photo=0, **body)
        assert answer.status_code == 400
        assert said in answer.json["error"]
    assert send(client, "correct", photo=60000, to="cat").status_code == 400
    assert not labels.file.exists()


def test_labels_of_a_benchmark_are_not_corrected(client: Any, explorer: Explorer) -> None:
    explorer.labels_fixed_because = BUILT_IN_LABELS
    assert client.get(f"/{TOKEN}/state").json["corrects"] is None
    answer = send(client, "correct", photo=0, to="dog")
    assert answer.status_code == 400
    assert "built-in data set stay as they are" in answer.json["error"]


# ---- photos like a text, and like each other


def test_photos_like_a_text_and_unlike_another(client: Any, study: Study) -> None:
    scores = client.post(
        f"/{TOKEN}/like", json={"plus": "whiskers, soft fur", "minus": " dog ,"}
    ).json
    texts = study.encoder.texts(["whiskers", "soft fur", "dog"]).double().tolist()
    for x, score in zip(study.features.double().tolist(), scores, strict=True):
        length = sum(v * v for v in x) ** 0.5
        one, two, less = (sum(a * b for a, b in zip(x, t, strict=True)) / length for t in texts)
        assert score == pytest.approx(100 * ((one + two) / 2 - less), abs=1e-3)
    answer = client.post(f"/{TOKEN}/like", json={"plus": " , ", "minus": "dog"})
    assert (answer.status_code, answer.json["error"]) == (
        400,
        "say what the photos should be like: red bird",
    )


@pytest.mark.parametrize("rows", [3, 1024])
@pytest.mark.parametrize("most", [1, 5, 4000])
def test_the_most_alike_pairs_come_first(
    study: Study, monkeypatch: pytest.MonkeyPatch, rows: int, most: int
) -> None:
    """Beside a plain loop over all pairs. Pairs with two labels are found, too, behind many of one
    label.
    """
    monkeypatch.setattr("coder_clip_photos.find.ROWS", rows)
    x, labels = study.features[:60], study.labels
    assert labels is not None
    unit = torch.nn.functional.normalize(x.double(), dim=1)
    plain = sorted(
        ((i, j, float(unit[i] @ unit[j])) for i in range(60) for j in range(i + 1, 60)),
        key=lambda p: -p[2],
    )
    different = [p for p in plain if labels[p[0]] != labels[p[1]]]
    search = MostAlike(x, labels[:60], most)
    while not search.ended:
        search.step()
    for found, expected in ((search.pairs, plain[:most]), (search.different, different[:most])):
        assert [p[:2] for p in found] == [p[:2] for p in expected]
        assert [p.cosine for p in found] == pytest.approx([c for _, _, c in expected], abs=1e-6)


def test_of_equal_cosines_the_first_photos_count() -> None:
    """A folder of copies would show other groups each time."""
    search = MostAlike(torch.ones(9, 4), None, 5)
    search.step()
    assert [p[:2] for p in search.pairs] == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)]


def plain_groups(
    n: int, pairs: list[TwoPhotos], most_joined: int
) -> list[tuple[list[int], float, float]]:
    """As `grouped`, by sets: join while at most so many photos are joined to another."""
    groups = [{i} for i in range(n)]
    links: list[TwoPhotos] = []
    for pair in pairs:
        one, two = (next(g for g in groups if i in g) for i in (pair.first, pair.second))
        if one is not two:
            if n - len(groups) == most_joined:
                break
            groups.remove(two)
            one |= two
        links.append(pair)
    found = []
    for group in [g for g in groups if len(g) > 1]:
        cosines = [pair.cosine for pair in links if pair.first in group]
        found.append((sorted(group), min(cosines), max(cosines)))
    return sorted(found, key=lambda g: (-g[2], g[0]))


@given(data=st.data(), n=st.integers(2, 30))
def test_groups_are_what_the_most_alike_pairs_join(data: Any, n: int) -> None:
    """Five shots of one scene were ten pairs, each shown on its own. Beside plain sets."""
    places = [(i, j) for i in range(n) for j in range(i + 1, n)]
    some = data.draw(st.lists(st.sampled_from(places), unique=True))
    pairs = [TwoPhotos(i, j, 1 - 0.01 * k) for k, (i, j) in enumerate(some)]
    found = sorted(grouped(n, pairs), key=lambda g: (-g.largest, g.photos))
    expected = plain_groups(n, pairs, max(1, n // 10))
    assert [(g.photos, g.least, g.largest) for g in found] == expected
    assert [g.largest for g in grouped(n, pairs)] == sorted(
        (g.largest for g in found), reverse=True
    )


def groups_of(client: Any) -> Any:
    """The answer at the end of the search, with how far it was before."""
    far = [-1]
    while True:
        answer = client.get(f"/{TOKEN}/alike").json
        assert answer["compared"] > far[-1]
        far.append(answer["compared"])
        if answer["groups"] is not None:
            return answer, far[1:]
        assert answer["different"] is None


def test_a_copy_with_another_label_is_shown(client: Any, explorer: Explorer, study: Study) -> None:
    x = torch.cat([study.features[:30], study.features[:1]])
    labels = torch.cat([torch.zeros(30, dtype=torch.long), torch.ones(1, dtype=torch.long)])
    classifier = Classifier(study.encoder, study.start.texts)
    explorer.study = Study(classifier, x, [str(i) for i in range(31)], labels)
    answer, _ = groups_of(client)
    for kind in ("groups", "different"):
        first = answer[kind][0]
        assert {0, 30} <= set(first["photos"])
        assert first["largest"] == pytest.approx(1)


def test_the_search_goes_on_only_as_far_as_it_is_asked(
    client: Any, explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20,000 photos took two minutes without a sign, and nothing stopped it."""
    monkeypatch.setattr("coder_clip_photos.find.ROWS", 10)
    monkeypatch.setattr("coder_clip_photos.explorer.MOMENT", 0)
    nothing = {"compared": 0, "groups": None, "different": None, "copies": None}
    assert client.get(f"/{TOKEN}/alike").json == nothing
    ticks = iter(range(10**6))
    monkeypatch.setattr("coder_clip_photos.explorer.MOMENT", 1.5)
    monkeypatch.setattr("coder_clip_photos.explorer.time.monotonic", lambda: next(ticks))
    answer, far = groups_of(client)
    assert far == list(range(10, len(explorer.study.names) + 1, 10))
    assert client.get(f"/{TOKEN}/alike").json == answer, "a second page gets it at once"


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


def test_no_cell_of_the_table_is_a_formula(explorer: Explorer, study: Study) -> None:
    """A spreadsheet runs a cell that begins with =, whoever named the photo or the class."""
    names = ["=1+1.png", "@x", "a\x1b[2Jb"]
    texts = text_set({"=cmd": ["whiskers"], "+dog": ["a snout"]})
    classifier = Classifier(study.encoder, texts)
    labels = torch.tensor([0, 1, 0])
    explorer.study = Study(classifier, study.features[:3], names, labels)
    explorer.now = explorer.study.start
    rows = rows_of(make_app(explorer, TOKEN, {HOST}).test_client())
    assert [row["image"] for row in rows] == ["'=1+1.png", "'@x", "a\\x1b[2Jb"]
    assert [row["true_class"] for row in rows] == ["'=cmd", "'+dog", "'=cmd"]
    assert all(not cell.startswith(("=", "+", "@")) for row in rows for cell in row.values())
