"""`coder-clip check`: what would stop a run, or spoil its numbers, is told before."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from tiny import save_tiny

from coder_clip.errors import UserError
from coder_clip.foundation.artifacts import Paths
from coder_clip.phases import manifest
from coder_clip.pipeline.config import load_config
from coder_clip.preflight import quick_checks
from trees import jpeg, plant
from web import serve

Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: Path) -> Path:
    """Six photos of a cat and of a dog in every split, on a machine whose speed and disk matter to no test here."""
    usage = shutil.disk_usage(tmp_path)._replace(free=10**12)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(6):
                Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"{i}.jpg")
    (tmp_path / "mini").symlink_to(repo / "data/mini")
    configure()
    return tmp_path / "photos"


def configure(**more: Any) -> None:
    document = {
        "datasets": {"pets": {"root": "photos", "texts": "names", **more.pop("pets", {})}},
        "models": {"mini": {"model": "local-dir:mini"}},
        "adapter": {"shots": [1]},
        **more,
    }
    Path("c.yaml").write_text(json.dumps(document))


def said(command: Command) -> str:
    answer = command("check", "--config", "c.yaml")
    assert answer.code == 0, answer.err
    return str(answer.out)


def refused(command: Command) -> str:
    answer = command("check", "--config", "c.yaml")
    assert answer.code == 1, answer.out
    (line,) = [x for x in answer.err.splitlines() if "error: " in x]
    return str(line)


def test_all_is_well(command: Command) -> None:
    out = said(command)
    assert "data set pets: 2 classes; train 12, val 12, test 12 images" in out
    assert "model mini: local-dir:mini" in out
    assert not re.search("no test image|cannot be read|one side only|missing", out), "nothing is wrong"


def test_own_photos_are_always_present(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to say where published data sets lie who has none."""
    whole = said(command)
    assert command("check", "--config", "c.yaml", "--only-present").out == whole


def test_shots_that_cannot_be_drawn_name_the_data_set(command: Command) -> None:
    configure(adapter={"shots": [7]})
    assert "data set 'pets': adapter.shots: 7 shots, but class 'cat' has 6" in refused(command)


def test_no_estimate_for_photos_that_cannot_be_listed(command: Command, tmp_path: Path) -> None:
    """A folder of twenty photos was said to take 2.5 h and 1.7 GB, because one class folder was empty."""
    (tmp_path / "photos/test/empty").mkdir()
    answer = command("check", "--config", "c.yaml")
    assert "no images in class folder" in answer.err
    assert "in all" not in answer.out
    assert "disk: " not in answer.out


def test_what_a_run_takes(command: Command) -> None:
    """Before hours are spent; less where something is made already."""
    rows = {line.split()[0]: line.split()[1:] for line in said(command).splitlines() if line.strip()}
    assert rows["image_features"][0] == "1"  # shots, val and test in one job
    assert rows["adapter"][0] == "1"
    assert float(rows["image_features"][1]) < 1, "36 images, not the 50,000 of a data set that nobody knows"
    made = Path("results/image_features/mini/pets")
    made.mkdir(parents=True)
    (made / "test.safetensors").touch()
    rows = {line.split()[0]: line.split()[1:] for line in said(command).splitlines() if line.strip()}
    assert rows["image_features"][0] == "1", "the others are still to be made"
    for split in ("shots", "val"):
        (made / f"{split}.safetensors").touch()
    assert not any(line.startswith("image_features") for line in said(command).splitlines())


