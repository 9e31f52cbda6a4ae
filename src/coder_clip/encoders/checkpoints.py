"""Find an encoder's files: resolve names, tags, hub ids and folders to weights on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import huggingface_hub
import open_clip
from open_clip.pretrained import (
    download_pretrained_from_hf,
    get_pretrained_cfg,
    list_pretrained_tags_by_model,
)

from coder_clip.errors import UserError, nearest, one_line

T = TypeVar("T")


class Absent(UserError):
    """Weights are not on this machine, and may not be downloaded. repository: of the Hugging Face hub."""

    def __init__(self, message: str, repository: str) -> None:
        super().__init__(message)
        self.repository = repository


CONFIG = "open_clip_config.json"
PATIENCE = 4  # seconds until a hub that does not answer counts as out of reach
SAFE, CHECKED = (".safetensors",), (".bin", ".pt", ".pth")  # the second are read with weights_only=True


@dataclass(frozen=True)
class Source:
    """The files of an encoder, and how to build it.

    name, options: arguments of open_clip.create_model. label: (model, pretrained), for metadata and messages.
    """

    name: str
    model_cfg: dict[str, Any]
    weights: Path
    label: tuple[str, str]
    options: dict[str, Any] = field(default_factory=dict)
    tokenizer_options: dict[str, str] = field(default_factory=dict)
    local: bool = False  # nothing may be fetched


def find(model: str, pretrained: str | None, offline: bool, quick_gelu: bool | None = None) -> Source:
    """Resolve the three forms of a model name to files on this machine. UserError if there are none."""
    kind, _, rest = model.partition(":")
    if kind in ("local-dir", "hf-hub"):
        if not rest:
            raise UserError(f"model '{model}': nothing after '{kind}:'")
        if pretrained:
            raise UserError(f"model '{model}' brings its own weights; remove pretrained '{pretrained}'")
        return _find_folder(Path(rest)) if kind == "local-dir" else _find_on_hub(rest, offline)
    name = model.replace("/", "-")
    if name not in open_clip.list_models():
        raise UserError(f"unknown model '{model}'{nearest(name, open_clip.list_models())}")
    tags = list_pretrained_tags_by_model(name)
    if not pretrained:
        raise UserError(f"model '{model}' needs pretrained: one of {', '.join(tags)}, or a checkpoint file")
    tag: dict[str, Any] = get_pretrained_cfg(name, pretrained)
    if not tag:
        return _find_checkpoint(name, Path(pretrained), tags, quick_gelu)
    what = f"weights '{pretrained}' of {name}"
    weights = from_hub(lambda: open_clip.download_pretrained(tag), what, tag["hf_hub"].rstrip("/"), offline)
    # open_clip only warns where a tag was trained with QuickGELU and the model's configuration has GELU
    options = {"force_quick_gelu": tag.get("quick_gelu", False), "force_preprocess_cfg": tag}
    return Source(name, open_clip.get_model_config(name), Path(weights), (name, pretrained), options)


def _find_checkpoint(name: str, path: Path, tags: list[str], quick_gelu: bool | None) -> Source:
    """An open_clip name with a checkpoint file, which does not name its activation: ask where both exist."""
    if path.suffix not in SAFE + CHECKED:
        raise UserError(f"model '{name}' has no pretrained tag '{path}'{nearest(str(path), tags)}")
    if not path.is_file():
        raise UserError(f"checkpoint of {name} does not exist: {path}")
    cfgs = [get_pretrained_cfg(name, tag) for tag in tags]
    has_it = bool(open_clip.get_model_config(name).get("quick_gelu"))
    if quick_gelu is None and not has_it and any(c.get("quick_gelu") for c in cfgs):
        raise UserError(
            f"{path.name}: weights of {name} exist with GELU and with QuickGELU, the wrong one gives wrong numbers; "
            f"set quick_gelu to true (OpenAI, MetaCLIP, DFN) or false"
        )
    keys = ("mean", "std", "interpolation", "resize_mode")
    published = [{k: c[k] for k in keys if k in c} for c in cfgs]
    agreed = published[0] if published and all(p == published[0] for p in published) else {}
    options: dict[str, Any] = {"force_preprocess_cfg": agreed, "force_quick_gelu": bool(quick_gelu)}
    return Source(name, open_clip.get_model_config(name), path, (name, path.name), options)


def _find_on_hub(repository: str, offline: bool) -> Source:
    def fetch(filename: str | None) -> Path:
        what = f"{filename or 'weights'} of hf-hub:{repository}"
        return Path(
            from_hub(lambda: download_pretrained_from_hf(repository, filename), what, repository, offline)
        )

    model_cfg = _read_config(fetch(CONFIG).parent)
    weights, name = fetch(None), f"hf-hub:{repository}"
    return Source(name, model_cfg, weights, (name, weights.name))


def _find_folder(folder: Path) -> Source:
    """Find the files of a model folder, which holds open_clip_config.json and weights.

    Relative file names in its configuration start at the folder.
    """
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
    files = [p for p in folder.iterdir() if p.suffix in SAFE + CHECKED]
    if not files:
        raise UserError(f"model folder {folder} holds no weights (expected open_clip_model.safetensors)")
    first = min(files, key=lambda p: (p.suffix not in SAFE, not p.name.startswith("open_clip"), p.name))
    label = (f"local-dir:{folder.resolve().name}", first.name)
    return Source(f"local-dir:{folder}", model_cfg, first, label, options, tokenizer_options, local=True)


def _read_config(folder: Path) -> dict[str, Any]:
    """The folder's model_cfg."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"model folder {folder} lacks {CONFIG}") from None
    except ValueError as error:
        raise UserError(f"{folder / CONFIG} is not JSON: {error}") from None
    cfg = config.get("model_cfg") if isinstance(config, dict) else None
    if not isinstance(cfg, dict):
        raise UserError(f"{folder / CONFIG} lacks model_cfg")
    if missing := {"embed_dim", "vision_cfg", "text_cfg"} - set(cfg):
        raise UserError(f"{folder / CONFIG} lacks model_cfg.{sorted(missing)[0]}")
    return cfg


