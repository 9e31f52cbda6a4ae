"""What each bug and leak is worth, from artefacts to documents, against plain loops over the whole
method.
"""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from coder_clip.adapter import CoderAdapter, search
from coder_clip.baselines.zero_shot import class_weights, clip_scores
from coder_clip.claims import verdict
from coder_clip.evaluation.estimates import compare
from coder_clip.foundation.artifacts import Paths, read_json, read_parquet, write_json
from coder_clip.jobs import work
from coder_clip.neighbors import TextNeighbors
from coder_clip.phases.claims import judged
from coder_clip.reporting.results import Results
from toy_features import GRID, N_CLASSES, Toy

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    made = Toy(tmp_path_factory.mktemp("toy"))
    work(made.config, "build_coder", model="m", dataset="toy")
    work(made.config, "classify", model="m", dataset="toy")
    work(made.config, "rerank_top", model="m", dataset="toy")
    work(made.config, "fit_adapters", model="m", dataset="toy", shots="2")
    return made


def test_each_zero_shot_flaw_alone(toy: Toy) -> None:
    document = read_json(Paths(toy.config.results).rerank("m", "toy").with_suffix(".json"))
    found = {(f["flaw"], f["method"]): f for f in document["flaws"]}
    assert [f for f, _ in found] == [
        *["synonyms"] * 2, *["underscores"] * 2, *["class_names"] * 2, "one_to_one", "no_rerank", "gate_reads_labels",
        "published_threshold", "test_threshold",
    ]  # fmt: skip
    clean = toy.plain("test")
    threshold = toy.chosen("val", toy.plain("val"))
    before = {
        "coder": toy.right("test", clean, 0),
        "coder_rerank": toy.right("test", clean, threshold),
    }
    after = {
        ("no_rerank", "coder_rerank"): toy.right("test", clean, 0),
        ("gate_reads_labels", "coder_rerank"): toy.right("test", clean, threshold),
        ("published_threshold", "coder_rerank"): toy.right("test", clean, 0.3),
        ("test_threshold", "coder_rerank"): toy.right("test", clean, toy.chosen("test", clean)),
    }
    for flaw in ("synonyms", "underscores", "class_names", "one_to_one"):
        with_bug = toy.plain("test", **{flaw: True})
        if flaw != "one_to_one":  # stage two alone
            after[flaw, "coder"] = toy.right("test", with_bug, 0)
        chosen = toy.chosen("val", toy.plain("val", **{flaw: True}))
        after[flaw, "coder_rerank"] = toy.right("test", with_bug, chosen)
    assert set(after) == set(found)
    for key, right in after.items():
        was, got = before[key[1]], found[key]
        assert got["clean"]["value"] == pytest.approx(np.mean(was)), key
        assert got["accuracy"]["value"] == pytest.approx(np.mean(right)), key
        assert got["difference"]["fixed"] == sum(
            r and not w for r, w in zip(right, was, strict=True)
        ), key
        assert got["difference"]["broke"] == sum(
            w and not r for r, w in zip(right, was, strict=True)
        ), key
    looked_at = [f for f in clean if f["gap"] < threshold]
    assert 0 < len(looked_at) < len(clean), "the threshold that was chosen decides nothing"
    labels = toy.images["test"][1].tolist()
    among = sum(
        f["gap"] < threshold and label in f["best"] for f, label in zip(clean, labels, strict=True)
    )
    assert found["gate_reads_labels", "coder_rerank"]["looked_at"] == {
        "clean": len(looked_at),
        "flawed": among,
    }
    assert among < len(looked_at)
    assert after["one_to_one", "coder_rerank"] != before["coder_rerank"]
    reranked, coder_alone = before["coder_rerank"], before["coder"]
    published, chosen = document["methods"]
    assert chosen["against_stage_one"] == {
        "fixed": sum(r and not w for r, w in zip(reranked, coder_alone, strict=True)),
        "broke": sum(w and not r for r, w in zip(reranked, coder_alone, strict=True)),
    }
    assert sum(chosen["against_stage_one"].values()), "the rerank changes nothing here"
    all_bugs = toy.plain("test", synonyms=True, underscores=True, class_names=True, one_to_one=True)
    assert published["accuracy"]["value"] == pytest.approx(
        np.mean(toy.right("test", all_bugs, 0.3))
    )
    assert {f["accuracy"]["value"] for f in found.values()} != {
        found["no_rerank", "coder_rerank"]["clean"]["value"]
    }


