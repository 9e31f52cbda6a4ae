"""Image-text encoders: any open_clip model, by name, hub id, local checkpoint or local folder.

open_clip builds the towers, reads the weights and tokenizes; this module decides what is loaded (and refuses
what would go wrong silently), and runs the towers fast: texts are encoded once each, sorted by length, and
cut to what the tower really looks at.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import random
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import huggingface_hub
import open_clip
import torch
import torch.nn.functional as F
from open_clip.hf_model import HFTextEncoder
from open_clip.pretrained import (
    download_pretrained_from_hf,
    get_pretrained_cfg,
    list_pretrained_tags_by_model,
)
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import QuickGELU, TextTransformer, text_global_pool
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import functional as TF

from coder_clip.errors import UserError, nearest

log = logging.getLogger(__name__)
T = TypeVar("T")

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CONFIG = "open_clip_config.json"
SAFE, CHECKED = (".safetensors",), (".bin", ".pt", ".pth")  # the second are read with weights_only=True


@dataclass(frozen=True)
class EncoderSpec:
    """Which encoder, at which precision, on which device.

    model: an open_clip name ("ViT-B-32"), "hf-hub:org/name", or "local-dir:PATH" (a folder with
    open_clip_config.json and weights). pretrained: for an open_clip name a tag ("openai") or a checkpoint
    file (.safetensors, .bin, .pt, .pth); none otherwise. precision: of all weights and activations.
    device: "auto" (cuda, else mps, else cpu), or a torch device name.
    """

    model: str
    pretrained: str | None = None
    precision: Precision = "fp32"
    device: str = "auto"


@dataclass(frozen=True)
class TextEncoding:
    """features: (M, d) float32 unit rows in the order given. n_unique: how many different texts there were.
    over_length: positions of texts that did not fit the context and were truncated by the tokenizer."""

    features: Tensor
    n_unique: int
    over_length: list[int]


class Cut(NamedTuple):
    """How far a text batch may be cut without changing the features, and why.

    how: "pooled" (after the pooled token), "padding" (only what the attention mask hides), "none".
    """

    how: Literal["pooled", "padding", "none"]
    why: str


@dataclass(frozen=True)
class Preprocess:
    """An open_clip model's image preprocessing, split where the bytes are smallest.

    ``pixels`` and ``view`` (in loader processes) give uint8; ``normalise`` (beside the model) makes it
    float32. ``preprocess(image)`` does both and equals open_clip's evaluation transform bit for bit.
    """

    cfg: PreprocessCfg

    @cached_property
    def _geometry(self) -> Any:
        return image_transform_v2(self.cfg, is_train=False).transforms[:-2]  # without ToTensor, Normalize

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what the image tower sees."""
        size = self.cfg.size
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    def __call__(self, image: Image.Image) -> Tensor:
        """RGB image -> (3, H, W) float32, resized, cropped and normalised for evaluation."""
        return self.normalise(self.pixels(image))

    def pixels(self, image: Image.Image) -> Tensor:
        """RGB image -> (3, H, W) uint8, resized and cropped for evaluation."""
        for step in self._geometry:
            image = step(image)
        return TF.pil_to_tensor(image)  # type: ignore[no-any-return]

    def view(self, image: Image.Image, image_id: str, view: int) -> Tensor:
        """RGB image -> (3, H, W) uint8: random resized crop of 0.5-1 of the area, bicubic, flip by a coin.

        The draw depends on (image id, view) and nothing else, so any machine, process or order makes the same
        view. Source: the paper's few-shot cache (Tip-Adapter's augmentation), section 3.4.
        """
        seed = hashlib.sha256(f"{view}\0{image_id}".encode()).digest()
        draw = random.Random(int.from_bytes(seed[:8], "big"))
        top, left, height, width = _crop_box(image.height, image.width, draw)
        crop = TF.resized_crop(image, top, left, height, width, list(self.size), TF.InterpolationMode.BICUBIC)
        return TF.pil_to_tensor(TF.hflip(crop) if draw.random() < 0.5 else crop)  # type: ignore[no-any-return]

    def normalise(self, pixels: Tensor) -> Tensor:
        """(…, 3, H, W) uint8 -> float32 of mean 0 and deviation 1 over the model's training images."""
        mean, std = (
            torch.tensor(v, dtype=torch.float32, device=pixels.device).view(3, 1, 1)
            for v in (self.cfg.mean, self.cfg.std)
        )
        return pixels.float().div_(255).sub_(mean).div_(std)

    def metadata(self) -> dict[str, str]:
        """Size, mean, std, interpolation and resize mode as strings."""
        return {
            "image_size": "x".join(map(str, self.size)),
            "image_mean": ",".join(map(repr, self.cfg.mean)),
            "image_std": ",".join(map(repr, self.cfg.std)),
            "image_interpolation": self.cfg.interpolation,
            "image_resize_mode": self.cfg.resize_mode,
        }