def test_a_disk_that_is_too_small(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    assert "GB are needed and 0 GB are free" in refused(command)


@pytest.mark.parametrize("root", [True, False])
def test_all_that_is_missing_is_told_at_once(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, root: bool
) -> None:
    """One at a time, people would start a run a day. Also before anybody said where data sets lie."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    if root:
        monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    document = {
        "datasets": {"dtd": {"texts": {"attribute": "llm"}}, "cub200": {"texts": "names"}},
        "models": {"clip": {"model": "RN50", "pretrained": "openai"}},
        "generator": {"model": "gpt-4o-mini"},
    }
    Path("c.yaml").write_text(json.dumps(document))
    answer = command("check", "--config", "c.yaml")
    assert answer.code == 1
    missing = [line for line in answer.out.splitlines() if line.startswith("problem: ")]
    data = ("data set dtd", "data set cub200") if root else ("Set CODER_CLIP_DATA",)
    for line, says in zip(missing, (*data, "OPENAI_API_KEY", "hf download"), strict=True):
        assert says in line
    for name in ("dtd", "cub200") if root else ():
        assert f"coder-clip data get {name} (" in answer.out
    assert f"error: {len(data) + 2} problems" in answer.err
    assert "image_features" in answer.out, "the hours are told all the same"


def test_money_stands_in_the_row_of_the_phase_that_spends_it(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Class texts and pair texts are bought at different times; together they are what the dry run says."""
    prices = {"date": "2024-07-18", "input": 1000, "output": 1000}
    texts = {"attribute": "llm", "one_to_one": "llm"}
    monkeypatch.setenv("K", "k")
    with serve() as server:  # it does not list models, as many do not
        generator = {"model": "m", "key_variable": "K", "prices": prices, "base_url": server.url}
        configure(pets={"texts": texts}, generator=generator)
        out = said(command)
    assert "language model's server" in refused(command), "which is gone now"
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert rows["phase"] == ["jobs", "hours", "GB", "USD", "on"]
    assert [rows[p][0] for p in ("texts", "pair_texts")] == ["2", "1"]
    assert rows["coder"][3] == "–"
    told = float(re.findall(r"about ([\d.]+) USD", out)[0])
    of_kind = {
        line.split()[1]: float(line.split()[-1])
        for line in command("generate-texts", "--dry-run", "--config", "c.yaml").out.splitlines()
        if line.startswith("pets")
    }
    assert float(rows["texts"][3]) == of_kind["classes"] > 0
    assert float(rows["pair_texts"][3]) == of_kind["one_to_one"] > 0
    assert told == pytest.approx(sum(of_kind.values()), abs=0.011)


def test_who_needs_a_gpu_is_told(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A CPU thread takes seconds for an image of a large encoder."""
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path))
    document = {
        "datasets": {"places365": {"texts": "names"}},
        "models": {"clip": {"model": "ViT-L-14", "pretrained": "openai"}},
        "features": {"device": "cpu"},
    }
    Path("c.yaml").write_text(json.dumps(document))
    found = re.search(
        r"no GPU is used here; with one, .*about (\d+) h", command("check", "--config", "c.yaml").out
    )
    assert found
    assert int(found[1]) < 8
    configure()
    assert "no GPU" not in said(command), "36 images need none"


def test_weights_that_can_be_fetched_stop_nothing(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    configure(models={"clip": {"model": "RN50", "pretrained": "openai"}})
    with serve() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        assert "'hf download timm/resnet50_clip.openai' does it now" in said(command)
    assert not (tmp_path / "cache").exists(), "a check fetches nothing"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    told = refused(command)
    assert (
        "model clip: its files are not all on this machine, and http://127.0.0.1:9 cannot be reached" in told
    )
    assert "run 'hf download timm/resnet50_clip.openai' and copy" in told


def test_only_the_data_sets_that_are_there(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path / "root"))
    plant("eurosat", tmp_path / "root", 1)
    document = {
        "only_present": True,
        "datasets": {name: {"texts": "names"} for name in ("eurosat", "dtd", "food101")},
        "models": {"mini": {"model": "local-dir:mini"}},
        "adapter": {"shots": [1], "seeds": [1]},
    }
    Path("c.yaml").write_text(json.dumps(document))
    out = said(command)
    assert "data set eurosat: 10 classes" in out
    assert (
        "left out, because they are not here or incomplete: dtd, food101; 'coder-clip data check --config c.yaml'"
        in out
    )
    assert load_config("c.yaml").left_out == ("dtd", "food101")
    monkeypatch.setenv("CODER_CLIP_ONLY_PRESENT", "false")  # of a command line, comes first
    assert load_config("c.yaml").left_out == ()
    Path("c.yaml").write_text(json.dumps({**document, "only_present": False}))
    assert command("check", "--config", "c.yaml").code == 1
    assert command("check", "--config", "c.yaml", "--only-present").out == out
    monkeypatch.setenv("CODER_CLIP_ONLY_PRESENT", "1")
    assert load_config("c.yaml").left_out == ("dtd", "food101")
    monkeypatch.delenv("CODER_CLIP_ONLY_PRESENT")
    Path("c.yaml").write_text(json.dumps(document))
    assert "food101: not usable" in command("data", "check", "--config", "c.yaml").out, (
        "how else would one get it?"
    )
    assert list(load_config("c.yaml").datasets) == ["eurosat"]
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path / "empty"))
    assert "none of its data sets is in" in refused(command)


def test_who_pulled_all_features_needs_no_images_and_who_has_a_manifest_alone_does(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is left out and what a check calls missing are the same data sets."""
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path / "root"))
    plant("eurosat", tmp_path / "root", 1)
    datasets = {name: {"texts": "names"} for name in ("eurosat", "dtd")}
    configure(datasets=datasets, only_present=True)
    paths = Paths("results")
    features = [paths.image_features("mini", "dtd", split) for split in ("shots", "val", "test")]
    for path in (paths.manifest("dtd"), *features[:2]):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert load_config("c.yaml").left_out == ("dtd",)
    assert "dtd: no images here" not in said(command)
    whole = command("check", "--config", "c.yaml", "--only-present").out
    configure(datasets=datasets)
    answer = command("check", "--config", "c.yaml")
    assert answer.code == 1
    assert "problem: data set dtd, below" in answer.out
    configure(datasets=datasets, only_present=True)
    features[2].touch()
    assert load_config("c.yaml").left_out == ()
    assert "data set dtd: no images here, and none are needed" in said(command)
    assert "left out, because they are not here or incomplete: dtd" in whole
    assert "ONLY_PRESENT=1" not in whole


