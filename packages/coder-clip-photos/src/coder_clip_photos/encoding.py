"""Encode photos and texts: one encoder, loaded only for what is new, and a store."""

from __future__ import annotations

import ctypes
import hashlib
import io
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from threading import Condition, Lock
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from coder_clip.datasets.decoding import to_rgb
from coder_clip.datasets.images import UnreadableImage, read_image
from coder_clip.encoders.device import pick_device
from coder_clip.encoders.spec import EncoderSpec, Precision
from coder_clip.encoders.store import FeatureStore, features_key
from coder_clip.errors import UserError, one_line
from coder_clip.foundation.caches import feature_store
from coder_clip.foundation.progress import progress as progress_bar
from coder_clip.foundation.reproducible import stored

from .index import PIECE, Index, stamp

if TYPE_CHECKING:
    from coder_clip.encoders.encoder import Encoder
    from coder_clip.encoders.preprocessing import Preprocess

# one image; bytes and open files hold the content of a file; an array is (H, W, 3), or grey (H, W)
Picture = str | Path | bytes | IO[bytes] | Image.Image | NDArray[np.uint8]
NO_FEATURES = "the encoder gives it no features"
BATCH = 32  # photos in one forward pass
LOOKED_UP = 1024  # photos whose features are looked up at a time
READERS = 4  # threads that decode: Pillow lets others run meanwhile
# pixels that are decoded at once, of four bytes each; a larger photo is decoded alone
IN_FLIGHT = 36_000_000
LARGE = 4_000_000  # pixels of a photo whose memory is given back at once
# bytes of a file that is read once; a larger one is read to hash it and again to decode it
SMALL = 1 << 20


@dataclass(frozen=True)
class Features:
    """Features of photos.

    features: (N, d) float32, raw. kept: paths of the N photos that have features. skipped: (path,
    reason) of the others.
    """

    features: Tensor
    kept: list[str]
    skipped: list[tuple[str, str]]


@dataclass(frozen=True)
class PhotoRows:
    """Photos with the rows of their features in the index.

    kept: paths of the N photos that have features. skipped: (path, reason) of the others. rows:
    (N,), −1 for photos whose features are in ``fresh``, by position.
    """

    kept: list[str]
    skipped: list[tuple[str, str]]
    rows: NDArray[np.int64]
    fresh: dict[int, Tensor]
    index: Index

    def pieces(self) -> Iterator[Tensor]:
        """The features (N, d) float32, raw, in pieces of some rows."""
        for start in range(0, len(self.rows), PIECE):
            yield self.features(np.arange(start, min(start + PIECE, len(self.rows))))

    def features(self, photos: NDArray[np.int64]) -> Tensor:
        """The features of some of the photos, by position: (n, d) float32, raw."""
        rows = self.rows[photos]
        old = rows >= 0
        if old.all():
            return torch.from_numpy(self.index.read(rows))
        found = torch.empty(len(rows), self.index.size)
        found[torch.from_numpy(old)] = torch.from_numpy(self.index.read(rows[old]))
        for i in (~old).nonzero()[0].tolist():
            found[i] = self.fresh[int(photos[i])]
        return found


