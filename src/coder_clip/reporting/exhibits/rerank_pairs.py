"""What the rerank put right and wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from ..parts import layout
from ..parts.style import BLUE, DOUBLE, GREY, VERMILLION, Drawing, Loader
from ..results import Results

SECTION = "Errors"
ORDER = 30
PHASES = ("rerank",)
SHOWS_IMAGES = True


def nothing(results: Results) -> str:
    """A rerank that moved no image."""
    moved = any(p["fixed"] + p["broke"] for place in results for p in results.rerank(*place)["pairs"])
    return "" if moved else results.no_pairs or "the rerank changed the class of no image"


def draw(results: Results, image: Loader) -> Figure:
    """Which pairs of classes the rerank put right and wrong, with an image of each."""
    model = results.models[0]
    at_most = int(np.clip(24 // len(results.datasets), 2, 6))
    pitch, head, foot = 0.44, 0.46, 0.16
    blocks = []
    for dataset in results.datasets:
        document = results.rerank(dataset, model)
        main = results.setting_of(document["methods"])
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
        figure.text(0.08 / DOUBLE, y, layout.title(results, dataset, model), fontweight="bold", va="center")
        if not pairs:
            setting = results.setting_of(document["methods"])
            m = next((m for m in document["methods"] if m["setting"] == setting), None)
            gate = f" (threshold {m['threshold']:g}, {m['looked_at']} looked at)" if m else ""
            text = f"Setting '{setting}': no image was put right or wrong{gate}."
            figure.text(0.08 / DOUBLE, 1 - (top + 0.4) / total, text, color=GREY, va="center")
        else:
            figure.text(1 - 0.08 / DOUBLE, y, counts, color=GREY, va="center", ha="right")
            size = pitch * len(shown)
            bars = layout.axes(figure, 2.72, top + head, 2.55, size)
            thumbs = layout.axes(figure, 5.55, top + head, 2 * (pitch + 0.1), size)
            _pair_bars(bars, shown, document["classes"])
            _pair_images(thumbs, shown, pitch, lambda image_id, d=dataset: image(d, image_id))  # type: ignore[misc]
        top += height
    return figure


FIGURE = Drawing(
    draw,
    "What the rerank changed",
    "Images that the rerank moved from one class to another: put right (bars to the right) and put wrong "
    "(to the left), by pair, with the first image of each kind. Where the threshold chosen on validation changes "
    "nothing, the changes at the published threshold are shown.",
    "Bar charts of images put right and put wrong for each pair of classes, with an example image of each.",
)


def _pair_bars(ax: Axes, pairs: list[dict[str, Any]], classes: list[str]) -> None:
    """Right: put right; left: put wrong; one row for each pair."""
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
    one = f"{layout.plain(a)} → {layout.plain(b)}"
    return one if len(one) <= 40 else f"{layout.short(a, 38)}\n→ {layout.short(b, 38)}"


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
            picture = layout.thumbnail(image(p[key][0]))
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
