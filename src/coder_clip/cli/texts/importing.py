"""`coder-clip texts import`: text sets that people have written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...errors import UserError
from ...foundation.artifacts import write_json
from ..options import DEFAULT_CONFIG, ConfigOption, print_lines
from .group import app
from .names import class_names, counted, pair_file, refuse_existing, renames_of, use_rules

AUTHORS = Path("data/texts/authors")
Rules = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="plain: folder with a rules.yaml of your own, for texts of another language.",
    ),
]


@app.command("import")
def import_texts(
    form: Annotated[
        str,
        typer.Argument(metavar="FORMAT", help="plain, descriptions, cupl, awt, mpvr or authors."),
    ],
    source: Annotated[
        str,
        typer.Argument(
            help="JSON file with texts by class name (docs/texts.md); authors: their archive, its "
            "folder, or its address, by default the published one.",
        ),
    ] = "",
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset", "-d", help="Data set the texts are for; authors: by default all."
        ),
    ] = "",
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Its class names in label order, one per line; default: those of the known data "
            "set."
        ),
    ] = None,
    their_classes: Annotated[
        Path | None,
        typer.Option(
            help="authors: folder of their class files (datasets/class_name of their repository), "
            "which name the lists without names.",
            metavar="FOLDER",
        ),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(help="THEIRS=OURS, a class name of the source; may be repeated."),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Import what fits, and list what does not.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write; default: data/texts/DATASET.FORMAT.json; authors: folder, default "
            "data/texts/authors."
        ),
    ] = None,
    rules: Rules = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Import published texts as a text set: matched by class name, with provenance.

    With FORMAT authors: every data set of the archive that the paper's authors publish.
    """
    if rules is not None:
        if form != "plain":
            raise UserError(f"--rules is for plain; texts of the format {form} stay as they are")
        use_rules(rules)
    if form == "authors":
        if classes is not None:
            raise UserError(
                "--classes is not for authors, whose data sets are known; see --their-classes"
            )
        if rename and not dataset:
            raise UserError("--rename is for one data set; name it with --dataset")
        _import_authors(
            source, dataset, their_classes, renames_of(rename or []), partial, out or AUTHORS, force
        )
        return
    if not source or not dataset:
        raise UserError(f"texts import {form}: name the file and the data set: FILE --dataset NAME")
    if their_classes is not None:
        raise UserError("--their-classes is for the format authors")
    _import_file(
        form, Path(source), dataset, classes, renames_of(rename or []), partial, out, force, config
    )


def _import_file(
    form: str,
    source: Path,
    dataset: str,
    classes: Path | None,
    renames: dict[str, str],
    partial: bool,
    out: Path | None,
    force: bool,
    config: Path,
) -> None:
    """Write the text set of one file."""
    from ...texts.importers import Mismatch, import_texts

    target = out or Path(f"data/texts/{dataset}.{form}.json")
    names = class_names(dataset, classes, config)
    try:
        found, notes = import_texts(form, source, dataset, names, renames=renames, partial=partial)
    except Mismatch as mismatch:
        typer.echo("\n".join(mismatch.lines), err=True)
        raise
    refuse_existing([target], force)
    write_json(target, found.dump())
    print_lines(notes)
    typer.echo(f"{target}: {counted(found)}")
    typer.echo(f"to use them: datasets: {{{dataset}: {{texts: {target}}}}}")


def _import_authors(
    source: str,
    dataset: str,
    theirs: Path | None,
    renames: dict[str, str],
    partial: bool,
    out: Path,
    force: bool,
) -> None:
    """Write the text sets of the authors' archive, and say what matched.

    Exits with 1 if a data set did not.
    """
    from ...texts import authors

    source = source or authors.ADDRESS
    checksum = authors.checksum(source)
    if checksum:
        typer.echo(f"{source}: {checksum} (nobody publishes one; compare it with a colleague's)")
    failed = []
    with authors.opened(source) as folder:
        for name, texts, pairs, lines in authors.import_all(
            folder, [dataset] if dataset else [], theirs, renames, partial
        ):
            if texts is None:
                failed.append(name)
                print_lines(f"{name}: {line}" for line in lines)
                continue
            target = out / f"{name}.json"
            refuse_existing([target, pair_file(target)], force)
            write_json(target, texts.dump())
            line = f"{name}: {target}: {counted(texts)}"
            if pairs is not None:
                write_json(pair_file(target), pairs.dump())
                line += f", {len(pairs.pairs)} pairs"
            typer.echo(line)
            print_lines(f"{name}: {line}" for line in lines)
    typer.echo("to use them: make reproduce CONFIG=config/paper_authors_texts.yaml (docs/paper.md)")
    if failed:
        raise UserError(f"not imported, see above: {', '.join(failed)}")