def _crop_box(height: int, width: int, draw: random.Random) -> tuple[int, int, int, int]:
    """(top, left, height, width) as torchvision's RandomResizedCrop(scale=(0.5, 1), ratio=(3/4, 4/3))."""
    for _ in range(10):
        area = height * width * (0.5 + 0.5 * draw.random())
        ratio = math.exp(math.log(4 / 3) * (2 * draw.random() - 1))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(draw.random() * (height - h + 1)), int(draw.random() * (width - w + 1)), h, w
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))  # long and thin: the centre
    return (height - h) // 2, (width - w) // 2, h, w


@dataclass
class Encoder:
    """A loaded encoder. Made by load_encoder.

    dim: d, the size of both feature spaces. context_length: tokens a text may have. cut: see can_cut.
    """

    model: nn.Module
    tokenizer: Callable[..., Tensor]
    preprocess: Preprocess
    device: torch.device
    precision: Precision
    dim: int
    context_length: int
    info: dict[str, str] = field(repr=False)
    cut: Cut = field(init=False)

    def __post_init__(self) -> None:
        self.cut = can_cut(self.model)

    def metadata(self) -> dict[str, str]:
        """Model, pretrained, weights_sha256, preprocessing, precision, quick_gelu, dim, open_clip version.

        The same on every machine. weights_sha256 is over the loaded float32 weights (name, shape and bytes of
        every tensor in name order), so it does not depend on the file format or on where the file came from.
        """
        return {**self.info, **self.preprocess.metadata(), "precision": self.precision}

    def augment(self, image: Image.Image, image_id: str, view: int) -> Tensor:
        """RGB image -> (3, H, W) float32: the view-th augmented view (Preprocess.view), normalised."""
        return self.preprocess.normalise(self.preprocess.view(image, image_id, view))

    def encode_images(self, batch: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, d) float32 on the CPU, raw (not unit).

        batch: float32 from ``preprocess``, or uint8 from ``preprocess.pixels`` (normalised on the device).
        UserError where the device's memory is too small for the batch.
        """
        if len(batch) == 0:
            return torch.zeros(0, self.dim)
        with self._forward(f"{len(batch)} images"):
            batch = batch.to(self.device, non_blocking=True)
            if batch.dtype == torch.uint8:
                batch = self.preprocess.normalise(batch)
            # CoCa's encode_image makes unit rows unless told otherwise
            features: Tensor = self.model.encode_image(batch.to(DTYPES[self.precision]), normalize=False)  # type: ignore[operator]
            return features.float().cpu()

    def encode_texts(self, texts: Sequence[str], batch_size: int = 64) -> Tensor:
        """M texts -> (M, d) float32 on the CPU, unit rows in the order given; see encode_texts_report."""
        return self.encode_texts_report(texts, batch_size).features

    def encode_texts_report(self, texts: Sequence[str], batch_size: int = 64) -> TextEncoding:
        """M texts -> features and what was noticed on the way.

        Every different text is encoded once, in batches of similar length, cut as far as ``cut`` allows.
        batch_size: texts a batch at full context; shorter batches hold more. Texts over the context length
        are truncated (as published), logged and reported. UserError where a feature is not finite.
        """
        unique = list(dict.fromkeys(texts))
        if not unique:
            return TextEncoding(torch.zeros(0, self.dim), 0, [])
        tokens = self.tokenizer(unique, context_length=self.context_length)
        long = {unique[i] for i in _over_length(self.tokenizer, tokens, unique, self.context_length)}
        over_length = [i for i, text in enumerate(texts) if text in long]
        if over_length:
            log.warning("%d texts are over %d tokens and were cut", len(over_length), self.context_length)

        lengths = needed_lengths(self.model, tokens)
        features = torch.empty(len(unique), self.dim)
        for rows in _batches_by_length(lengths, batch_size * self.context_length):
            batch = tokens[rows, : int(lengths[rows].max())]
            with self._forward(f"{len(rows)} texts"):
                features[rows] = text_features(self.model, batch.to(self.device)).float().cpu()
        norms = features.norm(dim=1)
        bad = ~(torch.isfinite(norms) & (norms > 0))
        if bad.any():
            text = unique[int(bad.nonzero()[0])]
            raise UserError(f"{self.info['model']}: no finite text feature for '{text}' ({self.precision})")
        position = {text: i for i, text in enumerate(unique)}
        unit = F.normalize(features, dim=1)[[position[text] for text in texts]]
        return TextEncoding(unit, len(unique), over_length)

    @contextlib.contextmanager
    def _forward(self, what: str) -> Iterator[None]:
        """Inference mode; on CUDA full float32 convolutions (cuDNN would round to TF32), fixed algorithms."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self.device.type == "cuda":
                stack.enter_context(
                    torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
                )
            try:
                yield
            except torch.OutOfMemoryError:
                raise UserError(
                    f"{self.info['model']}: {self.device} ran out of memory on {what}; lower batch_size"
                ) from None


