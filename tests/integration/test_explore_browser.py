"""`coder-clip explore` in a real browser: by mouse and by keyboard, on a desk and on a phone, seen
and heard.
"""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import browser as browsers
from browser import WIDTHS, needs_browser, overtype, press, requests, text, wait
from coder_clip.datasets.corrections import read_corrections
from coder_clip.texts.sets import read_text_set
from working_copy import REPO, draw_marks, environment

pytest.importorskip("coder_clip_photos")
from coder_clip_photos import Classifier, web_page
from coder_clip_photos.corrected import Labels
from coder_clip_photos.explorer import Explorer
from coder_clip_photos.export import photos_csv
from coder_clip_photos.study import Study
from coder_clip_photos.web_page import server

pytestmark = needs_browser
HOSTILE = "<img src=x onerror=\"document.title='injected'\">"
FOLDERS = ["red_disc", "green_disc", "blue_disc"]  # the first, second and third class


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos") / "marks"
    draw_marks(root)
    return root


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """Names that say nothing, so that texts decide; the second class has a wrong one."""
    texts = {
        "first": ["a red round spot"],
        "second": ["a blue round spot"],
        "third": ["a blue round spot", "a blue circle"],
    }
    return Classifier(str(REPO / "data/mini"), texts, cache=False)


@pytest.fixture
def page(classifier: Classifier, photos: Path, tmp_path: Path) -> Iterator[tuple[Explorer, str]]:
    """A labelled study behind a server of its own."""
    import torch

    files = sorted(photos.glob("*/*.png"))
    features = classifier.features(files)
    labels = torch.tensor([FOLDERS.index(f.parent.name) for f in files])
    names = [f"{f.parent.name}/{f.name}" for f in files[:-1]] + [HOSTILE]
    explorer = Explorer(
        Study(classifier, features, names, labels),
        "My <b>photos</b>",
        lambda i, least: Image.open(files[i]),
        tmp_path,
    )
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


def show(browser: Any, address: str, width: int = WIDTHS["desk"]) -> None:
    browsers.show(browser, address, width)
    wait(
        browser,
        lambda: "%" in text(browser, "#answer") or "ithout labels" in text(browser, "#answer"),
    )


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_the_page_is_whole_asks_nobody_else_and_fits(
    browser: Any, page: tuple[Explorer, str], width: int
) -> None:
    explorer, address = page
    show(browser, address, width)
    assert browser.title == "My <b>photos</b>"
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.find_element("css selector", "[data-filter=uncertain]").click()
    count = len(explorer.study.names)
    wait(browser, lambda: len(browser.find_elements("css selector", "#gallery img")) == count)
    assert not browser.find_element("id", "more").is_displayed(), "there are no more"
    browser.execute_script(
        "document.querySelectorAll('#gallery img').forEach(i => i.loading = 'eager')"
    )
    wait(
        browser,
        lambda: browser.execute_script(
            "return [...document.images].every(i => i.complete && i.naturalWidth)"
        ),
    )
    widths = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1] == width
    top = browser.execute_script(
        "return document.querySelector('.card').getBoundingClientRect().top"
    )
    assert top < 300, "the photos begin below the first third of the window"
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
    browser: Any, page: tuple[Explorer, str]
) -> None:
    explorer, address = page
    show(browser, address)
    accuracy = explorer.study.start.accuracy
    assert f"{100 * accuracy['value']:.1f} % of 36 photos right" in text(browser, "#answer")
    errors = int((~explorer.study.start.correct).sum())
    assert 0 < errors < 36, "without errors the gallery would test nothing"
    assert text(browser, "[data-filter=errors]") == f"Errors ({errors})"
    cards = browser.find_elements("css selector", "#gallery button")
    assert len(cards) == errors
    assert all("but it is" in card.text for card in cards)


def test_one_photo_is_one_photo(browser: Any, page: tuple[Explorer, str], tmp_path: Path) -> None:
    """ "1 photos right" looks like a program that nobody has looked at."""
    whole = page[0].study
    assert whole.labels is not None
    one = Study(whole.start.classifier, whole.features[:1], whole.names[:1], whole.labels[:1])
    with served(Explorer(one, "one", page[0].image, tmp_path)) as address:
        show(browser, address)
        assert re.match(r"(100|0)\.0 % of 1 photo right", text(browser, "#answer"))


