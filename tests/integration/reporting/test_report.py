"""The page and the metrics: whole, self-contained, escaped, the same every time."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from coder_clip.errors import UserError
from coder_clip.foundation import artifacts
from coder_clip.foundation.artifacts import sha256
from coder_clip.reporting import answer, formats
from coder_clip.reporting import page as report
from coder_clip.reporting.all_exhibits import EXHIBITS, FIGURES, TABLES
from coder_clip.reporting.exhibits import Exhibit
from coder_clip.reporting.parts import style
from coder_clip.reporting.parts.table import Cell, Column, Table
from coder_clip.reporting.results import Results
from fake_results import Fake, write_json

HOSTILE = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def full(tmp_path: Path, **what: object) -> Results:
    """A results tree with stand-ins for the files of tables and figures: writing them has its own
    tests.
    """
    made = Fake(tmp_path / "results", **{"shots": (1, 4), **what})  # type: ignore[arg-type]
    results = made.write()
    for folder in (results.paths.table("x").parent, results.paths.figure("x").parent):
        folder.mkdir(parents=True)
    for name in TABLES:
        results.paths.table(name).write_text(name)
    for name in FIGURES:
        results.paths.figure(name).write_bytes(PNG)
    return Results(made.root, made.datasets, made.models, made.shots)  # that has read nothing yet


def page(results: Results, **options: object) -> str:
    report.render(results, results.paths.report, **options)  # type: ignore[arg-type]
    return results.paths.report.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Results with all their files, without a page."""
    return full(tmp_path_factory.mktemp("complete"))


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run without anything odd."""
    return page(full(tmp_path_factory.mktemp("usual")))


class Tags(HTMLParser):
    """Start tags with attributes; complains of tags that are not closed in order."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.found if t == tag]


def test_holds_every_table_and_figure_with_its_source(tmp_path: Path) -> None:
    results = full(tmp_path)
    text = page(results)
    tags = Tags(text)
    assert tags.open == []
    # these results are neither of drawn data sets nor of published ones, and few
    silent = {"published"}
    assert {name for name, e in {**TABLES, **FIGURES}.items() if e.nothing(results)} == silent
    # the figure of few-shot methods is on the first screen, too
    assert len(tags.all("img")) == len(FIGURES.keys() - silent) + 1
    assert text.count("no data set of this run is a published one") == 1
    assert "Published (%)" not in text
    for name in TABLES.keys() - silent:
        path = results.paths.table(name)
        assert f"results/tables/{name}.csv" in text
        assert sha256(path)[:12] in text
    assert "coder-clip table zero_shot</code>" in text
    artefact = results.paths.adapter("mini", "rare", 4)
    assert (
        f"results/adapter/mini/rare/4.parquet</code></td><td><code>{sha256(artefact)[:12]}" in text
    )
    assert "coder-clip adapter --shots 4 --model mini --dataset rare" in text


def test_says_what_it_is_evidence_of_and_how_it_was_made(tmp_path: Path) -> None:
    text = page(
        full(tmp_path),
        title="My run",
        note="No evidence about the paper.",
        config_text="datasets: [rare, shapes]",
        reproduce="make reproduce CONFIG=mine.yaml",
    )
    assert "<h1>My run</h1>" in text
    for part in (
        "No evidence about the paper.",
        "datasets: [rare, shapes]",
        'href="environment.json"',  # where it was made; versions would be other bytes elsewhere
        "CONFIG=mine.yaml",
    ):
        assert part in text
    assert "weights_sha256" in text
    assert "cd1a5de5042a" in text
    assert "made up for tests" in text
    assert text.index('aria-label="The answer"') < text.index('id="zero-shot"')


def test_corrected_labels_are_said_on_top(tmp_path: Path, usual: str) -> None:
    """A number on labels that somebody changed must not look like a number on the labels of the
    folders.
    """
    results = full(tmp_path)
    path = results.paths.manifest("rare")
    corrections = {
        "file": "config/rare.corrections.csv",
        "corrected": 3,
        "left_out": 0,
        "splits": {"test": 3},
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | {"corrections": corrections}))
    text = page(results)
    line = (
        '  <p class="what"><b>Labels.</b> rare: 3 labels corrected (test 3; '
        "config/rare.corrections.csv)</p>\n"
    )
    assert text.index(line) < text.index('aria-label="The answer"')
    assert text.replace(line, "") == usual, "and without corrections not a byte is another"


def test_no_note_no_box(usual: str) -> None:
    assert 'class="note"' not in usual


