"""`coder-clip texts check`: the rules for every text set, by file or by configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import UserError
from ...foundation.artifacts import Paths, read_classes
from ...jobs import encoder_arguments
from ...pipeline.config import Config, load_config
from ...texts.checks import MAX_SHARED, Fault, check_texts
from ...texts.english import use
from ...texts.kinds import OF_CLASS
from ...texts.names import plain_name
from ...texts.sets import ClassTexts, PairSet, TextSet, load_pair_set, read_text_set
from ..options import DEFAULT_CONFIG, ConfigOption, chosen, print_lines
from .group import app
from .names import class_names, counted, pair_file, use_rules

if TYPE_CHECKING:
    from ...encoders.encoder import Encoder

MOST_WARNINGS = 5  # per set, without --warnings


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
    rules: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder with a rules.yaml of your own; default: generator.prompts of --config.",
        ),
    ] = None,
    warnings: Annotated[
        bool, typer.Option("--warnings", help=f"List all warnings, not {MOST_WARNINGS} per set.")
    ] = False,
) -> None:
    """Check class names and wording of text sets, and what their texts say of other classes.

    Exits with 1 if there are faults. Warnings are what only a reader can judge.
    """
    if rules is not None:
        use_rules(rules)
    else:
        use(_rules_of(config))
    compare = _encoder(encoder, config) if encoder else None
    max_shared = MAX_SHARED
    if files:
        text_sets = of_files(files, config)
    else:
        c = load_config(config)
        text_sets = of_config(c, dataset)
        if c.generator is not None:
            max_shared = c.generator.max_shared
    if sum(_reported(checked, compare, max_shared, warnings) for checked in text_sets):
        raise typer.Exit(1)


def _rules_of(config: Path) -> Path | None:
    """The folder of rules of a configuration; None if there is no such file, or it names none."""
    if not config.is_file():
        return None
    generator = load_config(config).generator
    if generator is None:
        return None
    return generator.prompts


def report(
    files: Sequence[Path], classes: list[str], max_shared: float, asked: Sequence[str]
) -> int:
    """Check files of a list of classes, as the command does. Returns the number of faults.

    asked: the kinds of text that were asked for; a kind that no class has is a fault.
    """
    total = 0
    for checked in of_files(files, DEFAULT_CONFIG):
        checked.classes, checked.notes = classes, []
        total += _reported(checked, None, max_shared, asked=asked)
    return total


def _reported(
    checked: Checked,
    compare: Encoder | None,
    max_shared: float,
    all_warnings: bool = False,
    asked: Sequence[str] = (),
) -> int:
    """Print the faults of what is checked together, and some or all warnings.

    Returns the number of faults. asked: kinds of text of which the set must have some.
    """
    texts, pairs = checked.texts, checked.pairs
    more: list[Fault] = []
    if compare is not None:
        from ...texts.similar import faults as compared  # imports torch

        more = list(compared(texts, pairs, compare))
    warned: list[Fault] = []
    faults = check_texts(texts, pairs, more, checked.classes, max_shared, warned)
    lacking = [kind for kind in asked if not any(c.of(kind) for c in texts.classes)]
    faults += [Fault("all classes", kind, "", "count", "0 of them have one") for kind in lacking]
    print_lines(f"{checked.place(fault.kind)}: {fault}" for fault in faults)
    shown = warned
    if not all_warnings:
        shown = warned[:MOST_WARNINGS]
    print_lines(f"{checked.place(fault.kind)}: warning: {fault}" for fault in shown)
    if len(shown) < len(warned):
        typer.echo(f"{checked.name}: {len(warned) - len(shown)} more warnings (--warnings)")
    print_lines(f"{checked.name}: {note}" for note in checked.notes)
    counts = counted(texts)
    exceptions = len(texts.exceptions)
    if pairs is not None:
        counts += f", {len(pairs.pairs)} pairs"
        exceptions += len(pairs.exceptions)
    result = "no fault"
    if faults:
        # the rule that is broken most often comes first
        by_rule = Counter(fault.rule for fault in faults).most_common()
        word = "faults"
        if len(faults) == 1:
            word = "fault"
        result = f"{len(faults)} {word} ({', '.join(f'{n} {rule}' for rule, n in by_rule)})"
    typer.echo(f"{checked.name}: {counts}, {exceptions} exceptions: {result}")
    return len(faults)


def _encoder(given: str, config: Path) -> Encoder:
    """The encoder of a folder, or of a model of the configuration."""
    from ...encoders.encoder import EncoderSpec, load_encoder

    if Path(given).is_dir():
        return load_encoder(EncoderSpec(f"local-dir:{given}"))
    from ...phases.encoder import encoder_of

    c = load_config(config)
    (model,) = chosen("model", given, c.models)  # UserError if unknown
    return encoder_of(**encoder_arguments(c, model))


@dataclass
class Checked:
    """Texts that are checked together.

    The texts that a run uses, their pairs, and the names of the data set's classes.

    classes: None if nothing names them. sources: kind of text -> its file. notes: lines about what
    is not used or not known.
    """

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
    """Text sets, with the pairs beside them.

    Their classes are those of a known data set, or their own.
    """
    for path, pair_path in text_files(given):
        texts = read_text_set(path, unfinished=True)
        classes = _known_classes(texts.dataset, config)
        notes = []
        if classes is None:
            notes.append(
                "class names are not compared, because nothing here names those of "
                f"'{texts.dataset}' (--config names a configuration)"
            )
        pairs = _pairs(pair_path, texts)
        # a text set holds all kinds in one file, but pairs have a file of their own
        sources = dict.fromkeys(("name", *OF_CLASS), path)
        if pair_path:
            sources["one_to_one"] = pair_path
        yield Checked(texts, pairs, classes, sources, notes)


def of_config(config: Config, dataset: str | None) -> Iterator[Checked]:
    """The texts that each data set of a configuration uses.

    Files that the configuration names, and texts that a source such as a language model has made.
    """
    seen = list[dict[str, Path]]()
    for name in chosen("data set", dataset, config.datasets):
        entry, paths = config.datasets[name], Paths(config.results)
        generated = paths.generated_texts(name)
        # kind -> the file that the configuration names, else the generated one if it exists
        files: dict[str, Path] = {}
        for kind, source in entry.text_sources(name).items():
            path = generated
            if isinstance(source, Path):
                path = source
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
    """The class names of a data set of a configuration.

    None, with a note, if its images are not here.
    """
    from ...datasets import PUBLISHED, load_dataset
    from ...datasets.entry import entry

    manifest = Paths(config.results).manifest(name)
    if manifest.is_file():
        return read_classes(manifest)
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
    """Text sets, each with its pair file or None, from files and folders.

    Review files of a folder are passed over.
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
