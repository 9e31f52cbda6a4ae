"""open_clip: its models by name with weights of a tag or file, repositories of the hub, folders.

This module needs no model: it reads names and architectures of the installed open_clip without an
import of it, which takes seconds. `encoders.checkpoints` finds files, `encoders.open_clip_towers`
encodes.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError, nearest
from ...foundation.artifacts import read_metadata
from ..spec import EncoderSpec, Size

if TYPE_CHECKING:
    from ..towers import Towers

PREFIXES = ("", "hf-hub:", "local-dir:")
NAMES = "open_clip name, hf-hub:ORG/NAME, or local-dir:PATH"
LIBRARIES = ("open_clip_torch", "timm", "transformers")
# what loads weights needs no mention, because the hash of the loaded weights is in the metadata
MAKERS = ("encoders/open_clip_features",)
CONFIG = "open_clip_config.json"
FOLDER = "local-dir:"


def load(spec: EncoderSpec, offline: bool) -> Towers:
    """Load a model; UserError as in `encoders.encoder.load_encoder`."""
    from ..open_clip_towers import load as towers  # imports open_clip: three seconds

    return towers(spec, offline)


def look(spec: EncoderSpec) -> None:
    """`hub.Absent` if the weights are not on this machine."""
    from ..checkpoints import find

    find(spec.model, spec.pretrained, True, spec.quick_gelu)


def fetch(spec: EncoderSpec, configured: Path | None) -> Iterator[str]:
    """Download weights. Damaged ones are downloaded again, after a line that says so."""
    from ..checkpoints import find
    from ..hub import verify

    where = (spec.model, spec.pretrained, False, spec.quick_gelu)
    weights = find(*where).weights
    # `verify` removes a damaged file, so that the second `find` downloads it again
    try:
        verify(weights)
    except UserError as damaged:
        yield str(damaged)
        verify(find(*where).weights)


def problems(spec: EncoderSpec, root: Path) -> Iterator[tuple[str, str]]:
    """Yield (key, problem): an unknown name, a name without weights, a folder that is not there.

    root: where relative paths start.
    """
    known = names()
    folder = spec.model.removeprefix(FOLDER)
    # with ":" it is a hub id or a folder, and not a name
    if spec.model not in known and (root / spec.model).is_dir():
        yield "model", f"a folder is written '{FOLDER}{spec.model}'"
    elif ":" not in spec.model and spec.model not in known:
        yield "", f"open_clip has no model '{spec.model}'{nearest(spec.model, known)}"
    if spec.model in known and spec.pretrained is None:
        yield "", "name the weights with 'pretrained' (open_clip tag or file)"
    if str(spec.pretrained).startswith(FOLDER):
        yield "pretrained", f"'{FOLDER}' belongs in 'model' (model: {spec.pretrained})"
    if spec.model.startswith(FOLDER) and not (root / folder).is_dir():
        yield "model", f"no folder {folder}; correct 'model'"


def files(spec: EncoderSpec) -> list[Path]:
    """The user's own files of a model; [] for a model of the hub."""
    if spec.model.startswith(FOLDER):
        folder = Path(spec.model.removeprefix(FOLDER))
        return sorted(path for path in folder.glob("*") if path.is_file())
    if spec.pretrained and Path(spec.pretrained).is_file():
        return [Path(spec.pretrained)]
    return []


def unreadable(spec: EncoderSpec) -> None:
    """UserError if a model's folder or the header of its weights cannot be read, or if a file is
    empty.
    """
    if not spec.model.startswith(FOLDER):
        return
    place = Path(spec.model.removeprefix(FOLDER))
    try:
        json.loads((place / CONFIG).read_text(encoding="utf-8"))
        for weights in place.glob("*.safetensors"):
            read_metadata(weights)
        # an empty tokenizer file would raise no error, but give other tokens
        for kind in ("json", "txt", "gz", "model"):
            for file in place.glob(f"*.{kind}"):
                if not file.stat().st_size:
                    raise UserError(f"{file} is empty; get it again")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        file = getattr(error, "filename", None) or place
        raise UserError(f"{file} cannot be read: {reason}") from None


