"""The report: one page that holds everything, and metrics.json for ``dvc metrics``.

The page needs nothing besides itself: styles and script are inline, images are base64, and a content security
policy forbids requests and any script but its own. All text is escaped. There is no time, host or version in it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from ..baselines.methods import METHODS
from ..errors import UserError
from ..foundation.artifacts import write_json, write_text
from ..protocols import REASONS, SETTINGS
from ..texts.kinds import OF_CLASS
from .answer import answers, overall
from .exhibits import EXHIBITS, SECTIONS, Exhibit
from .parts.layout import thumbnail
from .parts.style import Loader
from .parts.table import Table
from .results import Results, Source

# What each reader wants first, open and in this order (`Results.kind`); other sections follow, folded.
OPEN = {
    "photos": ("Errors", "Zero-shot", "Few-shot"),
    "drawn": ("Zero-shot", "Few-shot", "Errors", "Texts"),
    "published": ("Published figures", "Zero-shot", "Few-shot", "Settings"),
}
FEW = 4  # answers that are sentences; more are a table
PIXELS = 0.6  # of a figure's pixel is a CSS pixel: printed size at 120 dots an inch
SIDE = 128  # pixels of a picture in a table; shown at half of it, for screens with fine dots


@dataclass(frozen=True)
class _Item:
    """A table or figure on the page. pictures: (data set, image id) -> base64 PNG."""

    name: str
    title: str
    caption: str
    detail: bool
    source: Source
    artefacts: list[Source]
    table: Table | None = None
    groups: Sequence[bool] = ()
    pictures: Mapping[tuple[str, str], str] | None = None
    alt: str = ""
    image: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class _Section:
    anchor: str
    title: str
    about: str
    open: bool
    items: list[_Item]


def render(
    results: Results,
    out: str | Path,
    *,
    title: str = "CODER",
    note: str = "",
    config_text: str = "",
    commands: Mapping[str, str] | None = None,
    image: Loader | None = None,
) -> None:
    """Write the page. Tables and figures must be there: their files are what it shows and names.

    note: what the numbers are evidence of, shown on top. config_text: the configuration, as YAML. commands:
    ``tables/NAME``, ``figures/NAME`` -> command, where it is not the default; ``reproduce`` -> the command that makes
    everything. image: loads images of errors; without it, or where they are not on this machine, the page names them.
    UserError for a missing file.
    """
    commands = commands or {}
    script = _asset("report.js.j2")
    sections, silent = _sections(results, commands, image)
    found = answers(results)
    page = _template().render(
        title=title,
        kind=results.kind,
        note=note,
        answers=found,
        overall=overall(found) if len(found) > FEW else "",
        setting=results.main_setting,
        sections=sections,
        silent=silent,
        files=_files(sections),
        about={m.label: m.about for m in METHODS.values()},
        settings=[asdict(s) for s in SETTINGS.values()],
        reasons=REASONS,
        encoders=_encoders(results),
        datasets=_datasets(results),
        texts=_texts(results),
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
    for dataset, model in results:
        numbers = {m: e["accuracy"]["value"] for m, e in results.main_methods(dataset, model).items()}
        for shots in results.shots_of(dataset):
            summary = results.adapter(dataset, model, shots)["summary"]
            few = results.setting_of(summary)
            numbers |= {
                f"{s['method']}_{shots}_shots": s["accuracy"]["mean"]
                for s in summary
                if s["setting"] == few and s["method"] != "clip_ensemble"
            }
        found.setdefault(dataset, {})[model] = numbers
    return found


def write_metrics(results: Results, out: str | Path) -> None:
    """Write `metrics` as JSON."""
    write_json(out, metrics(results))


# ---- what the page shows


def _sections(
    results: Results, commands: Mapping[str, str], image: Loader | None
) -> tuple[list[_Section], dict[str, list[str]]]:
    """The exhibits by section, in the order of the reader; and what says nothing here: reason -> titles."""
    items: dict[str, list[_Item]] = {}
    silent: dict[str, list[str]] = {}
    for exhibit in EXHIBITS:
        if why := exhibit.nothing(results):
            title = exhibit.drawing.title if exhibit.has_figure else exhibit.table(results).title
            silent.setdefault(why, []).append(title)
            continue
        found = items.setdefault(exhibit.section, [])
        if exhibit.has_table:
            found.append(_table(results, exhibit, commands, image))
        if exhibit.has_figure:
            found.append(_figure(results, exhibit, commands))
    opened = OPEN[results.kind]
    new = [title for title in items if title not in SECTIONS]
    order = [*opened, *new, *(title for title in SECTIONS if title not in opened)]
    sections = [
        _Section(
            title.lower().replace(" ", "-"),
            title,
            SECTIONS.get(title, ""),
            title in (*opened, *new),
            items[title],
        )
        for title in order
        if title in items
    ]
    return sections, silent


def _table(results: Results, exhibit: Exhibit, commands: Mapping[str, str], image: Loader | None) -> _Item:
    name = exhibit.name
    table = exhibit.table(results)
    command = commands.get(f"tables/{name}", f"coder-clip table {name}")
    shown = [cell.picture for row in table.rows for cell in row if cell.picture]
    return _Item(
        name=f"table-{name}",
        title=table.title,
        caption=table.caption,
        detail=exhibit.detail,
        source=results.source(results.paths.table(name), command),
        artefacts=results.sources(exhibit.phases),
        table=table,
        groups=table.groups(),
        pictures=_pictures(shown, image) if image else {},
    )


def _pictures(shown: Iterable[tuple[str, str]], image: Loader) -> dict[tuple[str, str], str]:
    """Small PNGs of images; none of a data set that is not on this machine."""
    found = {}
    for dataset, image_id in shown:
        try:
            picture = image(dataset, image_id)
        except UserError:
            continue
        out = io.BytesIO()
        thumbnail(picture, SIDE).save(out, "PNG")
        found[dataset, image_id] = base64.b64encode(out.getvalue()).decode()
    return found


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
        detail=exhibit.detail,
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


def _files(sections: list[_Section]) -> list[Source]:
    """Every file behind the tables and figures, once."""
    found = {a.path: a for s in sections for item in s.items for a in item.artefacts}
    return [found[path] for path in sorted(found)]


def _encoders(results: Results) -> list[dict[str, Any]]:
    """Each encoder once, with the data sets whose features it made: two of one name would show as two."""
    found: list[dict[str, Any]] = []
    for dataset, model in results:
        info = results.encoder(dataset, model)
        same = next((e for e in found if (e["name"], e["info"]) == (model, info)), None)
        if same:
            same["datasets"].append(dataset)
        else:
            found.append({"name": model, "info": info, "datasets": [dataset]})
    return found


def _datasets(results: Results) -> list[dict[str, Any]]:
    found = []
    for dataset in results.datasets:
        m = results.manifest(dataset)
        entry = {"name": dataset, "classes": len(m["classes"]), "images": m["images"]}
        entry |= {"split": results.split(dataset), "fingerprint": m["fingerprint"]}
        found.append({**entry, "unreadable": results.unreadable(dataset)})
    return found


def _texts(results: Results) -> list[dict[str, Any]]:
    """For each data set how many texts there are of each kind, their sentences, and what is said of their origin."""
    found = []
    for dataset in results.datasets:
        texts, pairs = results.texts(dataset), results.one_to_one_texts(dataset)
        counts = {kind: sum(len(c.get(kind, ())) for c in texts["classes"]) for kind in OF_CLASS}
        sides = [p.get(side, ()) for p in pairs["pairs"] for side in ("a_not_b", "b_not_a")]
        counts = {"name": len(texts["classes"]), **counts, "one_to_one": sum(map(len, sides))}
        origin = {**texts.get("provenance", {}), **pairs.get("provenance", {})}
        templates = results.templates(dataset)
        found.append(
            {"dataset": dataset, "counts": counts, "about": {"sentences": templates, "origin": origin}}
        )
    return found


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
    environment.filters["yaml"] = lambda document: yaml.safe_dump(
        document, sort_keys=False, allow_unicode=True
    )
    return environment


@cache
def _template() -> Template:
    return _environment().get_template("report.html.j2")


def _asset(name: str) -> str:
    """The source of an inline style or script."""
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0].strip()
