"""`coder-clip texts generate`: a checked text set from class names alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from ...datasets.base import Templates
from ...errors import UserError, nearest
from ...foundation.artifacts import write_json
from ...texts.kinds import ASKED_FOR, KINDS
from ..options import print_lines
from .checking import report
from .group import app
from .names import lines_of, pair_file, refuse_existing

OF_CLASS = [kind for kind in ASKED_FOR if not KINDS[kind].of_pair]


Out = Annotated[
    Path,
    typer.Option(
        metavar="FILE",
        help="Text set to write; one-to-one texts go beside it, into NAME.one_to_one.json.",
    ),
]
BaseUrl = Annotated[
    str | None, typer.Option(help="Server with OpenAI's protocol (http://localhost:8000/v1).")
]
KeyVariable = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Environment variable with the key, never the key."),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(help=f"{', '.join(OF_CLASS)}; may be repeated; default: all of them."),
]
Pairs = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        help="One-to-one texts for these pairs, 'red fox / wolf' per line; 'all': every pair.",
    ),
]
Photo = Annotated[
    str, typer.Option(help="What the photos show, as in 'a photo of a {class}, a type of bird.'")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any other key of the section generator (docs/texts.md), as in temperature=null, "
        "prices.input=0.15, max_cost=5; may be repeated.",
    ),
]


@app.command()
def generate(
    classes: Annotated[Path, typer.Option(metavar="FILE", help="Class names, one per line.")],
    model: Annotated[str, typer.Option(help="The model's name on the server.")],
    out: Out,
    base_url: BaseUrl = None,
    key_variable: KeyVariable = None,
    kind: Kinds = None,
    pairs: Pairs = "",
    photo: Photo = Templates.name,
    setting: Settings = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only estimate what is asked and what it costs.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Let a language model write the texts of a list of class names, and check them.

    Needs no photos, no configuration and no encoder. Answers are kept beside the file (FILE.answers
    in place of .json): a run that was stopped continues there, and nothing is paid for twice. Exits
    with 1 if the check finds faults.
    """
    from ...texts.llm import from_names

    if out.suffix != ".json":
        raise UserError(f"--out {out}: name a file that ends in .json")
    _refuse_no_place(out)
    without = re.sub(r"\{(?:a_)?class\}", "", photo)
    if without == photo or re.search("[{}]", without):
        raise UserError(
            f"--photo '{photo}': write {{class}} where the name goes, and no other braces"
        )
    for name in kind or []:
        if name not in OF_CLASS:
            raise UserError(f"--kind {name}: no such kind of text{nearest(name, OF_CLASS)}")
    names = from_names.class_list(lines_of(classes), str(classes))
    generator = from_names.generator_of(
        setting or [],
        {
            "model": model,
            "base_url": base_url,
            "key_variable": key_variable,
            "answers": out.with_suffix(".answers"),
            "on_failure": "skip",
        },
    )
    question = from_names.FromNames(
        dataset=out.stem,
        classes=names,
        generator=generator,
        kinds=tuple(k for k in OF_CLASS if not kind or k in kind),
        templates=Templates(name=photo),
        pairs=from_names.pairs_of(pairs, names, generator, lines_of) if pairs else [],
    )
    if dry_run:
        print_lines(question.estimate())
        return
    # before anything is paid for
    refuse_existing([out, *([pair_file(out)] if pairs else [])], force)
    texts, pair_set = question.make()
    write_json(out, texts.dump())
    if pair_set is not None:
        write_json(pair_file(out), pair_set.dump())
    typer.echo(f"cost: {from_names.cost(texts, pair_set)}; answers: {generator.answers}")
    faults = report([out], names, generator.max_shared, question.kinds)
    typer.echo(f"to use them: datasets: {{{out.stem}: {{texts: {out}}}}}")
    if faults:
        raise typer.Exit(1)


def _refuse_no_place(out: Path) -> None:
    """UserError for a file that cannot be written where it is said, before anything is paid for."""
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: name a file in it")
    for folder in out.parents:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--out {out}: {folder} is a file, not a folder")
