"""Find an encoder's files: resolve names, tags, hub ids and folders to weights on this machine."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip
from open_clip.pretrained import (
    download_pretrained_from_hf,
    get_pretrained_cfg,
    list_pretrained_tags_by_model,
)

from ..errors import UserError, nearest
from .hub import from_hub

CONFIG = "open_clip_config.json"
# suffixes of files without code, and of pickles, which are read with weights_only=True
SAFE, CHECKED = (".safetensors",), (".bin", ".pt", ".pth")


@dataclass(frozen=True)
class Checkpoint:
    """The files of an encoder, and how to build it.

    name, options: arguments of open_clip.create_model. label: (model, pretrained), for metadata and
    messages."""

    name: str
    model_cfg: dict[str, Any]
    weights: Path
    label: tuple[str, str]
    options: dict[str, Any] = field(default_factory=dict)
    tokenizer_options: dict[str, str] = field(default_factory=dict)
    local: bool = False  # True: nothing may be fetched


def find(
    model: str, pretrained: str | None, offline: bool, quick_gelu: bool | None = None
) -> Checkpoint:
    """Resolve a model name (open_clip, "hf-hub:…", "local-dir:…") to files on this machine.

    They are fetched from the hub unless ``offline``. UserError if there are none.
    """
    kind, _, rest = model.partition(":")
    if kind in ("local-dir", "hf-hub"):
        if not rest:
            raise UserError(f"model '{model}': nothing after '{kind}:'")
        if pretrained:
            raise UserError(
                f"model '{model}' brings its own weights; remove pretrained '{pretrained}'"
            )
        if kind == "local-dir":
            return _find_folder(Path(rest))
        return _find_on_hub(rest, offline)
    name = model.replace("/", "-")
    if name not in open_clip.list_models():
        raise UserError(f"unknown model '{model}'{nearest(name, open_clip.list_models())}")
    tags = list_pretrained_tags_by_model(name)
    if not pretrained:
        raise UserError(
            f"model '{model}' needs pretrained: one of {', '.join(tags)}, or a checkpoint file"
        )
    tag: dict[str, Any] = get_pretrained_cfg(name, pretrained)
    if not tag:
        return _find_checkpoint(name, Path(pretrained), tags, quick_gelu)
    what = f"weights '{pretrained}' of {name}"
    weights = from_hub(
        lambda: open_clip.download_pretrained(tag), what, tag["hf_hub"].rstrip("/"), offline
    )
    # open_clip only warns where a tag was trained with QuickGELU and the model's configuration has
    # GELU
    options = {"force_quick_gelu": tag.get("quick_gelu", False), "force_preprocess_cfg": tag}
    return Checkpoint(
        name, open_clip.get_model_config(name), Path(weights), (name, pretrained), options
    )


def _find_checkpoint(name: str, path: Path, tags: list[str], quick_gelu: bool | None) -> Checkpoint:
    """An open_clip name with a checkpoint file.

    The file does not say whether its weights have GELU or QuickGELU: UserError if both exist and
    quick_gelu is None. tags: pretrained tags of the model.
    """
    if path.suffix not in SAFE + CHECKED:
        raise UserError(f"model '{name}' has no pretrained tag '{path}'{nearest(str(path), tags)}")
    if not path.is_file():
        raise UserError(f"checkpoint of {name} does not exist: {path}")
    # a tag says whether its weights have QuickGELU; for a file the user has to say so
    cfgs = [get_pretrained_cfg(name, tag) for tag in tags]
    model_has_it = bool(open_clip.get_model_config(name).get("quick_gelu"))
    some_tag_has_it = any(cfg.get("quick_gelu") for cfg in cfgs)
    if quick_gelu is None and some_tag_has_it and not model_has_it:
        raise UserError(
            f"{path.name}: weights of {name} exist with GELU and with QuickGELU, the wrong one "
            "gives wrong numbers; set quick_gelu to true (OpenAI, MetaCLIP, DFN) or false"
        )
    # preprocessing is known only if all published weights of this model agree on it
    keys = ("mean", "std", "interpolation", "resize_mode")
    published = [{key: cfg[key] for key in keys if key in cfg} for cfg in cfgs]
    agreed: dict[str, Any] = {}
    if published and all(one == published[0] for one in published):
        agreed = published[0]
    options: dict[str, Any] = {"force_preprocess_cfg": agreed, "force_quick_gelu": bool(quick_gelu)}
    return Checkpoint(name, open_clip.get_model_config(name), path, (name, path.name), options)


def _find_on_hub(repository: str, offline: bool) -> Checkpoint:
    """Find the files of a model in a repository of the hub."""

    def fetch(filename: str | None) -> Path:
        """The path of a file of the repository; None: its weights."""
        what = f"{filename or 'weights'} of hf-hub:{repository}"
        return Path(
            from_hub(
                lambda: download_pretrained_from_hf(repository, filename),
                what,
                repository,
                offline,
                needs=CONFIG,
            )
        )

    model_cfg = _read_config(fetch(CONFIG).parent)
    weights, name = fetch(None), f"hf-hub:{repository}"
    return Checkpoint(name, model_cfg, weights, (name, weights.name))


def _find_folder(folder: Path) -> Checkpoint:
    """Find the files of a model folder, which holds open_clip_config.json and weights.

    Relative file names in its configuration start at the folder.
    """
    if not folder.is_dir():
        raise UserError(f"model folder does not exist: {folder}")
    model_cfg = _read_config(folder)
    text_cfg: dict[str, Any] = model_cfg["text_cfg"]
    options: dict[str, Any] = {}
    name = text_cfg.get("hf_model_name")
    if name:
        # open_clip 3.3 resolves the tokenizer against the folder, but not the text tower
        inside = (folder / name) if (folder / name / "config.json").is_file() else None
        if name == "." and inside is None:
            raise UserError(
                f"model folder {folder} lacks config.json, which describes its text tower"
            )
        if inside:
            options["text_cfg"] = {
                **text_cfg,
                "hf_model_name": str(inside),
                "hf_model_pretrained": False,
            }
    tokenizer_options = {}
    bpe = (text_cfg.get("tokenizer_kwargs") or {}).get("bpe_path")
    if bpe:
        if not (folder / bpe).is_file():
            raise UserError(f"model folder {folder} lacks its tokenizer's merges: {bpe}")
        tokenizer_options["bpe_path"] = str(folder / bpe)
    files = [p for p in folder.iterdir() if p.suffix in SAFE + CHECKED]
    if not files:
        raise UserError(
            f"model folder {folder} holds no weights (expected open_clip_model.safetensors)"
        )

    def preference(file: Path) -> tuple[bool, bool, str]:
        """Safetensors before pickles, then open_clip's own file name, then the alphabet."""
        return file.suffix not in SAFE, not file.name.startswith("open_clip"), file.name

    first = min(files, key=preference)
    label = (f"local-dir:{folder.resolve().name}", first.name)
    return Checkpoint(
        f"local-dir:{folder}", model_cfg, first, label, options, tokenizer_options, local=True
    )


def _read_config(folder: Path) -> dict[str, Any]:
    """Read model_cfg in a folder's CONFIG. UserError if it is missing or incomplete."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"model folder {folder} lacks {CONFIG}") from None
    except ValueError as error:
        raise UserError(f"{folder / CONFIG} is not JSON: {error}") from None
    cfg = config.get("model_cfg") if isinstance(config, dict) else None
    if not isinstance(cfg, dict):
        raise UserError(f"{folder / CONFIG} lacks model_cfg")
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(cfg)
    if missing:
        raise UserError(f"{folder / CONFIG} lacks model_cfg.{sorted(missing)[0]}")
    return cfg


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence open_clip, which logs to the root logger.

    It says "initialized randomly" before it loads weights.
    """
    root, null = logging.getLogger(), logging.NullHandler()
    before = logging.root.manager.disable
    root.addHandler(null)  # a root logger without handlers would get a stderr handler for good
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
        root.removeHandler(null)
