"""``coder-clip classify`` and ``explore``: your own photos (docs/photos.md)."""

from __future__ import annotations

import csv
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from coder_clip.cli.options import app
from coder_clip.cli.texts import lines_of
from coder_clip.errors import UserError

from .command_parts import (
    DEFAULT_MODEL,
    PANEL,
    RUN,
    STREAMED,
    CacheOption,
    ClassesFileOption,
    ClassesOption,
    DatasetOption,
    FormatOption,
    MethodOption,
    ModelOption,
    OutOption,
    PhotosArgument,
    PretrainedOption,
    TemplateOption,
    TextsOption,
    chosen_format,
    end,
    list_skipped,
    note,
    quiet_about_large_photos,
    table_width,
    write,
)

if TYPE_CHECKING:
    from .classifier import Classifier, Photo


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
    format = chosen_format(format, out)
    if run is not None:
        without_run = {
            "--classes": classes,
            "--classes-file": classes_file,
            "--texts": texts,
            "--template": template,
            "--pretrained": pretrained,
        }
        refused = [option for option, value in without_run.items() if value]
        if refused:
            raise UserError(
                f"{refused[0]} and --run: a run has its own classes, texts, templates and weights"
            )
        chosen = _of_run(run, dataset, model, method, why, cache)
    elif dataset or method:
        option = "--dataset" if dataset else "--method"
        raise UserError(f"{option} chooses something of a run: give --run, too")
    else:
        made = _classifier(classes, classes_file, texts, template, model, pretrained, cache)
        chosen = _Chosen(made, all(row.kind == "name" for row in made.rows))
    classifier = chosen.classifier
    if none_below is not None and classifier.stages.scale is not None and not 0 <= none_below <= 1:
        raise UserError(
            f"--none-below {none_below:g}: this run has probabilities; give one from 0 to 1"
        )
    places = files.find(photos)
    if copy_to is not None:
        files.refuse_within("--copy-to", copy_to, places)
    started = time.monotonic()
    quiet_about_large_photos()
    reasons = 0 if chosen.only_names else why
    # JSON Lines come as the photos are read, for a program that goes on with them
    streams = format == "jsonl" and sort == "given" and out is None
    found: list[Photo] = []
    skipped: list[tuple[str, str]] = []
    for some in _parts(places.files, streams):
        features = classifier.encoder.photos(some, progress=not streams)
        part = classifier.photos(
            features.features, features.kept, why=reasons, top=top, none_below=none_below
        )
        if streams:
            write(listing.as_json(map(asdict, part), lines=True))
        found += part
        skipped += features.skipped
    if sort == "uncertain":
        found = sorted(found, key=lambda p: p.margin)
    elif sort == "score":
        found = sorted(found, key=lambda p: -p.score)
    if not streams:
        write(_formatted(found, format, top, why, chosen.points, table_width(out)), out)
    if copy_to is not None:
        n_copied = files.copy_to(copy_to, found)
        note(f"{listing.photo_count(n_copied)} copied to {files.shown(copy_to)}")
    rate = len(places.files) / max(time.monotonic() - started, 1e-3)
    _say_what_was_found(found, none_below, rate, chosen)
    if why and chosen.only_names:
        more = "--texts FILE" if run is None else "--method coder"
        note(f"names alone have no reasons: {more} shows those of texts")
    end(places, len(found), skipped)


@dataclass(frozen=True)
class _Chosen:
    """What classifies. only_names: True if each class has its name as its only text. points: True
    if scores are points, 100 × cosines. about_run: the run's method in words, "" without a run.
    """

    classifier: Classifier
    only_names: bool
    points: bool = True
    about_run: str = ""


def _of_run(
    run: Path, dataset: str | None, model: str | None, method: str | None, why: int, cache: bool
) -> _Chosen:
    """The classifier of a finished run."""
    from coder_clip.evaluation.recommendation import NAMES

    from .runs import load_run

    finished = load_run(run, dataset, model, method, explained=why > 0, cache=cache)
    return _Chosen(
        finished.classifier,
        finished.chosen.method == NAMES,
        finished.chosen.shots is None,
        f"; {finished.said}",
    )


def _parts(files: list[Path], streams: bool) -> list[list[Path]]:
    """All photos at once or, if their results are written as they come, some at a time."""
    if not streams:
        return [files]
    return [files[start : start + STREAMED] for start in range(0, len(files), STREAMED)]


def _formatted(
    found: list[Photo], format: str, top: int, why: int, points: bool, width: int | None
) -> str:
    """The photos in a format of ``--format``."""
    from . import listing

    if format == "csv":
        return listing.as_csv(found, top, why, points)
    if format in ("json", "jsonl"):
        return listing.as_json(map(asdict, found), lines=format == "jsonl")
    return listing.as_table(found, top, width, points)


def _say_what_was_found(
    found: list[Photo], none_below: float | None, rate: float, chosen: _Chosen
) -> None:
    """The last lines of `classify`: typical scores, photos per class, photos per second."""
    from . import listing

    if not found:
        return
    if none_below is not None:
        calibrated = chosen.classifier.stages.scale is not None
        typical = listing.typical(found, none_below, calibrated)
        if typical:
            note(typical)
    digits = 1 if rate < 10 else 0
    note(f"{listing.summary(found)}; {rate:.{digits}f} images/s{chosen.about_run}")


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
    from .texts import TEMPLATES, shipped_or_own

    descriptions: Any = texts and shipped_or_own(texts)
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
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Labels of the photos to begin with: a CSV file with the columns file_name,label, "
            "or the folder whose subfolders are the classes.",
            metavar="PATH",
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(
            help="Port of the page, whose address then stays the same; default: a free one.",
            min=0,
            max=65535,
        ),
    ] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
    cache: CacheOption = True,
) -> None:
    """Open a page on this machine: label photos, see reasons, improve texts while you watch.

    For example:

    - coder-clip explore results/photos

    - coder-clip explore photos --classes cat,dog

    Only this machine can open the page, and only with the address that is printed; nothing leaves
    the machine. Text sets, labelled photos and their run are saved in the working directory,
    corrected labels beside the run's configuration. Every edit is kept at once, and is there at the
    next start. Control-C ends it.
    """
    # With class names or texts the paths are photos, without them the path is a finished run. All
    # slow work is done before the address is printed.
    from . import export, files, openings, web_page

    quiet_about_large_photos()
    if classes or classes_file or texts:
        if dataset:
            raise UserError(
                "--dataset chooses something of a run; photos have the classes that you name"
            )
        classifier = _classifier(classes, classes_file, texts, template, model, pretrained, cache)
        places = files.find(photos)
        shown, skipped = openings.explore_photos(classifier, places.files, Path.cwd(), photos)
        list_skipped(places, skipped)
        if labels is not None:
            export.take_labels(shown, labels)
    elif labels is not None:
        raise UserError("--labels: photos get labels; a run has its own")
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
