"""Decode images: each file becomes an upright 8-bit RGB picture, or one clear error."""

from __future__ import annotations

import io
import os
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from coder_clip.errors import UserError, one_line

WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # more than 8 bits a pixel
JPEG_END = b"\xff\xd9"
TAIL = 64  # bytes that must contain JPEG_END: cameras and programs append some bytes
BAND = 1 << 20  # pixels that are converted at a time
# pixels that a side of a photo keeps at least, if the photo is decoded at a fraction of its size
LEAST_SIDE = 512


class UnreadableImage(UserError):
    """An image that cannot be decoded. ``reason``: the cause, without the path on this machine."""

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        super().__init__(f"image cannot be read: {path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[UnreadableImage], tuple[str, str]]:
        # for pickle: a process of a pool can return this error
        return UnreadableImage, (self.path, self.reason)


def read_image(
    path: str | PathLike[str],
    as_stored: bool = False,
    content: bytes | None = None,
    least: int | None = None,
) -> Image.Image:
    """The image at ``path``, decoded in full: mode RGB, 8 bits per channel, turned upright by its
    EXIF tag.

    Grey is repeated in three channels; 16-bit grey is scaled (65535 -> 255), not clipped; float
    grey must be in 0..1 or 0..255; CMYK goes through Pillow's plain conversion (no colour
    profiles); transparent pixels are laid on white; of an animation the first frame is taken. A
    JPEG that is too large for Pillow (over 178 megapixels) is decoded at a half, a quarter or an
    eighth of its size. HEIC needs the package pillow-heif.
    as_stored: the image is neither turned nor laid on white, as torchvision, CoOp and the authors
    read published data sets.
    content: the bytes of the file, if they were read already. least: pixels per side that are
    enough; a larger JPEG is decoded at a half, a quarter or an eighth of its size, which is much
    faster.

    Raises UnreadableImage (a UserError) with path and reason: missing, truncated, no image, too
    large.
    """
    try:
        if content is None:
            content = Path(path).read_bytes()
        with _open(content) as image:
            if least is not None:
                image.draft(None, (least, least))
            image.load()
            if as_stored and image.mode not in WIDE_MODES:
                return image.convert("RGB")
            # in place, because otherwise a photo without the tag is copied, too
            ImageOps.exif_transpose(image, in_place=True)
            return to_rgb(image)
    except FileNotFoundError:
        broken = Path(path).is_symlink()
        raise UnreadableImage(
            path, "the link points nowhere" if broken else "no such file"
        ) from None
    except UnidentifiedImageError:
        reason = "not an image, or a format that Pillow does not know"
        if content and _is_heic(content):
            reason = (
                "HEIC, which needs the package pillow-heif (the extra 'heic': pip install "
                "pillow-heif)"
            )
        raise UnreadableImage(path, reason) from None
    except Exception as error:  # Pillow's decoders raise almost anything on damaged bytes
        raise UnreadableImage(path, one_line(error)) from None


def seems_whole(path: str | PathLike[str]) -> bool:
    """True for a JPEG with its header and end, and for a PNG whose checksums are right.

    Nothing is decoded.

    False for a file that was cut off, for example by a copy that was stopped. Also False for every
    other format, because only decoding shows whether such an image is complete.
    """
    try:
        with Image.open(path) as image:
            if image.format == "PNG":
                image.verify()
                # decoding can refuse the pixel values of a wide mode (`to_rgb`)
                return image.mode not in WIDE_MODES
            if image.format != "JPEG":
                return False
        with open(path, "rb") as stream:
            stream.seek(-min(TAIL, os.path.getsize(path)), os.SEEK_END)
            return JPEG_END in stream.read()
    except Exception:  # Pillow raises almost anything on damaged bytes
        return False


def _open(content: bytes) -> Image.Image:
    """Open an image; its pixels are not decoded yet.

    If Pillow refuses the image, try again as a large JPEG or as HEIC.
    """
    try:
        return Image.open(io.BytesIO(content))
    except Image.DecompressionBombError as too_large:
        try:
            image = JpegImageFile(io.BytesIO(content))
        except SyntaxError:  # another format, which cannot be decoded in part
            raise too_large from None
        image.draft(None, (LEAST_SIDE, LEAST_SIDE))
        # Pillow's own limit: twice MAX_IMAGE_PIXELS is an error
        if image.width * image.height > 2 * (Image.MAX_IMAGE_PIXELS or 0):
            raise
        return image
    except UnidentifiedImageError as unknown:
        if not _is_heic(content):
            raise
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            raise unknown from None
        register_heif_opener()
        return Image.open(io.BytesIO(content))


def _is_heic(content: bytes) -> bool:
    """True if a file begins like HEIC and related formats.

    Pillow reads one of these, AVIF, itself.
    """
    return content[4:8] == b"ftyp"


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image as 8-bit RGB (see read_image).

    Raises ValueError where the value range is unknown.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    # In bands of rows, because the conversion takes several times the memory of its input.
    result = Image.new("RGB", image.size)
    rows = max(1, BAND // max(1, image.width))
    tops = range(0, image.height, rows)
    if image.mode in WIDE_MODES:
        wide = np.asarray(image)
        highest = _highest(wide, image.mode)
        for top in tops:
            band = _to_8_bit(wide[top : top + rows], image.mode, highest)
            result.paste(Image.fromarray(band).convert("RGB"), (0, top))
        return result
    if image.has_transparency_data:
        for top in tops:
            band_of_image = image.crop((0, top, image.width, min(top + rows, image.height)))
            white = Image.new("RGBA", band_of_image.size, "white")
            above_white = Image.alpha_composite(white, band_of_image.convert("RGBA"))
            result.paste(above_white.convert("RGB"), (0, top))
        return result
    return image.convert("RGB")


def _highest(pixels: NDArray[np.generic], mode: str) -> float:
    """The pixel value that becomes 255: the highest of the format, not of this image.

    pixels: (H, W) integers or floats. ValueError if the range of the format is unknown.
    """
    low, high = float(pixels.min()), float(pixels.max())
    if mode == "F":
        if not (low >= 0 and high <= 255):  # also refuses NaN
            raise ValueError(f"float pixels from {low:g} to {high:g}: expected 0..1 or 0..255")
        if high <= 1:
            return 1
        return 255
    if low < 0 or high > 65535:  # mode "I" is how Pillow shows some 16-bit files
        raise ValueError(
            f"integer pixels from {int(low)} to {int(high)}: expected 16 bits (0..65535)"
        )
    return 65535


def _to_8_bit(pixels: NDArray[np.generic], mode: str, highest: float) -> NDArray[np.uint8]:
    """Scale (H, W) integers or floats to (H, W) uint8. highest: from `_highest`."""
    if mode == "F":
        factor = 255 if highest == 1 else 1
        return np.rint(pixels.astype(np.float64) * factor).astype(np.uint8)
    # 16 bits to 8, rounded, in integers
    scaled: NDArray[np.uint8] = ((pixels.astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8)
    return scaled
