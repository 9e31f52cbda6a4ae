"""What jobs need and what a run takes: from numbers of images and classes, whatever of them is
known.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from coder_clip.datasets import PUBLISHED, twins
from coder_clip.datasets.entry import entry
from coder_clip.errors import UserError
from coder_clip.phases.generate_texts import asked as asked_of
from coder_clip.pipeline import resources as work
from coder_clip.pipeline.config import Config, load_config
from coder_clip.pipeline.phase_list import OF_THIS_CODE, RULE, phases
from coder_clip.preflight import quick_checks
from coder_clip.preflight.estimate import USUAL, ahead, jobs, report
from coder_clip.texts.llm.estimate import rows


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
    assert work.counts(config, "dtd", "shots") == (
        47 * 4 * 2 * 3,
        47,
    )  # four shots, two seeds, three views
    assert work.counts(config, "photos", "test") == (work.UNKNOWN_IMAGES, work.UNKNOWN_CLASSES)
    assert work.counts(config, "photos", "test", {"photos": ({"test": 7}, 2)}) == (7, 2)
    before = {"photos": ({"test": 7}, 2)}  # the manifest of a folder that had no other images yet
    assert work.counts(config, "photos", "shots", before) == (
        work.UNKNOWN_IMAGES,
        work.UNKNOWN_CLASSES,
    )
    manifest = tmp_path / "manifests/dtd.json"  # another split, once it is known
    manifest.parent.mkdir()
    manifest.write_text(
        json.dumps({"images": {"train": 9, "val": 8, "test": 7}, "classes": ["a", "b"]})
    )
    assert work.counts(config, "dtd", "test") == (7, 2)


def test_classes_are_counted_without_open_clip() -> None:
    assert {n: entry(n).n_classes for n in PUBLISHED} == {
        n: len(entry(n).class_names()) for n in PUBLISHED
    }


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that a GPU's driver makes; it is not there yet."""
    monkeypatch.setattr(work, "DRIVERS", (tmp_path / "driver",))
    monkeypatch.setattr("sys.platform", "linux")
    return tmp_path / "driver"


@pytest.mark.parametrize(
    ("device", "seen", "expected"),
    [
        ("auto", 2, 2),
        ("cuda", 2, 2),
        ("cuda:1", 2, 1),
        ("cpu", 2, 0),
        (
            "auto",
            0,
            0,
        ),  # a driver without a GPU, a build of torch for CPUs, an empty CUDA_VISIBLE_DEVICES
    ],
)
def test_as_many_jobs_encode_at_a_time_as_torch_has_gpus(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    driver: Path,
    device: str,
    seen: int,
    expected: int,
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: seen)
    config = configured(tmp_path, features={"device": device})
    assert work.gpus(config) == 0, "torch takes a second, and is not asked where no GPU can be"
    driver.mkdir()
    assert work.gpus(config) == expected


@pytest.mark.parametrize(
    ("cores", "gpus", "expected"),
    [
        (4, 1, 4),
        (16, 1, 16),
        (64, 8, 8),
        (4, 8, 1),
        (128, 1, 16),  # more threads wait for Python's lock
        (2, 0, 8),  # the head node of a cluster asks for a job elsewhere
    ],
)
def test_threads_that_decode_are_chosen_from_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, gpus: int, expected: int
) -> None:
    """Eight threads decode half of what a GPU of today takes; but jobs on several GPUs share the
    cores, and a job may use fewer cores than the machine has."""
    monkeypatch.setattr(work, "gpus", lambda _: gpus)
    monkeypatch.setattr("os.cpu_count", lambda: 256)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert work.workers(configured(tmp_path), gpu=True) == expected
    assert work.workers(configured(tmp_path), gpu=False) == 1, (
        "more would take the cores from the encoder"
    )
    assert work.workers(configured(tmp_path, features={"workers": 0}), gpu=True) == 0
    assert work.workers(configured(tmp_path, features={"workers": 99}), gpu=True) == 99


