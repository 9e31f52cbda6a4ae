"""Jobs that encode together: one load of weights for many splits, and never features that the split's own job would not
have made."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

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
    for model in "mn":
        Path(model).mkdir()
        save_file({"w": ones(1)}, Path(model) / "weights.safetensors")
    models = {model: {"model": f"local-dir:{model}"} for model in "mn"}
    Path("c.yaml").write_text(yaml.safe_dump({"datasets": {"shapes": {}, "rare": {}}, "models": models}))
    for dataset in ("shapes", "rare"):
        write_json(Paths("results").manifest(dataset), MANIFEST)
    return load_config("c.yaml")


@pytest.fixture
def folder(config: Config) -> Iterator[Path]:
    yield together.offer(PARTS)
    os.environ.pop(together.FOLDER, None)


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


def test_images_of_a_data_set_that_is_still_being_listed_are_left_alone(
    config: Config, process: Process
) -> None:
    """The manifest of an earlier run names images that may be gone."""
    manifest = Paths("results").manifest("rare")
    for _ in ("listed before", "never listed"):
        together.offer(PARTS, {"rare": manifest})
        together.encode(config, TEST, process)
        assert process.done == [TEST, VAL]
        process.done.clear()
        manifest.unlink(missing_ok=True)


def test_a_new_manifest_of_this_run_is_ready(config: Config, process: Process) -> None:
    manifest = Paths("results").manifest("rare")
    together.offer(PARTS, {"rare": manifest})
    write_json(manifest, MANIFEST)
    together.encode(config, TEST, process)
    assert OTHER in process.done


def test_what_fails_in_another_job_fails_in_its_own_and_nowhere_else(
    config: Config, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    process = Process(Paths(config.results), fails=(VAL,))
    together.encode(config, TEST, process)
    assert (made(config, TEST), process.done) == (str(TEST), [TEST, VAL, OTHER])
    assert "m/shapes/val is left to its own job: m/shapes/val: an image is damaged" in caplog.text
    with pytest.raises(UserError, match="damaged"):
        together.encode(config, VAL, process)


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
    write_json(
        Paths("results").manifest("shapes"), {**MANIFEST, "images": {"train": 4, "val": 10**7, "test": 4}}
    )
    together.offer(PARTS, seconds=together.SECONDS)
    together.encode(config, TEST, process)
    assert process.done == [TEST, OTHER]
    now = iter([0.0, 1.0, 1.0, 62.0, 62.0])  # its own, then others
    monkeypatch.setattr(together.time, "monotonic", lambda: next(now))
    together.offer(PARTS, seconds=together.SECONDS)
    late = Process(process.paths)
    together.encode(config, TEST, late)
    assert late.done == [TEST]


def test_a_full_temporary_folder_costs_time_and_nothing_else(
    config: Config, folder: Path, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Process):
        def __call__(self, part: Part, to: Path) -> None:
            if to.is_relative_to(folder):
                self.done.append(part)
                raise UserError(
                    f"cannot write {to}: No space left on device; check permissions and free space"
                )
            super().__call__(part, to)

    together.encode(config, TEST, Full(process.paths))
    together.encode(config, VAL, process)
    assert (process.done[0], made(config, VAL)) == (VAL, str(VAL))
