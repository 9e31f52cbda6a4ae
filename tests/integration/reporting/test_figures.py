"""Every figure, whatever the results hold: legible, the same bytes every time, no surprise from
names.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from coder_clip.baselines.methods import FEW_SHOT, METHODS
from coder_clip.evaluation.representation import MAP_CLASSES
from coder_clip.reporting.all_exhibits import FIGURES, TABLES
from coder_clip.reporting.exhibits import correction
from coder_clip.reporting.parts import layout, style
from coder_clip.reporting.parts.style import BLUE, DOUBLE, DPI, SINGLE, styled
from fake_results import Fake

HOSTILE = (
    "_hidden",
    "$x^2$ & \\frac",
    "猫と犬",
    "a" * 90,
    "line\nbreak\x00",
    "<b>%s</b>",
    "ช้าง",
    "",
)
EXTREMES = {
    "one data set": {"datasets": ("shapes",)},
    "ten data sets": {"datasets": tuple(f"set{i}" for i in range(10)), "shots": (1, 4)},
    "two models": {"models": ("mini", "ViT-B-32")},
    "one class": {"classes": ("only",), "datasets": ("one",)},
    "twenty classes": {
        "classes": tuple(f"class number {i}" for i in range(20)),
        "datasets": ("one",),
    },
    "1000 classes": {
        "classes": tuple(f"c{i}" for i in range(1000)),
        "datasets": ("big",),
        "per_class": 1,
    },
    "hostile names": {
        "classes": HOSTILE,
        "datasets": ("a_b-1.0",),
        "texts": ("$", "_{", "x" * 200),
    },
    "nothing reranked": {"reranked": False},
    "one seed, one shot": {"seeds": (7,), "shots": (16,)},
    "one setting": {"settings": ("corrected",)},
    "the paper": {
        "datasets": ("fgvc_aircraft", "oxford_flowers", "stanford_cars"),
        "models": ("RN50", "ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336"),
        "shots": (1, 2, 4, 8, 16),
    },
    "no shots": {"shots": ()},
}
# Each is odd in its own way; the others differ in size, or take longer.
ODD = ("hostile names", "nothing reranked", "one seed, one shot")
WRITTEN = ("one class", "hostile names", "no shots")


def fake(tmp_path: Path, **what: object) -> Fake:
    return Fake(tmp_path / "results", **{"datasets": ("one",), "shots": (1, 4), **what})  # type: ignore[arg-type]


def drawn(name: str, made: Fake) -> Figure:
    return FIGURES[name].figure(made.write(), made.image)


def texts(figure: Figure) -> list[Text]:
    return [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]


def figures(tmp_path: Path, extreme: str) -> Iterator[tuple[str, Figure]]:
    """Name and figure of every exhibit."""
    made = fake(tmp_path, **EXTREMES[extreme])
    results = made.write()
    for name, exhibit in FIGURES.items():
        yield name, exhibit.figure(results, made.image)


@pytest.mark.parametrize(
    "extreme", [pytest.param(e, marks=[] if e in ODD else pytest.mark.rest) for e in EXTREMES]
)
def test_copes(tmp_path: Path, extreme: str) -> None:
    """No run, however odd, gives a figure of a wrong width, unreadable text or a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, figure in figures(tmp_path, extreme):
            assert figure.get_figwidth() in (SINGLE, DOUBLE), name
            assert min(t.get_fontsize() for t in texts(figure)) >= 8, name
            assert not any(t.get_parse_math() or t.get_usetex() for t in texts(figure)), name


