"""Unlabelled photos get labels on the page of `coder-clip explore`, by keyboard, in a real browser,
and become a run.
"""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

import browser as browsers
from browser import axe_problems, needs_browser, press, text, wait
from working_copy import REPO, environment, working_copy

pytest.importorskip("coder_clip_photos")
from selenium.webdriver.common.keys import Keys

pytestmark = [needs_browser, pytest.mark.rest]
COLOURS = {
    "red": "#d02020",
    "orange": "#e08020",
    "yellow": "#e0d020",
    "green": "#208020",
    "cyan": "#20c0c0",
    "blue": "#2020c0",
    "purple": "#802080",
    "pink": "#f080b0",
    "brown": "#603010",
    "black": "#101010",
}
ALL_LABELLED = "Every photo has a label."


def draw(folder: Path, each: int) -> dict[str, str]:
    """Photos without labels in one folder, so many of each of the ten classes.

    Returns name -> class, which only the test knows. No two are near twins.
    """
    rng = random.Random(4)
    folder.mkdir()
    names = rng.sample(range(10_000), each * len(COLOURS))
    truth = {}
    for i, name in enumerate(names):
        colour = list(COLOURS)[i % len(COLOURS)]
        picture = Image.new("RGB", (96, 96), tuple(rng.randrange(150, 256) for _ in range(3)))
        pen = ImageDraw.Draw(picture)
        for _ in range(6):  # what makes every photo another one
            x, y = rng.randrange(96), rng.randrange(96)
            pen.rectangle((x, y, x + 30, y + 8), fill=tuple(rng.randrange(256) for _ in range(3)))
        x, y, size = rng.randrange(10, 50), rng.randrange(10, 50), rng.randrange(28, 40)
        pen.ellipse((x, y, x + size, y + size), fill=COLOURS[colour])
        picture.save(folder / f"{name:04d}.png")
        truth[f"{name:04d}.png"] = colour
    return truth


