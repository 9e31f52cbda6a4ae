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
from PIL import Image

from coder_clip.datasets import load_below
from coder_clip.datasets.entry import entry
from coder_clip.datasets.fetch import refusal
from coder_clip.errors import UserError
from coder_clip.phases.image_features import shot_images
from coder_clip.pipeline.absent import to_download
from coder_clip.pipeline.config import Config, load_config
from coder_clip.preflight import checks, quick_checks
from coder_clip.preflight.checks import check_config
from coder_clip.preflight.run import before_run
from trees import of_any_lists, plant, replace_entry
from web import serve

Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: Path) -> None:
    """One whose speed and disk matter to no test here, and with a network."""
    monkeypatch.setattr(quick_checks, "refusal", lambda _: "")
    usage = shutil.disk_usage(tmp_path)._replace(free=10**12)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini").symlink_to(repo / "data/mini")


def configure(**more: Any) -> None:
    models = {"mini": {"model": "local-dir:mini"}}
    Path("c.yaml").write_text(
        json.dumps({"models": models, "adapter": {"shots": [1], "seeds": [1]}, **more})
    )


@pytest.mark.parametrize(
    "how", ["empty image", "lost image", "web page", "another document", "lost"]
)
def test_what_the_run_downloads_stops_nothing(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    """Also what is half here: of a download that was killed while its files were moved, or from
    elsewhere.
    """
    root = tmp_path / "root"
    monkeypatch.setenv("CODER_CLIP_DATA", str(root))
    plant("eurosat", root, 1)
    of_any_lists(monkeypatch, entry("eurosat"))
    image = next((root / "eurosat/2750/Forest").iterdir())
    split = root / "eurosat/split_zhou_EuroSAT.json"
    shutil.rmtree(root) if how == "lost" else (image if "image" in how else split).unlink()
    if how == "empty image":
        image.touch()
    if how in ("web page", "another document"):
        split.write_text("<html>" if how == "web page" else "{}")
    configure(datasets={"eurosat": {"texts": "names"}}, fetch=True)
    size = "3 MB" if how in ("web page", "another document") else "0.1 GB"
    answer = command("check", "--config", "c.yaml")
    assert answer.code == 0, answer.err
    assert f"data set eurosat: the run downloads what is not here, {size}\n" in answer.out
    config = load_config("c.yaml")
    assert to_download(config) == ["eurosat"]
    assert not quick_checks.problems(config, Path("c.yaml"), ["eurosat"], ["mini"], asks=False)
    monkeypatch.setenv("CODER_CLIP_ONLY_PRESENT", "1")
    assert load_config("c.yaml").left_out == ()
    monkeypatch.setenv("CODER_CLIP_FETCH", "0")
    with pytest.raises(
        UserError, match="does not exist" if how == "lost" else "none of its data sets is in"
    ):
        load_config("c.yaml")


def test_what_the_run_cannot_download_stops_it(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of Cars the split file can be had, the images can not."""
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path / "root"))
    plant("stanford_cars", tmp_path / "root", 1)
    of_any_lists(monkeypatch, entry("stanford_cars"))
    configure(datasets={"stanford_cars": {"texts": "names"}}, fetch=True)
    (tmp_path / "root/stanford_cars/split_zhou_StanfordCars.json").unlink()
    assert to_download(load_config("c.yaml")) == ["stanford_cars"]
    plant("stanford_cars", tmp_path / "again", 1)
    shutil.copytree(tmp_path / "again", tmp_path / "root", dirs_exist_ok=True)
    next((tmp_path / "root/stanford_cars/cars_test").iterdir()).unlink()
    assert to_download(load_config("c.yaml")) == []
    assert command("check", "--config", "c.yaml").code == 1
    (found,) = quick_checks.problems(
        load_config("c.yaml"), Path("c.yaml"), ["stanford_cars"], [], asks=False
    )
    assert "1 of 588 images are missing or empty" in found


def test_downloads_that_have_no_room(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configure(datasets=["eurosat", "dtd"], fetch=True)
    config = load_config("c.yaml")
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path / "root"))
    usage = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    small = f"eurosat, dtd needs 1.5 GB more in {tmp_path}/root for a while, and 1.0 GB are free"
    assert small in command("check", "--config", "c.yaml").err
    assert quick_checks.problems(config, Path("c.yaml"), ["eurosat", "dtd"], [], asks=False) == [
        small
    ]
    assert not (tmp_path / "root").exists()
    (tmp_path / "root").touch()
    assert (
        f"{tmp_path}/root, the folder of all data sets, is a file"
        in command("check", "--config", "c.yaml").err
    )


def test_servers_that_do_not_answer(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a node without network hours of other work would pass, and then there would be no table."""
    monkeypatch.setattr(quick_checks, "refusal", refusal)
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path / "root"))
    configure(datasets={"dtd": {"texts": "names"}}, fetch=True)
    archive, split = entry("dtd").downloads
    with serve() as web:
        web.files["/a"] = bytes(10)
        here, gone, moved = f"{web.url}/a", "http://127.0.0.1:9/b", f"{web.url}/b"
        for urls, code in (
            ((here, gone), 1),
            ((gone, here), 1),
            ((here, here), 0),
            ((here, moved), 1),
        ):
            downloads = [
                d.model_copy(update={"url": u, "mirrors": []})
                for d, u in zip((archive, split), urls, strict=True)
            ]
            replace_entry(monkeypatch, entry("dtd").model_copy(update={"downloads": downloads}))
            answer = command("check", "--config", "c.yaml")
            assert answer.code == code, answer.err
            (lost,) = {*urls} - {here} or {""}
            reason = "HTTP 404 Not Found" if lost == moved else ""
            assert (f"their servers do not give them: {lost} ({reason}" in answer.err) is bool(code)
        mirrored = archive.model_copy(update={"url": gone, "mirrors": [here]})
        replace_entry(monkeypatch, entry("dtd").model_copy(update={"downloads": [mirrored]}))
        assert command("check", "--config", "c.yaml").code == 0


