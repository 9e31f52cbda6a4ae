"""The report: one page that holds everything, and metrics.json for ``dvc metrics``.

The page needs nothing besides itself: styles and script are inline, images are base64, and a
content security policy forbids requests and any script but its own. All text is escaped. It holds
no time, host or version."""

from __future__ import annotations

import base64
import hashlib
import io
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image, UnidentifiedImageError

from ..baselines import CLIP_ENSEMBLE
from ..baselines.methods import METHODS
from ..datasets import about, is_part
from ..datasets.corrections import said as corrections_said
from ..datasets.twins import said as twins_said
from ..errors import UserError
from ..foundation.artifacts import write_text
from ..protocols import REASONS, SETTINGS
from ..texts.kinds import OF_CLASS
from .all_exhibits import EXHIBITS
from .answer import answers, overall
from .exhibits import SECTIONS, Exhibit
from .first_screen import LEGEND, first_screen
from .parts.layout import thumbnail
from .parts.notes import source_of_groups
from .parts.style import Loader
from .parts.table import Table, anchor
from .results import ResultFile, Results

# What an owner of photos wants first, open and in this order; all other sections are folded.
OF_PHOTOS = ("Errors", "Zero-shot", "Few-shot")
# What the paper shows -> the exhibits that show it here.
IN_THE_PAPER = {
    "Zero-shot accuracy (tables of stage one and two)": ("table-zero_shot",),
    "The rerank by its threshold": ("figure-rerank_threshold",),
    "Few-shot accuracy by shots (Figure 4)": ("figure-few_shot", "table-few_shot"),
    "Kinds and number of texts (ablations)": ("table-text_kinds", "figure-text_count"),
    "Nearest neighbours that CODER corrects (Figure 2)": ("figure-correction",),
    "Features as neighbours, and their map (Figure 5)": ("table-feature_quality", "figure-tsne"),
    "What the text of the paper claims": ("table-claims", "figure-claims"),
}
FEW = 4  # answers that are sentences; more are a table
PIXELS = 0.6  # CSS pixels per pixel of a figure: printed size at 120 dots per inch
SIDE = 128  # pixels of a picture in a table; shown at half this size, for screens with fine dots
QUALITY = 60  # of JPEG: images look the same, and text in a figure stays sharp
COLOURS = 256  # of a chart's palette: a third of the bytes, and no difference that can be seen


@dataclass(frozen=True)
class _Item:
    """A table or figure on the page.

    source: the file with the table or figure; artefacts: the files that it is made from. A table
    has pictures: (data set, image id) -> data URL. A figure has alt, image (a data URL), width and
    height.
    """

    name: str
    title: str
    caption: str
    detail: bool
    source: ResultFile
    artefacts: list[ResultFile]
    table: Table | None = None
    pictures: Mapping[tuple[str, str], str] = field(default_factory=dict)
    alt: str = ""
    image: str = ""
    width: int = 0
    height: int = 0


def _whole(text: str) -> str:
    """A number whose interval is not broken over lines, and stands in a box of one width, so that
    the decimals of a column are aligned.
    """
    number, bracket, interval = text.replace(", ", ",\N{NO-BREAK SPACE}").partition(" [")
    if not bracket:
        return number
    return Markup('{} <span class="interval">[{}</span>').format(number, interval)


