"""A device that is not the CPU, for machines that have no other: its tensors refuse to meet tensors
on the CPU, as those on a GPU do, and the CPU computes with them. Run as a program, it prints what
differs from the CPU, part by part.

PyTorch can have a device whose operations are written in Python ("privateuseone"). It stays
registered, so it has a process of its own.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from coder_clip.adapter import CoderAdapter, search
from coder_clip.baselines.few_shot import FewShotInputs, method
from coder_clip.baselines.methods import ABLATIONS, FEW_SHOT
from coder_clip.baselines.zero_shot import clip_scores
from coder_clip.datasets.folder import FolderDataset
from coder_clip.encoders.encoder import DTYPES, Encoder, EncoderSpec, load_encoder
from coder_clip.encoders.features import extract
from coder_clip.neighbors import TextNeighbors
from coder_clip.rerank import OneToOne, rerank, rerank_scores
from coder_clip.texts.kinds import IN_CODER
from coder_clip.zero_shot import predict, softmax_gap, top_k
from tiny import TEXTS, UNCUT, save_tiny

DEVICE = "privateuseone"
AT = torch.device(f"{DEVICE}:0")
aten = torch.ops.aten
BETWEEN = {
    aten._to_copy.default,
    aten.copy_.default,
    aten._copy_from.default,
}  # from one device to another
INDEXED = {
    aten.index.Tensor,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}  # the index may be on the CPU


class Elsewhere(Tensor):
    """A tensor on the other device. held: its numbers, on the CPU."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        layout = {
            "strides": held.stride(),
            "storage_offset": held.storage_offset(),
            "dtype": held.dtype,
        }
        made: Elsewhere = Tensor._make_wrapper_subclass(cls, held.size(), device=AT, **layout)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


class OtherDevice(TorchDispatchMode):
    """Operations that name the device without having a tensor on it, such as torch.zeros."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation. RuntimeError if it mixes devices; numbers without an axis may come from
    anywhere.
    """
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    here = [t for t in tensors if not isinstance(t, Elsewhere) and t.ndim]
    there = [t for t in tensors if isinstance(t, Elsewhere)]
    mixed = here and there
    if func in INDEXED:
        mixed = here and there and here[0] is args[0]
    if mixed and func not in BETWEEN:
        raise RuntimeError(f"{func}: tensors on the CPU and on another device")
    device = kwargs.get("device")
    goes_there = (
        isinstance(args[0], Elsewhere) if func in BETWEEN and device is None else bool(there)
    )
    if device is not None:
        goes_there = torch.device(device).type == DEVICE
        kwargs = {**kwargs, "device": torch.device("cpu")} | (
            {"pin_memory": False} if goes_there else {}
        )

    def held(value: Any) -> Any:
        return value.held if isinstance(value, Elsewhere) else value

    made = func(*tree_map(held, args), **tree_map(held, kwargs))
    known = {id(t.held): t for t in there}  # an operation in place gives its own tensor back

    def placed(value: Any) -> Any:
        if not isinstance(value, Tensor) or not goes_there:
            return value
        return known[id(value)] if id(value) in known else Elsewhere(value)

    return tree_map(placed, made)


def register() -> None:
    """Tell PyTorch of the device; torch.tensor(…, device=…) reaches it without a dispatch mode."""
    backend_registration._setup_privateuseone_for_python_backend()
    torch.__future__.set_swap_module_params_on_conversion(True)
    library = torch.library.Library("aten", "IMPL")
    for name in ("empty_strided", "empty.memory_format", "copy_", "_copy_from", "_to_copy"):
        packet, _, overload = name.partition(".")
        operation = getattr(getattr(aten, packet), overload or "default")
        library.impl(name, lambda *a, op=operation, **k: compute(op, a, k), "PrivateUse1")
    register.keeps = library  # type: ignore[attr-defined]  # it registers as long as it lives


N, C, D = 40, 6, 16
X, LABELS = torch.randn(N, D, generator=torch.Generator().manual_seed(0)), torch.arange(N) % C
Move = Callable[[Tensor], Tensor]
Parts = dict[str, Callable[[], Any]]


def ideas(moved: Move) -> Parts:
    """The public functions on moved images; with texts that are, too, and with texts on the CPU
    ("texts here").
    """
    seeded = torch.Generator().manual_seed(1)
    x, parts = moved(X), {}
    for where, text in (("", moved), (", texts here", lambda t: t)):
        names = [text(torch.randn(1 + c % 3, D, generator=seeded)) for c in range(C)]
        described = [text(torch.randn(5, D, generator=seeded)) for _ in range(C)]
        pairs = {
            (a, b): text(torch.randn(3, D, generator=seeded))
            for a in range(C)
            for b in range(C)
            if a != b
        }
        shots, owners = text(torch.randn(12, D, generator=seeded)), text(torch.arange(12) % C)
        n, o = TextNeighbors(described, names), OneToOne(pairs, C)
        scores = moved(torch.randn(N, C, generator=seeded))
        clip = (
            100
            * normalize(x, dim=1)
            @ normalize(moved(torch.stack([t[0] for t in names])), dim=1).T
        )
        adapter = CoderAdapter.fit(shots, owners, torch.cat(described), C)
        parts |= {
            f"class_scores{where}": lambda n=n: n.class_scores(x),
            f"encode{where}": lambda n=n: n.encode(x),
            f"compact{where}": lambda n=n: n.compact(x),
            f"state of texts{where}": lambda n=n: TextNeighbors.from_state(n.state()).class_scores(
                x
            ),
            f"rerank{where}": lambda o=o, s=scores: rerank(x, s, o, threshold=0.9),
            f"rerank_scores{where}": lambda o=o, s=scores: rerank_scores(x, s, o),
            f"state of pairs{where}": lambda o=o, s=scores: rerank(
                x, s, OneToOne.from_state(o.state()), 0.9
            ),
            f"affinity{where}": lambda a=adapter: a.affinity(x),
            f"logits{where}": lambda a=adapter, c=clip: a.logits(x, c, alpha=1.0, beta=2.0),
            f"search{where}": lambda a=adapter, c=clip: search(a, x, c, moved(LABELS)),
        }
    scores = moved(torch.randn(N, C, generator=seeded).round(decimals=1))  # with ties
    views = moved(torch.randn(2, 12, D, generator=seeded)).half()
    return parts | {
        "predict": lambda: predict(scores),
        "top_k": lambda: top_k(scores),
        "softmax_gap": lambda: softmax_gap(scores),
        "views": lambda: CoderAdapter.fit(views, moved(torch.arange(12) % C), moved(X), C).affinity(
            x
        ),
    }