# --- texts: what the tower looks at -------------------------------------------------------------------------


def can_cut(model: nn.Module) -> Cut:
    """Whether text batches may be shorter than the context, per kind of text tower.

    A causal tower that pools at the end-of-text token never looks behind it: exact. A Hugging Face tower
    hides padding by its attention mask: padding may go, nothing else. Towers that see every position (no
    causal mask), pool at the last one, or append a class token behind the padding (CoCa): never.
    """
    tower = getattr(model, "text", model)
    if isinstance(tower, HFTextEncoder):
        return Cut("padding", "the attention mask hides padding")
    if not isinstance(tower, (TextTransformer, open_clip.CLIP)):
        return Cut("none", f"unknown text tower {type(tower).__name__}")
    if getattr(tower, "cls_emb", None) is not None:
        return Cut("none", "a class token stands behind the padding")
    mask = tower.attn_mask
    if mask is None or not bool(torch.isneginf(mask[torch.ones_like(mask).triu(1).bool()]).all()):
        return Cut("none", "not causal: every token sees the padding")
    pool = _pool_type(tower)
    if pool not in ("argmax", "eos"):
        return Cut("none", f"pools at a fixed place ('{pool}')")
    return Cut("pooled", "causal, pools at end-of-text: what comes after is never looked at")


def _pool_type(tower: nn.Module) -> str:
    return str(getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", "none"))


def _eos_id(tower: nn.Module) -> int | None:
    return getattr(tower, "text_eos_id", getattr(tower, "eos_id", None))


def needed_lengths(model: nn.Module, tokens: Tensor) -> Tensor:
    """(M, L) token ids -> (M,) leading tokens that each text needs (L where the tower must not be cut)."""
    tower: Any = getattr(model, "text", model)
    how = can_cut(model).how
    if how == "pooled":
        ends = tokens if _pool_type(tower) == "argmax" else tokens.eq(_eos_id(tower) or 0).int()
        return ends.argmax(dim=1) + 1
    if how == "padding":
        visible = tokens.ne(tower.config.pad_token_id).int()  # the tower's own rule
        return (tokens.shape[1] - visible.flip(1).argmax(dim=1)).where(visible.any(dim=1), 1)
    return torch.full((len(tokens),), tokens.shape[1])


def text_features(model: nn.Module, tokens: Tensor) -> Tensor:
    """(B, L) token ids, L at least every text's needed length -> (B, d), raw, in the tower's precision."""
    if can_cut(model).how != "pooled":
        return model.encode_text(tokens, normalize=False)  # type: ignore[operator,no-any-return]
    # open_clip's own forward with position table and causal mask sliced, which it does not offer
    tower: Any = getattr(model, "text", model)
    n = tokens.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    x = tower.token_embedding(tokens).to(dtype) + tower.positional_embedding[:n].to(dtype)
    x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:n, :n]))
    x = text_global_pool(x, tokens, _pool_type(tower), eos_token_id=_eos_id(tower))
    if tower.text_projection is None:
        return x  # type: ignore[no-any-return]
    linear = isinstance(tower.text_projection, nn.Linear)
    return tower.text_projection(x) if linear else x @ tower.text_projection  # type: ignore[no-any-return]


def _batches_by_length(lengths: Tensor, token_budget: int) -> Iterator[list[int]]:
    """Positions, shortest texts first, in runs whose padded size stays within the budget (at least one)."""
    rows: list[int] = []
    for i in torch.argsort(lengths, stable=True).tolist():
        if rows and (len(rows) + 1) * int(lengths[i]) > token_budget:
            yield rows
            rows = []
        rows.append(i)
    if rows:
        yield rows