def test_each_few_shot_flaw_alone(toy: Toy) -> None:
    document = read_json(Paths(toy.config.results).adapter("m", "toy", 2).with_suffix(".json"))
    found = {f["flaw"]: f for f in document["flaws"]}
    assert set(found) == {"underscores", "class_names", "best_of_two", "test_search"}
    a = toy.config.adapter
    options: dict[str, Any] = {"betas": a.betas, "alphas": a.alphas, "rounds": a.rounds}
    owner = torch.arange(N_CLASSES).repeat_interleave(2)
    weights = class_weights(
        torch.cat([toy.texts["prompt", c] for c in range(N_CLASSES)]), owner, N_CLASSES
    )
    (val, val_labels), (test, test_labels) = toy.images["val"], toy.images["test"]
    clip_val, clip_test = clip_scores(val, weights), clip_scores(test, weights)
    means: dict[str, list[float]] = {}
    for seed in a.seeds:
        rows = torch.tensor(
            [c + N_CLASSES * ((seed + shot) % 5) for shot in range(2) for c in range(N_CLASSES)]
        )
        cache, labels = (t[rows] for t in toy.images["shots"])

        def fitted(*tags: str, cache: Tensor = cache, labels: Tensor = labels) -> CoderAdapter:
            of_classes = toy.of(("name", "attribute", "analogous"), "few_shot", *tags)
            texts = torch.tensor(np.concatenate(of_classes)).float()
            return CoderAdapter.fit(cache, labels, texts, n_classes=N_CLASSES)

        def accuracy(model: CoderAdapter, alpha: float, beta: float) -> float:
            logits = model.logits(test, clip_test, alpha=alpha, beta=beta)
            return float((logits.argmax(dim=1) == test_labels).double().mean())

        model, bug, names = fitted(), fitted("as_published"), fitted("names_as_published")
        on_val, on_test = (
            search(model, x, clip, y, **options)
            for x, clip, y in ((val, clip_val, val_labels), (test, clip_test, test_labels))
        )
        with_bug = search(bug, val, clip_val, val_labels, **options)
        with_names = search(names, val, clip_val, val_labels, **options)
        searched = accuracy(model, on_val.alpha, on_val.beta)
        for key, value in {
            "clean": searched,
            "underscores": accuracy(bug, with_bug.alpha, with_bug.beta),
            "class_names": accuracy(names, with_names.alpha, with_names.beta),
            "best_of_two": max(searched, accuracy(model, 2.0, 30.0)),
            "test_search": accuracy(model, on_test.alpha, on_test.beta),
        }.items():
            means.setdefault(key, []).append(value)
    for key, got in found.items():
        assert got["clean"]["value"] == pytest.approx(np.mean(means["clean"]))
        assert got["accuracy"]["value"] == pytest.approx(np.mean(means[key])), key
        assert got["difference"]["value"] == pytest.approx(
            np.mean(means[key]) - np.mean(means["clean"])
        ), key
    assert found["test_search"]["difference"]["value"] > 0, "the toy shows no leak"


def test_test_images_do_not_decide_which_pairs_get_texts(toy: Toy, tmp_path: Path) -> None:
    """The rerank of `clean` would be helped by texts for just the pairs that its test images need."""
    shutil.copytree(toy.config.results, tmp_path / "results")
    config = toy.config.model_copy(update={"results": tmp_path / "results", "settings": ["clean"]})
    paths = Paths(config.results)
    write_json(
        paths.manifest("toy"),
        {"classes": [f"class {c}" for c in range(N_CLASSES)], "images": {"val": 0, "test": 0}},
    )
    paths.image_features("m", "toy", "test").unlink()
    work(config, "confusable_pairs", dataset="toy")
    widest = max(0.3, *GRID)
    counts = Counter(
        tuple(sorted(pair))
        for image in toy.plain("val")
        if image["gap"] < widest
        for pair in itertools.combinations(image["best"], 2)
    )
    found = read_json(paths.confusable_pairs("toy"))
    assert {(p["a"], p["b"]): p["compared"] for p in found["pairs"]} == counts
    frequent = [p["inside_gate"] for p in found["pairs"]]
    assert frequent == sorted(frequent, reverse=True)
    assert frequent[0] > 0
    assert found["split"] == "val"


