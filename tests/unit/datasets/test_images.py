from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coder_clip.datasets import decoding
from coder_clip.datasets.images import UnreadableImage, read_image, seems_whole


def pixel(path: Path) -> tuple[int, ...]:
    image = read_image(path)
    assert image.mode == "RGB"
    return tuple(int(v) for v in np.asarray(image)[0, 0])


def test_grey_is_repeated(tmp_path: Path) -> None:
    """A grey photo would get a colour."""
    Image.new("L", (4, 3), 77).save(tmp_path / "a.png")
    assert pixel(tmp_path / "a.png") == (77, 77, 77)


def test_one_bit(tmp_path: Path) -> None:
    """A black and white scan would be black."""
    Image.new("1", (4, 3), 1).save(tmp_path / "a.png")
    assert pixel(tmp_path / "a.png") == (255, 255, 255)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    """A JPEG for print would be seen as its negative."""
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = pixel(tmp_path / "a.jpg")
    assert red > 245
    assert green < 10
    assert blue < 10


@pytest.mark.parametrize("transparent", [False, True])
def test_palette(tmp_path: Path, transparent: bool) -> None:
    """The colours of a GIF or a palette PNG would be its palette's numbers."""
    image = Image.new("P", (4, 3), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(tmp_path / "a.png", **({"transparency": 0} if transparent else {}))
    assert pixel(tmp_path / "a.png") == ((255, 255, 255) if transparent else (10, 20, 30))


def test_transparent_pixels_lie_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 3), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert pixel(tmp_path / "a.png") == (255, 255, 255)
    Image.new("RGBA", (4, 3), (9, 8, 7, 255)).save(tmp_path / "b.png")
    assert pixel(tmp_path / "b.png") == (9, 8, 7)
    Image.new("LA", (4, 3), (9, 0)).save(tmp_path / "c.png")
    assert pixel(tmp_path / "c.png") == (255, 255, 255)


def test_rgb_with_a_transparent_colour(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3), (1, 2, 3)).save(tmp_path / "a.png", transparency=(1, 2, 3))
    assert pixel(tmp_path / "a.png") == (255, 255, 255)


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (257, 1), (32896, 128), (65535, 255), (300, 1)]
)
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_16_bit_grey_is_scaled_not_clipped(
    tmp_path: Path, value: int, expected: int, kind: str
) -> None:
    Image.fromarray(np.full((3, 4), value, dtype=np.uint16)).save(tmp_path / f"a.{kind}")
    assert pixel(tmp_path / f"a.{kind}") == (expected,) * 3


