"""`coder-clip explore` in a real browser: by mouse and by keyboard, seen and heard."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import browser as browsers
from browser import axe_problems, needs_browser, overtype, press, requests, text, wait
from coder_clip.datasets.corrections import read_corrections
from coder_clip.texts.sets import read_text_set
from working_copy import REPO, draw_marks

pytest.importorskip("coder_clip_photos")
import torch
from selenium.webdriver.common.keys import Keys

from coder_clip_photos import Classifier
from coder_clip_photos.corrected import Labels
from coder_clip_photos.explorer import Explorer
from coder_clip_photos.export import photos_csv
from coder_clip_photos.study import Study
from coder_clip_photos.web_page import server

pytestmark = needs_browser
HOSTILE = "<img src=x onerror=\"document.title='injected'\">"
FOLDERS = ["red_disc", "green_disc", "blue_disc"]  # the first, second and third class
Page = tuple[Explorer, str]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos") / "marks"
    draw_marks(root)
    return root


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """Names that say nothing, so that texts decide; the second class has a wrong one."""
    texts = {
        "first": ["a red round spot"],
        "second": ["a blue round spot"],
        "third": ["a blue round spot", "a blue circle"],
    }
    return Classifier(str(REPO / "data/mini"), texts, cache=False)


@pytest.fixture
def page(classifier: Classifier, photos: Path, tmp_path: Path) -> Iterator[Page]:
    """A labelled study behind a server of its own."""
    files = sorted(photos.glob("*/*.png"))
    features = classifier.features(files)
    labels = torch.tensor([FOLDERS.index(f.parent.name) for f in files])
    names = [f"{f.parent.name}/{f.name}" for f in files[:-1]] + [HOSTILE]
    study = Study(classifier, features, names, labels)
    explorer = Explorer(study, "My <b>photos</b>", lambda i, _: Image.open(files[i]), tmp_path)
    with served(explorer) as address:
        yield explorer, address


@contextmanager
def served(explorer: Explorer) -> Iterator[str]:
    made, address = server(explorer)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield address
    made.shutdown()
    thread.join()
    made.server_close()


def show(browser: Any, address: str) -> None:
    browsers.show(browser, address)
    wait(browser, lambda: re.search("%|ithout labels", text(browser, "#answer")))


def one(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def every(browser: Any, selector: str) -> list[Any]:
    found: list[Any] = browser.find_elements("css selector", selector)
    return found


def focus(browser: Any, selector: str) -> Any:
    """Put the keyboard on an element."""
    element = one(browser, selector)
    browser.execute_script("arguments[0].focus()", element)
    return element


def here(browser: Any) -> Any:
    return browser.switch_to.active_element


def test_the_page_is_whole_asks_nobody_else_and_fits(browser: Any, page: Page) -> None:
    explorer, address = page
    show(browser, address)
    assert browser.title == "My <b>photos</b>"
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    one(browser, "[data-filter=uncertain]").click()
    count = len(explorer.study.names)
    wait(browser, lambda: len(every(browser, "#gallery img")) == count)
    assert not one(browser, "#more").is_displayed(), "there are no more"
    eager = "document.querySelectorAll('#gallery img').forEach(i => i.loading = 'eager')"
    browser.execute_script(eager)
    loaded = "return [...document.images].every(i => i.complete && i.naturalWidth)"
    wait(browser, lambda: browser.execute_script(loaded))
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    top = "return document.querySelector('.card').getBoundingClientRect().top"
    assert browser.execute_script(top) < 300, "the photos begin below the first third"
    top, height, background = browser.execute_script(
        "scrollTo(0, document.body.scrollHeight); const a = document.getElementById('answer');"
        "const box = a.getBoundingClientRect();"
        "return [box.top, box.height, getComputedStyle(a).backgroundColor]"
    )
    assert top == 0, "the answer stays in view while texts are edited"
    assert height < 150, "and leaves room for them"
    assert background == "rgb(255, 255, 255)", "nothing is seen through it"
    assert browser.title == "My <b>photos</b>", "a file name ran as script"
    assert browser.get_log("browser") == []
    asked = requests(browser)
    assert len(asked) > count
    assert [url for url in asked if not url.startswith((address, "data:"))] == []


def test_the_first_line_says_how_many_are_right_and_errors_come_first(
    browser: Any, page: Page
) -> None:
    explorer, address = page
    show(browser, address)
    accuracy = explorer.study.start.accuracy
    assert f"{100 * accuracy['value']:.1f} % of 36 photos right" in text(browser, "#answer")
    errors = int((~explorer.study.start.correct).sum())
    assert 0 < errors < 36, "without errors the gallery would test nothing"
    assert text(browser, "[data-filter=errors]") == f"Errors ({errors})"
    cards = every(browser, "#gallery button")
    assert len(cards) == errors
    assert all("but it is" in card.text for card in cards)


def test_a_photo_opens_with_its_reasons_by_keyboard(browser: Any, page: Page) -> None:
    _, address = page
    show(browser, address)
    card = focus(browser, "#gallery button")
    press(browser, Keys.ENTER)
    wait(browser, lambda: "round spot" in text(browser, "#details-body"))
    lines = [li.text.replace("−", "-") for li in every(browser, "#details .reasons li")]
    adds = [float(line.split()[0]) for line in lines]
    said = text(browser, "#details-body")
    margin = float(re.search(r"([\d.]+) points ahead of", said)[1])  # type: ignore[index]
    assert sum(adds) == pytest.approx(margin, abs=0.01 * len(adds)), said
    press(browser, Keys.ESCAPE)
    wait(browser, lambda: not one(browser, "#details").is_displayed())
    assert here(browser) == card, "the place is lost"


def test_a_text_changes_the_photos_and_is_saved_by_keyboard(browser: Any, page: Page) -> None:
    explorer, address = page
    show(browser, address)
    before = text(browser, "#answer")
    focus(browser, "details[data-name=second] summary")
    press(browser, Keys.ENTER, Keys.TAB)  # into the first text
    assert here(browser).get_attribute("aria-label") == "attribute of second"

    def second() -> list[str]:
        return explorer.now.texts.classes[1].attribute

    overtype(browser, "a blue round spot!")
    wait(browser, lambda: "Your texts change" in text(browser, "#answer"))  # though no class
    overtype(browser, "a green round spot")
    wait(browser, lambda: second() == ["a green round spot"])
    right, was = int(explorer.now.correct.sum()), int(explorer.study.start.correct.sum())
    assert right > was
    said = f"{right - was} photos put right, 0 put wrong"
    wait(browser, lambda: said in text(browser, "#answer"))
    n_tried = len(explorer.draft.work.tried)
    assert f"corrected for the {n_tried} text sets" in text(browser, "#answer")
    said = f"Changed by your texts ({right - was})"
    wait(browser, lambda: text(browser, "[data-filter=changed]") == said)
    press(browser, Keys.TAB, Keys.TAB, Keys.ENTER, *HOSTILE)  # past "Remove" to "Add an attribute"
    wait(browser, lambda: second() == ["a green round spot", HOSTILE])
    overtype(browser, "a green  round spot ")
    says = "“a green round spot” is there already, so this text changes nothing."
    wait(browser, lambda: says in text(browser, "#answer"))
    press(browser, Keys.TAB, Keys.ENTER)  # its "Remove"
    wait(browser, lambda: "is there already" not in text(browser, "#answer"))
    assert second() == ["a green round spot"]
    assert here(browser).text == "Add an attribute", "the place is lost"
    focus(browser, "#save-name")
    overtype(browser, "better.json")
    press(browser, Keys.ENTER)
    wait(browser, lambda: "better.json. A run uses it with texts:" in text(browser, "#saved"))
    saved = read_text_set(explorer.folder / "better.json")
    assert saved.classes[1].attribute == ["a green round spot"]
    one(browser, "#afresh").click()
    browser.switch_to.alert.accept()
    wait(browser, lambda: text(browser, "#answer") == before)
    assert browser.title == "My <b>photos</b>"


def test_a_label_is_corrected_by_keyboard(browser: Any, page: Page, tmp_path: Path) -> None:
    """From an error to a line in the file, with what to do next; the gallery shows what the next
    run takes.
    """
    explorer, address = page
    names, classes = explorer.study.names, explorer.now.classifier.classes
    assert explorer.study.labels is not None
    folders = {n: classes[k] for n, k in zip(names, explorer.study.labels.tolist(), strict=True)}
    file = tmp_path / "marks.corrections.csv"
    explorer.labels = Labels(file, folders, classes, file.name, "Add this line:")
    show(browser, address)
    card = one(browser, "#gallery button")
    name, truth = card.get_attribute("title"), card.text.split("but it is ")[1]
    card.click()
    wait(browser, lambda: every(browser, "#details select"))
    assert focus(browser, "#details select").get_attribute("value") == truth
    said = [option.text for option in every(browser, "#details option")]
    assert said == [*classes, "none of these: leave the photo out"]
    press(browser, "n", Keys.TAB, Keys.ENTER)
    said = "Saved in marks.corrections.csv; next run: left out"
    wait(browser, lambda: said in text(browser, "#details"))
    assert "Add this line: corrections: marks.corrections.csv" in text(browser, "#details")
    assert read_corrections(file) == {name: (truth, "")}
    press(browser, Keys.ESCAPE)
    wait(browser, lambda: "next run: left out" in text(browser, "#gallery button"))
    wait(browser, lambda: here(browser).get_attribute("title") == name)
    one(browser, "#gallery button").click()
    wait(browser, lambda: every(browser, "#details select"))
    assert one(browser, "#details select").get_attribute("value") == ""
    assert browser.get_log("browser") == []


def test_photos_are_found_by_text(browser: Any, page: Page) -> None:
    explorer, address = page
    show(browser, address)
    one(browser, "#plus").send_keys("a red round spot")
    one(browser, "#minus").send_keys("a blue circle" + Keys.ENTER)
    wait(browser, lambda: "score" in text(browser, "#gallery"))
    scores = explorer.like("a red round spot", "a blue circle")
    first = one(browser, "#gallery button").get_attribute("title")
    assert first == explorer.study.names[scores.index(max(scores))]
    assert f"score {max(scores):.1f}" in text(browser, "#gallery li")
    words = "Like “a red round spot”, not “a blue circle” (36)"
    assert text(browser, "[data-filter=found]") == words
    one(browser, "#plus").clear()
    one(browser, "#search button").click()
    wait(browser, lambda: "say what the photos should be like" in text(browser, "#searched"))


def test_photos_without_labels_are_seen_by_class(browser: Any, page: Page, tmp_path: Path) -> None:
    """Nothing showed what a class got; a class of thousands must not push the others off the
    page.
    """
    study = page[0].study
    unlabelled = Study(study.start.classifier, study.features, study.names, None)
    shown = Explorer(unlabelled, "p", page[0].image, tmp_path)
    expected: dict[str, list[str]] = {"first": [], "second": [], "third": []}
    for p in sorted(shown.state()["photos"], key=lambda p: p["margin"]):
        expected[p["label"]].append(p["name"])
    got = {name: members for name, members in expected.items() if members}

    def groups() -> list[list[str]]:
        of_group = [
            group.find_elements("css selector", ".card")
            for group in every(browser, "#gallery .group")
        ]
        return [[card.get_attribute("title") for card in cards] for cards in of_group]

    with served(shown) as address:
        show(browser, address)
        one(browser, "[data-filter=classes]").click()
        assert text(browser, "[data-filter=classes]") == f"By class ({len(got)})"
        assert groups() == [members[:12] for members in got.values()]
        titles = [h.text for h in every(browser, "#gallery .group h3")]
        assert titles == [f"{c} ({len(members)} photos)" for c, members in got.items()]
        many = next(c for c in got if len(got[c]) > 12)
        more = one(browser, ".group > button")
        assert more.text == f"Show more of {many} ({len(got[many])} photos)"
        more.click()
        assert groups()[[*got].index(many)] == got[many]
        assert here(browser).get_attribute("title") == got[many][12], "the place is lost"
        none = [f"No photo: {', '.join(expected.keys() - got)}."] if len(got) < 3 else []
        assert [line.text for line in every(browser, "#gallery > .none")] == none
        assert browser.get_log("browser") == []


def test_the_table_is_downloaded(browser: Any, page: Page, tmp_path: Path) -> None:
    """The link of the page gives a file with every photo, and leaves the page where it is."""
    explorer, address = page
    show(browser, address)
    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    one(browser, "#csv").click()
    file = tmp_path / "photos.csv"
    wait(browser, file.exists)
    assert file.read_text() == photos_csv(explorer)
    assert browser.current_url == address


def test_what_a_screen_reader_needs(browser: Any, page: Page) -> None:
    _, address = page
    show(browser, address)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert axe_problems(browser) == []
    live = [element.get_attribute("id") for element in every(browser, "[role=status]")]
    expected = ["answer", "searched", "selected", "saved", "made", "said"]
    assert live == expected, "what changes is not said"
