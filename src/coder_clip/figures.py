"""Figures: the paper's Figures 2, 4 and 5, and what texts and the rerank do. PDF and PNG, the same bytes every time.

A figure is one function from `Results` and an image loader to a matplotlib `Figure`, and one entry in
FIGURES; the command line, the report and the tests find it there. Colours are Okabe and Ito's, which colour-blind
people tell apart; markers, lines and hatches say the same again for print in black.
"""

from __future__ import annotations

import io
import textwrap
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from PIL import Image

from .artifacts import write_bytes
from .results import Results
from .settings import SETTINGS
from .tables import METHODS, average_runs

Loader = Callable[[str, str], Image.Image]  # (data set, image id) -> image

SINGLE, DOUBLE = 3.25, 6.75  # inches: one and two columns of the conference's style
DPI = 200
LEGEND = 20  # classes; more cannot be told apart, and the legend is left out
PANELS = 4  # a row
NAME = 22  # characters of a class name in a legend

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
VERMILLION, SKY, BLACK, GREY = "#D55E00", "#56B4E9", "#000000", "#6B6B6B"
# 7 colours and 3 markers are coprime: 21 classes differ, and neighbours in the list differ in both
POINT_COLOURS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK)
POINT_MARKERS = ("o", "^", "s")
LOOKS = len(POINT_COLOURS) * len(POINT_MARKERS)

LINES: dict[str, dict[str, Any]] = {
    "coder_adapter": {"color": BLUE, "linestyle": "-", "marker": "o"},
    "raw_adapter": {"color": VERMILLION, "linestyle": "--", "marker": "s"},
    "tip_adapter": {"color": GREEN, "linestyle": "-.", "marker": "^"},
    "clean": {"color": BLUE, "linestyle": "-", "marker": "o"},
    "corrected": {"color": GREEN, "linestyle": "-.", "marker": "^"},
    "as_published": {"color": VERMILLION, "linestyle": "--", "marker": "s"},
}
SPARE = (
    {"color": PURPLE, "linestyle": ":", "marker": "D"},
    {"color": ORANGE, "linestyle": "--", "marker": "v"},
)
LEVEL: dict[str, Any] = {"color": GREY, "linestyle": (0, (1, 1.5)), "linewidth": 1.3}

STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # a class name may hold a dollar sign
    "text.usetex": False,
    "axes.unicode_minus": True,
    "pdf.fonttype": 42,  # TrueType: text stays text, and conferences ask for it
    "savefig.dpi": DPI,
    "figure.dpi": DPI,
    "image.interpolation": "antialiased",
}
# For names that DejaVu Sans (which comes with matplotlib) cannot write, where the machine has one of these.
FALLBACKS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "Hiragino Sans",
    "Noto Sans Devanagari",
    "Noto Sans Bengali",
    "Noto Sans Tamil",
    "Noto Sans Thai",
    "Noto Sans Ethiopic",
)


@dataclass(frozen=True)
class Drawing:
    """A figure's function and what to say beside it.

    phases: whose artefacts it shows. section: where the report shows it. alt: for who cannot see it.
    """

    draw: Callable[[Results, Loader], Figure]
    title: str
    caption: str
    alt: str
    section: str
    phases: tuple[str, ...]

    def __call__(self, results: Results, image: Loader) -> Figure:
        with _style():
            return self.draw(results, image)


def write(figure: Figure, stem: str | Path) -> None:
    """Write ``stem``.pdf and ``stem``.png; no dates or versions inside, so the bytes are the same every time."""
    stem = Path(stem)
    without: dict[str, dict[str, None]] = {
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        "png": {"Software": None},
    }
    for suffix, metadata in without.items():
        buffer = io.BytesIO()
        with _style():
            figure.savefig(buffer, format=suffix, dpi=DPI, metadata=metadata)
        write_bytes(stem.with_name(f"{stem.name}.{suffix}"), buffer.getvalue())


# ---- the figures


