"""``coder-clip classify``, ``find`` and ``explore``: your own photos (docs/photos.md)."""

from __future__ import annotations

import csv
import os
import shutil
import sys
import time
import warnings
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from coder_clip.cli.options import app
from coder_clip.cli.texts import lines_of
from coder_clip.encoders import families
from coder_clip.errors import UserError

if TYPE_CHECKING:
    from .classifier import Classifier
    from .encoding import Features
    from .files import Places

DEFAULT_MODEL = "ViT-B-32"
MODEL = f"Encoder: {families.names()}, or a folder; default: {DEFAULT_MODEL}"
PANEL = "Your photos (docs/photos.md)"


PhotosArgument = Annotated[
    list[str],
    typer.Argument(
        help="Photos, folders of photos, or - for a list on standard input.", metavar="PHOTOS"
    ),
]
ClassesOption = Annotated[
    str | None,
    typer.Option(
        "--classes", help="Class names: cat,dog; one with a comma in quotes.", metavar="NAMES"
    ),
]
ClassesFileOption = Annotated[
    Path | None,
    typer.Option("--classes-file", help="Class names in a file, one per line.", metavar="FILE"),
]
TextsOption = Annotated[
    Path | None,
    typer.Option(
        "--texts", help="What the classes look like: a text set (docs/photos.md).", metavar="FILE"
    ),
]
TemplateOption = Annotated[
    list[str] | None,
    typer.Option(
        "--template",
        help="Prompt for class names: 'a satellite photo of a "
        "{class}.'; several times: their average.",
        metavar="TEXT",
    ),
]
RUN = typer.Option(
    "--run", help="A finished run: its results folder, or its configuration file.", metavar="PATH"
)
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help=f"{MODEL}. Of a run: which of its encoders."),
]
PretrainedOption = Annotated[
    str | None,
    typer.Option("--pretrained", help="Weights of a plain name: a tag or a file; default: openai."),
]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset", "-d", help="Of a run: which data set's classes; default: the only one."
    ),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="With --run: clip, coder, coder_rerank, …, a few-shot one as coder_adapter-16; "
        "default: what the run "
        "recommends (docs/method.md).",
    ),
]
CacheOption = Annotated[
    bool, typer.Option("--cache/--no-cache", help="Keep features for the next call.")
]
Format = Literal["table", "csv", "json", "jsonl"]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        help="Default: by the ending of --out, else a table.", metavar="table|csv|json|jsonl"
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Write here, not to the terminal.", metavar="FILE"),
]