def test_random_words_are_the_mean_over_all_draws(toy: Toy) -> None:
    """One draw of a control that moves by several points would be luck."""
    path = Paths(toy.config.results).zero_shot("m", "toy")
    document, rows = read_json(path.with_suffix(".json")), read_parquet(path)
    x, labels = (t.numpy() for t in toy.images["test"])
    scores = np.einsum(
        "nd,kcd->knc", x / np.linalg.norm(x, axis=1, keepdims=True), toy.random_words.numpy()
    )
    correct = scores.argmax(axis=2) == labels
    got = next(m for m in document["methods"] if m["method"] == "random_words")
    assert got["accuracy"]["value"] == pytest.approx(correct.mean())
    means = correct.mean(axis=1)
    spread = {"count": 4, "std": means.std(ddof=1), "min": means.min(), "max": means.max()}
    assert got["draws"] == pytest.approx(spread)
    clip = rows.loc[rows["method"] == "clip", "correct"].to_numpy()
    against = compare(np.tile(clip, (4, 1)), correct)
    assert got["against_clip"]["p_value"] == pytest.approx(against["p_value"])
    assert got["against_clip"]["low"] == pytest.approx(against["low"])
    of_draws = rows[rows["method"] == "random_words"].groupby("draw")["correct"].mean()
    assert of_draws.tolist() == pytest.approx(means.tolist())
    assert set(rows.loc[rows["method"] != "random_words", "draw"]) == {0}


def test_validation_images_in_the_documents(toy: Toy) -> None:
    """The recommendation would be of other images, or of a threshold that these images chose."""
    paths, labels = Paths(toy.config.results), toy.images["val"][1].tolist()
    zero_shot_, rerank_ = (
        read_json(path("m", "toy").with_suffix(".json"))["validation"]
        for path in (paths.zero_shot, paths.rerank)
    )
    assert zero_shot_["images"] == rerank_["images"] == len(labels)
    got = {m["method"]: m for m in (*zero_shot_["methods"], *rerank_["methods"])}
    assert [m for m in got if m not in ("clip", "attributes_alone")] == [
        *("clip_ensemble", "clip_templates", "description", "coder", "coder_rerank")
    ]
    assert zero_shot_["candidates"] == 5
    found = toy.plain("val")
    halves = [sorted(range(len(labels)), key=lambda i: (labels[i], i))[part::2] for part in (0, 1)]
    reranked = [False] * len(labels)
    for half, other in zip(halves, halves[::-1], strict=True):
        threshold = max(GRID, key=lambda t: (sum(toy.right("val", found, t)[i] for i in other), -t))
        for i in half:
            reranked[i] = toy.right("val", found, threshold)[i]
    x = toy.images["val"][0].double().numpy()
    names = np.stack([t / np.linalg.norm(t) for t in (of[0] for of in toy.of(("name",)))])
    clip = (x @ names.T).argmax(axis=1) == labels
    expected = {"clip": clip, "coder": toy.right("val", found, 0.0), "coder_rerank": reranked}
    for method, right in expected.items():
        assert got[method]["accuracy"]["value"] == pytest.approx(np.mean(right)), method
        assert got[method]["setting"] == ("any" if method == "clip" else "clean")
        if method != "clip":
            test = compare(clip, right, tests=5)
            assert got[method]["against_clip"] == pytest.approx(test)
    best = sum(toy.right("val", found, toy.chosen("val", found)))
    assert sum(reranked) < best, "the threshold was chosen on the images that it is evaluated on"


def test_a_run_without_the_published_settings_does_not_pay_for_them(toy: Toy) -> None:
    """A search on 50,000 test images takes minutes; who wants the clean numbers alone has no use
    for it.
    """
    config = toy.config.model_copy(update={"settings": ["clean"]})
    paths = Paths(config.results)
    work(config, "classify", model="m", dataset="toy")
    work(config, "rerank_top", model="m", dataset="toy")
    work(config, "fit_adapters", model="m", dataset="toy", shots="2")
    for path in (paths.rerank("m", "toy"), paths.adapter("m", "toy", 2)):
        assert read_json(path.with_suffix(".json"))["flaws"] == []


