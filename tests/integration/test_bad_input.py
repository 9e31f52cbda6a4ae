"""Bad input: a failure, one line that says what, where and what to do, and no file left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from coder_clip.foundation.artifacts import read_tensors, write_tensors
from working_copy import Work, changed, draw_marks

Command = Callable[..., Any]
CONFIG = {
    "datasets": {"marks": {"root": "marks", "texts": "marks.json", "views": 2}},
    "models": {"mini": {"model": "local-dir:mini"}},
    "adapter": {"shots": [1], "seeds": [1]},
}
CLASSES = ("blue disc", "green disc", "red disc")


@pytest.fixture
def here(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photos, texts and a model, in which nothing was run."""
    draw_marks(tmp_path / "marks", images=6)
    (tmp_path / "mini").symlink_to(repo / "data/mini")
    texts([{"name": n} for n in CLASSES], tmp_path)
    (tmp_path / "c.yaml").write_text(json.dumps(CONFIG))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def texts(classes: Any, folder: Path = Path()) -> None:
    document = {"format": 1, "dataset": "marks", "classes": classes}
    (folder / "marks.json").write_text(json.dumps(document))


def configure(**changes: Any) -> None:
    Path("c.yaml").write_text(json.dumps(changed(CONFIG, **changes)))


def files() -> set[str]:
    """All artefacts; environment.json is none."""
    root = Path("results")
    found = {p.as_posix() for p in root.rglob("*") if p.is_file()} if root.is_dir() else set()
    return found - {"results/environment.json"}


def refused(command: Command, *arguments: str, says: tuple[str, ...]) -> None:
    """The command fails with one line that holds all of this, and leaves no file."""
    before = files()
    answer = command(*arguments, "--config", "c.yaml")
    assert answer.code == 1, answer
    assert "Traceback" not in answer.err
    errors = [line for line in answer.err.splitlines() if "error" in line]
    assert len(errors) == 1, answer.err
    assert answer.err.splitlines()[-1] == errors[0], "the reason is not the last thing said"
    for part in says:
        assert part in errors[0], errors[0]
    assert files() == before, "a file was left behind"


def listed(command: Command) -> None:
    """The phase before image features."""
    assert command("manifest", "--config", "c.yaml").code == 0


# ---- configuration, through Snakemake
# --------------------------------------------------------------