def test_features_of_which_none_can_be_had(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without network each data set failed alone, in 290 lines; one that is there is enough."""
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path / "root"))
    configure(
        datasets={"dtd_clip": {"texts": "names"}, "whurs19_clip": {"texts": "names"}},
        models={"clip-b32": {"model": "features:true_clip"}},
        settings=["clean"],
        fetch=True,
    )
    for dead in ("dtd", ""):
        monkeypatch.setattr(
            quick_checks, "refusal", lambda url, dead=dead: "no network" * (dead in url.lower())
        )
        answer = command("check", "--config", "c.yaml")
        all_dead = not dead
        assert ("none of the data sets can be downloaded" in answer.err) is all_dead, answer
        assert answer.code == all_dead
    assert "can be downloaded: raw.githubusercontent.com (no network); start this" in answer.err


def test_weights_that_cannot_be_had(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A name with a slip, or a cache that nothing can be written to; else the first job would find
    out.
    """
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    configure(datasets={"shapes": {"texts": "names"}}, models={"clip": {"model": "hf-hub:org/vit"}})
    with serve() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        hub.headers["X-Repo-Commit"] = "0" * 40
        refused = command("check", "--config", "c.yaml")
        assert refused.code == 1
        assert f"{hub.url} has no org/vit (HTTP 404): compare the name" in refused.err
        hub.files["/org/vit/resolve/main/open_clip_config.json"] = b"{}"
        checks._hub_problem.cache_clear()
        answer = command("check", "--config", "c.yaml")
        assert answer.code == 0, answer.err
        assert (
            "model clip: its files are not all on this machine; a run on it fetches them"
            in answer.out
        )
        (tmp_path / "cache").touch()
        assert (
            f"weights cannot be written to {tmp_path}/cache"
            in command("check", "--config", "c.yaml").err
        )


@pytest.fixture(autouse=True)
def asked_again() -> None:
    """A process asks the hub once about a model, and tests share theirs."""
    checks._hub_problem.cache_clear()


@pytest.mark.rest
def test_a_run_names_all_that_is_missing_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As the check does; one at a time, people would start a run a day."""
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    configure(
        datasets={"dtd": {"texts": {"attribute": "llm"}}},
        models={"clip": {"model": "hf-hub:org/vit"}},
        generator={"model": "gpt-4o-mini"},
    )
    with pytest.raises(UserError) as caught:
        before_run(load_config("c.yaml"), Path("c.yaml"), ["dtd"], ["clip"], asks=True, here=True)
    said = str(caught.value)
    assert f"{tmp_path}/root, the folder of all data sets, does not exist" in said
    assert "OPENAI_API_KEY" in said
    assert "'hf download org/vit'" in said
    assert " in all, " not in capfd.readouterr().err, "the run does not start"
    assert not (tmp_path / "hub").exists(), "nothing is downloaded"


@pytest.mark.parametrize(
    ("value", "on"), [("YES", True), ("on", True), ("off", False), ("False", False)]
)
def test_every_door_takes_the_same_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, on: bool
) -> None:
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path / "root"))
    plant("eurosat", tmp_path / "root", 1)
    configure(datasets=["eurosat", "dtd"])
    monkeypatch.setenv("CODER_CLIP_ONLY_PRESENT", value)
    assert load_config("c.yaml").left_out == (("dtd",) if on else ())


def test_a_word_that_is_neither_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(datasets=["eurosat"])
    monkeypatch.setenv("CODER_CLIP_ONLY_PRESENT", "maybe")
    with pytest.raises(UserError, match="CODER_CLIP_ONLY_PRESENT: 'maybe' is neither"):
        load_config("c.yaml")


@pytest.mark.parametrize("part", ["test", "shots", "not drawn"])
def test_an_image_that_was_cut_off_is_found_before_the_run(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: str
) -> None:
    """A copy of a published data set that was stopped; every job before it would have run for
    nothing.
    """
    root = tmp_path / "root"
    monkeypatch.setenv("CODER_CLIP_DATA", str(root))
    plant("eurosat", root, 3)
    data = load_below("eurosat", root)
    drawn = shot_images(load(root), data.split("train"), data.classes)[0].ids
    ids = {
        "test": data.split("test").ids,
        "shots": drawn,
        "not drawn": [i for i in data.split("train").ids if i not in drawn],
    }
    victim = data.path(ids[part][0])
    whole = victim.read_bytes()
    victim.unlink()  # the others may be links to it
    victim.write_bytes(whole[: len(whole) // 2])
    answer = command("check", "--config", "c.yaml")
    if part == "not drawn":
        assert answer.code == 0, "no job reads it"
        return
    assert answer.code == 1
    assert f"image cannot be read: {victim}" in answer.err
    configure(datasets={"eurosat": {"texts": "names"}}, features={"on_error": "skip"})
    assert (
        "1 image cannot be read and will be left out" in command("check", "--config", "c.yaml").out
    )


def load(root: Path) -> Config:
    configure(datasets={"eurosat": {"texts": "names"}})
    return load_config("c.yaml")


def test_copies_in_a_published_data_set_are_named_and_stop_nothing(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Some published data sets truly have them. A run does not mind, so the check only tells."""
    root = tmp_path / "root"
    monkeypatch.setenv("CODER_CLIP_DATA", str(root))
    plant("eurosat", root, 1)
    load(root)
    data = load_below("eurosat", root)
    forest, river, train = (
        data.splits[s][i][0] for s, i in (("test", 1), ("test", 8), ("train", 1))
    )
    every = sorted(i for pairs in data.splits.values() for i, _ in pairs)
    for shade, image in enumerate(every):
        data.path(image).unlink()  # all are links to one file
        Image.new("L", (8, 8), 3 * shade).save(data.path(image))

    def told() -> str:
        answer = command("check", "--config", "c.yaml")
        assert answer.code == 0, answer.err
        return str(answer.out)

    assert " images are in several " not in told()
    shutil.copy(data.path(forest), data.path(train))
    assert (
        "warning: data set eurosat: 1 images are in several splits, so images that are evaluated"
        in told()
    )
    shutil.copy(data.path(forest), data.path(river))
    said = (
        "warning: data set eurosat: 1 images are in several "
        "classes, so that some labels are wrong: "
    )
    assert said + " = ".join(sorted([forest, river, train])) in told()


def test_one_lost_image_does_not_leave_out_a_data_set_that_may_skip_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """27,000 images would be left out of the report for one; without any image of a split a run
    would fail.
    """
    root = tmp_path / "root"
    monkeypatch.setenv("CODER_CLIP_DATA", str(root))
    monkeypatch.setenv("CODER_CLIP_ONLY_PRESENT", "1")
    for name in ("eurosat", "dtd"):
        plant(name, root, 1)

    def left_out(on_error: str) -> tuple[str, ...]:
        configure(datasets=["eurosat", "dtd"], features={"on_error": on_error})
        return load_config("c.yaml").left_out

    data = load_below("eurosat", root)
    first, *others = data.split("test").ids
    data.path(first).unlink()
    assert (left_out("skip"), left_out("fail")) == ((), ("eurosat",))
    for image in others:
        data.path(image).write_bytes(b"")
    assert left_out("skip") == ("eurosat",)


def test_to_leave_out_everything_is_not_advised(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """ONLY_PRESENT=1 would refuse to run."""
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path))
    for datasets, some in ((["imagenet"], False), (["imagenet", "shapes"], True)):
        configure(datasets={name: {"texts": "names"} for name in datasets})
        answer = command("check", "--config", "c.yaml")
        assert answer.code == 1
        assert ("ONLY_PRESENT=1" in answer.out + answer.err) is some
        (found,) = quick_checks.problems(
            load_config("c.yaml"), Path("c.yaml"), datasets, [], asks=False
        )
        assert ("ONLY_PRESENT=1" in found) is some


