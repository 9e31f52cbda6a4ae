"""Format classified or found photos as a table for the terminal, CSV, JSON or JSON Lines."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.cells import cell_len

from coder_clip.foundation import terminal

from .classifier import Photo, Reason
from .files import NONE, cut_middle, first_ten, shown

SHORTEST = 16  # characters that are left of a path, however narrow the terminal


def as_csv(
    photos: Sequence[Photo],
    top: int,
    why: int,
    points: bool = True,
    more: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Format as CSV.

    image, class (empty: none of these), score, probability (if there are any), margin, runner_up,
    reranked; then the likeliest classes and the texts for and against.

    points: False if scores are not points; then cells of the margin are empty. more: head of a
    further column -> its cell for each photo.
    """
    # `top` and `why` give the number of numbered columns; a photo with fewer has empty cells.
    calibrated = any(p.probability is not None for p in photos)
    head = ["image", "class", "score"]
    if calibrated:
        head.append("probability")
    head += ["margin", "runner_up", "reranked"]
    head += [f"{what}{i + 1}" for i in range(top) for what in ("top", "score")]
    head += [f"{side}{i + 1}" for side in ("for", "against") for i in range(why)]
    more = more or {}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*head, *more])
    for at, p in enumerate(photos):
        row = [cell(p.image), cell(p.label or ""), f"{p.score:.4f}"]
        if calibrated:
            row.append("" if p.probability is None else f"{p.probability:.4f}")
        row.append(f"{p.margin:.4f}" if points else "")
        row += [cell(p.runner_up), str(p.reranked).lower()]
        likeliest = [(cell(name), f"{score:.4f}") for name, score in p.top[:top]]
        row += _padded([text for pair in likeliest for text in pair], 2 * top)
        for reasons in (p.reasons_for, p.reasons_against):
            row += _padded([cell(reason(r, p.best)) for r in reasons], why)
        row += [cell(texts[at]) for texts in more.values()]
        writer.writerow(row)
    return out.getvalue()


def _padded(cells: list[str], n: int) -> list[str]:
    """Add empty cells until there are n."""
    return cells + [""] * (n - len(cells))


def cell(text: str) -> str:
    """A text as a cell of a CSV file.

    Control characters are escaped, except newlines, which CSV quotes.

    Spreadsheets run a text that begins with =, +, - or @ as a formula, so it gets an apostrophe
    before it, which makes it plain text.
    """
    if not text.isprintable():
        text = "\n".join(shown(line) for line in text.split("\n"))
    if text.startswith(("=", "+", "-", "@")):
        return f"'{text}"
    return text


def as_json(objects: Iterable[Mapping[str, Any]], lines: bool) -> str:
    """Format as JSON Lines, one object per photo, or as one JSON list."""
    found = [json.dumps(one, ensure_ascii=True, allow_nan=False) for one in objects]
    if lines:
        return "".join(f"{one}\n" for one in found)
    return "[" + ",\n ".join(found) + "]\n"


def as_table(
    photos: Sequence[Photo], top: int, width: int | None = None, points: bool = True
) -> str:
    """Format in columns: one line per photo, and below it the texts for and against.

    width: of the terminal.

    points: True if scores are points; without them the table has no column for the margin.
    """
    calibrated = any(p.probability is not None for p in photos)
    head = ["photo", "class", "probability" if calibrated else "score"]
    if points:
        head.append("margin")
    rows = [[*head, "runner-up"]]
    for p in photos:
        if not calibrated:
            certainty = f"{p.score:.1f}"
        elif p.probability is None:
            certainty = "reranked"
        else:
            certainty = f"{100 * p.probability:.0f} %"
        others = ", ".join(name for name, _ in p.top[1:top]) or p.runner_up
        label = p.label or f"({NONE}: {p.best})"
        row = [shown(p.image), shown(label), certainty]
        if points:
            row.append(f"{p.margin:.1f}")
        rows.append([*row, shown(others)])
    # the columns with numbers are aligned on the right
    aligned = iter(_fitting(rows, range(2, len(head)), width))
    lines = [next(aligned)]
    for line, photo in zip(aligned, photos, strict=True):
        lines.append(line)
        lines += [f"    for      {reason(r, photo.best)}" for r in photo.reasons_for]
        lines += [f"    against  {reason(r, photo.best)}" for r in photo.reasons_against]
    return "".join(f"{line}\n" for line in lines)


def formatted(
    photos: Sequence[Photo], format: str, top: int, why: int, points: bool, width: int | None
) -> str:
    """Format classified photos as csv, json, jsonl or table. The arguments: as in `as_table`."""
    if format == "csv":
        return as_csv(photos, top, why, points)
    if format in ("json", "jsonl"):
        return as_json(map(asdict, photos), lines=format == "jsonl")
    return as_table(photos, top, width, points)


