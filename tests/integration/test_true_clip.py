"""Published features of true CLIP, from a server to the report; without a data set that its server
has lost.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from plain_claims import wrong_accuracies, wrong_claims
from plain_controls import deviations
from true_clip import Served, change_addresses
from web import serve
from working_copy import Work, working_copy

pytestmark = pytest.mark.rest

CONFIGURATION: dict[str, Any] = {
    "title": "True CLIP",
    "data_root": "data/published",
    "fetch": True,
    "datasets": {
        name: {"texts": "names"}
        for name in ("fgvc_aircraft_clip", "dtd_clip", "oxford_flowers_clip")
    },
    "models": {"clip-b32": {"model": "features:true_clip"}},
    "settings": ["clean"],
    "adapter": {
        "methods": [
            "tip_adapter",
            "gda",
            "lda",
            "coder_adapter",
            "coder_without_clip",
            "raw_without_clip",
        ],
        "shots": [8],
        "seeds": [1, 2, 3],
        "betas": [0.1, 200, 20],
        "alphas": [0.1, 20, 10],
    },
    "evaluation": {"tsne_images": 60, "template_ensemble": False},
}
# 5-NN accuracy of raw features in percent, and differences to it in points, by other code on the
# same files: of CODER by the 3,068 names, of 100 of them (the least and the most of several draws),
# and projected on
# ImageNet's names
MEASURED = {
    "fgvc_aircraft_clip": (33.6, 2.5, (-4.1, 0.0), 3.0),
    "dtd_clip": (63.3, -0.1, (-5.5, -1.2), 2.3),
}


@pytest.fixture(scope="module")
def made(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Work, str]:
    """As `make true-clip` runs it: what cannot be downloaded fails, and a second start goes on
    without.
    """
    if not (shared / "data/true_clip").is_dir():
        pytest.skip(f"no published features in {shared}")
    work = working_copy(tmp_path_factory.mktemp("true_clip") / "copy", CONFIGURATION)
    with serve() as web:
        web.files = Served(shared, lost="/caches/oxford_flowers/")
        change_addresses(work.folder, web.url)
        first = work.snakemake(check=False)
        assert first.returncode
        failed = work.folder / ".snakemake/coder-clip/fetched/failed"
        assert [file.name for file in failed.iterdir()] == ["oxford_flowers_clip"]
        assert "HTTP 404" in (failed / "oxford_flowers_clip").read_text(encoding="utf-8")
        second = work.snakemake(CODER_CLIP_ONLY_PRESENT="1", CODER_CLIP_FETCH="0")
    return work, first.stdout + first.stderr + second.stdout + second.stderr


def evaluation(work: Work, dataset: str) -> dict[str, Any]:
    file = work.folder / f"results/evaluation/clip-b32/{dataset}.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def test_licences_are_told_and_a_lost_data_set_is_left_out(made: tuple[Work, str]) -> None:
    """Nobody may take what he may not; and one repository that disappears must not stop the others."""
    work, said = made
    assert "none stated" in said
    assert "Left out, because they are not here: oxford_flowers_clip" in said
    page = (work.folder / "results/report.html").read_text(encoding="utf-8")
    assert "the list of text features has none of its classes" in page


@pytest.mark.parametrize("dataset", MEASURED)
def test_neighbours_are_as_measured_by_others(made: tuple[Work, str], dataset: str) -> None:
    """The premise on true features: another sign than other code on the same files has is an error
    in one of them.
    """
    raw, coder, few, projected = MEASURED[dataset]
    found = {
        q["features"]: 100 * q["knn_accuracy"]["value"]
        for q in evaluation(made[0], dataset)["feature_quality"]
    }
    assert found["original"] == pytest.approx(raw, abs=1.0)
    assert found["coder"] - found["original"] == pytest.approx(coder, abs=1.0)
    assert found["projected"] - found["original"] == pytest.approx(projected, abs=1.0)
    assert few[0] - 1 <= found["coder_few"] - found["original"] <= few[1] + 1


@pytest.mark.parametrize(("dataset", "other"), [tuple(MEASURED), tuple(reversed(MEASURED))])
def test_every_control_is_what_plain_numpy_makes_of_the_features(
    made: tuple[Work, str], dataset: str, other: str
) -> None:
    """Controls decide whether it is the texts that help."""
    found = deviations(made[0].folder / "results", dataset, [other])
    assert len(found) > 40
    assert not {key: value for key, value in found.items() if not abs(value) < 0.01}


def test_every_claim_is_what_plain_numpy_makes_of_the_rows(made: tuple[Work, str]) -> None:
    results = made[0].folder / "results"
    found, wrong = wrong_claims(results)
    assert (wrong_accuracies(results), wrong) == ([], [])
    assert found > 100


def test_what_needs_texts_of_the_classes_runs_where_there_are_some(made: tuple[Work, str]) -> None:
    """Nothing is invented: without texts of the classes no method may have CLIP's logits."""
    work, _ = made
    with (work.folder / "results/tables/claims.csv").open(encoding="utf-8", newline="") as stream:
        claims = {(r["dataset"], r["claim"]): r for r in csv.DictReader(stream)}
    assert claims["dtd_clip", "adapter_beats_tip_adapter"]["verdict"] in (
        "shown",
        "open",
        "contradicted",
    )
    assert ("fgvc_aircraft_clip", "adapter_beats_tip_adapter") not in claims
    for dataset in MEASURED:
        judged = claims[dataset, "coder_beats_features_without_clip"]
        assert judged["verdict"] in ("shown", "open", "contradicted"), judged
    zero_shot = json.loads(
        (work.folder / "results/zero_shot/clip-b32/dtd_clip.json").read_text(encoding="utf-8")
    )
    assert zero_shot["methods"][0]["accuracy"]["value"] == pytest.approx(
        0.448, abs=0.002
    )  # published: about 0.44
    assert not (work.folder / "results/zero_shot/clip-b32/fgvc_aircraft_clip.json").exists()
    few = json.loads(
        (work.folder / "results/adapter/clip-b32/fgvc_aircraft_clip/8.json").read_text(
            encoding="utf-8"
        )
    )
    assert {r["method"] for r in few["runs"]} == {"lda", "coder_without_clip", "raw_without_clip"}
    assert {r["seed"] for r in few["runs"]} == {1, 2, 3}


