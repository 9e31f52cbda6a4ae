"""The report: one page that holds everything, and metrics.json for ``dvc metrics``.

The page needs nothing besides itself: styles and script are inline, figures are base64, and a content security
policy forbids requests and any script but its own. All text is escaped. There is no time, host or version in it.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from ..baselines.methods import LABELS, METHODS
from ..errors import UserError
from ..evaluation.intervals import clear
from ..foundation.artifacts import write_json, write_text
from ..protocols import REASONS, SETTINGS
from ..texts.kinds import OF_CLASS
from .exhibits import EXHIBITS, SECTIONS, Exhibit
from .parts.cells import percent, points
from .parts.table import Table
from .results import Results, Source

ENCODER = ("model", "pretrained", "precision", "weights_sha256")  # what else is in it is detail
PIXELS = 0.6  # of a figure's pixel is a CSS pixel: printed size at 120 dots an inch


@dataclass(frozen=True)
class _Item:
    """A table or figure on the page."""

    name: str
    title: str
    caption: str
    source: Source
    artefacts: list[Source]
    table: Table | None = None
    groups: Sequence[bool] = ()
    notes: Sequence[str] = ()
    alt: str = ""
    image: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class _Section:
    anchor: str
    title: str
    about: str
    items: list[_Item]


def render(
    results: Results,
    out: str | Path,
    *,
    title: str = "CODER",
    note: str = "",
    config_text: str = "",
    commands: Mapping[str, str] | None = None,
) -> None:
    """Write the page. Tables and figures must be there: their files are what it shows and names.

    note: what the numbers are evidence of, shown on top. config_text: the configuration, as YAML. commands:
    ``tables/NAME``, ``figures/NAME`` -> command, where it is not the default; ``reproduce`` -> the command that makes
    everything. UserError for a missing file.
    """
    commands = commands or {}
    script = _asset("report.js.j2")
    page = _template().render(
        title=title,
        note=note,
        headline=_headline(results),
        setting=results.main_setting,
        sections=_sections(results, commands),
        about={m.label: m.about for m in METHODS.values()},
        settings=[asdict(s) for s in SETTINGS.values()],
        reasons=REASONS,
        encoders=_encoders(results),
        datasets=_datasets(results),
        texts=_texts(results),
        templates=_templates(results),
        environment=results.paths.environment.name,
        config_text=config_text,
        reproduce=commands.get("reproduce", ""),
        style=Markup(_asset("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    write_text(out, page)


def metrics(results: Results) -> dict[str, dict[str, dict[str, float]]]:
    """{data set: {model: {method: top-1}}} in the main setting; few-shot methods carry their shots."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    setting = results.main_setting
    for dataset, model in results:
        numbers = {
            m["method"]: m["accuracy"]["value"]
            for m in results.methods(dataset, model)
            if m["setting"] in ("any", setting)
        }
        for shots in results.shots_of(dataset):
            document = results.adapter(dataset, model, shots)
            few = results.few_shot_setting(document)
            numbers |= {
                f"{s['method']}_{shots}_shots": s["accuracy"]["mean"]
                for s in document["summary"]
                if s["setting"] == few and s["method"] != "clip_ensemble"
            }
        found.setdefault(dataset, {})[model] = numbers
    return found


def write_metrics(results: Results, out: str | Path) -> None:
    """Write `metrics` as JSON."""
    write_json(out, metrics(results))


# ---- what the page shows


def _sections(results: Results, commands: Mapping[str, str]) -> list[_Section]:
    """The exhibits by section; one whose table is optional and empty is left out, and a section without any."""
    items: dict[str, list[_Item]] = {}
    for exhibit in EXHIBITS:
        found = items.setdefault(exhibit.section, [])
        if exhibit.has_table:
            item = _table(results, exhibit, commands)
            if item.table is not None and item.table.optional and not item.table.rows:
                continue
            found.append(item)
        if exhibit.has_figure:
            found.append(_figure(results, exhibit, commands))
    return [
        _Section(title.lower().replace(" ", "-"), title, SECTIONS.get(title, ""), found)
        for title, found in items.items()
        if found
    ]


def _table(results: Results, exhibit: Exhibit, commands: Mapping[str, str]) -> _Item:
    name = exhibit.name
    table = exhibit.table(results)
    command = commands.get(f"tables/{name}", f"coder-clip table {name}")
    return _Item(
        name=f"table-{name}",
        title=table.title,
        caption=table.caption,
        source=results.source(results.paths.table(name), command),
        artefacts=results.sources(exhibit.phases),
        table=table,
        groups=table.groups(),
        notes=table.notes,
    )


def _figure(results: Results, exhibit: Exhibit, commands: Mapping[str, str]) -> _Item:
    name, drawing = exhibit.name, exhibit.drawing
    path = results.paths.figure(name)
    source = results.source(path, commands.get(f"figures/{name}", f"coder-clip figure {name}"))
    data = path.read_bytes()
    width, height = _size(path, data)
    return _Item(
        name=f"figure-{name}",
        title=drawing.title,
        caption=drawing.caption,
        source=source,
        artefacts=results.sources(exhibit.phases),
        alt=drawing.alt,
        image=base64.b64encode(data).decode(),
        width=round(width * PIXELS),
        height=round(height * PIXELS),
    )


