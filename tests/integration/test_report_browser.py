"""The report in a real browser: nothing missing, nothing asked of the network, readable on a phone
and a desk.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from browser import WIDTHS, needs_browser, requests, show
from coder_clip.reporting import formats
from coder_clip.reporting import page as report
from coder_clip.reporting.all_exhibits import FIGURES, TABLES
from coder_clip.reporting.parts import style
from fake_results import Fake

pytestmark = needs_browser
HOSTILE = (
    "</script><script>document.title='injected'</script><img src=http://127.0.0.1:9/x "
    "onerror=alert(1)>"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fake = Fake(tmp_path_factory.mktemp("report") / "results", models=("mini", "ViT-B-32"))
    fake.provenance = {"attribute": {"source": HOSTILE}, "synonym": {"author": "x" * 300}}
    results = fake.write()
    for name, exhibit in TABLES.items():
        formats.write(exhibit.table(results), results.paths.table(name, ""))
    for name, exhibit in FIGURES.items():
        style.write(exhibit.figure(results, fake.image), results.paths.figure(name, ""))
    report.render(
        results,
        results.paths.report,
        title="CODER & <b>friends</b>",
        note=f"Made up. {HOSTILE}",
        config_text="datasets: [shapes]\n" + "x" * 400,
        reproduce="make reproduce",
    )
    return results.paths.report


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of one person's photos with one encoder."""
    fake = Fake(tmp_path_factory.mktemp("photos") / "results", datasets=("mine",), shots=(1, 4))
    results = fake.write()
    path = results.paths.manifest("mine")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**manifest, "files": [{"path": i, "sha256": i} for i in fake.ids]}))
    for name, exhibit in TABLES.items():
        formats.write(exhibit.table(results), results.paths.table(name, ""))
    for name, exhibit in FIGURES.items():
        style.write(exhibit.figure(results, fake.image), results.paths.figure(name, ""))
    report.render(results, results.paths.report, title="Mine", image=fake.image)
    return results.paths.report


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_loads_whole_and_alone(browser: Any, page: Path, width: int) -> None:
    show(browser, page, width)
    assert (
        browser.title == "CODER & <b>friends</b>"
    )  # as text, and not what the injected script makes of it
    assert browser.get_log("browser") == []
    sizes = browser.execute_script(
        "return [...document.images].map(i => i.complete && i.naturalWidth)"
    )
    assert len(sizes) == len(FIGURES) + 1, "the few-shot figure is on the first screen, too"
    assert all(sizes)
    assert [url for url in requests(browser) if not url.startswith(("data:", page.as_uri()))] == []