def test_a_job_asks_for_what_all_its_splits_take(tmp_path: Path) -> None:
    """Shots, val and test are one job; a shard has its part of each."""
    config = configured(tmp_path)
    sizes = {"dtd": ({"train": 60_000, "val": 90_000, "test": 120_000}, 47)}

    def seconds(**more: str) -> float:
        return work.need(
            config, "image_features", sizes=sizes, model="clip", dataset="dtd", **more
        ).seconds

    one = work.encoder_size(config, "clip").image / work.CPU + 1 / work.DECODED
    shots = 47 * 4 * 2 * 3  # classes, shots, seeds, views
    assert seconds() == pytest.approx((shots + 90_000 + 120_000) * one)
    assert seconds(shards="3") == pytest.approx(seconds() / 3)


def test_features_are_read_and_not_encoded(tmp_path: Path) -> None:
    """A folder of features of ImageNet's size was forecast as three hours of encoding, and asked
    Slurm for days: 8 seconds were real.
    """
    config = configured(
        tmp_path, datasets={"mine": {"features": tmp_path, "classes": ["cat", "dog"]}}
    )
    sizes = {"mine": ({"train": 16_000, "val": 50_000, "test": 50_000}, 1000)}
    needed = work.need(config, "image_features", sizes=sizes, model="clip", dataset="mine")
    assert needed.seconds < 10
    assert needed.minutes == work.LEAST + 5
    assert not work.opens_images(config, "clip", "mine")
    assert work.counts(config, "mine", "shots", sizes)[0] <= 16_000, "features have no views"


def test_the_evaluation_of_many_images_is_quadratic(tmp_path: Path) -> None:
    """Each image is compared with each: of 50,000 the forecast was 261 s, and 567 s of CPU did not
    end it.
    """
    config = configured(tmp_path)

    def seconds(n: int, classes: int) -> float:
        sizes = {"dtd": ({"train": n, "val": n, "test": n}, classes)}
        return work.need(config, "evaluation", sizes=sizes, model="clip", dataset="dtd").seconds

    assert seconds(50_000, 1000) > 567
    # Oxford-IIIT Pet and CIFAR-10 of `make true-clip`, on one core
    for n, classes, took in ((3_669, 37, 15.2), (250, 10, 8.6)):
        assert took / 2 < seconds(n, classes) < took * 2


def test_figures_and_the_page_take_room(tmp_path: Path) -> None:
    """A run ended in its last job on a disk that the check had found large enough."""
    one, two = (
        configured(tmp_path, datasets={d: {"texts": "names"} for d in names})
        for names in (("dtd",), ("dtd", "eurosat"))
    )
    table, _, gigabytes = ahead(one, 0)
    (row,) = [line.split() for line in table if line.startswith("report ")]
    seconds, size = report(one, {})
    assert row[1:] == ["1", f"{seconds / 3600:,.2f}", f"{size:.1f}", "CPU"]
    assert gigabytes > sum(job.size for job in jobs(one, {})) / 1e9
    # the embedded default: figures, tables, page and certificates of two data sets
    assert 5.3e-3 / 2 < report(two, {})[1] < 5.3e-3 * 2
    assert report(two, {})[1] > report(one, {})[1]


@pytest.mark.parametrize(
    ("free", "told"),
    [
        (1e4, r"[0-9.]+ MB are needed, and 1 MB are free"),
        (-1e4, r"3\.21 MB are needed, and 3\.20 MB are free"),
    ],
)
def test_a_small_disk_is_told_with_sizes_that_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, told: str
) -> None:
    """ "1 MB are needed, and 1 MB are free" was a riddle."""
    monkeypatch.setattr(quick_checks, "ahead", lambda *_: (["table"], 1.0, 0.001605))
    left = free if free > 0 else 3.21e6 + free
    usage = shutil.disk_usage(tmp_path)._replace(free=int(left))
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=told):
        list(quick_checks.forecast(configured(tmp_path), 0, {}))