def _over_length(
    tokenizer: Callable[..., Tensor], tokens: Tensor, texts: list[str], context_length: int
) -> list[int]:
    """Positions of texts that lose tokens: with room for one more token, one more is there."""
    hf = getattr(tokenizer, "tokenizer", None)
    pad = getattr(hf, "pad_token_id", None) or 0
    full = (tokens != pad).sum(dim=1) >= context_length - 1  # only those can have lost anything
    over = []
    for i in full.nonzero().flatten().tolist():
        roomy = tokenizer([texts[i]], context_length=context_length + 1)[0]
        if int((roomy != pad).sum()) > int((tokens[i] != pad).sum()):
            over.append(i)
    return over


# --- loading ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """Where everything comes from. name, options: for open_clip.create_model. label: (model, pretrained)."""

    name: str
    model_cfg: dict[str, Any]
    weights: Path
    label: tuple[str, str]
    options: dict[str, Any] = field(default_factory=dict)
    tokenizer_options: dict[str, str] = field(default_factory=dict)
    local: bool = False  # nothing may be fetched


def load_encoder(spec: EncoderSpec, offline: bool | None = None) -> Encoder:
    """The encoder that ``spec`` names, in evaluation mode on its device.

    offline: True fetches nothing, False may fetch from the Hugging Face hub what is not cached yet; None
    reads HF_HUB_OFFLINE. A "local-dir:" model never fetches. Weights are read from safetensors, or from
    checkpoints by torch.load(weights_only=True); TorchScript archives and pickled objects are refused.

    UserError, one line: unknown model, tag, precision or device (with the nearest known name); weights that
    are neither here nor reachable (what to fetch, where to put it); weights that do not fit the model.
    """
    if spec.precision not in DTYPES:
        raise UserError(f"unknown precision '{spec.precision}'{nearest(spec.precision, get_args(Precision))}")
    device = pick_device(spec.device)
    offline = huggingface_hub.constants.HF_HUB_OFFLINE if offline is None else offline
    source = _find(spec, offline)
    _refuse_unsafe(source.weights)
    offline = offline or source.local

    def build() -> tuple[nn.Module, Callable[..., Tensor]]:
        with _quiet(), torch.random.fork_rng(devices=[]):  # open_clip fills the towers at random first
            tokenizer = open_clip.get_tokenizer(source.name, **source.tokenizer_options)
            return open_clip.create_model(
                source.name, load_weights=False, pretrained_text=False, **source.options
            ), tokenizer

    if source.local:
        try:
            with _hub(offline=True):
                model, tokenizer = build()
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, AssertionError) as error:
            raise UserError(f"{source.label[0]}: cannot be built from its folder: {_line(error)}") from None
    else:
        model, tokenizer = _from_hub(
            build, f"the tokenizer or text tower of {spec.model}", spec.model, offline
        )
    _check_vocabulary(model, tokenizer, source.label[0])
    try:
        with _quiet():
            open_clip.load_checkpoint(model, str(source.weights), strict=True, weights_only=True)
    except Exception as error:  # state dicts that do not fit fail in many ways
        raise UserError(
            f"weights {source.weights} do not fit the model {source.label[0]}: {_line(error)}"
        ) from None

    model.eval().requires_grad_(False)
    visual: Any = model.visual
    info = {
        "model": source.label[0],
        "pretrained": source.label[1],
        "weights_sha256": weights_sha256(model),
        "quick_gelu": str(any(isinstance(m, QuickGELU) for m in model.modules())).lower(),
        "dim": str(source.model_cfg["embed_dim"]),
        "open_clip": str(open_clip.__version__),
    }
    return Encoder(
        model=model.to(device=device, dtype=DTYPES[spec.precision]),
        tokenizer=tokenizer,
        preprocess=Preprocess(PreprocessCfg(**visual.preprocess_cfg)),
        device=device,
        precision=spec.precision,
        dim=int(info["dim"]),
        context_length=int(source.model_cfg["text_cfg"].get("context_length", 77)),
        info=info,
    )


