"""Near twins: found by pixels, names and features, kept in one split, and counted."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from bursts import brighter, moved, save_bursts, saved_again, scene
from coder_clip.datasets import twins
from coder_clip.datasets.base import numbers
from coder_clip.datasets.entry import entry
from coder_clip.datasets.folder import SHARES, FolderDataset, cut
from coder_clip.datasets.sanity import copies
from coder_clip.datasets.twins import (
    COSINE,
    SCREEN,
    alike,
    by_name,
    counts,
    near_twins,
    said,
    thumbnails,
)
from coder_clip.errors import UserError
from fixtures import REPO, SHARED

# a matrix of PIL: red, green and blue of the picture, and what is added
WARMER = (1, 0, 0, 25, 0, 1, 0, 0, 0, 0, 1, -25)
COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "scaled": lambda image: image.resize((image.width // 2, image.height // 2)),
    "enlarged": lambda image: image.resize((image.width * 2, image.height * 2)),
    "saved as JPEG": saved_again,
    "brighter": brighter,
    "in warmer light": lambda image: image.convert("RGB", WARMER),
    "moved": moved,
}


def are_twins(one: Image.Image, other: Image.Image) -> bool:
    return near_twins(["a", "b"], {"a": one, "b": other}.__getitem__) != []


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_found_however_it_was_made(how: str) -> None:
    """A burst would be split over train and test, and the accuracy be that of photos seen before."""
    pictures = {f"{i}": scene(i) for i in range(30)}
    pictures |= {f"{i} again": COPIES[how](scene(i)) for i in range(0, 30, 3)}
    found = near_twins(list(pictures), pictures.__getitem__)
    assert found == [[f"{i}", f"{i} again"] for i in range(0, 30, 3)]


def test_a_shot_before_and_one_after_are_in_one_group() -> None:
    """The first and the last shot of a burst may have moved too far to look alike; the ones between
    connect them.
    """
    pictures = {"0": scene(5, 300, 300)}
    for i in range(1, 6):
        pictures[str(i)] = scene(5, 300, 300).crop((12 * i, 0, 300, 300 - 0 * i))
    assert not are_twins(pictures["0"], pictures["5"])
    assert near_twins([*"053421"], pictures.__getitem__) == [[*"053421"]]


@pytest.mark.rest
@pytest.mark.skipif(
    not (SHARED / "data/cifar10").is_dir(), reason="shared CIFAR-10 photos are not here"
)
def test_of_real_photos_no_two_are_taken_for_near_twins_and_every_copy_is() -> None:
    """False twins would make intervals wide and splits coarse; missed ones make both wrong."""
    files = sorted((SHARED / "data/cifar10").glob("*/*/*.jpg"))[::4]
    assert len(files) > 400
    pictures = {str(f): Image.open(f).convert("RGB") for f in files}
    assert near_twins(list(pictures), pictures.__getitem__) == []
    for how in COPIES.values():
        found = [are_twins(p, how(p)) for p in pictures.values()]
        assert np.mean(found) > 0.99


def test_nothing_is_like_a_picture_without_contrast_or_one_that_cannot_be_read() -> None:
    """Two pictures of open sea differ in noise alone, and a damaged file must not stop the list of
    images.
    """
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(100, 102, (40, 40, 3), dtype=np.uint8)) for _ in range(2)]
    black = Image.new("RGB", (40, 40))
    turned = [black.resize(size) for size in ((41, 40), (40, 41))]  # as many bytes
    pictures = dict(zip("abcde", [*noise, black, *turned], strict=True))

    def read(image_id: str) -> Image.Image:
        if image_id == "damaged":
            raise UserError("cannot be read")
        if image_id == "gone":
            raise FileNotFoundError
        return pictures[image_id]

    assert near_twins([*"abcde", "damaged", "damaged", "gone", "gone"], read) == []
    assert near_twins([], read) == []


def test_equal_pixels_are_near_twins_whatever_they_show() -> None:
    """28 of 200 satellite photos are faint: their copies in train and test were never found."""
    rng = np.random.default_rng(0)
    sea = [Image.fromarray(rng.integers(100, 102, (40, 40, 3), dtype=np.uint8)) for _ in range(3)]
    pictures = {"a": sea[0], "b": sea[1], "c": scene(1), "d": sea[0].copy(), "e": sea[2]}
    assert near_twins(list(pictures), pictures.__getitem__) == [["a", "d"]]


def test_faint_images_are_not_compared_by_their_outlines() -> None:
    """Two evenings at sea have the same gradient, and are two observations."""
    steps = np.linspace(100, 104, 40).astype(np.uint8)
    sea = np.repeat(np.tile(steps, (40, 1))[..., None], 3, axis=2)
    pictures = {"a": Image.fromarray(sea), "b": Image.fromarray(sea + 9)}
    assert near_twins(["a", "b"], pictures.__getitem__) == []


def test_a_camera_that_turned_a_little_shows_one_scene() -> None:
    """Each photo shows a part that the other one lacks, so that neither is a cut of the other."""
    found = 0
    for i in range(20):
        wide = scene(i, 300, 300)
        one, other = wide.crop((0, 0, 284, 300)), wide.crop((16, 0, 300, 300))
        found += are_twins(one, other)
    assert found == 19  # of one, the whole thumbnails are less alike than SCREEN


def test_a_part_of_a_photo_is_its_near_twin_whichever_comes_first() -> None:
    """A copy without a twentieth of two sides was missed if it came before its original."""
    for i in range(20):
        photo = scene(i, 200, 200)
        part = photo.crop((10, 10, 200, 200))
        assert are_twins(photo, part)
        assert are_twins(part, photo)


def test_the_docs_have_the_limits_of_the_rule() -> None:
    """The rule was measured with these numbers: with others, scenes are joined or missed."""
    text = " ".join((REPO / "docs/near_twins.md").read_text(encoding="utf-8").split())
    for phrase in (
        f"thumbnails ({twins.SIDE} × {twins.SIDE}, in colour)",
        f"a correlation of at least {twins.ALIKE}, whole",
        f"if the whole ones have {SCREEN},",
        f"with {twins.STEP:.0%} of one or two sides cut off".replace("%", " %"),
        f"more than {twins.RATIO} times the contrast",
        f"Splits of more than {twins.MOST:,} images",
    ):
        assert phrase in text
    assert "a contrast below two of 255 levels" in text
    assert twins.FAINT == 2


def test_an_image_that_joins_two_of_an_earlier_block_joins_them_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A frame between two others is near both: the second pair must not be lost at a block's end."""
    angles = np.array([0.0, 0.3, 0.15])  # cosines 0.955 and, to the last one, 0.989
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    monkeypatch.setattr(twins, "PRODUCTS", 6)  # blocks of two rows
    assert alike(features).tolist() == [0, 0, 0]