def test_a_photo_opens_with_its_reasons_by_keyboard(
    browser: Any, page: tuple[Explorer, str]
) -> None:
    from selenium.webdriver.common.keys import Keys

    _, address = page
    show(browser, address)
    card = browser.find_element("css selector", "#gallery button")
    browser.execute_script("arguments[0].focus()", card)
    press(browser, Keys.ENTER)
    wait(browser, lambda: "round spot" in text(browser, "#details-body"))
    reasons = [li.text for li in browser.find_elements("css selector", "#details .reasons li")]
    adds = [float(re.match(r"[+−]\d+\.\d\d", r)[0].replace("−", "-")) for r in reasons]  # type: ignore[index]
    said = text(browser, "#details-body")
    margin = float(re.search(r"([\d.]+) points ahead of", said)[1])  # type: ignore[index]
    assert sum(adds) == pytest.approx(margin, abs=0.01 * len(adds)), said
    press(browser, Keys.ESCAPE)
    wait(browser, lambda: not browser.find_element("css selector", "#details").is_displayed())
    assert browser.execute_script("return document.activeElement === arguments[0]", card), (
        "the place is lost"
    )


def test_a_text_changes_the_photos_and_is_saved_by_keyboard(
    browser: Any, page: tuple[Explorer, str]
) -> None:
    from selenium.webdriver.common.keys import Keys

    explorer, address = page
    show(browser, address)
    before = text(browser, "#answer")
    summary = browser.find_element("css selector", "details[data-name=second] summary")
    browser.execute_script("arguments[0].focus()", summary)
    press(browser, Keys.ENTER, Keys.TAB)  # into the first text
    field = browser.switch_to.active_element
    assert field.get_attribute("aria-label") == "attribute of second"
    overtype(browser, "a green round spot")

    def second() -> list[str]:
        return explorer.now.texts.classes[1].attribute

    wait(browser, lambda: second() == ["a green round spot"])
    right, was = int(explorer.now.correct.sum()), int(explorer.study.start.correct.sum())
    assert right > was
    wait(
        browser, lambda: f"{right - was} photos put right, 0 put wrong" in text(browser, "#answer")
    )
    assert f"corrected for the {len(explorer.tried)} text set" in text(browser, "#answer")
    assert "the test images of the next run judge them." in text(browser, "#answer")
    wait(
        browser,
        lambda: text(browser, "[data-filter=changed]") == f"Changed by your texts ({right - was})",
    )
    press(browser, Keys.TAB, Keys.TAB, Keys.ENTER, *HOSTILE)  # past "Remove" to "Add an attribute"
    wait(browser, lambda: second() == ["a green round spot", HOSTILE])
    overtype(browser, "a green  round spot ")
    wait(browser, lambda: second() == ["a green round spot"])
    says = "“a green round spot” is there already, so this text changes nothing."
    wait(browser, lambda: says in text(browser, "#answer"))
    press(browser, Keys.TAB, Keys.ENTER)  # its "Remove"
    wait(browser, lambda: "is there already" not in text(browser, "#answer"))
    assert second() == ["a green round spot"]
    assert browser.switch_to.active_element.text == "Add an attribute", "the place is lost"
    name = browser.find_element("css selector", "#save-name")
    browser.execute_script("arguments[0].focus()", name)
    overtype(browser, "better.json")
    press(browser, Keys.ENTER)
    wait(browser, lambda: "better.json. A run uses it with texts:" in text(browser, "#saved"))
    saved = read_text_set(explorer.folder / "better.json")
    assert saved.classes[1].attribute == ["a green round spot"]
    assert saved.provenance["attribute"]["source"] == "edited in coder-clip explore"
    browser.find_element("id", "afresh").click()
    wait(browser, lambda: text(browser, "#answer") == before)
    browser.find_element("id", "undo").click()
    wait(browser, lambda: second() == ["a green round spot"])
    assert browser.title == "My <b>photos</b>"


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_a_chosen_photo_gets_a_class_and_reasons(
    browser: Any, page: tuple[Explorer, str], photos: Path, width: int
) -> None:
    _, address = page
    show(browser, address, width)
    browser.find_element("css selector", "#file").send_keys(
        str(next((photos / "red_disc").glob("*.png")))
    )
    wait(browser, lambda: "points ahead of" in text(browser, "#dropped"))
    assert re.search(r"(first|third) \(\d\d\.png\)", text(browser, "#dropped"))
    assert "round spot" in text(browser, "#dropped")
    assert browser.get_log("browser") == []


