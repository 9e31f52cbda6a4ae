"""The documentation as a site: built as `make docs` does, and read in a real browser."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from browser import axe_problems, needs_browser, show
from coder_clip.reporting.all_exhibits import TABLES
from fixtures import SHARED
from true_clip import place
from working_copy import REPO

pytestmark = pytest.mark.rest
PAGES = (
    *("", "photos/", "true_clip/", "gallery/", "troubleshooting/", "reference/library/"),
    *("examples/rare/", "examples/true_clip/"),
)
# what the example on true CLIP opens
FEATURES = [f"{name}_clip" for name in ("oxford_pets", "caltech101", "dtd", "fgvc_aircraft")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a broken link, anchor or reference fails here. With published
    features where they are here.
    """
    settings = (REPO / "mkdocs.yml").read_text(encoding="utf-8")
    assert "\nstrict: true\n" in settings
    assert "{anchors: warn, unrecognized_links: warn, absolute_links: warn}" in settings
    folder, data = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("data")
    if (SHARED / "data/true_clip").is_dir():
        place(SHARED, data, FEATURES)
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=REPO,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "CODER_CLIP_DATA": str(data)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The site's address; a page of a site needs a server for its search."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    handler = functools.partial(Quiet, directory=str(site))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_command_key_and_message_is_there(site: Path) -> None:
    """A user looks up what the program said or asks for."""

    def words(page: str) -> str:
        return re.sub(r"<[^>]*>", "", (site / f"reference/{page}/index.html").read_text())

    for command in ("coder-clip zero-shot", "coder-clip data check", "coder-clip texts check"):
        assert command in words("commands")
    for key in ("only_present", "betas", "pretrained"):
        assert key in words("configuration")
    assert "the threshold is NaN, where a margin from 0 to 1 is needed" in words("messages")
    assert "100 · ( Σ_{t in A_c}" in words("library")


def test_the_worked_example_shows_what_it_printed_and_drew(site: Path) -> None:
    """A page whose output is of other code than today's would mislead."""
    page = re.sub(r"<[^>]*>", "", (site / "examples/rare/index.html").read_text())
    for words in ("CODER, stage one", "nearest texts:", "images are looked at again"):
        assert page.count(words) >= 2, f"'{words}' is in the code, but not in its output"
    assert len(list((site / "examples").glob("rare-*.png"))) == 3


def test_the_example_on_true_clip_shows_output_or_says_why_not(site: Path) -> None:
    """The features are others' and not in the repository; code without output needs a reason."""
    page = re.sub(r"<[^>]*>", "", (site / "examples/true_clip/index.html").read_text())
    if not (SHARED / "data/true_clip").is_dir():
        assert "built without these files, so it shows no output; make true-clip fetches" in page
        pytest.skip(f"no published features in {SHARED}")
    assert page.count("built without") == 0
    assert "a photo of a Bullmastiff" in page
    shares = dict(re.findall(r"5 nearest neighbours by (.*?) +([\d.]+)% right", page))
    assert list(shares) == [
        "the features themselves",
        "texts without ImageNet's names",
        "as many texts, drawn at random",
        "2568 texts (CODER)",
        "2568 images of others",
    ]
    themselves, without_breeds, some, texts, others = map(float, shares.values())
    assert others < without_breeds < themselves < min(some, texts), "the page says so in words"
    assert (site / "examples/true_clip-1.png").is_file()


def test_the_gallery_has_every_exhibit(site: Path) -> None:
    """Its tables are in the repository; figures are there after a run."""
    page = (site / "gallery/index.html").read_text(encoding="utf-8")
    for title in ("The claims, and whether they hold here", "Features on a map"):
        assert title in page
    texts = [path.read_text(encoding="utf-8") for path in (REPO / "results/tables").glob("*.md")]
    # the default has no row with published figures to stand against
    shown = sum("\n|" in text for text in texts)
    assert page.count("<table>") == shown == len(TABLES) - 1


def test_no_mark_of_markdown_is_left_in_a_page(site: Path) -> None:
    """A list or code that is indented too little is shown as one paragraph with its marks."""
    left = re.compile(r"```|^(?:\d+\.|-) |\]\(", re.M)
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8").partition("<article")[2].partition("</article>")[0]
        text = re.sub(r"<(pre|code|h\d)\b.*?</\1>", "", text, flags=re.S)
        text = re.sub(r"<[^>]*>", "", text)
        assert left.findall(text) == [], page.relative_to(site)


def test_the_search_knows_the_pages(site: Path) -> None:
    """13 pages could not be searched."""
    index = (site / "search/search_index.json").read_text(encoding="utf-8")
    for page in ("glossary/", "slurm/", "reference/messages/"):
        assert f'"location":"{page}' in index


@needs_browser
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("width", [1440, 390])
def test_anybody_can_read_it(browser: Any, address: str, page: str, width: int) -> None:
    """axe-core finds what screen readers and keyboards cannot use; no page is wider than a phone."""
    show(browser, address + page, width)
    assert axe_problems(browser) == []
    wider = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert wider <= 0