def names() -> list[str]:
    """Architectures of the installed open_clip."""
    return sorted(path.stem for path in _architectures().glob("*.json"))


def size(name: str, closely: bool) -> Size:
    """The size of a model, from its architecture alone; if that cannot be read, of a large ViT.

    closely: count the operations of a tower of timm, which takes seconds to import.
    """
    # Rough numbers from the architecture file, without building the model. A transformer has 12 ·
    # width² parameters per layer, two operations per parameter and token, and attention that
    # grows with tokens². A ResNet is scaled from ResNet-50, and a timm tower counts as a medium
    # one unless it is looked at closely.
    cfg = _architecture(name)
    dim = int(cfg.get("embed_dim", 768))
    vision: Mapping[str, Any] = cfg.get("vision_cfg") or {}
    text: Mapping[str, Any] = cfg.get("text_cfg") or {}
    pixels = vision.get("image_size", 224)
    pixels = max(pixels) if isinstance(pixels, list) else int(pixels)
    layers, width = vision.get("layers", 24), int(vision.get("width", 1024))
    if isinstance(layers, list):  # a ResNet
        # relative to ResNet-50, with width 64 and 16 blocks
        scale = (width / 64) ** 2 * sum(layers) / 16
        of_image, flops = 4e7 * scale, 1.2e10 * scale * (pixels / 224) ** 2
        activations = 4e7 * math.sqrt(scale) * (pixels / 224) ** 2
    elif "timm_model_name" in vision:
        of_image, flops = 9e7, 4e10 * (pixels / 224) ** 2
        if closely:
            of_image, flops = _timm_size(vision["timm_model_name"], pixels) or (of_image, flops)
        activations = 6e7 * (pixels / 224) ** 2
    else:
        patch = int(vision.get("patch_size") or 14)
        # the patches and the class token
        tokens = (pixels // patch) ** 2 + 1
        of_image = 12.0 * layers * width**2
        flops = 2 * of_image * tokens + 4.0 * layers * tokens**2 * width
        activations = 4.0 * tokens * width * 24 + 3 * 4 * pixels**2
    if "hf_model_name" in text:
        of_text = _hugging_face_size(name) or 1.2e8
    else:
        text_width = int(text.get("width", 768))
        of_text = 12.0 * int(text.get("layers", 12)) * text_width**2
    # the table of token embeddings
    vocabulary = int(text.get("vocab_size", 49408)) * int(text.get("width", 768))
    return Size(of_image + of_text + vocabulary, dim, flops, 2 * of_text, activations)


def _timm_size(name: str, pixels: int) -> tuple[float, float] | None:
    """Parameters of a timm tower, and operations for an image of ``pixels`` × ``pixels``.

    None if timm cannot build the tower.
    """
    import timm
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    try:
        # the device "meta" has shapes without numbers
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            tower: Any = timm.create_model(name, num_classes=0)
            channels, height, width = tower.pretrained_cfg["input_size"]
            tower(torch.zeros(1, channels, height, width))
    except (RuntimeError, ValueError, TypeError):
        return None
    # timm's input size may be another one; operations grow with the number of pixels
    operations = counter.get_total_flops() * pixels**2 / (height * width)
    return sum(p.numel() for p in tower.parameters()), operations


def _hugging_face_size(name: str) -> float | None:
    """Parameters in the layers of a folder's own text tower; None for a tower of the hub."""
    try:
        file = Path(name.removeprefix(FOLDER)) / "config.json"
        tower = json.loads(file.read_text(encoding="utf-8"))
        return 12.0 * int(tower["num_hidden_layers"]) * int(tower["hidden_size"]) ** 2
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _architecture(name: str) -> dict[str, Any]:
    """open_clip's configuration of a model; {} if there is none."""
    if name.startswith(FOLDER):
        path = Path(name.removeprefix(FOLDER)) / CONFIG
    else:
        path = _architectures() / f"{name.replace('/', '-')}.json"
    try:
        cfg: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        # a folder's file has the configuration below the key model_cfg
        return dict(cfg.get("model_cfg", cfg))
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _architectures() -> Path:
    """Find open_clip's folder of architecture files without importing open_clip, which takes
    seconds.
    """
    spec = importlib.util.find_spec("open_clip")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model_configs"
