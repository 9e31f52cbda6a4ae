"""`coder-clip texts`, the phase, and `texts check`, `import` and `review`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UserError, nearest
from ..foundation.artifacts import Paths, write_json
from ..pipeline.config import Config, load_config
from ..texts.kinds import OF_CLASS
from .options import DEFAULT_CONFIG, App, ConfigOption, DatasetOption, Group, chosen, phase, print_lines

if TYPE_CHECKING:
    from ..encoders.encoder import Encoder
    from ..texts.checks import Fault
    from ..texts.sets import PairSet, TextSet


app = App(cls=Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})


@app.callback()
def texts(
    context: typer.Context, config: ConfigOption = DEFAULT_CONFIG, dataset: DatasetOption = None
) -> None:
    """Text sets: name, attribute, analogous and synonym texts per class, checked against the data set."""
    if command := context.invoked_subcommand:
        sources = (getattr(context.get_parameter_source(name), "name", "") for name in context.params)
        if "COMMANDLINE" in sources:
            raise UserError(f"put options after the command: coder-clip texts {command} --config …")
        return
    c = load_config(config)
    for d in chosen("data set", dataset, c.datasets):
        phase("texts").run(c, d)


@app.command("import")
def import_texts(
    form: Annotated[str, typer.Argument(metavar="FORMAT", help="plain, descriptions or cupl.")],
    source: Annotated[Path, typer.Argument(help="JSON file with texts by class name (docs/texts.md).")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="Data set the texts are for.")],
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Its class names in label order, one per line; default: those of the known data set."
        ),
    ] = None,
    rename: Annotated[
        list[str] | None, typer.Option(help="THEIRS=OURS, a class name of the source; may be repeated.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Import what fits, and list what does not.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="File to write; default: data/texts/DATASET.FORMAT.json.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Import published texts as a text set: matched by class name, with provenance."""
    from ..texts.importers import Mismatch, import_texts

    target = out or Path(f"data/texts/{dataset}.{form}.json")
    names = class_names(dataset, classes, config)
    try:
        found, notes = import_texts(
            form, source, dataset, names, renames=renames_of(rename or []), partial=partial
        )
    except Mismatch as mismatch:
        typer.echo("\n".join(mismatch.lines), err=True)
        raise
    if target.exists() and not force:
        raise UserError(f"{target} exists; --force overwrites it, --out names another")
    write_json(target, found.dump())
    print_lines(notes)
    typer.echo(f"{target}: {_counted(found)}")
    typer.echo(f"to use them: datasets: {{{dataset}: {{texts: {target}}}}}")


@app.command()
def check(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Text sets, or folders of them; default: the configuration's.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="One data set.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="A model of the configuration, or a folder with one: also compare the texts."),
    ] = None,
) -> None:
    """Check the wording of text sets, and what their texts say of other classes; exit with 1 where there are faults."""
    from ..texts.checks import check as faults_of

    compare = _encoder(encoder, config) if encoder else None
    paths = text_files(files) if files else _files_of(load_config(config), dataset)
    total = 0
    for path, pair_path in paths:
        texts, pairs = _read(path, pair_path)
        more: list[Fault] = []
        if compare is not None:
            from ..texts.similar import faults as compared  # imports torch

            more = list(compared(texts, pairs, compare))
        faults = faults_of(texts, pairs, more)
        print_lines(f"{path}: {fault}" for fault in faults)
        by_rule = ", ".join(f"{n} {rule}" for rule, n in Counter(f.rule for f in faults).most_common())
        exceptions = len(texts.exceptions) + (len(pairs.exceptions) if pairs else 0)
        pair_count = f", {len(pairs.pairs)} pairs" if pairs else ""
        typer.echo(
            f"{path}: {_counted(texts)}{pair_count}, {exceptions} exceptions: "
            + (f"{len(faults)} faults ({by_rule})" if faults else "no fault")
        )
        total += len(faults)
    if total:
        raise typer.Exit(1)


