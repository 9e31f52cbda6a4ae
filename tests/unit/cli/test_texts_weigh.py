"""`coder-clip texts weigh`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coder_clip.datasets import load_templates
from coder_clip.foundation.artifacts import Paths, write_json, write_tensors
from coder_clip.pipeline.config import load_config
from coder_clip.texts.sentences import make_sentences
from coder_clip.texts.sets import ClassTexts, TextSet, load_text_set

Command = Callable[..., Any]
NAMES = ["red fox", "grey wolf", "brown bear"]
CONFIG = """
results: results/animals
datasets: {animals: {root: photos}}
models: {m: {model: "hf-hub:a/b"}}
adapter: {shots: [8], seeds: [1]}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration of a run whose features are there, and whose test features are not.

    The last attribute of each class is a text that photos of the next class are near.
    """
    monkeypatch.chdir(tmp_path)
    config_file = tmp_path / "c.yaml"
    config_file.write_text(CONFIG)
    config = load_config(config_file)
    classes = [
        ClassTexts(
            name=name, attribute=[f"mark {name[0]}{i}" for i in range(5)], synonym=[name[:3]]
        )
        for name in NAMES
    ]
    texts = TextSet(dataset="animals", classes=classes, provenance={"attribute": {"source": "me"}})
    paths = Paths(config.results)
    write_json(paths.texts("animals"), texts.dump())
    sentences = make_sentences(texts, load_templates("animals", config.datasets["animals"]))
    rng = np.random.default_rng(1)
    # classes that look alike, so that one text decides something
    centres = torch.from_numpy(3 * rng.normal(size=8) + 0.25 * rng.normal(size=(3, 8)))
    owner = torch.tensor(sentences.class_index)
    features = centres[owner] + 0.05 * torch.from_numpy(rng.normal(size=(len(owner), 8)))
    for i, sentence in enumerate(sentences.text):
        if sentences.kind[i] == "attribute" and "4" in sentence:
            features[i] = centres[(owner[i] + 1) % 3]
    meta = {"model": "m", "dataset": "animals", "classes": NAMES, "encoder": {"model": "made up"}}
    write_tensors(
        paths.text_features("m", "animals"),
        {
            "features": torch.nn.functional.normalize(features.float(), dim=1),
            "class_index": owner,
            "imagenet_names": torch.eye(8),
        },
        {**meta, "text": sentences.text, "kind": sentences.kind},
    )
    labels = torch.arange(90) % 3
    write_tensors(
        paths.image_features("m", "animals", "shots"),
        {
            "features": (
                centres[labels] + 1.0 * torch.from_numpy(rng.normal(size=(90, 8)))
            ).float(),
            "labels": labels,
        },
        {**meta, "split": "shots", "ids": [f"{i}.jpg" for i in range(90)]},
    )
    return config_file


def test_a_text_of_another_class_is_found_and_left_out(command: Command, run: Path) -> None:
    """Without test features in the run: texts chosen on test images would flatter the result."""
    answer = command("texts", "weigh", "--config", run, "--write", "kept.json", "--all")
    assert answer.code == 0, answer.err
    rows = [line for line in answer.out.splitlines() if "mark" in line]
    assert len(rows) == 15
    # the smallest net effect first
    assert all(re.search(r"mark \w4 ", row) for row in rows[:3]), rows[:3]
    assert "18 texts on 90 training images" in answer.out
    kept = load_text_set("kept.json", "animals", NAMES)
    dropped = kept.provenance["attribute"]["weighed"]["dropped"]
    assert dropped
    assert all(entry["text"].endswith("4") for entry in dropped)
    assert kept.provenance["attribute"]["source"] == "me"
    left = {text for c in kept.classes for text in c.attribute}
    assert len(left) == 15 - len(dropped)
    assert not left & {entry["text"] for entry in dropped}


def test_files_hold_every_text_with_its_intervals(command: Command, run: Path) -> None:
    """Who judges texts elsewhere needs the numbers, not the table."""
    assert command("texts", "weigh", "--config", run, "--out", "w.json").code == 0
    document = json.loads(Path("w.json").read_text())
    assert set(document["rules"]) == {"drop", "ask again", "keep"}
    (weighed,) = document["weighed"]
    assert (weighed["dataset"], weighed["model"], weighed["images"]) == ("animals", "m", 90)
    assert len(weighed["texts"]) == 18
    assert command("texts", "weigh", "--config", run, "--out", "w.csv").code == 0
    with Path("w.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, entry in zip(rows, weighed["texts"], strict=True):
        assert (row["text"], row["class"]) == (entry["text"], entry["class"])
        assert float(row["net_low"]) == pytest.approx(entry["net"]["low"], abs=1e-6)
        assert row["advice"] == entry["advice"]


def test_bad_input_ends_with_one_line(command: Command, run: Path) -> None:
    def refused(*arguments: Any) -> str:
        answer = command("texts", "weigh", "--config", run, *arguments)
        assert answer.code == 1
        assert len(answer.err.splitlines()) == 1
        return str(answer.err)

    assert "name a .json or a .csv file" in refused("--out", "w.txt")
    Path("kept.json").write_text("{}")
    assert "the file exists" in refused("--write", "kept.json")
    assert "no data set 'animal'" in refused("--dataset", "animal")
    run.write_text(CONFIG.replace("root: photos", "root: photos, few_shot: false"))
    assert "not weighed on test images" in refused()
