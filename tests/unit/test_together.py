"""Jobs that encode together: one load of weights for many splits, and never features that the split's own job would not
have made."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from safetensors.torch import save_file
from torch import ones

from coder_clip.errors import UserError
from coder_clip.foundation.artifacts import Paths, read_tensors, write_json, write_tensors
from coder_clip.pipeline import together
from coder_clip.pipeline.config import Config, load_config
from coder_clip.pipeline.together import Part

MANIFEST = {"images": {"train": 4, "val": 4, "test": 4}, "classes": ["a", "b"]}
TEST, VAL, OTHER = Part("m", "shapes", "test"), Part("m", "shapes", "val"), Part("m", "rare", "test")
PARTS = [OTHER, TEST, VAL, Part("n", "shapes", "test")]


class Process:
    """The phase of one process: notes what it was asked to encode."""

    def __init__(self, paths: Paths, fails: tuple[Part, ...] = ()) -> None:
        self.paths, self.fails, self.done = paths, fails, list[Part]()

    def __call__(self, part: Part, to: Path) -> None:
        self.done.append(part)
        if part in self.fails:
            raise UserError(f"{part}: an image is damaged")
        write_tensors(to, {"features": ones(2)}, {"part": str(part), "skipped": [["x.jpg", "is damaged"]]})


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv(together.FOLDER, "none")  # what a test offers is no other test's
    for model in "mn":
        Path(model).mkdir()
        save_file({"w": ones(1)}, Path(model) / "weights.safetensors")
    models = {model: {"model": f"local-dir:{model}"} for model in "mn"}
    Path("c.yaml").write_text(yaml.safe_dump({"datasets": {"shapes": {}, "rare": {}}, "models": models}))
    for dataset in ("shapes", "rare"):
        write_json(Paths("results").manifest(dataset), MANIFEST)
    return load_config("c.yaml")


@pytest.fixture
def folder(config: Config) -> Path:
    return together.offer(PARTS)


@pytest.fixture
def process(config: Config) -> Process:
    return Process(Paths(config.results))


def made(config: Config, part: Part) -> str:
    path = Paths(config.results).image_features(part.model, part.dataset, part.split)
    return str(read_tensors(path)[1]["part"])


def test_one_process_encodes_all_splits_and_data_sets_of_its_model(
    config: Config, folder: Path, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a GPU waits for seconds before every split, while the weights are loaded again."""
    together.encode(config, TEST, process)
    assert process.done == [TEST, VAL, OTHER], "its own, then of its data set, then others; no other model's"
    assert not Paths(config.results).image_features("m", "shapes", "val").exists(), "before its job begins"
    later = Process(process.paths)
    for part in (VAL, OTHER):
        together.encode(config, part, later)
        assert made(config, part) == str(part)
    assert later.done == []
    assert "skipped x.jpg: is damaged" in caplog.text, "in the log of its own job"
    assert not list(folder.rglob("*.safetensors")), "copied files fill the temporary folder"


def test_without_a_run_of_snakemake_a_command_makes_what_it_is_asked_for(
    config: Config, folder: Path, process: Process
) -> None:
    shutil.rmtree(folder)
    together.encode(config, TEST, process)
    assert process.done == [TEST]


