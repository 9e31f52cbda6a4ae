"""What jobs need and what a run takes: from numbers of images and classes, whatever of them is known."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from coder_clip.datasets import PUBLISHED, load_dataset
from coder_clip.datasets.entry import entry
from coder_clip.encoders.encoder import EncoderSpec, load_encoder
from coder_clip.encoders.features import extract
from coder_clip.encoders.text_towers import text_features
from coder_clip.pipeline import resources as work
from coder_clip.pipeline.config import Config, load_config
from coder_clip.pipeline.phase_list import OF_THIS_CODE, phases
from coder_clip.preflight import checks
from coder_clip.preflight.checks import _asked
from coder_clip.preflight.estimate import ahead, jobs
from coder_clip.preflight.measure import measure


def configured(tmp_path: Path, **more: Any) -> Config:
    document = {
        "results": str(tmp_path),
        "datasets": {"dtd": {"views": 3}, "photos": {"root": "photos"}},
        "models": {"clip": {"model": "ViT-B-32", "pretrained": "openai"}},
        "adapter": {"shots": [2, 4], "seeds": [1, 2]},
        **more,
    }
    return Config.model_validate(document)


def test_sizes_of_a_published_data_set_are_known_before_its_manifest(tmp_path: Path) -> None:
    config = configured(tmp_path)
    assert work.counts(config, "dtd", "test") == (1692, 47)
    assert work.counts(config, "dtd", "shots") == (47 * 4 * 2 * 3, 47)  # four shots, two seeds, three views
    assert work.counts(config, "photos", "test") == (work.UNKNOWN_IMAGES, work.UNKNOWN_CLASSES)
    assert work.counts(config, "photos", "test", {"photos": ({"test": 7}, 2)}) == (7, 2)
    before = {"photos": ({"test": 7}, 2)}  # the manifest of a folder that had no other images yet
    assert work.counts(config, "photos", "shots", before) == (work.UNKNOWN_IMAGES, work.UNKNOWN_CLASSES)
    manifest = tmp_path / "manifests/dtd.json"  # another split, once it is known
    manifest.parent.mkdir()
    manifest.write_text(json.dumps({"images": {"train": 9, "val": 8, "test": 7}, "classes": ["a", "b"]}))
    assert work.counts(config, "dtd", "test") == (7, 2)


def test_classes_are_counted_without_open_clip() -> None:
    assert {n: entry(n).n_classes for n in PUBLISHED} == {n: len(entry(n).class_names()) for n in PUBLISHED}


@pytest.mark.parametrize(
    ("device", "cards", "expected"), [("auto", 1, True), ("auto", 0, False), ("cpu", 1, False)]
)
def test_whether_encoders_run_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, cards: int, expected: bool
) -> None:
    for i in range(cards):
        (tmp_path / "gpus" / f"0000:0{i}:00.0").mkdir(parents=True)
    monkeypatch.setattr(work, "CARDS", tmp_path / "gpus")
    monkeypatch.setattr("sys.platform", "linux")
    assert work.on_gpu(configured(tmp_path, features={"device": device})) is expected


def test_loader_processes_are_chosen_from_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "CARDS", tmp_path / "gpus")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert work.workers(configured(tmp_path)) == 0, "on a CPU they would take it from the encoder"
    (tmp_path / "gpus/0").mkdir(parents=True)
    assert work.workers(configured(tmp_path)) == 4
    assert work.workers(configured(tmp_path), gpu=False) == 0
    assert work.workers(configured(tmp_path, features={"workers": 2})) == 2


def test_every_job_with_an_encoder_counts_as_one_on_a_gpu(repo: Path) -> None:
    """Sixteen at a time, one a core, would not fit in its memory."""
    texts = "".join(f.read_text(encoding="utf-8") for f in (repo / "workflow/rules").glob("*.smk"))
    encode = {
        rule for p in phases(OF_THIS_CODE) for rule, keys in p.reads.items() if keys.get("models") == ""
    }
    assert {"encode_images", "encode_shard", "encode_texts", "encode_pairs"} <= encode
    assert all(f'on_gpu=on_gpu("{rule}")' in texts for rule in encode - {"page"})
    slurm = (repo / "workflow/profiles/slurm/config.yaml").read_text(encoding="utf-8")
    assert "resources: [on_gpu=1]" in slurm


@pytest.mark.parametrize(
    ("cards", "nvidia_smi", "expected"),
    [
        ("0", "echo 80000", work.SHARE),  # while one job loads its weights, others use the GPU
        ("0", "echo 7000", 2),
        ("0", "echo 900", 1),  # what cannot fit is tried, alone
        ("0,1,2", "echo 80000; echo 7000; echo 80000", 6),
        ("0,1", "echo '[N/A]'", 2),  # one on each where the memory is not known
        ("0,1", "echo No devices were found; exit 6", 2),
        ("", "exit 127", 1),  # Apple's
    ],
)
def test_as_many_jobs_share_a_gpu_as_its_free_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cards: str, nvidia_smi: str, expected: int
) -> None:
    program = tmp_path / "bin/nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{nvidia_smi}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", cards)
    assert work.jobs_on_gpus(configured(tmp_path)) == expected
    large = {"large": {"model": "ViT-bigG-14", "pretrained": "laion2b_s39b_b160k"}}
    assert work.jobs_on_gpus(configured(tmp_path, models=large)) <= expected


def test_the_forecast_has_the_jobs_of_the_dag(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as Snakemake plans: tests/integration/test_published.py counts those."""
    monkeypatch.chdir(repo)
    paper = load_config("config/paper.yaml")
    found: dict[str, int] = {}
    for job in jobs(paper, {}):
        found[job.phase] = found.get(job.phase, 0) + 1
    assert found["image_features"] == 5 * (11 * 3 + 2 + 1 + 1)
    assert found["adapter"] == 5 * 11 * 5
    assert {n for phase, n in found.items() if phase not in ("image_features", "adapter")} == {5 * 14}


