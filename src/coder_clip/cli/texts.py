"""`coder-clip texts`, the phase, and `texts skeleton`, `check`, `import` and `review`."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UserError, nearest
from ..foundation import rooms
from ..foundation.artifacts import Paths, read_json, write_json
from ..pipeline.config import Config, load_config
from ..texts.kinds import OF_CLASS
from ..texts.names import plain_name
from ..texts.sentences import spaces
from ..texts.sets import ClassTexts, PairSet, TextSet, load_pair_set, read_text_set
from .options import (
    DEFAULT_CONFIG,
    App,
    ConfigOption,
    DatasetOption,
    Group,
    chosen,
    phase,
    print_lines,
)

if TYPE_CHECKING:
    from ..encoders.encoder import Encoder
    from ..texts.checks import Fault


AUTHORS = Path("data/texts/authors")

app = App(
    cls=Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)


@app.callback()
def texts(
    context: typer.Context, config: ConfigOption = DEFAULT_CONFIG, dataset: DatasetOption = None
) -> None:
    """Text sets: name, attribute, analogous and synonym texts per class, checked against the data
    set.
    """
    command = context.invoked_subcommand
    if command:
        # an option before the subcommand would be read here and then ignored
        sources = (
            getattr(context.get_parameter_source(name), "name", "") for name in context.params
        )
        if "COMMANDLINE" in sources:
            raise UserError(f"put options after the command: coder-clip texts {command} --config …")
        return
    c = load_config(config)
    for d in chosen("data set", dataset, c.datasets):
        phase("texts").run(c, d)


@app.command("import")
def import_texts(
    form: Annotated[
        str, typer.Argument(metavar="FORMAT", help="plain, descriptions, cupl or authors.")
    ],
    source: Annotated[
        str,
        typer.Argument(
            help="JSON file with texts by class name (docs/texts.md); authors: their archive, its "
            "folder, or its "
            "address, by default the published one.",
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
            help="Its class names in label order, one per line; "
            "default: those of the known data set."
        ),
    ] = None,
    their_classes: Annotated[
        Path | None,
        typer.Option(
            help="authors: folder of their class files (datasets/class_name of their repository), "
            "which name the "
            "lists without names.",
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
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Import published texts as a text set: matched by class name, with provenance.

    With FORMAT authors: every data set of the archive that the paper's authors publish.
    """
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
    from ..texts.importers import Mismatch, import_texts

    target = out or Path(f"data/texts/{dataset}.{form}.json")
    names = class_names(dataset, classes, config)
    try:
        found, notes = import_texts(form, source, dataset, names, renames=renames, partial=partial)
    except Mismatch as mismatch:
        typer.echo("\n".join(mismatch.lines), err=True)
        raise
    _refuse_existing([target], force)
    write_json(target, found.dump())
    print_lines(notes)
    typer.echo(f"{target}: {_counted(found)}")
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
    """Write the text sets of the authors' archive, and say what matched. Exits with 1 if a data set
    did not.
    """
    from ..texts import authors

    source = source or authors.ADDRESS
    summed = authors.checksum(source)
    if summed:
        typer.echo(f"{source}: {summed} (nobody publishes one; compare it with a colleague's)")
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
            _refuse_existing([target, pair_file(target)], force)
            write_json(target, texts.dump())
            counted = _counted(texts)
            if pairs is not None:
                write_json(pair_file(target), pairs.dump())
                counted += f", {len(pairs.pairs)} pairs"
            typer.echo(f"{name}: {target}: {counted}")
            print_lines(f"{name}: {line}" for line in lines)
    typer.echo("to use them: make reproduce CONFIG=config/paper_authors_texts.yaml (docs/paper.md)")
    if failed:
        raise UserError(f"not imported, see above: {', '.join(failed)}")


def _refuse_existing(targets: Sequence[Path], force: bool) -> None:
    for target in targets:
        if target.exists() and not force:
            raise UserError(f"{target} exists; --force overwrites it, --out names another")


