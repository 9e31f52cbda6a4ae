"""`coder-clip texts sheet` and `texts agreement`: texts for a second reader, how far two agree."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from pydantic import Field, ValidationError

from ..errors import UserError
from ..foundation.artifacts import Paths, write_text
from ..foundation.strict import Strict, explained
from ..pipeline.config import Config, load_config
from ..texts.kinds import BESIDES_NAME
from ..texts.sets import TextSet, read_text_set, read_written
from .options import DEFAULT_CONFIG, ConfigOption, chosen, print_lines
from .texts import app

SIDE = 128  # pixels of a photo


class Decision(Strict):
    """What a reader decided about one text."""

    owner: str = Field(alias="class")
    index: int
    kind: str
    text: str
    decision: Literal["accept", "reject"]

    @property
    def key(self) -> tuple[int, str, str]:
        """The text, whatever was decided."""
        return self.index, self.kind, self.text


class Decisions(Strict):
    """The file that a sheet saves."""

    format: Literal[1]
    dataset: str
    reader: str = ""
    decisions: list[Decision]


@app.command()
def sheet(
    dataset: Annotated[str, typer.Argument(metavar="NAME", help="Data set of the configuration.")],
    config: ConfigOption = DEFAULT_CONFIG,
    out: Annotated[
        Path | None, typer.Option(help="File to write; default: NAME.sheet.html.", metavar="FILE")
    ] = None,
    sample: Annotated[
        int, typer.Option(min=1, help="Number of texts, drawn at random from all kinds.")
    ] = 100,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the draw: the same seed, the same texts.")
    ] = 0,
) -> None:
    """Write a sheet (one HTML file) on which a reader accepts or rejects texts.

    Each row has a text, its class, and a training image of the class if the images are here. Two
    readers get the same sheet, decide apart, and save a file each; 'texts agreement' compares them.
    The texts are those that the last run used, else the data set's file.
    """
    c = load_config(config)
    chosen("data set", dataset, c.datasets)
    target = out or Path(f"{dataset}.sheet.html")
    if target.exists():
        raise UserError(f"{target} exists; --out names another file")
    rows = drawn(_texts(c, dataset), sample, seed)
    if not rows:
        raise UserError(f"data set '{dataset}' has no texts besides its names; nothing to read")
    pictures = _pictures(c, dataset, {row["index"]: row["class"] for row in rows})
    write_text(target, page(dataset, rows, pictures))
    without = len({row["class"] for row in rows} - pictures.keys())
    note = f"; {without} classes without a photo" if without else ""
    typer.echo(f"{target}: {len(rows)} texts to read{note}")


def _texts(config: Config, dataset: str) -> TextSet:
    """The texts of the last run, else of the file that the configuration names."""
    used = Paths(config.results).texts(dataset)
    source = config.datasets[dataset].text_source(dataset)
    path = used if used.is_file() or source is None else source
    if not path.is_file():
        raise UserError(
            f"no texts of '{dataset}' yet; 'coder-clip texts -d {dataset}' makes {used}"
        )
    return read_text_set(path)


def drawn(texts: TextSet, sample: int, seed: int) -> list[dict[str, Any]]:
    """At most ``sample`` texts, drawn at random, in the order of the classes."""
    rows = [
        {"class": c.name, "index": i, "kind": kind, "text": text}
        for i, c in enumerate(texts.classes)
        for kind in BESIDES_NAME
        for text in c.of(kind)
    ]
    rng = np.random.default_rng(seed)
    some = rng.choice(len(rows), min(sample, len(rows)), replace=False)
    return [rows[i] for i in sorted(some.tolist())]


def _pictures(config: Config, dataset: str, classes: dict[int, str]) -> dict[str, str]:
    """Class name -> data URL of its first training image; empty if the images are not here.

    classes: index -> name.
    """
    from ..datasets import load_dataset
    from ..reporting.parts.layout import thumbnail

    pictures: dict[str, str] = {}
    try:
        data = load_dataset(dataset, config.datasets[dataset], config.data_root)
        split = data.split("train")
        for image_id, label in zip(split.ids, split.labels.tolist(), strict=True):
            name = classes.get(label)
            if name is not None and name not in pictures:
                stream = io.BytesIO()
                thumbnail(data.image(image_id), SIDE).save(stream, "jpeg", quality=85)
                encoded = base64.b64encode(stream.getvalue()).decode()
                pictures[name] = f"data:image/jpeg;base64,{encoded}"
    except UserError as error:
        typer.echo(f"without photos: {error}", err=True)
    return pictures


def page(dataset: str, rows: Sequence[dict[str, Any]], pictures: dict[str, str]) -> str:
    """The sheet as HTML. Texts are untrusted: everything is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("coder_clip"), autoescape=True, undefined=StrictUndefined
    )
    template = environment.get_template("sheet.html.j2")
    return template.render(dataset=dataset, rows=rows, pictures=pictures)