@app.command(rich_help_panel=PANEL)
def classify(
    photos: PhotosArgument,
    classes: ClassesOption = None,
    classes_file: ClassesFileOption = None,
    texts: TextsOption = None,
    template: TemplateOption = None,
    run: Annotated[Path | None, RUN] = None,
    model: ModelOption = None,
    pretrained: PretrainedOption = None,
    dataset: DatasetOption = None,
    method: MethodOption = None,
    why: Annotated[
        int,
        typer.Option(help="How many texts for and against to show per photo.", min=0, metavar="N"),
    ] = 0,
    top: Annotated[
        int, typer.Option(help="How many of the likeliest classes to show.", min=1, metavar="N")
    ] = 3,
    sort: Annotated[
        Literal["given", "uncertain", "score"],
        typer.Option(
            help="uncertain: the smallest margin first; score: the "
            "largest score of the best class first.",
            metavar="given|uncertain|score",
        ),
    ] = "given",
    none_below: Annotated[
        float | None,
        typer.Option(
            help="Say 'none of these' where the best class has less: a "
            "score, or a probability from 0 to 1.",
            metavar="X",
        ),
    ] = None,
    copy_to: Annotated[
        Path | None,
        typer.Option(help="Copy each photo into a folder of its class there.", metavar="DIR"),
    ] = None,
    format: FormatOption = None,
    out: OutOption = None,
    cache: CacheOption = True,
) -> None:
    """Classify photos, and say why. No configuration, labels or earlier run needed.

    For example:

    - coder-clip classify photos --classes cat,dog,"red fox"

    - coder-clip classify photos --texts foxes.json --why 2

    - coder-clip classify photos --run results/photos --sort uncertain

    score: 100 × the mean cosine of photo and texts; it compares classes of one photo and is not a
    probability. A run with at least 30 labelled validation images gives probabilities, calibrated
    on them. margin: points ahead of the runner-up.

    Photos that cannot be read are listed at the end. The exit status is 1 if one of them was named
    on the command line or in the list, or if no photo could be read; a broken file in a folder does
    not change it.
    """
    from . import files, listing

    # Options that contradict each other are refused before the photos are encoded, which takes most
    # of the time.
    format = _format(format, out)
    about_run = ""
    points = True  # scores are points: 100 × cosines
    if run is not None:
        from coder_clip.evaluation.recommendation import NAMES

        from .runs import load_run

        without_run = {
            "--classes": classes,
            "--classes-file": classes_file,
            "--texts": texts,
            "--template": template,
            "--pretrained": pretrained,
        }
        for option, value in without_run.items():
            if value:
                raise UserError(
                    f"{option} and --run: a run has its own classes, texts, templates and weights"
                )
        finished = load_run(run, dataset, model, method, explained=why > 0, cache=cache)
        classifier, about_run = finished.classifier, f"; {finished.said}"
        points = finished.chosen.shots is None
    elif dataset or method:
        option = "--dataset" if dataset else "--method"
        raise UserError(f"{option} chooses something of a run: give --run, too")
    else:
        classifier = _classifier(classes, classes_file, texts, template, model, pretrained, cache)
    if none_below is not None and classifier.stages.scale is not None and not 0 <= none_below <= 1:
        raise UserError(
            f"--none-below {none_below:g}: this run has probabilities; give one from 0 to 1"
        )
    places = files.find(photos)
    if copy_to is not None:
        files.refuse_within("--copy-to", copy_to, places)
    started = time.monotonic()
    _quiet_about_large_photos()
    features = classifier.encoder.photos(places.files, progress=True)
    only_names = all(row.kind == "name" for row in classifier.rows)
    if run is not None:
        only_names = finished.chosen.method == NAMES
    reasons = 0 if only_names else why
    found = classifier.photos(
        features.features, features.kept, why=reasons, top=top, none_below=none_below
    )
    if sort == "uncertain":
        found = sorted(found, key=lambda p: p.margin)
    elif sort == "score":
        found = sorted(found, key=lambda p: -p.score)
    if format == "csv":
        text = listing.as_csv(found, top, why, points)
    elif format in ("json", "jsonl"):
        text = listing.as_json(map(asdict, found), lines=format == "jsonl")
    else:
        text = listing.as_table(found, top, _width(out), points)
    _write(text, out)
    if copy_to is not None:
        made = files.copy_to(copy_to, found)
        _note(f"{listing.photo_count(made)} copied to {files.shown(copy_to)}")
    rate = len(places.files) / max(time.monotonic() - started, 1e-3)
    digits = 1 if rate < 10 else 0
    if found:
        if none_below is not None:
            calibrated = classifier.stages.scale is not None
            typical = listing.typical(found, none_below, calibrated)
            if typical:
                _note(typical)
        _note(f"{listing.summary(found)}; {rate:.{digits}f} images/s{about_run}")
    if why and only_names:
        more = "--texts FILE" if run is None else "--method coder"
        _note(f"names alone have no reasons: {more} shows those of texts")
    _end(places, features)


