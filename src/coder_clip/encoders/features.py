"""Image features: every image of a split through the encoder, in shards that can run anywhere.

Pure: nothing is read or written but the images. A shard is a run of whole batches of the unsharded
pass, so merged shards hold the same bytes as one pass on the same kind of machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..datasets.base import Dataset
from ..datasets.decoding import decode
from ..datasets.images import unreadable
from ..errors import UserError, one_line
from ..foundation.progress import progress as progress_bar
from .passes import image_features, pixels_of
from .store import FeatureStore, features_key

if TYPE_CHECKING:
    from .encoder import Encoder
    from .preprocessing import Preprocess

log = logging.getLogger(__name__)

# how published data sets are read (read_image); a user's own photos are turned upright
AS_STORED = "image as stored"


@dataclass(frozen=True)
class ImageFeatures:
    """Features of a split, or of one shard of it.

    features: (N, d) float32, raw (not unit). labels: (N,) int64. ids: N image ids, in the given
    order. skipped: (image id, reason) of unreadable images, which have no row. metadata: metadata
    of the encoder, and "views", "batch_size", "shard" ("0/1" is the whole split) and "run" (a hash
    of all ids and labels of the whole split). kept_views: (N, E, d) float16, unit, the first E
    augmented views one by one; None unless asked for."""

    features: Tensor
    labels: Tensor
    ids: list[str]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    kept_views: Tensor | None = None


def extract(
    dataset: Dataset,
    split_ids: Sequence[str],
    labels: Sequence[int] | np.ndarray[Any, Any] | Tensor,
    encoder: Encoder,
    *,
    batch_size: int = 64,
    workers: int = 0,
    views: int = 0,
    keep_views: int = 0,
    shard: tuple[int, int] = (0, 1),
    on_error: Literal["fail", "skip"] = "fail",
    progress: bool = True,
    store: FeatureStore | None = None,
) -> ImageFeatures:
    """Raw image features of `split_ids` (N ids), or of one of n shards, `shard=(i, n)`.

    labels: N. views = 0: one evaluation view. views = E > 0: the mean of the raw features of E
    augmented views (the keys of the few-shot cache). keep_views: number of these views whose
    features are also returned one by one.
    batch_size: images in one forward pass (with views, batch_size // E images, at least one).
    workers: threads that read, decode and resize ahead of the encoder; 0: none. With them, one more
    thread puts batches together. Their number changes no byte. on_error "skip": unreadable images
    are skipped and listed; the batches of the other images stay the same.
    store: the feature store, keyed by image content; stored images are not encoded again. Then
    batches have other images: float64 features stay the same bytes, but the last bits of float32
    features may change, as with another batch size.

    Raises UserError: an unreadable image ("fail"), a feature that is not finite (with the image
    id), no image left. Features that were encoded before the error are in the store.
    """
    # threads do all but copying batches to the device and calling the encoder
    label_list = [int(v) for v in labels]
    chosen = positions(len(split_ids), batch_size, views, shard)
    known = _Known(encoder, dataset, views, keep_views, store)
    made = _Made(encoder, split_ids, known, batch_size, views, keep_views, on_error)

    def load(position: int) -> _Image:
        """Read the image at a position of `split_ids`."""
        return _load(dataset, split_ids[position], position, encoder.preprocess, views, known)

    size = _images_per_batch(batch_size, views)
    stack = partial(_stack, encoder=encoder, views=views)
    try:
        with (
            progress_bar(len(chosen), "img", "encoding images", progress and bool(chosen)) as bar,
            _ahead(load, chosen, workers, size) as images,
            _one_ahead(_batches(images, size, stack), workers) as batches,
        ):
            made.add(batches, bar)
    finally:
        # also after an error: features that were encoded by then are kept
        if store is not None:
            store.flush()
    kept = [i for i in chosen if i in made.rows]
    if made.skipped:
        n = len(made.skipped)
        log.warning("%d of %d images could not be read and are left out", n, n + len(kept))
    # a shard may have no readable image; `merge` looks at all shards
    if not kept and shard[1] == 1:
        _refuse_none(made.skipped)
    features = torch.zeros(0, 1 + keep_views, encoder.dim)
    if kept:
        features = torch.stack([made.rows[i] for i in kept])
    return ImageFeatures(
        features=features[:, 0].contiguous(),
        labels=torch.tensor([label_list[i] for i in kept], dtype=torch.int64),
        ids=[split_ids[i] for i in kept],
        skipped=made.skipped,
        metadata={
            **encoder.metadata(),
            "views": str(views),
            "batch_size": str(batch_size),
            "shard": f"{shard[0]}/{shard[1]}",
            "run": _run_hash(split_ids, label_list),
        },
        kept_views=features[:, 1:].half() if keep_views else None,
    )


class _Made:
    """The features of a pass over images.

    rows: position -> (1 + keep_views, d) float32, the feature and the kept views; keyed by
    position, so that stored and new features come out in the order of the ids. skipped: (image id,
    reason) of unreadable images.
    """

    def __init__(
        self,
        encoder: Encoder,
        ids: Sequence[str],
        known: _Known,
        batch_size: int,
        views: int,
        keep_views: int,
        on_error: Literal["fail", "skip"],
    ) -> None:
        self.rows: dict[int, Tensor] = {}
        self.skipped: list[tuple[str, str]] = []
        self._encoder, self._ids, self._known = encoder, ids, known
        self._batch_size, self._views, self._keep_views = batch_size, views, keep_views
        self._on_error = on_error
        # Batches whose features (B, 1 + keep_views, d) are still on the device, because a GPU would
        # otherwise wait for each copy.
        self._waiting: list[tuple[list[_Image], Tensor]] = []

    def add(self, batches: Iterable[_Batch], bar: Any) -> None:
        """Take stored features, and encode the other images."""
        for batch in batches:
            self.rows.update(batch.stored)
            bar.total -= len(batch.stored)  # images that go through the encoder, as far as known
            if batch.pixels is not None:
                self._encode(batch)
                bar.update(len(batch.images))
        self._collect()

    def _encode(self, batch: _Batch) -> None:
        """Encode a batch; its features wait on the device."""
        failed = [image for image in batch.images if image.error]
        if failed and self._on_error == "fail":
            raise UserError(failed[0].error)
        self.skipped += [(self._ids[image.position], image.reason) for image in failed]
        made = _encode(self._encoder, batch, self._batch_size, self._views, self._keep_views)
        self._waiting.append(made)
        if len(self._waiting) == _most_waiting(self._encoder.device):
            self._collect()

    def _collect(self) -> None:
        """Move waiting features to `rows` and to the store. UserError if one is not finite."""
        for kept, made in self._waiting:
            # column 0 is the feature, the others are single views
            bad = ~torch.isfinite(made[:, 0]).all(dim=1)
            if bad.any():
                self._refuse(kept[int(bad.nonzero()[0])])
            made = made.cpu()
            self.rows.update((image.position, row) for image, row in zip(kept, made, strict=True))
            self._known.add((image.key, row) for image, row in zip(kept, made, strict=True))
        self._waiting.clear()

    def _refuse(self, image: _Image) -> NoReturn:
        """UserError for an image whose feature is not finite."""
        precision, advice = self._encoder.precision, ""
        if precision in ("amp", "bf16", "fp16"):
            advice = f"; {precision} may be too narrow, try fp32"
        raise UserError(
            f"{self._encoder.info['model']}: the feature of image '{self._ids[image.position]}' is "
            f"not finite{advice}"
        )


class _Known:
    """Stored features by the content of image files: (1 + keep_views, d) float32.

    The key of a shot also has the image id, which decides the augmented views.
    """

    def __init__(
        self,
        encoder: Encoder,
        dataset: Dataset,
        views: int,
        keep_views: int,
        store: FeatureStore | None,
    ) -> None:
        self._store, self._views = store, f"{views} {keep_views}" if views else ""
        self._shape = (1 + keep_views, encoder.dim)
        self._encoder = features_key(encoder.metadata(), encoder.device) if store else ""
        self._kind = AS_STORED if dataset.as_stored else "image"

    def key(self, image_id: str, content: bytes) -> str:
        """The key of an image; "" without a store."""
        if self._store is None:
            return ""
        digest = hashlib.sha256(content).hexdigest()
        if self._views:
            return f"{digest} {image_id} {self._views}"
        return digest

    def get(self, key: str) -> Tensor | None:
        """The features with a key; None if the store does not have them."""
        if self._store is None or not key:
            return None
        row = self._store.get(self._encoder, self._kind, [key], math.prod(self._shape)).get(key)
        if row is None:
            return None
        return row.view(self._shape)

    def add(self, rows: Iterable[tuple[str, Tensor]]) -> None:
        """Store (key, features); an image without a key is not stored."""
        if self._store is not None:
            self._store.put(
                self._encoder, self._kind, [(key, row.flatten()) for key, row in rows if key]
            )


def merge(parts: Sequence[ImageFeatures]) -> ImageFeatures:
    """Merge all shards of one pass, in order: the same bytes as one pass without shards.

    Raises UserError: shards of different encoders, settings or image lists, no image left.
    """
    # the number of the shard is the only value that may differ
    expected = {**parts[0].metadata, "shard": "0/1"}
    for part in parts:
        for key, value in {**part.metadata, "shard": "0/1"}.items():
            if expected.get(key) != value:
                raise UserError(
                    f"feature shard {part.metadata['shard']} does not belong to the others: {key} "
                    f"is {value}, not {expected.get(key)}"
                )
    skipped = [s for p in parts for s in p.skipped]
    if not any(p.ids for p in parts):
        _refuse_none(skipped)
    views = [p.kept_views for p in parts if p.kept_views is not None]
    return ImageFeatures(
        features=torch.cat([p.features for p in parts]),
        labels=torch.cat([p.labels for p in parts]),
        ids=[i for p in parts for i in p.ids],
        skipped=skipped,
        metadata=expected,
        kept_views=torch.cat(views) if views else None,
    )


def _refuse_none(skipped: Sequence[tuple[str, str]]) -> None:
    """UserError, for a split without features, if images of the split were skipped."""
    if skipped:
        raise UserError(
            f"none of {len(skipped)} images could be read; the first: {skipped[0][0]}: "
            f"{skipped[0][1]}"
        )


def _most_waiting(device: torch.device) -> int:
    """Number of batches whose features stay on the device, so that a GPU does not wait for each
    copy.
    """
    if device.type == "cpu":
        return 1
    return 64


def _images_per_batch(batch_size: int, views: int) -> int:
    """Images in a batch; with views, all views of an image are in one batch."""
    if views:
        return max(1, batch_size // views)
    return batch_size


def positions(n_images: int, batch_size: int, views: int, shard: tuple[int, int]) -> list[int]:
    """Positions, among `n_images` images, of the images of shard (i, n): whole batches of the
    unsharded pass, nearly as many in each shard.
    """
    size = _images_per_batch(batch_size, views)
    index, n = shard
    # whole batches only: the last bits of a feature can depend on the batch it is in
    batches = math.ceil(n_images / size)
    start = batches * index // n * size
    end = batches * (index + 1) // n * size
    return list(range(start, min(end, n_images)))


def _run_hash(ids: Sequence[str], labels: list[int]) -> str:
    """sha256 over the ids and labels of all images of a pass."""
    lines = "".join(f"{label}\t{image_id}\n" for image_id, label in zip(ids, labels, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def _encode(
    encoder: Encoder, batch: _Batch, batch_size: int, views: int, keep_views: int
) -> tuple[list[_Image], Tensor]:
    """The images of a batch that could be read, and their features (B, 1 + keep_views, d)."""
    assert batch.pixels is not None
    forward = encoder.forward_images
    made = image_features(forward, batch.pixels, batch_size, views, keep_views)
    # unreadable images were encoded as zeros, so that the batches of others stay the same
    keep = [i for i, image in enumerate(batch.images) if not image.error]
    # a list as an index is copied to the device, which waits for the forward pass
    if len(keep) == len(batch.images):
        return batch.images, made
    return [batch.images[i] for i in keep], made[keep]


# --- loading ahead of the encoder
# ---------------------------------------------------------------------------


class _Image(NamedTuple):
    """An image that was read.

    key: in the store, "" without a key. row: its features, if the store has them.

    pixels: (3, H, W) uint8, or (E, 3, H, W) of its augmented views; None if the store has the
    features, or the image cannot be read. error, reason: why the image cannot be read, with and
    without the machine's path; else "".
    """

    position: int
    key: str = ""
    row: Tensor | None = None
    pixels: Tensor | None = None
    error: str = ""
    reason: str = ""


def _load(
    dataset: Dataset,
    image_id: str,
    position: int,
    preprocess: Preprocess,
    views: int,
    known: _Known,
) -> _Image:
    """Read an image once: hash its bytes and, unless the store has its features, decode and resize
    the same bytes.
    """
    key = ""
    try:
        path, content = dataset.path(image_id), None
        with contextlib.suppress(OSError):  # `image` says why it cannot be read
            content = path.read_bytes()
            # the hash is of the bytes that are decoded, also if the file changes meanwhile
            key = known.key(image_id, content)
        row = known.get(key)
        if row is not None:
            return _Image(position, key, row)
        if content is None:
            image = dataset.image(image_id)
        else:
            # no code of the data set lies between the bytes and what is stored for them
            image = _decoded(path, content, dataset.as_stored)
    except (UserError, OSError) as error:
        message = one_line(error, None)
        return _Image(position, error=message, reason=getattr(error, "reason", message))
    return _Image(position, key, None, pixels_of(image, preprocess, image_id, views))


def _decoded(path: Path, content: bytes, as_stored: bool) -> Image.Image:
    """The image in the bytes of a file. UserError if it cannot be decoded."""
    try:
        return decode(content, as_stored)
    except Exception as error:  # Pillow's decoders raise almost anything on damaged bytes
        raise unreadable(path, error, content) from None


class _Batch(NamedTuple):
    """Images for one forward pass, and what the store had of those between them.

    images: B in order, without their pixels. pixels: (B, 3, H, W) or (B, E, 3, H, W) uint8; None
    without images. stored: position -> (1 + keep_views, d) float32.
    """

    images: list[_Image]
    pixels: Tensor | None
    stored: dict[int, Tensor]


def _batches(
    images: Iterable[_Image], size: int, stack: Callable[[list[_Image]], Tensor]
) -> Iterator[_Batch]:
    """Batches of ``size`` images that the store does not have. stack: see `_stack`."""
    new: list[_Image] = []
    stored: dict[int, Tensor] = {}
    for image in images:
        if image.row is not None:
            stored[image.position] = image.row
            continue
        new.append(image)
        if len(new) == size:
            yield _batch(new, stored, stack)
    if new or stored:
        yield _batch(new, stored, stack)


def _batch(
    new: list[_Image], stored: dict[int, Tensor], stack: Callable[[list[_Image]], Tensor]
) -> _Batch:
    """A batch of what was collected; empties the lists, so that the pixels are in memory once."""
    pixels = stack(new) if new else None
    batch = _Batch([image._replace(pixels=None) for image in new], pixels, dict(stored))
    new.clear()
    stored.clear()
    return batch


def _stack(images: list[_Image], encoder: Encoder, views: int) -> Tensor:
    """The pixels of images in one tensor, (B, 3, H, W) or (B, E, 3, H, W) uint8; zeros for images
    that cannot be read.
    """
    shape: tuple[int, ...] = (3, *encoder.preprocess.size)
    if views:
        shape = (views, *shape)
    blank = torch.zeros(shape, dtype=torch.uint8)
    rows = [blank if image.pixels is None else image.pixels for image in images]
    # pinned memory can be copied while the GPU computes
    pinned = encoder.device.type == "cuda"
    pixels = torch.empty((len(rows), *shape), dtype=torch.uint8, pin_memory=pinned)
    return torch.stack(rows, out=pixels)


@contextlib.contextmanager
def _ahead(
    load: Callable[[int], _Image], chosen: Sequence[int], threads: int, most: int
) -> Iterator[Iterator[_Image]]:
    """Yield an iterator over the images in order, read by threads.

    Without threads, each image is read when it is asked for.

    At most `most` images, and one per thread, are read ahead of the image that is asked for. An
    exception in a thread is raised here. When the block ends, also by an exception or Ctrl-C, no
    further image is read.
    """
    if not threads:
        yield map(load, chosen)
        return

    def in_order() -> Iterator[_Image]:
        # a generator: an image is submitted only after another image was taken
        todo = (pool.submit(load, position) for position in chosen)
        pending = deque(islice(todo, most + threads))
        while pending:
            yield pending.popleft().result()
            pending.extend(islice(todo, 1))

    pool = ThreadPoolExecutor(threads, "images")
    try:
        yield in_order()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _one_ahead(batches: Iterator[_Batch], threads: int) -> Iterator[Iterator[_Batch]]:
    """Yield an iterator over batches, put together by a thread one ahead of the encoder.

    threads: 0: without a thread, each batch is put together when it is asked for.

    Beside the batch that is encoded, the images of at most two are in memory: one batch is ready,
    and `_ahead` reads the next. When the block ends, no further batch is put together.
    """
    if not threads:
        yield batches
        return

    def in_order() -> Iterator[_Batch]:
        batch = pool.submit(next, batches, None).result()
        while batch is not None:
            following = pool.submit(next, batches, None)
            yield batch
            batch = following.result()

    pool = ThreadPoolExecutor(1, "batches")
    try:
        yield in_order()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
