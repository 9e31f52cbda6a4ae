"""`coder-clip texts review`: what a language model wrote, decided by people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import UserError, nearest
from ...foundation.artifacts import Paths, read_json, write_json
from ...pipeline.config import load_config
from ..options import DEFAULT_CONFIG, ConfigOption, chosen
from .group import app
from .names import pair_file

if TYPE_CHECKING:
    from ...texts.llm.requests import ReviewedText
    from ...texts.llm.store import Answers


Owner = Annotated[
    str | None,
    typer.Option("--class", help="Texts of this class only, or of this pair: 'red fox / wolf'."),
]
Reject = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Never use this text of --class again.")
]
Freeze = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the texts to a file that no model changes any more."),
]


@app.command()
def review(
    dataset: Annotated[str, typer.Argument(metavar="NAME", help="Data set of the configuration.")],
    config: ConfigOption = DEFAULT_CONFIG,
    owner: Owner = None,
    kind: Annotated[str | None, typer.Option(help="Texts of this kind only.")] = None,
    reject: Reject = None,
    freeze: Freeze = None,
) -> None:
    """List a language model's texts with the answer of each, reject one, or freeze all."""
    # Artefacts are only read here. A rejection is stored beside the answers, and the next run
    # applies it: so the text sets change only in the phase that makes them.
    from ...texts.llm.review import Review, listed
    from ...texts.llm.store import Answers

    c = load_config(config)
    chosen("data set", dataset, c.datasets)
    paths, generator = Paths(c.results), c.generator
    possible = (paths.generated_texts(dataset), paths.generated_pairs(dataset))
    made = [path for path in possible if path.is_file()]
    if generator is None or not made:
        raise UserError(
            f"no texts of a language model for '{dataset}' yet; 'coder-clip generate-texts "
            f"--dataset {dataset}' makes them"
        )
    entries = [entry for path in made for entry in listed(read_json(path))]
    owner = _known(entries, owner, kind)
    # without --class or --kind every text matches
    selected = [e for e in entries if owner in (None, e.owner) and kind in (None, e.kind)]
    if freeze is not None:
        _freeze(dataset, made, freeze)
    elif reject is None:
        _list(selected, Answers(generator.answers, dataset))
    else:
        if owner is None:
            raise UserError("name the class with --class")
        decisions = Review.of(generator.answers, dataset)
        decisions.rejected += _rejected(selected, reject)
        path = decisions.write(generator.answers, dataset)
        typer.echo(f"{path}: saved; the next run of generate-texts or generate-pairs applies it")


def _known(entries: Sequence[ReviewedText], owner: str | None, kind: str | None) -> str | None:
    """The class or pair that the user names: 'wolf / red fox' is the pair 'red fox / wolf'.

    UserError for a class or kind that no text has, before any decision is written.
    """
    owners, kinds = {e.owner for e in entries}, {e.kind for e in entries}
    if owner:
        reverse = " / ".join(owner.split(" / ")[::-1])
        if reverse in owners:
            owner = reverse
    for name, wanted, known in (("class", owner, owners), ("kind", kind, kinds)):
        if wanted is not None and wanted not in known:
            raise UserError(
                f"no {name} '{wanted}' among these "
                f"texts{nearest(wanted, known, listed=len(known) < 9)}"
            )
    return owner


def _rejected(selected: Sequence[ReviewedText], reject: str) -> list[tuple[str, str, str]]:
    """(kind, class, text) of the text to reject. UserError if it is none of these texts."""
    accepted = [e for e in selected if not e.why]
    rejected = [(e.kind, e.owner, e.text) for e in accepted if e.text == reject]
    if not rejected:
        raise UserError(
            f"'{reject}' is not a text of "
            f"'{selected[0].owner}'{nearest(reject, [e.text for e in accepted])}"
        )
    return rejected


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