def few_shot(results: Results, image: Loader) -> Figure:
    """Accuracy against shots, a panel a data set and one for their average (paper, Figure 4)."""
    places: list[tuple[str | None, str]] = list(results)
    if len(results.datasets) > 1:
        places += [(None, model) for model in results.models]
    figure, panels = _panels(len(places))
    methods: dict[str, None] = {}
    for ax, (dataset, model) in zip(panels, places, strict=True):
        curves = _few_shot_curves(results, dataset, model)
        for method, (shots, mean, std) in curves.items():
            methods.setdefault(method)
            if method == "clip_ensemble":
                ax.axhline(100 * mean[0], **LEVEL)
                continue
            look = _line(method, methods)
            ax.plot(shots, 100 * mean, **look, markeredgecolor="white", markeredgewidth=0.5)
            ax.fill_between(
                shots, 100 * (mean - std), 100 * (mean + std), color=look["color"], alpha=0.16, linewidth=0
            )
        ax.set_title(_title(results, dataset or "average over data sets", model))
        ax.set_xscale("log", base=2)
        if results.shots:
            ax.set_xticks(results.shots, [str(s) for s in results.shots])
        ax.minorticks_off()
        ax.yaxis.set_major_locator(MaxNLocator(5))
    _outer_labels(panels, "Shots a class", "Top-1 accuracy (%)")
    handles = []
    for method in (m for m in METHODS if m in methods):
        label = "CLIP, zero-shot" if method == "clip_ensemble" else METHODS[method]
        look = LEVEL if method == "clip_ensemble" else _line(method, methods)
        handles.append(Line2D([], [], label=label, **look))
    _legend_below(figure, handles)
    return figure


def tsne(results: Results, image: Loader) -> Figure:
    """Original features beside CODER on a t-SNE map, a row a data set (paper, Figure 5)."""
    model = results.models[0]
    many = max(len(_classes(results, d, model)) for d in results.datasets) > LEGEND
    side = 3.25 if many else 2.42
    head, gap = 0.3, 0.12
    row = head + side + gap + 0.14 * many  # room for the note
    figure = Figure(figsize=(DOUBLE, row * len(results.datasets)))
    for i, dataset in enumerate(results.datasets):
        classes, points = _classes(results, dataset, model), results.maps(dataset, model)
        top = row * i
        for j, (features, label) in enumerate((("original", "original features"), ("coder", "CODER"))):
            ax = _axes(figure, 0.05 + j * (side + gap), top + head, side, side)
            ax.grid(False)
            ax.set(xticks=[], yticks=[], title=f"{_title(results, dataset, model)}: {label}")
            for spine in ax.spines.values():
                spine.set(visible=True, color="#BBBBBB")
            shown = points[points["features"] == features]
            size = 9 if len(shown) < 1500 else 3
            looks = shown["label"] % LOOKS  # with more classes than looks, one pass a look
            for c in sorted(set(looks.tolist())):
                group = shown[looks == c]
                ax.scatter(group["x"], group["y"], s=size, linewidths=0, alpha=0.85, **_point(c))
            ax.margins(0.04)
        if len(classes) > LEGEND:
            figure.text(
                0.05 / DOUBLE,
                1 - (top + head + side + 0.13) / (row * len(results.datasets)),
                f"{len(classes)} classes; colours and markers repeat, so the legend is left out.",
                va="center",
                color=GREY,
            )
        else:
            handles = [
                Line2D([], [], linestyle="", markersize=4.5, label=_short(name), **_point(c))
                for c, name in enumerate(classes)
            ]
            ax.legend(
                handles=handles,
                labels=[_short(name) for name in classes],
                loc="center left",
                bbox_to_anchor=(1.02, 0.5),
                handlelength=1,
                labelspacing=0.12 if len(classes) > 16 else 0.35,
                borderpad=0,
                borderaxespad=0.2,
                handletextpad=0.4,
            )
    return figure