def test_a_check_opens_no_image(made: tuple[Work, str]) -> None:
    """There is none, and a check before a run must not stop at that."""
    work, _ = made
    checked = work.coder_clip(
        "check", "--config", work.config, CODER_CLIP_ONLY_PRESENT="1", CODER_CLIP_FETCH="0"
    )
    assert "data set dtd_clip: 47 classes; train 1128, val 1128, test 1692 images" in checked.stdout
    assert "model clip-b32: no encoder; its texts are features" in checked.stdout


def test_without_network_a_run_stops_before_its_first_job_and_names_what_is_missing(
    shared: Path, tmp_path: Path
) -> None:
    """Each missing data set failed on its own in twelve lines, after the jobs of all others."""
    source = shared / "data/true_clip/bunnieslala+IMAS@34a935a/caches/dtd"
    if not source.is_dir():
        pytest.skip(f"no published features in {shared}")
    work = working_copy(tmp_path / "copy", CONFIGURATION)
    with serve() as web:
        closed = web.url
    change_addresses(work.folder, closed)  # nobody answers there any more
    folder = work.folder / "data/published/clip_features/dtd"
    folder.mkdir(parents=True)
    for file in ("val_f.pt", "val_l.pt", "test_f.pt", "test_l.pt"):
        (folder / file).write_bytes((source / file).read_bytes())
    split = "split_zhou_DescribableTextures.json"
    (folder / split).write_bytes((shared / "data/splits" / split).read_bytes())
    ended = work.snakemake(check=False)
    assert ended.returncode
    said = ended.stdout + ended.stderr
    (line,) = {line for line in said.splitlines() if "cannot be downloaded" in line}
    assert line.startswith("fgvc_aircraft_clip, oxford_flowers_clip cannot be downloaded: ")
    assert "ONLY_PRESENT=1 FETCH=0" in line
    assert "Error in rule" not in said
    # `make reproduce` reads these, and goes on without them
    failed = work.folder / ".snakemake/coder-clip/fetched/failed"
    names = sorted(file.name for file in failed.iterdir())
    assert names == ["fgvc_aircraft_clip", "oxford_flowers_clip"]
    assert not (work.folder / "results/manifests").exists(), "no job has run"