@app.command(rich_help_panel=PANEL)
def find(
    photos: Annotated[
        str, typer.Argument(help="A folder, a photo, or - for a list.", metavar="PHOTOS")
    ],
    texts: Annotated[list[str], typer.Argument(help="What to look for; of several, the mean.")],
    minus: Annotated[
        list[str] | None, typer.Option(help="What not to look for; repeatable.")
    ] = None,
    top: Annotated[int, typer.Option(help="How many photos to show.", min=1, metavar="N")] = 10,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Draw these photos on one page: .jpg or .png.", metavar="FILE"),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help=MODEL)] = None,
    pretrained: PretrainedOption = None,
    format: FormatOption = None,
    out: OutOption = None,
    cache: CacheOption = True,
) -> None:
    """Find the photos that are most like a text.

    For example:

    - coder-clip find photos "a red bird on a branch" --sheet birds.jpg

    - coder-clip find photos "a bird" --minus "a drawing of a bird" --top 50

    score: 100 × the mean cosine of the photo with the texts, minus the same for --minus. It
    compares photos for one search and is not a probability.
    Texts are read as typed, without a template.

    Photos that cannot be read, and the exit status: as in classify.
    """
    from . import files, listing
    from .encoding import PhotoEncoder, encoder_spec
    from .find import check_sheet, draw_sheet, likest

    format, minus = _format(format, out), minus or []
    for text in [*texts, *minus]:
        if not text.strip():
            raise UserError("a text to look for is empty")
        if os.path.isfile(text) or (len(texts) > 1 and os.path.isdir(text)):
            raise UserError(
                f"'{files.shown(text)}' is a file or a folder: give "
                "one place, then the texts to look for"
            )
    places = files.find([photos])
    if sheet is not None:
        check_sheet(sheet, min(top, len(places.files)))
        files.refuse_within("--sheet", sheet, places)
    encoder = PhotoEncoder(encoder_spec(model or DEFAULT_MODEL, pretrained), cache)
    _quiet_about_large_photos()
    features = encoder.photos(places.files, progress=True)
    found = likest(encoder, features, texts, minus)[:top]
    _write(listing.ranked(found, format, _width(out)), out)
    if sheet is not None and found:
        draw_sheet(sheet, found)
        _note(f"written to {files.shown(sheet)}")
    if found:
        search = ", ".join([f"'{t}'" for t in texts] + [f"not '{t}'" for t in minus])
        _note(
            f"{len(found)} of {listing.photo_count(len(features.kept))} for {files.shown(search)}; "
            "scores compare photos for one search and are not probabilities"
        )
    _end(places, features)


def _format(format: Format | None, out: Path | None) -> Format:
    """The format given by --format, or by the ending of --out. UserError for an unknown ending.

    With --format a file may have any ending except a photo's: a photo could be overwritten.
    """
    from coder_clip.datasets.folder import is_image

    endings: dict[str, Format] = {
        "": "table",
        ".txt": "table",
        ".csv": "csv",
        ".json": "json",
        ".jsonl": "jsonl",
    }
    ending = out.suffix if out else ""
    if is_image(f"x{ending}"):
        raise UserError(
            f"--out {out}: this ending is a photo's; end it in .csv, .json, .jsonl or .txt"
        )
    if format is None and ending not in endings:
        raise UserError(f"--out {out}: end it in .csv, .json, .jsonl or .txt, or give --format")
    return format or endings[ending]


def _width(out: Path | None) -> int | None:
    """Columns of the terminal that a table is for; None for a file or pipe, whose lines can have
    any length.
    """
    if out is None and sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return None


def _end(places: Places, features: Features) -> None:
    """List skipped photos. The exit status is 1 if the user named one of them, or if no photo could
    be read.
    """
    _list_skipped(places, features.skipped)
    skipped = {path for path, _ in places.skipped + features.skipped}
    if not features.kept or skipped & places.named:
        raise typer.Exit(1)


def _classifier(
    classes: str | None,
    classes_file: Path | None,
    texts: Path | None,
    template: list[str] | None,
    model: str | None,
    pretrained: str | None,
    cache: bool,
) -> Classifier:
    """A classifier without a run, from one of classes, classes_file and texts."""
    described = {"--classes": classes, "--classes-file": classes_file, "--texts": texts}
    given = [option for option, value in described.items() if value]
    if not given:
        raise UserError(
            "which classes? Give --classes cat,dog, --classes-file FILE, --texts FILE or --run PATH"
        )
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)}: give one of them")
    from . import Classifier
    from .texts import TEMPLATES

    descriptions: Any = texts
    if classes:
        descriptions = _names(classes)
    elif classes_file:
        if classes_file.suffix == ".json":
            raise UserError(
                f"--classes-file {classes_file}: it has a name per "
                "line; a text set is given as --texts"
            )
        descriptions = []
        for line in lines_of(classes_file):
            # a line without a quote is one name, also with a comma
            descriptions += _names(line) if line.startswith('"') else [line]
    return Classifier(
        model or DEFAULT_MODEL,
        descriptions,
        pretrained=pretrained,
        cache=cache,
        templates=template or TEMPLATES,
    )