@pytest.mark.parametrize("when", ["while the first job loads", "after the first job"])
@pytest.mark.parametrize("what", ["manifest", "shots", "weights", "configuration", "code"])
def test_what_has_changed_since_is_encoded_again(
    config: Config, folder: Path, process: Process, what: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features of old images or weights in a file that is newer than the new ones would count as current for ever."""
    monkeypatch.setattr(together, "PACKAGE", Path("package"))
    Path("package").mkdir()
    Path("package/a.py").write_text("1")
    together.offer(PARTS)
    shots = Path("shots/shot_1-seed_1.json")
    shots.parent.mkdir()
    shots.write_text("[]")
    own = config.datasets["shapes"].model_copy(update={"shot_files": Path("shots")})
    later = config = config.model_copy(update={"datasets": {**config.datasets, "shapes": own}})

    def change() -> None:
        nonlocal later
        if what == "manifest":
            write_json(Paths("results").manifest("shapes"), MANIFEST)
        elif what == "weights":
            save_file({"w": ones(2)}, Path("m/weights.safetensors"))
        elif what == "shots":
            shots.write_text("[1]")
        elif what == "configuration":
            later = config.model_copy(update={"title": "other"})
        else:
            Path("package/a.py").write_text("22")

    def first(part: Part, to: Path) -> None:
        process(part, to)
        if part == (TEST if when.startswith("while") else VAL):
            change()

    together.encode(config, TEST, first)
    second = Process(process.paths)
    together.encode(later, VAL, second)
    read_by_both = what in ("manifest", "shots") and when.startswith("while")
    assert second.done[:1] == ([] if read_by_both else [VAL])


def test_images_of_a_data_set_that_is_not_listed_yet_are_left_alone(
    config: Config, folder: Path, process: Process
) -> None:
    Paths("results").manifest("rare").unlink()
    together.encode(config, TEST, process)
    assert process.done == [TEST, VAL]


def test_code_that_was_edited_since_the_run_began_is_each_jobs_own(
    config: Config, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job may have imported half of it before the edit."""
    monkeypatch.setattr(together, "PACKAGE", Path("package"))
    Path("package").mkdir()
    Path("package/a.py").write_text("1")
    together.offer(PARTS)
    Path("package/a.py").write_text("22")
    together.encode(config, TEST, process)
    assert process.done == [TEST]


def test_what_fails_in_another_job_fails_in_its_own_and_nowhere_else(
    config: Config, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    process = Process(Paths(config.results), fails=(VAL,))
    together.offer([*PARTS, Part("m", "rare", "val")])
    together.encode(config, TEST, process)
    assert made(config, TEST) == str(TEST)
    assert "going on has ended: m/shapes/val: an image is damaged" in caplog.text
    with pytest.raises(UserError, match="damaged"):
        together.encode(config, VAL, process)
    together.encode(config, OTHER, process)
    assert process.done == [TEST, VAL, VAL, OTHER], "a full disk would fail all that others go on with"


def test_a_data_set_that_was_taken_out_during_the_run_fails_no_other(
    config: Config, folder: Path, process: Process
) -> None:
    Path("c.yaml").write_text(Path("c.yaml").read_text().replace("rare", "cifar10"))
    together.encode(load_config("c.yaml"), TEST, process)
    assert made(config, TEST) == str(TEST)


def test_a_job_waits_for_the_one_that_is_encoding_its_split(
    config: Config, folder: Path, process: Process
) -> None:
    """Two that encode the same would take twice the time and memory."""
    begun, go = threading.Event(), threading.Event()

    def slow(part: Part, to: Path) -> None:
        if part == VAL:
            begun.set()
            assert go.wait(60)
        process(part, to)

    first = threading.Thread(target=together.encode, args=(config, TEST, slow))
    first.start()
    assert begun.wait(60)
    later = Process(process.paths)
    second = threading.Thread(target=together.encode, args=(config, VAL, later))
    second.start()
    second.join(0.3)
    assert second.is_alive()
    go.set()
    for thread in (first, second):
        thread.join(60)
    assert (made(config, VAL), later.done) == (str(VAL), [])


def test_what_killed_one_job_is_not_tried_by_the_next(
    config: Config, folder: Path, process: Process, tmp_path: Path
) -> None:
    """A split that needs too much memory takes one job with it, not every one; its own says what it lacks."""
    code = (
        "import os, signal\nfrom coder_clip.pipeline import together\nfrom coder_clip.pipeline.config import "
        "load_config\ndef run(part, to):\n    if part.split == 'val': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    to.parent.mkdir(parents=True, exist_ok=True); to.touch()\n"
        "together.encode(load_config('c.yaml'), together.Part('m', 'shapes', 'test'), run)"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert killed.returncode == -signal.SIGKILL
    together.encode(config, TEST, process)
    assert process.done == [TEST, OTHER]
    later = Process(process.paths)
    together.encode(config, VAL, later)
    assert later.done == [VAL], "no lock is left behind"


def test_a_job_goes_on_for_a_minute_at_most(
    config: Config, folder: Path, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs its own split waits all the time; a long split is worth a start of its own."""
    expected = {TEST: 30.0, VAL: 400.0, OTHER: 40.0}
    monkeypatch.setattr(together, "_expected", lambda config, part: expected[part])

    def encoded(took: float, later: float = 0.0) -> list[Part]:
        """What a job encodes whose own split takes so long, and that looks at others so much later."""
        now = iter([0.0, took, took, *[took + later] * 9])
        monkeypatch.setattr(together, "time", SimpleNamespace(monotonic=lambda: next(now)))
        together.offer(PARTS, seconds=together.SECONDS)
        process.done.clear()
        together.encode(config, TEST, process)
        return process.done[1:]

    assert encoded(30.0) == [OTHER]
    assert encoded(30.0, later=30.0) == []
    assert encoded(90.0) == [], "a machine that is three times as slow as expected"
    assert encoded(0.0) == [OTHER], "the feature store had its own: it says nothing of others"
    expected[VAL] = 290.0
    assert encoded(3.0) == [VAL, OTHER], "a fast GPU"


def test_a_folder_without_room_or_locks_costs_time_and_nothing_else(
    config: Config, folder: Path, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    with monkeypatch.context() as without_locks:
        without_locks.setattr(together.fcntl, "flock", none)
        with pytest.raises(OSError, match="not implemented"):
            together.offer(PARTS)
        assert list(folder.parent.glob("coder-clip-together-*")) == [folder], "nothing is left"
        together.encode(config, TEST, process)
        assert process.done == [TEST]
    with monkeypatch.context() as full:
        full.setattr(together.os, "write", none)
        together.encode(config, VAL, process)
        assert process.done == [TEST, VAL]
    assert made(config, VAL) == str(VAL)


def test_what_a_killed_run_has_left_is_removed_and_its_jobs_do_no_more_work_for_it(
    config: Config, folder: Path, process: Process, tmp_path: Path
) -> None:
    """Features of a few runs would fill the disk."""
    code = (
        "import os, signal\nfrom coder_clip.pipeline import together\nfrom coder_clip.pipeline.together import Part\n"
        "print(together.offer([Part('m', 'shapes', s) for s in ('test', 'val')]), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    killed = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    left = Path(killed.stdout.strip())
    assert (left / "asked.json").is_file()
    os.environ[together.FOLDER] = str(left)
    together.encode(config, TEST, process)
    assert process.done == [TEST]
    together.offer(PARTS)
    assert not left.exists()
    assert folder.exists(), "that of a run that goes on"