def few_shot(moved: Move) -> Parts:
    """Every few-shot method: its search and the logits at what it found."""
    drawn = torch.Generator().manual_seed(2)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=drawn)

    inputs = FewShotInputs(
        dataset="dtd",
        seed=1,
        cache=moved(random(12, D)),
        views=moved(normalize(random(12, 3, D), dim=-1)),
        labels=moved(torch.arange(12) % C),
        weights=moved(normalize(random(C, D), dim=1)),
        texts={
            kind: (moved(random(C * 4, D)), moved(torch.arange(C * 4) % C)) for kind in IN_CODER
        },
        imagenet_names=moved(normalize(random(30, D), dim=1)),
        validation=moved(X[:20]),
        grid=((0.1, 200, 500), (0.1, 20, 50), 3),
    )
    x, labels, clip = moved(X), moved(LABELS), clip_scores(moved(X), inputs.weights)

    def searched(name: str) -> tuple[list[float | int | None], Tensor]:
        fitted = method(name).fit(inputs)
        point = fitted.search(x, clip, labels)
        return list(point), fitted.logits(x, clip, point)

    return {f"method {name}": partial(searched, name) for name in (*FEW_SHOT, *ABLATIONS)}


def features(
    encoder: Encoder, data: FolderDataset, views: int
) -> tuple[Tensor, Tensor | None, list[str]]:
    """Features of the test images, the views one by one, and the images that could be read."""
    test, options = data.split("test"), {"keep_views": views, "on_error": "skip", "progress": False}
    made = extract(data, test.ids, test.labels, encoder, batch_size=2, views=views, **options)  # type: ignore[arg-type]
    return made.features, made.kept_views, made.ids


def encoders(device: torch.device, folder: Path) -> Parts:
    """Images and texts through tiny encoders that are on a device."""
    parts: Parts = {}
    data = FolderDataset("photos", folder / "photos")
    for kind, precision in (
        ("plain", "fp32"),
        ("plain", "fp64"),
        ("plain", "bf16"),
        ("siglip", "fp32"),
    ):
        text, changes = UNCUT.get(kind, (None, {}))
        made = folder / kind
        if not made.is_dir():
            save_tiny(made, text, **changes)
        encoder = load_encoder(EncoderSpec(f"local-dir:{made}", device="cpu", precision=precision))  # type: ignore[arg-type]
        encoder.towers.move(device, DTYPES[encoder.precision])
        encoder = replace(encoder, device=device)
        for views in (0, 3):
            parts[f"{kind} {precision}, images, {views} views"] = partial(
                features, encoder, data, views
            )
        parts[f"{kind} {precision}, texts"] = partial(encoder.encode_texts, TEXTS, 16)
    return parts


def photos(folder: Path) -> None:
    """Five images of two classes, one of them cut off."""
    for i in range(5):
        path = folder / f"photos/test/{'cat' if i < 3 else 'dog'}/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:200])


def difference(here: Any, there: Any) -> float | str:
    """The largest difference of two results; a text if they differ in more than numbers."""
    pairs = list(zip(tree_leaves(here), tree_leaves(there), strict=True))
    largest = 0.0
    for a, b in pairs:
        if isinstance(a, Tensor):
            b = b.cpu()
            if a.shape != b.shape or a.dtype != b.dtype:
                return (
                    f"{a.dtype} {tuple(a.shape)} on the CPU, {b.dtype} {tuple(b.shape)} elsewhere"
                )
            largest = (
                max(largest, float((a.double() - b.double()).abs().max())) if a.numel() else largest
            )
        elif a != b:
            return f"{a} on the CPU, {b} elsewhere"
    return largest


def main() -> None:
    """Print a JSON document: part -> largest difference, or what went wrong and where."""
    register()
    found: dict[str, float | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        photos(Path(folder))
        cpu = torch.device("cpu")

        def parts(moved: Move) -> Parts:
            return {**ideas(moved), **few_shot(moved)}

        here = {**parts(lambda t: t), **encoders(cpu, Path(folder))}
        expected = {name: part() for name, part in here.items()}
        with OtherDevice():
            there = {**parts(lambda t: t.to(AT)), **encoders(AT, Path(folder))}
            for name, part in there.items():
                try:
                    found[name] = difference(expected[name], part())
                except Exception as error:
                    own = [
                        f
                        for f in traceback.extract_tb(error.__traceback__)
                        if "coder_clip" in f.filename
                    ]
                    found[name] = (
                        f"{error}: {own[-1].filename}:{own[-1].lineno}: {own[-1].line}"
                        if own
                        else repr(error)
                    )
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