def correction(results: Results, image: Loader) -> Figure:
    """An image that original features put beside another class, and CODER beside its own (paper, Figure 2)."""
    model = results.models[0]
    examples = [
        (dataset, found[0])
        for dataset in results.datasets
        if (found := results.evaluation(dataset, model)["corrections"])
    ][:PANELS]
    if not examples:
        return _message("No image whose nearest neighbour CODER corrects.")
    row, head = 2.2, 0.3
    figure = Figure(figsize=(DOUBLE, row * len(examples) + head))
    total = row * len(examples) + head
    handles = [Patch(facecolor=c, edgecolor="white", hatch=h, label=label) for label, c, h in _THREE.values()]
    figure.legend(
        handles=handles,
        loc="upper right",
        ncols=3,
        bbox_to_anchor=(0.995, 1),
        columnspacing=1.2,
        borderpad=0.3,
    )
    for i, (dataset, example) in enumerate(examples):
        top = head + row * i
        name_of = _names_of(results, dataset, model)
        figure.text(
            0.08 / DOUBLE,
            1 - (top - 0.03) / total,
            _title(results, dataset, model),
            fontweight="bold",
            va="bottom",
        )
        for j, (who, what) in enumerate(
            (("other", "other class"), ("query", "query"), ("same", "same class"))
        ):
            left = 0.08 + j * 0.93
            ax = _axes(figure, left, top + 0.17, 0.84, 0.84)
            _show(ax, image(dataset, example[who]), _THREE[who][1])
            ax.set_title(what, loc="center", fontweight="normal", pad=2.5)
            name = _wrap(name_of(example[who]), 15, 2)
            ax.text(0.5, -0.05, name, transform=ax.transAxes, ha="center", va="top", linespacing=0.95)
        for line, (features, label) in enumerate((("original", "original"), ("coder", "CODER"))):
            y = 1 - (top + 1.47 + 0.19 * line) / total
            cosine = example[features]
            nearest = max(cosine, key=lambda k: cosine[k])
            for who, x in (("other", 0.5), ("same", 2.36)):
                weight = "bold" if who == nearest else "normal"
                colour = _THREE[who][1] if who == nearest else GREY
                text = f"{cosine[who]:.{_digits(cosine['same'], cosine['other'])}f}"
                figure.text(x / DOUBLE, y, text, ha="center", va="center", fontweight=weight, color=colour)
            arrows = f"◀ {label}   " if nearest == "other" else f"   {label} ▶"
            figure.text(1.43 / DOUBLE, y, arrows, ha="center", va="center")
        note = "cosine with the query; bold: nearer"
        figure.text(1.43 / DOUBLE, 1 - (top + 1.86) / total, note, ha="center", va="center", color=GREY)
        _text_bars(_axes(figure, 5.0, top + 0.1, 1.65, row - 0.52), example["texts"])
    return figure


def text_count(results: Results, image: Loader) -> Figure:
    """Accuracy of stage one against texts a class: how densely the texts sample."""
    figure, panels = _panels(len(results.datasets))
    for ax, dataset in zip(panels, results.datasets, strict=True):
        for i, model in enumerate(results.models):
            draws = results.evaluation(dataset, model)["text_counts"]
            look = _MODEL_LINES[i % len(_MODEL_LINES)]
            at = [d["count"] for d in draws]
            ax.scatter(
                at, [100 * d["accuracy"] for d in draws], s=9, color=look["color"], alpha=0.35, linewidths=0
            )
            counts = sorted(set(at))
            means = [100 * float(np.mean([d["accuracy"] for d in draws if d["count"] == n])) for n in counts]
            ax.plot(counts, means, **look, label=_plain(model), markeredgecolor="white", markeredgewidth=0.5)
        ax.set_title(_plain(dataset) if len(results.datasets) > 1 else _title(results, dataset, ""))
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(5))
    _outer_labels(panels, "Texts a class", "Top-1 accuracy (%)")
    point = Line2D(
        [], [], linestyle="", marker="o", markersize=3, color=GREY, alpha=0.6, label="one random draw"
    )
    models = [
        Line2D([], [], label="mean over draws" if len(results.models) == 1 else _plain(m), **s)
        for m, s in zip(results.models, _cycle(_MODEL_LINES), strict=False)
    ]
    _legend_below(figure, [*models, point])
    return figure


