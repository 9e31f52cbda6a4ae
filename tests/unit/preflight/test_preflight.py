"""A run that downloads: what it can get stops nothing; what it cannot get, or has no room for, is
told before.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from coder_clip.datasets import load_below
from coder_clip.datasets.entry import entry
from coder_clip.datasets.fetch import refusal
from coder_clip.errors import UserError
from coder_clip.phases.image_features import shot_images
from coder_clip.pipeline.config import Config, load_config
from coder_clip.preflight import quick, thorough
from coder_clip.preflight.check import Check as Checks
from coder_clip.preflight.check import Run, before_run
from trees import of_any_lists, plant, replace_entry
from web import serve

Check = Callable[[int], str]
Patch = pytest.MonkeyPatch
FILE = Path("c.yaml")
EUROSAT = {"eurosat": {"texts": "names"}}
SHAPES = {"shapes": {"texts": "names"}}
GB = 10**9


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: Patch, repo: Path) -> None:
    """One whose speed and disk matter to no test here, with a network and data sets in `root`."""
    monkeypatch.setattr(quick, "refusal", lambda _: "")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000 * GB)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CODER_CLIP_DATA", "root")
    (tmp_path / "mini").symlink_to(repo / "data/mini")
    thorough._hub_problem.cache_clear()  # a process asks once about a model, and tests share theirs


def configure(**more: Any) -> Config:
    models = {"mini": {"model": "local-dir:mini"}}
    document = {"models": models, "adapter": {"shots": [1], "seeds": [1]}, **more}
    FILE.write_text(json.dumps(document))
    return load_config(FILE)


@pytest.fixture
def check(command: Callable[..., Any]) -> Check:
    """What `check` says, ended with this status."""

    def said(code: int) -> str:
        answer = command("check", "--config", FILE)
        assert answer.code == code, answer
        return str(answer.out + answer.err)

    return said


def problems(config: Config) -> list[str]:
    """What a run says before its first job."""
    checks = Checks(Run(config, FILE, list(config.datasets), [], asks=False, here=True))
    list(checks.lines())
    return checks.problems


@pytest.mark.parametrize("lost", ["2750/Forest", "split_zhou_EuroSAT.json", ""])
def test_what_the_run_downloads_stops_nothing(check: Check, monkeypatch: Patch, lost: str) -> None:
    """Also what is half here, of a download that was killed while its files were moved."""
    plant("eurosat", Path("root"), 1)
    of_any_lists(monkeypatch, entry("eurosat"))
    gone = Path("root/eurosat") / lost
    (gone.unlink if gone.is_file() else lambda: shutil.rmtree(gone))()
    config = configure(datasets=EUROSAT, fetch=True)
    size = "3 MB" if lost.endswith("json") else "0.1 GB"
    assert f"data set eurosat: the run downloads what is not here, {size}\n" in check(0)
    assert problems(config) == []
    monkeypatch.setenv("CODER_CLIP_ONLY_PRESENT", "1")
    assert load_config(FILE).left_out == ()
    monkeypatch.setenv("CODER_CLIP_FETCH", "0")
    with pytest.raises(UserError, match="none of its data sets is in"):
        load_config(FILE)


def test_images_that_cannot_be_downloaded_stop_it(check: Check, monkeypatch: Patch) -> None:
    """Of Cars the split file can be had, the images can not."""
    plant("stanford_cars", Path("root"), 1)
    of_any_lists(monkeypatch, entry("stanford_cars"))
    next(Path("root/stanford_cars/cars_test").iterdir()).unlink()
    config = configure(datasets={"stanford_cars": {"texts": "names"}}, fetch=True)
    check(1)
    (problem,) = problems(config)
    assert "1 of 588 images are missing or empty" in problem


def test_downloads_that_have_no_room(check: Check, monkeypatch: Patch, tmp_path: Path) -> None:
    config = configure(datasets=["eurosat", "dtd"], fetch=True)
    usage = shutil.disk_usage(tmp_path)._replace(free=GB)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    small = "eurosat, dtd needs 1.5 GB more in root for a while, and 1.0 GB are free"
    assert small in check(1)
    assert problems(config) == [small]
    assert not Path("root").exists()
    Path("root").touch()
    assert "root, the folder of all data sets, is a file" in check(1)


def test_servers_that_do_not_answer(check: Check, monkeypatch: Patch) -> None:
    """On a node without network hours of other work would pass, and then there would be no table."""
    monkeypatch.setattr(quick, "refusal", refusal)
    configure(datasets={"dtd": {"texts": "names"}}, fetch=True)
    archive = entry("dtd").downloads[0]
    with serve() as web:
        web.files["/a"] = bytes(10)
        here, gone, moved = f"{web.url}/a", "http://127.0.0.1:9/b", f"{web.url}/b"
        for url, mirrors, says in (
            (here, [], ""),
            (gone, [here], ""),
            (gone, [], f"their servers do not give them: {gone} ("),
            (moved, [], f"their servers do not give them: {moved} (HTTP 404 Not Found"),
        ):
            download = archive.model_copy(update={"url": url, "mirrors": mirrors})
            changed = entry("dtd").model_copy(update={"downloads": [download]})
            replace_entry(monkeypatch, changed)
            assert says in check(int(bool(says)))


@pytest.mark.parametrize(
    ("dead", "local", "lost"),
    [
        ("dtd", "caltech101_clip", False),
        ("", "caltech101_clip", True),
        ("dtd", "", False),
        ("", "", False),
    ],
)
def test_features_that_cannot_be_had(
    check: Check, monkeypatch: Patch, dead: str, local: str, lost: bool
) -> None:
    """Each data set waited for its own time-outs, half an hour together, while others were here;
    one that can be had is worth a run, and without any the check refuses it.
    """
    names = ["dtd_clip", "whurs19_clip"]
    config = configure(
        datasets={name: {"texts": "names"} for name in [*names, local] if name},
        models={"clip-b32": {"model": "features:true_clip"}},
        settings=["clean"],
        fetch=True,
    )
    monkeypatch.setattr(quick, "to_download", lambda _: names)
    monkeypatch.setattr(quick, "refusal", lambda url: "no network" * (dead in url.lower()))
    why = "raw.githubusercontent.com (no network)"
    assert quick.unreachable(config) == (dict.fromkeys(names, why) if lost else {})
    if not local:
        said = check(int(not dead))
        refused = f"none of the data sets can be downloaded: {why}; start this where"
        assert (refused in said) is (not dead)


def test_weights_that_cannot_be_had(check: Check, monkeypatch: Patch, tmp_path: Path) -> None:
    """A name with a slip, or a cache that cannot be written: else the first job would find out."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    configure(datasets=SHAPES, models={"clip": {"model": "hf-hub:org/vit"}})
    with serve() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        hub.headers["X-Repo-Commit"] = "0" * 40
        assert f"{hub.url} has no org/vit (HTTP 404): compare the name" in check(1)
        hub.files["/org/vit/resolve/main/open_clip_config.json"] = b"{}"
        thorough._hub_problem.cache_clear()
        fetched = "model clip: its files are not all on this machine; a run on it fetches them"
        assert fetched in check(0)
        (tmp_path / "cache").touch()
        assert f"weights cannot be written to {tmp_path}/cache" in check(1)


