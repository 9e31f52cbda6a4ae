"""What tests of own photos share: a tiny encoder, photos and texts, the page without a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw

from coder_clip.encoders import encoder as encoders
from coder_clip.foundation.artifacts import write_json
from coder_clip_photos import Classifier
from coder_clip_photos.explorer import Explorer
from coder_clip_photos.study import Study
from coder_clip_photos.texts import text_set
from coder_clip_photos.web_page import make_app
from tiny import save_tiny

TOKEN, HOST = "secret-token", "localhost"  # what the test client says
TEXTS = {
    "format": 1,
    "dataset": "marks",
    "classes": [
        {"name": "red disc", "attribute": ["a red spot", "no blue"], "synonym": ["ruby_circle"]},
        {
            "name": "blue disc",
            "attribute": ["a blue spot"],
            "analogous": ["blue ball", "blue_moon"],
        },
        {"name": "egg"},
    ],
}


def send(client: Any, name: str, **body: Any) -> Any:
    """An edit of the work as it is now."""
    version = client.get(f"/{TOKEN}/state").json["version"]
    return client.post(f"/{TOKEN}/edit/{name}", json={"version": version, **body})


def edited(state: dict[str, Any], **changes: list[str]) -> list[dict[str, Any]]:
    """The texts of a state with other attributes of some classes, as an edit sends them."""
    return [{**t, "attribute": changes.get(t["name"], t["attribute"])} for t in state["texts"]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    found = []
    for i, colour in enumerate(("red", "blue", "green", "white")):
        image = Image.new("RGB", (50 + 7 * i, 40), (10 * i, 20, 30))
        ImageDraw.Draw(image).ellipse((5, 5, 30 + i, 30), fill=colour)
        image.save(tmp_path / f"{colour}.png")
        found.append(tmp_path / f"{colour}.png")
    return found


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    write_json(tmp_path / "texts.json", TEXTS)
    return tmp_path / "texts.json"


@pytest.fixture
def unloadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can load an encoder."""

    def fail(*_: object) -> None:
        raise AssertionError("an encoder was loaded")

    monkeypatch.setattr(encoders, "load_encoder", fail)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four photos at two depths, and what else is in people's folders; the working directory is
    another one.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "photos/below").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.jpg", "below/a.png", "below/c.webp")):
        image = Image.new("RGB", (40 + i, 50), (60 * i, 10, 200 - 50 * i))
        ImageDraw.Draw(image).ellipse((4, 4, 30, 20 + i), fill="white")
        image.save(tmp_path / "photos" / name)
    (tmp_path / "photos/notes.txt").write_text("not a photo")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "photos"


@pytest.fixture
def classify(command: Callable[..., Any], model: Path) -> Callable[..., Any]:
    return lambda *arguments: command(
        "classify", *arguments, "--model", model, "--classes", "cat,red fox"
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    model = save_tiny(tmp_path_factory.mktemp("explore") / "tiny")
    texts = text_set({"cat": ["whiskers", "soft fur"], "dog": ["a long snout"], "egg": []})
    c = Classifier(str(model), texts, cache=False)
    generator = torch.Generator().manual_seed(2)
    centre = c.scoring.features.mean(dim=0)
    near = (c.scoring.features - centre).repeat(20, 1)
    x = centre + near + 2.5 * near.std() * torch.randn(near.shape, generator=generator)
    return Study(c, x, [f"{i}.png" for i in range(len(x))], c.scoring.owner.repeat(20))


@pytest.fixture
def explorer(study: Study, tmp_path: Path) -> Explorer:
    return Explorer(
        study, "my photos", lambda i, least: Image.new("RGB", (500, 300), (i, 0, 0)), tmp_path
    )


@pytest.fixture
def client(explorer: Explorer) -> Any:
    return make_app(explorer, TOKEN, {HOST}).test_client()