def rerank_threshold(results: Results, image: Loader) -> Figure:
    """Accuracy, and how many images are looked at, against the threshold of the rerank's gate."""
    places = list(results)
    columns = min(PANELS, len(places))
    rows = -(-len(places) // columns)
    width = SINGLE if len(places) == 1 else DOUBLE
    figure = Figure(figsize=(width, 2.65 * rows + 0.5), layout="constrained")
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[1.7, 1] * rows)
    seen: dict[str, list[str]] = {}
    for i, (dataset, model) in enumerate(places):
        r, c = divmod(i, columns)
        upper = figure.add_subplot(grid[2 * r, c])
        lower = figure.add_subplot(grid[2 * r + 1, c], sharex=upper)
        document = results.rerank(dataset, model)
        for names, sweep in _sweeps(document):
            look = {k: v for k, v in _line(names[-1], {}).items() if k != "marker"}
            seen.setdefault(names[-1], names)
            at = [s["threshold"] for s in sweep]
            upper.plot(at, [100 * s["accuracy"] for s in sweep], **look)
            lower.plot(at, [s["looked_at"] for s in sweep], **look)
        for m in document["methods"]:
            look = _line(m["setting"], {})
            mark = {"marker": look["marker"], "color": look["color"], "markersize": 5.5, "zorder": 4}
            at_, accuracy = [m["threshold"]], [100 * m["accuracy"]["value"]]
            upper.plot(at_, accuracy, **mark, linestyle="", markeredgecolor="white", markeredgewidth=0.7)
        upper.set_title(_title(results, dataset, model))
        upper.tick_params(labelbottom=False)
        upper.yaxis.set_major_locator(MaxNLocator(4))
        lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        lower.set_ylim(bottom=0)
        upper.set_xlim(-0.02, 1.02)
        if i + columns >= len(places):
            lower.set_xlabel("Threshold of the gate")
        if c == 0:
            upper.set_ylabel("Top-1 (%)")
            lower.set_ylabel("Looked at")
    order = [
        s for s in SETTINGS if any(m["setting"] == s for p in places for m in results.rerank(*p)["methods"])
    ]
    handles = []
    for s in order:
        look = _line(s, {})
        line: Any = look["linestyle"] if s in seen else ""
        label = s if s in seen else f"{s} (line of {next(k for k, v in seen.items() if s in v)})"
        mark = {"marker": look["marker"], "color": look["color"], "markersize": 5.5}
        handles.append(
            Line2D([], [], label=label, linestyle=line, markeredgecolor="white", markeredgewidth=0.7, **mark)
        )
    _legend_below(figure, handles, "Line: any threshold. Marker: the threshold in use.")
    return figure