def test_a_model_in_float64_takes_twice_as_long(tmp_path: Path) -> None:
    """The embedded model's texts took 916 s, and 335 s were forecast."""
    seconds = []
    for precision in ("fp64", "fp32"):
        model = {"model": "ViT-B-32", "pretrained": "openai", "precision": precision}
        config = configured(tmp_path, models={"clip": model})
        seconds.append(work.need(config, "text_features", model="clip", dataset="dtd").seconds)
    assert seconds[0] == 2 * seconds[1]


def test_pairs_are_counted_and_not_classes(tmp_path: Path) -> None:
    """A few pairs of many classes were forecast as hours, and a file of 20,000 as minutes."""

    def seconds(n: int) -> float:
        file = tmp_path / f"{n}.json"
        file.write_text('{"a_not_b": []}' * n)
        config = configured(tmp_path, datasets={"dtd": {"one_to_one": str(file)}})
        return work.need(config, "one_to_one", model="clip", dataset="dtd").seconds

    start = work.OTHER["one_to_one"]
    assert seconds(0) == start
    assert seconds(3000) - start == pytest.approx(3 * (seconds(1000) - start))


def test_the_manifest_of_many_images_asks_for_what_it_takes(tmp_path: Path) -> None:
    """92,000 features needed 1.8 GB, and its job was given one."""
    config = configured(
        tmp_path, datasets={"mine": {"features": tmp_path, "classes": ["cat", "dog"]}}
    )
    sizes = {"mine": ({"train": 16_000, "val": 26_000, "test": 50_000}, 2)}
    needed = work.need(config, "manifest", sizes=sizes, dataset="mine")
    assert needed.mem_mb >= 2000
    assert 15 < needed.seconds < 60


@pytest.mark.parametrize("kind", ["features", "folder"])
def test_a_large_split_that_is_searched_is_forecast(tmp_path: Path, kind: str) -> None:
    """200,000 features were forecast as 0.1 s and 2 GB, and 100,000 as 30 s and 2.5 GB.

    Only of published data sets large splits are left out (`twins.MOST`).
    """
    given: dict[str, Any] = {"features": tmp_path, "classes": ["cat", "dog"]}
    if kind == "folder":
        given = {"root": tmp_path}
    config = configured(tmp_path, datasets={"mine": given, "dtd": {}})

    def needed(n: int, dataset: str) -> work.Need:
        sizes = {dataset: ({"train": 1000, "val": 1000, "test": n}, 2)}
        return work.need(config, "manifest", sizes=sizes, dataset=dataset)

    small, large = (needed(n, "mine") for n in (twins.MOST, 2 * twins.MOST))
    assert large.seconds > 2 * small.seconds
    assert large.mem_mb > small.mem_mb
    assert needed(2 * twins.MOST, "dtd").seconds < needed(twins.MOST, "dtd").seconds / 10


def test_every_job_with_an_encoder_counts_as_one_on_a_gpu(repo: Path) -> None:
    """Sixteen at a time, one a core, would not fit in its memory."""
    texts = [f.read_text(encoding="utf-8") for f in (repo / "workflow/rules").glob("*.smk")]
    bodies = {rule: body for text in texts for rule, body in RULE.findall(text)}
    encode = {
        rule for p in phases(OF_THIS_CODE) for rule in p.commands if rule.startswith("encode_")
    }
    assert encode == {"encode_images", "encode_shard", "encode_texts", "encode_pairs"}
    assert {rule for rule, body in bodies.items() if "on_gpu=on_gpu" in body} == encode
    slurm = (repo / "workflow/profiles/slurm/config.yaml").read_text(encoding="utf-8")
    assert "resources: [on_gpu=1]" in slurm


