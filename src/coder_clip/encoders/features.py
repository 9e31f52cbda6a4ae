"""Image features: every image of a split through the encoder, in shards that can run anywhere.

Pure: nothing is read or written but the images. A shard is a run of whole batches of the unsharded pass, so
merged shards hold the same bytes as one pass on the same kind of machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data._utils import signal_handling

from coder_clip.datasets.base import Dataset
from coder_clip.encoders.store import FeatureStore, features_key
from coder_clip.errors import UserError, one_line
from coder_clip.foundation.progress import progress as progress_bar
from coder_clip.foundation.reproducible import stored

if TYPE_CHECKING:
    from coder_clip.encoders.encoder import Encoder
    from coder_clip.encoders.preprocessing import Preprocess

log = logging.getLogger(__name__)

READERS = 8  # threads that read files for their sha256
AS_STORED = (
    "image as stored"  # how published data sets are read (read_image); else upright, for your own photos
)


@dataclass(frozen=True)
class ImageFeatures:
    """Features of a split, or of one shard of it.

    features: (N, d) float32, raw (not unit). labels: (N,) int64. ids: N image ids, in the order asked for.
    skipped: (image id, reason) of unreadable images, which have no row. metadata: the encoder's, and "views",
    "batch_size", "shard" ("0/1" is everything) and "run" (a hash of all ids and labels of the whole pass).
    kept_views: (N, E, d) float16, unit, the first augmented views one by one; None unless asked for.
    """

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
    """Raw image features of ``split_ids`` (N ids; labels: N), or of shard i < n of n: ``shard=(i, n)``.

    views = 0: one evaluation view. views = E > 0: the mean of the raw features of E augmented views (the keys
    of the few-shot cache). keep_views: how many of these are also kept one by one.
    batch_size: images in one forward pass (with views, batch_size // E images, at least one).
    workers: processes that decode and resize ahead of the encoder; they change no byte.
    on_error "skip": unreadable images are left out and listed; the batches of the others stay as they were.
    store: where features are kept by the content of the images; what is there is not encoded again. Features in
    float64 are then the same bytes; in float32 the last bits depend on the batch, as between batch sizes.

    Raises UserError: an unreadable image ("fail"), a feature that is not finite (with the image id), no image
    left, a loader process that died.
    """
    label_list = [int(v) for v in labels]
    size = _images_per_batch(batch_size, views)
    chosen = positions(len(split_ids), batch_size, views, shard)
    found = _Rows(encoder, dataset, {i: split_ids[i] for i in chosen}, views, keep_views, store)
    new = [i for i in chosen if i not in found.rows]
    batches = [new[i : i + size] for i in range(0, len(new), size)]
    source = _Images(dataset, list(split_ids), encoder.preprocess, views)
    skipped: list[tuple[str, str]] = []
    waiting: list[tuple[list[int], Tensor]] = []  # on the device, until a part is full

    def collect() -> None:
        for kept, rows in waiting:
            bad = ~torch.isfinite(rows[:, 0]).all(dim=1)
            if bad.any():
                image_id, narrow = split_ids[kept[int(bad.nonzero()[0])]], encoder.precision
                raise UserError(
                    f"{encoder.info['model']}: the feature of image '{image_id}' is not finite"
                    + (f"; {narrow} may be too narrow, try fp32" if narrow != "fp32" else "")
                )
            found.add(kept, rows.cpu())
        waiting.clear()

    with (
        progress_bar(len(new), "img", "encoding images", progress and bool(new)) as bar,
        _load(source, batches, workers, encoder) as loaded,
    ):
        for batch, (pixels, reasons) in zip(batches, loaded, strict=True):
            if reasons and on_error == "fail":
                raise UserError(next(iter(reasons.values()))[0])
            skipped += [(split_ids[batch[i]], reason) for i, (_, reason) in sorted(reasons.items())]
            features, each = _encode(encoder, pixels, batch_size, views)
            keep = [i for i in range(len(batch)) if i not in reasons]
            kept_views = normalize(each[keep, :keep_views], dim=-1).half()
            rows = torch.cat([features[keep][:, None], kept_views.float()], dim=1)
            waiting.append(([batch[i] for i in keep], rows))
            if len(waiting) == _part(encoder.device):
                collect()
            bar.update(len(batch))
        collect()
    kept = [i for i in chosen if i in found.rows]
    if skipped:
        log.warning(
            "%d of %d images could not be read and are left out", len(skipped), len(skipped) + len(kept)
        )
    if skipped and not kept and shard[1] == 1:
        raise UserError(
            f"none of {len(skipped)} images could be read; the first: {skipped[0][0]}: {skipped[0][1]}"
        )
    made = torch.stack([found.rows[i] for i in kept]) if kept else torch.zeros(0, 1 + keep_views, encoder.dim)
    return ImageFeatures(
        features=made[:, 0].contiguous(),
        labels=torch.tensor([label_list[i] for i in kept], dtype=torch.int64),
        ids=[split_ids[i] for i in kept],
        skipped=skipped,
        metadata={
            **encoder.metadata(),
            "views": str(views),
            "batch_size": str(batch_size),
            "shard": f"{shard[0]}/{shard[1]}",
            "run": _run_hash(split_ids, label_list),
        },
        kept_views=made[:, 1:].half() if keep_views else None,
    )


class _Rows:
    """A row (1 + keep_views, d) float32 per position, the feature and the kept views: from the store, or added here
    and then kept in the store.

    Only files have a content by which they are known: of drawn images nothing is kept. A shot is known by its id, too,
    which decides its augmented views.
    """

    def __init__(
        self,
        encoder: Encoder,
        dataset: Dataset,
        ids: dict[int, str],
        views: int,
        keep_views: int,
        store: FeatureStore | None,
    ) -> None:
        self.rows: dict[int, Tensor] = {}
        self._keys: dict[int, str] = {}  # of files that can be read
        path = getattr(dataset, "path", None)
        if store is None or path is None or not ids or not path(next(iter(ids.values()))).is_file():
            return
        self._store, self._encoder = store, features_key(encoder.metadata())
        self._kind = AS_STORED if getattr(dataset, "as_stored", False) else "image"
        with ThreadPoolExecutor(READERS) as pool:
            digests = pool.map(lambda i: _digest(path(i)), ids.values())
        for (position, image_id), digest in zip(ids.items(), digests, strict=True):
            if digest:
                self._keys[position] = f"{digest} {image_id} {views} {keep_views}" if views else digest
        known = store.get(self._encoder, self._kind, list(dict.fromkeys(self._keys.values())))
        for position, key in self._keys.items():
            if key in known:
                self.rows[position] = known[key].view(1 + keep_views, encoder.dim)

    def add(self, positions: list[int], rows: Tensor) -> None:
        self.rows.update(zip(positions, rows, strict=True))
        keys = [
            (self._keys[p], row.flatten()) for p, row in zip(positions, rows, strict=True) if p in self._keys
        ]
        if keys:
            self._store.put(self._encoder, self._kind, keys)


def _digest(path: Path) -> str:
    """sha256 of a file; "" if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def merge(parts: Sequence[ImageFeatures]) -> ImageFeatures:
    """Merge all shards of one pass, in order: the same bytes as one pass without shards.

    Raises UserError: shards of different encoders, settings or image lists.
    """
    expected = {**parts[0].metadata, "shard": "0/1"}
    for part in parts:
        for key, value in {**part.metadata, "shard": "0/1"}.items():
            if expected.get(key) != value:
                raise UserError(
                    f"feature shard {part.metadata['shard']} does not belong to the others: {key} is {value}, not "
                    f"{expected.get(key)}"
                )
    views = [p.kept_views for p in parts if p.kept_views is not None]
    return ImageFeatures(
        features=torch.cat([p.features for p in parts]),
        labels=torch.cat([p.labels for p in parts]),
        ids=[i for p in parts for i in p.ids],
        skipped=[s for p in parts for s in p.skipped],
        metadata=expected,
        kept_views=torch.cat(views) if views else None,
    )


def _part(device: torch.device) -> int:
    """Number of batches whose features stay on the device, so that a GPU does not wait for each copy."""
    return 1 if device.type == "cpu" else 64


def _images_per_batch(batch_size: int, views: int) -> int:
    return max(1, batch_size // views) if views else batch_size


def positions(n_images: int, batch_size: int, views: int, shard: tuple[int, int]) -> list[int]:
    """Positions of the images that a shard encodes, of all that `extract` is given: whole batches of the unsharded
    pass, as even as they get."""
    size, (index, n) = _images_per_batch(batch_size, views), shard
    batches = math.ceil(n_images / size)
    return list(range(batches * index // n * size, min(batches * (index + 1) // n * size, n_images)))


def _run_hash(ids: Sequence[str], labels: list[int]) -> str:
    lines = "".join(f"{label}\t{image_id}\n" for image_id, label in zip(ids, labels, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def _encode(encoder: Encoder, pixels: Tensor, batch_size: int, views: int) -> tuple[Tensor, Tensor]:
    """Encode (B, 3, H, W) or (B, E, 3, H, W) uint8: means over views (B, d) float32, and single views (B, E, d).

    Means are taken in float64, and rounded once. Both results are on the encoder's device.
    """
    if not views:
        features = encoder.forward_images(pixels)
        return stored(features), features[:, None]
    chunks = torch.split(pixels.flatten(0, 1), batch_size)  # type: ignore[no-untyped-call]
    flat = torch.cat([encoder.forward_images(chunk) for chunk in chunks])
    each = flat.view(len(pixels), views, -1)
    mean = each.double().mean(dim=1)
    return stored(mean) if each.dtype == torch.float64 else mean.float(), each


# --- loading ahead of the encoder ---------------------------------------------------------------------------

Loaded = tuple[Tensor, dict[int, tuple[str, str]]]  # pixels; position in the batch -> (message, reason)


class _Images(TorchDataset[tuple[Tensor, tuple[str, str] | None]]):
    """Decoded, resized images by position. An unreadable one is zeros with its message and reason."""

    def __init__(self, dataset: Dataset, ids: list[str], preprocess: Preprocess, views: int) -> None:
        self.dataset, self.ids, self.preprocess, self.views = dataset, ids, preprocess, views

    def __getitem__(self, position: int) -> tuple[Tensor, tuple[str, str] | None]:
        image_id = self.ids[position]
        try:
            image = self.dataset.image(image_id)
        except (UserError, OSError) as error:  # raised in a worker it would come back as a traceback
            shape = (*((self.views,) if self.views else ()), 3, *self.preprocess.size)
            message = one_line(error, None)
            return torch.zeros(shape, dtype=torch.uint8), (message, getattr(error, "reason", message))
        if not self.views:
            return self.preprocess.pixels(image), None
        return torch.stack([self.preprocess.view(image, image_id, v) for v in range(self.views)]), None


def _collate(items: list[tuple[Tensor, tuple[str, str] | None]]) -> Loaded:
    return torch.stack([pixels for pixels, _ in items]), {i: e for i, (_, e) in enumerate(items) if e}


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)  # the encoder has the threads; a worker decodes one image at a time


@contextlib.contextmanager
def _load(
    source: _Images, batches: list[list[int]], workers: int, encoder: Encoder
) -> Iterator[Iterator[Loaded]]:
    """Yield the batches. UserError if a loader process dies, because /dev/shm or memory is too small."""
    if not batches:
        yield iter(())
        return
    workers = min(workers, len(batches))
    loader: DataLoader[Any] = DataLoader(
        source,  # type: ignore[arg-type]  # addressed by position, needs no length
        batch_sampler=batches,
        collate_fn=_collate,
        num_workers=workers,
        worker_init_fn=_one_thread,
        prefetch_factor=2 if workers else None,
        persistent_workers=workers > 0,
        pin_memory=encoder.device.type == "cuda",
        generator=torch.Generator(),  # the loader draws a seed: not from the caller's generator
    )
    iterator: Any = iter(loader)
    if workers:
        _unwatch(iterator)
    try:
        yield iterator
    except (RuntimeError, OSError, EOFError) as error:
        if not workers or isinstance(error, UserError):
            raise
        iterator._shutdown_workers()
        if not any(process.exitcode for process in iterator._workers) and "shared memory" not in str(error):
            raise
        reason = one_line(error).partition(". ")[0]
        raise UserError(
            f"a loader process died ({reason}): /dev/shm or memory is too small; set features.workers: 0, or lower "
            "features.batch_size, or start a container with --shm-size"
        ) from None


def _unwatch(iterator: Any) -> None:
    """Remove PyTorch's signal handler, which raises anywhere in this process, again and again; the loader itself
    checks every few seconds whether its processes are alive."""
    signal_handling._remove_worker_pids(id(iterator))  # type: ignore[attr-defined]
    iterator._worker_pids_set = False
