"""Features on a t-SNE map (paper, Figure 5)."""

from __future__ import annotations

from matplotlib.figure import Figure

from ..parts import layout
from ..parts.style import DOUBLE, GREY, Drawing, Loader
from ..results import Results

SECTION = "Features"
ORDER = 20
PHASES = ("evaluation",)
DETAIL = True


def draw(results: Results, image: Loader) -> Figure:
    """Original features beside CODER on a t-SNE map, a row for each data set (paper, Figure 5)."""
    model = results.models[0]
    many = max(len(layout.classes(results, d, model)) for d in results.datasets) > layout.LEGEND
    side = 3.25 if many else 2.42
    head, gap = 0.3, 0.12
    row = head + side + gap + 0.14 * many  # room for the note
    figure = Figure(figsize=(DOUBLE, row * len(results.datasets)))
    for i, dataset in enumerate(results.datasets):
        classes, points = layout.classes(results, dataset, model), results.maps(dataset, model)
        top = row * i
        for j, (features, label) in enumerate((("original", "original features"), ("coder", "CODER"))):
            ax = layout.axes(figure, 0.05 + j * (side + gap), top + head, side, side)
            ax.grid(False)
            ax.set(xticks=[], yticks=[], title=f"{layout.title(results, dataset, model)}: {label}")
            for spine in ax.spines.values():
                spine.set(visible=True, color="#BBBBBB")
            shown = points[points["features"] == features]
            size = 9 if len(shown) < 1500 else 3
            looks = shown["label"] % layout.LOOKS  # with more classes than looks, one pass for each look
            for c in sorted(set(looks.tolist())):
                group = shown[looks == c]
                ax.scatter(group["x"], group["y"], s=size, linewidths=0, alpha=0.85, **layout.point(c))
            ax.margins(0.04)
        if len(classes) > layout.LEGEND:
            figure.text(
                0.05 / DOUBLE,
                1 - (top + head + side + 0.13) / (row * len(results.datasets)),
                f"{len(classes)} classes; colours and markers repeat, so the legend is left out.",
                va="center",
                color=GREY,
            )
        else:
            names = [layout.short(name) for name in classes]
            ax.legend(
                handles=[layout.entry(n, layout.point(c), dashes="") for c, n in enumerate(names)],
                labels=names,  # given again: an entry whose name begins with "_" would be hidden
                loc="center left",
                bbox_to_anchor=(1.02, 0.5),
                handlelength=1,
                labelspacing=0.12 if len(classes) > 16 else 0.35,
                borderpad=0,
                borderaxespad=0.2,
                handletextpad=0.4,
            )
    return figure


FIGURE = Drawing(
    draw,
    "Features on a map",
    "t-SNE of test images by original image features and by CODER, the same images in both, coloured by "
    "class. Distances between far groups mean nothing in such a map; the table of feature quality counts.",
    "Scatter plots of test images, one by original features and one by CODER, coloured by class.",
)
