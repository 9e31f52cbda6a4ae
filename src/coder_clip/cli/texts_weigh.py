"""`coder-clip texts weigh`: what each text does on training images, and advice."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from ..foundation.artifacts import Paths, atomic_path, read_json, write_json
from ..foundation.terminal import table
from ..pipeline.config import Config, load_config
from .options import DEFAULT_CONFIG, ConfigOption, DatasetOption, ModelOption, chosen, print_lines
from .texts import app

if TYPE_CHECKING:
    from ..evaluation.estimates import Estimate
    from ..phases.common import SplitFeatures
    from ..phases.text_inputs import Texts

COLUMNS = ("class", "kind", "text", "tells", "own", "others", "net", "takes from", "advice")
SHOWN = 20  # texts in the table


@app.command()
def weigh(
    config: ConfigOption = DEFAULT_CONFIG,
    dataset: DatasetOption = None,
    model: ModelOption = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Also write every text to this file (.json or .csv).", metavar="FILE"),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(
            help="Write the text set without the texts advised to drop.", metavar="FILE.json"
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Print every text, not the worst 20.")
    ] = False,
) -> None:
    """Weigh each text by what it does on training images, and advise: keep, drop or ask again.

    Stage one is computed with all texts and without each one, on the training shots of a run (the
    images that its seeds draw; never validation or test images). The run must have made the image
    features and text features. Each column is a mean with its 95 % interval:

    * **tells**: 100 times the text's mean cosine with photos of its class, minus that with all
      others (after the mean of all texts). Near 0: it says nothing of its class.
    * **own**: points of probability that a photo of its class gains by the text.
    * **others**: points that photos of other classes gain, or lose (negative), per photo of
      its class.
    * **net**: own plus others. Positive: the text helps.
    * **takes from**: the class whose photos lose most, and how many points each.

    **drop**: net is clearly below 0. **ask again**: tells is not clearly above 0, or dropping would
    leave fewer than three attributes. **keep**: all others. Names are never dropped. Of texts
    without any effect about one in forty is advised to drop by chance.
    docs/texts_judging.md: what dropping did on test images.
    """
    from ..evaluation.text_weights import RULES

    if out is not None and out.suffix not in (".json", ".csv"):
        raise UserError(f"--out {out}: name a .json or a .csv file")
    c = load_config(config)
    datasets = chosen("data set", dataset, c.datasets)
    models = chosen("model", model, c.models)
    if write is not None and (len(datasets) > 1 or len(models) > 1):
        raise UserError("--write is for one data set and model; name them: --dataset, --model")
    if write is not None and write.exists():
        raise UserError(f"--write {write}: the file exists; name another")
    documents = []
    for m in models:
        for d in datasets:
            document = weighed(c, m, d)
            documents.append(document)
            _print(document, every)
    if out is not None:
        _write(out, documents, RULES)
    if write is not None:
        _write_kept(write, c, documents[0])


def weighed(config: Config, model: str, dataset: str) -> dict[str, Any]:
    """The weights of all texts of a data set by its training shots: dataset, model, images, texts.

    UserError if the data set has no shots or no texts besides the names.
    """
    from ..evaluation.text_weights import weigh as weights_of
    from ..phases.common import SHOTS, read_image_features, use_threads
    from ..phases.text_inputs import read_texts

    if not config.datasets[dataset].few_shot:
        raise UserError(
            f"data set '{dataset}' has no training images (few_shot: false), and texts are not "
            "weighed on test images; add training images"
        )
    use_threads(config.features.threads)
    paths = Paths(config.results)
    shots = read_image_features(paths.image_features(model, dataset, SHOTS))
    texts = read_texts(paths.text_features(model, dataset), shots)
    weights = weights_of(stage_one_of(shots, texts))
    if not weights:
        raise UserError(f"data set '{dataset}' has no texts besides its names; nothing to weigh")
    entries = []
    for weight in weights:
        entry: dict[str, Any] = {
            "class": shots.classes[weight.owner],
            "class_index": weight.owner,
            "kind": weight.kind,
            "sentence": texts.sentences.text[weight.row],
        }
        entry |= {key: getattr(weight, key) for key in ("tells", "own", "others", "net")}
        if weight.takes_from is not None:
            entry["takes_from"] = {
                "class": shots.classes[weight.takes_from],
                **(weight.taken or {}),
            }
        entry |= {"fixed": weight.fixed, "broke": weight.broke, "advice": weight.advice}
        entries.append(entry)
    _add_texts(config, dataset, entries)
    return {"dataset": dataset, "model": model, "images": len(shots.ids), "texts": entries}


def stage_one_of(images: SplitFeatures, texts: Texts) -> Any:
    """Stage one of a split's images with the texts of a run."""
    from ..evaluation.text_ablations import StageOne

    sentences = texts.sentences
    return StageOne(
        images.features,
        images.labels,
        texts.features,
        sentences.class_index,
        sentences.kind,
        len(images.classes),
        images.groups,
    )


