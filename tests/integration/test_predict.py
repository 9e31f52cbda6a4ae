"""Photos without labels, classified with a finished run: from any folder, by any method, never by
stale texts.
"""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from coder_clip.baselines.methods import FEW_SHOT
from coder_clip.datasets import PICTURES
from coder_clip.errors import UserError
from coder_clip.evaluation.estimates import estimate
from coder_clip.foundation.artifacts import read_json, read_tensors, sha256, write_json
from coder_clip.reporting.answer import answers
from coder_clip.reporting.results import Results
from coder_clip.texts.sets import load_text_set
from working_copy import Work

pytest.importorskip("coder_clip_photos")
from coder_clip_photos import Classifier
from coder_clip_photos.export import save_texts
from coder_clip_photos.openings import explore_run
from coder_clip_photos.runs import load_run

pytestmark = pytest.mark.rest

Command = Callable[..., Any]
Run = tuple[str, str]
SHAPES, MARKS = ("--dataset", "shapes"), ("--dataset", "marks")


@pytest.fixture
def run(finished: Work) -> Run:
    return ("--run", f"{finished.folder}/results")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the project's folder nor a cache that someone else filled."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def predictions(work: Work, name: str, method: str) -> pd.DataFrame:
    """The rows of one method in a table of the run, in the setting clean if it has settings."""
    table = pd.read_parquet(work.folder / f"results/{name}.parquet")
    return table[(table["method"] == method) & table["setting"].isin(("any", "clean"))]


def rows(out: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(out)))


@pytest.mark.parametrize(
    ("phase", "method"),
    [
        ("zero_shot", "clip"),
        ("zero_shot", "clip_ensemble"),
        ("zero_shot", "description"),
        ("zero_shot", "attributes_alone"),
        ("zero_shot", "coder"),
        ("rerank", "coder_rerank"),
    ],
)
def test_photos_get_the_classes_that_the_run_gave_them(
    finished: Work, run: Run, tmp_path: Path, command: Command, phase: str, method: str
) -> None:
    """The test images once more, as files."""
    shapes, files = PICTURES / "shapes", {}
    _, meta = read_tensors(finished.folder / "results/image_features/mini/shapes/test.safetensors")
    for i, image_id in enumerate(meta["ids"][::6]):
        Image.open(shapes / image_id).save(tmp_path / f"{i}.png")
        files[str(tmp_path / f"{i}.png")] = image_id
    answer = command("classify", *files, *run, *SHAPES, "--method", method, "--format", "csv")
    assert answer.code == 0, answer.err
    table = predictions(finished, f"{phase}/mini/shapes", method).set_index("image_id")
    found = rows(answer.out)
    assert len(found) == len(files) > 30
    for row in found:  # in float64 no batch changes a class
        known = int(table.loc[files[row["image"]], "prediction"])
        assert row["class"] == meta["classes"][known]


@pytest.mark.parametrize(
    "method", ["coder_adapter-2", "tip_adapter-1", "gda-2", "lda-2", "projected_means-1"]
)
def test_few_shot_methods_classify_as_in_the_run(finished: Work, run: Run, method: str) -> None:
    """With the seed that is best on validation images, and its hyper-parameters."""
    found = load_run(Path(run[1]), "shapes", method=method)
    name, shots = method.split("-")
    features = finished.folder / "results/image_features/mini/shapes/test.safetensors"
    tensors, meta = read_tensors(features)
    table = predictions(finished, f"adapter/mini/shapes/{shots}", name)
    table = table[table["seed"] == found.chosen.seed]
    assert table["image_id"].tolist() == meta["ids"]
    decided = Classifier.of_run(found).decide(tensors["features"]).order[:, 0]
    assert decided.tolist() == table["prediction"].tolist()


