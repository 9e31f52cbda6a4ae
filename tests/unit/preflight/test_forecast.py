"""What jobs need and what a run takes: from numbers of images and classes, whatever of them is
known.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from coder_clip.datasets import PUBLISHED
from coder_clip.datasets.entry import entry
from coder_clip.errors import UserError
from coder_clip.pipeline import costs, resources
from coder_clip.pipeline.config import Config, load_config
from coder_clip.preflight import quick
from coder_clip.preflight.estimate import ahead, job_seconds, planned
from coder_clip.preflight.questions import asked as asked_of
from coder_clip.rerun.judge import Judge
from coder_clip.texts.llm.estimate import rows

VIT = {"model": "ViT-B-32", "pretrained": "openai"}


def configured(tmp_path: Path, **more: Any) -> Config:
    document = {
        "results": str(tmp_path),
        "datasets": {"dtd": {"views": 3}},
        "models": {"clip": VIT},
        "adapter": {"methods": ["tip_adapter", "gda"], "shots": [2, 16], "seeds": [1, 2]},
        **more,
    }
    return Config.model_validate(document)


IMAGENET = ({"train": 20_000, "val": 10_000, "test": 50_000}, 1_000)
MILLION = ({"train": 1_000, "val": 1_000, "test": 1_000_000}, 1_000)
# rule, data set, model, shards -> MB, minutes and seconds of a job: from the constants of
# costs.py and the sizes above by hand, such as 9e-7 · 50,000 · 1,000 + 2 of zero_shot and
# 15 · 10,000 · (2e-5 + 2e-7 · 1,000) of its more than usual resamples
REFERENCE = {
    ("list_images", "mine", "clip", "1"): (2000, 60, 1365.33),
    ("list_images", "read", "clip", "1"): (3000, 15, 66.8),  # was given 1 GB, and needed 1.8
    ("list_images", "dtd", "clip", "1"): (2000, 15, 33.37),  # published: a million is not searched
    ("encode_images", "mine", "clip", "1"): (4000, 2370, 70685.0),
    ("encode_images", "mine", "clip", "3"): (4000, 800, 23562.26),
    ("encode_images", "read", "clip", "1"): (2000, 15, 2.8),  # was three hours
    ("merge_shards", "mine", "clip", "1"): (2000, 10, 0.0),
    ("encode_texts", "mine", "clip", "1"): (5000, 790, 23253.22),
    ("encode_texts", "mine", "double", "1"): (5000, 1565, 46506.44),  # in float64
    ("build_coder", "mine", "clip", "1"): (2000, 15, 0.768),
    ("classify", "mine", "clip", "1"): (6000, 15, 47.0),
    ("confusable_pairs", "mine", "clip", "1"): (2000, 15, 2.8),
    ("encode_pairs", "mine", "clip", "1"): (4000, 195, 5438.82),  # of 3,000 pairs
    ("encode_pairs", "read", "clip", "1"): (3500, 15, 3.0),  # of none
    ("rerank_top", "mine", "clip", "1"): (6000, 15, 52.5),
    ("fit_adapters", "mine", "clip", "1"): (6000, 40, 847.09),
    ("evaluate", "mine", "clip", "1"): (6000, 55, 1270.9),  # was 261 without a square
    ("tables", "mine", "clip", "1"): (2000, 15, 38.0),
    ("figures_of_results", "mine", "clip", "1"): (2000, 15, 8.0),
    ("page", "mine", "clip", "1"): (2000, 15, 41.0),
    ("text_set", "mine", "clip", "1"): (1500, 10, 0.0),
}


def test_the_needs_of_each_job_are_those_of_a_table(tmp_path: Path) -> None:
    """Too little, and Slurm kills the job; too much, and it waits for days."""
    pairs = tmp_path / "pairs.json"
    pairs.write_text('{"a_not_b": []}' * 3_000)
    datasets = {
        "mine": {"root": "photos", "views": 3, "one_to_one": str(pairs)},
        "read": {"features": tmp_path, "classes": ["cat", "dog"]},
        "dtd": {"views": 3},
    }
    models = {"clip": VIT, "double": {**VIT, "precision": "fp64"}}
    config = configured(tmp_path, datasets=datasets, models=models)
    sizes = {"mine": IMAGENET, "read": IMAGENET}
    found = {}
    for rule, dataset, model, shards in REFERENCE:
        of = {**sizes, "dtd": MILLION if rule == "list_images" else IMAGENET}
        at = {"dataset": dataset, "model": model, "shots": "16", "shards": shards}
        need = costs.need(config, rule, at, sizes=of)
        seconds = pytest.approx(need.seconds, rel=1e-3)
        found[rule, dataset, model, shards] = (need.mem_mb, need.minutes, seconds)
    assert found == REFERENCE


def test_sizes_are_known_before_the_manifest_and_from_it(tmp_path: Path) -> None:
    config = configured(tmp_path, datasets={"dtd": {"views": 3}, "mine": {"root": "photos"}})
    unknown = (resources.UNKNOWN_IMAGES, resources.UNKNOWN_CLASSES)
    manifest = {"mine": ({"test": 7}, 2)}  # of a folder that had no other images yet
    images = {"train": 9, "val": 8, "test": 7}
    of_classes = {"images": images, "classes": ["a", "b"]}
    assert resources.counts(config, "dtd", "test") == (1692, 47)
    assert resources.counts(config, "dtd", "shots") == (47 * 16 * 2 * 3, 47)
    assert resources.counts(config, "mine", "test") == unknown
    assert resources.counts(config, "mine", "test", manifest) == (7, 2)
    assert resources.counts(config, "mine", "shots", manifest) == unknown
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/dtd.json").write_text(json.dumps(of_classes))  # another split
    assert resources.counts(config, "dtd", "test") == (7, 2)
    for name in PUBLISHED:
        assert entry(name).n_classes == len(entry(name).class_names())


@pytest.mark.parametrize(
    ("device", "seen", "cores", "gpus", "workers"),
    [
        ("auto", 8, 64, 8, 8),  # jobs on several GPUs share the cores
        ("auto", 8, 4, 8, 1),
        ("cuda:1", 2, 128, 1, 16),  # more threads wait for Python's lock
        ("auto", 0, 2, 0, 8),  # the head node of a cluster asks for a job elsewhere
        ("cpu", 2, 2, 0, 8),
    ],
)
def test_jobs_on_gpus_and_threads_that_decode_fit_the_machine(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    seen: int,
    cores: int,
    gpus: int,
    workers: int,
) -> None:
    monkeypatch.setattr(resources, "DRIVERS", (tmp_path / "driver",))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("torch.cuda.device_count", lambda: seen)
    monkeypatch.setattr("os.cpu_count", lambda: 256)  # a job may use fewer
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    config = configured(tmp_path, features={"device": device})
    assert resources.gpus(config) == 0, "torch is not asked where no GPU can be"
    (tmp_path / "driver").mkdir()
    assert resources.gpus(config) == gpus
    assert resources.workers(config, gpu=True) == workers
    assert resources.workers(config, gpu=False) == 1, "more would take cores from the encoder"
    given = configured(tmp_path, features={"workers": 0})
    assert resources.workers(given, gpu=True) == 0


def test_the_forecast_of_the_paper(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many jobs as Snakemake plans (test_published.py counts those); a GPU saves days."""
    monkeypatch.chdir(repo)
    paper = load_config("config/paper.yaml")
    found = Counter(one.rule.name for one in planned(paper, {}))
    assert found.pop("fit_adapters") == 5 * 11 * 5
    once = ("list_images", "text_set", "confusable_pairs", "pair_texts")
    assert {found.pop(name) for name in once} == {14}
    assert found.pop("compare") == 1
    assert set(found.values()) == {5 * 14}
    hours = [ahead(paper, gpus)[1] for gpus in (0, 1, 4)]
    assert hours[0] > 10 * hours[1] > 10 * hours[2]