@cache
def _environment() -> Environment:
    """Templates and their filters; a template is compiled once."""
    environment = Environment(
        loader=PackageLoader("coder_clip"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["short"] = lambda text: str(text)[:12]
    environment.filters["whole"] = _whole
    environment.filters["anchor"] = anchor
    environment.filters["yaml"] = lambda value: yaml.safe_dump(
        value, sort_keys=False, allow_unicode=True
    )
    return environment


def render(
    results: Results,
    out: str | Path,
    *,
    title: str = "CODER",
    note: str = "",
    config_text: str = "",
    reproduce: str = "",
    image: Loader | None = None,
) -> None:
    """Write the page.

    The files of tables and figures must exist, because the page shows and names them.

    note: what the numbers are evidence of, shown on top. config_text: the configuration, as YAML.
    reproduce: the command that makes everything. image: loads images of errors; without a loader,
    or for images that are not on this machine, the page shows their names. UserError for a missing
    file.
    """
    environment, loader = _environment(), PackageLoader("coder_clip")
    style, script = (
        loader.get_source(environment, name)[0].strip() for name in ("report.css", "report.js")
    )
    # silent: reason -> titles of exhibits that have nothing to show
    items, silent = _items(results, image)
    every = [item for section_items in items.values() for item in section_items]
    photos = results.kind == "photos"
    # a section without a place in SECTIONS is open, so that it is not overlooked
    opened = [*(OF_PHOTOS if photos else ()), *(name for name in items if name not in SECTIONS)]
    shown = {item.name: item for item in every}
    in_the_paper = {
        what: [shown[name] for name in names if name in shown]
        for what, names in IN_THE_PAPER.items()
    }
    artefacts = {a.path: a for item in every for a in item.artefacts}
    all_answers = answers(results)
    of_all = ""
    if len(all_answers) > FEW and not results.names_alone:
        of_all = overall(all_answers)
    page = environment.get_template("report.html.j2").render(
        title=title,
        note=note,
        answers=all_answers,
        overall=of_all,
        setting=results.main_setting,
        photos=photos,
        data=_data(results),
        images=sum(results.images(d) for d in results.datasets if not is_part(d)),
        data_rows=_data_rows(results),
        corrections=_corrections(results),
        twins=_twins(results),
        first=None if photos else first_screen(results),
        legend=LEGEND,
        few_shot_figure=shown.get("figure-few_shot"),
        in_the_paper=in_the_paper,
        all_items=every,
        sections=_sections(items, opened),
        silent=silent,
        files=[artefacts[path] for path in sorted(artefacts)],
        about={m.label: m.about for m in METHODS.values()},
        settings=[asdict(s) for s in SETTINGS.values()],
        reasons=REASONS,
        encoders=_encoders(results),
        datasets=[_dataset(results, dataset) for dataset in results.datasets],
        texts=[_texts(results, dataset) for dataset in results.datasets],
        environment=results.paths.environment.name,
        config_text=config_text,
        reproduce=reproduce,
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    write_text(out, page)


def metrics(results: Results) -> dict[str, dict[str, dict[str, float]]]:
    """{data set: {model: {method: top-1}}} in the main setting; few-shot methods carry their
    shots.
    """
    accuracies: dict[str, dict[str, dict[str, float]]] = {}
    for dataset, model in results:
        methods = results.main_methods(dataset, model)
        accuracies.setdefault(dataset, {})[model] = {
            m: e["accuracy"]["value"] for m, e in methods.items()
        }
    for s in results.few_shot_rows("summary"):
        # the prompt ensemble has no shots
        if s["method"] != CLIP_ENSEMBLE:
            numbers = accuracies[s["dataset"]][s["model"]]
            numbers[f"{s['method']}_{s['shots']}_shots"] = s["accuracy"]["value"]
    return accuracies


# ---- what the page shows


def _data(results: Results) -> str:
    """Sentences on the encoders and on the data sets, if these are few."""
    said = []
    for row in [] if _data_rows(results) else results.datasets:
        size = f"{_classes(results, row)} classes, {results.images(row):,} test images"
        said.append(f"{row}: {_about(results, row)} ({size})")
    encoders = "Encoder"
    if len(results.models) > 1:
        encoders = "Encoders"
    text = ""
    if said:
        text = f"{'; '.join(said)}. "
    text += f"{encoders}: {', '.join(results.models)}."
    if results.kind == "drawn":
        text += (
            " Such drawings show how the method works; they are no evidence about photos or about "
            "the paper."
        )
    return text


def _data_rows(results: Results) -> list[dict[str, Any]]:
    """Name, description, classes and test images of each data set, for a table; empty for FEW data
    sets, which are a sentence.
    """
    if len(results.datasets) <= FEW:
        return []
    return [
        {
            "name": dataset,
            "about": _about(results, dataset),
            "classes": _classes(results, dataset),
            "images": f"{results.images(dataset):,}",
            "part": is_part(dataset),
        }
        for dataset in results.datasets
    ]


def _about(results: Results, dataset: str) -> str:
    """What a data set is, in a few words."""
    if results.manifest(dataset)["files"]:
        return "a folder of photos"
    return about(dataset)


def _classes(results: Results, dataset: str) -> int:
    """The number of classes of a data set."""
    return len(results.manifest(dataset)["classes"])


def _corrections(results: Results) -> str:
    """How many labels were corrected, by which file; "" without corrections."""
    said = []
    for dataset in results.datasets:
        corrections = results.manifest(dataset).get("corrections")
        if corrections:
            said.append(_named(results, dataset) + corrections_said(**corrections))
    return "; ".join(said)


def _twins(results: Results) -> str:
    """How many test images have near twins, or "" if none have.

    More than FEW data sets are counted together; a part of another data set does not count again.
    """
    counts: dict[str, dict[str, int]] = {}  # data set -> name of a count -> number
    for dataset in results.datasets:
        if is_part(dataset):
            continue
        near_twins = results.manifest(dataset).get("near_twins")
        if near_twins:
            counts[dataset] = near_twins["test"]
    if len(counts) > FEW:
        total: Counter[str] = Counter()
        for numbers in counts.values():
            total.update(numbers)
        return "; ".join(twins_said(total)) + f" ({len(counts)} data sets together)"
    said = []
    for dataset, numbers in counts.items():
        source = source_of_groups(results, dataset)
        how = ""
        if source:
            how = f" ({source})"
        said += [_named(results, dataset) + line + how for line in twins_said(numbers)]
    return "; ".join(said)


def _named(results: Results, dataset: str) -> str:
    """The beginning of a sentence: "DATASET: ", or "" if there is only one data set."""
    if len(results.datasets) > 1:
        return f"{dataset}: "
    return ""


def _items(
    results: Results, image: Loader | None
) -> tuple[dict[str, list[_Item]], dict[str, list[str]]]:
    """Section -> its tables and figures; for exhibits with nothing to show, reason -> titles."""
    items: dict[str, list[_Item]] = {}
    silent: dict[str, list[str]] = {}
    for exhibit in EXHIBITS:
        why = exhibit.nothing(results)
        if why:
            title = exhibit.drawing.title if exhibit.has_figure else exhibit.table(results).title
            silent.setdefault(why, []).append(title)
            continue
        section_items = items.setdefault(exhibit.section, [])
        if exhibit.has_table:
            section_items.append(_table(results, exhibit, image))
        if exhibit.has_figure:
            section_items.append(_figure(results, exhibit))
    return items, silent


def _sections(items: Mapping[str, list[_Item]], opened: list[str]) -> list[dict[str, Any]]:
    """What the page says about each section that has items, opened sections first, then the others
    in the order of SECTIONS.

    items: section -> its tables and figures.
    """
    return [
        {
            "anchor": name.lower().replace(" ", "-"),
            "title": name,
            "about": SECTIONS.get(name, ""),
            "open": name in opened,
            "items": items[name],
        }
        for name in dict.fromkeys([*opened, *SECTIONS])
        if name in items
    ]


def _table(results: Results, exhibit: Exhibit, image: Loader | None) -> _Item:
    """An exhibit's table, with its pictures as far as they are on this machine."""
    name, table = exhibit.name, exhibit.table(results)
    pictures = {}
    for shown in (cell.picture for row in table.rows for cell in row):
        if shown and image:
            with suppress(UserError):  # the data set is not on this machine
                pictures[shown] = _jpeg(thumbnail(image(*shown), SIDE))
    return _Item(
        name=f"table-{name}",
        title=table.title,
        caption=table.caption,
        detail=exhibit.detail,
        source=results.source(results.paths.table(name), f"coder-clip table {name}"),
        artefacts=results.sources(exhibit.phases),
        table=table,
        pictures=pictures,
    )


def _figure(results: Results, exhibit: Exhibit) -> _Item:
    """An exhibit's figure, read from its PNG."""
    name, drawing, path = exhibit.name, exhibit.drawing, results.paths.figure(exhibit.name)
    source = results.source(path, f"coder-clip figure {name}")
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            width, height = picture.size  # so that the page does not jump while it loads
            shown = picture.convert("RGB")
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is not a PNG image; delete it and run again") from error
    return _Item(
        name=f"figure-{name}",
        title=drawing.title,
        caption=drawing.caption,
        detail=exhibit.detail,
        source=source,
        artefacts=results.sources(exhibit.phases),
        alt=drawing.alt,
        image=_jpeg(shown) if exhibit.shows_images else _png(shown),
        width=round(width * PIXELS),
        height=round(height * PIXELS),
    )


def _jpeg(picture: Image.Image) -> str:
    """A data URL of an image, or of a figure that shows images."""
    return _data_url(picture, "jpeg", quality=QUALITY, subsampling=0)  # coloured text stays sharp


def _png(chart: Image.Image) -> str:
    """A data URL of a chart, whose few colours fit a palette."""
    return _data_url(
        chart.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE), "png"
    )


def _data_url(picture: Image.Image, kind: str, **options: int) -> str:
    """An image as a data URL. kind: jpeg or png; options: of the file format."""
    out = io.BytesIO()
    picture.save(out, kind, optimize=True, **options)
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"


def _encoders(results: Results) -> list[dict[str, Any]]:
    """Each encoder once: its name, its info (`Results.encoder`), and the data sets whose features
    it made.

    Different encoders of one name have an entry each.
    """
    encoders: list[dict[str, Any]] = []
    for dataset, model in results:
        info = results.encoder(dataset, model)
        same = next((e for e in encoders if e["name"] == model and e["info"] == info), None)
        if same is None:
            same = {"name": model, "info": info, "datasets": []}
            encoders.append(same)
        same["datasets"].append(dataset)
    return encoders


def _dataset(results: Results, dataset: str) -> dict[str, Any]:
    """What the page says about a data set, mostly from its manifest."""
    manifest = results.manifest(dataset)
    return {
        **{key: manifest[key] for key in ("images", "fingerprint")},
        "name": dataset,
        "classes": len(manifest["classes"]),
        "split": results.split(dataset),
        "unreadable": results.unreadable(dataset),
    }


def _texts(results: Results, dataset: str) -> dict[str, Any]:
    """The number of texts of each kind, the templates of their prompts, and their provenance."""
    texts = results.texts(dataset)
    pairs: dict[str, Any] = {"pairs": []}
    if dataset in results.with_texts:
        pairs = results.one_to_one_texts(dataset)
    counts = {"name": len(texts["classes"])}
    counts |= {kind: sum(len(c.get(kind, ())) for c in texts["classes"]) for kind in OF_CLASS}
    # texts of both directions of each pair
    sides = [p.get(side, ()) for p in pairs["pairs"] for side in ("a_not_b", "b_not_a")]
    counts["one_to_one"] = sum(map(len, sides))
    origin = {**texts.get("provenance", {}), **pairs.get("provenance", {})}
    about = {"sentences": results.templates(dataset), "origin": origin}
    return {"dataset": dataset, "counts": counts, "about": about}