def recommend(work: Work, method: str | None) -> None:
    """Change the documents of shapes: only this method is clearly better on validation images
    ("clip": none); None: there are no validation images."""
    zero_shot, rerank = (
        work.folder / f"results/{p}/mini/shapes.json" for p in ("zero_shot", "rerank")
    )
    for path in (zero_shot, rerank):
        document = read_json(path)
        if method is None:
            document["validation"] = None
        else:
            for m in document["validation"]["methods"]:
                if m["against_clip"]:
                    low = 0.1 if m["method"] == method else -0.1
                    ends = {"value": low + 0.1, "low": low, "high": low + 0.2}
                    m["against_clip"] |= ends
        if path == rerank:  # it was made from the other document
            document["made_by"]["inputs"]["results/zero_shot/mini/shapes.json"] = sha256(zero_shot)
        path.write_text(json.dumps(document))


def test_report_classify_and_explore_recommend_the_same(
    work: Work, command: Command, tmp_path: Path
) -> None:
    """For one run the report said names alone, classify APE, and classify --why the rerank, second
    lowest of eight.
    """
    where = work.folder / "results"

    def check() -> tuple[str | None, str]:
        found = load_run(where, "shapes")
        explained = load_run(where, "shapes", explained=True).said
        (answer,) = answers(Results(where, ["shapes"], ["mini"], [1, 2]))
        explorer = explore_run(found, tmp_path)
        explorer.draft.close()
        # the same sentences, with the command that takes the method; in the report with what test
        # images say
        for advice in (answer.advice, explorer.advice):
            assert advice.startswith(found.recommendation.advice)
            for rival in found.rivals:
                assert rival.sentence in advice
                assert f"--method {rival.name})" in rival.sentence
                assert rival.sentence.removesuffix(".") in explained
        assert len([r for r in found.rivals if r.better]) == len(answer.rivals)
        assert found.chosen.method == (found.recommendation.method or "coder")
        photos = work.folder / "photos/marks"
        said = command("classify", photos, "--run", where, *SHAPES).err.splitlines()[-1]
        assert f"method: {found.chosen.title} (" in said
        assert f" test images right); {found.recommendation.reason}" in said
        if found.recommendation.method not in ("clip", None):
            assert f"use “{found.chosen.title}”: " in answer.advice
            assert answer.label == found.chosen.title
            assert f"; {found.recommendation.confirmed}" in said
        return found.recommendation.method, said

    check()  # as the run is
    for method in ("clip", "coder_rerank", "description", None):
        recommend(work, method)
        recommended, said = check()
        assert recommended == method
        # a few-shot method is named with the option that takes it, wherever something is
        # recommended
        named = re.findall(r"--method (\w+-\d)\)", said)
        assert named == [r.name for r in load_run(where, "shapes").rivals if r.shots]
        assert len(named) == (method is not None)


def test_a_recommended_method_without_reasons_is_named(work: Work) -> None:
    """--why changed the classes of photos without a word."""
    where = work.folder / "results"
    recommend(work, "description")
    explained = load_run(where, "shapes", explained=True)
    assert explained.chosen.method == "clip", "the same rule among the methods with reasons"
    assert "no method with reasons and without labelled images is clearly better" in explained.said
    other = "; without --why it would be CLIP, attribute texts, which has no reasons"
    assert other in explained.said
    assert other not in load_run(where, "shapes").said
    assert other not in load_run(where, "shapes", method="coder", explained=True).said
    recommend(work, "coder")
    assert load_run(where, "shapes", explained=True).chosen.method == "coder"


def test_the_documents_hold_what_the_classifier_gets_right(finished: Work, run: Run) -> None:
    """On validation images, by which a method is recommended."""
    document = read_json(finished.folder / "results/zero_shot/mini/shapes.json")
    val, _ = read_tensors(finished.folder / "results/image_features/mini/shapes/val.safetensors")
    assert document["validation"]["images"] == len(val["labels"])
    for m in document["validation"]["methods"]:
        loaded = load_run(Path(run[1]), "shapes", method=m["method"])
        picks = Classifier.of_run(loaded).decide(val["features"]).order[:, 0]
        assert float((picks == val["labels"]).double().mean()) == pytest.approx(
            m["accuracy"]["value"]
        )