def test_a_chosen_photo_follows_the_texts(
    browser: Any, page: tuple[Explorer, str], photos: Path
) -> None:
    """Its reasons went on naming a text that was removed."""
    from selenium.webdriver.common.keys import Keys

    _, address = page
    show(browser, address)
    browser.find_element("css selector", "#file").send_keys(
        str(next((photos / "red_disc").glob("*.png")))
    )
    wait(browser, lambda: "a red round spot" in text(browser, "#dropped"))
    summary = browser.find_element("css selector", "details[data-name=first] summary")
    browser.execute_script("arguments[0].focus()", summary)
    press(browser, Keys.ENTER, Keys.TAB)
    overtype(browser, "a scarlet round spot")
    wait(browser, lambda: "a scarlet round spot" in text(browser, "#dropped"))
    assert "a red round spot" not in text(browser, "#dropped")
    assert browser.get_log("browser") == []


def test_a_file_that_is_no_photo_is_said_so(
    browser: Any, page: tuple[Explorer, str], tmp_path: Path
) -> None:
    _, address = page
    (tmp_path / "x.jpg").write_text("no photo")
    show(browser, address)
    browser.find_element("css selector", "#file").send_keys(str(tmp_path / "x.jpg"))
    wait(browser, lambda: "not an image" in text(browser, "#dropped"))


def test_a_text_without_effect_is_said_so(browser: Any, page: tuple[Explorer, str]) -> None:
    """An edit that changed no class left the page as it was, as if it had not been read."""
    from selenium.webdriver.common.keys import Keys

    _, address = page
    show(browser, address)
    summary = browser.find_element("css selector", "details[data-name=first] summary")
    browser.execute_script("arguments[0].focus()", summary)
    press(browser, Keys.ENTER, Keys.TAB)
    overtype(browser, "a red round spot, and so")
    wait(browser, lambda: "Your texts" in text(browser, "#answer"))
    wait(browser, lambda: re.search(r"change|put right", text(browser, "#answer")))


