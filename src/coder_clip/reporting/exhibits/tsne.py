"""Features on a t-SNE map (paper, Figure 5)."""

from __future__ import annotations

from matplotlib.figure import Figure

from ..parts import layout
from ..parts.style import DOUBLE, Drawing, Loader
from ..results import Results

SECTION = "Features"
ORDER = 20
PHASES = ("evaluation",)
DETAIL = True


def draw(results: Results, image: Loader) -> Figure:
    """Original features beside CODER on a t-SNE map, a row for each data set (paper, Figure 5)."""
    # Placed in inches, so that maps are square and the legend gets the rest of the width. Both maps
    # of a row show the same images in the same colours, so one legend serves both.
    model = results.models[0]
    side, head, gap = 2.42, 0.3, 0.12
    row = head + side + gap
    figure = Figure(figsize=(DOUBLE, row * len(results.datasets)))
    for i, dataset in enumerate(results.datasets):
        classes = results.evaluation(dataset, model)["classes"]
        points = results.maps(dataset, model)
        shown = sorted(set(points["label"].tolist()))
        for j, (features, label) in enumerate(
            (("original", "original features"), ("coder", "CODER"))
        ):
            ax = layout.axes(figure, 0.05 + j * (side + gap), row * i + head, side, side)
            ax.grid(False)
            ax.set(xticks=[], yticks=[], title=f"{layout.title(results, dataset, model)}: {label}")
            for spine in ax.spines.values():
                spine.set(visible=True, color="#BBBBBB")
            map_points = points[points["features"] == features]
            # colours by place among the shown classes, so that neighbours in the legend differ
            for place, c in enumerate(shown):
                group = map_points[map_points["label"] == c]
                ax.scatter(
                    group["x"], group["y"], s=9, linewidths=0, alpha=0.85, **layout.point(place)
                )
            ax.margins(0.04)
        names = [layout.short(classes[c]) for c in shown]
        ax.legend(
            handles=[
                layout.entry(n, layout.point(place), dashes="") for place, n in enumerate(names)
            ],
            labels=names,  # in addition to handles: a name that begins with "_" would be hidden
            loc="center left",
            bbox_to_anchor=(1.02, 0.5),
            handlelength=1,
            labelspacing=0.35,
            borderpad=0,
            borderaxespad=0.2,
            handletextpad=0.4,
        )
    return figure


FIGURE = Drawing(
    draw,
    "Features on a map",
    "t-SNE of test images by original image features and by CODER, the same images in both, "
    "coloured by class. Of a data set with more than twelve classes the map shows twelve, evenly "
    "spaced in label order: no result decides which. Distances between far groups mean nothing in "
    "such a map; the table of feature quality counts.",
    "Scatter plots of test images, one by original features and one by CODER, coloured by class.",
)