def test_the_forecast_has_the_jobs_of_the_dag(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as Snakemake plans: tests/integration/test_published.py counts those."""
    monkeypatch.chdir(repo)
    paper = load_config("config/paper.yaml")
    found: dict[str, int] = {}
    for job in jobs(paper, {}):
        found[job.phase] = found.get(job.phase, 0) + 1
    assert found["adapter"] == 5 * 11 * 5
    assert found["manifest"] == 14
    others = {phase: n for phase, n in found.items() if phase not in ("adapter", "manifest")}
    assert set(others.values()) == {5 * 14}


def test_a_gpu_saves_days_and_no_disk(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo)
    paper = load_config("config/paper.yaml")

    def hours(gpus: int) -> tuple[float, float]:
        table, _, gigabytes = ahead(paper, gpus)
        found = next(line.split() for line in table if line.startswith("image_features"))
        assert found[-1] == ("GPU" if gpus else "CPU")
        return float(found[2].replace(",", "")), gigabytes

    (with_gpu, disk), (without, same) = hours(1), hours(0)
    assert with_gpu * 50 < without
    assert disk == same < 100
    assert ahead(paper, 4)[1] < ahead(paper, 1)[1], "a job on each of four cards"


@pytest.mark.rest
def test_the_page_about_the_paper_shows_what_is_told(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/paper.md, for a configuration of which nothing is made."""
    monkeypatch.chdir(repo)
    paper = load_config("config/paper.yaml").model_copy(update={"results": tmp_path})
    page = (repo / "docs/paper.md").read_text(encoding="utf-8")
    with_texts = load_config("config/texts.yaml").model_copy(update={"results": tmp_path})
    estimates = [row.ahead for row in rows(asked_of(with_texts, with_texts.datasets))]
    cost = (
        f"{sum(e.requests for e in estimates):,} requests for "
        f"{sum(e.money for e in estimates):.2f} USD"
    )
    assert cost in " ".join(page.split())
    table, _, gigabytes = ahead(paper, 1)
    assert "\n".join(table[:-1]) in page
    assert f"| {gigabytes:.0f} GB, and" in page
    on_disk = {name: entry(name).gigabytes for name in paper.datasets}
    assert (
        f"| {sum(on_disk.values()):.0f} GB on disk; "
        f"{sum(on_disk.values()) - on_disk['imagenet']:.0f} GB"
    ) in page


def benchmark(file: Path, seconds: float) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"s\trule_name\n{seconds}\tany\n")


def test_the_forecast_is_at_the_speed_of_the_last_run(tmp_path: Path) -> None:
    """A run that was stopped in the middle has measured this machine: 3 of 4 data sets are left at
    its speed.
    """
    config = configured(
        tmp_path, datasets={d: {"texts": "names"} for d in ("dtd", "eurosat", "ucf101", "cub200")}
    )
    images = [j for j in jobs(config, {}) if j.phase == "image_features"]
    of = {j: work.need(config, j.phase, usual=USUAL, **j.place).seconds + 5 for j in images}
    before, hours, _ = ahead(config, gpus=0)
    assert before[-1].startswith(
        f"about {hours:,.1f} h in all, at the usual speeds of machines, with "
    )
    dtd = next(job for job in images if job.place["dataset"] == "dtd")
    benchmark(
        tmp_path / "benchmarks/image_features/clip/dtd.tsv", of[dtd] / 10
    )  # a tenth of its estimate
    assert len(dtd.files) == 3  # shots, val, test
    for path in dtd.files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "environment.json").write_text('{"device": "cpu"}')
    after, _, _ = ahead(config, gpus=0)
    row = next(line.split() for line in after if line.startswith("image_features"))
    assert row[1:3] == ["3", f"{(sum(of.values()) - of[dtd]) / 10 / 3600:,.2f}"]
    assert (
        f"at the speed of the last run ({tmp_path}/benchmarks; of image_features), with "
        in after[-1]
    )
    for device in ("cuda", "mps"):  # of another kind of device it says nothing
        (tmp_path / "environment.json").write_text(json.dumps({"device": device}))
        assert "at the usual speeds of machines" in ahead(config, gpus=0)[0][-1]
        assert "at the speed of the last run" in ahead(config, gpus=1)[0][-1]


