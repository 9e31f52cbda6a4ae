"""Splits that one process encodes together, so that a model's weights are loaded once for many of them.

Snakemake starts a process per split, and each start takes seconds: imports, weights, a GPU's context. Therefore a job
that has encoded its own split goes on with others of its model that the same run asks for, and leaves their features in
a folder of this run on this machine. Their jobs copy the files, and import nothing that takes time. The bytes are
those that each job would have made, because every split is a pass of its own.

A job waits while another encodes its split. What the other could not do, it does itself; and so it does if code,
configuration, manifest or weights have changed since the other read them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..datasets.shot_files import shot_files
from ..errors import UserError, one_line
from ..foundation import evidence
from ..foundation.artifacts import Paths, read_json, read_metadata, write_bytes, write_json
from .resources import need, on_gpu

if TYPE_CHECKING:
    from .config import Config

log = logging.getLogger("coder_clip")

RULES = ("encode_images", "encode_shard")  # whose jobs do so
FOLDER = "CODER_CLIP_TOGETHER"  # environment variable: the folder of this run on this machine
PREFIX = "coder-clip-together-"
SECONDS = 60.0  # for which a job goes on with others, while what needs its own split waits: about ten starts
FASTEST = 0.2  # of the expected seconds; a split that was in the feature store takes none, and tells nothing of others
PACKAGE = Path(__file__).parents[1]
_held: list[IO[str]] = []  # the lock of a run on its folder


@dataclass(frozen=True)
class Part:
    """A split of a data set with a model, or shard i of n of it."""

    model: str
    dataset: str
    split: str
    shard: int = 0
    shards: int = 1

    def __str__(self) -> str:
        return f"{self.model}/{self.dataset}/{self.split}" + (
            f".{self.shard}-of-{self.shards}" if self.shards > 1 else ""
        )


def offer(parts: Iterable[Part], seconds: float | None = None) -> Path:
    """Make the folder of a run that asks for these parts, and name it to the run's jobs. The caller removes it.

    seconds: how long a job goes on with others; None: until nothing is left. OSError or UserError if the folder for
    temporary files has no room or no locks.
    """
    root = Path(tempfile.gettempdir())
    for old in root.glob(f"{PREFIX}*/asked.json"):
        if os.access(old, os.W_OK) and not _used(old):  # of a run that was killed
            shutil.rmtree(old.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        new, asked = folder / "new.json", folder / "asked.json"
        write_json(new, {"parts": [asdict(p) for p in parts], "seconds": seconds, "code": _stats(_code())})
        lock = new.open()
        fcntl.flock(lock, fcntl.LOCK_EX)
        new.rename(asked)  # never seen without its lock
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _held.append(lock)  # until this process ends
    os.environ[FOLDER] = str(folder)
    return folder


def encode(config: Config, part: Part, run: Callable[[Part, Path], None]) -> None:
    """Write the features of a part: copied, if another job of this run has encoded it, else with ``run(part, to)``.

    After ``run``, go on with other parts of the model. What goes wrong there ends it for all jobs of the run, and is
    for the part's own job to report.
    """
    target = Paths(config.results).image_part(**asdict(part))
    folder = Path(os.environ.get(FOLDER, "/nowhere"))
    asked = _asked(folder)
    if asked is None:
        run(part, target)
        return
    loaded = config.model_dump_json() + _stats(config.models[part.model].files)
    with _claimed(folder, part, wait=True):
        handed = _handed(folder, config, part, loaded)
        if (executed := handed.with_suffix(".json")).is_file():
            evidence.sources.update(read_json(executed))  # by the job that encoded it
            for image, reason in read_metadata(handed)["skipped"]:
                log.warning("skipped %s: %s", image, reason)
            write_bytes(target, handed.read_bytes())
            handed.unlink()
            log.info("%s: encoded by another job of this run", part)
            return
        began = time.monotonic()
        run(part, target)
        took = time.monotonic() - began
    try:
        pace = max(took / max(_expected(config, part), 1.0), FASTEST)
        for other in _others(config, folder, asked, part, pace):
            log.info("going on with %s", other)
            handed = _handed(folder, config, other, loaded)
            run(other, handed)
            write_json(handed.with_suffix(".json"), evidence.sources)
    except Exception as error:  # whatever it is: the part's own job meets it, too, and says so
        log.info("going on has ended: %s", one_line(error))
        (folder / "asked.json").unlink(missing_ok=True)


def _asked(folder: Path) -> dict[str, Any] | None:
    """What the run asks for; None if there is none, or its code has changed since it began: each for itself, then."""
    try:
        asked = read_json(folder / "asked.json")
        return asked if asked["code"] == _stats(_code()) else None
    except UserError:
        return None


def _others(
    config: Config, folder: Path, asked: Mapping[str, Any], mine: Part, pace: float
) -> Iterator[Part]:
    """Parts of the same model that nobody has begun, each claimed while it is in use; those of the data set first.

    pace: the seconds that ``mine`` took for each that was expected; a fast GPU takes a tenth.
    """
    parts = [Part(**given) for given in asked["parts"]]
    parts = [part for part in parts if part.model == mine.model and part != mine]
    began = time.monotonic()
    for part in sorted(parts, key=lambda part: part.dataset != mine.dataset):
        if not _used(folder / "asked.json"):  # the run was killed
            return
        if not Paths(config.results).manifest(part.dataset).is_file():
            continue  # the run is about to make it
        if asked["seconds"] is not None:
            spent = time.monotonic() - began
            if spent + pace * _expected(config, part) > asked["seconds"]:
                continue
        with _claimed(folder, part) as claimed:
            if claimed:
                yield part


def _expected(config: Config, part: Part) -> float:
    """Seconds that a part is expected to take."""
    place: dict[str, Any] = {"model": part.model, "dataset": part.dataset, "split": part.split}
    return need(config, "image_features", on_gpu(config), shards=str(part.shards), **place).seconds


def _used(asked: Path) -> bool:
    """True unless the run that made this file, and locks it until it ends, is gone."""
    try:
        with asked.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except FileNotFoundError:
        return False
    except OSError:  # it is locked
        return True


@contextmanager
def _claimed(folder: Path, part: Part, wait: bool = False) -> Iterator[bool]:
    """Hold a part that nobody has begun; with ``wait``, also one that another job has ended with. False: not held.

    With ``wait``, a folder that is full or has no locks holds up nothing.
    """
    with ExitStack() as stack:
        try:
            claimed = _claim(stack, folder / f"{part}.lock", wait)
        except OSError:
            claimed = wait
        yield claimed


def _claim(stack: ExitStack, path: Path, wait: bool) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = stack.enter_context(path.open("a"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            return False
        log.info("waiting for a job that is encoding this split")
        fcntl.flock(lock, fcntl.LOCK_EX)
    if path.stat().st_size and not wait:
        return False
    os.write(lock.fileno(), b"begun\n")  # once: what killed one job is not tried by the next
    return True


def _handed(folder: Path, config: Config, part: Part, loaded: str) -> Path:
    """The file that hands a part over; its name stands for all that decides its bytes and may change during a run."""
    published = config.datasets[part.dataset].shot_files
    files = [Paths(config.results).manifest(part.dataset), *(shot_files(published) if published else ())]
    state = hashlib.sha256((loaded + _stats(files)).encode()).hexdigest()
    return folder / f"{part}.{state}.safetensors"


def _code() -> list[Path]:
    return [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.yaml")]


def _stats(files: Iterable[Path]) -> str:
    return json.dumps({str(path): _stat(path) for path in sorted(files)})


def _stat(path: Path) -> list[int] | None:
    """Size, time and inode of a file; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ino]