def test_the_accuracy_on_test_images_is_named_first(
    finished: Work, run: Run, command: Command
) -> None:
    """Photos of CIFAR-10 were said to be 82 % right by a method that was right on 62 % of the test
    images: the 82 % were of the validation images that had chosen it and its values."""
    for method, name in (("clip", "zero_shot/mini/shapes"), ("gda-1", "adapter/mini/shapes/1")):
        found = load_run(Path(run[1]), "shapes", method=method)
        table = predictions(finished, name, found.chosen.method)
        if found.chosen.seed is not None:
            table = table[table["seed"] == found.chosen.seed]
        expected = estimate(table["prediction"] == table["label"])
        shown = {end: found.chosen.on_test[end] for end in ("value", "low", "high")}
        assert shown == pytest.approx(expected)
        photos = finished.folder / "photos/marks"
        answer = command("classify", photos, *run, *SHAPES, "--method", method)
        value, low, high = (f"{100 * expected[end]:.0f}" for end in ("value", "low", "high"))
        said = f"({value} % [{low}, {high}] of {len(table)} test images right)"
        assert answer.err.splitlines()[-1].endswith(said)


def test_a_run_without_clean_is_used_in_its_other_setting(work: Work, command: Command) -> None:
    """It was refused, though the texts of both settings are the same."""
    where = ("classify", work.folder / "photos/marks", "--run", work.folder / "results", *MARKS)
    work.configure(lambda c: c.update(settings=["corrected"]))
    work.commands("zero-shot", "rerank", "adapter")
    answer = command(*where, "--method", "coder_rerank")
    assert answer.code == 0, answer.err
    assert "method: CODER + rerank, setting corrected (" in answer.err.splitlines()[-1]
    work.configure(lambda c: c.update(settings=["as_published"]))
    work.commands("zero-shot", "rerank", "adapter")
    said = refused(work)
    assert "the run has only the setting as_published" in said
    assert (
        "add clean under settings; to run it again: 'make reproduce CONFIG=config/test.yaml'"
        in said
    )


def test_a_rerank_that_is_off_is_said_by_its_method(work: Work) -> None:
    """Else somebody compares two methods that are the same, and believes that the rerank runs."""
    where = work.folder / "results"
    said = load_run(where, "shapes", method="coder_rerank").said
    off = "the rerank is off, so answers are those of CODER: validation chose threshold 0"
    document = where / "rerank/mini/shapes.json"
    changed = read_json(document)
    (clean,) = [m for m in changed["methods"] if m["setting"] == "clean"]
    assert (off in said) == (clean["threshold"] == 0)
    clean.update(threshold=0.0, looked_at=0)
    write_json(document, changed)
    assert off in load_run(where, "shapes", method="coder_rerank").said
    assert "rerank is off" not in load_run(where, "shapes", method="coder").said


def test_probabilities_only_from_enough_labelled_photos(
    finished: Work, run: Run, command: Command
) -> None:
    """shapes has 120 validation images, marks a handful."""
    ask = ("classify", finished.folder / "photos/marks/red_disc", *run, "--format", "csv")
    found = rows(command(*ask, *SHAPES, "--method", "coder").out)
    assert all(0 < float(r["probability"]) <= 1 for r in found)
    assert "probability" not in rows(command(*ask, *MARKS).out)[0]
    answer = command(*ask, *SHAPES, "--method", "coder", "--none-below", "20")
    assert answer.code == 1
    assert "this run has probabilities; give one from 0 to 1" in answer.err


def test_reasons_in_a_run(finished: Work, run: Run, command: Command) -> None:
    photos = finished.folder / "photos/marks/red_disc"
    why = ("--why", "2", "--format", "jsonl")
    answer = command("classify", photos, *run, *MARKS, *why, "--method", "coder")
    assert answer.code == 0, answer.err
    assert answer.out
    for line in map(json.loads, answer.out.splitlines()):
        assert line["reasons_for"]
    # the recommended method is names alone here: its answer stays, and the way to reasons is named
    answer = command("classify", photos, *run, *MARKS, *why)
    assert answer.code == 0, answer.err
    assert not any(json.loads(line)["reasons_for"] for line in answer.out.splitlines())
    assert "names alone have no reasons: --method coder shows those of texts" in answer.err
    answer = command("classify", photos, *run, *MARKS, "--why", "2", "--method", "tip_adapter-1")
    assert answer.code == 1
    assert (
        "the scores of 'tip_adapter-1' are not means over texts, so it has no reasons" in answer.err
    )


