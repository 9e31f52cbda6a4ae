"""The sheets of `shapes` and `rare`: every class once as drawn, then as the test split shows it."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from coder_clip.datasets.drawn.drawing import SIZE, SUPER, DrawnDataset, Pen, Pose, generator, slug
from coder_clip.datasets.drawn.rare import SPECIES, Rare, draw
from coder_clip.datasets.drawn.shapes import THINGS, Shapes

TESTS, GAP, LABEL, LETTERS = 3, 4, 24, 12
COLUMNS = {"shapes": 10, "rare": 12}
SIZES = {"shapes": 0.92, "rare": 0.8}  # of the thing itself


def sheets(folder: Path) -> None:
    """Write ``shapes.png`` and ``rare.png``.

    Below each class's name are the thing itself and three test images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for data in (Shapes(), Rare()):
        _sheet(data).quantize(200).save(folder / f"{data.name}.png", optimize=True)


def _sheet(data: DrawnDataset) -> Image.Image:
    columns = COLUMNS[data.name]
    cell, block = SIZE + GAP, (1 + TESTS) * (SIZE + GAP) + LABEL
    rows = -(-len(data.classes) // columns)
    page = Image.new("RGB", (columns * cell + GAP, rows * block + GAP), "white")
    text, font = ImageDraw.Draw(page), ImageFont.load_default(9)
    for c, name in enumerate(data.classes):
        x, y = GAP + (c % columns) * cell, GAP + (c // columns) * block
        shown = name if len(name) <= LETTERS else name.replace(" ", "\n")
        text.text(
            (x + SIZE / 2, y + LABEL / 2 - 2),
            shown,
            fill="black",
            font=font,
            anchor="mm",
            align="center",
        )
        pen = Pen(Pose(0, 0, SIZES[data.name], 0, 1).matrix())
        if data.name == "rare":
            draw(pen, SPECIES[name], 1, False, generator(f"sheet/{name}"))
        else:
            THINGS[c].draw(pen, THINGS[c].variants[0][1], generator(f"sheet/{name}"))
        plain = Image.new("RGB", (SIZE * SUPER, SIZE * SUPER), (226, 232, 228))
        plain.paste(pen.layer, (0, 0), pen.layer)
        page.paste(plain.reduce(SUPER), (x, y + LABEL - 2))
        for i in range(TESTS):
            page.paste(
                data.image(f"test/{slug(name)}/{i:04d}"), (x, y + LABEL - 2 + (i + 1) * cell)
            )
    return page