def verify(weights: Path) -> None:
    """Compare a file in the hub's cache with its sha256, by which the cache names large files.

    UserError if it is damaged; it is removed then, so that the next `find` fetches it again.
    """
    blob = weights.resolve()
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        with blob.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != blob.name:
            blob.unlink()
            raise UserError(f"{weights} was damaged during download (sha256 {found}) and has been removed")


def from_hub(action: Callable[[], T], what: str, repository: str, offline: bool) -> T:
    """Run ``action`` with the Hugging Face cache alone; if that fails and ``offline`` is False, with the network."""
    # The cache comes first even where the network is allowed: a run then works offline, and does not wait for
    # the hub. One quick request tells "no network" from "no such file", which need different advice.
    advice = (
        f"on a machine with network run 'hf download {repository}' and copy its Hugging Face cache here"
        " (HF_HOME says where; on a cluster 'coder-clip prefetch' on the head node does both), or use a model that is"
        " here: a folder, one in the Hugging Face cache, or a checkpoint file as pretrained (data/mini knows drawn"
        " images only)"
    )
    try:
        with hub(offline=True):
            return action()
    except (OSError, ValueError, RuntimeError) as error:
        missing = (
            "not on this machine" if isinstance(error, OSError) else f"cannot be used ({one_line(error)})"
        )
    if offline:
        raise Absent(f"{what}: {missing}, and offline mode is on: {advice}", repository)
    endpoint = huggingface_hub.constants.ENDPOINT
    if not hub_answers(endpoint):
        raise UserError(f"{what}: {missing}, and {endpoint} cannot be reached: {advice}")
    try:
        with hub(offline=False):
            return action()
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{what}: could not be fetched ({one_line(error)}): {advice}") from None


def hub_answers(endpoint: str) -> bool:
    """True if the hub answers within PATIENCE seconds, and not that it is out of order."""
    # huggingface_hub itself would retry for a minute. A thread, because the name lookup has no timeout.
    statuses: list[int] = []

    def ask() -> None:
        with contextlib.suppress(Exception):  # any failure means the same
            statuses.append(huggingface_hub.get_session().head(endpoint, timeout=PATIENCE).status_code)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return bool(statuses) and statuses[0] < 500


@contextlib.contextmanager
def hub(offline: bool) -> Iterator[None]:
    """Set the hub's offline switch, which open_clip and transformers read at every call."""
    constants = huggingface_hub.constants
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = offline
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence open_clip, which logs to the root logger, and says "initialized randomly" before it loads weights."""
    root, null, before = logging.getLogger(), logging.NullHandler(), logging.root.manager.disable
    root.addHandler(null)  # an empty root would get a stderr handler for good
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
        root.removeHandler(null)
