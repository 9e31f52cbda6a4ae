"""Paths of all artefacts, and how to write and read them.

Every file is written to a temporary name beside its target, flushed and renamed, so that a reader
sees the whole file or none. Every file is deterministic: it has no times, host names or unordered
sets. pandas, pyarrow, torch and safetensors are imported in the functions that need them, because
every start of the command line imports this module."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, one_line

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


DIGITS = 9  # significant digits of floats in documents


# ---- paths ---------------------------------------------------------------------------------------


class Paths:
    """Paths of all artefacts below one results directory (docs/artifacts.md)."""

    def __init__(self, results: str | Path) -> None:
        self.root = Path(results)

    def manifest(self, dataset: str) -> Path:
        return self.root / "manifests" / f"{dataset}.json"

    def texts(self, dataset: str) -> Path:
        return self.root / "texts" / f"{dataset}.json"

    def generated_texts(self, dataset: str) -> Path:
        return self.root / "texts" / "generated" / f"{dataset}.json"

    def image_features(self, model: str, dataset: str, split: str) -> Path:
        return self.root / "image_features" / model / dataset / f"{split}.safetensors"

    def image_shard(
        self, model: str, dataset: str, split: str, shard: int | str, shards: int | str
    ) -> Path:
        folder = self.root / "image_features" / model / dataset / "shards"
        return folder / f"{split}.{shard}-of-{shards}.safetensors"

    def text_features(self, model: str, dataset: str) -> Path:
        return self.root / "text_features" / model / f"{dataset}.safetensors"

    def coder(self, model: str, dataset: str) -> Path:
        return self.root / "coder" / model / f"{dataset}.safetensors"

    def zero_shot(self, model: str, dataset: str) -> Path:
        return self.root / "zero_shot" / model / f"{dataset}.parquet"

    def confusable_pairs(self, dataset: str) -> Path:
        return self.root / "one_to_one" / "pairs" / f"{dataset}.json"

    def generated_pairs(self, dataset: str) -> Path:
        return self.root / "one_to_one" / "generated" / f"{dataset}.json"

    def one_to_one_texts(self, dataset: str) -> Path:
        return self.root / "one_to_one" / f"{dataset}.json"

    def one_to_one(self, model: str, dataset: str) -> Path:
        return self.root / "one_to_one" / model / f"{dataset}.safetensors"

    def rerank(self, model: str, dataset: str) -> Path:
        return self.root / "rerank" / model / f"{dataset}.parquet"

    def adapter(self, model: str, dataset: str, shots: int | str) -> Path:
        return self.root / "adapter" / model / dataset / f"{shots}.parquet"

    def evaluation(self, model: str, dataset: str) -> Path:
        return self.root / "evaluation" / model / f"{dataset}.parquet"

    def table(self, name: str, suffix: str = ".csv") -> Path:
        return self.root / "tables" / f"{name}{suffix}"

    def figure(self, name: str, suffix: str = ".png") -> Path:
        return self.root / "figures" / f"{name}{suffix}"

    @property
    def claims(self) -> Path:
        """The verdict on every claim."""
        return self.root / "evaluation/claims.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.json"

    @property
    def environment(self) -> Path:
        """Description of the software and machine (pipeline/environment.py).

        It is neither in Git nor in DVC.
        """
        return self.root / "environment.json"


# ---- writing -------------------------------------------------------------------------------------


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``.

    Its file replaces ``path`` if the block succeeds, else it is deleted.

    UserError if the target cannot be written (read-only, disk full, a file in the way).
    """
    # The temporary file is locked while it is written, so that other processes can tell it from the
    # remains of a killed one, which they delete. It reaches the disk (fsync) before it is
    # renamed: after a crash the old or the new file is whole.
    path, handle, temporary = Path(path), None, None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{glob.escape(path.name)}.*{glob.escape(path.suffix)}"):
            _remove_unlocked(stale)  # from a run that was killed while it wrote
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent
        )
        temporary = Path(name)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield temporary
        with temporary.open("ab") as stream:
            os.fsync(stream.fileno())
        # the umask can only be read by setting it
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files private, but colleagues share these
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; check permissions and free space"
        ) from error
    finally:
        if handle is not None:
            os.close(handle)
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _remove_unlocked(path: Path) -> None:
    """Remove a temporary file, unless another process is writing it.

    Two runs may make the same file.
    """
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        return
    except OSError:
        pass  # a file system without locks
    path.unlink(missing_ok=True)


def write_bytes(path: str | Path, data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: str | Path, document: Any) -> None:
    """Write indented JSON. ValueError for NaN and infinity, which are not JSON.

    Floats have DIGITS digits, because libraries differ in the 16th.
    """
    document = _rounded(document)
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _rounded(document: Any) -> Any:
    """A document with all of its floats rounded to DIGITS significant digits."""
    if isinstance(document, float):
        return float(f"{document:.{DIGITS}g}")
    if isinstance(document, dict):
        return {key: _rounded(value) for key, value in document.items()}
    if isinstance(document, (list, tuple)):
        return [_rounded(value) for value in document]
    return document


