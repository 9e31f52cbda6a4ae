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
    refuse_no_number,
    table_width,
    write,
)

if TYPE_CHECKING:
    from .classifier import Classifier, Photo


WhyOption = Annotated[
    int, typer.Option(help="How many texts for and against to show per photo.", min=0, metavar="N")
]
TopOption = Annotated[
    int, typer.Option(help="How many of the likeliest classes to show.", min=1, metavar="N")
]
SortOption = Annotated[
    Literal["given", "uncertain", "score"],
    typer.Option(
        help="uncertain: the smallest margin first; score: the largest score of the best class "
        "first.",
        metavar="given|uncertain|score",
    ),
]
NoneBelowOption = Annotated[
    float | None,
    typer.Option(
        help="Say 'none of these' where the best class has less: a score, or a probability from 0 "
        "to 1.",
        metavar="X",
    ),
]
CopyToOption = Annotated[
    Path | None,
    typer.Option(help="Copy each photo into a folder of its class there.", metavar="DIR"),
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
    why: WhyOption = 0,
    top: TopOption = 3,
    sort: SortOption = "given",
    none_below: NoneBelowOption = None,
    copy_to: CopyToOption = None,
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

    # mistakes in options are refused before the photos are encoded, which takes most of the time
    format = chosen_format(format, out)
    if run is not None:
        without_run = {
            "--classes": classes,
            "--classes-file": classes_file,
            "--texts": texts,
            "--template": template,
            "--pretrained": pretrained,
        }
        source = _of_run(run, without_run, dataset, model, method, why, cache)
    else:
        _refuse_without_run({"--dataset": dataset, "--method": method})
        described = (classes, classes_file, texts)
        source = _Source(_classifier(*described, template, model, pretrained, cache))
    source.refuse_no_probability(none_below)
    places = files.find(photos)
    if copy_to is not None:
        files.refuse_within("--copy-to", copy_to, places)
        files.refuse_folders(source.classifier.classes)
    started = time.monotonic()
    quiet_about_large_photos()
    # JSON Lines come as the photos are read, for a program that goes on with them
    streams = format == "jsonl" and sort == "given" and out is None
    found, skipped = source.photos(places.files, why, top, none_below, streams)
    if sort != "given":
        keys = {"uncertain": lambda p: p.margin, "score": lambda p: -p.score}
        found = sorted(found, key=keys[sort])
    if not streams:
        write(listing.formatted(found, format, top, why, source.points, table_width(out)), out)
    if copy_to is not None:
        made = files.copy_to(copy_to, found)
        note(f"{listing.photo_count(made)} copied to {files.shown(copy_to)}")
    if found:
        source.say_typical(found, none_below)
        rate = _rate(len(places.files) / max(time.monotonic() - started, 1e-3))
        note(f"{listing.summary(found)}; {rate} images/s{source.about}")
    if why and source.only_names:
        note(f"names alone have no reasons: {source.more} shows those of texts")
    end(places, len(found), skipped)


def _refuse_without_run(options: dict[str, str | None]) -> None:
    for option, value in options.items():
        if value:
            raise UserError(f"{option} chooses something of a run: give --run, too")


@dataclass(frozen=True)
class _Source:
    """A classifier, and what its results are.

    about: what is said of its run. points: True if scores are points, 100 × cosines. more: the
    option that brings reasons, where names alone have none. of_names: True if only names count;
    None if that depends on the texts.
    """

    classifier: Classifier
    about: str = ""
    points: bool = True
    more: str = "--texts FILE"
    of_names: bool | None = None

    @property
    def only_names(self) -> bool:
        """True if no text but class names counts."""
        if self.of_names is None:
            return all(row.kind == "name" for row in self.classifier.rows)
        return self.of_names

    @property
    def is_calibrated(self) -> bool:
        """True if the results have probabilities."""
        return self.classifier.stages.scale is not None

    def refuse_no_probability(self, none_below: float | None) -> None:
        """UserError if ``--none-below`` is no number, or no probability where results have some."""
        refuse_no_number("--none-below", none_below)
        if none_below is not None and self.is_calibrated and not 0 <= none_below <= 1:
            raise UserError(
                f"--none-below {none_below:g}: this run has probabilities; give one from 0 to 1"
            )

    def photos(
        self, paths: list[Path], why: int, top: int, none_below: float | None, streams: bool
    ) -> tuple[list[Photo], list[tuple[str, str]]]:
        """The photos with their classes, and (path, reason) of those that cannot be read.

        streams: also write the photos as JSON Lines, as they are read.
        """
        from . import listing

        reasons, size = why, max(1, len(paths))
        if self.only_names:
            reasons = 0
        if streams:
            size = STREAMED
        found: list[Photo] = []
        skipped: list[tuple[str, str]] = []
        for start in range(0, len(paths), size):
            some = paths[start : start + size]
            features = self.classifier.encoder.photos(some, progress=not streams)
            part = self.classifier.photos(
                features.features, features.kept, why=reasons, top=top, none_below=none_below
            )
            if streams:
                write(listing.as_json(map(asdict, part), lines=True))
            found += part
            skipped += features.skipped
        return found, skipped

    def say_typical(self, found: list[Photo], none_below: float | None) -> None:
        """Print what the numbers are that ``--none-below`` is compared with."""
        from . import listing

        if none_below is None:
            return
        typical = listing.typical(found, none_below, self.is_calibrated)
        if typical:
            note(typical)


def _of_run(
    run: Path,
    without_run: dict[str, Any],
    dataset: str | None,
    model: str | None,
    method: str | None,
    why: int,
    cache: bool,
) -> _Source:
    """The classifier of a finished run. without_run: options that a run does not go with."""
    from coder_clip.evaluation.validation import NAMES

    from .classifier import Classifier
    from .runs import load_run

    for option, value in without_run.items():
        if value:
            raise UserError(
                f"{option} and --run: a run has its own classes, texts, templates and weights"
            )
    finished = load_run(run, dataset, model, method, explained=why > 0, cache=cache)
    return _Source(
        Classifier.of_run(finished),
        f"; {finished.said}",
        points=finished.chosen.shots is None,
        more="--method coder",
        of_names=finished.chosen.method == NAMES,
    )


def _rate(rate: float) -> str:
    """A rate with a decimal, if it has only one digit before the point."""
    if rate < 10:
        return f"{rate:.1f}"
    return f"{rate:.0f}"


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
                f"--classes-file {classes_file}: it has a name per line; a text set is given as "
                "--texts"
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


RunOrPhotos = Annotated[
    list[str],
    typer.Argument(
        help="A finished run (its results folder or configuration file); or photos and folders of "
        "them.",
        metavar="RUN_OR_PHOTOS",
    ),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(
        help="Labels of the photos to begin with: a CSV file with the columns file_name,label, or "
        "the folder whose subfolders are the classes.",
        metavar="PATH",
    ),
]


@app.command(rich_help_panel=PANEL)
def explore(
    photos: RunOrPhotos,
    classes: ClassesOption = None,
    classes_file: ClassesFileOption = None,
    texts: TextsOption = None,
    template: TemplateOption = None,
    model: ModelOption = None,
    pretrained: PretrainedOption = None,
    dataset: DatasetOption = None,
    labels: LabelsOption = None,
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
    the machine. Text sets, copies of labelled photos and the configuration of their run are saved
    in the working directory, corrected labels beside the run's configuration. Every edit is kept at
    once, and is there at the next start. Control-C ends it.
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
            note(export.take_labels(shown, labels))
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