def at_angles(*angles: float) -> NDArray[np.float64]:
    """Features in a plane; those within 0.2 are near twins."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_two_bursts_that_one_pair_connects_are_one_group() -> None:
    """Of very many pairs only some are joined at first: the only one between two bursts was lost."""
    pairs = [(0.3, 0.0)] * 5  # frames of two bursts by turns, too far from each other
    features = at_angles(*(angle for pair in pairs for angle in pair), 0.23, 0.07)
    assert alike(features).tolist() == [0] * 12


def test_each_frame_of_a_fixed_camera_is_compared_with_other_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Known frames are not compared with each other: all else in their block must be."""
    monkeypatch.setattr(twins, "PRODUCTS", 12 * 4)  # blocks of four rows
    # the fourth to sixth are known when their block comes; only one of them is near to the eighth
    features = at_angles(0, 0, 0, 0, 0, 0.15, 0, 1, 0.3, 1.1, 5, 5.5)
    assert alike(features).tolist() == [0, 0, 0, 0, 0, 0, 0, 7, 0, 7, 10, 11]


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.sampled_from([3, 64, 65, 90, 200]))
@settings(deadline=None, max_examples=150)
def test_no_pair_is_missed_by_comparing_in_blocks(seed: int, n: int, d: int) -> None:
    """One that is missed is two observations."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(4, d))
    # around the limit on both sides; some rows are the same, and one has no direction
    noise = rng.choice([0.0, 0.05, 0.14, 0.2, 1.0], size=(n, 1)) * rng.normal(size=(n, d))
    features = centres[rng.integers(4, size=n)] + noise
    features[rng.integers(n)] *= rng.integers(2)
    rows = features.tolist()
    lengths = [math.sqrt(sum(value * value for value in row)) for row in rows]
    close = []
    for i, j in combinations(range(n), 2):
        product = sum(a * b for a, b in zip(rows[i], rows[j], strict=True))
        if lengths[i] * lengths[j] and product / (lengths[i] * lengths[j]) >= twins.COSINE:
            close.append((i, j))
    group = list(range(n))
    for _ in range(n):  # the lowest number spreads over every pair until nothing changes
        for i, j in close:
            group[i] = group[j] = min(group[i], group[j])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(twins, "PRODUCTS", 50)
        assert alike(features).tolist() == group


def correlation(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Of two thumbnails in colour, minus the mean of each colour, in float64."""
    rows = []
    for pixels in (one, other):
        colours = pixels.astype(float).reshape(3, -1)
        rows.append((colours - colours.mean(axis=1, keepdims=True)).ravel())
    lengths = [max(float(np.linalg.norm(row)), 1e-9) for row in rows]
    return float(rows[0] @ rows[1]) / lengths[0] / lengths[1]