@pytest.mark.parametrize(("made", "says"), [(False, "does not exist"), (True, "is a file")])
def test_a_root_that_is_none(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: bool, says: str
) -> None:
    """Fourteen data sets that are not in it would say less."""
    if made:
        (tmp_path / "root").touch()
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path / "root"))
    configure(datasets=["eurosat"])
    line = refused(command)
    assert f"{tmp_path}/root, the folder of all data sets, {says}" in line
    assert "CODER_CLIP_DATA" in line
    assert says in command("data", "check", "eurosat").err


def test_a_plan_needs_no_open_clip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repo: Path) -> None:
    """Importing it takes longer than the plan; only ImageNet's names lie there."""
    plant("eurosat", tmp_path / "root", 1)
    (tmp_path / "root/imagenet/train").mkdir(parents=True)
    (tmp_path / "root/imagenet/val").mkdir()
    (tmp_path / "results/manifests").mkdir(parents=True)
    (tmp_path / "results/manifests/imagenet.json").touch()  # its images were all there when it was made
    configure(datasets=["eurosat", "imagenet", "dtd"], only_present=True)
    code = (
        "import sys; from pathlib import Path; from coder_clip.pipeline.config import load_config; "
        "from coder_clip.datasets import listing; from coder_clip.pipeline.absent import absent_data; "
        "c = load_config('c.yaml'); assert c.left_out == ('dtd',), c.left_out; assert not absent_data(c); "
        "assert all(listing(n, d, None) for n, d in c.datasets.items()); "
        "print(sorted({'torch', 'open_clip'} & set(sys.modules)))"
    )
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path / "root"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_other_counts_than_the_published_ones_are_a_warning(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Unpacking that broke off looks like that; but so does a subset that somebody means."""
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path / "root"))
    plant("eurosat", tmp_path / "root", 1)
    configure(datasets={"eurosat": {"texts": "names"}})
    expected = "expected train 13,500, val 5,400, test 8,100: some of it is missing, or it is another version"
    assert f"warning: data set eurosat: {expected}" in said(command)
    manifest.run(load_config("c.yaml"), "eurosat")
    assert f"data set eurosat: train 10, val 10, test 10, but {expected}" in caplog.text


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_a_photo_that_cannot_be_read(command: Command, photos: Path, content: bytes) -> None:
    """The run would stop in the middle, or leave it out."""
    for name in ("0.jpg", "3.jpg"):
        (photos / "test/dog" / name).write_bytes(content)
    line = refused(command)
    assert "image cannot be read: photos/test/dog/0.jpg" in line
    assert "2 such images" in line
    assert "features.on_error: skip" in line
    configure(features={"on_error": "skip"})
    assert "2 images cannot be read and will be left out: test/dog/0.jpg, test/dog/3.jpg" in said(command)


def test_a_class_without_test_images(command: Command, photos: Path) -> None:
    """Its accuracy would be missing without a word."""
    for path in (photos / "test/dog").iterdir():
        path.unlink()
    (photos / "test/dog").rmdir()
    assert "no test image of 'dog'" in said(command)


def test_pairs_with_texts_on_one_side(command: Command) -> None:
    pair = {"a": "cat", "b": "dog", "a_not_b": ["whiskers"]}
    Path("pairs.json").write_text(json.dumps({"format": 1, "dataset": "pets", "pairs": [pair]}))
    configure(pets={"one_to_one": "pairs.json"})
    assert "1 of 1 one-to-one pairs have texts on one side only" in said(command)


@pytest.mark.parametrize("key", ["texts", "one_to_one"])
def test_a_file_that_is_not_there(command: Command, key: str) -> None:
    """No rule makes a person's file; the way to write it is told."""
    configure(pets={key: "nope.json"})
    line = refused(command)
    assert "nope.json" in line
    assert "data/texts/README.md" in line
    assert "snakemake" not in line


def test_a_dictionary_that_is_not_here(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be missed after other texts were paid for, or on a node without network."""
    configure(pets={"texts": {"synonym": "wordnet"}})
    monkeypatch.setenv("WNSEARCHDIR", "nowhere")
    line = refused(command)
    assert "WordNet" in line
    assert "wordnet-base" in line or "WNSEARCHDIR" in line


# ---- what would fail later fails now


def test_a_tokenizer_that_is_not_here(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The weights alone would let the run fail job by job; the repository that is named is one that exists."""
    cache = tmp_path / "cache/models--org--vit"
    save_tiny(cache / "snapshots/0", {"hf_tokenizer_name": "org/tokenizer"})
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text("0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    configure(models={"clip": {"model": "hf-hub:org/vit"}})
    assert "'hf download org/tokenizer'" in refused(command)


def test_results_that_cannot_be_written(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(**_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("coder_clip.preflight.quick_checks.tempfile.TemporaryFile", read_only)
    assert "results cannot be written to" in refused(command)
    assert "Read-only file system" in refused(command)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_the_server_refuses(
    command: Command, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("K", "wrong")
    with serve() as server:
        server.failing = [status]
        configure(
            pets={"texts": {"attribute": "llm"}},
            generator={"model": "m", "key_variable": "K", "base_url": server.url},
        )
        line = refused(command)
    assert f"refuses the key (HTTP {status})" in line
    assert "wrong" not in line


@pytest.mark.parametrize("how", ["empty", "lost", "skip"])
def test_images_that_are_not_whole(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path / "root"))
    plant("eurosat", tmp_path / "root", 1)
    configure(datasets={"eurosat": {"texts": "names"}}, adapter={"shots": [1], "seeds": [1]})
    said(command)
    image = next((tmp_path / "root/eurosat/2750/Forest").iterdir())
    image.unlink()
    if how == "empty":
        image.touch()
    answer = command("check", "--config", "c.yaml")
    assert answer.code == 1
    place = f"below {tmp_path}/root/eurosat/2750, first Forest/{image.name}"
    assert f"problem: data set eurosat: 1 of 30 images are missing or empty, {place}\n" in answer.out
    assert "get       2750: coder-clip data get eurosat" in answer.out
    assert load_config("c.yaml").left_out == ()
    monkeypatch.setenv("CODER_CLIP_ONLY_PRESENT", "1")
    with pytest.raises(UserError, match="none of its data sets is in"):
        load_config("c.yaml")
    monkeypatch.setenv("CODER_CLIP_ONLY_PRESENT", "")
    configure(
        datasets={"eurosat": {"texts": "names"}},
        adapter={"shots": [1], "seeds": [1]},
        features={"on_error": "skip"},
    )
    config = load_config("c.yaml")
    manifest.run(config, "eurosat")
    without = manifest.listing(config, "eurosat")
    image.write_bytes(jpeg(3))
    assert manifest.listing(config, "eurosat") != without, "what came back is encoded"


def test_a_deep_check_decodes_and_finds_copies(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path / "root"))
    plant("eurosat", tmp_path / "root", 1)
    configure(datasets={"eurosat": {"texts": "names"}}, adapter={"shots": [1], "seeds": [1]})
    assert "are in several classes" not in said(command), "of a million images that would take hours"
    deep = command("check", "--config", "c.yaml", "--deep")
    assert deep.code == 0
    assert "images are in several classes" in deep.out
    image = next((tmp_path / "root/eurosat/2750/Forest").iterdir())
    whole = image.read_bytes()
    image.unlink()
    image.write_bytes(whole[: len(whole) // 2])
    said(command)
    deep = command("check", "--config", "c.yaml", "--deep")
    assert deep.code == 1
    assert f"image cannot be read: {image}" in deep.err


def test_a_model_folder_that_is_damaged(command: Command, tmp_path: Path) -> None:
    """Copied over a connection that broke off: the run would fail in its first job of each model."""
    folder = tmp_path / "broken"
    shutil.copytree(tmp_path / "mini", folder)
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    configure(models={"mini": {"model": "local-dir:broken"}})
    assert "open_clip_model.safetensors is not a readable safetensors file" in refused(command)
    found = quick_checks.problems(
        load_config("c.yaml"), Path("c.yaml"), ["pets"], ["mini"], asks=False, here=True
    )
    assert ["is not a readable" in problem for problem in found] == [True], (
        "the same before the first job of a run"
    )
