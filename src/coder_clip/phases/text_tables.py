"""Phases text_features and one_to_one of a model that brings its texts as features."""

from __future__ import annotations

from pathlib import Path

import torch

from ..encoders.text_tables import TextTables
from ..errors import UserError
from ..foundation.artifacts import read_classes, write_tensors
from ..rerank import OneToOne
from ..texts.sets import load_pair_set


def run(
    *,
    manifest: str,
    texts: str,
    files: list[str],
    out: str,
    model: str,
    dataset: str,
    tables: str,
    data_root: str | None,
) -> None:
    """Write the text features of the classes, and of the model's vocabulary.

    files: the user's own list of features and its files. tables: the list, as the configuration
    names it. data_root: folder of published data.
    """
    found = TextTables(tables, Path(data_root) if data_root else None)
    classes = read_classes(Path(manifest))
    rows = found.texts(dataset, classes)
    meta = {
        "model": model,
        "dataset": dataset,
        "classes": classes,
        "encoder": found.metadata(),
        "text": [row.text for row in rows],
        "kind": [row.kind for row in rows],
        "unique_texts": len({row.text for row in rows}),
        "over_length": [],
        "templates": {},
    }
    features = torch.zeros(0, found.dim)
    if rows:
        features = torch.stack([row.feature for row in rows])
    tensors = {
        "features": features,
        "class_index": torch.tensor([row.owner for row in rows], dtype=torch.int64),
        "imagenet_names": found.imagenet_names(),
    }
    write_tensors(out, tensors, meta)


def pairs(
    *,
    manifest: str,
    texts: str,
    files: list[str],
    out: str,
    model: str,
    dataset: str,
    tables: str,
    data_root: str | None,
) -> None:
    """Write a file without differences of pairs. UserError if the data set has one-to-one texts."""
    classes = read_classes(Path(manifest))
    if load_pair_set(texts, dataset, classes, made=True).pairs:
        raise UserError(
            f"model {model} encodes no texts, and {dataset} has one-to-one texts; leave them out"
        )
    found = TextTables(tables, Path(data_root) if data_root else None)
    of = {"model": model, "dataset": dataset, "classes": classes, "encoder": found.metadata()}
    state = OneToOne({}, n_classes=len(classes)).state()
    write_tensors(out, state, {**of, "texts": 0, "over_length": []})