@pytest.mark.rest
@pytest.mark.parametrize("extreme", WRITTEN)
def test_can_be_written(tmp_path: Path, extreme: str) -> None:
    """A font without a letter, or a panel without room, warns when a figure is written."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, figure in figures(tmp_path, extreme):
            style.write(figure, tmp_path / name)


@pytest.mark.parametrize(
    "extreme",
    [
        "hostile names",
        *(
            pytest.param(e, marks=pytest.mark.rest)
            for e in ("two models", "ten data sets", "the paper")
        ),
    ],
)
def test_text_stays_on_the_figure_and_apart(tmp_path: Path, extreme: str) -> None:
    """What sticks out would be cut off; titles of panels and the numbers below one would run into
    each other.
    """
    for name, figure in figures(tmp_path, extreme):
        with styled():
            figure.draw_without_rendering()
            box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())  # inches
            groups = [
                [ax._left_title for ax in figure.axes],
                *(ax.get_xticklabels() for ax in figure.axes),
            ]
            boxes = [
                [t.get_window_extent() for t in group if t.get_text().strip() and t.get_visible()]
                for group in groups
            ]
        assert box.x0 >= -0.01, name
        assert box.y0 >= -0.01, name
        assert box.x1 <= figure.get_figwidth() + 0.01, name
        assert box.y1 <= figure.get_figheight() + 0.01, name
        if extreme != "hostile names":  # 90 letters are longer than a panel is wide
            for group, places in zip(groups, boxes, strict=True):
                overlaps = [1 for i, a in enumerate(places) for b in places[:i] if a.overlaps(b)]
                assert not overlaps, (name, group)


@pytest.mark.parametrize("name", ["few_shot", "rerank_threshold"])
def test_every_draw_has_the_same_positions(tmp_path: Path, name: str) -> None:
    """The solver of the layout adds in the order of memory addresses: in one of a few draws the last
    bits of positions differed, and with them pixels.
    """
    figure = drawn(name, fake(tmp_path, datasets=("one", "two")))
    with styled():
        figure.draw_without_rendering()
    for ax in figure.axes:
        corners = ax.get_position(original=True).get_points()
        assert corners.tolist() == corners.round(9).tolist()


def test_pdf_embeds_truetype_and_no_dates(tmp_path: Path) -> None:
    style.write(drawn("few_shot", fake(tmp_path)), tmp_path / "few_shot")
    data = (tmp_path / "few_shot.pdf").read_bytes()
    assert b"/CIDFontType2" in data or b"/TrueType" in data
    assert b"/Type3" not in data
    assert b"CreationDate" not in data
    assert b"matplotlib" not in data.lower()
    with Image.open(tmp_path / "few_shot.png") as png:
        assert png.size[0] == round(SINGLE * DPI)
        assert "Software" not in png.info


def test_every_class_of_a_map_has_a_look_and_a_name(tmp_path: Path) -> None:
    """36 classes in repeated colours without a legend could not be read."""
    names = tuple(f"_class {i}" for i in range(30))
    figure = drawn("tsne", fake(tmp_path, classes=names))
    legend = figure.axes[1].get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == [
        f"class {i * 30 // MAP_CLASSES}" for i in range(12)
    ]
    assert "more than twelve classes" in FIGURES["tsne"].drawing.caption
    assert MAP_CLASSES == 12
    looks = [(h.get_color(), h.get_marker()) for h in legend.legend_handles]
    assert len(set(looks)) == MAP_CLASSES
    for ax in figure.axes:
        assert [len(points.get_offsets()) for points in ax.collections] == [20] * MAP_CLASSES


def test_nothing_reranked_is_said(tmp_path: Path) -> None:
    (text,) = texts(drawn("rerank_threshold", fake(tmp_path, reranked=False)))
    assert text.get_text().replace("\n", " ") == "Nothing to show: no setting reranks an image."


@pytest.mark.parametrize(
    ("a", "b", "digits"),
    [(0.8, 0.9, 3), (0.99912, 0.99917, 4), (0.99996, 0.99995, 5), (1.0, 1.0, 6)],
)
def test_cosines_have_the_digits_that_tell_them_apart(a: float, b: float, digits: int) -> None:
    assert correction._digits(a, b) == digits


def test_a_tick_at_the_end_of_an_axis_is_not_cut_off(tmp_path: Path) -> None:
    """The axes of the texts stand at the right edge, and where their ticks fall depends on the
    cosines.
    """
    figure = drawn("correction", fake(tmp_path))
    axes = figure.axes[-1]
    axes.set_xticks(axes.get_xlim()[1:], ["0.615"])
    with styled():
        figure.draw_without_rendering()
        assert figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer()).x1 <= DOUBLE


def test_example_images_have_pixels_enough_to_be_looked_at() -> None:
    """Scans of 8 × 8 and photos of 4000 × 3000 alike: no mosaic, no megabytes."""
    assert layout.thumbnail(Image.new("L", (8, 16))).size == (100, 200)
    assert layout.thumbnail(Image.new("RGBA", (4000, 3000))).size == (200, 150)


def test_corrected_and_broken_neighbours_are_both_shown_and_counted(tmp_path: Path) -> None:
    """The largest correction alone hid that CODER breaks more nearest neighbours than it corrects."""
    made = fake(tmp_path, datasets=("rare", "shapes"))
    results = made.write()
    for dataset in ("rare", "shapes"):
        (nearest,) = [
            t
            for t in results.evaluation(dataset, "mini")["neighbour_tests"]
            if (t["before"], t["after"], t["measure"]) == ("original", "coder", "nearest")
        ]
        nearest |= {"fixed": 1243, "broke": 1292}
    said = [t.get_text() for t in texts(FIGURES["correction"].figure(results, made.image))]
    for dataset in ("rare", "shapes"):
        counts = "CODER corrects 1,243 nearest neighbours and breaks 1,292 (120 test images)"
        assert f"{dataset}: {counts}" in said
    for heading in ("the largest correction", "the largest break"):
        assert said.count(heading) == 2
    arrows = [s.strip() for s in said if "◀" in s or "▶" in s]  # to the image that is nearer
    assert arrows == ["◀ original", "CODER ▶", "original ▶", "◀ CODER"] * 2


@pytest.mark.parametrize("lacks", ["corrections", "broken"])
def test_a_side_without_an_example_is_said(tmp_path: Path, lacks: str) -> None:
    made = fake(tmp_path)
    results = made.write()
    results.evaluation("one", "mini")[lacks] = []
    said = [t.get_text() for t in texts(FIGURES["correction"].figure(results, made.image))]
    assert said.count("none") == 1
    assert said.count("query") == 2  # in the legend, and above the other side's example


def test_no_correction_is_said(tmp_path: Path) -> None:
    figure = drawn("correction", fake(tmp_path, classes=("only",)))
    assert "no image" in texts(figure)[0].get_text()


def test_curves_show_the_numbers(tmp_path: Path) -> None:
    made = fake(
        tmp_path, datasets=("one", "two"), settings=("as_published", "clean"), split="CoOp's split"
    )
    results = made.write()
    figure = FIGURES["few_shot"].figure(results, made.image)
    by_seed = [
        {
            r["seed"]: r["test_accuracy"]
            for r in results.adapter(d, "mini", 4)["runs"]
            if (r["method"], r["setting"]) == ("coder_adapter", "clean")
        }
        for d in ("one", "two")
    ]
    line = next(x for x in figure.axes[2].lines if x.get_color() == BLUE)
    shown = dict(zip((1, 4), line.get_ydata(), strict=True))
    assert shown[4] == pytest.approx(100 * np.mean([list(s.values()) for s in by_seed]))


def test_few_shot_bars_are_the_intervals_of_the_table(tmp_path: Path) -> None:
    """Standard deviations over three seeds looked ten times surer than the intervals of all other
    tables.
    """
    made = fake(tmp_path)
    results = made.write()
    (ax,) = FIGURES["few_shot"].figure(results, made.image).axes
    frame = TABLES["few_shot"].table(results).frame
    rows = frame[(frame["method"] == "coder_adapter")].sort_values("shots")
    (bars,) = [c for c in ax.collections if tuple(c.get_color()[0]) == to_rgba(BLUE)]
    shown = [segment[:, 1].tolist() for segment in bars.get_segments()]
    wanted = 100 * rows[["accuracy_low", "accuracy_high"]].to_numpy()
    assert shown == pytest.approx(wanted)
    places = [segment[0, 0] for segment in bars.get_segments()]
    assert places == [1, 4], "16 shots were drawn at 13 and at 20"


def test_few_shot_methods_that_lie_on_each_other_are_told_apart(tmp_path: Path) -> None:
    """All are at their number of shots, and the one drawn last would hide the others."""
    made = fake(tmp_path)
    (ax,) = FIGURES["few_shot"].figure(made.write(), made.image).axes
    lines = [line for line in ax.lines if line.get_marker() not in ("None", None, "")]
    assert len(lines) == len(FEW_SHOT)
    assert all(line.get_xdata().tolist() == [1, 4] for line in lines)
    drawn_in_order = sorted(lines, key=lambda line: line.get_zorder())
    widths = [line.get_linewidth() for line in drawn_in_order]
    assert widths == sorted(widths, reverse=True)
    sizes = [line.get_markersize() for line in drawn_in_order]
    assert sizes == sorted(sizes, reverse=True)
    assert widths[0] >= 3 * widths[-1]


def test_no_panel_averages_a_drawn_data_set_and_its_control(tmp_path: Path) -> None:
    for split, panels in (("", 2), ("CoOp's split", 3)):
        made = fake(tmp_path / f"{panels}", datasets=("rare", "shapes"), split=split)
        assert len(FIGURES["few_shot"].figure(made.write(), made.image).axes) == panels


def test_an_axis_does_not_magnify_one_image(tmp_path: Path) -> None:
    """88.10 to 88.25 % over the whole height looked like a gain."""
    made = fake(tmp_path, per_class=15)
    results = made.write()
    for name in ("few_shot", "text_count", "rerank_threshold"):
        ax = FIGURES[name].figure(results, made.image).axes[0]
        low, high = ax.get_ylim()
        assert high - low >= 100 * 10 / 90 - 1e-9, name
        assert low >= 0
        assert high <= 100


def test_few_shot_lines_are_named_below(tmp_path: Path) -> None:
    """Where lines end at one height, names at their ends were struck through by the lines that lead
    to them.
    """
    made = fake(tmp_path, datasets=("rare", "shapes"))
    figure = FIGURES["few_shot"].figure(made.write(), made.image)
    (legend,) = figure.legends
    names = {t.get_text() for t in legend.get_texts()}
    assert names == {"CLIP, prompt ensemble", *(METHODS[m].label for m in FEW_SHOT)}
    assert len(
        {(h.get_color(), h.get_linestyle(), h.get_marker()) for h in legend.legend_handles}
    ) == len(names)


@pytest.mark.parametrize("name", FIGURES)
def test_has_an_alternative_text(name: str) -> None:
    assert len(FIGURES[name].drawing.alt) > 20


def test_only_the_figures_that_the_rules_name_open_images(tmp_path: Path) -> None:
    """Others must not depend on folders that a colleague does not have."""
    made = fake(tmp_path)
    results = made.write()
    shows: set[str] = set()
    for name, exhibit in FIGURES.items():

        def image(dataset: str, image_id: str, figure: str = name) -> Image.Image:
            shows.add(figure)
            return made.image(dataset, image_id)

        exhibit.figure(results, image)
    assert shows == {name for name, exhibit in FIGURES.items() if exhibit.shows_images}