def test_runs_are_loaded_side_by_side_without_a_change_of_folder(
    finished: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a server, another thread's relative paths would start in the run's folder meanwhile."""

    def changed(folder: object) -> None:
        raise AssertionError(f"the working directory became {folder}")

    monkeypatch.setattr(os, "chdir", changed)
    wanted = [
        ("shapes", "clip"),
        ("marks", "coder"),
        ("shapes", "coder_rerank"),
        ("marks", "gda-1"),
    ]
    where = finished.folder / "results"
    with ThreadPoolExecutor(len(wanted)) as pool:
        loaded = list(pool.map(lambda w: load_run(where, w[0], method=w[1]), wanted))
    assert [(run.dataset, run.chosen.name) for run in loaded] == wanted


@pytest.mark.parametrize("method", ["coder_rerank", "clip_ensemble", *(f"{m}-1" for m in FEW_SHOT)])
def test_the_classifier_of_a_run_can_be_sent_to_other_processes(
    finished: Work, method: str
) -> None:
    run = load_run(finished.folder / "results", "shapes", method=method)
    assert run.validation is not None
    classifier = Classifier.of_run(run)
    sent = pickle.loads(pickle.dumps(classifier))
    before, after = (c.decide(run.validation.features) for c in (classifier, sent))
    assert torch.equal(before.scores, after.scores)
    assert torch.equal(before.order, after.order)


def test_in_python(finished: Work) -> None:
    """The README's lines of Python would not classify with a finished run."""
    c = Classifier.load(finished.folder / "results", dataset="marks", method="coder")
    photo = c.classify(finished.folder / "photos/marks/red_disc/00.png", why=1)
    assert photo.label in {"red disc", "green disc", "blue disc"}
    assert photo.reasons_for


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dataset", "mark"], "did you mean 'marks'"),
        (["--dataset", "shapes", "--model", "min"], "did you mean 'mini'"),
        ([], "the run has shapes, marks: name one with --dataset"),
        (["--dataset", "shapes", "--method", "cder"], "did you mean 'coder'"),
    ],
)
def test_what_a_run_has_not_is_one_line(
    finished: Work, run: Run, command: Command, arguments: list[str], says: str
) -> None:
    answer = command("classify", finished.folder / "photos/marks", *run, *arguments)
    assert answer.code == 1
    assert says in answer.err.splitlines()[-1]


def test_another_file_is_no_run(finished: Work) -> None:
    """It was read as YAML, and the message was that of the parser."""
    file = finished.folder / "data/mini/open_clip_model.safetensors"
    with pytest.raises(UserError, match="is neither a results folder nor a configuration file"):
        load_run(file)


# ---- a run that is not what it was


def refused(work: Work) -> str:
    """Why the run is refused."""
    with pytest.raises(UserError) as error:
        load_run(work.folder / "results", "marks")
    return str(error.value)


def test_before_a_run_the_command_that_makes_it_is_named(work: Work) -> None:
    shutil.rmtree(work.folder / "results/rerank")
    said = refused(work)
    assert "results/rerank/mini/marks.json is missing" in said
    assert "make reproduce CONFIG=config/test.yaml" in said


def edit_texts(work: Work) -> None:
    path = work.folder / "photos/marks.json"
    path.write_text(path.read_text().replace("round spot", "big round spot"))


