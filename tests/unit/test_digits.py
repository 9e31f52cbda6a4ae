from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from coder_clip.datasets.digits import Digits
from coder_clip.errors import UserError


def test_every_scan_is_in_one_split() -> None:
    """A scan in two splits would let the few-shot cache or `mini` see what is tested."""
    data = Digits()
    places = [int(i.split("/")[1]) for s in ("train", "val", "test") for i in data.split(s).ids]
    assert sorted(places) == list(range(1797))


def test_splits_are_stratified_and_fixed() -> None:
    data = Digits()
    for name, share in (("train", 0.5), ("val", 0.2), ("test", 0.3)):
        split = data.split(name)
        assert len(split) == pytest.approx(1797 * share, abs=10)
        counts = np.bincount(split.labels, minlength=10)
        assert counts.max() - counts.min() <= 5
    assert data.split("test").ids == Digits().split("test").ids
    assert data.split("test").ids[:3] == ["test/0006", "test/0013", "test/0015"]


def test_labels_and_pixels_are_those_of_the_scan() -> None:
    data, scans = Digits(), load_digits()
    split = data.split("val")
    for image_id, label in list(zip(split.ids, split.labels, strict=True))[:40]:
        place = int(image_id.split("/")[1])
        assert label == scans.target[place]
        assert (data.image(image_id).mode, data.image(image_id).size) == ("RGB", (64, 64))
        ink = 255 - np.asarray(data.scan(image_id).convert("L").resize((8, 8)), dtype=float)
        assert np.corrcoef(ink.ravel(), scans.images[place].ravel())[0, 1] > 0.9


def test_photographs_still_show_the_scan() -> None:
    """Dark strokes on light paper, most of them inside the picture."""
    data = Digits()
    for image_id in data.split("test").ids[::20]:
        grey = np.asarray(data.image(image_id).convert("L"), dtype=float)
        border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
        assert grey[16:48, 16:48].min() < np.median(border) - 40


def test_photographs_repeat() -> None:
    one, other = Digits(), Digits()
    for image_id in one.split("train").ids[:5]:
        assert one.image(image_id).tobytes() == other.image(image_id).tobytes()


@pytest.mark.parametrize("image_id", ["test/9999", "test/0000x", "exam/0001", "test", "train/0006"])
def test_an_unknown_id_is_named(image_id: str) -> None:
    with pytest.raises(UserError, match="ids look like test/"):
        Digits().image(image_id)


def test_an_unknown_split_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'test'"):
        Digits().split("tests")


def test_fingerprint_is_stable() -> None:
    assert Digits().fingerprint() == Digits().fingerprint()