def _size(path: Path, data: bytes) -> tuple[int, int]:
    """Width and height of a PNG, so that the page does not jump while it loads."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        raise UserError(f"{path} is no PNG image; delete it and run again")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _headline(results: Results) -> list[dict[str, str]]:
    """For each data set and model: CLIP, CODER (after the rerank if there was one), and what it changes."""
    found = []
    setting = results.main_setting
    for dataset, model in results:
        by_method = {
            m["method"]: m for m in results.methods(dataset, model) if m["setting"] in ("any", setting)
        }
        off = results.rerank_off(dataset, model)
        last = next((m for m in ("coder_rerank", "coder")[bool(off) :] if m in by_method), None)
        if last is None or "clip" not in by_method:
            continue
        test = by_method[last]["against_clip"]
        change = test["difference"]
        sure = clear(change) or "unclear"
        found.append(
            {
                "dataset": dataset,
                "model": model if len(results.models) > 1 else "",
                "clip": percent(by_method["clip"]["accuracy"]["value"]),
                "method": LABELS[last],
                "coder": percent(by_method[last]["accuracy"]["value"]),
                "difference": points(change["value"]),
                "low": points(change["low"]),
                "high": points(change["high"]),
                "rerank_off": off,
                "alone": percent(by_method["attributes_alone"]["accuracy"]["value"])
                if "attributes_alone" in by_method
                else "",
                "sure": sure,
                "verdict": {
                    "better": "better than CLIP",
                    "worse": "worse than CLIP",
                    "unclear": "no clear difference",
                }[sure],
            }
        )
    return found


def _encoders(results: Results) -> list[dict[str, Any]]:
    """Each encoder once, with the data sets whose features it made: two of one name would show as two."""
    found: list[dict[str, Any]] = []
    for dataset, model in results:
        info = results.encoder(dataset, model)
        for entry in found:
            if entry["name"] == model and entry["info"] == info:
                entry["datasets"].append(dataset)
                break
        else:
            shown = {k: str(info[k]) for k in ENCODER if k in info}
            detail = {k: str(v) for k, v in info.items() if k not in ENCODER}
            found.append(
                {"name": model, "info": info, "shown": shown, "detail": detail, "datasets": [dataset]}
            )
    return found


def _datasets(results: Results) -> list[dict[str, Any]]:
    found = []
    for dataset in results.datasets:
        m = results.manifest(dataset)
        found.append(
            {
                "name": dataset,
                "classes": len(m["classes"]),
                "images": m["images"],
                "split": results.split(dataset),
                "fingerprint": m["fingerprint"],
                "unreadable": results.unreadable(dataset),
            }
        )
    return found


def _templates(results: Results) -> list[dict[str, Any]]:
    """For each data set the sentences of every kind; data sets with the same sentences stand together."""
    found: list[dict[str, Any]] = []
    for dataset in results.datasets:
        templates = {
            kind.replace("_", "-"): [lines] if isinstance(lines, str) else list(lines)
            for kind, lines in results.templates(dataset).items()
        }
        same = next((t for t in found if t["kinds"] == templates), None)
        if same:
            same["datasets"].append(dataset)
        elif templates:
            found.append({"datasets": [dataset], "kinds": templates})
    return found


def _texts(results: Results) -> list[dict[str, Any]]:
    """For each data set and kind of text: how many there are, and what the text set says of its origin."""
    found = []
    for dataset in results.datasets:
        text_set = results.texts(dataset)
        provenance = text_set.get("provenance", {})
        kinds = [k for k in OF_CLASS if any(k in c for c in text_set["classes"])]
        rows = [
            {
                "kind": kind,
                "count": len(text_set["classes"])
                if kind == "name"
                else sum(len(c.get(kind, ())) for c in text_set["classes"]),
                "origin": _flat(provenance.get(kind, {})),
            }
            for kind in ("name", *kinds)
        ]
        rest = {k: _flat(v) for k, v in provenance.items() if k not in ("name", *kinds)}
        rows.append(_one_to_one(results.one_to_one_texts(dataset)))
        found.append({"dataset": dataset, "rows": rows, "rest": rest})
    return found


def _one_to_one(pairs: dict[str, Any]) -> dict[str, Any]:
    """The same of the texts that tell two classes apart: those of pairs that the rerank can compare."""
    texts = sum(len(p.get(side, ())) for p in pairs["pairs"] for side in ("a_not_b", "b_not_a"))
    origin = [line for part in pairs.get("provenance", {}).items() for line in _origin(*part)]
    return {"kind": "one_to_one", "count": texts, "origin": origin}


def _origin(part: str, value: Any) -> list[tuple[str, str]]:
    """Provenance of one-to-one texts; what is said of the texts themselves needs no name before it."""
    return _flat(value, "" if part == "one_to_one" else part)


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested provenance as (key, text) lines."""
    if isinstance(value, Mapping):
        return [line for k, v in value.items() for line in _flat(v, f"{name}.{k}" if name else str(k))]
    if isinstance(value, (list, tuple)):
        return [(name, ", ".join(str(v) for v in value))]
    return [(name, str(value))]


# ---- templates


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("coder_clip"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["short"] = lambda text: str(text)[:12]
    return environment


@cache
def _template() -> Template:
    return _environment().get_template("report.html.j2")


def _asset(name: str) -> str:
    """The source of an inline style or script."""
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0].strip()