def test_wide_integers_without_a_known_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((3, 4), 70000, dtype=np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableImage, match="expected 16 bits"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(("value", "expected"), [(0.5, 128), (1.0, 255), (200.0, 200)])
def test_float_grey(tmp_path: Path, value: float, expected: int) -> None:
    """A scientific image in floats would be black, or white."""
    Image.fromarray(np.full((3, 4), value, dtype=np.float32)).save(tmp_path / "a.tif")
    assert pixel(tmp_path / "a.tif") == (expected,) * 3


@pytest.mark.parametrize("value", [-1.0, 300.0, float("nan")])
def test_float_grey_out_of_range(tmp_path: Path, value: float) -> None:
    Image.fromarray(np.full((3, 4), value, dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableImage, match="float pixels"):
        read_image(tmp_path / "a.tif")


def test_published_images_are_read_as_everybody_reads_them(tmp_path: Path) -> None:
    """A turned photo, or white where others see black, would be another test set."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (12, 8), (9, 8, 7)).save(tmp_path / "a.png", exif=exif)
    assert (
        read_image(tmp_path / "a.png").size,
        read_image(tmp_path / "a.png", as_stored=True).size,
    ) == (
        (8, 12),
        (12, 8),
    )
    Image.new("RGBA", (4, 3), (9, 8, 7, 0)).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png").getpixel((0, 0)) == (255, 255, 255)
    assert read_image(tmp_path / "b.png", as_stored=True).getpixel((0, 0)) == (9, 8, 7)
    Image.fromarray(np.full((3, 4), 65535, dtype=np.uint16)).save(tmp_path / "c.png")
    assert read_image(tmp_path / "c.png", as_stored=True).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("tag", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))]
)
def test_exif_turns_the_image_upright(tmp_path: Path, tag: int, corner: tuple[int, int]) -> None:
    """The stored image has its bright corner top left; the tag says where it belongs."""
    stored = np.zeros((8, 12), dtype=np.uint8)
    stored[:4, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(stored).convert("RGB").save(tmp_path / "a.png", exif=exif)
    upright = np.asarray(read_image(tmp_path / "a.png"))
    assert upright.shape[:2] == ((12, 8) if tag in (6, 8) else (8, 12))
    assert upright[corner].tolist() == [255, 255, 255]
    assert upright.sum() == 255 * 16 * 3


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "gif"])
def test_truncated(tmp_path: Path, kind: str) -> None:
    """A half-downloaded photo would count as a photo, its missing part grey."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"a.{kind}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableImage) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert str(path) not in caught.value.reason
    assert "\n" not in str(caught.value)


def test_not_an_image_missing_empty_and_broken_link(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    (tmp_path / "b.jpg").write_bytes(b"")
    (tmp_path / "c.jpg").symlink_to(tmp_path / "nowhere.jpg")
    for name, reason in (
        ("a.jpg", "not an image"),
        ("b.jpg", "not an image"),
        ("c.jpg", "link"),
        ("d.jpg", "no such"),
    ):
        with pytest.raises(UnreadableImage, match=reason):
            read_image(tmp_path / name)


def test_a_decompression_bomb_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (100, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UnreadableImage, match="pixels"):
        read_image(tmp_path / "a.png")


def test_the_error_crosses_process_boundaries() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImage("x.jpg", "why")))
    assert (error.path, error.reason) == ("x.jpg", "why")
    assert str(error) == "image cannot be read: x.jpg: why"


def test_what_was_cut_off_is_seen_without_decoding(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for kind, end in (("jpg", 2), ("png", 12)):
        path = tmp_path / f"a.{kind}"
        Image.fromarray(noise).save(path)
        whole = path.read_bytes()
        for content, seems in (
            (whole, True),
            (whole + bytes(20), True),  # as some cameras append
            (whole[:-end], False),
            (whole[: len(whole) // 2], False),
            (b"", False),
            (b"<html>", False),
        ):
            path.write_bytes(content)
            assert seems_whole(path) is seems, (kind, len(content))
    content = bytearray((tmp_path / "a.png").read_bytes() or whole)
    content[len(content) // 2] ^= 255
    (tmp_path / "a.png").write_bytes(content)
    assert not seems_whole(tmp_path / "a.png"), "the checksums of a PNG are looked at"
    Image.fromarray(noise).save(tmp_path / "a.gif")
    assert not seems_whole(tmp_path / "a.gif"), "of other formats only decoding tells"


@pytest.mark.parametrize("kind", ["transparent", "16 bits", "float"])
def test_bands_of_rows_change_no_pixel(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are converted in parts: 36 megapixels took 550 MB with transparency and 720 MB with 16 bits."""
    rng = np.random.default_rng(0)
    pixels = {
        "transparent": rng.integers(0, 256, (23, 7, 4), dtype=np.uint8),
        # the largest value is in one band only, and must not decide alone
        "16 bits": rng.integers(0, 60_000, (23, 7)).astype(np.uint16),
        "float": np.concatenate([rng.random((20, 7)), 255 * rng.random((3, 7))]).astype(np.float32),
    }[kind]
    image = Image.fromarray(pixels)
    whole = decoding.to_rgb(image.copy())
    monkeypatch.setattr(decoding, "BAND", 14)  # two rows
    assert decoding.to_rgb(image.copy()).tobytes() == whole.tobytes()
    if kind == "float":
        assert np.asarray(whole)[0, 0, 0] == round(float(pixels[0, 0])), "a band decided"
