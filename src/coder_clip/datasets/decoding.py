"""Decode images: the bytes of a file become an upright 8-bit RGB picture.

Between a photo and its feature: this module imports nothing of the program, and the store of
features names its code (`encoders.store`).
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # more than 8 bits a pixel
BAND = 1 << 20  # pixels that are converted at a time
# pixels that a side of a photo keeps at least, if the photo is decoded at a fraction of its size
LEAST_SIDE = 512


def decode(content: bytes, as_stored: bool = False, least: int | None = None) -> Image.Image:
    """The image in the bytes of a file; see `images.read_image`. Raises what Pillow raises."""
    with _open(content) as image:
        if least is not None:
            image.draft(None, (least, least))
        image.load()
        if as_stored and image.mode not in WIDE_MODES:
            return image.convert("RGB")
        # in place, because otherwise a photo without the tag is copied, too
        ImageOps.exif_transpose(image, in_place=True)
        return to_rgb(image)


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
        if not is_heic(content):
            raise
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            raise unknown from None
        register_heif_opener()
        return Image.open(io.BytesIO(content))


def is_heic(content: bytes) -> bool:
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
