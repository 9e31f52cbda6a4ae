"""Processor time of what a person does on the page of ``coder-clip explore``.

``python -m benchmarks.page``

1,000 classes with 14 texts each and 1,000 photos; random features, d = 512, kept in the store of a
real encoder. The encoding of a new text is not counted.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from coder_clip.encoders.spec import EncoderSpec
from coder_clip.encoders.store import FeatureStore
from coder_clip.texts.sets import ClassTexts, TextSet
from coder_clip_photos import Classifier
from coder_clip_photos.encoding import PhotoEncoder
from coder_clip_photos.explorer import Explorer
from coder_clip_photos.study import Study
from coder_clip_photos.web_page import make_app

CLASSES, PHOTOS, WIDTH = 1000, 1000, 512
KINDS = {"attribute": 8, "analogous": 3, "synonym": 2}  # texts of each class, besides its name


class RandomTexts:
    """Stands for the encoder: random features, at once."""

    def encode_texts(self, sentences: Sequence[str]) -> Tensor:
        return torch.randn(len(sentences), WIDTH)


def explorer(folder: Path) -> Explorer:
    encoder = PhotoEncoder(EncoderSpec("random"))
    encoder.store = FeatureStore(folder)
    encoder.__dict__ |= {"encoder": RandomTexts(), "metadata": {"dim": str(WIDTH)}, "key": "random"}
    classes = [
        ClassTexts(
            name=f"class {c}",
            **{k: [f"{k} {i} of {c}" for i in range(n)] for k, n in KINDS.items()},
        )
        for c in range(CLASSES)
    ]
    classifier = Classifier(encoder, TextSet(dataset="photos", classes=classes))
    texts = classifier.scoring.features
    features = texts[torch.randint(len(texts), (PHOTOS,))] + torch.randn(PHOTOS, WIDTH)
    study = Study(
        classifier, features, [str(i) for i in range(PHOTOS)], torch.randint(CLASSES, (PHOTOS,))
    )
    return Explorer(study, "photos", lambda i, least: Image.new("RGB", (8, 8)), folder)


def seconds(call: Callable[[], Any]) -> float:
    started = time.process_time()
    assert call().status_code == 200
    return time.process_time() - started


def compare(client: Any) -> Any:
    """Ask for photos that are most alike, as the page does, until there are groups."""
    while True:
        answer = client.get("/t/alike")
        if answer.json["groups"] is not None:
            return answer


def main() -> None:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        client = make_app(explorer(Path(folder)), "t", {"localhost"}).test_client()
        state = client.get("/t/state").json
        edits = []

        def body(edit: int) -> dict[str, Any]:
            """The texts as the next edit, which has the version of the edits before it."""
            return {"classes": state["texts"], "version": state["version"] + edit}

        for c in range(5):
            state["texts"][c]["attribute"][0] = "something else"
            edits.append(seconds(partial(client.post, "/t/edit/texts", json=body(c))))
        measured = {
            "an edit of one more class (median of 5)": statistics.median(edits),
            "a photo with its reasons": seconds(lambda: client.get("/t/why/3")),
            "photos like a text": seconds(
                lambda: client.post("/t/like", json={"plus": "a", "minus": "b"})
            ),
            "photos that are most alike": seconds(lambda: compare(client)),
            "the CSV file": seconds(lambda: client.get("/t/photos.csv")),
        }
        print(f"seconds of processor time; {CLASSES:,} classes, {PHOTOS:,} photos")
        for what, value in measured.items():
            print(f"{value:6.2f}  {what}")


if __name__ == "__main__":
    main()