def rerank_pairs(results: Results, image: Loader) -> Figure:
    """Which pairs of classes the rerank put right and wrong, with an image of each."""
    model = results.models[0]
    at_most = int(np.clip(24 // len(results.datasets), 2, 6))
    pitch, head, foot = 0.44, 0.46, 0.16
    blocks = []
    for dataset in results.datasets:
        document = results.rerank(dataset, model)
        main = results.rerank_setting(document)
        # where validation chose to rerank nothing, the published threshold still shows what it would change
        by_setting = {
            s: [p for p in document["pairs"] if p["setting"] == s and p["fixed"] + p["broke"]]
            for s in (main, "corrected")
        }
        setting = main if by_setting[main] else "corrected"
        pairs = [{**p, "main": setting == main} for p in by_setting[setting]]
        blocks.append((dataset, document, pairs, head + foot + pitch * min(at_most, len(pairs))))
    total = sum(height for *_, height in blocks)
    figure = Figure(figsize=(DOUBLE, total))
    top = 0.0
    for dataset, document, pairs, height in blocks:
        fixed, broke = (sum(p[k] for p in pairs) for k in ("fixed", "broke"))
        shown = pairs[:at_most]
        counts = f"{len(pairs)} pair{'s' * (len(pairs) != 1)}: {fixed} images put right, {broke} put wrong"
        if len(shown) < len(pairs):
            counts += f"; the {len(shown)} largest shown"
        if pairs and not pairs[0]["main"]:
            m = next(m for m in document["methods"] if m["setting"] == "corrected")
            counts = f"threshold {m['threshold']:g} as published: {counts}"
        y = 1 - (top + 0.16) / total
        figure.text(0.08 / DOUBLE, y, _title(results, dataset, model), fontweight="bold", va="center")
        if not pairs:
            setting = results.rerank_setting(document)
            m = next((m for m in document["methods"] if m["setting"] == setting), None)
            gate = f" (threshold {m['threshold']:g}, {m['looked_at']} looked at)" if m else ""
            text = f"Setting '{setting}': no image was put right or wrong{gate}."
            figure.text(0.08 / DOUBLE, 1 - (top + 0.4) / total, text, color=GREY, va="center")
        else:
            figure.text(1 - 0.08 / DOUBLE, y, counts, color=GREY, va="center", ha="right")
            size = pitch * len(shown)
            bars = _axes(figure, 2.72, top + head, 2.55, size)
            thumbs = _axes(figure, 5.55, top + head, 2 * (pitch + 0.1), size)
            _pair_bars(bars, shown, document["classes"])
            _pair_images(thumbs, shown, pitch, lambda image_id, d=dataset: image(d, image_id))  # type: ignore[misc]
        top += height
    return figure


FIGURES: dict[str, Drawing] = {
    "few_shot": Drawing(
        few_shot,
        "Few-shot classification",
        "Top-1 accuracy on the test split against training images a class. Lines: mean over seeds; bands: one "
        "sample standard deviation to either side; dotted: CLIP with the prompt ensemble, which sees no shots.",
        "Line charts of accuracy against shots for Tip-Adapter, the adapter on raw features and CODER-Adapter, "
        "with zero-shot CLIP as a level line; the numbers stand in the few-shot table.",
        "Few-shot",
        ("adapter",),
    ),
    "tsne": Drawing(
        tsne,
        "Features on a map",
        "t-SNE of test images by original image features and by CODER, the same images in both, coloured by "
        "class. Distances between far groups mean nothing in such a map; the table of feature quality counts.",
        "Scatter plots of test images, one by original features and one by CODER, coloured by class.",
        "Features",
        ("evaluation",),
    ),
    "correction": Drawing(
        correction,
        "A distance corrected",
        "Test images that original features put nearest to an image of another class, and CODER nearest to one "
        "of their own: the largest such correction of each data set. Bars: cosines of the three images with the "
        "texts that tell them apart best.",
        "Three images, the query between one of another class and one of its class, with their cosines by "
        "original features and by CODER, and bars of their similarity to texts.",
        "Features",
        ("evaluation", "zero_shot"),
    ),
    "text_count": Drawing(
        text_count,
        "How many texts it takes",
        "Top-1 accuracy of stage one against texts a class besides its name, drawn at random from all kinds. "
        "Dots: one draw; line: mean over draws.",
        "Line charts of accuracy against the number of texts a class.",
        "Texts",
        ("evaluation",),
    ),
    "rerank_threshold": Drawing(
        rerank_threshold,
        "The rerank's gate",
        "Above: top-1 accuracy after the rerank against the threshold of its gate (0 reranks nothing, 1 nearly "
        "everything). Below: test images the gate lets through. Markers: the threshold each setting uses; "
        "settings whose texts do not differ share a line.",
        "Line charts of accuracy and of the number of images looked at against the threshold, with the "
        "thresholds in use marked.",
        "Zero-shot",
        ("rerank",),
    ),
    "rerank_pairs": Drawing(
        rerank_pairs,
        "What the rerank changed",
        "Images that the rerank moved from one class to another: put right (bars to the right) and put wrong "
        "(to the left), by pair, with the first image of each kind. Where the threshold chosen on validation changes "
        "nothing, the changes at the published threshold are shown.",
        "Bar charts of images put right and put wrong for each pair of classes, with an example image of each.",
        "Zero-shot",
        ("rerank",),
    ),
}


# ---- parts of figures

_THREE = {
    "query": ("query", "#4D4D4D", ""),
    "same": ("same class", BLUE, "...."),
    "other": ("other class", VERMILLION, "////"),
}
_MODEL_LINES: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "linestyle": "-", "marker": "o"},
    {"color": VERMILLION, "linestyle": "--", "marker": "s"},
    {"color": GREEN, "linestyle": "-.", "marker": "^"},
    {"color": PURPLE, "linestyle": ":", "marker": "D"},
    {"color": ORANGE, "linestyle": "-", "marker": "v"},
)


