"""The real pipeline, on the digits alone: recorded, pushed, cloned, pulled, compared."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from project import JOB, ROOT, Project

pytestmark = pytest.mark.slow

SMALL = {
    "title": "digits alone",
    "results": "results",
    "datasets": {"digits": {"views": 1}},
    "models": ["mini"],
    "settings": ["as_published", "corrected", "clean"],
    "features": {"batch_size": 64, "threads": 1, "shards": 1, "on_error": "fail"},
    "rerank": {"top_k": 5, "thresholds": [0.0, 0.1, 0.5]},
    "adapter": {
        "shots": [1],
        "seeds": [1, 2],
        "repeat_shots": False,
        "betas": [0.1, 200, 10],
        "alphas": [0.1, 20, 5],
        "rounds": 2,
    },
    "evaluation": {
        "bootstrap": 20,
        "seed": 0,
        "text_counts": [1],
        "draws": 1,
        "neighbors": 5,
        "tsne_images": 40,
        "corrections": 1,
    },
}
RUN = ("--profile", "workflow/profiles/default", "--configfile", "config/reproduce.yaml")


def plan(project: Project) -> set[str]:
    """Rules that would run, without the groups of targets."""
    said = project.run("snakemake", "-n", "--configfile", "config/reproduce.yaml", "--cores", "1").stdout
    if "Nothing to be done" in said:
        return set()
    table = said.split("Job stats:")[1].split("\n\n")[0].splitlines()[3:]
    return {line.split()[0] for line in table if line.split()} - {"all", "total"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The repository with a small configuration, run, recorded and pushed. Not to be changed."""
    folder = tmp_path_factory.mktemp("real") / "work"
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        if (ROOT / name).is_file() and not name.startswith(
            ("tests/", "docs/", "benchmarks/", "provenance/", "dvc.lock", "results/")
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / "config/reproduce.yaml").write_text(yaml.safe_dump(SMALL, sort_keys=False))
    project = Project(folder, PYTHONPATH=str(folder / "src"))
    project.git("init", "--quiet", "--initial-branch", "main")
    project.run("dvc", "remote", "add", "--quiet", "--default", "store", "../store")
    project.commit("the pipeline")
    said = project.run("snakemake", *RUN).stdout
    assert "recorded in DVC: texts, image_features" in said
    assert "is not recorded" not in said
    project.commit()
    project.run("coder-clip", "push")
    return project


@pytest.fixture
def clone(made: Project, tmp_path: Path) -> Project:
    folder = tmp_path / "clone"
    made.run("git", "clone", "--quiet", str(made.folder), str(folder))
    clone = Project(folder, PYTHONPATH=str(folder / "src"))
    clone.run("dvc", "remote", "modify", "--local", "store", "url", str(made.folder.parent / "store"))
    clone.run("coder-clip", "pull")
    return clone


def test_the_pulled_clone_has_nothing_to_do(clone: Project) -> None:
    assert plan(clone) == set()
    assert clone.stale() == []
    assert (clone / "results/report.html").is_file()
    assert (clone / "results/figures/few_shot.pdf").is_file()
    assert clone.git("status", "--short") == ""
    shown = clone.run("coder-clip", "status").stdout.splitlines()
    assert [line.split()[2:5] for line in shown[1:11]] == [["yes", "yes", "yes"]] * 10


CHANGES = {
    "a parameter": (
        "config/reproduce.yaml",
        "top_k: 5",
        "top_k: 4",
        {"rerank_top", "confusable_pairs", "pair_texts", "encode_pairs", "page"},
        ["one_to_one", "report", "rerank"],
    ),
    "a source": (
        "src/coder_clip/phases/adapter.py",
        "\n\n\n",
        "\n\n\n\n",
        {"fit_adapters", "page"},
        ["adapter"],
    ),
    "a command": (
        "workflow/rules/coder.smk",
        "coder-clip coder ",
        "coder-clip  coder ",
        {"build_coder", "classify", "rerank_top", "evaluate", "page"},
        ["coder"],
    ),
    "a text": (
        "data/texts/digits.json",
        '"synonym"',
        ' "synonym"',
        {"text_set", "encode_texts", "build_coder", "classify", "fit_adapters", "page"},
        ["texts"],
    ),
}
MANY = ("table", "figure")


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_reruns_what_depends_on_it(clone: Project, change: str) -> None:
    path, old, new, rules, phases = CHANGES[change]
    clone.edit(path, old, new)
    planned = {r for r in plan(clone) if not r.startswith(MANY)}
    assert rules <= planned
    assert "encode_images" not in planned
    assert "manifest" not in planned
    assert clone.stale() == phases