def test_snakemake_says_what_is_wrong_with_a_configuration_in_one_line(
    finished: Work, tmp_path: Path
) -> None:
    """What else can be wrong: tests/unit/pipeline/test_config.py."""
    path = tmp_path / "bad.yaml"
    path.write_text("datasets: [shapes]\nmodels: [mini]\nadaptor: {}\n")
    done = Work(finished.folder, str(path)).snakemake("--dry-run", check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    (line,) = [x for x in done.stderr.splitlines() if "error" in x.lower()]
    assert line.startswith("coder-clip: error: ")
    assert "did you mean 'adapter'" in line


def test_make_names_a_missing_configuration(finished: Work) -> None:
    done = finished.run("make", "reproduce", "CONFIG=config/nowhere.yaml", check=False)
    assert done.returncode != 0
    first, *rest = done.stderr.splitlines()
    assert first.startswith("no configuration file config/nowhere.yaml (there are: config/")
    assert len(rest) == 1, "make's own line"
    assert not (finished.folder / ".venv").exists()


# ---- images ---


def test_no_test_split(here: Path, command: Command) -> None:
    """Photos without a test split would fail late, and not say so."""
    for split in ("train", "val"):
        draw_marks(here / "other" / split, images=3)
    configure(datasets__marks__root="other")
    refused(command, "manifest", says=("has no test images",))


def test_an_unreadable_image_may_be_skipped_and_is_listed(
    here: Path, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    configure(features__on_error="skip")
    listed(command)
    for path in sorted(Path("marks").glob("*/*.png")):
        path.write_bytes(b"no image") if path.parent.name == "red_disc" else None
    assert command("image-features", "--split", "test", "--config", "c.yaml").code == 0
    _, meta = read_tensors("results/image_features/mini/marks/test.safetensors")
    assert {i.split("/")[0] for i, _ in meta["skipped"]} == {"red_disc"}
    assert "skipped red_disc/" in caplog.text


def test_more_shots_than_a_class_has(here: Path, command: Command) -> None:
    """Before anything is encoded; also where the images were listed for fewer shots."""
    listed(command)
    configure(adapter__shots=[1, 16])
    for arguments in (("check",), ("manifest",), ("image-features", "--split", "shots")):
        refused(
            command,
            *arguments,
            says=("16 shots", "'blue disc' has 3", "adapter.repeat_shots: true"),
        )


# ---- texts ---


def test_texts_longer_than_the_encoder_reads_are_said_once_and_listed(
    here: Path, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    """Each phase that encodes says it in one line: how many, and where they can be read."""
    words = " ".join(["round"] * 60)
    texts([{"name": n, "attribute": [words, "round"]} for n in CLASSES])
    pair = {"a": CLASSES[0], "b": CLASSES[1], "a_not_b": [f"{words} disc"], "b_not_a": ["square"]}
    pairs = {"format": 1, "dataset": "marks", "pairs": [{**pair, "a_index": 0, "b_index": 1}]}
    Path("results/one_to_one").mkdir(parents=True)
    Path("results/one_to_one/marks.json").write_text(json.dumps(pairs))
    listed(command)
    assert command("texts", "--config", "c.yaml").code == 0
    for phase, path, n in (("text-features", TEXTS, 6), ("pair-features", PAIRS, 2)):
        caplog.clear()
        assert command(phase, "--config", "c.yaml").code == 0
        said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert len(said) == 1, said
        assert f"{n} of " in said[0]
        assert path in said[0]
        listing = read_tensors(path)[1]["over_length"]
        assert len(listing) == n
        assert all(words in text for text in listing)


# ---- artefacts that do not belong together
# ---------------------------------------------------------


@pytest.fixture
def done(work: Work, monkeypatch: pytest.MonkeyPatch) -> Work:
    """A finished run in the current folder."""
    monkeypatch.chdir(work.folder)
    shutil.copy("config/test.yaml", "c.yaml")
    return work


def tamper(path: str, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> None:
    tensors, meta = read_tensors(path)
    tensors = {k: t.clone() for k, t in tensors.items()}
    change(tensors, meta)
    write_tensors(path, tensors, meta)


TEST = "results/image_features/mini/marks/test.safetensors"
VAL = "results/image_features/mini/marks/val.safetensors"
TEXTS = "results/text_features/mini/marks.safetensors"
CODER = "results/coder/mini/marks.safetensors"
PAIRS = "results/one_to_one/mini/marks.safetensors"
ON_MARKS = ("--dataset", "marks")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_with_nan_or_infinity(done: Work, command: Command, value: float) -> None:
    phases = {
        TEST: ["zero-shot", "rerank", "adapter", "evaluation"],
        VAL: ["confusable-pairs"],  # in which test images have no say
    }
    for split in phases:
        tamper(split, lambda t, m: t["features"][1].fill_(value))
        _, meta = read_tensors(split)
        says = (split, "NaN or infinity", f"'{meta['ids'][1]}'", "run again")
        for phase in phases[split]:
            refused(command, phase, *ON_MARKS, says=says)


def test_text_features_with_nan(done: Work, command: Command) -> None:
    tamper(TEXTS, lambda t, m: t["features"][0].fill_(float("nan")))
    for phase in ("coder", "zero-shot", "adapter"):
        refused(command, phase, *ON_MARKS, says=(TEXTS, "NaN or infinity", "run again"))


@pytest.mark.parametrize(
    ("key", "says"),
    [("encoder", "its encoder is not that"), ("classes", "its class list is not that")],
)
def test_features_of_another_encoder_or_class_list(
    done: Work, command: Command, key: str, says: str
) -> None:
    """Numbers would come out, and be wrong."""
    other = {
        "encoder": lambda m: {**m["encoder"], "weights_sha256": "0"},
        "classes": lambda m: m["classes"][::-1],
    }
    phases = {
        TEXTS: ["zero-shot", "adapter"],
        CODER: ["zero-shot", "evaluation"],
        PAIRS: ["rerank"],
    }
    for path in phases:
        before = Path(path).read_bytes()
        tamper(path, lambda t, m: m.update({key: other[key](m)}))
        for phase in phases[path]:
            refused(command, phase, *ON_MARKS, says=(path, says, "run again"))
        Path(path).write_bytes(before)


def test_features_of_another_data_set_in_this_place(done: Work, command: Command) -> None:
    shutil.copy("results/image_features/mini/shapes/test.safetensors", TEST)
    refused(command, "zero-shot", *ON_MARKS, says=(TEST, "'shapes', not 'marks'"))


def test_features_of_another_dimension(done: Work, command: Command) -> None:
    def narrow(t: dict[str, Any], m: dict[str, Any]) -> None:
        t["features"] = t["features"][:, :-1]
        m["encoder"]["dim"] = str(int(m["encoder"]["dim"]) - 1)

    tamper(TEST, narrow)
    refused(command, "zero-shot", *ON_MARKS, says=("encoder is not that", "run again"))


@pytest.mark.parametrize("path", [TEST, TEXTS, CODER])
def test_a_file_of_someone_else_in_this_place(done: Work, command: Command, path: str) -> None:
    from safetensors.torch import save_file

    save_file({"features": torch.ones(3, 4)}, path)
    refused(command, "zero-shot", *ON_MARKS, says=(path, "run again"))


def test_seeds_that_changed_without_new_features(done: Work, command: Command) -> None:
    text = Path("c.yaml").read_text()
    Path("c.yaml").write_text(
        text.replace("seeds:\n  - 1\n  - 2\n", "seeds:\n  - 77\n  - 78\n  - 79\n")
    )
    refused(
        command, "adapter", *ON_MARKS, says=("no 1-shot draw of seed 77", "encode the images again")
    )


def test_shards_that_do_not_belong_together(done: Work, command: Command) -> None:
    document = yaml.safe_load(Path("c.yaml").read_text())
    document["features"]["shards"] = 2
    Path("c.yaml").write_text(yaml.safe_dump(document))
    arguments = ("--split", "shots", *ON_MARKS, "--config", "c.yaml")
    assert command("image-features", "--shard", "0", *arguments).code == 0
    refused(command, "merge-shards", *ON_MARKS, says=("shots.1-of-2.safetensors is missing",))