@contextmanager
def explore(
    root: Path,
    port: int = 0,
    classes: str = ",".join(COLOURS),
    end: signal.Signals = signal.SIGINT,
) -> Iterator[str]:
    """The page of the photos below ``root``, as a person starts it."""
    command = [sys.executable, "-m", "coder_clip", "explore", "photos", "--no-browser"]
    command += ["--classes", classes, "--model", str(REPO / "data/mini"), "--port", str(port)]
    env = environment(root) | {"PYTHONUNBUFFERED": "1", "XDG_STATE_HOME": str(root / ".state")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root, env=env
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        address = process.stdout.readline().strip()
        assert address, process.stderr.read()
        try:
            yield address
        finally:
            process.send_signal(end)
            _, said = process.communicate(timeout=60)
            assert "Traceback" not in said, said


def show(browser: Any, address: str) -> None:
    browsers.show(browser, address, 1440)
    wait(browser, lambda: "abel" in text(browser, "#answer"))


def here(browser: Any) -> str:
    """What has the keyboard's focus: its photo's name, or its id."""
    focus = "const a = document.activeElement; return a.matches('.card') ? a.title : a.id"
    return str(browser.execute_script(focus))


def done(browser: Any) -> bool:
    return ALL_LABELLED in text(browser, "#said")


def tab_to(browser: Any, name: str, key: str) -> None:
    """Press Tab until the keyboard is at an element."""
    for _ in range(80):
        if here(browser) == name:
            return
        press(browser, key)
    raise AssertionError(f"{name} is not reached by {key!r}; at {here(browser)}")


def label_all(browser: Any, truth: dict[str, str]) -> None:
    """As a person does: look at the photo that the keyboard is at, press the key of its class."""
    numbers = {name: str(i + 1) for i, name in enumerate(COLOURS)}
    for _ in range(2 * len(truth)):
        at = here(browser)
        if at in ("more", "next"):
            press(browser, Keys.ENTER)  # "Show more", or "Which ten next?"
            wait(browser, lambda: here(browser).endswith(".png") or done(browser))
            if done(browser):
                return
            continue
        colour = truth[Path(at).name]
        if numbers[colour] == "10":  # the tenth class has no key: its name is typed
            press(browser, *colour[:3], Keys.ENTER)
        else:
            press(browser, numbers[colour])
        wait(browser, lambda at=at: here(browser) != at)
    raise AssertionError("photos are left")


def test_unlabelled_photos_become_a_run_by_keyboard(browser: Any, tmp_path: Path) -> None:
    """Owners of photos have thousands without labels, and could only look at them."""
    work = working_copy(tmp_path / "clone", {"title": "not used"})
    (work.folder / "photos").rename(work.folder / "marks")
    truth = draw(work.folder / "photos", each=10)
    with explore(work.folder) as address:
        show(browser, address)
        top = "return document.querySelector('.card').getBoundingClientRect().top / innerHeight"
        assert browser.execute_script(top) < 1 / 3, "the page does not open with photos"
        assert axe_problems(browser) == []
        first = browser.find_element("css selector", "#gallery .card").get_attribute("title")
        tab_to(browser, first, Keys.TAB)
        label_all(browser, truth)
        wait(browser, lambda: "100 of 100 labelled by you." in text(browser, "#answer"))
        assert axe_problems(browser) == []
        tab_to(browser, "run-name", Keys.TAB)
        press(browser, Keys.END, "-1", Keys.ENTER)
        wait(browser, lambda: "100 photos in " in text(browser, "#made"))
        command = text(browser, "#made code")
        assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
    folders = work.folder / "my-photos-1"
    assert {p.name: p.parent.name for p in folders.glob("*/*.png")} == truth
    assert command == "make reproduce CONFIG=config/my-photos-1.yaml"
    replace(work, config="config/my-photos-1.yaml").make()
    report = work.folder / "results/my-photos-1/report.html"
    assert "my-photos-1" in report.read_text(encoding="utf-8")


SLOW = """
const real = window.fetch;
window.fetch = async (address, ...more) => {
  if (String(address).startsWith("edit/")) await new Promise((go) => setTimeout(go, 300));
  return real(address, ...more);
};
"""


def test_keys_that_are_quicker_than_the_server_go_on_to_photos_without_a_label(
    browser: Any, tmp_path: Path
) -> None:
    """On a busy machine "Which ten next?" behind the last label proposed that photo again, or left
    the keyboard nowhere; and keys went back to photos whose label was on its way.
    """
    draw(tmp_path / "photos", each=2)
    with explore(tmp_path) as address:
        show(browser, address)
        browser.execute_script(SLOW + "document.querySelector('#gallery .card').focus()")
        seen = []
        while here(browser) != "next":
            seen.append(here(browser))
            press(browser, "1")
        assert len(seen) == len(set(seen)) == 20
        press(browser, Keys.ENTER)
        wait(browser, lambda: done(browser))
        assert here(browser) == "next"
        assert "20 of 20 labelled by you" in text(browser, "#answer")


def test_the_last_labels_are_undone(browser: Any, tmp_path: Path) -> None:
    """Who labels by key presses a wrong one now and then."""
    draw(tmp_path / "photos", each=1)
    with explore(tmp_path) as address:
        show(browser, address)
        undo = browser.find_element("id", "undo")
        assert not undo.is_enabled()
        browser.execute_script("document.querySelector('#gallery .card').focus()")
        press(browser, "1", "2")
        browser.switch_to.active_element.send_keys(Keys.CONTROL + "z")  # at once
        wait(browser, lambda: "1 of 10 labelled" in text(browser, "#answer"))
        assert "red (1)" in text(browser, "#chips")
        browser.switch_to.active_element.send_keys(Keys.CONTROL + "a")
        press(browser, "3")
        wait(browser, lambda: "yellow (10)" in text(browser, "#chips"))
        undo.click()
        wait(browser, lambda: "1 of 10 labelled" in text(browser, "#answer"))
        assert "red (1)" in text(browser, "#chips")
        undo.click()
        wait(browser, lambda: "1 of 10 labelled" not in text(browser, "#answer"))
        assert not undo.is_enabled()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_nothing_typed_is_lost_and_no_tab_overwrites_another(browser: Any, tmp_path: Path) -> None:
    """A killed program, a page that was open meanwhile, a Save right behind the last letter, and a
    second tab.
    """
    draw(tmp_path / "photos", each=3)
    port = free_port()
    with explore(tmp_path, port, "red,green", signal.SIGKILL) as address:
        show(browser, address)
        browser.execute_script("document.querySelector('#gallery .card').focus()")
        press(browser, "1", "2", Keys.SPACE, Keys.ARROW_RIGHT, Keys.SPACE, *"sky", Keys.ENTER)
        wait(browser, lambda: "4 of 30 labelled" in text(browser, "#answer"))
        wait(browser, lambda: "sky (2)" in text(browser, "#chips"))
        browser.find_element("css selector", "details[data-name=red] summary").click()
        add = "//details[@data-name='red']//button[text()='Add an attribute']"
        browser.find_element("xpath", add).click()
        press(browser, *"a ruby")
        # at once, while the page still waits for the next letter
        browser.execute_script("document.querySelector('#save').requestSubmit()")
        wait(browser, lambda: "my-texts.json" in text(browser, "#saved"))
        assert '"a ruby"' in (tmp_path / "my-texts.json").read_text()
    with explore(tmp_path, port, "red,green") as again:
        assert again == address, "an open page would be lost"
        browser.find_element("id", "undo").click()  # in the page of before the restart
        wait(browser, lambda: "2 of 30 labelled" in text(browser, "#answer"))
        first = browser.current_window_handle
        browser.switch_to.new_window("tab")
        show(browser, address)
        assert "2 of 30 labelled" in text(browser, "#answer")
        wait(browser, lambda: "Start afresh" in text(browser, "#said"))
        refused = browser.execute_async_script(
            "fetch('edit/start-afresh', {method: 'POST', headers: {'Content-Type': "
            "'application/json'}, body: JSON.stringify({version: 1})})"
            ".then(a => arguments[0](a.status))"
        )
        assert refused == 409
        browser.execute_script("document.querySelector('#gallery .card').focus()")
        press(browser, "1")
        wait(browser, lambda: "3 of 30 labelled" in text(browser, "#answer"))
        browser.close()
        browser.switch_to.window(first)
        browser.execute_script("window.dispatchEvent(new Event('focus'))")
        wait(browser, lambda: "3 of 30 labelled" in text(browser, "#answer"))
        undo = browser.find_element("id", "undo")
        assert not undo.is_enabled(), "it would take back what the other tab has done"