def _few_shot_curves(
    results: Results, dataset: str | None, model: str
) -> dict[str, tuple[Sequence[int], Any, Any]]:
    """Method -> shots, means, standard deviations; of the average over data sets where dataset is None."""
    found: dict[str, list[tuple[int, float, float]]] = {}
    for shots in results.shots:
        document = results.adapter(dataset or results.datasets[0], model, shots)
        setting = results.few_shot_setting(document)
        for s in document["summary"]:
            if s["setting"] != setting:
                continue
            mean, std = s["accuracy"]["mean"], s["accuracy"]["std"]
            if dataset is None:
                runs = list(average_runs(results, model, s["method"], shots).values())
                if not runs:
                    continue
                mean, std = np.mean(runs), np.std(runs, ddof=1) if len(runs) > 1 else 0.0
            found.setdefault(s["method"], []).append((shots, float(mean), float(std)))
    return {
        method: (
            [p[0] for p in points],
            np.array([p[1] for p in points]),
            np.array([p[2] for p in points]),
        )
        for method, points in found.items()
    }


def _sweeps(document: dict[str, Any]) -> list[tuple[list[str], list[dict[str, Any]]]]:
    """Curves over thresholds with the settings that share them: corrected and clean differ in the choice only."""
    curves: dict[tuple[Any, ...], list[str]] = {}
    points: dict[str, list[dict[str, Any]]] = {}
    for p in document["sweep"]:
        points.setdefault(p["setting"], []).append(p)
    for setting, sweep in points.items():
        sweep.sort(key=lambda p: p["threshold"])
        key = tuple((p["threshold"], p["accuracy"], p["looked_at"]) for p in sweep)
        curves.setdefault(key, []).append(setting)
    return [(names, points[names[-1]]) for names in curves.values()]


