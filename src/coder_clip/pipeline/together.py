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
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.shot_files import shot_files
from ..errors import one_line
from ..foundation.artifacts import Paths, read_json, read_metadata, write_bytes, write_json
from .resources import need, on_gpu

if TYPE_CHECKING:
    from .config import Config

log = logging.getLogger("coder_clip")

RULES = ("encode_images", "encode_shard")  # whose jobs do so
FOLDER = "CODER_CLIP_TOGETHER"  # environment variable: the folder of this run on this machine
SECONDS = 60.0  # for which a job goes on with others, while what needs its own split waits: about ten starts
PACKAGE = Path(__file__).parents[1]


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


def offer(
    parts: Iterable[Part], waits: Mapping[str, Path] | None = None, seconds: float | None = None
) -> Path:
    """Make the folder of a run that asks for these parts, and name it to the run's jobs. The caller removes it.

    waits: manifests that the run makes first, by data set; no other job encodes its images before. seconds: how long a
    job goes on with others; None: until nothing is left.
    """
    folder = Path(tempfile.mkdtemp(prefix="coder-clip-together-"))
    before = {dataset: _stat(path) for dataset, path in (waits or {}).items()}
    asked = {"parts": [asdict(part) for part in parts], "before": before, "seconds": seconds}
    write_json(folder / "asked.json", asked)
    os.environ[FOLDER] = str(folder)
    return folder


def encode(config: Config, part: Part, run: Callable[[Part, Path], None]) -> None:
    """Write the features of a part: copied, if another job of this run has encoded it, else with ``run(part, to)``.

    After ``run``, go on with other parts of the model. What goes wrong with these is for their own jobs to report.
    """
    target = Paths(config.results).image_part(**asdict(part))
    folder = Path(os.environ.get(FOLDER, ""))
    if not (folder / "asked.json").is_file():  # not in a run of Snakemake that asks for several
        run(part, target)
        return
    asked, loaded = read_json(folder / "asked.json"), _loaded(config, part.model)
    with _claimed(folder, part, wait=True):
        handed = _handed(folder, config, part, loaded)
        if handed.is_file():
            for image, reason in read_metadata(handed)["skipped"]:
                log.warning("skipped %s: %s", image, reason)
            write_bytes(target, handed.read_bytes())
            handed.unlink()
            log.info("%s: encoded by another job of this run", part)
            return
        began = time.monotonic()
        run(part, target)
        pace = (time.monotonic() - began) / max(_expected(config, part), 1.0)
    for other in _others(config, folder, asked, part, min(pace, 1.0)):
        handed = _handed(folder, config, other, loaded)
        try:
            log.info("going on with %s", other)
            run(other, handed)
        except Exception as error:  # whatever it is, the other job meets it, too, and says so
            log.info("%s is left to its own job: %s", other, one_line(error))


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
        if asked["seconds"] is not None:
            spent = time.monotonic() - began
            if spent + pace * _expected(config, part) > asked["seconds"]:
                continue
        path = Paths(config.results).manifest(part.dataset)
        if part.dataset in asked["before"] and _stat(path) in (None, asked["before"][part.dataset]):
            continue  # the run has not made its manifest yet
        with _claimed(folder, part) as claimed:
            if claimed:
                yield part


def _expected(config: Config, part: Part) -> float:
    """Seconds that a part is expected to take."""
    place: dict[str, Any] = {"model": part.model, "dataset": part.dataset, "split": part.split}
    return need(config, "image_features", on_gpu(config), shards=str(part.shards), **place).seconds


@contextmanager
def _claimed(folder: Path, part: Part, wait: bool = False) -> Iterator[bool]:
    """Hold a part that nobody has begun; with ``wait``, also one that another job has ended with. False: not held."""
    path = folder / f"{part}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                yield False
                return
            log.info("%s: waiting for a job that is encoding it", part)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if path.stat().st_size and not wait:
            yield False
            return
        lock.write("begun\n")  # once: what killed one job is not tried by the next
        lock.flush()
        yield True


def _loaded(config: Config, model: str) -> str:
    """What a process reads once, when it starts, and another job's may have changed since: settings, code, weights."""
    files = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.yaml"), *config.models[model].files]
    return config.model_dump_json() + _stats(files)


def _handed(folder: Path, config: Config, part: Part, loaded: str) -> Path:
    """The file that hands a part over; its name stands for all that decides its bytes and may change during a run."""
    files, published = (
        [Paths(config.results).manifest(part.dataset)],
        config.datasets[part.dataset].shot_files,
    )
    if published is not None:
        files += shot_files(published)
    state = hashlib.sha256((loaded + _stats(files)).encode()).hexdigest()
    return folder / f"{part}.{state}.safetensors"


def _stats(files: Iterable[Path]) -> str:
    return json.dumps({str(path): _stat(path) for path in sorted(files)})


def _stat(path: Path) -> list[int] | None:
    """Size, time and inode of a file; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ino]
