"""The page of `coder-clip explore`, without a browser: who may open it, what it answers, what it
saves.
"""

from __future__ import annotations

import io
import json
import stat
import threading
import urllib.error
import urllib.request
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from coder_clip.errors import UserError
from coder_clip.evaluation.estimates import compare, estimate
from coder_clip.evaluation.intervals import clear
from coder_clip.rerank import OneToOne
from coder_clip_photos import Classifier, openings, web_page
from coder_clip_photos.decisions import PairText, StageTwo, by_rerank
from coder_clip_photos.encoding import IN_FLIGHT, pixels_to_decode
from coder_clip_photos.explorer import Explorer
from coder_clip_photos.study import Study
from coder_clip_photos.texts import read_text_set
from coder_clip_photos.web_page import make_app, server
from photo_fixtures import HOST, TOKEN, edited, send
from reference import grid_error

ADDRESSES = (
    "",
    "page.js",
    "page.css",
    "state",
    "why/0",
    "photos.csv",
    "labels.csv",
    "next",
    "like/0",
    "photo/0",
    "thumbnail/0",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_only_who_has_the_token_and_asks_this_machine_gets_an_answer(
    client: Any, address: str
) -> None:
    """Another page in the browser could read photos and write files (DNS rebinding)."""
    assert client.get(f"/{TOKEN}/{address}").status_code == 200
    assert client.get(f"/{TOKEN[:-1]}x/{address}").status_code == 404
    assert client.get(f"/{address}").status_code == 404
    assert (
        client.get(f"/{TOKEN}/{address}", headers={"Host": "evil.example:1234"}).status_code == 404
    )


def test_writing_needs_the_token_too(client: Any, explorer: Explorer) -> None:
    for address in ("edit/texts", "edit/label", "labels", "make-run", "save", "like"):
        assert client.post(f"/wrong/{address}", json={"name": "x"}).status_code == 404
    assert list(explorer.folder.iterdir()) == []


def test_the_page_may_ask_nobody_else(client: Any) -> None:
    policy = client.get(f"/{TOKEN}/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    for name in ("", *(path.name for path in web_page.PAGE_FILES.iterdir())):
        assert "http" not in client.get(f"/{TOKEN}/{name}").text


@pytest.mark.parametrize(
    "name", ["photo/60000", "photo/-1", "photo/../../etc/passwd", "why/x", "page.py"]
)
def test_there_is_nothing_but_the_photos(client: Any, name: str) -> None:
    assert client.get(f"/{TOKEN}/{name}").status_code == 404


def test_the_server_listens_on_this_machine_only(explorer: Explorer) -> None:
    made, address = server(explorer)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    try:
        with urllib.request.urlopen(f"{address}state") as answer:
            assert json.load(answer)["title"] == "my photos"
        assert made.server_address[0] == "127.0.0.1"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address.replace(address.split("/")[3], "x" * 32))
        with pytest.raises(UserError, match=f"port {made.port} cannot be used"):
            server(explorer, made.port)
        other, second = server(explorer)
        other.server_close()
        assert second.split("/")[3] != address.split("/")[3], "each start has its own token"
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


def test_a_kept_address_that_was_not_written_whole_is_made_again(
    explorer: Explorer, tmp_path: Path
) -> None:
    """After a full disk the page answered 404 at each start."""
    made, address = server(explorer)
    made.server_close()
    file = tmp_path / f".state/coder-clip/page-{made.port}.token"
    for content in ("", "x\n", address.split("/")[3]):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        again, address = server(explorer, made.port)
        again.server_close()
        token = address.split("/")[3]
        assert len(token) == 32
        assert file.read_text() == token
        assert (token == content) == (len(content) == 32)


def test_the_address_is_on_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody on the machine could read the token in the list of processes, and open the page."""
    opened: list[str] = []
    monkeypatch.setattr(web_page.webbrowser, "open", opened.append)
    address = "http://127.0.0.1:1234/secret-token/"
    with web_page.in_browser(address):
        (url,) = opened
        assert "secret-token" not in url
        file = Path(urllib.request.url2pathname(url.removeprefix("file://")))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert f'content="0; url={address}"' in file.read_text()
    assert not file.exists()


def test_large_photos_wait_for_each_other_and_thumbnails_are_decoded_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gallery of large photos took gigabytes, and one lock for all made small ones slow."""
    large, small = tmp_path / "large.png", tmp_path / "small.jpg"
    Image.new("RGB", (700, 600)).save(large)
    Image.new("RGB", (4000, 3000)).save(small)
    assert pixels_to_decode(tmp_path / "gone.png", 240) == IN_FLIGHT
    asked: list[int] = []

    def noted(pixels: int) -> AbstractContextManager[None]:
        asked.append(pixels)
        return nullcontext()

    monkeypatch.setattr(openings, "_DECODING", noted)
    shown = [openings.small_picture(path, 240) for path in (large, small)]
    assert {max(image.size) for image in shown} == {480}
    assert asked == [700 * 600, 500 * 375], "a JPEG at an eighth of its size"


def test_photos_are_shown_small(client: Any) -> None:
    sizes = [
        Image.open(io.BytesIO(client.get(f"/{TOKEN}/{size}/3").data)).size
        for size in ("thumbnail", "photo")
    ]
    assert sizes == [(240, 144), (500, 300)]


# ---- texts


def test_an_edit_says_what_it_changes(client: Any, study: Study) -> None:
    before = client.get(f"/{TOKEN}/state").json
    assert before["changed"] == 0
    assert before["accuracy"] == study.start.accuracy
    after = send(client, "texts", classes=edited(before, cat=["a beak", "two wings"])).json
    start = study.start.texts
    cat = start.classes[0].model_copy(update={"attribute": ["a beak", "two wings"]})
    again = study.standing(start.model_copy(update={"classes": [cat, *start.classes[1:]]}))
    assert after["accuracy"] == again.accuracy
    assert after["difference"]["fixed"] == int((again.correct & ~study.start.correct).sum())
    assert after["changed"] == int((again.prediction != study.start.prediction).sum()) > 0
    assert sum(p["changed"] for p in after["photos"]) == after["changed"]
    assert [p["right"] for p in after["photos"]] == again.correct.tolist()
    back = send(client, "texts", classes=before["texts"]).json
    assert back == before | {"tried": 1, "version": 2}


def test_an_edit_scores_only_the_edited_classes_and_gives_the_same(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a thousand classes again would take seconds per key stroke; another number would be
    wrong.
    """
    start = study.start.texts
    egg = start.classes[2].model_copy(update={"attribute": ["a shell"]})
    texts = start.model_copy(update={"classes": [*start.classes[:2], egg]})
    whole = Classifier(study.encoder, texts, templates=study.templates)
    expected = whole.decide(study.features)
    scored = []
    decide = Classifier.decide
    monkeypatch.setattr(Classifier, "decide", lambda c, x: scored.append(c.classes) or decide(c, x))
    found = study.standing(texts)
    assert scored == [["cat", "dog", "egg"]], "two more, because a classifier needs two classes"
    assert torch.equal(found.decisions.scores, expected.scores)
    assert torch.equal(found.decisions.order, expected.order)
    assert study.standing(start) is study.start
    assert len(scored) == 1


def test_an_edit_is_judged_by_how_many_were_tried(client: Any, study: Study) -> None:
    """Who tries forty text sets finds one that looks clearly better by chance. The first one is not
    an edit.
    """
    before = client.get(f"/{TOKEN}/state").json
    assert (before["tried"], before["verdict"]) == (0, "")
    tries = [["a beak"], ["a beak", "two wings"], ["a  beak"], [" "], ["whiskers"], ["a beak"]]
    found = [send(client, "texts", classes=edited(before, cat=texts)).json for texts in tries]
    said = "spaces make no other text set"
    assert [state["tried"] for state in found] == [1, 2, 2, 3, 4, 4], said
    first, last = (found[i]["difference"] for i in (0, -1))
    assert first["value"] == last["value"]
    right = [p["right"] for p in found[-1]["photos"]]
    assert last == compare(study.start.correct, right, tests=4 * 5)
    assert last["low"] < first["low"]
    assert found[-1]["verdict"] == clear(last)


def test_gallery_and_photo_give_one_margin(client: Any, study: Study) -> None:
    """A photo "0.3 points ahead of dog" in the gallery and "1.2 points ahead of egg" when opened is
    not believed.

    A wrong photo is explained against its true class: why not that one is what a text has to
    change."""
    state = client.get(f"/{TOKEN}/state").json
    seconds = study.start.decisions.order[:, 1].tolist()
    wrong = [p for p in state["photos"] if not p["right"]]
    assert any(state["texts"][seconds[p["id"]]]["name"] != p["truth"] for p in wrong)
    for cat in (["whiskers"], ["a beak", "two wings"]):
        state = send(client, "texts", classes=edited(state, cat=cat)).json
        texts = {text for c in state["texts"] for text in (c["name"], *c["attribute"])}
        for p in state["photos"][::5]:
            photo = client.get(f"/{TOKEN}/why/{p['id']}").json
            of_card = ("label", "other", "margin")
            assert [photo[key] for key in of_card] == [p[key] for key in of_card]
            assert p["other"] == p["truth"] or p["right"]
            reasons = (*photo["for"], *photo["against"])
            assert {r["label"] for r in reasons} <= {p["label"], p["other"]}
            assert {r["text"] for r in reasons} <= texts
            adds = sum(r["adds"] for r in reasons)
            assert adds == pytest.approx(p["margin"], abs=100 * grid_error(16))  # two class means


def test_stage_two_says_which_one_to_one_texts_decide(study: Study, explorer: Explorer) -> None:
    """Where the rerank would decide, its texts stand beside those of stage one; elsewhere nothing
    does.
    """
    said = (PairText(0, 1, "slit pupils", "slit pupils"), PairText(1, 0, "a collar", "a collar"))
    features = study.encoder.texts([t.sentence for t in said])
    pairs = OneToOne({(0, 1): features[:1], (1, 0): features[1:]}, 3)
    explorer.stage_two = StageTwo(pairs=pairs, pair_texts=said, threshold=0.6, top_k=2)
    start = study.start
    decided = by_rerank(study.features, start.decisions.scores, pairs, 0.6, 2)
    assert 0 < int(decided.reranked.sum()) < len(study.names)
    for i, reranked in enumerate(decided.reranked.tolist()):
        two = explorer.why(i)["reranked"]
        assert (two is not None) == reranked
        if two:
            assert two["label"] == start.classifier.classes[int(decided.order[i, 0])]
            assert {r["text"] for r in (*two["for"], *two["against"])} <= {t.text for t in said}


@pytest.mark.parametrize(
    "given",
    [
        None,
        [{"name": "cat"}],
        [{"name": "dog"}, {"name": "cat"}, {"name": "egg"}],
        [{"name": "cat", "attribute": "whiskers"}, {"name": "dog"}, {"name": "egg"}],
    ],
)
def test_what_is_no_text_set_changes_nothing(client: Any, given: Any) -> None:
    before = client.get(f"/{TOKEN}/state").json
    answer = send(client, "texts", classes=given)
    assert answer.status_code == 400
    assert answer.json["error"]
    assert client.get(f"/{TOKEN}/state").json == before


def test_a_saved_text_set_says_where_it_is_from(
    client: Any, explorer: Explorer, study: Study
) -> None:
    state = client.get(f"/{TOKEN}/state").json
    file = explorer.folder / "mine.json"
    for texts in (["a collar"], ["a long  snout", " a wet nose ", ""]):  # its own file again
        send(client, "texts", classes=edited(state, dog=texts))
        answer = client.post(f"/{TOKEN}/save", json={"name": "mine.json"})
        assert answer.json == {"path": str(file)}
    found = read_text_set(file)
    expected = [["whiskers", "soft fur"], ["a long snout", "a wet nose"], []]
    assert [c.attribute for c in found.classes] == expected
    note = found.provenance["attribute"]
    assert note["chosen_on"]["tried"] == 2
    assert note["source"] == "edited in coder-clip explore"
    assert note["chosen_on"]["images"] == len(study.names)
    assert note["chosen_on"]["accuracy_after"] == pytest.approx(explorer.now.accuracy["value"])
    assert "synonym" not in found.provenance, "only what was edited"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x", "give a file name that ends in .json"),
        ("../x.json", "give a file name that ends in .json"),
        (".hidden.json", "give a file name that ends in .json"),
        ("there.json", "there.json is there already"),
        ("ü" * 60 + ".json", "too long for a file name (at most 100 bytes)"),
        (None, "'name' is missing, or not a text"),
    ],
)
def test_saving_touches_no_other_file(
    client: Any, explorer: Explorer, name: str | None, said: str
) -> None:
    (explorer.folder / "there.json").write_text("mine")
    answer = client.post(f"/{TOKEN}/save", json={"name": name})
    assert answer.status_code == 400
    assert said in answer.json["error"]
    assert [p.read_text() for p in explorer.folder.iterdir()] == ["mine"]


def page_of(study: Study, folder: Path, **given: Any) -> Any:
    """The page of the photos of a study, with other labels or groups."""
    c = Classifier(study.encoder, study.start.texts)
    made = Study(c, study.features, study.names, **{"labels": study.labels, **given})
    explorer = Explorer(made, "p", lambda i, least: Image.new("RGB", (9, 9)), folder)
    return make_app(explorer, TOKEN, {HOST}).test_client()


def test_without_labels_there_is_no_accuracy(study: Study, tmp_path: Path) -> None:
    client = page_of(study, tmp_path, labels=None)
    state = client.get(f"/{TOKEN}/state").json
    assert state["accuracy"] is state["difference"] is None
    assert {p["right"] for p in state["photos"]} == {p["truth"] for p in state["photos"]} == {None}
    after = send(client, "texts", classes=edited(state, cat=["a beak", "two wings"])).json
    assert after["changed"] > 0
    assert client.post(f"/{TOKEN}/save", json={"name": "mine.json"}).status_code == 200


def test_a_difference_in_bursts_is_over_bursts(study: Study, tmp_path: Path) -> None:
    """An edit would be called clearly better because the one photo that it puts right was taken
    fifteen times.
    """
    found = []
    for groups in (None, torch.arange(len(study.names)) // 15):
        client = page_of(study, tmp_path, groups=groups)
        state = client.get(f"/{TOKEN}/state").json
        assert state["accuracy"] == estimate(study.start.correct, groups=groups)
        body = edited(state, cat=["a beak", "two wings"])
        found.append(send(client, "texts", classes=body).json["difference"])
    assert found[0]["value"] == found[1]["value"] != 0
    assert found[0]["low"] != found[1]["low"]
