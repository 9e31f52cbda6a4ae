"""Features are kept by content: one more photo encodes one photo, one more text one text, and no byte changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny import save_tiny

from coder_clip.datasets.folder import FolderDataset
from coder_clip.encoders import store as store_module
from coder_clip.encoders.encoder import Encoder, EncoderSpec, load_encoder
from coder_clip.encoders.features import ImageFeatures, extract
from coder_clip.encoders.store import FeatureStore, features_key


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def encoder(folder: Path) -> Encoder:
    return load_encoder(EncoderSpec(f"local-dir:{folder}", precision="fp64"))


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "cache/features.sqlite")


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each forward pass had."""
    sizes: list[int] = []
    real = Encoder.forward_images
    monkeypatch.setattr(Encoder, "forward_images", lambda e, b: sizes.append(len(b)) or real(e, b))
    return sizes


def photos(root: Path, count: int) -> FolderDataset:
    for i in range(count):
        path = root / "test" / ("cat", "dog")[i % 2] / f"{i:02d}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), (10 * i, 100, 200 - 5 * i)).save(path)
    return FolderDataset("photos", root)


def run(data: FolderDataset, encoder: Encoder, store: FeatureStore | None, **more: Any) -> ImageFeatures:
    split = data.split("test")
    return extract(data, split.ids, split.labels, encoder, batch_size=4, progress=False, store=store, **more)


def same(a: ImageFeatures, b: ImageFeatures) -> bool:
    views = (a.kept_views, b.kept_views)
    return (
        torch.equal(a.features, b.features)
        and a.ids == b.ids
        and a.metadata == b.metadata
        and (views == (None, None) or torch.equal(*views))  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("more", [{}, {"views": 3, "keep_views": 2}])
def test_one_more_photo_encodes_one_photo(
    encoder: Encoder, store: FeatureStore, encoded: list[int], tmp_path: Path, more: dict[str, int]
) -> None:
    each = more.get("views", 1)
    run(photos(tmp_path / "photos", 9), encoder, store, **more)
    assert sum(encoded) == 9 * each
    encoded.clear()
    data = photos(tmp_path / "photos", 10)
    with_store = run(data, encoder, store, **more)
    assert encoded == [each]
    assert same(with_store, run(data, encoder, None, **more)), "the same bytes as without"


def test_views_are_those_of_their_photo(encoder: Encoder, store: FeatureStore, tmp_path: Path) -> None:
    """A copy under another name has other augmented views, and more views have another mean."""
    data = photos(tmp_path / "photos", 4)
    first = run(data, encoder, store, views=2)
    copy = tmp_path / "photos/test/cat/copy.png"
    copy.write_bytes((tmp_path / "photos/test/cat/00.png").read_bytes())
    data = FolderDataset("photos", tmp_path / "photos")
    second = run(data, encoder, store, views=2)
    assert same(second, run(data, encoder, None, views=2))
    assert first.ids != second.ids
    assert same(run(data, encoder, store, views=3), run(data, encoder, None, views=3))


def test_a_changed_photo_is_encoded_again(
    encoder: Encoder, store: FeatureStore, encoded: list[int], tmp_path: Path
) -> None:
    run(photos(tmp_path / "photos", 4), encoder, store)
    Image.new("RGB", (40, 40), "white").save(tmp_path / "photos/test/cat/00.png")
    encoded.clear()
    data = FolderDataset("photos", tmp_path / "photos")
    assert same(run(data, encoder, store), run(data, encoder, None))
    assert encoded[0] == 1


def test_one_more_text_encodes_one_text(
    encoder: Encoder, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coder_clip.encoders import encoder as module

    sizes: list[int] = []
    real = module.text_features
    monkeypatch.setattr(module, "text_features", lambda m, t: sizes.append(len(t)) or real(m, t))
    texts = [f"a photo of thing number {i}" for i in range(9)]
    encoder.store = store
    encoder.encode_texts(texts)
    assert sum(sizes) == 9
    sizes.clear()
    more = ["something else entirely", *texts]
    with_store = encoder.encode_texts_report(more)
    assert sizes == [1]
    encoder.store = None
    without = encoder.encode_texts_report(more)
    assert torch.equal(with_store.features, without.features)
    assert with_store.n_unique == without.n_unique


def test_another_encoder_and_other_code_have_other_features(
    encoder: Encoder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug that is fixed must not live on in the cache."""
    key = features_key(encoder.metadata())
    assert key != features_key(load_encoder(EncoderSpec(f"local-dir:{folder}")).metadata())
    monkeypatch.setattr(store_module, "_code", lambda: "edited")
    assert key != features_key(encoder.metadata())