def _names(text: str) -> list[str]:
    """Names between commas, as in CSV: quotes keep a comma in a name."""
    lines = text.removeprefix("\ufeff").splitlines()
    try:
        rows = csv.reader(lines, skipinitialspace=True, strict=True)
        return [name for row in rows for name in row]
    except csv.Error as error:
        raise UserError(
            f'class names {text}: {error}; write a name with a comma as "shark, white"'
        ) from None


def _write(text: str, out: Path | None = None) -> None:
    """Write to a file, whole or not at all, or to the terminal; a reader that stops early (head) is
    not an error.
    """
    if out is not None:
        from coder_clip.foundation.artifacts import write_text

        from .files import shown

        write_text(out, text)
        _note(f"written to {shown(out)}")
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it ends, so nothing may be wrong with standard output then
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _list_skipped(places: Places, unreadable: list[tuple[str, str]]) -> None:
    """Print a line per file that was left out. unreadable: (path, reason)."""
    from .files import by_ending, shown

    for line in by_ending(places.others):
        _note(line)
    for path, reason in [*places.skipped, *unreadable]:
        _note(f"left out: {shown(path)}: {shown(reason)}")


def _note(line: str) -> None:
    """Print a line about the run to standard error."""
    typer.echo(line, err=True)


def _quiet_about_large_photos() -> None:
    """Silence Pillow's warning about photos over 89 megapixels, which are read all the same."""
    from PIL import Image

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


@app.command(rich_help_panel=PANEL)
def explore(
    photos: Annotated[
        list[str],
        typer.Argument(
            help="A finished run (its results folder or configuration "
            "file); or photos and folders of them.",
            metavar="RUN_OR_PHOTOS",
        ),
    ],
    classes: ClassesOption = None,
    classes_file: ClassesFileOption = None,
    texts: TextsOption = None,
    template: TemplateOption = None,
    model: ModelOption = None,
    pretrained: PretrainedOption = None,
    dataset: DatasetOption = None,
    port: Annotated[
        int, typer.Option(help="Port of the page; default: a free one.", min=0, max=65535)
    ] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
    cache: CacheOption = True,
) -> None:
    """Open a page on this machine: photos with their reasons, and texts to improve while you watch.

    For example:

    - coder-clip explore results/photos

    - coder-clip explore photos --classes cat,dog

    Only this machine can open the page, and only with the address that is printed; nothing leaves
    the machine. Text sets are saved in the working directory, corrected labels beside the run's
    configuration. Control-C ends it.
    """
    # With class names or texts the paths are photos, without them the path is a finished run. All
    # slow work is done before the address is printed.
    from . import files, openings, web_page

    _quiet_about_large_photos()
    if classes or classes_file or texts:
        if dataset:
            raise UserError(
                "--dataset chooses something of a run; photos have the classes that you name"
            )
        classifier = _classifier(classes, classes_file, texts, template, model, pretrained, cache)
        places = files.find(photos)
        shown, skipped = openings.explore_photos(classifier, places.files, Path.cwd(), photos)
        _list_skipped(places, skipped)
    else:
        from .runs import load_run

        if pretrained:
            raise UserError("--pretrained: a run has its own weights")
        if template:
            raise UserError("--template: a run has its own templates")
        if len(photos) > 1:
            raise UserError(
                "several paths are read as photos, which need classes: give --classes, "
                "--classes-file or --texts"
            )
        run = load_run(Path(photos[0]), dataset, model, "coder", cache=cache)
        shown = openings.explore_run(run, Path.cwd())
    _ = shown.study.encoder.encoder  # loaded now, so that the first edit is as quick as the others
    server, address = web_page.server(shown, port)
    try:
        # Control-C is caught from the line on that promises this
        typer.echo(f"{address}\nControl-C ends it.")
        with web_page.in_browser(address) if browser else nullcontext():
            server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