def test_a_gpu_saves_days_and_no_disk(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo)
    paper = load_config("config/paper.yaml")

    def hours(gpu: bool) -> tuple[float, float]:
        table, _, gigabytes = ahead(paper, gpu)
        found = next(line.split() for line in table if line.startswith("image_features"))
        assert found[-1] == ("GPU" if gpu else "CPU")
        return float(found[2].replace(",", "")), gigabytes

    (with_gpu, disk), (without, same) = hours(True), hours(False)
    assert with_gpu * 50 < without
    assert disk == same < 100


def test_the_page_about_the_paper_shows_what_is_told(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/paper.md, for a configuration of which nothing is made."""
    monkeypatch.chdir(repo)
    paper = load_config("config/paper.yaml").model_copy(update={"results": tmp_path})
    page = (repo / "docs/paper.md").read_text(encoding="utf-8")
    asked = _asked(paper)
    requests = sum(e.requests for e in asked.values())
    assert f"at most {requests:,} requests, {sum(e.money or 0 for e in asked.values()):.2f} USD" in page
    table, _, gigabytes = ahead(paper, True, asked)
    assert "\n".join(table[:-1]) in page
    assert f"| {gigabytes:.0f} GB, and" in page
    on_disk = {name: entry(name).gigabytes for name in paper.datasets}
    assert (
        f"| {sum(on_disk.values()):.0f} GB on disk; {sum(on_disk.values()) - on_disk['imagenet']:.0f} GB"
        in page
    )


@pytest.mark.parametrize("photos", [False, pytest.param(True, marks=pytest.mark.rest)])
def test_the_forecast_is_within_a_factor_of_two(
    photos: bool, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Images and texts of the embedded default, and photos with a real encoder: what was measured in seconds against
    what encoding them takes."""
    monkeypatch.chdir(repo)
    model, name, precision = "local-dir:data/mini", "shapes", "fp64"
    datasets: dict[str, Any] = {"shapes": {}}
    if photos:
        shared = request.getfixturevalue("shared")
        model, name, precision = f"local-dir:{shared}/models/lite0-minilm", "photos", "fp32"
        datasets = {"photos": {"root": f"{shared}/data/cifar10", "texts": "names"}}
    config = configured(
        tmp_path,
        datasets=datasets,
        models={"m": {"model": model, "precision": precision}},
        features={"device": "cpu"},
    )
    rates = measure(config)
    encoder = load_encoder(EncoderSpec(model, precision=precision))
    data = load_dataset(name, config.datasets[name])
    ids = data.split("test").ids[:160]
    texts = [
        f"a photo of a {word} thing with {n} round marks on its {word} side"
        for word in "abcdefgh"
        for n in range(40)
    ]

    def seconds(action: Any) -> float:
        began = time.process_time()
        action()
        return time.process_time() - began

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        images = seconds(lambda: extract(data, ids, [0] * len(ids), encoder, batch_size=16, progress=False))
        sentences = seconds(lambda: encoder.encode_texts(texts))
    finally:
        torch.set_num_threads(before)
    assert images / 2 < len(ids) * (rates.image["m"] + rates.decode[name]) < images * 2
    assert sentences / 2 < len(texts) * rates.text["m"] < sentences * 2


@pytest.mark.parametrize("precision", ["fp32", "amp"])
def test_the_forecast_measures_the_precision_of_the_run(
    tmp_path: Path, tiny_dir: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """On a GPU, amp takes a fraction of the time of fp32."""
    seen = []

    def texts(*arguments: Any) -> torch.Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return text_features(*arguments)

    monkeypatch.setattr("coder_clip.preflight.measure.text_features", texts)
    models = {"tiny": {"model": f"local-dir:{tiny_dir}", "precision": precision}}
    assert measure(configured(tmp_path, models=models, features={"device": "cpu"})).text["tiny"] > 0
    assert set(seen) == {precision == "amp"}


def test_a_first_run_is_not_taken_for_one_of_50_000_images(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make reproduce` in a fresh clone, whose images are not listed yet, says minutes, as `check` does."""
    monkeypatch.chdir(repo)
    config = load_config("config/reproduce.yaml").model_copy(update={"results": tmp_path / "nothing yet"})
    (said,) = [line for line in checks.before_run(config, []) if " in all, " in line]
    assert re.match(r"about [1-9] min in all", said), said
