"""The DAG: everything runs, twice is nothing, a change reruns what depends on it, a kill costs no
result.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from plain_claims import shot_votes, wrong_accuracies, wrong_claims
from working_copy import PHASES, REPORT, Work, environment

DATASETS, SHOTS = ("shapes", "marks"), (1, 2)
Change = Callable[[Work], object]


def core(plan: dict[str, int]) -> dict[str, int]:
    """Without tables, figures and page, which show all results."""
    return {
        rule: n
        for rule, n in plan.items()
        if not rule.startswith(("compare", "tables", "figures_of", "page"))
    }


def test_one_command_makes_every_artefact(finished: Work) -> None:
    root = finished.folder / "results"
    wanted = []
    for d in DATASETS:
        wanted += [f"manifests/{d}.json", f"texts/{d}.json", f"one_to_one/{d}.json"]
        wanted += [f"image_features/mini/{d}/{s}.safetensors" for s in ("shots", "val", "test")]
        wanted += [f"{p}/mini/{d}.safetensors" for p in ("text_features", "coder", "one_to_one")]
        wanted += [
            f"{p}/mini/{d}.{s}"
            for p in ("zero_shot", "rerank", "evaluation")
            for s in ("json", "parquet")
        ]
        wanted += [f"adapter/mini/{d}/{k}.{s}" for k in SHOTS for s in ("json", "parquet")]
    wanted += ["report.html", "metrics.json"]
    assert [w for w in wanted if not (root / w).is_file()] == []


def test_the_page_names_the_command_that_makes_it(finished: Work) -> None:
    """Without its configuration the command would make the default instead."""
    page = (finished.folder / "results/report.html").read_text(encoding="utf-8")
    assert f"make reproduce CONFIG={finished.config}" in page


def test_documents_are_json_with_their_inputs(finished: Work) -> None:
    """Someone who holds one number must find the files behind it, on any machine."""
    for phase in ("zero_shot", "rerank", "adapter", "evaluation"):
        for path in (finished.folder / "results" / phase).rglob("*.json"):
            text = path.read_text(encoding="utf-8")
            document = json.loads(text)
            assert document["made_by"]["command"].startswith("coder-clip "), path
            for name, digest in document["made_by"]["inputs"].items():
                assert name.startswith("results/"), name
                assert finished.hashes()[name.removeprefix("results/")] == digest
            assert str(finished.folder) not in text, "a machine's path"


def test_every_job_reports_to_its_log(finished: Work) -> None:
    logs = {p.relative_to(finished.folder / "results/logs").as_posix(): p for p in
            (finished.folder / "results/logs").rglob("*.log")}  # fmt: skip
    assert "fit_adapters/mini/shapes/2.log" in logs
    images = [p.read_text() for name, p in logs.items() if name.startswith("encode_images/")]
    assert len(images) == 2
    for text in images:
        assert text.count("img/s") >= 3, "progress of each split with its rate"
    assert (finished.folder / "results/benchmarks/fit_adapters/mini/shapes/2.tsv").is_file()


def test_a_second_run_has_nothing_to_do(work: Work) -> None:
    done = work.snakemake()
    assert "Nothing to be done" in done.stdout + done.stderr


# ---- changes ---


def set_(path: str, value: Any) -> Change:
    def change(work: Work) -> None:
        def do(document: dict[str, Any]) -> None:
            *sections, key = path.split(".")
            for s in sections:
                document = document.setdefault(s, {})
            document[key] = value

        work.configure(do)

    return change


def text(path: str, old: str, new: str) -> Change:
    def change(work: Work) -> None:
        file = work.folder / path
        before = file.read_text(encoding="utf-8")
        assert old in before
        file.write_text(before.replace(old, new, 1), encoding="utf-8")

    return change


def renamed(exhibit: str, old: str, new: str) -> Change:
    """Another name in an exhibit."""
    return text(f"src/coder_clip/reporting/exhibits/{exhibit}.py", old, new)


def nothing(work: Work) -> None:
    """Edits without a meaning in modules that every job executes, and in encoders."""
    source = work.folder / "src/coder_clip"
    for path in [*source.glob("encoders/*.py"), *source.glob("baselines/*.py")]:
        path.write_text(f"# a remark\n\n\n{path.read_text(encoding='utf-8')}\n# another one\n")
    for path, old, new in (
        ("neighbors.py", '"""', '"""Another docstring. '),
        ("errors.py", "\n\n\n", "\n\n\n\n\n"),
        ("pipeline/config.py", "def _switched(", "# a remark\ndef _switched("),
    ):
        text(f"src/coder_clip/{path}", old, new)(work)


def touch(path: str) -> Change:
    return lambda work: (work.folder / path).touch()


def new_photo(work: Work) -> None:
    root = work.folder / "photos/marks/red_disc"
    (root / "another.png").write_bytes((root / "00.png").read_bytes())


def other_donut(work: Work) -> None:
    first, second = (work.folder / f"data/embedded/shapes/train/donut/000{i}.webp" for i in (0, 1))
    first.write_bytes(second.read_bytes())


def other_weights(work: Work) -> None:
    path = work.folder / "data/mini/open_clip_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_the_claims_of_a_run_are_what_plain_numpy_makes_of_its_rows(finished: Work) -> None:
    """A difference of other images or seeds, a lost correction, a verdict on the wrong interval."""
    results = finished.folder / "results"
    found, wrong = wrong_claims(results)
    assert (wrong_accuracies(results), wrong) == ([], [])
    assert found > 50


def test_validation_images_choose_hyper_parameters(finished: Work) -> None:
    """Chosen on other images, few-shot methods look better or worse than they are."""
    betas = np.linspace(0.1, 200, 20)
    told, chosen, others = shot_votes(finished.folder / "results", "shapes", 2, 2, betas.tolist())
    assert told == pytest.approx(chosen, abs=1e-8)
    assert told["val_accuracy"] >= max(others) - 1e-8 > min(others)


STAGE_TWO = {"pair_texts": 2, "encode_pairs": 2, "rerank_top": 2}
PAIRS = {"confusable_pairs": 2, **STAGE_TWO}
AFTER_TEXTS = {
    "encode_texts": 2,
    "build_coder": 2,
    "classify": 2,
    **PAIRS,
    "fit_adapters": 4,
    "evaluate": 2,
}
AFTER_FEATURES = {**AFTER_TEXTS, "encode_images": 2}
EVERYTHING = {**AFTER_FEATURES, "list_images": 2, "text_set": 2}
# val and test come with the shots, from the feature store; jobs behind them are planned, and run if
# bytes changed
AFTER_SHOTS = {**AFTER_FEATURES, "encode_texts": 0, "build_coder": 0}


# the evaluation of one data set reads the images of the others
CONTROLS = {"evaluate": 2}


def of_one(plan: dict[str, int]) -> dict[str, int]:
    """The share of one of two data sets."""
    return {rule: n // 2 for rule, n in plan.items()}


CHANGES: dict[str, tuple[Change, dict[str, int]]] = {
    "title": (set_("title", "another"), {}),
    "workers": (set_("features.workers", 2), {}),
    "device": (set_("features.device", "cpu"), {}),
    "a file touched": (touch("src/coder_clip/rerank.py"), {}),
    "a threshold of the grid": (set_("rerank.thresholds", [0.0, 0.3, 1.0]), {"rerank_top": 2}),
    "the widest threshold": (set_("rerank.thresholds", [0.0, 0.3, 0.5]), PAIRS),
    "top k": (set_("rerank.top_k", 3), PAIRS),
    "a data set's threshold": (set_("datasets.shapes.threshold", 0.2), {"rerank_top": 1}),
    "rounds": (set_("adapter.rounds", 1), {"fit_adapters": 4}),
    "a method less": (
        set_("adapter.methods", ["tip_adapter", "gda", "coder_adapter"]),
        {"fit_adapters": 4},
    ),
    "no method that needs views one by one": (
        set_("adapter.methods", ["tip_adapter", "coder_adapter"]),
        AFTER_SHOTS,
    ),
    "seeds": (set_("adapter.seeds", [1, 2, 3]), AFTER_SHOTS),
    "fewer shots": (set_("adapter.shots", [2]), {}),
    "views": (set_("datasets.marks.views", 3), {**of_one(AFTER_SHOTS), **CONTROLS}),
    # the seed shuffles the random words, which are texts
    "seed of draws": (set_("evaluation.seed", 50), AFTER_TEXTS),
    "no ensemble of 80 templates": (set_("evaluation.template_ensemble", False), AFTER_TEXTS),
    "draws of random words": (set_("evaluation.random_draws", 3), AFTER_TEXTS),
    "t-SNE": (set_("evaluation.tsne_images", 50), {"evaluate": 2}),
    "settings": (set_("settings", ["clean"]), {"classify": 2, **PAIRS, "fit_adapters": 4}),
    "batch size": (set_("features.batch_size", 16), {**AFTER_FEATURES, "encode_texts": 0, "build_coder": 0}),
    "precision": (set_("models", {"mini": {"model": "local-dir:data/mini", "precision": "bf16"}}), AFTER_FEATURES),
    "weights": (other_weights, AFTER_FEATURES),
    "a text": (text("photos/marks.json", "a red round spot", "a red circle"),
               {**of_one(AFTER_TEXTS), "text_set": 1}),
    "a one-to-one text": (text("data/texts/shapes.one_to_one.json", "a flat red face", "a red face"),
                          of_one(STAGE_TWO)),
    "a template": (set_("datasets.marks.templates", {"attribute": "a {class} with {attribute}"}),
                   {**of_one(AFTER_TEXTS), "pair_texts": 1}),
    "a photo": (new_photo, {**of_one(EVERYTHING), **CONTROLS}),
    "what decides nothing": (nothing, {}),
    "another label": (text("src/coder_clip/baselines/tip_adapter.py", 'LABEL = "Tip', 'LABEL = "The Tip'),
                      {"fit_adapters": 4}),
    "stage two": (text("src/coder_clip/rerank.py", "DIFFERENCE_BITS = 22", "DIFFERENCE_BITS = 21"),
                  {"encode_pairs": 2, "rerank_top": 2}),
    "stage one": (text("src/coder_clip/neighbors.py", "CHUNK = 2**19", "CHUNK = 2**18"),
                  {"build_coder": 2, "classify": 2, **PAIRS, "evaluate": 2, "fit_adapters": 4}),
    "the adapter phase": (text("src/coder_clip/phases/adapter.py", 'CODER_ADAPTER = "coder', 'CODER_ADAPTER = "the_coder'),
                          {"fit_adapters": 4}),
    "the normalisation of images": (text("src/coder_clip/encoders/preprocessing.py", ".div_(255)", ".div_(256)"),
                                    AFTER_FEATURES),
    "an embedded picture": (other_donut, {**of_one(EVERYTHING), **CONTROLS}),
    "a function of the configuration": (text("src/coder_clip/pipeline/config.py", "return [folder.expanduser()", "return [folder.expanduser().absolute()"), {}),
    "the command line": (text("src/coder_clip/cli/phases.py", '"One shard of each', '"A shard of each'), {}),
}  # fmt: skip


FIRST = ("workers", "a text", "what decides nothing", "another label")


@pytest.mark.parametrize(
    "what", [pytest.param(w, marks=[] if w in FIRST else pytest.mark.rest) for w in CHANGES]
)
def test_a_change_reruns_what_depends_on_it_and_nothing_else(work: Work, what: str) -> None:
    """Too little gives wrong numbers, too much an evening of waiting."""
    change, expected = CHANGES[what]
    change(work)
    plan = work.planned()
    assert core(plan) == {rule: n for rule, n in expected.items() if n}
    if what in ("workers", "device", "what decides nothing"):
        assert plan == {}
    if expected:
        assert plan["page"] == 1


def test_a_run_says_how_much_is_made_again_and_why(work: Work) -> None:
    """After an upgrade all was made again without a word."""
    command = [sys.executable, "-m", "snakemake", "--configfile", work.config, "--dry-run"]
    assert "made again" not in work.run(*command, "--cores", "1").stderr
    set_("adapter.rounds", 1)(work)
    said = work.run(*command, "--cores", "1").stderr
    assert re.search(
        r"^made again: \d+ jobs, because a parameter changed \(\d+\); 'coder", said, re.M
    )


@pytest.mark.rest
@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (set_("adapter.rounds", 1), {"tables", "figures_of_results", "figures_of_images"}),
        (set_("features.workers", 2), set()),
        (set_("title", "another"), set()),
        (renamed("tsne", "def draw(", "def drawn("), {"figures_of_results"}),
        (renamed("correction", "def draw(", "def drawn("), {"figures_of_images"}),
        (renamed("settings", "entries = in_order(", "found = entries = in_order("), {"tables"}),
    ],
    ids=["rounds", "workers", "title", "a figure", "a figure with images", "a table"],
)
def test_tables_and_figures_are_made_again_where_they_could_differ(
    work: Work, change: Change, shown: set[str]
) -> None:
    change(work)
    assert {rule for rule in work.planned() if rule.startswith(("tables", "figures_of"))} == shown


@pytest.mark.rest
def test_a_changed_text_gives_another_result_without_the_photos(work: Work) -> None:
    """A colleague who pulled the artefacts has no photos, and still changes a text, a template, the
    search.
    """
    before = work.hashes()
    shutil.rmtree(work.folder / "photos/marks")
    assert work.planned() == {}
    CHANGES["a text"][0](work)
    CHANGES["a template"][0](work)
    work.snakemake("adapter", "rerank", "evaluation", "results/tables/zero_shot.csv")
    after = work.hashes()
    again = {name for name in before if before[name] != after[name]}
    for phase in ("texts", "text_features", "coder", "zero_shot", "adapter", "evaluation"):
        assert [n for n in again if n.startswith(f"{phase}/") and "marks" in n], phase
    assert "tables/zero_shot.csv" in again
    assert not [n for n in again if n.startswith(("image_features", "manifests")) or "shapes" in n]
    assert core(work.planned()) == {}, "not only planned: done"
    CHANGES["rounds"][0](work)
    assert core(work.planned()) == {"fit_adapters": 4}


@pytest.mark.rest
def test_a_figure_without_its_photos_names_the_missing_folder(work: Work) -> None:
    """The figure from before must not stay beside new tables as if it were of now."""
    path = work.folder / "results/evaluation/mini/marks.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    ids = pd.read_parquet(work.folder / "results/zero_shot/mini/marks.parquet")["image_id"].unique()
    example = {"query": ids[0], "same": ids[1], "other": ids[-1], "texts": []}
    cosines = {"original": {"same": 0.1, "other": 0.2}, "coder": {"same": 0.2, "other": 0.1}}
    document["corrections"] = [{**example, **cosines}]
    path.write_text(json.dumps(document), encoding="utf-8")
    shutil.rmtree(work.folder / "photos/marks")
    done = work.coder_clip("figure", "correction", "--config", work.config, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "figure 'correction': " in line
    assert "folder photos/marks does not exist" in line


# ---- killed ---


def start(work: Work) -> subprocess.Popen[bytes]:
    """A run in the background, returned as soon as jobs are under way."""
    run = subprocess.Popen(
        work.snakemake_command("adapter"),
        cwd=work.folder,
        env=environment(work.folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    marks = work.folder / ".snakemake/incomplete"
    deadline = time.monotonic() + 120
    while not any(marks.glob("*")) or not below(run):
        assert run.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return run


def below(run: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """All processes below a run."""
    found: list[psutil.Process] = psutil.Process(run.pid).children(recursive=True)
    return found


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.mark.rest
@pytest.mark.parametrize("jobs_survive", [False, True])
def test_a_killed_run_continues_to_the_same_bytes(work: Work, jobs_survive: bool) -> None:
    """After a power cut `make reproduce` again must be enough."""
    before = work.hashes()
    for name in before:
        if name.startswith("adapter/"):
            (work.folder / "results" / name).unlink()
    run = start(work)
    jobs = below(run)
    for process in (run, *jobs):
        process.send_signal(signal.SIGSTOP)  # in the middle of its jobs, while somebody looks
    second = work.snakemake("adapter", check=False)
    assert second.returncode != 0, "two runs at once would write the same files"
    assert "another run of this configuration is alive" in second.stdout + second.stderr

    run.kill()
    run.wait()
    if jobs_survive:
        for job in jobs:
            job.resume()
    else:
        kill(jobs)
    again = work.snakemake("adapter")
    assert "continuing where it was" in again.stdout + again.stderr
    # a job that survived writes beside its output until it ends, and then replaces it
    psutil.wait_procs(jobs, timeout=120)
    assert work.hashes() == before
    assert work.planned() == {}
    kill(jobs)


# ---- the same bytes ---


@pytest.mark.rest
def test_everything_again_elsewhere_without_snakemake_gives_the_same_bytes(
    finished: Work, fresh: Work
) -> None:
    """What a group shares must be what anyone gets."""
    fresh.commands("check", *PHASES, *REPORT, PYTHONHASHSEED="123")
    assert fresh.hashes() == finished.hashes()


@pytest.mark.rest
def test_shards_merge_to_the_same_bytes(fresh: Work) -> None:
    features = "results/image_features/mini/marks/test.safetensors"
    fresh.configure(lambda c: (c["datasets"].pop("shapes"), c["features"].update(batch_size=2)))
    fresh.commands("manifest", "image-features")
    whole = (fresh.folder / features).read_bytes()
    (fresh.folder / features).unlink()
    fresh.configure(lambda c: c["features"].update(shards=3))
    fresh.snakemake(features)
    assert len([name for name in fresh.hashes() if "/shards/" in name]) == 3 * 3, (
        "three splits in three jobs"
    )
    assert (fresh.folder / features).read_bytes() == whole


@pytest.mark.rest
def test_a_job_that_finds_its_features_depends_on_the_code_that_made_them(fresh: Work) -> None:
    """An edit of it left the old features in place, and "nothing to be done": the first run encodes,
    the second finds all in the store.
    """
    features = "results/image_features/mini/marks/test.safetensors"
    certificate = fresh.folder / "results/certificates/image_features/encode_images/mini/marks.json"
    fresh.configure(lambda c: c["datasets"].pop("shapes"))
    shutil.rmtree(fresh.folder / ".cache/coder-clip")
    modules: list[dict[str, str]] = []
    for _ in ("encoded", "found"):
        (fresh.folder / features).unlink(missing_ok=True)
        certificate.unlink(missing_ok=True)
        fresh.snakemake(features)
        modules.append(json.loads(certificate.read_text())["modules"])
    assert modules[0] == modules[1]
    module = fresh.folder / "src/coder_clip/encoders/features.py"
    made = "return batch.images, made"
    assert made in module.read_text()

    def planned() -> bool:
        done = fresh.snakemake(features, "-n")
        return "encode_images" in done.stdout + done.stderr

    assert not planned()
    module.write_text(module.read_text().replace(made, "return batch.images, -made"))
    assert planned()


def test_a_failing_job_shows_its_reason_and_leaves_the_rest_done(fresh: Work) -> None:
    """One broken photo must not hide why, nor stop the other data set."""
    fresh.configure(
        lambda c: c["datasets"].update(other={"root": "photos/other", "texts": "names", "views": 2})
    )
    for name in ("a", "b"):
        folder = fresh.folder / "photos/other" / name
        folder.mkdir(parents=True)
        for i in range(8):
            photo = fresh.folder / f"photos/marks/red_disc/{i:02}.png"
            (folder / f"{i}.png").write_bytes(photo.read_bytes())
    for i in range(8):
        (fresh.folder / f"photos/other/b/{i}.png").write_bytes(b"no image")
    fresh.configure(lambda c: c["datasets"].pop("shapes"))
    features = [
        f"results/image_features/mini/{name}/test.safetensors" for name in ("other", "marks")
    ]
    done = fresh.snakemake(*features, check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "coder-clip: error: image cannot be read: photos/other/b/" in said
    assert [(fresh.folder / path).exists() for path in features] == [False, True]


def tracked(work: Work) -> Work:
    """A repository of this folder, whose configuration is the default. Run again, because the page
    names its configuration.
    """
    who = {
        f"GIT_{who}_{what}": "a" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    for command in (
        ["git", "init", "-q"],
        ["git", "add", "--all"],
        ["git", "commit", "-qm", "mine"],
    ):
        work.run(*command, **who)
    (work.folder / work.config).rename(work.folder / "config/reproduce.yaml")
    work = Work(work.folder, "config/reproduce.yaml")
    work.make()
    return work


@pytest.mark.rest
def test_photos_stay_where_they_are_when_results_are_recorded(work: Work) -> None:
    """DVC gets their manifest, with which two people know that they used the same ones, and never
    the images.
    """
    work = tracked(work)
    said = work.coder_clip("record", "--config", work.config).stdout
    assert "recorded in DVC: texts, image_features" in said
    photos = sorted((work.folder / "photos/marks").rglob("*.png"))
    assert len(photos) == 36
    kept = {p.read_bytes() for p in (work.folder / ".dvc/cache").rglob("*") if p.is_file()}
    assert not any(p.read_bytes() in kept for p in photos)
    assert (work.folder / "results/manifests/marks.json").read_bytes() in kept
    listed = json.loads((work.folder / "results/manifests/marks.json").read_text())["files"]
    assert {f["path"]: f["sha256"] for f in listed} == {
        p.relative_to(work.folder / "photos/marks").as_posix(): hashlib.sha256(
            p.read_bytes()
        ).hexdigest()
        for p in photos
    }
    assert "photos/marks/" not in (work.folder / "dvc.lock").read_text()
