"""Photos and texts to features: one encoder, loaded when something is new, and a store of what it made before."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from ..datasets.images import read_image, to_rgb
from ..encoders.spec import EncoderSpec
from ..encoders.store import FeatureStore, cache_file, features_key
from ..errors import UserError
from ..foundation.exact import stored
from ..foundation.progress import progress as progress_bar

if TYPE_CHECKING:
    from ..encoders.encoder import Encoder

BATCH = 32  # photos in one forward pass
AHEAD = 4  # batches that are read ahead of the encoder
READERS = 4  # threads that decode: Pillow lets others run meanwhile


@dataclass(frozen=True)
class Features:
    """features: (N, d) float32, raw. kept: N positions among the photos asked for. skipped: (path, reason)."""

    features: Tensor
    kept: list[int]
    skipped: list[tuple[str, str]]


class PhotoEncoder:
    """An encoder that keeps what it makes. Safe to use from several threads."""

    def __init__(self, spec: EncoderSpec, cache: bool = True) -> None:
        """cache: whether features are kept in the user's cache folder. Nothing is loaded yet."""
        self.spec = spec
        self.store = FeatureStore(cache_file() if cache else None)
        self._encoder: Encoder | None = None
        self._metadata: dict[str, str] | None = None
        self._lock = Lock()

    @property
    def encoder(self) -> Encoder:
        """The loaded encoder. UserError as of ``load_encoder``."""
        with self._lock:
            if self._encoder is None:
                from ..encoders.checkpoints import find  # these import open_clip: four seconds
                from ..encoders.encoder import load_encoder

                spec = _with_weights(self.spec)
                self._encoder = load_encoder(spec)
                self._metadata = self._encoder.metadata()
                source = find(spec.model, spec.pretrained, True, spec.quick_gelu)
                files = [source.weights]
                if source.local:
                    files = [p for p in source.weights.parent.rglob("*") if p.is_file()]
                self.store.remember(self.spec, files, self._metadata)
            return self._encoder

    @property
    def metadata(self) -> dict[str, str]:
        """As ``Encoder.metadata``; loads the encoder only where its files are not those of an earlier call."""
        if self._metadata is None:
            self._metadata = self.store.metadata(self.spec) or self.encoder.metadata()
        return self._metadata

    @property
    def key(self) -> str:
        return features_key(self.metadata)

    def expect(self, metadata: dict[str, str], path: Path) -> None:
        """UserError where this is not the encoder that the features in ``path`` were made with."""
        wrong = [
            k for k in metadata if self.metadata.get(k) != metadata[k] and k not in ("model", "pretrained")
        ]
        if wrong:
            raise UserError(
                f"{path} was made with another encoder than {self.spec.model}: {wrong[0]} differs"
            )

    def texts(self, sentences: Sequence[str]) -> Tensor:
        """M sentences -> (M, d) float32 unit rows in the order given."""
        known = self.store.get(self.key, "text", list(dict.fromkeys(sentences)))
        if new := [s for s in dict.fromkeys(sentences) if s not in known]:
            made = dict(zip(new, self.encoder.encode_texts(new), strict=True))
            self.store.put(self.key, "text", made.items())
            known |= made
        return torch.stack([known[s] for s in sentences])

    def photos(self, paths: Sequence[str | Path], progress: bool = False) -> Features:
        """Photo files -> features; what cannot be read is left out and listed.

        progress: a bar with photos per second on standard error.
        """
        rows: dict[int, Tensor] = {}
        skipped: list[tuple[str, str]] = []
        with (
            progress_bar(len(paths), "img", "reading photos", progress) as bar,
            ThreadPoolExecutor(READERS) as pool,
        ):
            digests = []
            for digest in pool.map(_digest, paths):
                digests.append(digest)
                bar.update(1)
        names = [d if isinstance(d, str) else "" for d in digests]
        known = self.store.get(self.key, "image", [n for n in dict.fromkeys(names) if n])
        first: dict[str, int] = {}
        for i, (path, digest) in enumerate(zip(paths, digests, strict=True)):
            if isinstance(digest, UserError):
                skipped.append((str(path), _reason(digest)))
            elif digest in known:
                rows[i] = known[digest]
            else:
                first.setdefault(digest, i)  # copies of a photo are encoded once
        made, failed = self._encode({i: (paths[i], name) for name, i in first.items()}, progress)
        for i, name in enumerate(names):
            if i in rows or not name:
                continue
            if first[name] in made:
                rows[i] = made[first[name]]
            else:
                skipped.append((str(paths[i]), failed[first[name]]))
        kept = sorted(rows)
        features = torch.stack([rows[i] for i in kept]) if kept else torch.zeros(0, int(self.metadata["dim"]))
        order = {str(p): i for i, p in reversed(list(enumerate(paths)))}
        return Features(features, kept, sorted(skipped, key=lambda s: order[s[0]]))

    def images(self, images: Sequence[Image.Image]) -> Tensor:
        """Pillow images of any mode -> (N, d) float32, raw."""
        pixels = [self.encoder.preprocess.pixels(to_rgb(image)) for image in images]
        return self.pixels(torch.stack(pixels)) if pixels else torch.zeros(0, int(self.metadata["dim"]))

    def pixels(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W), float32 from ``encoder.preprocess`` or uint8 from its ``pixels`` -> (N, d) float32, raw."""
        batches = torch.split(pixels, BATCH)  # type: ignore[no-untyped-call]
        made = [stored(self.encoder.encode_images(batch)) for batch in batches]
        return torch.cat(made) if made else torch.zeros(0, int(self.metadata["dim"]))

    def _encode(
        self, paths: dict[int, tuple[str | Path, str]], progress: bool
    ) -> tuple[dict[int, Tensor], dict[int, str]]:
        """Photos as (path, sha256) by position -> features, and why some could not be made.

        Each batch is kept as soon as it is there.
        """
        made: dict[int, Tensor] = {}
        failed: dict[int, str] = {}
        if not paths:
            return made, failed
        preprocess = self.encoder.preprocess

        def read(photo: tuple[str | Path, str]) -> Tensor | UserError:
            path, digest = photo
            try:
                content = Path(path).read_bytes()
                if hashlib.sha256(content).hexdigest() != digest:  # its feature would be kept for other bytes
                    return UserError("changed while it was read")
                return preprocess.pixels(read_image(path, content=content))
            except UserError as error:
                return error
            except OSError as error:
                return UserError(error.strerror or str(error))

        order = list(paths)
        with (
            progress_bar(len(order), "img", "encoding photos", progress) as bar,
            ThreadPoolExecutor(READERS) as pool,
        ):
            for start in range(0, len(order), BATCH * AHEAD):  # bounds what is decoded and not yet encoded
                some = order[start : start + BATCH * AHEAD]
                read_ahead = dict(zip(some, pool.map(read, (paths[i] for i in some)), strict=True))
                good = {i: p for i, p in read_ahead.items() if isinstance(p, Tensor)}
                failed |= {i: _reason(e) for i, e in read_ahead.items() if isinstance(e, UserError)}
                bar.update(len(some) - len(good))
                for at in range(0, len(good), BATCH):
                    batch = list(good)[at : at + BATCH]
                    features = self.pixels(torch.stack([good[i] for i in batch]))
                    for i, row in zip(batch, features, strict=True):
                        if torch.isfinite(row).all():
                            made[i] = row
                        else:
                            failed[i] = f"the encoder gives no finite feature ({self.spec.precision})"
                    self.store.put(self.key, "image", ((paths[i][1], made[i]) for i in batch if i in made))
                    bar.update(len(batch))
        return made, failed


def encoder_spec(model: str, pretrained: str | None = None, **more: str) -> EncoderSpec:
    """What people call a model: an open_clip name, hf-hub:ORG/NAME, or a folder (also as local-dir:PATH).

    pretrained: the tag of an open_clip name's weights, or a checkpoint file; by default "openai", where there is such a
    tag. UserError for a folder that is not there.
    """
    folder = Path(model.removeprefix("local-dir:"))
    if model.startswith("local-dir:") or folder.is_dir():
        model = f"local-dir:{folder}"
        if not folder.is_dir():
            raise UserError(f"no model folder {folder}")
    return at(EncoderSpec(model, pretrained, **more), Path())  # type: ignore[arg-type]


def at(spec: EncoderSpec, root: Path) -> EncoderSpec:
    """The same encoder, its paths from ``root`` on made absolute."""
    model, pretrained = spec.model, spec.pretrained
    if model.startswith("local-dir:"):
        model = f"local-dir:{(root / model.removeprefix('local-dir:')).resolve()}"
    if pretrained is not None and (root / pretrained).is_file():
        pretrained = str((root / pretrained).resolve())
    return replace(spec, model=model, pretrained=pretrained)


def _with_weights(spec: EncoderSpec) -> EncoderSpec:
    """An open_clip name without a tag has that of OpenAI's weights, where there are such."""
    if spec.pretrained is not None or ":" in spec.model:
        return spec
    from open_clip.pretrained import list_pretrained_tags_by_model

    has = "openai" in list_pretrained_tags_by_model(spec.model.replace("/", "-"))
    return replace(spec, pretrained="openai") if has else spec


def _digest(path: str | Path) -> str | UserError:
    """sha256 of a file's content; an error for what is not a file: reading a pipe would wait for ever."""
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            return UserError("a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device, not a file")
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return UserError("the link points nowhere" if os.path.islink(path) else "no such file")
    except (OSError, ValueError) as error:
        return UserError(getattr(error, "strerror", None) or str(error))


def _reason(error: UserError) -> str:
    return str(getattr(error, "reason", error))