def write_parquet(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table without the versions of pandas and pyarrow.

    An update of these libraries does not change the file's bytes.
    """
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    rows = pyarrow.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    pyarrow.parquet.write_table(rows, buffer, compression="zstd", store_schema=False)
    writer = pyarrow.parquet.ParquetFile(buffer).metadata.created_by
    write_bytes(path, _without_writer(buffer.getvalue(), writer))


def _without_writer(data: bytes, writer: str) -> bytes:
    """Remove the writer's name from the footer of a Parquet file; pyarrow has no option for it.

    The footer is in Thrift's compact form: a string is its length in one byte (below 128) and its
    characters. The footer's size and "PAR1" follow it; no offset points past it.
    """
    size = int.from_bytes(data[-8:-4], "little")
    body, footer = data[: -8 - size], data[-8 - size : -8]
    named = bytes([len(writer)]) + writer.encode()
    assert footer.count(named) == 1, writer
    # an empty string in its place: the byte with the length, which is 0
    footer = footer.replace(named, b"\x00")
    return body + footer + len(footer).to_bytes(4, "little") + data[-4:]


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write safetensors with JSON metadata.

    The metadata is a single entry, because the library keeps several entries in a hash map, whose
    order, and with it the file's bytes, changes from process to process.
    """
    from safetensors.torch import save

    text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, sort_keys=True)
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(on_cpu, {"coder_clip": text}))


# ---- reading -------------------------------------------------------------------------------------


def present(path: Path) -> Path:
    """Return the path. UserError, with the command that makes the file, if it is missing."""
    if not path.is_file():
        raise UserError(
            f"{path} is missing; 'snakemake {path} --configfile FILE' with its configuration makes "
            "it"
        )
    return path


class LacksKey(UserError, KeyError):
    """An error: a file lacks a key that it should have."""

    __str__ = UserError.__str__  # that of KeyError adds quotes


class Content(dict[str, Any]):
    """The content of a file: a dict whose missing key is a UserError with the file's name."""

    def __init__(self, content: Mapping[str, Any], path: str | Path) -> None:
        super().__init__(content)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise LacksKey(f"{self.path} has no '{key}'; delete or restore it and run again")


def read_json(path: str | Path) -> dict[str, Any]:
    """The object in a JSON file. UserError if the file is missing, not JSON or holds no object."""
    with _reading(path, "valid JSON") as file:
        return _document(file.read_text(encoding="utf-8"), path)


def read_classes(manifest: Path) -> list[str]:
    """Class names in label order, from the manifest of a data set. UserError as `read_json`."""
    return list(read_json(manifest)["classes"])


def _document(text: str, path: str | Path) -> Content:
    """Parse a JSON object; ValueError for another value. path: of the file, for later messages."""
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("it must hold an object")
    return Content(document, path)


def read_parquet(path: str | Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The rows in a Parquet file, with these columns (default: all).

    UserError if the file is missing or not readable.
    """
    import pandas as pd

    with _reading(path, "a readable Parquet file") as file:
        return pd.read_parquet(file, columns=list(columns) if columns else None)


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a file from `write_tensors`.

    UserError if the file is missing or not readable.
    """
    with _safetensors(path, "pt") as stream:
        tensors = {k: stream.get_tensor(k) for k in stream.keys()}  # noqa: SIM118
        return Content(tensors, path), _metadata(stream, path)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Only the metadata of a file from `write_tensors`.

    Reads the header, and does not import torch.
    """
    with _safetensors(path, "numpy") as stream:
        return _metadata(stream, path)


@contextmanager
def _safetensors(path: str | Path, framework: str) -> Iterator[Any]:
    """Yield an open safetensors file. UserError if it is missing or not readable."""
    from safetensors import SafetensorError, safe_open

    with (
        _reading(
            path, "a readable safetensors file", (SafetensorError, OSError, ValueError)
        ) as file,
        safe_open(file, framework=framework) as stream,
    ):
        yield stream


@contextmanager
def _reading(
    path: str | Path, kind: str, errors: tuple[type[Exception], ...] = (OSError, ValueError)
) -> Iterator[Path]:
    """Yield the path of a file to read.

    UserError if the file is missing, or if the block raises one of ``errors``. kind: what the file
    should be, for the message.
    """
    try:
        yield present(Path(path))
    except errors as error:
        raise UserError(
            f"{path} is not {kind} ({one_line(error)}); delete or restore it and run again"
        ) from error


def _metadata(stream: Any, path: str | Path) -> dict[str, Any]:
    """The metadata that `write_tensors` stored in an open safetensors file; empty if none."""
    return _document((stream.metadata() or {}).get("coder_clip", "{}"), path)


def sha256(path: str | Path) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def made_by(command: str, inputs: Iterable[str | None]) -> dict[str, Any]:
    """The origin of a document: the command, and each input with its hash. None is no input."""
    paths = sorted(Path(path) for path in inputs if path is not None)
    return {"command": command, "inputs": {shown(path): sha256(path) for path in paths}}


def shown(path: Path) -> str:
    """A path as artefacts name it, the same on every machine: relative to the working directory.

    Outside of it, only the file's name.
    """
    # resolved, so that a path through links or ".." gets the same name
    full = path.resolve()
    if full.is_relative_to(Path.cwd()):
        return full.relative_to(Path.cwd()).as_posix()
    return Path(path.name).as_posix()


def writable(folder: Path, what: str) -> None:
    """UserError if a folder, or the one that it would be made in, cannot be written to.

    what: the things to write, for the message.
    """
    # the folder may not exist yet; lexists also finds a broken link in its place
    place = next(p for p in (folder, *folder.absolute().parents) if os.path.lexists(p))
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(f"{what} cannot be written to {place}: {error.strerror or error}") from None