# ---- GPUs, as torch sees them

GB = 10**9


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """A machine whose GPUs have this much free memory; without any, a driver is all that it has."""
    (tmp_path / "driver/0").mkdir(parents=True)
    monkeypatch.setattr("coder_clip.preflight.checks.CARDS", tmp_path / "driver")
    monkeypatch.setattr("coder_clip.pipeline.resources.DRIVERS", (tmp_path / "driver",))
    monkeypatch.setattr("coder_clip.preflight.checks.weights", lambda *_, **__: iter(()))

    def have(*free: int) -> None:
        monkeypatch.setattr("torch.cuda.device_count", lambda: len(free))
        monkeypatch.setattr("torch.cuda.get_device_name", lambda index: f"card {index}")
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda index: (free[index], 80 * GB))

    return have


def big(**features: Any) -> None:
    model = {"model": "ViT-bigG-14", "pretrained": "laion2b_s39b_b160k"}  # weights of 9 GB
    both = {name: {"texts": "names"} for name in ("shapes", "rare")}
    configure(datasets=both, models={"big": model}, features=features)


def test_each_card_is_looked_at_on_its_own(command: Command, cards: Callable[..., None]) -> None:
    """A job goes to any of them, and ends where the weights do not fit."""
    cards(79 * GB, GB)
    big()
    answer = command("check", "--config", "c.yaml")
    assert "device cuda:0: card 0, 79.0 GB free" in answer.out
    assert answer.code == 1
    assert "cuda:1 has 1.0 GB free, and the weights of model big alone take 9.1 GB" in answer.err
    assert "cuda:0 has" not in answer.err
    big(device="cuda:0")
    assert command("check", "--config", "c.yaml").code == 0, "no job goes to the other"
    cards(79 * GB)  # the other is hidden
    big()
    assert command("check", "--config", "c.yaml").code == 0


