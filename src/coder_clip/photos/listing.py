"""Classified photos as a table for a person, as CSV, and as JSON Lines."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from ..foundation import terminal
from .classifier import Photo, Reason
from .files import NONE, shown
from .study import Worth

FORMATS = ("table", "csv", "jsonl")


def as_csv(photos: Sequence[Photo], top: int, why: int) -> str:
    """image, class (empty: none of these), score, probability where there are such, margin, runner_up, reranked; then
    the likeliest classes and the texts for and against."""
    calibrated = any(p.probability is not None for p in photos)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["image", "class", "score", *["probability"] * calibrated, "margin", "runner_up", "reranked"]
    head += [f"{what}{i + 1}" for i in range(top) for what in ("top", "score")]
    head += [f"{side}{i + 1}" for side in ("for", "against") for i in range(why)]
    writer.writerow(head)
    for p in photos:
        row = [p.image, p.label or "", f"{p.score:.4f}"]
        if calibrated:
            row.append("" if p.probability is None else f"{p.probability:.4f}")
        row += [f"{p.margin:.4f}", p.runner_up or "", str(p.reranked).lower()]
        best = [*p.top[:top], *([("", None)] * (top - len(p.top)))]
        row += [cell for name, score in best for cell in (name, "" if score is None else f"{score:.4f}")]
        for side in (p.reasons_for, p.reasons_against):
            row += [reason(r, p.best) for r in side] + [""] * (why - len(side))
        writer.writerow(row)
    return out.getvalue()


def as_jsonl(photos: Sequence[Photo]) -> str:
    """One object per line, with the fields of ``Photo``."""
    return "".join(json.dumps(asdict(p), ensure_ascii=True, allow_nan=False) + "\n" for p in photos)


def as_table(photos: Sequence[Photo], top: int) -> str:
    """Columns, one line per photo, and below it the texts for and against."""
    calibrated = any(p.probability is not None for p in photos)
    rows = [("photo", "class", "probability" if calibrated else "score", "margin", "runner-up")]
    for p in photos:
        sure = f"{p.score:.1f}"
        if calibrated:
            sure = "reranked" if p.probability is None else f"{100 * p.probability:.0f} %"
        others = ", ".join(name for name, _ in p.top[1:top]) or (p.runner_up or "")
        rows.append((shown(p.image), p.label or f"({NONE}: {p.best})", sure, f"{p.margin:.1f}", others))
    aligned = iter(terminal.table(rows[0], rows[1:], right=(2, 3)))
    lines = [next(aligned)]
    for line, photo in zip(aligned, photos, strict=True):
        lines.append(line)
        lines += [f"    for      {reason(r, photo.best)}" for r in photo.reasons_for]
        lines += [f"    against  {reason(r, photo.best)}" for r in photo.reasons_against]
    return "".join(f"{line}\n" for line in lines)


def reason(r: Reason, winner: str) -> str:
    """Points that a text adds to the winner's lead, and why: +1.71 dog: "a long snout" fits badly (attribute)."""
    if r.cosine is None:  # a whole pair
        return f"{r.adds:+.2f} {shown(r.text)}"
    fits = "well" if (r.adds > 0) == (r.label == winner) else "badly"
    return f'{r.adds:+.2f} {shown(r.label)}: "{shown(r.text)}" fits {fits} ({r.kind})'


def summary(photos: Sequence[Photo]) -> str:
    """How many photos of each class, most first."""
    counts = Counter(p.label or NONE for p in photos)
    return f"{len(photos)} photos: " + ", ".join(f"{shown(name)} {n}" for name, n in counts.most_common())


HEAD = [
    "text",
    "class",
    "kind",
    "worth",
    "low",
    "high",
    "fixed",
    "broke",
    "p_holm",
    "lead",
    "lead_low",
    "lead_high",
]
ENDS = ("value", "low", "high")


def worth_csv(found: Sequence[Worth]) -> str:
    """One row per text; worth, low and high in points of accuracy, lead in points of score."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEAD)
    for w in found:
        accuracy = [f"{100 * w.test['difference'][end]:.2f}" for end in ENDS]  # type: ignore[literal-required]
        lead = [f"{w.lead[end]:.4f}" for end in ENDS]  # type: ignore[literal-required]
        counts = [w.test["fixed"], w.test["broke"], f"{w.p_holm:.4f}"]
        writer.writerow([w.row.text, w.label, w.row.kind, *accuracy, *counts, *lead])
    return out.getvalue()


def worth_table(found: Sequence[Worth]) -> str:
    """The same in columns."""
    rows = [("accuracy", "95 % interval", "fixed", "broke", "p (Holm)", "lead", "95 % interval", "text")]
    for w in found:
        d = w.test["difference"]
        interval = f"[{100 * d['low']:+.1f}, {100 * d['high']:+.1f}]"
        if not w.test["fixed"] + w.test["broke"]:
            interval = "no change"
        lead = f"[{w.lead['low']:+.2f}, {w.lead['high']:+.2f}]"
        rows.append(
            (
                *(f"{100 * d['value']:+.1f}", interval, str(w.test["fixed"]), str(w.test["broke"])),
                *(f"{w.p_holm:.3f}", f"{w.lead['value']:+.2f}", lead),
                f"{shown(w.label)}: {shown(w.row.text)} ({w.row.kind})",
            )
        )
    return "".join(f"{line}\n" for line in terminal.table(rows[0], rows[1:], right=range(7)))