def _add_texts(config: Config, dataset: str, entries: list[dict[str, Any]]) -> None:
    """Add to each entry the text that its sentence was made of, as ``text``."""
    from ..datasets import load_templates
    from ..texts.kinds import BESIDES_NAME
    from ..texts.sentences import sentence_of

    path = Paths(config.results).texts(dataset)
    templates = load_templates(dataset, config.datasets[dataset])
    text_of: dict[tuple[int, str, str], str] = {}
    # a model of published features has no text set: its texts are the sentences
    classes = read_json(path)["classes"] if path.is_file() else []
    for i, c in enumerate(classes):
        for kind in BESIDES_NAME:
            for text in c.get(kind, []):
                text_of[i, kind, sentence_of(kind, c["name"], text, templates)] = text
    for entry in entries:
        key = (entry["class_index"], entry["kind"], entry["sentence"])
        entry["text"] = text_of.get(key, entry["sentence"])


def _print(document: dict[str, Any], every: bool) -> None:
    """Print the table of a data set, the smallest net effect first, and a summary."""
    texts = sorted(document["texts"], key=lambda entry: entry["net"]["value"])
    shown = texts
    if not every:
        shown = texts[:SHOWN]
    print_lines(table(COLUMNS, [_row(entry) for entry in shown], right=(3, 4, 5, 6)))
    counts = Counter(entry["advice"] for entry in texts)
    advice = ", ".join(f"{n} {name}" for name, n in counts.most_common())
    more = f"; the worst {len(shown)} are shown, --all: every one"
    if len(shown) == len(texts):
        more = ""
    typer.echo(
        f"{document['dataset']}, {document['model']}: {len(texts)} texts on {document['images']} "
        f"training images: {advice}{more}"
    )
    typer.echo("tells: cosine x 100; own, others, net, takes from: points of probability per photo")


def _row(entry: dict[str, Any]) -> list[str]:
    """The cells of a text."""
    takes_from = ""
    if "takes_from" in entry:
        rival = entry["takes_from"]
        takes_from = f"{rival['class']} {100 * rival['value']:+.1f}"
    estimates = [_points(entry[key]) for key in ("tells", "own", "others", "net")]
    return [entry["class"], entry["kind"], entry["text"], *estimates, takes_from, entry["advice"]]


def _points(estimate: Estimate) -> str:
    """An estimate in hundredths, with its interval."""
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    return f"{value:+.1f} [{low:.1f}, {high:.1f}]"


def _write(out: Path, documents: list[dict[str, Any]], rules: Mapping[Any, str]) -> None:
    """Write all weights as JSON, or as CSV with a row per text."""
    if out.suffix == ".json":
        write_json(out, {"format": 1, "rules": dict(rules), "weighed": documents})
    else:
        rows = [
            {"dataset": document["dataset"], "model": document["model"], **_flat(entry)}
            for document in documents
            for entry in document["texts"]
        ]
        # a text that takes from no class lacks these columns
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with atomic_path(out) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    typer.echo(f"{out}: {sum(len(document['texts']) for document in documents)} texts")


def _flat(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry with one value per key: the parts of an estimate as ``net_low``."""
    row: dict[str, Any] = {}
    for key, value in entry.items():
        if isinstance(value, dict):
            row |= {f"{key}_{part}": number for part, number in value.items()}
        else:
            row[key] = value
    return row


def _write_kept(target: Path, config: Config, document: dict[str, Any]) -> None:
    """Write the run's text set without the texts that are advised to be dropped."""
    path = Paths(config.results).texts(document["dataset"])
    if not path.is_file():
        raise UserError(
            f"--write: no text set {path}; the texts of this model are given as features"
        )
    texts = read_json(path)
    dropped = [entry for entry in document["texts"] if entry["advice"] == "drop"]
    for entry in dropped:
        of_class = texts["classes"][entry["class_index"]]
        of_class[entry["kind"]].remove(entry["text"])
        # an empty list would be refused: a class without a kind has no key
        if not of_class[entry["kind"]]:
            del of_class[entry["kind"]]
    for kind in {entry["kind"] for entry in dropped}:
        note = texts["provenance"].setdefault(kind, {})
        note["weighed"] = {
            "model": document["model"],
            "training_images": document["images"],
            "dropped": [
                {"class": entry["class"], "text": entry["text"]}
                for entry in dropped
                if entry["kind"] == kind
            ],
        }
    write_json(target, texts)
    typer.echo(f"{target}: without {len(dropped)} texts")
    typer.echo(f"to use them: datasets: {{{document['dataset']}: {{texts: {target}}}}}")