def test_the_forecast_counts_the_cards_that_torch_sees(
    command: Command, cards: Callable[..., None]
) -> None:
    big()

    def minutes(*free: int) -> tuple[str, float]:
        cards(*free)
        out = command("check", "--config", "c.yaml").out
        of = next(
            line.split()[-1] for line in out.splitlines() if line.startswith("image_features")
        )
        n, unit = re.search(r"^about ([\d.,]+) (h|min) in all", out, re.M).groups()  # type: ignore[union-attr]
        return of, float(n.replace(",", "")) * (60 if unit == "h" else 1)

    (cpu, without), (gpu, with_one), (_, with_two) = (
        minutes(),
        minutes(70 * GB),
        minutes(70 * GB, 70 * GB),
    )
    assert (cpu, gpu) == ("CPU", "GPU")
    assert without > 2 * with_one
    assert with_two < with_one


@pytest.mark.parametrize(("visible", "warned"), [(None, True), ("", False), ("-1", False)])
def test_a_gpu_that_torch_cannot_use_is_none(
    command: Command,
    cards: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    warned: bool,
) -> None:
    """A build of torch for CPUs is told; whoever hides the GPU knows."""
    cards()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    big()
    out = command("check", "--config", "c.yaml").out
    assert "device cpu" in out
    assert ("this machine has an NVIDIA GPU, and torch" in out) is warned


def test_a_head_without_a_gpu_sends_jobs_to_nodes_that_have_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    configure(datasets={"shapes": {"texts": "names"}}, features={"device": "cuda"})
    config = load_config("c.yaml")
    assert any("model mini" in line for line in check_config(config, Path("c.yaml"), here=False))
    with pytest.raises(UserError, match="device 'cuda' is not on this machine"):
        list(check_config(config, Path("c.yaml"), here=True))


def test_weights_for_which_a_gpu_has_no_room(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model of the hub the size is not known before."""

    def load(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("coder_clip.preflight.checks.load_encoder", load)
    configure(datasets={"shapes": {"texts": "names"}})
    answer = command("check", "--config", "c.yaml")
    assert answer.code == 1
    assert "model mini: the GPU has no room for its weights" in answer.err


def test_a_network_that_is_not_there_is_told_before_the_first_job(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each data set waited for its own time-outs, half an hour together, while others were here."""
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path / "root"))
    names = ("dtd_clip", "whurs19_clip")
    configure(
        datasets={**{name: {"texts": "names"} for name in names}, "caltech101_clip": {}},
        models={"clip-b32": {"model": "features:true_clip"}},
        settings=["clean"],
        fetch=True,
    )
    config = load_config("c.yaml")
    wanted: list[str] = list(names)
    monkeypatch.setattr(quick_checks, "to_download", lambda _: wanted)
    monkeypatch.setattr(quick_checks, "refusal", lambda url: "no network")
    lost = quick_checks.unreachable(config)
    assert lost == dict.fromkeys(names, "raw.githubusercontent.com (no network)")
    # one that can be had is worth a run, and without any the other message has been said
    monkeypatch.setattr(quick_checks, "refusal", lambda url: "no network" * ("dtd" in url.lower()))
    assert quick_checks.unreachable(config) == {}
    monkeypatch.setattr(quick_checks, "refusal", lambda url: "no network")
    wanted.append("caltech101_clip")
    assert quick_checks.unreachable(config) == {}
    wanted.clear()
    assert quick_checks.unreachable(config) == {}