class PhotoEncoder:
    """An encoder with a store of the features that it made."""

    def __init__(self, spec: EncoderSpec, cache: bool = True) -> None:
        """Take the description of an encoder, and load nothing yet.

        cache: keep features in the user's cache folder.
        """
        self.spec, self.cache = spec, cache
        folder = feature_store() if cache else None
        self.store = FeatureStore(folder)
        self._keys: dict[str, str] = {}  # by kind
        self._loading = Lock()
        self._in_flight = InFlight(IN_FLIGHT)
        self._folder = folder

    def __getstate__(self) -> dict[str, Any]:
        """Pickle only what another process needs.

        The process opens the cache and loads the encoder itself.
        """
        return {k: v for k, v in vars(self).items() if k in ("spec", "cache", "metadata")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        PhotoEncoder.__init__(self, state.pop("spec"), state.pop("cache"))
        vars(self).update(state)

    @cached_property
    def encoder(self) -> Encoder:
        """The loaded encoder.

        UserError as in ``load_encoder``, and if its files are not those of ``metadata``.
        """
        from coder_clip.encoders.encoder import (
            load_encoder,  # seconds, also of the family's library
        )

        encoder = load_encoder(self.spec)
        if vars(self).get("metadata", encoder.metadata()) != encoder.metadata():
            raise UserError(
                f"the files of {self.spec.model} have changed since texts were encoded: start again"
            )
        self.store.remember(self.spec, encoder.towers.files, encoder.metadata())
        return encoder

    @cached_property
    def metadata(self) -> dict[str, str]:
        """``Encoder.metadata``.

        Loads the encoder only if its files have changed since an earlier call.
        """
        return self.store.metadata(self.spec) or self.encoder.metadata()

    def key(self, kind: str) -> str:
        """The key of this encoder's features of a kind, image or text, in the store."""
        if kind not in self._keys:
            self._keys[kind] = features_key(self.metadata, pick_device(self.spec.device))
        return self._keys[kind]

    @cached_property
    def dim(self) -> int:
        """d, the size of features."""
        return int(self.metadata["dim"])

    def texts(self, sentences: Sequence[str]) -> Tensor:
        """Encode M sentences -> (M, d) float32 unit rows in the order given."""
        known = self.store.get(self.key("text"), "text", list(dict.fromkeys(sentences)), self.dim)
        new = [s for s in dict.fromkeys(sentences) if s not in known]
        if new:
            made = dict(zip(new, self.encoder.encode_texts(new), strict=True))
            self.store.put(self.key("text"), "text", made.items())
            self.store.flush()
            known |= made
        return torch.stack([known[s] for s in sentences])

    @cached_property
    def index(self) -> Index:
        """The kept index of this encoder's photos."""
        return Index(self._folder, self.key("image"), self.dim)

    def photos(self, paths: Sequence[str | Path], progress: bool = False) -> Features:
        """Encode photo files; those that cannot be read are left out and listed.

        progress: a bar with photos per second on standard error.
        """
        found = self.look_at(paths, progress)
        pieces = list(found.pieces())
        features = torch.cat(pieces) if pieces else torch.zeros(0, self.dim)
        return Features(features, found.kept, found.skipped)

    def look_at(self, paths: Sequence[str | Path], progress: bool = False) -> PhotoRows:
        """As `photos`, with features that stay on the disk until they are asked for."""
        index, names = self.index, [str(path) for path in paths]
        rows = index.rows(names)
        new = [i for i, row in enumerate(rows.tolist()) if row < 0]
        fresh: dict[int, Tensor] = {}
        failed: dict[int, str] = {}
        with (
            progress_bar(len(paths), "img", "photos", progress) as bar,
            ThreadPoolExecutor(READERS) as pool,
        ):
            bar.update(len(paths) - len(new))
            for start in range(0, len(new), LOOKED_UP):
                some = new[start : start + LOOKED_UP]
                before = [stamp(names[i]) for i in some]
                results = self._read_all([paths[i] for i in some], pool, bar.update)
                made = []
                for i, at, result in zip(some, before, results, strict=True):
                    if isinstance(result, Tensor):
                        fresh[i] = result
                        made.append((names[i], at, result.numpy()))
                    else:
                        failed[i] = str(result)
                # after each part, so that a call that is stopped has kept what it read
                index.add(made)
        self.store.flush()
        kept = [i for i in range(len(names)) if i not in failed]
        return PhotoRows(
            [names[i] for i in kept],
            [(names[i], reason) for i, reason in failed.items()],
            rows[kept],
            {at: fresh[i] for at, i in enumerate(kept) if i in fresh},
            index,
        )

    def _read_all(
        self, paths: Sequence[str | Path], pool: Executor, done: Callable[[int], Any]
    ) -> list[Tensor | UserError]:
        """The feature of each photo, or why it has none.

        done: called with the number of photos that are ready.
        """
        results: list[Tensor | UserError] = []
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            results += self._read_and_encode(batch, pool)
            done(len(batch))
        return results

    def _read_and_encode(
        self, paths: Sequence[str | Path], pool: Executor
    ) -> list[Tensor | UserError]:
        """The feature of each photo, or why it has none.

        Files are told apart by their content, so copies of a photo are encoded once.
        """
        read = list(pool.map(_read, paths))
        files = {f.sha256: f for f in read if isinstance(f, _File)}
        known = self._stored(list(files))
        new = {sha256: file for sha256, file in files.items() if sha256 not in known}
        results = {**known, **self._encode(new, pool)}
        return [results[f.sha256] if isinstance(f, _File) else f for f in read]

    def _stored(self, keys: Sequence[str]) -> dict[str, Tensor]:
        """Usable features of the store, by the sha256 of the content."""
        rows = self.store.get(self.key("image"), "image", keys, self.dim)
        if not rows:
            return {}
        good = usable(torch.stack([*rows.values()])).tolist()
        return {sha256: row for (sha256, row), fine in zip(rows.items(), good, strict=True) if fine}

    def _encode(self, files: dict[str, _File], pool: Executor) -> dict[str, Tensor | UserError]:
        """sha256 -> feature of each new photo, or why it has none. Features are stored.

        files: sha256 -> file.
        """
        if not files:
            return {}
        decode = partial(_pixels, self._preprocess, self._in_flight)
        decoded = dict(zip(files, pool.map(decode, files.values()), strict=True))
        failed = {sha256: p for sha256, p in decoded.items() if isinstance(p, UserError)}
        pixels = {sha256: p for sha256, p in decoded.items() if isinstance(p, Tensor)}
        if not pixels:
            return {**failed}
        rows = dict(zip(pixels, self.pixels(torch.stack([*pixels.values()])), strict=True))
        for sha256 in [sha256 for sha256, row in rows.items() if not usable(row)]:
            del rows[sha256]
            failed[sha256] = UserError(NO_FEATURES)
        self.store.put(self.key("image"), "image", rows.items())
        return {**rows, **failed}

    def _preprocess(self) -> Preprocess:
        """The encoder's preprocessing, for several threads.

        The encoder is loaded once, and not at all if no new photo can be read.
        """
        with self._loading:
            return self.encoder.preprocess

    def images(self, images: Iterable[Picture | Tensor]) -> Tensor:
        """Encode images of any kind -> (N, d) float32, raw.

        ``images(["a.jpg", Image.open("b.jpg")])``.

        A tensor is (3, H, W), from ``encoder.preprocess`` or its ``pixels``, or a feature (d,).
        UserError with the path or number of an image that cannot be read or gets no features.
        """
        # Files are encoded with the cache, pixels together by type and shape, and features are
        # taken as they are. All three are kept by the number of the image.
        rows: dict[int, Tensor] = {}
        files: dict[int, str | Path] = {}
        groups = defaultdict[Any, dict[int, Tensor]](dict)
        for i, image in enumerate(images):
            if isinstance(image, str | Path):
                files[i] = image
                continue
            tensor = self._tensor(image, i)
            if tensor.ndim == 1:
                rows[i] = tensor.float()
            else:
                groups[tensor.dtype, tensor.shape][i] = tensor
        if files:
            found = self.photos([*files.values()])
            for path, reason in found.skipped:
                raise UserError(f"image cannot be used: {path}: {reason}")
            rows |= zip(files, found.features, strict=True)
        for group in groups.values():
            rows |= zip(group, self.pixels(torch.stack([*group.values()])), strict=True)
        in_order = [rows[i] for i in range(len(rows))]
        return with_features(torch.stack(in_order) if rows else torch.zeros(0, self.dim))

    def _tensor(self, image: Any, i: int) -> Tensor:
        """An image in memory as the encoder's pixels (3, H, W), or its feature (d,)."""
        if hasattr(image, "read"):
            image = image.read()
        if isinstance(image, bytes | bytearray | memoryview):
            try:
                image = read_image(f"image {i}", content=bytes(image))
            except UnreadableImage as error:
                raise UserError(f"image {i}: {error.reason}") from None
        if isinstance(image, Tensor) and (image.ndim == 3 or image.shape == (self.dim,)):
            return image
        is_array = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size > 0
        # grey (H, W) or (H, W, 3)
        if is_array and image.ndim in (2, 3) and image.shape[2:] in ((), (3,)):
            image = Image.fromarray(image)
        if isinstance(image, Image.Image):
            preprocess = self.encoder.preprocess
            try:  # as read_image does
                return preprocess.pixels(to_rgb(ImageOps.exif_transpose(image)))
            except Exception as error:  # Pillow's decoders raise almost anything on damaged bytes
                raise UserError(f"image {i}: {one_line(error)}") from None
        what = type(image).__name__
        if isinstance(image, np.ndarray | Tensor):
            what += f" of shape {tuple(image.shape)} and type {image.dtype}"
        raise UserError(
            f"image {i}: {what}, where a path, bytes or a file opened as 'rb', a Pillow image, an "
            "array (H, W, 3) or (H, W) of uint8, pixels (3, H, W) from the encoder's preprocess or "
            f"a feature ({self.dim},) is needed"
        )

    def pixels(self, pixels: Tensor) -> Tensor:
        """Encode (N, 3, H, W) -> (N, d), raw.

        float32 from ``encoder.preprocess`` or uint8 from its ``pixels``.
        """
        height, width = self.encoder.preprocess.size
        fits = pixels.shape[1:] == (3, height, width)
        if not fits or not (pixels.dtype == torch.uint8 or pixels.is_floating_point()):
            raise UserError(
                f"pixels of shape {tuple(pixels.shape)} and type {pixels.dtype}, where (N, 3, "
                f"{height}, {width}) from the encoder's preprocess is needed"
            )
        batches = torch.split(pixels, BATCH)  # type: ignore[no-untyped-call]
        return torch.cat([stored(self.encoder.encode_images(batch)) for batch in batches])


def encoder_spec(
    model: str, pretrained: str | None = None, precision: Precision = "tf32"
) -> EncoderSpec:
    """Read the name of a model as in a configuration, or a folder.

    pretrained: the tag of a plain name's weights, by default "openai", or a checkpoint file.
    UserError for a folder that is not there.
    """
    folder = Path(model.removeprefix("local-dir:")).expanduser()
    if model.startswith(("local-dir:", "/", "./", "../", "~")) or folder.is_dir():
        model = f"local-dir:{folder}"
        if not folder.is_dir():
            raise UserError(f"no model folder {folder}")
    elif ":" not in model:
        pretrained = pretrained or "openai"
    return at(EncoderSpec(model, pretrained, precision), Path())


def at(spec: EncoderSpec, root: Path) -> EncoderSpec:
    """The same encoder with absolute paths; relative ones start at ``root``."""
    model, pretrained = spec.model, spec.pretrained
    if model.startswith("local-dir:"):
        model = f"local-dir:{(root / model.removeprefix('local-dir:')).resolve()}"
    if pretrained is not None and (root / pretrained).is_file():
        pretrained = str((root / pretrained).resolve())
    return replace(spec, model=model, pretrained=pretrained)


def on(spec: EncoderSpec, device: str | torch.device | None) -> EncoderSpec:
    """The encoder on another device; None: on its own device.

    UserError for a device that is not there.
    """
    if device is None:
        return spec
    pick_device(str(device))
    return replace(spec, device=str(device))


def usable(features: Tensor) -> Tensor:
    """True for each feature (…, d) that is finite and not all zeros.

    Zeros are equally near to all classes, and the first class would win.
    """
    return features.isfinite().all(dim=-1) & features.any(dim=-1)


def with_features(features: Tensor) -> Tensor:
    """The features (N, d) as they are. UserError if the feature of an image is not usable."""
    bad = (~usable(features)).nonzero()
    if len(bad):
        raise UserError(f"image {int(bad[0])}: {NO_FEATURES}")
    return features


class InFlight:
    """Limit the pixels that several threads decode at once."""

    def __init__(self, most: int) -> None:
        self._most, self._now, self._changed = most, 0, Condition()

    @contextmanager
    def __call__(self, pixels: int) -> Iterator[None]:
        """Wait until so many pixels fit beside those in flight.

        If they are more than the limit, wait until no others are in flight.
        """
        pixels = min(pixels, self._most)
        with self._changed:
            self._changed.wait_for(lambda: self._now + pixels <= self._most)
            self._now += pixels
        try:
            yield
        finally:
            with self._changed:
                self._now -= pixels
                self._changed.notify_all()


class _File(NamedTuple):
    """A file that was hashed. content: None if the file is large."""

    path: str | Path
    content: bytes | None
    sha256: str


def _read(path: str | Path) -> _File | UserError:
    """Hash a file; or return the error if it cannot be read.

    A pipe is refused, because reading it would wait forever.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return UserError("a folder, pipe, socket or device, not a file")
        with open(path, "rb") as stream:
            content = stream.read(SMALL + 1)
            if len(content) <= SMALL:
                return _File(path, content, hashlib.sha256(content).hexdigest())
            stream.seek(0)
            return _File(path, None, hashlib.file_digest(stream, "sha256").hexdigest())
    except FileNotFoundError:
        return UserError("the link points nowhere" if os.path.islink(path) else "no such file")
    except (OSError, ValueError) as error:
        return UserError(getattr(error, "strerror", None) or str(error))


def _n_pixels(file: _File) -> int:
    """The number of pixels by the header of a file.

    If Pillow refuses the header: IN_FLIGHT, so that the file is decoded alone.
    """
    try:
        with Image.open(file.path if file.content is None else io.BytesIO(file.content)) as image:
            return image.width * image.height
    # Pillow raises almost anything on damaged bytes, and for a photo that is too large
    except Exception:
        return IN_FLIGHT


def pixels_to_decode(path: str | Path, least: int) -> int:
    """The pixels that are in memory while a photo is decoded with at least so many per side."""
    try:
        with Image.open(path) as image:
            if image.format == "JPEG":
                image.draft(None, (least, least))
            return image.width * image.height
    except Exception:  # as in _n_pixels
        return IN_FLIGHT


def _pixels(
    preprocess: Callable[[], Preprocess], in_flight: InFlight, file: _File
) -> Tensor | UserError:
    """Decode a photo for the encoder, (3, H, W), when the limit of ``in_flight`` allows it.

    Or return the error.
    """
    # Content and decoded photo are in memory only in here, so that the limit holds for both.
    n_pixels = _n_pixels(file)
    with in_flight(n_pixels):
        result = _decoded(preprocess, file)
        if n_pixels > LARGE:
            _give_back_memory()
        return result


def _decoded(preprocess: Callable[[], Preprocess], file: _File) -> Tensor | UserError:
    """A photo for the encoder, (3, H, W), or the error. A large file is read again."""
    content = file.content
    if content is None:
        try:
            content = Path(file.path).read_bytes()
        except OSError as error:
            return UserError(error.strerror or str(error))
        if hashlib.sha256(content).hexdigest() != file.sha256:
            return UserError("it changed while it was read")
    try:
        image = read_image(file.path, content=content)
    except UnreadableImage as error:
        return UserError(error.reason)
    return preprocess().pixels(image)


def _give_back_memory() -> None:
    """Give freed memory back to the system.

    glibc keeps it for the thread that freed it, so four threads would hold four large photos that
    are gone.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