def _text_bars(ax: Axes, texts: list[dict[str, Any]]) -> None:
    """Cosines of the three images with each text, most telling text on top."""
    thick = 0.27
    for i, who in enumerate(_THREE):
        y = np.arange(len(texts)) + (i - 1) * thick
        _, colour, hatch = _THREE[who]
        ax.barh(
            y,
            [t[who] for t in texts],
            thick,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0,
        )
    ax.set_yticks(np.arange(len(texts)), [_wrap(t["text"], 36, 2) for t in texts], linespacing=1.05)
    ax.set_ylim(len(texts) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.axvline(0, color="#444444", linewidth=0.7)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set_xlabel("cosine with the text", labelpad=1)


def _pair_bars(ax: Axes, pairs: list[dict[str, Any]], classes: list[str]) -> None:
    """Right: put right; left: put wrong; one row a pair."""
    y = np.arange(len(pairs))
    widest = max(max(p["fixed"], p["broke"]) for p in pairs)
    ax.barh(y, [p["fixed"] for p in pairs], 0.5, color=BLUE)
    ax.barh(
        y, [-p["broke"] for p in pairs], 0.5, color=VERMILLION, hatch="////", edgecolor="white", linewidth=0
    )
    for i, p in enumerate(pairs):
        for value, side in ((p["fixed"], 1), (p["broke"], -1)):
            if value:
                x = side * (value + 0.04 * widest)
                ax.text(x, i, str(value), ha="left" if side > 0 else "right", va="center")
    ax.axvline(0, color="#444444", linewidth=0.8)
    room = 0.25 * widest  # for the counts beside the bars
    ax.set_xlim(-max(p["broke"] for p in pairs) - room, max(p["fixed"] for p in pairs) + room)
    ax.set_ylim(len(pairs) - 0.5, -0.5)
    ax.set_yticks(y, [_pair_name(classes[p["a"]], classes[p["b"]]) for p in pairs], linespacing=1.1)
    ax.tick_params(axis="y", length=0)
    ax.set_xticks([])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    above = ax.get_xaxis_transform()
    gap = 0.03 * (ax.get_xlim()[1] - ax.get_xlim()[0])
    ax.text(-gap, 1.02, "put wrong", transform=above, ha="right", va="bottom", color=VERMILLION)
    ax.text(gap, 1.02, "put right", transform=above, ha="left", va="bottom", color=BLUE)


def _pair_name(a: str, b: str) -> str:
    """The class before and the class after, on two lines where one is too short."""
    one = f"{_plain(a)} → {_plain(b)}"
    return one if len(one) <= 40 else f"{_short(a, 38)}\n→ {_short(b, 38)}"


def _pair_images(
    ax: Axes, pairs: list[dict[str, Any]], pitch: float, image: Callable[[str], Image.Image]
) -> None:
    """The first image put wrong and the first put right of each pair, framed in the bars' colours."""
    width = (pitch + 0.1) / pitch  # of a column, in rows
    for i, p in enumerate(pairs):
        for column, (key, colour) in enumerate((("broke_ids", VERMILLION), ("fixed_ids", BLUE))):
            x = width * (column + 0.5)
            if not p[key]:
                ax.text(x, i, "–", ha="center", va="center", color=GREY)
                continue
            picture = _thumbnail(image(p[key][0]))
            half = 0.44
            w, h = (half * s / max(picture.size) for s in picture.size)
            ax.imshow(picture, extent=(x - w, x + w, i + h, i - h), aspect="auto", zorder=2)
            frame_x, frame_y = (x - w, x + w, x + w, x - w, x - w), (i - h, i - h, i + h, i + h, i - h)
            ax.plot(frame_x, frame_y, color=colour, linewidth=1.0, zorder=3)
    ax.set_xlim(0, 2 * width)
    ax.set_ylim(len(pairs) - 0.5, -0.5)
    ax.axis("off")
    for column, (text, colour) in enumerate((("wrong", VERMILLION), ("right", BLUE))):
        place = ((column + 0.5) / 2, 1 + 0.02)
        ax.text(*place, text, transform=ax.transAxes, ha="center", va="bottom", color=colour)


def _digits(a: float, b: float) -> int:
    """Decimals it takes to tell two cosines apart, at least 3: those of CODERs lie close to 1."""
    return next((n for n in range(3, 7) if f"{a:.{n}f}" != f"{b:.{n}f}"), 6)


def _show(ax: Axes, picture: Image.Image, colour: str) -> None:
    ax.imshow(_thumbnail(picture))
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=True, color=colour, linewidth=1.4)


def _thumbnail(picture: Image.Image, side: int = 200) -> Image.Image:
    """The image at the size it is printed in, so that files stay small."""
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def _classes(results: Results, dataset: str, model: str) -> list[str]:
    return list(results.evaluation(dataset, model)["classes"])


def _names_of(results: Results, dataset: str, model: str) -> Callable[[str], str]:
    """Image id -> name of its class, as the per-image rows of stage one have it."""
    rows = results.zero_shot_rows(dataset, model)
    label = dict(zip(rows["image_id"], rows["label"], strict=True))
    classes = _classes(results, dataset, model)
    return lambda image_id: _plain(classes[label[image_id]]) if image_id in label else ""