def pick_device(name: str) -> torch.device:
    """ "auto" -> cuda, else mps, else cpu; otherwise the named device. UserError where it is not there."""
    mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device '{name}'{nearest(name, ('auto', 'cpu', 'cuda', 'mps'))}") from None
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(mps)}
    if device.type not in there:
        raise UserError(f"unknown device '{name}'{nearest(device.type, ('auto', *there))}")
    if (device.index or 0) >= there[device.type]:
        found = ", ".join(f"{n} {kind}" for kind, n in there.items() if n)
        raise UserError(f"device '{name}' is not on this machine (there: {found}); use device: auto or cpu")
    return device


def weights_sha256(model: nn.Module) -> str:
    """sha256 over name, dtype, shape and bytes of every tensor of the state dict, in name order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _find(spec: EncoderSpec, offline: bool) -> _Source:
    """Resolves the three forms of a model name to files on this machine."""
    kind, _, rest = spec.model.partition(":")
    if kind in ("local-dir", "hf-hub"):
        if not rest:
            raise UserError(f"model '{spec.model}': nothing after '{kind}:'")
        if spec.pretrained:
            raise UserError(
                f"model '{spec.model}' brings its own weights; remove pretrained '{spec.pretrained}'"
            )
        return _find_folder(Path(rest)) if kind == "local-dir" else _find_on_hub(rest, offline)
    name = spec.model.replace("/", "-")
    if name not in open_clip.list_models():
        raise UserError(f"unknown model '{spec.model}'{nearest(name, open_clip.list_models())}")
    tags = list_pretrained_tags_by_model(name)
    if not spec.pretrained:
        raise UserError(
            f"model '{spec.model}' needs pretrained: one of {', '.join(tags)}, or a checkpoint file"
        )
    tag: dict[str, Any] = get_pretrained_cfg(name, spec.pretrained)
    if not tag:
        return _find_checkpoint(name, Path(spec.pretrained), tags)
    what = f"weights '{spec.pretrained}' of {name}"
    weights = _from_hub(lambda: open_clip.download_pretrained(tag), what, tag["hf_hub"].rstrip("/"), offline)
    # open_clip only warns where a tag was trained with QuickGELU and the model's configuration has GELU
    options = {"force_quick_gelu": tag.get("quick_gelu", False), "force_preprocess_cfg": tag}
    return _Source(name, open_clip.get_model_config(name), Path(weights), (name, spec.pretrained), options)


def _find_checkpoint(name: str, path: Path, tags: list[str]) -> _Source:
    """An open_clip name with a checkpoint file. The name alone decides on QuickGELU."""
    if path.suffix not in SAFE + CHECKED:
        raise UserError(f"model '{name}' has no pretrained tag '{path}'{nearest(str(path), tags)}")
    if not path.is_file():
        raise UserError(f"checkpoint of {name} does not exist: {path}")
    cfgs = [get_pretrained_cfg(name, tag) for tag in tags]
    if any(c.get("quick_gelu") for c in cfgs) and not open_clip.get_model_config(name).get("quick_gelu"):
        log.warning(
            "%s: taken as trained with GELU; weights of OpenAI, MetaCLIP or DFN need '%s-quickgelu'",
            path.name,
            name,
        )
    keys = ("mean", "std", "interpolation", "resize_mode")
    published = [{k: c[k] for k in keys if k in c} for c in cfgs]
    agreed = published[0] if published and all(p == published[0] for p in published) else {}
    options = {"force_preprocess_cfg": agreed}
    return _Source(name, open_clip.get_model_config(name), path, (name, path.name), options)


def _find_on_hub(repository: str, offline: bool) -> _Source:
    def fetch(filename: str | None) -> Path:
        what = f"{filename or 'weights'} of hf-hub:{repository}"
        return Path(
            _from_hub(lambda: download_pretrained_from_hf(repository, filename), what, repository, offline)
        )

    model_cfg = _read_config(fetch(CONFIG).parent)
    weights, name = fetch(None), f"hf-hub:{repository}"
    return _Source(name, model_cfg, weights, (name, weights.name))


def _find_folder(folder: Path) -> _Source:
    """A folder with open_clip_config.json and weights. Relative names in the configuration lie in it."""
    if not folder.is_dir():
        raise UserError(f"model folder does not exist: {folder}")
    model_cfg = _read_config(folder)
    text_cfg: dict[str, Any] = model_cfg["text_cfg"]
    options: dict[str, Any] = {}
    if name := text_cfg.get("hf_model_name"):
        # open_clip 3.3 resolves the tokenizer against the folder, but not the text tower
        inside = (folder / name) if (folder / name / "config.json").is_file() else None
        if name == "." and inside is None:
            raise UserError(f"model folder {folder} lacks config.json, which describes its text tower")
        if inside:
            options["text_cfg"] = {**text_cfg, "hf_model_name": str(inside), "hf_model_pretrained": False}
    tokenizer_options = {}
    if bpe := (text_cfg.get("tokenizer_kwargs") or {}).get("bpe_path"):
        if not (folder / bpe).is_file():
            raise UserError(f"model folder {folder} lacks its tokenizer's merges: {bpe}")
        tokenizer_options["bpe_path"] = str(folder / bpe)
    found = sorted(p for p in folder.iterdir() if p.suffix in SAFE + CHECKED)
    first = sorted(found, key=lambda p: (p.suffix not in SAFE, not p.name.startswith("open_clip"), p.name))
    if not first:
        raise UserError(f"model folder {folder} holds no weights (expected open_clip_model.safetensors)")
    label = (f"local-dir:{folder.resolve().name}", first[0].name)
    return _Source(f"local-dir:{folder}", model_cfg, first[0], label, options, tokenizer_options, local=True)


def _read_config(folder: Path) -> dict[str, Any]:
    """The folder's model_cfg."""
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"model folder {folder} lacks {CONFIG}") from None
    except ValueError as error:
        raise UserError(f"{folder / CONFIG} is not JSON: {error}") from None
    cfg: dict[str, Any] = config.get("model_cfg", {})
    if missing := {"embed_dim", "vision_cfg", "text_cfg"} - set(cfg):
        raise UserError(f"{folder / CONFIG} lacks model_cfg.{sorted(missing)[0]}")
    return cfg


