"""Find an encoder's files: resolve names, tags, hub ids and folders to weights on this machine."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import re
import shutil
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
    """Weights are not on this machine, and may not be downloaded. repository: of the Hugging Face
    hub.
    """

    def __init__(self, message: str, repository: str) -> None:
        super().__init__(message)
        self.repository = repository


CONFIG = "open_clip_config.json"
A_MODEL_HERE = (
    "use a model that is here: a folder, one in the Hugging Face cache, or a checkpoint file as "
    "pretrained (data/mini"
    " knows drawn images only)"
)
PATIENCE = 4  # seconds until a hub that does not answer counts as out of reach
FULL = 2**24  # free bytes below which a disk counts as full
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
    """Resolve a model name (open_clip, "hf-hub:…" or "local-dir:…") to files on this machine,
    fetched from the hub unless ``offline``. UserError if there are none.
    """
    kind, _, rest = model.partition(":")
    if kind in ("local-dir", "hf-hub"):
        if not rest:
            raise UserError(f"model '{model}': nothing after '{kind}:'")
        if pretrained:
            raise UserError(
                f"model '{model}' brings its own weights; remove pretrained '{pretrained}'"
            )
        return _find_folder(Path(rest)) if kind == "local-dir" else _find_on_hub(rest, offline)
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
    """An open_clip name with a checkpoint file. The file does not say whether its weights have
    GELU or QuickGELU: UserError if both exist and quick_gelu is None. tags: pretrained tags of the
    model.
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
            "gives wrong numbers; "
            f"set quick_gelu to true (OpenAI, MetaCLIP, DFN) or false"
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
                lambda: download_pretrained_from_hf(repository, filename), what, repository, offline
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


def verify(weights: Path) -> None:
    """Compare a file in the hub's cache with its sha256, by which the cache names large files.

    UserError if the file is damaged. The file is then removed, so that the next `find` fetches it
    again.
    """
    blob = weights.resolve()
    # the cache names large files by their sha256, and small ones by a shorter Git hash
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        with blob.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        if sha256 != blob.name:
            blob.unlink()
            raise UserError(
                f"{weights} was damaged during download (sha256 {sha256}) and has been removed"
            )


def from_hub(action: Callable[[], T], what: str, repository: str, offline: bool) -> T:
    """Run ``action`` with the Hugging Face cache alone; if that fails and ``offline`` is False,
    with the network. what: the files that are needed, for messages. repository: of these files.

    UserError with advice (`hub_problem`, `download_problem`); Absent with ``offline``.
    """
    # The cache comes first even where the network is allowed: a run then works offline, and does
    # not wait for the hub.
    try:
        with hub(offline=True):
            return action()
    except (OSError, ValueError, RuntimeError) as error:
        missing = "not on this machine"
        if not isinstance(error, OSError):
            missing = f"cannot be used ({one_line(error)})"
    if offline:
        raise Absent(
            f"{what}: {missing}, and offline mode is on: {elsewhere(repository)}", repository
        )
    problem = hub_problem(repository)
    if problem:
        raise UserError(f"{what}: {missing}, and {problem}")
    try:
        with hub(offline=False):
            return action()
    except (OSError, ValueError, RuntimeError) as error:
        problem = download_problem(error) or f"{one_line(error)}: {elsewhere(repository)}"
        raise UserError(f"{what}: could not be fetched: {problem}") from None


def elsewhere(repository: str) -> str:
    """Advice for a machine without access to the hub."""
    return (
        "on a machine with network run 'hf download "
        f"{repository}' and copy its Hugging Face cache here"
        " (HF_HOME says where; on a cluster 'coder-clip prefetch' on the head node does both), "
        f"or {A_MODEL_HERE}"
    )