@pytest.mark.rest
def test_a_run_names_all_that_is_missing_at_once(
    monkeypatch: Patch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As the check does; one at a time, people would start a run a day."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", "hub")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    config = configure(
        datasets={"dtd": {"texts": {"attribute": "llm"}}},
        models={"clip": {"model": "hf-hub:org/vit"}},
        generator={"model": "gpt-4o-mini"},
    )
    with pytest.raises(UserError) as caught:
        before_run(Run(config, FILE, ["dtd"], ["clip"], asks=True, here=True))
    said = str(caught.value)
    assert "root, the folder of all data sets, does not exist" in said
    assert "OPENAI_API_KEY" in said
    assert "'hf download org/vit'" in said
    assert " in all, " not in capfd.readouterr().err, "the run does not start"
    assert not Path("hub").exists(), "nothing is downloaded"


@pytest.mark.parametrize("part", ["test", "shots", "not drawn"])
def test_an_image_that_was_cut_off_is_found_before_the_run(check: Check, part: str) -> None:
    """A copy of a published data set that was stopped; every job before it would have run for
    nothing.
    """
    plant("eurosat", Path("root"), 3)
    config = configure(datasets=EUROSAT)
    data = load_below("eurosat", Path("root"))
    train = data.split("train")
    a = config.adapter
    shots = shot_images(train, data.classes, max(a.shots), a.seeds, a.repeat_shots)[0].ids
    left = [i for i in train.ids if i not in shots]
    victim = data.path({"test": data.split("test").ids, "shots": shots, "not drawn": left}[part][0])
    whole = victim.read_bytes()
    victim.unlink()  # the others may be links to it
    victim.write_bytes(whole[: len(whole) // 2])
    if part == "not drawn":
        check(0)  # no job reads it
        return
    assert f"image cannot be read: {victim}" in check(1)
    configure(datasets=EUROSAT, features={"on_error": "skip"})
    assert "1 image cannot be read and will be left out" in check(0)


def test_one_lost_image_does_not_leave_out_a_data_set_that_may_skip_it(monkeypatch: Patch) -> None:
    """27,000 images would be left out of the report for one; without any image of a split a run
    would fail.
    """
    monkeypatch.setenv("CODER_CLIP_ONLY_PRESENT", "1")
    for name in ("eurosat", "dtd"):
        plant(name, Path("root"), 1)

    def left_out(on_error: str) -> tuple[str, ...]:
        return configure(datasets=["eurosat", "dtd"], features={"on_error": on_error}).left_out

    data = load_below("eurosat", Path("root"))
    first, *others = data.split("test").ids
    data.path(first).unlink()
    assert (left_out("skip"), left_out("fail")) == ((), ("eurosat",))
    for image in others:
        data.path(image).write_bytes(b"")
    assert left_out("skip") == ("eurosat",)


def test_to_leave_out_everything_is_not_advised(check: Check) -> None:
    """ONLY_PRESENT=1 would refuse to run."""
    Path("root").mkdir()
    for datasets in ({"imagenet": {"texts": "names"}}, {"imagenet": {"texts": "names"}, **SHAPES}):
        config = configure(datasets=datasets)
        (problem,) = problems(config)
        for said in (check(1), problem):
            assert ("ONLY_PRESENT=1" in said) is ("shapes" in datasets)


# ---- GPUs, as torch sees them


@pytest.fixture
def cards(monkeypatch: Patch, tmp_path: Path) -> Callable[..., None]:
    """A machine whose GPUs have this much free memory; without any, a driver is all that it has."""
    (tmp_path / "driver/0").mkdir(parents=True)
    monkeypatch.setattr(thorough, "CARDS", tmp_path / "driver")
    monkeypatch.setattr("coder_clip.pipeline.resources.DRIVERS", (tmp_path / "driver",))
    monkeypatch.setattr(thorough, "weights", lambda *_, **__: iter(()))

    def have(*free: int, **features: Any) -> None:
        monkeypatch.setattr("torch.cuda.device_count", lambda: len(free))
        monkeypatch.setattr("torch.cuda.get_device_name", lambda index: f"card {index}")
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda index: (free[index], 80 * GB))
        big = {"model": "ViT-bigG-14", "pretrained": "laion2b_s39b_b160k"}  # weights of 9 GB
        configure(datasets=SHAPES, models={"big": big}, features=features)

    return have


def test_each_card_is_looked_at_on_its_own(check: Check, cards: Callable[..., None]) -> None:
    """A job goes to any of them, and ends where the weights do not fit."""
    cards(79 * GB, GB)
    said = check(1)
    assert "device cuda:0: card 0, 79.0 GB free" in said
    assert "cuda:1 has 1.0 GB free, and the weights of model big alone take 9.1 GB" in said
    assert "cuda:0 has" not in said
    assert re.search("^image_features .* GPU$", said, flags=re.M)
    cards(79 * GB, GB, device="cuda:0")
    check(0)  # no job goes to the other


@pytest.mark.parametrize(("visible", "warned"), [("", False), ("-1", False), ("0", True)])
def test_a_gpu_that_torch_cannot_use_is_none(
    check: Check, cards: Callable[..., None], monkeypatch: Patch, visible: str, warned: bool
) -> None:
    """A build of torch for CPUs is told; whoever hides the GPU knows."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    cards()
    said = check(0)
    assert "device cpu" in said
    assert ("this machine has an NVIDIA GPU, and torch" in said) is warned


def test_a_head_without_a_gpu_sends_jobs_to_nodes_that_have_one(monkeypatch: Patch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    config = configure(datasets=SHAPES, features={"device": "cuda"})
    checks = {}
    for here in (False, True):
        names = list(config.datasets), list(config.models)
        checks[here] = Checks(Run(config, FILE, *names, asks=True, here=here, thorough=True))
    assert any("model mini" in line for line in checks[False].lines())
    list(checks[True].lines())
    (problem,) = checks[True].problems
    assert "device 'cuda' is not on this machine" in problem


def test_weights_for_which_a_gpu_has_no_room(check: Check, monkeypatch: Patch) -> None:
    """Of a model of the hub the size is not known before."""

    def load(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(thorough, "load_encoder", load)
    configure(datasets=SHAPES)
    assert "model mini: the GPU has no room for its weights" in check(1)