def test_everything_is_escaped(tmp_path: Path) -> None:
    """A class name or a provenance of others would run as a script in the reader's browser."""
    provenance = {"attribute": {HOSTILE: HOSTILE}, HOSTILE: {"list": [HOSTILE]}}
    results = full(tmp_path, provenance=provenance, classes=(HOSTILE, "b"))
    path = results.paths.zero_shot("mini", "shapes").with_suffix(".json")
    document = results.zero_shot("shapes", "mini")
    document["made_by"]["command"] = HOSTILE
    write_json(path, document)
    results = Results(results.paths.root, results.datasets, results.models, results.shots)
    results.option = f" --config {HOSTILE}"
    text = page(
        results,
        title=HOSTILE,
        note=HOSTILE,
        config_text=HOSTILE,
        reproduce=HOSTILE,
    )
    tags = Tags(text)
    assert tags.open == []
    assert len(tags.all("script")) == 1
    assert len(tags.all("img")) == len(FIGURES) + 1  # few-shot twice
    assert not any(key.startswith("on") for _, attributes in tags.found for key in attributes)


def test_needs_nothing_else(usual: str) -> None:
    """No address but inside the page and of what the run ran on; a policy that refuses requests and
    other scripts.
    """
    tags = Tags(usual)
    links = [a[k] or "" for _, a in tags.found for k in ("src", "href", "action") if k in a]
    assert [x for x in links if not x.startswith(("#", "data:"))] == ["environment.json"]
    assert "http:" not in usual
    assert "https:" not in usual
    assert "@import" not in usual
    script = usual.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(
        a["content"] for a in tags.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_the_page_says_who_wrote_the_one_to_one_texts(usual: str) -> None:
    """A language model's texts and its rerank would stand there without an author."""
    assert "3 one_to_one texts</summary>" in usual
    origin = usual.split("origin:")[1].split("</pre>")[0]
    assert re.search(r"one_to_one:\s+source: llm\s+model: tiny", origin)
    assert re.search(r"pairs:\s+compared: 9", origin)


def test_every_image_has_text_and_size(usual: str) -> None:
    for image in Tags(usual).all("img"):
        assert image["alt"]
        assert (image["width"], image["height"]) == ("1", "1")


@pytest.mark.rest
def test_every_number_has_an_address(usual: str) -> None:
    """A colleague gets a link to one number; two with one address would lead to the first."""
    tags = Tags(usual).found
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    cells = [a for tag, a in tags if tag == "td" and (a.get("class") or "").split()[:1] == ["n"]]
    assert len(cells) > 100
    assert all(a.get("id") for a in cells)
    assert "table-zero_shot-rare-coder-top-1" in ids


def test_images_are_jpeg_and_charts_have_a_palette(tmp_path: Path) -> None:
    """A figure that shows images was a third of the page; a chart with a palette looks the same in
    fewer bytes.
    """
    results = full(tmp_path)
    rng, charts = np.random.default_rng(0), {}

    def photo(dataset: str, image_id: str) -> Image.Image:
        return Image.fromarray(rng.integers(0, 255, (200, 200, 3), dtype=np.uint8))

    for name in ("correction", "text_count"):
        style.write(FIGURES[name].figure(results, photo), results.paths.figure(name, ""))
        charts[name] = Image.open(results.paths.figure(name)).convert("RGB")
    tags = {a["alt"]: str(a["src"]) for a in Tags(page(results, image=photo)).all("img")}
    shown = {name: tags[FIGURES[name].drawing.alt].split(";base64,") for name in charts}
    assert {name: kind for name, (kind, _) in shown.items()} == {
        "correction": "data:image/jpeg",
        "text_count": "data:image/png",
    }
    for name, (_, data) in shown.items():
        content = base64.b64decode(data)
        assert len(content) < 0.6 * results.paths.figure(name).stat().st_size
        embedded = Image.open(io.BytesIO(content))
        assert embedded.size == charts[name].size
        if name == "text_count":
            difference = np.asarray(embedded.convert("RGB"), int) - np.asarray(charts[name], int)
            assert np.abs(difference).max() < 32
    assert all(
        src.startswith("data:image/jpeg") for alt, src in tags.items() if "ahead" in str(alt)
    )


def test_words_are_explained_before_they_are_used(tmp_path: Path) -> None:
    """A reader met “rerank”, “prompt ensemble”, “clean” and “points” unexplained, and R-precision
    in a heading.
    """
    text = page(full(tmp_path))
    text = html.unescape(re.sub("<[^>]+>", "", text[text.index("<header") :]))
    for word, said in {
        "rerank": "Stage two (the rerank) compares the five likeliest classes again",
        "names alone": "names alone, one prompt with the class name",
        "'clean'": "'clean': nothing was chosen on test images",
        "shots": "labelled training images (shots) per class",
        "points)": "percentage points (points)",
    }.items():
        assert text.count(said) == 1, word
    assert "prompt ensemble: the name in several prompts, averaged" in text
    assert "R-precision: share of an image's class among its R nearest others" in text


def test_same_bytes_every_time_and_everywhere(tmp_path: Path, usual: str) -> None:
    again = page(full(tmp_path))
    assert again == usual
    assert str(tmp_path) not in again


def _set(entries: list[dict[str, Any]], low: float, high: float) -> None:
    """Make every method differ from names alone by this interval."""
    for m in entries:
        if m["against_clip"]:
            m["against_clip"] |= {"value": (low + high) / 2, "low": low, "high": high}


def test_the_answer_says_when_a_difference_is_not_clear(tmp_path: Path) -> None:
    """Validation images recommend, test images report: also where they contradict each other."""
    results = full(tmp_path, datasets=("one", "two", "three", "four"), shots=())
    clear, open_, worse = (0.01, 0.03), (-0.01, 0.03), (-0.05, -0.01)
    for dataset, on_validation, on_test in (
        ("one", clear, clear),
        ("two", open_, open_),
        ("three", clear, worse),
        ("four", open_, clear),
    ):
        for document in (results.rerank(dataset, "mini"), results.zero_shot(dataset, "mini")):
            _set(document["methods"], *on_test)
            _set(document["validation"]["methods"], *on_validation)
    one, two, three, four = found = answer.answers(results)
    assert [a.verdict for a in found] == ["better", "unclear", "worse", "better"]
    use = (
        "Without labelled images, use “CODER + rerank”: clearly better than names alone "
        "on the 120 validation images. With it "
    )
    keep = (
        "Without labelled images, use names alone: no method is clearly better than names alone on "
        "the 120 validation images. "
    )
    assert re.fullmatch(
        re.escape(use)
        + r"[\d.]+ % \[.*\] of the test images are right, \+2.0 \[\+1.0, \+3.0\] points: "
        "on test images it is clearly better, too.",
        one.advice,
    )
    assert two.advice.startswith(
        f"{keep}On the 120 test images the texts and the rerank make no clear "
        "difference (+1.0 [−1.0, +3.0] points)."
    )
    assert re.search(r"About [\d,]+ test images would show a difference of 2 points\.$", two.advice)
    assert three.advice.startswith(use)
    assert three.advice.endswith("−3.0 [−5.0, −1.0] points: on test images it is clearly worse.")
    assert three.change == "−3.0 [−5.0, −1.0]"
    # the made-up images say so, too: then the method is named beside the advice
    assert four.advice.startswith(
        f"{keep}On the 120 test images the texts and the rerank are clearly better, by +2.0 [+1.0, +3.0] points. "
        "“CODER + rerank”, "
    )
    assert four.rivals == ("CODER + rerank",)
    assert (four.label, four.change) == ("names alone", "")
    text = page(results)
    assert re.findall(r'class="answer (\w+)"', text) == ["better", "unclear", "worse", "better"]
    assert one.numbers in text


@pytest.mark.parametrize(
    ("low", "high", "less_than"),
    [
        (-0.019, 0.019, True),
        (0.0, 0.0, True),
        (0.0, 0.028, False),
        (-0.02, 0.01, False),
        (-0.01, 0.0196, False),
    ],
)
def test_a_change_is_small_only_if_its_interval_is(
    low: float, high: float, less_than: bool
) -> None:
    """'The texts change less than 2 points' stood beside +1.4 [0.0, +2.8]."""
    for n in (100, 100_000):  # few images, and more than a difference of two points would need
        test = {
            **{"value": (low + high) / 2, "low": low, "high": high},
            "fixed": 3,
            "broke": 2,
        }
        said = answer._effect(test, n, "images")
        assert said.startswith("change less than 2 points (") == less_than, said
        assert said.startswith("make no clear difference (") != less_than, said


def test_one_image_is_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = full(tmp_path)
    assert " of 120 images right with names alone" in answer.answers(results)[0].numbers
    monkeypatch.setattr(Results, "images", lambda *_: 1)
    assert " of 1 image right with names alone" in answer.answers(results)[0].numbers


def test_without_validation_images_nothing_is_recommended(tmp_path: Path) -> None:
    results = full(tmp_path, datasets=("one",), validated=False)
    (one,) = answer.answers(results)
    assert one.advice.startswith(
        "Nothing is recommended, because there are no validation images to choose on. On the 120 "
        "test images "
    )
    assert (one.label, one.change) == ("nothing", "")


def test_the_coder_adapter_stands_beside_the_best_other_few_shot_method(tmp_path: Path) -> None:
    """It stood beside zero-shot CLIP, with a better baseline in a folded table. Validation images
    say which is best.
    """
    results = full(tmp_path, datasets=("one",))
    shots = max(results.shots)
    document = results.adapter("one", "mini", shots)
    for r in document["runs"]:
        r["val_accuracy"] = {"ape": 0.6, "coder_no_minmax": 0.9, "clip_ensemble": 0.9}.get(
            r["method"], 0.5
        )
    of = {r["method"]: r for r in document["summary"] if r["setting"] == "clean"}
    (one,) = answer.answers(results)
    (line,) = [line for line in one.more if "labelled images" in line]
    assert f"With {shots} labelled images per class the CODER-Adapter has" in line
    assert f"CODER-Adapter has {100 * of['coder_adapter']['accuracy']['value']:.1f} % [" in line
    ape = (
        "APE, the best other few-shot method on validation images, has "
        f"{100 * of['ape']['accuracy']['value']:.1f} % ["
    )
    assert ape in line
    change = of["ape"]["coder_adapter_against"]
    assert f". The CODER-Adapter is not clearly different (+{100 * change['value']:.1f} [" in line


def test_many_answers_are_a_table(tmp_path: Path) -> None:
    results = full(tmp_path, datasets=tuple(f"d{i}" for i in range(6)), shots=())
    text = page(results)
    assert (
        "Against names alone, CODER (with the rerank where it is on) is clearly better on" in text
    )
    assert len(re.findall('<td class="n" id="against-names-[^"]+">[+–]', text)) == 6


def test_each_reader_has_an_order_of_its_own(tmp_path: Path) -> None:
    """A person's photos: the answer, then errors; a reproduction: what was run and what came out,
    then where the paper's tables are. The rest is folded.
    """
    for kind, changes in {
        "photos": {"files": [{"path": "a", "sha256": "0"}]},
        "published": {"split": "CoOp's split"},
        "drawn": {},
    }.items():
        results = full(tmp_path / kind, datasets=("one",))
        path = results.paths.manifest("one")
        write_json(path, json.loads(path.read_text()) | changes)
        results = Results(results.paths.root, results.datasets, results.models, results.shots)
        text = page(results)
        assert results.kind == kind
        sections = re.findall(r'<h2 id="([\w-]+)">', text)
        folded = re.findall(r'<details class="section"><summary><h2 id="([\w-]+)">', text)
        opened = ["where"]  # behind the first screen
        if kind == "photos":
            opened = [s.lower().replace(" ", "-") for s in report.OF_PHOTOS]
        assert [s for s in sections if s not in folded] == opened
        assert folded[-2:] == ["made", "sources"]


def test_errors_are_shown_with_their_images(tmp_path: Path) -> None:
    results = full(tmp_path, datasets=("one",))
    image = Fake(tmp_path).image
    shown = [
        c.picture for row in TABLES["confusions"].table(results).rows for c in row if c.picture
    ]
    text = page(results, image=image)
    photos = [a for a in Tags(text).all("img") if a.get("class") == "photo"]
    assert [str(a["alt"]).split(" ")[0] for a in photos] == [image_id for _, image_id in shown]

    def gone(dataset: str, image_id: str) -> Image.Image:
        raise UserError("no folder")

    text = page(results, image=gone)
    assert 'class="photo"' not in text
    assert shown[0][1] in text, "the image is named where it is not on this machine"


def test_an_encoder_that_changed_between_data_sets_shows_as_two(tmp_path: Path) -> None:
    results = full(tmp_path)
    assert [e["datasets"] for e in report._encoders(results)] == [["shapes", "rare"]]
    Fake(results.paths.root, weights="f" * 64)._features("rare", "mini")
    assert [e["datasets"] for e in report._encoders(results)] == [["shapes"], ["rare"]]


def test_a_new_table_in_a_new_section_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Extra(Exhibit):
        def nothing(self, results: Results) -> str:
            return ""

        def table(self, results: Results) -> Table:
            frame = pd.DataFrame({"a": [1]})
            return Table("An extra", "More.", frame, [Column("a")], [[Cell("1")]])

    results = full(tmp_path)
    extra = Extra(
        "extra", "Elsewhere", 10, (), has_table=True, has_figure=False, shows_images=False
    )
    monkeypatch.setattr(report, "EXHIBITS", [*EXHIBITS, extra])
    formats.write(extra.table(results), results.paths.table("extra", ""))
    text = page(results)
    assert '<h2 id="elsewhere">Elsewhere</h2>' in text
    assert 'id="table-extra"' in text


@pytest.mark.parametrize(
    "missing",
    [
        lambda p: p.table("few_shot"),
        lambda p: p.figure("tsne"),
        lambda p: p.texts("rare"),
        lambda p: p.manifest("shapes"),
        lambda p: p.image_features("mini", "shapes", "test"),
        lambda p: p.evaluation("mini", "shapes"),
    ],
)
def test_missing_file_names_the_command(
    complete: Results, missing: Callable[[object], Path]
) -> None:
    results = Results(complete.paths.root, complete.datasets, complete.models, complete.shots)
    path = missing(results.paths)
    elsewhere = path.rename(path.with_name("elsewhere"))
    try:
        with pytest.raises(
            UserError,
            match=f"{path} is missing; 'snakemake {path} --configfile "
            "FILE' with its configuration makes it",
        ):
            page(results)
    finally:
        elsewhere.rename(path)
    assert not results.paths.report.exists()


def test_a_figure_that_is_no_png_is_refused(tmp_path: Path) -> None:
    results = full(tmp_path)
    results.paths.figure("tsne").write_bytes(b"GIF89a")
    with pytest.raises(UserError, match=r"tsne\.png is not a PNG image"):
        page(results)


def test_metrics_are_the_main_settings_accuracies(tmp_path: Path) -> None:
    results = full(tmp_path)
    found = report.metrics(results)
    assert list(found) == ["shapes", "rare"]
    numbers = found["rare"]["mini"]
    wanted = next(
        m for m in results.zero_shot("rare", "mini")["methods"] if m["setting"] == "clean"
    )
    assert numbers["coder"] == wanted["accuracy"]["value"]
    assert {"clip", "coder_rerank", "coder_adapter_4_shots", "tip_adapter_1_shots"} <= set(numbers)
    assert all(0 <= v <= 1 for v in numbers.values())
    artifacts.write_json(results.paths.metrics, found)  # as the phase does
    assert results.paths.metrics.read_text().startswith(
        '{\n "shapes": {\n  "mini": {\n   "clip": 0.'
    )


def test_main_setting_is_the_nearest_to_clean(tmp_path: Path) -> None:
    fake = Fake(tmp_path / "a", shots=(), datasets=("one",))
    for settings in (
        ("as_published", "corrected", "clean"),
        ("as_published", "corrected"),
        ("as_published",),
    ):
        assert replace(fake, settings=settings).write().main_setting == settings[-1]


def test_a_zero_shot_only_data_set_takes_no_part_in_few_shot(tmp_path: Path) -> None:
    """ImageNet-V2 and Places365 have a test split alone: no run to wait for, and averages without
    them.
    """
    results = full(tmp_path, datasets=("shapes", "rare"))
    alone = full(tmp_path / "alone", datasets=("shapes",))
    shutil.rmtree(tmp_path / "results/adapter/mini/rare")
    path = results.paths.manifest("rare")
    document = json.loads(path.read_text())
    document["images"] = {"test": document["images"]["test"]}
    write_json(path, document | {"split": "all images as test"})
    results.few_shot = ["shapes"]
    made, expected = (TABLES["few_shot"].table(r).frame for r in (results, alone))
    assert made.equals(expected)
    assert set(TABLES["settings"].table(results).frame.query("shots > 0")["dataset"]) == {"shapes"}
    assert not [m for m in report.metrics(results)["rare"]["mini"] if m.endswith("_shots")]
    assert [m for m in report.metrics(results)["shapes"]["mini"] if m.endswith("_shots")]
    figure = FIGURES["few_shot"].figure(results, Image.new)  # type: ignore[arg-type]  # it shows no image
    assert len([ax for ax in figure.axes if ax.lines]) == 1
    assert not [s for s in results.sources(["adapter"]) if "rare" in s.path]
    assert "all images as test" in page(results)
    results.few_shot = []
    assert TABLES["few_shot"].table(results).frame.empty
    assert FIGURES["few_shot"].figure(results, Image.new)  # type: ignore[arg-type]


@pytest.mark.parametrize("reranked", [True, False])
def test_one_to_one_texts_without_texts_of_classes_have_their_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reranked: bool
) -> None:
    """Who wrote only these would think that nobody read them."""
    fake = Fake(tmp_path, datasets=("one",), reranked=reranked, validated=False)
    monkeypatch.setattr(Results, "has_texts", lambda self, dataset: False)
    (one,) = answer.answers(fake.write())
    said = " ".join(one.more)
    assert "only names so far" in one.advice
    assert ("With the one-to-one texts " in said) is reranked
    assert ("The rerank is off: " in said) is not reranked