def ranked(found: Sequence[tuple[str, float]], format: str, width: int | None) -> str:
    """Format (path, score) of searched photos as csv, json, jsonl or table.

    width: of the terminal.
    """
    if format in ("json", "jsonl"):
        objects = [{"image": image, "score": score} for image, score in found]
        return as_json(objects, lines=format == "jsonl")
    if format == "csv":
        out = io.StringIO()
        rows = [(cell(image), f"{score:.4f}") for image, score in found]
        csv.writer(out, lineterminator="\n").writerows([("image", "score"), *rows])
        return out.getvalue()
    rows = [("photo", "score"), *((shown(image), f"{score:.1f}") for image, score in found)]
    return "".join(f"{line}\n" for line in _fitting(rows, (1,), width))


def duplicates(groups: Sequence[tuple[list[str], bool]], format: str, width: int | None) -> str:
    """Format groups of photos, the one to keep first, as csv, json, jsonl or table.

    groups: (paths, True if they are exact copies). width: of the terminal.
    """
    if format in ("json", "jsonl"):
        objects = [{"keep": p[0], "others": p[1:], "exact": exact} for p, exact in groups]
        return as_json(objects, lines=format == "jsonl")
    kinds = {True: "copy", False: "near twin"}
    rows = [
        (path, str(number), "keep" if path == paths[0] else kinds[exact])
        for number, (paths, exact) in enumerate(groups, 1)
        for path in paths
    ]
    if format == "csv":
        out = io.StringIO()
        cells = [(cell(path), number, what) for path, number, what in rows]
        csv.writer(out, lineterminator="\n").writerows([("image", "group", "what"), *cells])
        return out.getvalue()
    shown_rows = [("photo", "group", "what"), *((shown(p), n, what) for p, n, what in rows)]
    return "".join(f"{line}\n" for line in _fitting(shown_rows, (1,), width))


def _fitting(rows: Sequence[Sequence[str]], right: Collection[int], width: int | None) -> list[str]:
    """Align rows, the head first. Paths in the first column are cut if the terminal is too narrow.

    right: columns that are aligned on the right. width: of the terminal; None for a file.
    """
    if width is not None:
        _, *columns = zip(*rows, strict=True)
        others = sum(max(map(cell_len, column)) + 2 for column in columns)  # two spaces between
        room = max(SHORTEST, width - others)
        rows = [(cut_middle(path, room, cell_len), *cells) for path, *cells in rows]
    lines = terminal.table(rows[0], rows[1:], right=right)
    if width is None:
        # no bold in a file
        lines = [re.sub(r"\x1b\[\d*m", "", line) for line in lines]
    return lines


def reason(r: Reason, winner: str) -> str:
    """Points that a text adds to the winner's lead, and why.

    +1.71 dog: "a long snout" fits badly (attribute).
    """
    # a text of the winner fits well if it adds points, a text of another class if it takes points
    fits = "badly"
    if (r.adds > 0) == (r.label == winner):
        fits = "well"
    return f'{r.adds:+.2f} {shown(r.label)}: "{shown(r.text)}" fits {fits} ({r.kind})'


def photo_count(n: int) -> str:
    """A number of photos in words: 1 photo, 2 photos."""
    if n == 1:
        return f"{n} photo"
    return f"{n:,} photos"


def summary(photos: Sequence[Photo]) -> str:
    """Number of photos of each class, most first.

    Of classes after the tenth only how many they are.
    """
    counts = Counter(p.label or NONE for p in photos)
    parts = [f"{shown(name)} {n}" for name, n in counts.most_common()]
    return f"{photo_count(len(photos))}: {first_ten(parts)}"


def typical(photos: Sequence[Photo], none_below: float, calibrated: bool) -> str:
    """A line about the numbers that ``--none-below`` is compared with.

    Of these photos: quartiles, and how many are below; "" if no photo has such a number.

    calibrated: True if the number is the probability, which reranked photos do not have; else it is
    the score.
    """
    numbers = [p.probability if calibrated else p.score for p in photos]
    known = [number for number in numbers if number is not None]
    if not known:
        return ""
    form = ".1f"
    if calibrated:
        form = ".2f"
    least, first, middle, third, most = (
        f"{number:{form}}" for number in np.percentile(known, [0, 25, 50, 75, 100])
    )
    below = sum(number < none_below for number in known)
    return (
        f"{'probability' if calibrated else 'score'} of the best class: {least} to {most}, "
        f"quartiles {first}, {middle}, {third}; {below:,} of {photo_count(len(known))} below "
        f"{none_below:g}"
    )