@pytest.mark.rest
def test_the_page_about_the_paper_shows_what_is_told(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/paper.md, for a configuration of which nothing is made."""
    monkeypatch.chdir(repo)
    paper, with_texts = (
        load_config(f"config/{name}.yaml").model_copy(update={"results": tmp_path})
        for name in ("paper", "texts")
    )
    page = (repo / "docs/paper.md").read_text(encoding="utf-8")
    estimates = [row.ahead for row in rows(asked_of(with_texts, with_texts.datasets))]
    requests, money = sum(e.requests for e in estimates), sum(e.money for e in estimates)
    assert f"{requests:,} requests for {money:.2f} USD" in " ".join(page.split())
    table, _, gigabytes = ahead(paper, 1)
    assert "\n".join(table[:-1]) in page
    assert f"| {gigabytes:.0f} GB, and" in page
    disk = {name: entry(name).gigabytes for name in paper.datasets}
    some = sum(disk.values()) - disk["imagenet"]
    assert f"| {sum(disk.values()):.0f} GB on disk; {some:.0f} GB" in page


def test_the_forecast_is_at_the_speed_of_the_last_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was stopped in the middle has measured this machine: the data set that is left
    takes a tenth of the usual time.
    """
    config = configured(tmp_path, datasets=["dtd", "eurosat"])
    usual = "at the usual speeds of machines"
    assert usual in ahead(config, gpus=0)[0][-1]
    done, left = (one for one in planned(config, {}) if one.rule.name == "encode_images")
    seconds = [job_seconds(config, one.rule, one.place) for one in (done, left)]
    monkeypatch.setattr(Judge, "reason_to_run", lambda _, job: job.name != done.job.name)
    measured = tmp_path / "benchmarks/encode_images/clip/dtd.tsv"
    measured.parent.mkdir(parents=True)
    measured.write_text(f"s\trule_name\n{seconds[0] / 10}\tany\n")
    device = tmp_path / "environment.json"
    device.write_text('{"device": "cpu"}')
    table = ahead(config, gpus=0)[0]
    (row,) = [line.split() for line in table if line.startswith("image_features")]
    assert row[1:3] == ["1", f"{seconds[1] / 10 / 3600:,.2f}"]
    assert f"at the speed of the last run ({tmp_path}/benchmarks; of encode_images)" in table[-1]
    assert usual in ahead(config, gpus=1)[0][-1], "of another kind of device it says nothing"
    measured.write_text("s\tmax_rss\n1\t2\n")
    assert usual in ahead(config, gpus=0)[0][-1], "half a file"


def test_jobs_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hours of one job were divided by the number of cores, or of GPUs."""
    config = configured(tmp_path)
    monkeypatch.setattr("os.getloadavg", lambda: (9.0, 0.0, 0.0))
    hours = []
    for cores in (1, 2, 64):
        monkeypatch.setattr("os.cpu_count", lambda: 8)
        monkeypatch.setattr("os.sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False)
        table, in_all, _ = ahead(config, gpus=0)
        hours.append(in_all)
    assert hours[0] > hours[1] == hours[2], "two adapters are two jobs, all others are one"
    assert ahead(config, gpus=8)[1] == ahead(config, gpus=1)[1]
    assert table[-1].endswith("; longer while other programs use this machine (load 9 on 8 cores)")


def test_a_first_run_is_not_taken_for_one_of_50_000_images(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make reproduce` in a fresh clone says minutes, as `check` does, and counts the page."""
    monkeypatch.chdir(repo)
    config = load_config("config/reproduce.yaml").model_copy(update={"results": tmp_path / "new"})
    sizes = quick.sizes_without_manifest(config)
    lines = "\n".join(quick.forecast(config, 0, sizes))
    assert re.search(r"^about [1-9] min in all", lines, flags=re.M), lines
    assert re.search(r"^report +1 +0\.0\d +0\.0 +CPU$", lines, flags=re.M), lines
    artefacts = sum(one.size for one in planned(config, sizes)) / 1e9
    page = ahead(config, 0, sizes)[2] - artefacts
    assert 5.3e-3 / 2 < page < 5.3e-3 * 2, "figures, tables, page and certificates of the default"


def test_a_small_disk_is_told_with_sizes_that_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "3.2 MB are needed, and 3.2 MB are free" was a riddle."""
    monkeypatch.setattr(quick, "ahead", lambda *_: (["table"], 1.0, 0.001605))
    usage = shutil.disk_usage(tmp_path)._replace(free=3_200_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"3\.21 MB are needed, and 3\.20 MB are free"):
        list(quick.forecast(configured(tmp_path), 0, {}))


def test_the_forecast_is_near_what_a_run_took(tmp_path: Path) -> None:
    """All of EuroSAT with EfficientNet-lite0 and a small text tower took 286 s of one core. Taken
    for a usual tower, it was forecast as two hours and a half.
    """
    tower = {"timm_model_name": "tf_efficientnet_lite0", "image_size": 224}
    described = {"embed_dim": 512, "vision_cfg": tower, "text_cfg": {"hf_model_name": "."}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": described}))
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 6, "hidden_size": 384}')
    config = configured(
        tmp_path,
        datasets={"eurosat": {"views": 2}},
        models={"small": {"model": f"local-dir:{tmp_path}"}},
        adapter={"shots": [1, 16], "seeds": [1, 2, 3]},
    )
    assert 286 / 2 < ahead(config, gpus=0)[1] * 3600 < 286 * 2
    size = resources.encoder_size(config, "small", closely=True)
    assert size.image == pytest.approx(2 * 407e6, rel=0.1), "its multiplications, as published"