def plainly_alike(one: twins.Thumbnails, other: twins.Thumbnails) -> bool:
    """The rule of near twins for one pair: whole, one of the two cut, or both cut oppositely."""
    low, high = sorted((one.contrast, other.contrast))
    if low < twins.FAINT or high > twins.RATIO * low:
        return False
    if correlation(one.pixels[twins.WHOLE], other.pixels[twins.WHOLE]) < SCREEN:
        return False
    pairs = [(twins.WHOLE, cut) for cut in range(9)] + [(cut, twins.WHOLE) for cut in range(9)]
    pairs += [(cut, 8 - cut) for cut in range(9)]
    return any(correlation(one.pixels[a], other.pixels[b]) >= twins.ALIKE for a, b in pairs)


@given(st.integers(0, 2**32 - 1), st.integers(2, 14), st.sampled_from([50, 16_000_000]))
@example(5452, 6, 50)  # alike when moved, with a correlation of 0.86 as a whole
@settings(deadline=None, max_examples=30)
def test_groups_by_pixels_are_those_of_a_plain_search(seed: int, n: int, products: int) -> None:
    """A pair that is skipped because it seems joined leaves one scene as two observations."""
    rng = np.random.default_rng(seed)
    scenes = [np.asarray(scene(int(s), 60, 50), float) for s in rng.integers(0, 99, 3)]
    pictures = []
    for _ in range(n):
        one, other = scenes[rng.integers(3)], scenes[rng.integers(3)]
        share = rng.choice([0.0, 0.12, 0.2, 0.3])  # in part the picture of another scene
        mixed = (1 - share) * one + share * other
        cut = rng.integers(0, 4, 4)
        mixed = mixed[cut[0] : 50 - cut[1], cut[2] : 60 - cut[3]] * rng.choice([1.0, 0.9, 0.5])
        pictures.append(Image.fromarray(mixed.astype(np.uint8)))
    small = [thumbnails(p) for p in pictures]
    group = list(range(n))
    for _ in range(n):  # the lowest number spreads over every pair until nothing changes
        for i in range(n):
            for j in range(n):
                if i == j or plainly_alike(small[i], small[j]):
                    group[i] = group[j] = min(group[i], group[j])
    expected = [[str(i) for i in range(n) if group[i] == g] for g in sorted(set(group))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(twins, "PRODUCTS", products)  # rows in blocks of a few, too
        patch.setattr(twins, "CUT_AT_A_TIME", 3)
        found = near_twins([str(i) for i in range(n)], lambda i: pictures[int(i)])
    assert found == [g for g in expected if len(g) > 1]


@pytest.mark.rest
def test_frames_of_a_fixed_camera_take_no_longer_than_other_images() -> None:
    """Each pair of alike frames was compared on its own: half an hour for 10,000 frames."""
    rng = np.random.default_rng(0)
    picture = np.asarray(scene(3, 96, 72), float)
    seconds = []
    for frames in (True, False):
        small = []
        for i in range(3000):
            shown = picture if frames else rng.integers(0, 256, (8, 8, 3))
            noisy = np.clip(shown + rng.normal(0, 5, shown.shape), 0, 255).astype(np.uint8)
            small.append(thumbnails(Image.fromarray(noisy)))
            if frames and i >= 300:
                small[-1] = small[i % 300]  # 3,000 thumbnails need not be made for this
        began = time.process_time()
        groups = twins._joined_by_pixels(small, np.arange(3000))
        seconds.append(time.process_time() - began)
        assert len(set(groups.tolist())) == (1 if frames else 3000)
    assert seconds[0] < 10 * seconds[1] + 1


@pytest.mark.rest
@pytest.mark.skipif(
    not (SHARED / "data/cifar10").is_dir(), reason="shared CIFAR-10 photos are not here"
)
def test_mirrored_and_captioned_copies_are_missed_as_the_docs_say() -> None:
    """Who reads that copies are found must know which are not."""
    files = sorted((SHARED / "data/cifar10").glob("*/*/*.jpg"))[::8]
    pictures = [Image.open(f).convert("RGB") for f in files]

    def captioned(image: Image.Image) -> Image.Image:
        made = Image.new("RGB", (image.width, image.height + image.height // 6), "white")
        made.paste(image)
        return made

    for how in (ImageOps.mirror, captioned):
        found = [are_twins(p, how(p)) for p in pictures]
        assert np.mean(found) < 0.05
    text = (REPO / "docs/near_twins.md").read_text(encoding="utf-8")
    for copy in ("mirrored | 0.5 %", "a caption of a sixth of the height added below | 0.6 %"):
        assert f"| {copy} |" in text


def test_equal_outlines_of_other_contrast_are_not_near_twins() -> None:
    """Correlation alone takes a white field beside a black one for a grey one beside a lighter
    grey.
    """
    pixels = np.zeros((40, 40, 3), dtype=np.uint8)
    pixels[:, 20:] = 200
    assert are_twins(Image.fromarray(pixels), Image.fromarray(pixels + 20))
    assert not are_twins(Image.fromarray(pixels), Image.fromarray(pixels // 2))


features = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@given(features, st.integers(0, 25), st.floats(0.01, 0.4))
def test_groups_by_features_are_those_of_a_plain_search(
    rng: np.random.Generator, n: int, spread: float
) -> None:
    """A missed pair leaves near twins as two observations; a wrong one merges different images."""
    centres = rng.normal(size=(6, 4))
    x = (centres[rng.integers(6, size=n)] + spread * rng.normal(size=(n, 4))) * rng.uniform(
        0.1, 9, (n, 1)
    )
    group = list(range(n))
    for _ in range(n):  # the lowest number spreads over every close pair until nothing changes
        for i in range(n):
            for j in range(n):
                lengths = sum(v * v for v in x[i]) ** 0.5 * sum(v * v for v in x[j]) ** 0.5
                if sum(a * b for a, b in zip(x[i], x[j], strict=True)) >= COSINE * lengths:
                    group[i] = group[j] = min(group[i], group[j])
    assert alike(x).tolist() == group


@pytest.mark.parametrize("width", [60, 300])
def test_a_limit_that_float32_cannot_tell_decides(width: int) -> None:
    """Features are stored in float32, and are compared in float64.

    Half of the pairs are above the limit and half below it, by less than float32 can tell.
    """
    rng = np.random.default_rng(0)
    n = 200
    first, other = (rng.normal(size=(n, width)) for _ in range(2))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    other -= (other * first).sum(axis=1, keepdims=True) * first
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    above = np.arange(n) % 2 == 0
    cosine = COSINE - 1e-9 + np.where(above, 1e-9, -1e-9)
    second = cosine[:, None] * first + np.sqrt(1 - cosine[:, None] ** 2) * other
    group = alike(np.concatenate([first, 7 * second]))
    assert group.tolist() == [*range(n), *np.where(above, np.arange(n), np.arange(n, 2 * n))]


def test_features_are_near_twins_from_a_cosine_of_98_hundredths_on() -> None:
    """docs/near_twins.md measured this limit; at 0.95 photos of one breed are one observation."""
    for cosine, joined in ((0.9799, False), (0.9801, True)):
        other = [cosine, (1 - cosine**2) ** 0.5]
        assert (alike(np.array([[1.0, 0.0], other])).tolist() == [0, 0]) is joined


def test_features_that_cannot_be_compared_are_refused() -> None:
    """NaN is like nothing, so every near twin would be missed silently."""
    with pytest.raises(UserError, match="NaN"):
        alike(np.array([[1.0, np.nan], [0, 1]]))
    assert alike(np.zeros((2, 3))).tolist() == [0, 1]


def test_groups_by_name_are_the_clips_of_one_video() -> None:
    """Frames of one video in train and val, or counted as many test images, make results look
    certain.
    """
    pattern = entry("ucf101").group
    assert pattern is not None
    clips = [
        "Archery/v_Archery_g01_c01.jpg",
        "Archery/v_Archery_g02_c01.jpg",
        "Archery/v_Archery_g01_c07.jpg",
    ]
    clips += ["Hand/v_HandstandPushups_g01_c01.jpg"]
    assert by_name(clips, pattern) == [[clips[0], clips[2]]]
    with pytest.raises(UserError, match=r"'a\.jpg' does not match"):
        by_name(["a.jpg"], pattern)


ids = st.lists(st.integers(0, 60).map(str), unique=True, max_size=40)


@given(ids, st.randoms())
def test_numbers_and_counts_of_groups(names: list[str], random: object) -> None:
    """One number for an image in two groups' places, or a wrong count, is a wrong sentence in the
    report.
    """
    rng = np.random.default_rng(len(names))
    of = {i: int(rng.integers(0, 8)) for i in names}
    # a file of groups has any order, and images that a correction takes out
    groups = [["taken out", *(i for i in names[::-1] if of[i] == g)] for g in range(8)]
    groups = [g for g in groups if len(g) > 1]
    got = numbers(names, groups)
    for a in names:
        for b in names:
            assert (got[a] == got[b]) == (a == b or of[a] == of[b])
        first = next(place for place, b in enumerate(names) if of[b] == of[a])
        assert got[a] == first, "the number is in files, and must not depend on the search"
    split_of = {i: ("train", "val", "test")[int(rng.integers(0, 3))] for i in names}
    test = [i for i in names if split_of[i] == "test"]
    same = {i: [j for j in names if j != i and of[j] == of[i]] for i in test}
    found = counts(split_of, groups)
    assert found["images"] == len(test)
    assert found["elsewhere"] == sum(any(split_of[j] != "test" for j in same[i]) for i in test)
    together = [i for i in test if any(split_of[j] == "test" for j in same[i])]
    assert found["together"] == len(together)
    assert found["groups"] == len({of[i] for i in together})


def test_what_is_said() -> None:
    """The sentences of check, the log and the page."""
    found = {"images": 400, "elsewhere": 37, "together": 112, "groups": 30}
    assert said(found) == [
        "37 of 400 test images have a near twin in train or val",
        "112 of 400 test images are near twins of each other, in 30 groups",
    ]
    assert said({"images": 400, "elsewhere": 0, "together": 0, "groups": 0}) == []


# ---- splits


def plain_cut(per_class: list[list[str]], shares: dict[str, float]) -> dict[str, list[list[str]]]:
    """The split without near twins, as it always was."""
    found: dict[str, list[list[str]]] = {split: [] for split in shares}
    for of_class in per_class:
        order = sorted(of_class, key=lambda i: hashlib.sha256(i.encode()).digest())
        start, percent = 0, 0
        for split, share in shares.items():
            percent += round(100 * share)
            stop = (len(order) * percent + 50) // 100
            found[split].append(sorted(order[start:stop]))
            start = stop
    return found


classes = st.lists(st.integers(0, 45), min_size=1, max_size=4)


@given(classes, st.integers(0, 99))
def test_a_split_without_near_twins_is_as_it_was(sizes: list[int], salt: int) -> None:
    """Everybody's results of a folder would change, and no recorded split be found again."""
    per_class = [[f"{c}/{salt}-{i}" for i in range(n)] for c, n in enumerate(sizes)]
    for shares in (SHARES, {"train": 0.8, "val": 0.2}):
        assert cut(per_class, shares) == plain_cut(per_class, shares)


@given(classes, st.integers(1, 9), st.integers(0, 99))
def test_near_twins_stay_in_one_split(sizes: list[int], burst: int, salt: int) -> None:
    """With shots of one scene in train and test, accuracy is that of images seen before."""
    per_class = [[f"{c}/{salt}-{i:02}" for i in range(n)] for c, n in enumerate(sizes)]
    groups = [of[i : i + burst] for of in per_class for i in range(0, len(of), burst)]
    if len(sizes) > 1 and min(sizes[:2]) >= burst:  # one that two classes share
        groups = [
            groups[0] + per_class[1][:burst],
            *(g for g in groups[1:] if g[0] not in per_class[1][:burst]),
        ]
    found = cut(per_class, SHARES, [g for g in groups if len(g) > 1])
    split_of = {i: split for split, of in found.items() for ids_ in of for i in ids_}
    assert sorted(split_of) == sorted(i for of in per_class for i in of)
    for group in groups:
        assert len({split_of[i] for i in group}) == 1
    for c, of_class in enumerate(per_class[2:], 2):
        for split, share in SHARES.items():  # as near to its share as groups allow
            assert abs(len(found[split][c]) - share * len(of_class)) <= burst + 0.5
    assert found == cut(per_class, SHARES, [g for g in groups[::-1] if len(g) > 1])


def test_a_group_goes_where_its_middle_is() -> None:
    """By its first image, large bursts would fill train at the cost of the other splits."""
    order = sorted((f"a/{i}" for i in range(10)), key=lambda i: hashlib.sha256(i.encode()).digest())
    found = cut([order], SHARES, [order[4:8]])  # train has the first five, val the next two
    assert found["val"] == [sorted(order[4:8])]


@pytest.fixture
def bursts(tmp_path: Path) -> Path:
    """Two classes with 20 scenes of three shots each."""
    save_bursts(tmp_path, ["class 0", "class 1"], 20)
    return tmp_path


def test_a_folder_keeps_bursts_together_and_its_fingerprint_says_so(bursts: Path) -> None:
    """Two people with other near twins have other splits, so the same fingerprint would be a lie."""
    data = FolderDataset("mine", bursts)
    scenes: dict[str, set[str]] = {}
    for split, pairs in data.splits.items():
        for image, _ in pairs:
            scenes.setdefault(image[:-5], set()).add(split)
    assert len(scenes) == 40
    assert {len(s) for s in scenes.values()} == {1}
    assert data.counts == {"train": 60, "val": 24, "test": 36}
    assert [len(group) for group in data.twins] == [3] * 40
    known = FolderDataset("mine", bursts, twins=data.twins)
    assert known.splits == data.splits
    assert known.fingerprint() == data.fingerprint()
    without = FolderDataset("mine", bursts, twins=[])
    assert without.splits != data.splits
    assert without.fingerprint() != data.fingerprint()
    assert not copies(data)["splits"], "no two files have the same bytes"


def test_val_that_is_cut_from_train_shares_no_burst_with_it(bursts: Path, tmp_path: Path) -> None:
    """Settings would be chosen on images that the shots show."""
    root = tmp_path / "own"
    (root / "test").mkdir(parents=True)
    for folder in sorted(bursts.glob("class*")):
        (root / "test" / folder.name).mkdir()
        (folder / "00a.png").rename(root / "test" / folder.name / "00a.png")
        (root / "train").mkdir(exist_ok=True)
        folder.rename(root / "train" / folder.name)
    splits = FolderDataset("mine", root).splits
    scenes = [{image[:-5] for image, _ in splits[split]} for split in ("train", "val")]
    assert scenes[1]
    assert not scenes[0] & scenes[1]


def test_a_folder_with_its_own_split_is_left_alone(bursts: Path, tmp_path: Path) -> None:
    """A published split decides who is compared with whom: near twins are counted there, and
    nothing is moved.
    """
    root = tmp_path / "own"
    for image in sorted(bursts.glob("class*/*.png")):
        split = {"a": "train", "b": "val", "c": "test"}[image.stem[-1]]
        place = root / split / image.parent.name
        place.mkdir(parents=True, exist_ok=True)
        (place / image.name).write_bytes(image.read_bytes())
    data = FolderDataset("mine", root)
    assert data.counts == {"train": 40, "val": 40, "test": 40}
    assert {i.split("/")[0] for i, _ in data.splits["test"]} == {"test"}
    split_of = {i: split for split, pairs in data.splits.items() for i, _ in pairs}
    assert counts(split_of, data.twins) == {
        "images": 40,
        "elsewhere": 40,
        "together": 0,
        "groups": 0,
    }
