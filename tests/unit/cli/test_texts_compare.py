"""Several text sets of one data set in one table, each by the methods that its texts allow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coder_clip.encoders.encoder import Encoder
from coder_clip.foundation.artifacts import Paths, write_tensors
from coder_clip.pipeline.config import load_config

Command = Callable[..., Any]
NAMES = ["red fox", "grey wolf", "brown bear"]
MARKS = {"red fox": ["a white tail tip", "black legs"], "grey wolf": ["grey fur"]}


def unit(rows: Any) -> np.ndarray[Any, Any]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@pytest.fixture
def images(tmp_path: Path, tiny_dir: Path, tiny: Encoder, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A configuration of the tiny encoder, validation features and their labels."""
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(
        "results: results/a\ndatasets: {animals: {root: photos}}\n"
        f"models: {{m: {{model: 'local-dir:{tiny_dir}'}}}}\n"
    )
    encoded = tiny.encode_texts_report([f"a photo of a {name}." for name in NAMES]).features
    labels = torch.arange(60) % 3
    noise = torch.from_numpy(np.random.default_rng(2).normal(size=(60, encoded.shape[1])))
    x = (encoded[labels].double() + 0.05 * noise).float()
    meta = {"model": "m", "dataset": "animals", "classes": NAMES, "encoder": {"model": "made up"}}
    write_tensors(
        Paths(load_config(Path("c.yaml")).results).image_features("m", "animals", "val"),
        {"features": x, "labels": labels},
        {**meta, "split": "val", "ids": [f"{i}.jpg" for i in range(60)]},
    )
    return x.double().numpy(), labels.numpy()


def saved(name: str, kind: str, texts: dict[str, list[str]]) -> str:
    """A text set with one kind of text."""
    classes = [{"name": n, **({kind: texts[n]} if n in texts else {})} for n in NAMES]
    Path(name).write_text(json.dumps({"format": 1, "dataset": "animals", "classes": classes}))
    return name


def test_each_set_is_scored_by_what_its_texts_allow(
    command: Command, images: Any, tiny: Encoder
) -> None:
    """One wrong fallback, and a set would look worse for the classes that it lacks."""
    own = saved("own.json", "attribute", MARKS)
    whole = {name: [f"The {name} stands in snow.", f"A {name}."] for name in NAMES}
    cupl = saved("cupl.json", "sentence", whole)
    answer = command("texts", "compare", "animals", own, cupl, "--config", "c.yaml")
    assert answer.code == 0, answer.err
    rows = answer.out.splitlines()
    of = {
        method: next(line for line in rows if method in line)
        for method in ("CLIP", "CODER, stage one", "description", "sentences")
    }
    x, labels = images

    def encode(texts: list[str]) -> np.ndarray[Any, Any]:
        return unit(tiny.encode_texts_report(texts).features.double().numpy())

    def accuracy(scores: np.ndarray[Any, Any]) -> str:
        return f"{100 * (scores.argmax(axis=1) == labels).mean():.1f} ["

    names = encode([f"a photo of a {name}." for name in NAMES])
    coder, described, sentences = [], [], []
    for i, name in enumerate(NAMES):
        marks = [f"a photo of a {name} which has {mark}." for mark in MARKS.get(name, [])]
        texts = encode(marks) if marks else np.zeros((0, x.shape[1]))
        coder.append((texts.sum(axis=0) + names[i]) / (len(texts) + 1))
        described.append(texts.mean(axis=0) if marks else names[i])
        sentences.append(unit(encode(whole[name]).mean(axis=0, keepdims=True))[0])
    expected = zip(of, (names, coder, described, sentences), strict=True)
    for method, means in expected:
        assert accuracy(x @ np.asarray(means).T) in of[method], method
    assert "own.json" in of["description"]
    assert "cupl.json" in of["sentences"]
    assert answer.out.splitlines()[-1] == "animals, m: 60 val images"


def test_bad_input_ends_with_one_line(command: Command, images: Any) -> None:
    own = saved("own.json", "attribute", MARKS)
    for arguments, says in (
        (["animals", own, "--split", "train"], "val or test"),
        (["animal", own], "no data set 'animal'"),
        (["animals", "no.json"], "no text set no.json"),
    ):
        answer = command("texts", "compare", *arguments, "--config", "c.yaml")
        assert answer.code == 1
        assert says in answer.err
        assert len(answer.err.splitlines()) == 1