def hub_problem(repository: str, needs: str = "") -> str:
    """Why the hub does not give the files of a repository, and advice; "" if the hub gives them.

    needs: a file that the repository must have; "": no special file. Asks for the headers of one
    small file, with the user's token."""
    endpoint = huggingface_hub.constants.ENDPOINT
    answer = _headers(f"{endpoint}/{repository}/resolve/main/{needs or CONFIG}")
    if isinstance(answer, str):
        return f"{endpoint} cannot be reached ({answer}): {elsewhere(repository)}"
    status, code = answer.status_code, answer.headers.get("X-Error-Code", "")
    said = f"HTTP {status}"
    if status >= 500 or status == 429:
        return (
            f"{endpoint} does not work at the moment ({said}): try again later, or {A_MODEL_HERE}"
        )
    # a gated repository can answer with 401, too, and then has this code
    if status == 403 or code == "GatedRepo":
        return (
            f"{repository} is gated ({said}): accept its terms at {endpoint}/{repository}, and "
            "set HF_TOKEN to a token"
            " of that account"
        )
    if status == 401:
        token = "the token that is set (HF_TOKEN, 'hf auth login') may not read it"
        if huggingface_hub.get_token() is None:
            token = "if it is private, set HF_TOKEN"
        return f"{endpoint} does not give {repository} ({said}): compare the name; {token}"
    # without `needs`, CONFIG was only a way to reach the repository, which may lack it
    if code == "EntryNotFound":
        return (
            f"{repository} has no {needs}: it is not a model in open_clip's form" if needs else ""
        )
    if status >= 400:
        return f"{endpoint} has no {repository} ({said}): compare the name"
    # the hub names a commit in each answer; if it redirects to a store of large files, in the
    # answer before
    if not any("X-Repo-Commit" in each.headers for each in (answer, *answer.history)):
        return (
            f"something else answers in the place of {endpoint}, such as the login page of a "
            "network or a proxy: log in"
            " with a browser, or see HTTPS_PROXY and HF_ENDPOINT; then run this again"
        )
    return ""


def download_problem(error: BaseException) -> str:
    """A message with advice if a download ended because of a full disk or a missing permission to
    write; "" for other errors.
    """
    cache = huggingface_hub.constants.HF_HUB_CACHE
    numbers = {cause.errno for cause in _causes(error) if isinstance(cause, OSError)}
    # open_clip drops the first error of two, so the free space is looked at, too
    if not numbers.isdisjoint((errno.ENOSPC, errno.EDQUOT)) or _free(cache) < FULL:
        return (
            f"no room in {cache}: make room, or set HF_HOME to a folder on a larger disk; then "
            "run this again"
        )
    if not numbers.isdisjoint((errno.EACCES, errno.EPERM, errno.EROFS)):
        return (
            f"{cache} cannot be written to: correct its "
            "permissions, or set HF_HOME to another folder"
        )
    return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and then the errors that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _free(folder: str) -> int:
    """Free bytes of the disk that a folder is on, or will be."""
    # the cache may not exist yet: the nearest folder above that exists is on the same disk
    place = next(p for p in (Path(folder), *Path(folder).absolute().parents) if p.is_dir())
    return shutil.disk_usage(place).free


def _headers(url: str) -> Any:
    """The hub's answer to a request for headers; the reason, as text, if there is none within
    PATIENCE seconds.
    """
    # huggingface_hub itself would retry for a minute. A thread, because the name lookup has no
    # timeout.
    answers: list[Any] = []  # one, from the thread
    token = huggingface_hub.get_token()
    headers = {"authorization": f"Bearer {token}"} if token else {}

    def ask() -> None:
        try:
            session = huggingface_hub.get_session()
            answers.append(
                session.head(url, timeout=PATIENCE, headers=headers, follow_redirects=True)
            )
        except Exception as error:  # any failure means the same
            answers.append(one_line(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return answers[0] if answers else f"no answer in {PATIENCE} s"


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
    """Silence open_clip, which logs to the root logger, and says "initialized randomly" before it
    loads weights.
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
