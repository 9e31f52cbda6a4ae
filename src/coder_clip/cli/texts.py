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
    from ..texts.llm.requests import ReviewedText
    from ..texts.llm.store import Answers


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
    """UserError if a file to write exists, unless ``force``."""
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
    option = "" if config == DEFAULT_CONFIG else f" --config {config}"
    typer.echo(
        f"{target}: {len(names)} classes; fill in the lists, "
        f"then: coder-clip texts check {target}{option}"
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
    text_sets = of_files(files, config) if files else of_config(load_config(config), dataset)
    for checked in text_sets:
        texts, pairs = checked.texts, checked.pairs
        more: list[Fault] = []
        if compare is not None:
            from ..texts.similar import faults as compared  # imports torch

            more = list(compared(texts, pairs, compare))
        faults = check_texts(texts, pairs, more, checked.classes)
        print_lines(f"{checked.place(fault.kind)}: {fault}" for fault in faults)
        print_lines(f"{checked.name}: {note}" for note in checked.notes)
        counts = _counted(texts)
        exceptions = len(texts.exceptions)
        if pairs is not None:
            counts += f", {len(pairs.pairs)} pairs"
            exceptions += len(pairs.exceptions)
        result = "no fault"
        if faults:
            # the rule that is broken most often comes first
            by_rule = Counter(fault.rule for fault in faults).most_common()
            word = "fault" if len(faults) == 1 else "faults"
            result = f"{len(faults)} {word} ({', '.join(f'{n} {rule}' for rule, n in by_rule)})"
        typer.echo(f"{checked.name}: {counts}, {exceptions} exceptions: {result}")
        total += len(faults)
    if total:
        raise typer.Exit(1)


def _counted(texts: TextSet) -> str:
    """The number of classes of a text set, and of texts of each kind besides the names, in
    words.
    """
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
    (model,) = chosen("model", given, c.models)  # UserError if unknown
    return encoder_of(c, model)


@dataclass
class Checked:
    """What is checked together: the texts that a run uses, their pairs, and the names of the data
    set's classes.

    classes: None if nothing names them. sources: kind of text -> its file. notes: lines about what
    is not used or not known."""

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
        sources = dict.fromkeys(("name", *OF_CLASS), path)
        if pair_path:
            sources["one_to_one"] = pair_path
        yield Checked(texts, pairs, classes, sources, notes)


def of_config(config: Config, dataset: str | None) -> Iterator[Checked]:
    """The texts that each data set of a configuration uses: files that the configuration names, and
    texts that a source such as a language model has made.
    """
    seen = list[dict[str, Path]]()
    for name in chosen("data set", dataset, config.datasets):
        entry, paths = config.datasets[name], Paths(config.results)
        generated = paths.generated_texts(name)
        # kind -> the file that the configuration names, else the generated one if it exists
        files: dict[str, Path] = {}
        for kind, source in entry.text_sources(name).items():
            path = source if isinstance(source, Path) else generated
            if path != generated or path.is_file():
                files[kind] = path
        pair_path = entry.pair_source(name)
        if entry.pair_text_source and paths.generated_pairs(name).is_file():
            pair_path = paths.generated_pairs(name)
        sources = dict(files)
        if pair_path:
            sources["one_to_one"] = pair_path
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
        text_sets = {
            path: read_text_set(path, unfinished=True) for path in dict.fromkeys(files.values())
        }
        texts = _together(text_sets, files)
        yield Checked(texts, _pairs(pair_path, texts), classes, sources, notes)


def _together(text_sets: dict[Path, TextSet], files: dict[str, Path]) -> TextSet:
    """The kinds of several files in one text set, as a run puts them together.

    text_sets: file -> its content. files: kind -> the file to take this kind from.
    """
    first, *others = text_sets
    texts = text_sets[first]
    # files may spell and order their classes differently: match by plain name
    by_name = {
        path: {plain_name(c.name): c for c in text_set.classes}
        for path, text_set in text_sets.items()
    }
    for path in others:
        lacking = [c for c in by_name[first] if c not in by_name[path]]
        if lacking:
            raise UserError(f"{path} has no class '{lacking[0]}', which {first} has")
    entries = []
    for c in texts.classes:
        given: dict[str, list[str]] = {}
        for kind, path in files.items():
            entry = by_name[path][plain_name(c.name)]
            # only kinds that a file gives: an absent kind is not an empty one
            if kind in entry.model_fields_set:
                given[kind] = entry.of(kind)
        entries.append(ClassTexts(name=c.name, **given))
    # names that repeat cannot be matched, and one file needs no matching
    if len(text_sets) == 1 and len(by_name[first]) < len(texts.classes):
        entries = list(texts.classes)
    exceptions = [e for text_set in text_sets.values() for e in text_set.exceptions]
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
    """The class names of a data set; None if nothing here names them."""
    try:
        return class_names(dataset, None, config)
    except UserError:
        return None


def text_files(given: Sequence[Path]) -> list[tuple[Path, Path | None]]:
    """Text sets, each with its pair file or None, from files and folders; review files of a folder
    are passed over.
    """
    pair_file_of: dict[Path, Path | None] = {}
    for path in given:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        for file in files:
            # a pair file stands for the text set beside it
            text_set = file.with_name(file.name.replace(".one_to_one.json", ".json"))
            if not text_set.is_file():
                raise UserError(f"no text set {text_set}; name a text set or a folder of them")
            if path.is_dir() and file.name.endswith(".review.json"):
                continue
            beside = pair_file(text_set)
            pair_file_of[text_set] = beside if beside.is_file() else None
    return list(pair_file_of.items())


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
    possible = (paths.generated_texts(dataset), paths.generated_pairs(dataset))
    made = [path for path in possible if path.is_file()]
    if generator is None or not made:
        raise UserError(
            f"no texts of a language model for '{dataset}' yet; "
            f"'coder-clip generate-texts --dataset {dataset}' makes them"
        )
    entries = [entry for path in made for entry in listed(read_json(path))]
    owners = {e.owner for e in entries}
    reverse = " / ".join(owner.split(" / ")[::-1]) if owner else None
    if reverse in owners:
        owner = reverse  # 'wolf / red fox' is the pair 'red fox / wolf'
    # an unknown class or kind is reported before any decision is written
    kinds = {e.kind for e in entries}
    for name, wanted, known in (("class", owner, owners), ("kind", kind, kinds)):
        if wanted is not None and wanted not in known:
            raise UserError(
                f"no {name} '{wanted}' among these "
                f"texts{nearest(wanted, known, listed=len(known) < 9)}"
            )
    # without --class or --kind every text matches
    selected = [e for e in entries if owner in (None, e.owner) and kind in (None, e.kind)]
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
        accepted = [e for e in selected if not e.why]
        rejected = [e for e in accepted if e.text == reject]
        if reject is not None and not rejected:
            raise UserError(
                f"'{reject}' is not a text of "
                f"'{owner}'{nearest(reject, [e.text for e in accepted])}"
            )
        decisions.rejected += [(e.kind, e.owner, e.text) for e in rejected]
        if again:
            kinds_of_owner = dict.fromkeys(e.kind for e in selected)  # each once
            decisions.again += [(k, str(owner)) for k in kinds_of_owner]
        path = decisions.write(generator.answers, dataset)
        typer.echo(f"{path}: saved; the next run of generate-texts or generate-pairs applies it")
    else:
        _list(selected, Answers(generator.answers, dataset))


def _list(texts: Sequence[ReviewedText], answers: Answers) -> None:
    """Print a line per text: class or pair, kind, text, why it is not accepted, and its answer."""
    for text in texts:
        parts = [text.owner, text.kind]
        parts.append(f"{text.side} has: {text.text}" if text.side else text.text)
        if text.why:
            parts.append(f"not accepted: {text.why}")
        origin = text.answer[:12]
        # files of answers may be absent
        stored = answers.kept.get(text.answer)
        if stored:
            origin += f" ({stored.answer.served}, {stored.answer.date})"
        typer.echo("  ".join([*parts, origin]))


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
    renames: dict[str, str] = {}
    for text in given:
        if "=" not in text:
            raise UserError(f"--rename {text}: write THEIRS=OURS, two class names")
        # only the first = divides: the second name may hold another
        theirs, ours = text.split("=", 1)
        renames[theirs.strip()] = ours.strip()
    return renames


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
            f"'{dataset}'{nearest_dataset(dataset)}; name a file with --classes, or the "
            "configuration of the data set with --config"
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