def _refuse_unsafe(weights: Path) -> None:
    """Only tensors may come out of a weights file; torch itself checks what a pickle asks for."""
    if weights.suffix in SAFE:
        return
    advice = "use a .safetensors file of these weights (the hub has one for every published CLIP)"
    if zipfile.is_zipfile(weights) and any(n.endswith("/constants.pkl") for n in _names(weights)):
        raise UserError(f"{weights} is a TorchScript archive, which runs code when loaded: refused; {advice}")
    try:
        torch.load(weights, map_location="meta", weights_only=True)
    except Exception as error:  # a damaged or hostile file fails in many ways
        raise UserError(f"{weights} cannot be read as tensors only: {_line(error)}; {advice}") from None


def _names(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as file:
        return file.namelist()


def _check_vocabulary(model: nn.Module, tokenizer: Any, label: str) -> None:
    """A tokenizer that knows more tokens than the tower would fail in the middle of a run."""
    tower: Any = getattr(model, "text", model)
    known, made = int(tower.vocab_size), int(getattr(tokenizer, "vocab_size", 0))
    if made > known:
        raise UserError(f"{label}: the tokenizer has {made} tokens, the text tower only {known}")


def _from_hub(action: Callable[[], T], what: str, repository: str, offline: bool) -> T:
    """Runs ``action`` on the hub's cache, then, where that fails and it is allowed, over the network."""
    advice = (
        f"on a machine with network run 'hf download {repository}' and copy its Hugging Face cache here"
        " (HF_HOME says where), or give a checkpoint file as pretrained"
    )
    try:
        with _hub(offline=True):
            return action()
    except (OSError, ValueError, RuntimeError) as error:
        missing = "not on this machine" if isinstance(error, OSError) else f"cannot be used ({_line(error)})"
    if offline:
        raise UserError(f"{what}: {missing}, and offline mode is on: {advice}")
    try:
        huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=5)
    except Exception:  # any failure means the same; huggingface_hub itself would retry for a minute
        endpoint = huggingface_hub.constants.ENDPOINT
        raise UserError(f"{what}: {missing}, and {endpoint} cannot be reached: {advice}") from None
    try:
        with _hub(offline=False):
            return action()
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{what}: could not be fetched ({_line(error)}): {advice}") from None


@contextlib.contextmanager
def _hub(offline: bool) -> Iterator[None]:
    """The hub's offline switch, for open_clip and transformers alike; both read it at every call."""
    constants = huggingface_hub.constants
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = offline
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence: open_clip logs to the root logger, and "initialized randomly" before the weights come."""
    root, null, before = logging.getLogger(), logging.NullHandler(), logging.root.manager.disable
    root.addHandler(null)  # an empty root would get a stderr handler for good
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
        root.removeHandler(null)


def _line(error: BaseException) -> str:
    """The first 200 characters of an error's message, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