def test_what_says_nothing_of_the_speed_is_passed_over(tmp_path: Path) -> None:
    """Half a file, and the merge of images that were encoded in shards, which takes a second."""
    config = configured(tmp_path, features={"shards": 2})
    (tmp_path / "environment.json").write_text('{"device": "cpu"}')
    benchmark(tmp_path / "benchmarks/image_features/clip/dtd.tsv", 1)
    for half in ("", "s\trule_name\n3.1", "s\tmax_rss\n1\t2\n"):
        benchmark(file := tmp_path / "benchmarks/zero_shot/clip/dtd.tsv", 1)
        file.write_text(half)
        assert "at the usual speeds of machines" in ahead(config, gpus=0)[0][-1]


def test_a_first_run_is_not_taken_for_one_of_50_000_images(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make reproduce` in a fresh clone, whose images are not listed yet, says minutes, as `check`
    does.
    """
    monkeypatch.chdir(repo)
    config = load_config("config/reproduce.yaml").model_copy(
        update={"results": tmp_path / "nothing yet"}
    )
    lines = quick_checks.forecast(config, 0, quick_checks.sizes_without_manifest(config))
    (said,) = [line for line in lines if " in all, " in line]
    assert re.match(r"about [1-9] min in all", said), said


def small_encoder(folder: Path) -> str:
    """A description without weights: EfficientNet-lite0 and a text tower of 6 layers of width 384."""
    tower = {"timm_model_name": "tf_efficientnet_lite0", "image_size": 224}
    described = {"embed_dim": 512, "vision_cfg": tower, "text_cfg": {"hf_model_name": "."}}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": described}))
    (folder / "config.json").write_text('{"num_hidden_layers": 6, "hidden_size": 384}')
    return f"local-dir:{folder}"


def test_the_forecast_is_near_what_a_run_took(tmp_path: Path) -> None:
    """All of EuroSAT with this encoder took 193 s of one core for images and 22 s for texts, 286 s
    with all other jobs. Taken for a usual tower, it was forecast as two hours and a half.
    """
    config = configured(
        tmp_path,
        datasets={"eurosat": {"views": 2}},
        models={"small": {"model": small_encoder(tmp_path)}},
        adapter={"shots": [1, 16], "seeds": [1, 2, 3]},
    )

    def seconds(phase: str) -> float:
        return work.need(
            config, phase, usual=USUAL, model="small", dataset="eurosat", shots="16"
        ).seconds

    assert 193 / 2 < seconds("image_features") < 193 * 2
    assert 22 / 2 < seconds("text_features") + seconds("one_to_one") < 22 * 2
    assert 286 / 2 < ahead(config, gpus=0)[1] * 3600 < 286 * 2
    macs = 407e6  # of this tower, as its authors publish them
    assert work.encoder_size(config, "small", closely=True).image == pytest.approx(
        2 * macs, rel=0.1
    )


def test_one_job_is_not_shared_by_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hours were divided by the number of cores, or of GPUs."""
    config = configured(tmp_path, datasets={"dtd": {"views": 3}})
    hours = []
    monkeypatch.setattr("os.cpu_count", lambda: 256)  # of which Snakemake may use fewer
    for cores in (1, 2, 64):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False)
        hours.append(ahead(config, gpus=0)[1])
    assert hours[0] > hours[1] == hours[2], "two adapters are two jobs, all others are one"
    assert ahead(config, gpus=8)[1] == ahead(config, gpus=1)[1]


@pytest.mark.parametrize(("load", "told"), [(9.0, True), (1.0, False)])
def test_a_busy_machine_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: float, told: bool
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    said = ahead(configured(tmp_path), gpus=0)[0][-1]
    assert (
        said.endswith("; longer while other programs use this machine (load 9 on 2 cores)") is told
    )


def test_many_resamples_take_their_time(tmp_path: Path) -> None:
    """A million resamples of every interval were "about 1 min"."""

    def hours(resamples: int) -> float:
        config = Config.model_validate(
            {"datasets": ["rare"], "models": ["mini"], "evaluation": {"bootstrap": resamples}}
        )
        sizes = {"rare": ({"train": 100, "val": 100, "test": 4000}, 36)}
        return ahead(config.at(tmp_path), 0, sizes)[1]

    assert hours(2000) < 0.5
    assert hours(1_000_000) > hours(2000) + 0.2