# ---- layout


@contextmanager
def _style() -> Iterator[None]:
    families = ["DejaVu Sans", *_fallbacks()]
    # from matplotlib's own defaults, whatever matplotlibrc the user has
    with style.context(["default", {**STYLE, "font.family": families}]), warnings.catch_warnings():
        # no font of the machine has a glyph: a box is drawn, and the numbers still stand
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support .* natively")
        yield


@cache
def _fallbacks() -> tuple[str, ...]:
    there = set(font_manager.get_font_names())
    return tuple(f for f in FALLBACKS if f in there)


def _panels(n: int) -> tuple[Figure, list[Axes]]:
    """n panels, one at column width, several at page width."""
    columns = min(PANELS if n != 5 and n != 6 else 3, n)
    rows = -(-n // columns)
    width = SINGLE if n == 1 else DOUBLE
    height = 2.35 if n == 1 else 2.0 if columns <= 3 else 1.75
    figure = Figure(figsize=(width, height * rows + 0.5), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(n)]


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the upper left corner."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))


def _outer_labels(panels: list[Axes], x: str, y: str) -> None:
    """Axis labels on the left of every row and below every column."""
    for i, ax in enumerate(panels):
        spec = ax.get_subplotspec()
        assert spec is not None
        if spec.is_first_col():
            ax.set_ylabel(y)
        if i + spec.get_geometry()[1] >= len(panels):
            ax.set_xlabel(x)


def _legend_below(figure: Figure, handles: list[Line2D], title: str | None = None) -> None:
    columns = len(handles) if figure.get_figwidth() > SINGLE else min(2, len(handles))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        handlelength=2.4 if figure.get_figwidth() > SINGLE else 1.8,
        title=title,
        columnspacing=1.4,
        borderpad=0.2,
    )


def _message(text: str) -> Figure:
    figure = Figure(figsize=(SINGLE, 0.8))
    figure.text(0.5, 0.5, "\n".join(textwrap.wrap(text, 44)), ha="center", va="center", color=GREY)
    return figure


def _line(key: str, seen: dict[str, None]) -> dict[str, Any]:
    """The line of a method or setting; one we do not know gets a spare one."""
    if key in LINES:
        return LINES[key]
    spare = [k for k in seen if k not in LINES and k != "clip_ensemble"]
    return SPARE[(spare.index(key) if key in spare else 0) % len(SPARE)]


def _point(c: int) -> dict[str, Any]:
    return {
        "color": POINT_COLOURS[c % len(POINT_COLOURS)],
        "marker": POINT_MARKERS[c % len(POINT_MARKERS)],
    }


def _cycle(styles: tuple[dict[str, Any], ...]) -> Iterator[dict[str, Any]]:
    return (styles[i % len(styles)] for i in count())


# ---- text


def _title(results: Results, dataset: str, model: str) -> str:
    """The data set, and the model where there are several."""
    return f"{_plain(dataset)} · {_plain(model)}" if model and len(results.models) > 1 else _plain(dataset)


def _plain(name: str) -> str:
    """On one line, underscores as spaces, as the texts write it; a leading one would hide a legend entry."""
    return " ".join("".join(c if c.isprintable() else " " for c in name.replace("_", " ")).split())


def _short(name: str, at_most: int = NAME) -> str:
    """At most so many characters wide; an East Asian one is as wide as two."""
    name, width = _plain(name), 0
    for i, c in enumerate(name):
        width += 2 if unicodedata.east_asian_width(c) in "WF" else 1
        if width > at_most:
            return name[: max(0, i - 1)].rstrip() + "…"
    return name


def _wrap(text: str, width: int, lines: int) -> str:
    wrapped = textwrap.wrap(_plain(text), width, max_lines=lines, placeholder=" …")
    return "\n".join(wrapped)