def test_what_was_edited_after_the_run_is_refused(work: Work) -> None:
    """The old texts were used without a word."""
    texts = work.folder / "photos/marks.json"
    before = texts.read_text()
    edit_texts(work)
    assert f"the texts in {Path('photos/marks.json')} were changed after the run" in refused(work)
    texts.write_text(before)
    template = {"name": "a drawing of a {class}."}
    work.configure(lambda c: c["datasets"]["marks"].update(templates=template))
    said = "classes, texts or templates of 'marks' were changed after the run"
    assert said in refused(work)
    shutil.copy(texts, work.folder / "photos/other.json")
    work.configure(lambda c: c["datasets"]["marks"].update(texts="photos/other.json"))
    assert "the configuration names the texts photos/other.json" in refused(work)


PHASES = ("coder", "zero-shot", "confusable-pairs", "pair-texts", "pair-features", "rerank")


@pytest.mark.parametrize(
    ("again", "old"),
    [
        pytest.param((), "rerank/mini/marks.json", id="rerank"),
        pytest.param(PHASES, "adapter/mini/marks/1.json", id="shots"),
    ],
)
def test_a_run_that_was_made_again_in_part_is_refused(
    work: Work, again: tuple[str, ...], old: str
) -> None:
    """Threshold and hyper-parameters were chosen with other texts."""
    edit_texts(work)
    work.commands("texts", "text-features", *again)
    changed = "results/text_features/mini/marks.safetensors has changed since "
    assert f"{changed}results/{old} was made from it" in refused(work)


def test_weights_of_another_encoder_are_refused(work: Work) -> None:
    """The texts would be compared with features of another space."""
    load_run(work.folder / "results", "marks")
    path = work.folder / "data/mini/open_clip_model.safetensors"
    save_file({k: v * 1.5 for k, v in load_file(path).items()}, path)
    assert "another encoder" in refused(work)


# ---- texts


def test_a_run_is_explored_on_its_validation_images(finished: Work, tmp_path: Path) -> None:
    """Texts that were improved on test images would be judged on what they were fitted to."""
    run = load_run(finished.folder / "results", "marks", method="coder")
    assert " of 1 test image right)" in replace(run, n_test=1).said
    explorer = explore_run(run, tmp_path)
    tensors, meta = read_tensors(
        finished.folder / "results/image_features/mini/marks/val.safetensors"
    )
    state = explorer.state()
    classes = [t["name"] for t in state["texts"]]
    assert [p["name"] for p in state["photos"]] == meta["ids"]
    assert [p["truth"] for p in state["photos"]] == [classes[c] for c in tensors["labels"].tolist()]
    assert all(t["attribute"] for t in state["texts"])
    assert explorer.image(0, 40).size == (40, 40), "photos are found from any folder"
    assert state["shows"] == "This page shows “CODER”, whose texts can be edited."
    save_texts(explorer, "mine.json")
    assert load_text_set(tmp_path / "mine.json", "marks", meta["classes"]).classes[0].attribute


def test_labels_of_a_folder_are_corrected_beside_its_configuration(
    finished: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From any folder; and the labels of a data set that others compare with stay as they are."""
    monkeypatch.chdir(tmp_path)
    where = finished.folder / "results"
    explorer = explore_run(load_run(where, "marks", method="coder"), tmp_path)
    state = explorer.state()
    name, shown = state["photos"][0]["name"], "config/marks.corrections.csv"
    advice = f"The next run uses it once {finished.config} has this line below marks:"
    assert state["corrects"] == {"file": shown, "advice": advice}
    file = finished.folder / shown
    try:
        assert explorer.correct(0, "red disc")["photos"][0]["corrected"] == "red disc"
        assert file.read_text() == f"image,from,to\n{name},blue disc,red disc\n"
        explorer.draft.close()  # the draft can be open once
        again = explore_run(load_run(where, "marks", method="coder"), tmp_path).state()
        assert again["photos"][0]["corrected"] == "red disc", (
            "before the next run, and after a new start"
        )
        assert again["accuracy"] == state["accuracy"]
    finally:
        file.unlink()
    shapes = explore_run(load_run(where, "shapes", method="coder"), tmp_path)
    assert shapes.state()["corrects"] is None
    with pytest.raises(UserError, match="the labels of a built-in data set stay as they are"):
        shapes.correct(0, shapes.now.classifier.classes[0])