def test_numbers_are_explained(clone: Project) -> None:
    shutil.rmtree(clone / ".snakemake")  # from what came with Git alone
    said = clone.run(
        "coder-clip",
        "explain",
        "results/tables/zero_shot.csv",
        "method=coder,dataset=digits",
        "accuracy",
        "--json",
    ).stdout
    found = json.loads(said)
    made = [a["path"] for a in found["artefacts"]]
    assert made[0] == "results/tables/zero_shot.csv"
    assert "results/image_features/mini/digits/test.safetensors" in made
    assert not any("adapter" in path for path in made)
    assert found["encoders"][0]["weights_sha256"]
    assert {t["path"] for t in found["texts"]} == {
        "results/texts/digits.json",
        "results/one_to_one/digits.json",
    }
    assert found["changed"] == []
    assert all(sha.startswith("sha256:") for sha in found["given"].values())
    clone.edit("data/texts/digits.json", '"synonym"', ' "synonym"')
    again = clone.run("coder-clip", "explain", "results/tables/zero_shot.csv", "5", "accuracy").stdout
    assert "data/texts/digits.json" in [x.split()[0] for x in again.splitlines() if "changed since" in x]


def test_dvc_compares_versions(clone: Project) -> None:
    clone.run("dvc", "exp", "run", "--name", "other", "-S", "config/reproduce.yaml:rerank.top_k=4")
    assert (plan(clone), clone.stale()) == (set(), [])
    params = json.loads(clone.run("dvc", "params", "diff", "--json").stdout)
    assert params["config/reproduce.yaml"]["rerank.top_k"] == {"old": 5, "new": 4, "diff": -1}
    clone.run("dvc", "metrics", "diff", "--json", "--all")
    shown = clone.run("dvc", "exp", "show", "--csv").stdout
    assert "rerank.top_k" in shown.splitlines()[0]
    metrics = json.loads(clone.run("dvc", "metrics", "show", "--json").stdout)
    assert metrics
    for command in ("show", "diff"):
        clone.run(
            "dvc", "plots", command, "-o", f"../plots-{command}", *(["HEAD"] if command == "diff" else [])
        )
        page = (clone.folder.parent / f"plots-{command}/index.html").read_text()
        assert page.count('"facet"') == 2  # top-1 and few-shot
        assert "coder_adapter" in page


def test_dvc_yaml_is_that_of_the_dag(made: Project) -> None:
    """Every output in one stage, every stage with the sources, texts and rule files it depends on."""
    if subprocess.run(
        ["git", "diff", "--quiet", "HEAD", "--", "src", "workflow", "dvc.yaml"], cwd=ROOT
    ).returncode:
        pytest.skip("sources or rules are being edited")
    done = subprocess.run(
        [
            str(Path(made.environment["PATH"].split(os.pathsep)[0]) / "python"),
            "-m",
            "coder_clip.tracking.pipeline",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (ROOT / "dvc.yaml").read_text() == done.stdout, "python -m coder_clip.tracking.pipeline > dvc.yaml"


def test_every_rule_lists_its_sources() -> None:
    """A rule without them would miss an edit after a pull."""
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for name, body in _rules(path.read_text()):
            if "shell:" in body:
                assert "sources=" in body, f"{path.name}: rule {name}"


def _rules(text: str) -> list[tuple[str, str]]:
    parts = JOB.split(text)
    return list(zip(parts[1::2], parts[2::2], strict=True))
