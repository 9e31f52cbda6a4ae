"""Read images: each file becomes an upright 8-bit RGB picture, or one clear error."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ..errors import UserError, one_line
from .decoding import WIDE_MODES, decode, is_heic

JPEG_END = b"\xff\xd9"
WORKED_ON = 64  # pixels per side that near twins are looked for at (`twins`)
TAIL = 64  # bytes that must contain JPEG_END: cameras and programs append some bytes


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
        return decode(content, as_stored, least)
    except Exception as error:  # Pillow's decoders raise almost anything on damaged bytes
        raise unreadable(path, error, content) from None


def unreadable(
    path: str | PathLike[str], error: Exception, content: bytes | None
) -> UnreadableImage:
    """The error of a user for what happened at reading or decoding a file. content: its bytes."""
    reason = one_line(error)
    if isinstance(error, FileNotFoundError):
        reason = "the link points nowhere" if Path(path).is_symlink() else "no such file"
    elif isinstance(error, UnidentifiedImageError):
        reason = "not an image, or a format that Pillow does not know"
        if content and is_heic(content):
            reason = (
                "HEIC, which needs the package pillow-heif (the extra 'heic': pip install "
                "pillow-heif)"
            )
    return UnreadableImage(path, reason)


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