@pytest.mark.parametrize(
    ("settings", "methods"),
    [(["as_published"], []), (["as_published", "corrected"], ["corrected"])],
)
def test_only_a_setting_for_new_images_is_recommended(
    tmp_path: Path, settings: list[str], methods: list[str]
) -> None:
    """as_published has texts with bugs, and classify refuses it; corrected has a threshold that
    nothing chose.
    """
    toy = Toy(tmp_path)
    config = toy.config.model_copy(update={"settings": settings})
    work(config, "build_coder", model="m", dataset="toy")
    work(config, "classify", model="m", dataset="toy")
    work(config, "rerank_top", model="m", dataset="toy")
    paths = Paths(config.results)
    one, two = (
        read_json(path("m", "toy").with_suffix(".json"))["validation"]
        for path in (paths.zero_shot, paths.rerank)
    )
    assert [m["setting"] for m in one["methods"] if m["method"] == "coder"] == methods
    assert [m["setting"] for m in two["methods"]] == methods
    right = toy.right("val", toy.plain("val"), 0.3)  # the data set's own threshold
    assert [m["accuracy"]["value"] for m in two["methods"]] == [
        pytest.approx(np.mean(right)) for _ in methods
    ]
    assert one["candidates"] == 3 + 2 * len(methods)


def test_the_coder_adapter_is_compared_in_its_setting_and_tip_adapter_is_left_to_its_authors(
    toy: Toy,
) -> None:
    """Otherwise the table compares runs of different settings, or gives a baseline what CODER's
    code tuned.
    """
    path = Paths(toy.config.results).adapter("m", "toy", 2)
    document, rows = read_json(path.with_suffix(".json")), read_parquet(path)
    for entry in document["summary"]:
        of_setting = rows[rows["setting"] == entry["setting"]]
        right = {
            m: r.pivot(index="seed", columns="image_id", values="correct")
            for m, r in of_setting.groupby("method")
        }
        if entry["method"] == "coder_adapter":
            assert "coder_adapter_against" not in entry
            continue
        change = right["coder_adapter"].astype(int) - right[entry["method"]].astype(int)
        got = entry["coder_adapter_against"]
        assert got["value"] == pytest.approx(change.to_numpy().mean())
        assert (got["fixed"], got["broke"]) == (
            (change == 1).sum().sum(),
            (change == -1).sum().sum(),
        )
        assert (
            got["p_value"]
            == compare(right[entry["method"]].to_numpy(), right["coder_adapter"].to_numpy())[
                "p_value"
            ]
        )
    tip = [r for r in document["runs"] if r["method"] == "tip_adapter"]
    assert len({(r["seed"], r["alpha"], r["beta"]) for r in tip}) == len(toy.config.adapter.seeds)


@pytest.mark.parametrize("broken", ["nothing", "a text in the wrong class", "the farthest class"])
def test_a_broken_method_shows_no_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """A table of claims that says "shown" whatever the method does would be worth nothing."""
    made = Toy(tmp_path / "toy")
    scores = TextNeighbors.class_scores
    if broken == "a text in the wrong class":
        monkeypatch.setattr(
            TextNeighbors, "class_scores", lambda n, x: scores(n, x).roll(1, dims=1)
        )
    if broken == "the farthest class":
        monkeypatch.setattr(TextNeighbors, "class_scores", lambda n, x: -scores(n, x))
    for rule in ("build_coder", "classify", "rerank_top"):
        work(made.config, rule, model="m", dataset="toy")
    paths = Paths(made.config.results)
    write_json(paths.texts("toy"), {"classes": [{"name": "class 0", "attribute": ["stripes"]}]})
    write_json(
        paths.evaluation("m", "toy").with_suffix(".json"), {"neighbour_tests": [], "text_tests": []}
    )
    results = Results(made.config.results, ["toy"], ["m"])
    (found,) = [r for r in judged(results)["claims"] if r["claim"] == "coder_beats_clip"]
    assert verdict(found["difference"]) == ("shown" if broken == "nothing" else "contradicted")