@app.command()
def skeleton(
    dataset: Annotated[str, typer.Argument(metavar="NAME", help="Data set the texts are for.")],
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Its class names in label order, one per line; default: those of the data set."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; default: data/texts/NAME.json.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write a text set with the names of all classes, and empty lists to fill in."""
    target = out or Path(f"data/texts/{dataset}.json")
    names = class_names(dataset, classes, config)
    if target.exists():
        raise UserError(f"{target} exists; --out names another file")
    entries = [{"name": spaces(name), "attribute": [], "analogous": []} for name in names]
    written = {"source": "written by hand", "author": "", "date": datetime.date.today().isoformat()}
    write_json(
        target,
        {
            "format": 1,
            "dataset": dataset,
            "classes": entries,
            "provenance": {"attribute": written, "analogous": written},
        },
    )
    of = "" if config == DEFAULT_CONFIG else f" --config {config}"
    typer.echo(
        f"{target}: {len(names)} classes; fill in the lists, "
        f"then: coder-clip texts check {target}{of}"
    )


@app.command()
def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Text sets, or folders of them; default: the configuration's."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="One data set.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="A model of the configuration, or a folder with one: also compare the texts."
        ),
    ] = None,
) -> None:
    """Check class names and wording of text sets, and what their texts say of other classes.

    Exits with 1 if there are faults.
    """
    from ..texts.checks import check_texts

    compare = _encoder(encoder, config) if encoder else None
    total = 0
    for one in of_files(files, config) if files else of_config(load_config(config), dataset):
        more: list[Fault] = []
        if compare is not None:
            from ..texts.similar import faults as compared  # imports torch

            more = list(compared(one.texts, one.pairs, compare))
        faults = check_texts(one.texts, one.pairs, more, one.classes)
        print_lines(f"{one.place(fault.kind)}: {fault}" for fault in faults)
        print_lines(f"{one.name}: {note}" for note in one.notes)
        # the rule that is broken most often comes first
        by_rule = ", ".join(
            f"{n} {rule}" for rule, n in Counter(f.rule for f in faults).most_common()
        )
        exceptions = len(one.texts.exceptions) + (len(one.pairs.exceptions) if one.pairs else 0)
        pair_count = f", {len(one.pairs.pairs)} pairs" if one.pairs else ""
        typer.echo(
            f"{one.name}: {_counted(one.texts)}{pair_count}, {exceptions} exceptions: "
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


@dataclass
class Checked:
    """What is checked together: the texts that a run uses, their pairs, and the names of the data
    set's classes.

    classes: None if nothing names them. sources: the file of each kind of text. notes: what is not
    used or not known."""

    texts: TextSet
    pairs: PairSet | None
    classes: list[str] | None
    sources: dict[str, Path]
    notes: list[str]

    @property
    def name(self) -> str:
        """The files, for messages."""
        general = [path for kind, path in self.sources.items() if kind != "one_to_one"]
        return " + ".join(dict.fromkeys(map(str, general)))

    def place(self, kind: str) -> str:
        """The file with the texts of a kind."""
        return str(self.sources.get(kind, self.name))


def of_files(given: Sequence[Path], config: Path) -> Iterator[Checked]:
    """Text sets, with the pairs beside them. Their classes are those of a known data set, or their
    own.
    """
    for path, pair_path in text_files(given):
        texts = read_text_set(path, unfinished=True)
        classes = _known_classes(texts.dataset, config)
        notes = []
        if classes is None:
            notes.append(
                "class names are not compared, because nothing here "
                f"names those of '{texts.dataset}' "
                "(--config names a configuration)"
            )
        pairs = _pairs(pair_path, texts)
        # a text set holds all kinds in one file, but pairs have a file of their own
        sources = dict.fromkeys(("name", *OF_CLASS), path) | (
            {"one_to_one": pair_path} if pair_path else {}
        )
        yield Checked(texts, pairs, classes, sources, notes)


def of_config(config: Config, dataset: str | None) -> Iterator[Checked]:
    """The texts that each data set of a configuration uses: files that it names, and what a model
    wrote for it.
    """
    seen = list[dict[str, Path]]()
    for name in chosen("data set", dataset, config.datasets):
        entry, paths = config.datasets[name], Paths(config.results)
        made = paths.generated_texts(name)
        # per kind the file that the configuration names, else the generated one
        files = {
            kind: source if isinstance(source, Path) else made
            for kind, source in entry.text_sources(name).items()
        }
        files = {kind: path for kind, path in files.items() if path != made or path.is_file()}
        pair_path = entry.pair_source(name)
        if entry.pair_text_source and paths.generated_pairs(name).is_file():
            pair_path = paths.generated_pairs(name)
        sources = files | ({"one_to_one": pair_path} if pair_path else {})
        if not files or sources in seen:  # ImageNet-V2 has ImageNet's
            continue
        seen.append(sources)
        # a pair file beside the texts looks used, so a note says if it is not
        notes = [
            f"{beside} is not used: 'one_to_one: {beside}' of the data set uses it"
            for beside in dict.fromkeys(map(pair_file, files.values()))
            if beside.is_file() and beside != pair_path
        ]
        classes = _classes_of(config, name, notes)
        every = {
            path: read_text_set(path, unfinished=True) for path in dict.fromkeys(files.values())
        }
        texts = _together(every, files, notes)
        yield Checked(texts, _pairs(pair_path, texts), classes, sources, notes)


def _together(every: dict[Path, TextSet], files: dict[str, Path], notes: list[str]) -> TextSet:
    """The kinds of several files in one text set, as a run puts them together."""
    first, *others = every
    texts = every[first]
    # files may spell and order their classes differently: match by plain name
    by_name = {path: {plain_name(c.name): c for c in of.classes} for path, of in every.items()}
    for path in others:
        lacking = [c for c in by_name[first] if c not in by_name[path]]
        if lacking:
            raise UserError(f"{path} has no class '{lacking[0]}', which {first} has")
    entries = []
    for c in texts.classes:
        # only kinds that a file gives: an absent kind is not an empty one
        theirs = {kind: by_name[path][plain_name(c.name)] for kind, path in files.items()}
        given = {kind: of.of(kind) for kind, of in theirs.items() if kind in of.model_fields_set}
        entries.append(ClassTexts(name=c.name, **given))
    if len(every) == 1 and len(by_name[first]) < len(texts.classes):
        entries = list(texts.classes)  # a name twice: nothing is put together
    exceptions = [e for of in every.values() for e in of.exceptions]
    return texts.model_copy(update={"classes": entries, "exceptions": exceptions})


def _pairs(path: Path | None, texts: TextSet) -> PairSet | None:
    """The pairs of a file, if there is one, checked against the classes of the texts."""
    if path is None:
        return None
    return load_pair_set(path, texts.dataset, [c.name for c in texts.classes], unfinished=True)


def _classes_of(config: Config, name: str, notes: list[str]) -> list[str] | None:
    """The class names of a data set of a configuration; None, with a note, if its images are not
    here.
    """
    from ..datasets import PUBLISHED, load_dataset
    from ..datasets.entry import entry

    manifest = Paths(config.results).manifest(name)
    if manifest.is_file():
        return list(read_json(manifest)["classes"])
    if config.datasets[name].root is None and name in PUBLISHED:
        return entry(name).class_names()
    try:
        return list(load_dataset(name, config.datasets[name]).classes)
    except UserError as error:
        notes.append(f"class names are not compared: {error}")
        return None


def _known_classes(dataset: str, config: Path) -> list[str] | None:
    """The class names of a data set that is known here; None of another one."""
    try:
        return class_names(dataset, None, config)
    except UserError:
        return None


def text_files(given: Sequence[Path]) -> list[tuple[Path, Path | None]]:
    """Text sets with their pairs, from files and folders; other JSON files of a folder are passed
    over.
    """
    found: dict[Path, Path | None] = {}
    for path in given:
        # a pair file stands for the text set beside it; a folder's review files are no text sets
        for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            text_set = file.with_name(file.name.replace(".one_to_one.json", ".json"))
            if not text_set.is_file():
                raise UserError(f"no text set {text_set}; name a text set or a folder of them")
            if not path.is_dir() or not file.name.endswith(".review.json"):
                beside = pair_file(text_set)
                found[text_set] = beside if beside.is_file() else None
    return list(found.items())


@app.command()
def review(
    dataset: Annotated[str, typer.Argument(metavar="NAME", help="Data set of the configuration.")],
    config: ConfigOption = DEFAULT_CONFIG,
    owner: Annotated[
        str | None,
        typer.Option(
            "--class", help="Texts of this class only, or of this pair: 'red fox / wolf'."
        ),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Texts of this kind only.")] = None,
    reject: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Never use this text of --class again.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Ask again for the texts of --class.")
    ] = False,
    undo: Annotated[
        bool,
        typer.Option(
            "--undo", help="Take back the decisions about --class, or about --reject TEXT of it."
        ),
    ] = False,
    freeze: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the texts to a file, which no model changes any more."
        ),
    ] = None,
) -> None:
    """List a language model's texts with the answer of each; reject one, ask again, or freeze
    all.
    """
    # Artefacts are only read here. A decision (reject, again) is stored beside the answers, and the
    # next run applies it: so the text sets change only in the phase that makes them.
    rooms.LANGUAGE_MODEL.require()
    from ..texts.llm.review import Review, listed
    from ..texts.llm.store import Answers

    c = load_config(config)
    chosen("data set", dataset, c.datasets)
    paths, generator = Paths(c.results), c.generator
    made = [
        p for p in (paths.generated_texts(dataset), paths.generated_pairs(dataset)) if p.is_file()
    ]
    if generator is None or not made:
        raise UserError(
            f"no texts of a language model for '{dataset}' yet; "
            f"'coder-clip generate-texts --dataset {dataset}' makes them"
        )
    every = [entry for path in made for entry in listed(read_json(path))]
    reverse = " / ".join(owner.split(" / ")[::-1]) if owner else None
    if reverse in {e.owner for e in every}:
        owner = reverse  # 'wolf / red fox' is the pair 'red fox / wolf'
    # an unknown class or kind is reported before any decision is written
    for name, wanted, known in (
        ("class", owner, {e.owner for e in every}),
        ("kind", kind, {e.kind for e in every}),
    ):
        if wanted is not None and wanted not in known:
            raise UserError(
                f"no {name} '{wanted}' among these "
                f"texts{nearest(wanted, known, listed=len(known) < 9)}"
            )
    # without --class or --kind every text matches
    found = [e for e in every if owner in (None, e.owner) and kind in (None, e.kind)]
    if (reject is not None or again or undo) and owner is None:
        raise UserError("name the class with --class")
    if freeze is not None:
        _freeze(dataset, made, freeze)
    elif undo:
        decisions = Review.of(generator.answers, dataset)
        n = decisions.undo(str(owner), kind, reject)
        if not n:
            raise UserError(f"no decision about '{owner}' to take back")
        typer.echo(f"{decisions.write(generator.answers, dataset)}: {n} decisions taken back")
    elif reject is not None or again:
        decisions = Review.of(generator.answers, dataset)
        rejected = [e for e in found if not e.why and e.text == reject]
        if reject is not None and not rejected:
            raise UserError(
                f"'{reject}' is not a text of "
                f"'{owner}'{nearest(reject, [e.text for e in found if not e.why])}"
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
    """Copy the generated files, and print how a configuration uses them.

    made: the file of the classes' texts and, if there are any, that of the pairs.
    """
    # the second file gets the name that `texts check` looks for
    files = {target: made[0]}
    if len(made) > 1:
        files[pair_file(target)] = made[1]
    for path in files:
        if path.exists():
            raise UserError(f"{path} exists; name another file")
    kinds: dict[str, Path] = {}
    for path, source in files.items():
        document = read_json(source)
        write_json(path, document)
        kinds |= dict.fromkeys(document["provenance"], path)  # its keys are kinds of text
    uses = ", ".join(f"{kind}: {path}" for kind, path in kinds.items())
    typer.echo(f"to use them: datasets: {{{dataset}: {{texts: {{{uses}}}}}}}")


def pair_file(path: Path) -> Path:
    """Path of the file of one-to-one texts that belongs to a text set."""
    return path.with_name(f"{path.stem}.one_to_one.json")


def renames_of(given: Sequence[str]) -> dict[str, str]:
    """Parse the values of --rename: name in the source -> name in the data set. UserError for
    another form.
    """
    for text in given:
        if "=" not in text:
            raise UserError(f"--rename {text}: write THEIRS=OURS, two class names")
    # only the first = divides: the second name may hold another
    return dict((part.strip() for part in text.split("=", 1)) for text in given)  # type: ignore[misc]


def class_names(dataset: str, given: Path | None, config: Path) -> list[str]:
    """Class names from a file, a published data set's entry, a data set of ours, or the
    configuration's images.
    """
    from ..datasets import PUBLISHED, load_dataset, nearest_dataset
    from ..datasets.entry import entry

    name = Path(dataset).name  # a text set from elsewhere names no file outside of the folder
    path = given or Path(f"data/classes/{name}.txt")
    if given is None and dataset in PUBLISHED:
        return entry(dataset).class_names()
    if given or path.is_file():
        return lines_of(path)
    c = load_config(config)
    if dataset not in c.datasets:
        raise UserError(
            "no class names of data set "
            f"'{dataset}'{nearest_dataset(dataset)}; name a file with "
            "--classes"
        )
    return list(load_dataset(dataset, c.datasets[dataset]).classes)


def lines_of(path: Path) -> list[str]:
    """Class names from a file, one per line, without empty lines and comments (#)."""
    try:
        # utf-8-sig, because some editors write a byte order mark
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"class names cannot be read: {path}: {error}; write one per line"
        ) from error
    return [line for line in lines if line and not line.startswith("#")]