def _counted(texts: TextSet) -> str:
    """How many classes a text set has, and how many texts of each kind besides the names."""
    counts = {kind: sum(len(c.of(kind)) for c in texts.classes) for kind in OF_CLASS}
    of_kind = (f"{n} {kind}" for kind, n in counts.items() if n)
    return ", ".join([f"{len(texts.classes)} classes", *of_kind])


def _encoder(given: str, config: Path) -> Encoder:
    """The encoder of a folder, or of a model of the configuration."""
    from ..encoders.encoder import EncoderSpec, load_encoder

    if Path(given).is_dir():
        return load_encoder(EncoderSpec(f"local-dir:{given}"))
    from ..phases.encoder import encoder_of

    c = load_config(config)
    return encoder_of(c, *chosen("model", given, c.models))


def text_files(given: Sequence[Path]) -> list[tuple[Path, Path | None]]:
    """Text sets with their pairs, from files and folders; other JSON files of a folder are passed over."""
    found: dict[Path, Path | None] = {}
    for path in given:
        for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            text_set = file.with_name(file.name.replace(".one_to_one.json", ".json"))
            if not text_set.is_file():
                raise UserError(f"no text set {text_set}; name a text set or a folder of them")
            if not path.is_dir() or not file.name.endswith(".review.json"):
                found[text_set] = pair_file(text_set)
    return list(found.items())


def _files_of(config: Config, dataset: str | None) -> list[tuple[Path, Path | None]]:
    """The text sets of a configuration: files that it names, and what a model wrote for it."""
    found: dict[Path, Path | None] = {}
    for name in chosen("data set", dataset, config.datasets):
        entry, paths = config.datasets[name], Paths(config.results)
        for path in (*entry.text_files(name), paths.generated_texts(name)):
            if path.is_file():
                pairs = entry.pair_source(name) or paths.generated_pairs(name)
                found[path] = pairs if pairs.is_file() else None
    return list(found.items())


@app.command()
def review(
    dataset: Annotated[str, typer.Argument(metavar="NAME", help="Data set of the configuration.")],
    config: ConfigOption = DEFAULT_CONFIG,
    owner: Annotated[
        str | None,
        typer.Option("--class", help="Texts of this class only, or of this pair: 'red fox / wolf'."),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Texts of this kind only.")] = None,
    reject: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Never use this text of --class again.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Ask again for the texts of --class.")] = False,
    undo: Annotated[
        bool,
        typer.Option("--undo", help="Take back the decisions about --class, or about --reject TEXT of it."),
    ] = False,
    freeze: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the texts to a file, which no model changes any more."),
    ] = None,
) -> None:
    """List a language model's texts with the answer of each; reject one, ask again, or freeze all."""
    # Artefacts are only read here. A decision (reject, again) is stored beside the answers, and the next run
    # applies it: so the text sets change only in the phase that makes them.
    from ..foundation.artifacts import read_json
    from ..texts.llm.review import Review, listed
    from ..texts.llm.store import Answers

    c = load_config(config)
    chosen("data set", dataset, c.datasets)
    paths, generator = Paths(c.results), c.generator
    made = [p for p in (paths.generated_texts(dataset), paths.generated_pairs(dataset)) if p.is_file()]
    if generator is None or not made:
        raise UserError(
            f"no texts of a language model for '{dataset}' yet; "
            f"'coder-clip generate-texts --dataset {dataset}' makes them"
        )
    every = [entry for path in made for entry in listed(read_json(path))]
    if owner is not None and (reverse := " / ".join(owner.split(" / ")[::-1])) in {e.owner for e in every}:
        owner = reverse  # 'wolf / red fox' is the pair 'red fox / wolf'
    for name, wanted, known in (
        ("class", owner, {e.owner for e in every}),
        ("kind", kind, {e.kind for e in every}),
    ):
        if wanted is not None and wanted not in known:
            raise UserError(
                f"no {name} '{wanted}' among these texts{nearest(wanted, known, listed=len(known) < 9)}"
            )
    found = [e for e in every if owner in (None, e.owner) and kind in (None, e.kind)]
    if (reject is not None or again or undo) and owner is None:
        raise UserError("name the class with --class")
    if freeze is not None:
        _freeze(dataset, made, freeze)
    elif undo:
        decisions = Review.of(generator.answers, dataset)
        if not (n := decisions.undo(str(owner), kind, reject)):
            raise UserError(f"no decision about '{owner}' to take back")
        typer.echo(f"{decisions.write(generator.answers, dataset)}: {n} decisions taken back")
    elif reject is not None or again:
        decisions = Review.of(generator.answers, dataset)
        rejected = [e for e in found if not e.why and e.text == reject]
        if reject is not None and not rejected:
            raise UserError(
                f"'{reject}' is not a text of '{owner}'{nearest(reject, [e.text for e in found if not e.why])}"
            )
        decisions.rejected += [(e.kind, e.owner, e.text) for e in rejected]
        decisions.again += [(k, str(owner)) for k in dict.fromkeys(e.kind for e in found if again)]
        path = decisions.write(generator.answers, dataset)
        typer.echo(f"{path}: saved; the next run of generate-texts or generate-pairs applies it")
    else:
        answers = Answers(generator.answers, dataset).kept
        for e in found:
            of = answers[e.answer].answer if e.answer in answers else None
            origin = f"{e.answer[:12]}" + (f" ({of.served}, {of.date})" if of else "")
            text = f"{e.side} has: {e.text}" if e.side else e.text
            why = [f"not accepted: {e.why}"] if e.why else []
            typer.echo("  ".join([e.owner, e.kind, text, *why, origin]))