def test_a_file_that_is_too_large_is_told_in_words(
    browser: Any, page: tuple[Explorer, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page said "the page answers 413", or that the program had ended."""
    _, address = page
    monkeypatch.setattr(web_page, "LARGEST", 2**20)
    (tmp_path / "x.jpg").write_bytes(b"x" * (2**20 + 1))
    show(browser, address)
    browser.find_element("css selector", "#file").send_keys(str(tmp_path / "x.jpg"))
    wait(
        browser,
        lambda: "x.jpg is too large: at most 1 MB can be dropped" in text(browser, "#dropped"),
    )


def test_a_label_is_corrected_by_keyboard(
    browser: Any, page: tuple[Explorer, str], tmp_path: Path
) -> None:
    """From an error to a line in the file, with what to do next; the gallery shows what the next
    run takes.
    """
    from selenium.webdriver.common.keys import Keys

    explorer, address = page
    names, classes = explorer.study.names, explorer.now.classifier.classes
    assert explorer.study.labels is not None
    folders = {n: classes[k] for n, k in zip(names, explorer.study.labels.tolist(), strict=True)}
    file = tmp_path / "marks.corrections.csv"
    explorer.labels = Labels(file, folders, classes, "marks.corrections.csv", "Add this line:")
    show(browser, address)
    card = browser.find_element("css selector", "#gallery button")
    name, truth = card.get_attribute("title"), card.text.split("but it is ")[1]
    card.click()
    wait(browser, lambda: browser.find_elements("css selector", "#details select"))
    select = browser.find_element("css selector", "#details select")
    assert select.get_attribute("value") == truth
    said = [option.text for option in select.find_elements("css selector", "option")]
    assert said == [*classes, "none of these: leave the photo out"]
    browser.execute_script("arguments[0].focus()", select)
    press(browser, "n", Keys.TAB, Keys.ENTER)
    wait(
        browser,
        lambda: "Saved in marks.corrections.csv; next run: left out" in text(browser, "#details"),
    )
    assert "Add this line: corrections: marks.corrections.csv" in text(browser, "#details")
    assert read_corrections(file) == {name: (truth, "")}
    press(browser, Keys.ESCAPE)
    wait(browser, lambda: "next run: left out" in text(browser, "#gallery button"))
    wait(browser, lambda: browser.switch_to.active_element.get_attribute("title") == name)
    browser.find_element("css selector", "#gallery button").click()
    wait(browser, lambda: browser.find_elements("css selector", "#details select"))
    assert browser.find_element("css selector", "#details select").get_attribute("value") == ""
    assert browser.get_log("browser") == []


def test_photos_are_found_by_text_and_by_likeness(browser: Any, page: tuple[Explorer, str]) -> None:
    from selenium.webdriver.common.keys import Keys

    explorer, address = page
    show(browser, address)
    browser.find_element("id", "plus").send_keys("a red round spot")
    browser.find_element("id", "minus").send_keys("a blue circle" + Keys.ENTER)
    wait(browser, lambda: "score" in text(browser, "#gallery"))
    scores = explorer.like("a red round spot", "a blue circle")
    best = max(range(len(scores)), key=lambda i: scores[i])
    first = browser.find_element("css selector", "#gallery li")
    assert (
        first.find_element("css selector", "button").get_attribute("title")
        == explorer.study.names[best]
    )
    assert f"score {scores[best]:.1f}" in first.text
    assert (
        text(browser, "[data-filter=found]") == "Like “a red round spot”, not “a blue circle” (36)"
    )
    browser.find_element("id", "plus").clear()
    browser.find_element("css selector", "#search button").click()
    wait(browser, lambda: "say what the photos should be like" in text(browser, "#searched"))
    browser.find_element("id", "pairs").click()
    wait(browser, lambda: browser.find_elements("css selector", "#gallery .group"))
    assert browser.switch_to.active_element.get_attribute("data-filter") == "alike", (
        "the place is lost"
    )
    names, answer = explorer.study.names, explorer.alike()
    assert groups(browser) == [[names[i] for i in group["photos"]] for group in answer["groups"]]
    first = answer["groups"][0]
    title = browser.find_element("css selector", "#gallery .group h3").text
    assert title.startswith(f"{len(first['photos'])} photos, cosine {first['least']:.3f}")
    browser.find_element("css selector", "[data-filter=different]").click()
    wait(
        browser,
        lambda: browser.find_element("css selector", "[data-filter=different][aria-pressed=true]"),
    )
    assert groups(browser) == [[names[i] for i in group["photos"]] for group in answer["different"]]
    for group in groups(browser):
        assert len({name.split("/")[0] for name in group}) > 1, group
    refused = [entry["message"] for entry in browser.get_log("browser")]
    assert len(refused) == 1, refused
    assert "/like - " in refused[0], "the search without a text"


def groups(browser: Any) -> list[list[str]]:
    """The names of the photos that each group of the gallery shows."""
    return [
        [card.get_attribute("title") for card in li.find_elements("css selector", ".card")]
        for li in browser.find_elements("css selector", "#gallery .group")
    ]


@pytest.mark.parametrize("labelled", [True, False])
def test_photos_are_seen_by_class(
    browser: Any, page: tuple[Explorer, str], tmp_path: Path, labelled: bool
) -> None:
    """Without labels nothing showed what a class got; a class of thousands must not push the others
    off the page.
    """
    study = page[0].study
    labels = study.labels if labelled else None
    shown = Explorer(
        Study(study.start.classifier, study.features, study.names, labels),
        "p",
        page[0].image,
        tmp_path,
    )
    of_page = sorted(shown.state()["photos"], key=lambda p: p["margin"])
    classes = ["first", "second", "third"]
    expected = {c: [p["name"] for p in of_page if p["label"] == c] for c in classes}
    got = [c for c in classes if expected[c]]
    with served(shown) as address:
        show(browser, address)
        browser.find_element("css selector", "[data-filter=classes]").click()
        assert text(browser, "[data-filter=classes]") == f"By class ({len(got)})"
        assert groups(browser) == [expected[c][:12] for c in got]
        titles = [h.text for h in browser.find_elements("css selector", "#gallery .group h3")]
        assert titles == [f"{c} ({len(expected[c])} photos)" for c in got]
        many = next(c for c in got if len(expected[c]) > 12)
        more = browser.find_element("css selector", ".group > button")
        assert more.text == f"Show more of {many} ({len(expected[many])} photos)"
        more.click()
        assert groups(browser)[got.index(many)] == expected[many]
        here = browser.switch_to.active_element.get_attribute("title")
        assert here == expected[many][12], "the keyboard's place is lost"
        none = [c for c in classes if not expected[c]]
        said = browser.find_elements("css selector", "#gallery > .none")
        assert [line.text for line in said] == ([f"No photo: {', '.join(none)}."] if none else [])
        assert browser.get_log("browser") == []


def test_the_table_is_downloaded(browser: Any, page: tuple[Explorer, str], tmp_path: Path) -> None:
    """The link of the page gives a file with every photo, and leaves the page where it is."""
    explorer, address = page
    show(browser, address)
    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    browser.find_element("id", "csv").click()
    file = tmp_path / "photos.csv"
    wait(browser, file.exists)
    assert file.read_text() == photos_csv(explorer)
    assert browser.current_url == address


def test_the_search_for_near_duplicates_shows_how_far_it_is_and_stops(
    browser: Any, page: tuple[Explorer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """20,000 photos took two minutes without a sign, and only the end of the program stopped it."""
    from selenium.webdriver.common.keys import Keys

    _, address = page
    monkeypatch.setattr("coder_clip_photos.find.ROWS", 1)
    monkeypatch.setattr("coder_clip_photos.explorer.MOMENT", 0)  # nothing is compared
    show(browser, address)
    button = browser.find_element("id", "pairs")
    browser.execute_script("arguments[0].focus()", button)
    press(browser, Keys.ENTER)
    wait(browser, lambda: text(browser, "#how-far") == "0 of 36 photos compared")
    assert text(browser, "#pairs") == "Stop comparing"
    assert browser.switch_to.active_element.get_attribute("id") == "pairs", "the place is lost"
    press(browser, Keys.ENTER)
    wait(browser, lambda: text(browser, "#pairs") == "Copies and photos most alike")
    assert not browser.find_element("id", "comparing").is_displayed()
    asked = len(requests(browser))
    assert asked > 0
    browser.execute_async_script("setTimeout(arguments[0], 500)")
    assert [url for url in requests(browser) if "alike" in url] == [], "it goes on after the stop"
    monkeypatch.setattr("coder_clip_photos.explorer.MOMENT", 0.001)
    press(browser, Keys.ENTER)
    wait(browser, lambda: browser.find_elements("css selector", "#gallery .group"))
    assert not browser.find_element("id", "comparing").is_displayed()
    assert not browser.find_elements("id", "pairs")


def test_what_a_screen_reader_needs(browser: Any, page: tuple[Explorer, str]) -> None:
    _, address = page
    show(browser, address)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = (
        "button",
        "textbox",
        "image",
        "dialog",
        "link",
        "group",
        "DisclosureTriangle",
        "region",
    )
    said = [
        (n["role"]["value"], n.get("name", {}).get("value", ""))
        for n in nodes
        if not n.get("ignored") and n["role"]["value"] in named
    ]
    assert [role for role, name in said if not name.strip()] == []
    assert {"button", "textbox", "image", "region"} <= {role for role, _ in said}
    live = browser.execute_script(
        "return [...document.querySelectorAll('[role=status]')].map(e => e.id)"
    )
    said = ["answer", "searched", "selected", "compare-error", "saved", "made", "said"]
    assert live == said, "what changes is not said"
    levels = browser.execute_script(
        "return [...document.querySelectorAll('h1,h2,h3')].filter(e => e.checkVisibility()).map(e "
        "=> +e.tagName[1])"
    )
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


@pytest.mark.rest
def test_the_command_opens_unlabelled_photos(browser: Any, photos: Path, tmp_path: Path) -> None:
    """From a folder of photos to the page, as a person starts it; Control-C ends it."""
    (photos / "broken.jpg").write_bytes(b"")
    command = [sys.executable, "-m", "coder_clip.cli", "explore", str(photos), "--no-browser"]
    command += ["--classes", "red disc,green disc,blue disc", "--model", str(REPO / "data/mini")]
    env = environment(REPO) | {"XDG_CACHE_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    env["XDG_STATE_HOME"] = str(tmp_path / "state")
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=env,
    ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", address), address
            show(browser, address)
            assert text(browser, "#title") == "36 photos"
            assert text(browser, "#answer") == "Without labels."
            assert len(browser.find_elements("css selector", "#gallery .card")) == 36
            with urllib.request.urlopen(f"{address}state") as answer:
                margins = [p["margin"] for p in json.load(answer)["photos"]]
            first = browser.find_element("css selector", "#gallery li").text
            assert f"{min(margins):.2f} points ahead of" in first, "the least certain come first"
        finally:
            process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert "left out: " in said
    assert "broken.jpg" in said
    assert process.returncode == 0, said
    assert "Traceback" not in said