@pytest.mark.parametrize("width", [390, 1024, 1600])
def test_page_is_no_wider_than_the_screen(browser: Any, page: Path, width: int) -> None:
    show(browser, page, width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    widths = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1] == width
    outside = browser.execute_script(
        "return [...document.querySelectorAll('table, img, pre')]"
        ".filter(e => !e.closest('.scroll')).map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == []  # what can be wide scrolls in its own box


@pytest.mark.parametrize(
    ("width", "opened"),
    [(1024, "details"), (WIDTHS["phone"], "main > section:not(.unprinted) details")],
    ids=["small desk", "phone"],
)
def test_a_table_of_numbers_fits_the_screen(
    browser: Any, photos: Path, width: int, opened: str
) -> None:
    """Headings on one line made tables scroll sideways at 1,200 pixels."""
    show(browser, photos, width)
    cut = browser.execute_script(
        f"""
        document.querySelectorAll('{opened}').forEach(d => d.open = true);
        const tables = [...document.querySelectorAll('.scroll')].filter(e => e.querySelector('table.sortable'));
        return [tables.length, tables.filter(e => e.checkVisibility() && e.scrollWidth > e.clientWidth)
          .map(e => e.getAttribute('aria-label'))];
        """
    )
    assert cut[0] > 5
    assert cut[1] == []


def test_the_answer_is_on_the_first_screen_and_the_page_is_short(
    browser: Any, photos: Path
) -> None:
    """268 rows and 15,700 pixels for 90 photos hid the answer in the middle."""
    for width, height in ((WIDTHS["desk"], 5000), (WIDTHS["phone"], 9000)):
        show(browser, photos, width)
        found = browser.execute_script(
            """
            const rows = [...document.querySelectorAll('tbody tr')].filter(r => r.checkVisibility());
            return [document.querySelector('.advice').getBoundingClientRect().bottom,
                    document.querySelector('#errors').getBoundingClientRect().top,
                    document.querySelector('#zero-shot').getBoundingClientRect().top,
                    document.documentElement.scrollHeight, rows.length];
            """
        )
        answer, errors, comparison, whole, rows = found
        assert answer < 600
        assert errors < comparison
        assert whole < height
        assert rows < 40


def test_a_phone_shows_figures_whole_and_larger_when_touched(browser: Any, photos: Path) -> None:
    """The names of lines were off the screen."""
    show(browser, photos, WIDTHS["phone"])
    edges = """
        document.querySelectorAll('details').forEach(d => d.open = true);
        return [...document.querySelectorAll('.picture')].map(e => {
          const image = e.firstElementChild.getBoundingClientRect();
          return [image.left, image.right, e.scrollWidth - e.clientWidth];
        });
    """
    found = browser.execute_script(edges)
    assert len(found) > 3
    for left, right, hidden in found:
        assert left >= 0
        assert right <= WIDTHS["phone"]
        assert hidden <= 0
    large = browser.execute_script(
        """
        const box = document.querySelector('#figure-tsne .picture');
        box.focus();
        const image = box.querySelector('img');
        return [image.width, Number(image.getAttribute('width')), document.documentElement.scrollWidth];
        """
    )
    assert large == [large[1], large[1], WIDTHS["phone"]]


def test_print_cuts_nothing_and_leaves_out_what_it_says(browser: Any, page: Path) -> None:
    """Scroll boxes hid rows and columns, folded tables were missing, and a bar of links covered
    text.
    """
    show(browser, page, 700)  # about as wide as a printed page
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        found = browser.execute_script(
            """
            const seen = s => [...document.querySelectorAll(s)].filter(e => e.checkVisibility());
            const style = (e, key) => getComputedStyle(e)[key];
            return {
              hidden: [...document.querySelectorAll('main > section:not(.unprinted) :is(td, th, img, figcaption)')]
                .filter(e => !e.checkVisibility()).length,
              clipped: seen('.scroll').filter(e => style(e, 'overflowX') !== 'visible'
                || style(e, 'overflowY') !== 'visible' || style(e, 'maxHeight') !== 'none').length,
              outside: seen('table.sortable, img').map(e => [e.getBoundingClientRect().right, e.className || e.alt])
                .filter(([right]) => right > innerWidth),
              heads: new Set(seen('thead').map(e => style(e, 'display'))).size,
              split: seen('tr, figure, .caption').filter(e => style(e, 'breakInside') !== 'avoid').length,
              buttons: seen('nav, .skip, button.columns, .enlarge, .unprinted').length,
              said: seen('.printed').map(e => e.innerText),
            };
            """
        )
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    (said,) = found.pop("said")
    assert "“How it was made”" in said
    assert "“Sources”" in said
    assert found == {"hidden": 0, "clipped": 0, "outside": [], "heads": 1, "split": 0, "buttons": 0}


@pytest.mark.skipif(not shutil.which("pdftotext"), reason="needs pdftotext (Debian: poppler-utils)")
def test_a_table_longer_than_a_printed_page_repeats_its_head(browser: Any, tmp_path: Path) -> None:
    fake = Fake(tmp_path / "results", datasets=tuple(f"set{i}" for i in range(10)), shots=())
    results = fake.write()
    for name, exhibit in TABLES.items():
        formats.write(exhibit.table(results), results.paths.table(name, ""))
    for name in FIGURES:
        results.paths.figure(name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (10, 10)).save(results.paths.figure(name))
    report.render(results, results.paths.report, title="Many")
    show(browser, results.paths.report)
    pdf = tmp_path / "many.pdf"
    pdf.write_bytes(base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"]))
    text = subprocess.run(
        ["pdftotext", "-layout", pdf, "-"], capture_output=True, text=True, check=True
    ).stdout
    rows = [p for p in text.split("\f") if re.search(r"set\d +CLIP, prompt ensemble", p)]
    assert len(rows) > 1
    assert all("Mean class recall (%)" in page for page in rows)


def test_a_phone_keeps_the_columns_that_matter(browser: Any, photos: Path) -> None:
    show(browser, photos, WIDTHS["phone"])
    places = browser.execute_script(
        """
        const of = name => [...document.querySelectorAll(`#${name} thead th`)]
          .filter(h => h.checkVisibility()).map(h => [h.textContent, h.getBoundingClientRect().right]);
        return {zero_shot: of('table-zero_shot'), few_shot: of('table-few_shot')};
        """
    )
    assert [name.split(" ↕")[0] for name, _ in places["zero_shot"]] == [
        "Method",
        "Top-1 (%)",
        "Against CLIP (points)",
    ]
    for heads in places.values():
        assert max(right for _, right in heads) <= WIDTHS["phone"]
    texts = browser.execute_script(
        "return [...document.querySelectorAll('#table-confusions td.line')].map(t => "
        "t.getBoundingClientRect().right)"
    )
    assert texts
    assert max(texts) <= WIDTHS["phone"]
    counts = browser.execute_script(  # they were hidden, and without a heading where they were not
        """
        return [...document.querySelectorAll('#table-confusions td.n')].filter(t => t.checkVisibility())
          .map(t => getComputedStyle(t, '::before').content);
        """
    )
    assert set(counts) == {'"CODER (images): "', '"CODER + rerank (images): "'}
    button = browser.find_element("css selector", "#table-zero_shot button.columns")
    button.click()
    shown = (
        "return [...document.querySelectorAll('#table-zero_shot thead th')].filter(h => "
        "h.checkVisibility()).length"
    )
    assert browser.execute_script(shown) == 5


def test_a_link_into_what_is_folded_opens_it(browser: Any, photos: Path) -> None:
    show(browser, photos, WIDTHS["desk"])
    hidden = "return !document.querySelector('#table-classes').checkVisibility()"
    assert browser.execute_script(hidden)
    browser.execute_script("location.hash = 'table-classes'")
    shown = "document.querySelector('#table-classes').checkVisibility()"
    wait = f"const [done] = arguments; setTimeout(() => done({shown}), 200)"
    assert browser.execute_async_script(wait)


def test_tables_sort_by_number(browser: Any, page: Path) -> None:
    show(browser, page, WIDTHS["desk"])
    column = browser.execute_script(
        """
        const table = document.querySelector('#table-zero_shot table');
        const head = [...table.tHead.rows[0].cells].find(c => c.textContent.startsWith('Top-1'));
        head.querySelector('button').click();
        return [head.ariaSort ?? head.getAttribute('aria-sort'),
                ...[...table.tBodies[0].rows].map(r => Number(r.cells[head.cellIndex].dataset.sort))];
        """
    )
    assert column[0] == "descending"
    assert column[1:] == sorted(column[1:], reverse=True)


def test_readable_without_script(browser: Any, page: Path) -> None:
    """Without JavaScript the tables of the report would be empty."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, page, WIDTHS["desk"])
        first = browser.find_element("css selector", "#accuracies").text
        browser.find_element("css selector", "#zero-shot").click()  # unfolds the section
        text = browser.find_element("css selector", "#table-zero_shot").text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "CODER + rerank" in first.replace("\n", " ")
    assert "CODER + rerank" in text


def test_what_a_screen_reader_needs(browser: Any, page: Path) -> None:
    show(browser, page, WIDTHS["desk"])
    missing = browser.execute_script(
        """
        const levels = [...document.querySelectorAll('h1,h2,h3')].map(h => Number(h.tagName[1]));
        return {
          lang: document.documentElement.lang !== 'en',
          alt: [...document.images].filter(i => !i.alt).length,
          captions: [...document.querySelectorAll('table')].filter(t => !t.caption).length,
          scopes: [...document.querySelectorAll('th')].filter(t => !t.scope).length,
          h1: document.querySelectorAll('h1').length - 1,
          jumps: levels.filter((l, i) => i && l > levels[i - 1] + 1).length,
          ids: (ids => ids.length - new Set(ids).size)([...document.querySelectorAll('[id]')].map(e => e.id)),
          links: [...document.querySelectorAll('a[href^="#"]')].filter(a => !document.querySelector(a.hash)).length,
        };
        """
    )
    assert not any(missing.values()), missing


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(browser: Any, page: Path, scheme: str) -> None:
    """WCAG AA for text: at least 4.5 to 1 against what lies behind it."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    show(browser, page, WIDTHS["desk"])
    low = browser.execute_script(
        """
        const rgb = text => text.match(/[\\d.]+/g).map(Number);
        const light = c => c.slice(0, 3).map(v => v / 255)
          .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
          .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
        const behind = e => {
          for (; e; e = e.parentElement) {
            const c = rgb(getComputedStyle(e).backgroundColor);
            if (c.length < 4 || c[3] > 0) return c;
          }
          return [255, 255, 255];
        };
        return [...document.querySelectorAll('body *')]
          .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
          .filter(e => e.tagName !== 'SCRIPT')
          .map(e => {
            const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
            return [e.className || e.tagName, (a + .05) / (b + .05)];
          })
          .filter(([, ratio]) => ratio < 4.5);
        """
    )
    assert low == []