@app.command()
def agreement(
    first: Annotated[Path, typer.Argument(help="Decisions of one reader.", metavar="A.json")],
    second: Annotated[Path, typer.Argument(help="Decisions of another.", metavar="B.json")],
) -> None:
    """Compare what two readers decided about the same sheet.

    Prints how many texts each accepts, the share of texts on which they agree with its 95 %
    interval, Cohen's kappa (agreement beyond chance: 1 is full, 0 is chance), and every text that
    a reader rejects.
    """
    from ..evaluation.estimates import estimate

    readers = [read_decisions(path) for path in (first, second)]
    a, b = ({d.key: d for d in reader.decisions} for reader in readers)
    both = [key for key in a if key in b]
    if not both or readers[0].dataset != readers[1].dataset:
        raise UserError(f"{first} and {second} have no text in common; compare the same sheet")
    accepts = np.array([[d[key].decision == "accept" for d in (a, b)] for key in both])
    same = accepts[:, 0] == accepts[:, 1]
    shares = accepts.mean(axis=0)
    rate = estimate(same)
    typer.echo(f"{len(both)} texts; accepted: {shares[0]:.0%} and {shares[1]:.0%}")
    typer.echo(
        f"agreement {rate['value']:.0%} [{rate['low']:.0%}, {rate['high']:.0%}], kappa "
        f"{_shown(kappa(accepts))}"
    )
    print_lines(_rejected(both, a, b))
    alone = len(a.keys() ^ b.keys())
    if alone:
        typer.echo(f"{alone} texts were decided by one reader alone, and are not counted")


def kappa(accepts: np.ndarray[Any, np.dtype[np.bool_]]) -> float | None:
    """Cohen's kappa of two readers' decisions (N, 2); None if chance alone would agree fully.

    (observed − expected) / (1 − expected); expected: agreement of two readers who accept as often
    as these, but at random (Cohen 1960).
    """
    observed = float((accepts[:, 0] == accepts[:, 1]).mean())
    p, q = accepts.mean(axis=0)
    expected = float(p * q + (1 - p) * (1 - q))
    if expected == 1:
        return None
    return (observed - expected) / (1 - expected)


def _shown(value: float | None) -> str:
    """Kappa with two places."""
    if value is None:
        return "undefined (all texts have one decision)"
    return f"{value:.2f}"


def _rejected(keys: Iterable[Any], a: dict[Any, Decision], b: dict[Any, Decision]) -> Iterable[str]:
    """A line for each text that a reader rejects: by whom."""
    for key in keys:
        who = [name for name, d in (("A", a), ("B", b)) if d[key].decision == "reject"]
        if who:
            d = a[key]
            yield f"rejected by {' and '.join(who)}: {d.owner}, {d.kind}: {d.text}"


def read_decisions(path: Path) -> Decisions:
    """The decisions of a reader. UserError for a file of another form, or a text decided twice."""
    document = read_written(path, path.stem, "no file {path} of decisions; a sheet saves it")
    try:
        decisions = Decisions.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{path}: {explained(error.errors(), Decisions)}") from None
    if len({d.key for d in decisions.decisions}) < len(decisions.decisions):
        raise UserError(f"{path}: a text is decided twice; save the sheet again")
    return decisions
