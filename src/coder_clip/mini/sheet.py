"""The sheet of `shapes`: every class once as drawn, then as the test split shows it."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ..datasets.shapes import SIZE, SUPER, THINGS, Pen, Pose, Shapes, generator

COLUMNS, TESTS, GAP, LABEL = 10, 3, 4, 16


def sheet(out: Path) -> None:
    """Writes the sheet as PNG: ten classes a row; below each name the thing itself and three test images."""
    data = Shapes()
    ids = data.split("test").ids
    per_class = len(ids) // len(THINGS)
    cell, block = SIZE + GAP, (1 + TESTS) * (SIZE + GAP) + LABEL
    rows = -(-len(THINGS) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * cell + GAP, rows * block + GAP), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(9)
    for c, thing in enumerate(THINGS):
        x, y = GAP + (c % COLUMNS) * cell, GAP + (c // COLUMNS) * block
        draw.text((x + SIZE / 2, y + 5), thing.name, fill="black", font=font, anchor="mm")
        pen = Pen(Pose(0, 0, 0.92, 0, 1).matrix())
        thing.draw(pen, thing.variants[0][1], generator(f"sheet/{thing.name}"))
        plain = Image.new("RGB", (SIZE * SUPER, SIZE * SUPER), (226, 232, 228))
        plain.paste(pen.layer, (0, 0), pen.layer)
        page.paste(plain.reduce(SUPER), (x, y + LABEL - 2))
        for i in range(TESTS):
            image = data.image(ids[c * per_class + i])
            page.paste(image, (x, y + LABEL - 2 + (i + 1) * cell))
    out.parent.mkdir(parents=True, exist_ok=True)
    page.quantize(160).save(out, optimize=True)