def _freeze(dataset: str, made: list[Path], target: Path) -> None:
    """Copy the generated files, and print how a configuration uses them."""
    from ..foundation.artifacts import read_json

    files = {target: made[0]} if len(made) == 1 else dict(zip((target, pair_file(target)), made, strict=True))
    for path in files:
        if path.exists():
            raise UserError(f"{path} exists; name another file")
    kinds: dict[str, Path] = {}
    for path, source in files.items():
        document = read_json(source)
        write_json(path, document)
        kinds |= dict.fromkeys(document["provenance"], path)
    uses = ", ".join(f"{kind}: {path}" for kind, path in kinds.items())
    typer.echo(f"to use them: datasets: {{{dataset}: {{texts: {{{uses}}}}}}}")


def pair_file(path: Path) -> Path:
    """Path of the file of one-to-one texts that belongs to a text set."""
    return path.with_name(f"{path.stem}.one_to_one.json")


def _read(path: Path, pairs: Path | None) -> tuple[TextSet, PairSet | None]:
    """Read a text set and, if there is a file, its pairs; the class names are the text set's own."""
    from ..photos.texts import read_text_set
    from ..texts.sets import load_pair_set

    texts = read_text_set(path)
    if pairs is None or not pairs.is_file():
        return texts, None
    return texts, load_pair_set(pairs, texts.dataset, [c.name for c in texts.classes])


def renames_of(given: Sequence[str]) -> dict[str, str]:
    """Parse the values of --rename: name in the source -> name in the data set. UserError for another form."""
    for text in given:
        if "=" not in text:
            raise UserError(f"--rename {text}: write THEIRS=OURS, two class names")
    return dict((part.strip() for part in text.split("=", 1)) for text in given)  # type: ignore[misc]


def class_names(dataset: str, given: Path | None, config: Path) -> list[str]:
    """Class names from a file, a published data set's entry, a data set of ours, or the configuration's images."""
    from ..datasets import PUBLISHED, load_dataset, nearest_dataset
    from ..datasets.entry import entry

    path = given or Path(f"data/classes/{dataset}.txt")
    if given is None and dataset in PUBLISHED:
        return entry(dataset).class_names()
    if given or path.is_file():
        return lines_of(path)
    c = load_config(config)
    if dataset not in c.datasets:
        raise UserError(
            f"no class names of data set '{dataset}'{nearest_dataset(dataset)}; name a file with --classes"
        )
    return list(load_dataset(dataset, c.datasets[dataset]).classes)


def lines_of(path: Path) -> list[str]:
    """Class names from a file, one per line, without empty lines and comments (#)."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"class names cannot be read: {path}: {error}; write one per line") from error
    return [line for line in lines if line and not line.startswith("#")]
