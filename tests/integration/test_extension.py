"""The recipes of CONTRIBUTING.md, as they are printed: one new file each, and nothing else lists
what it adds.

A recipe's code blocks begin with the path of the file that they are. A recipe that is added there
(a text source, a phase) is planted here as it stands; what it adds is then asked for in a test of
its own below."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from coder_clip.foundation.artifacts import read_tensors
from tiny_siglip import save_siglip
from trees import put_all, split_file
from working_copy import REPO, Work, environment, few_pictures, working_copy

BLOCK = re.compile(r"^```\w+\n# (\S+/\S+\.\w+)\n(.*?)^```$", flags=re.M | re.S)
BASELINE, EXHIBIT = "baselines/nearest_mean.py", "reporting/exhibits/class_sizes.py"
SOURCE, PHASE = "texts/sources/plurals.py", "phases/class_share.py"
FAMILY, TREES = "encoders/families/siglip.py", "tests/support/trees.py"
ENDS = (
    "src/coder_clip/pipeline/phases.py",
    "src/coder_clip/jobs.py",
    TREES,
)  # files that a recipe appends to


def files() -> dict[str, str]:
    """Path -> text of the files that CONTRIBUTING.md prints."""
    found = dict(BLOCK.findall((REPO / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert {BASELINE, EXHIBIT, SOURCE, PHASE, FAMILY} < {
        name.removeprefix("src/coder_clip/") for name in found
    }
    return found


def follow(folder: Path, recipes: dict[str, str]) -> None:
    """Write the files of recipes into a copy of the repository."""
    for name, text in recipes.items():
        path = folder / name
        if name in ENDS:
            gap = "\n\n" if path.suffix == ".py" else "\n"
            path.write_text(path.read_text(encoding="utf-8") + gap + text, encoding="utf-8")
            continue
        assert not path.exists(), f"{name} is there already: a recipe adds a file"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def plant_leaves(root: Path) -> None:
    """The images and the split file of the data set in the recipe: three classes."""
    rows = {
        split: [
            (f"{name}/{split}_{i}.jpg", label, name)
            for label, name in enumerate(("oak", "maple", "ginkgo"))
            for i in range(images)
        ]
        for split, images in {"train": 4, "val": 2, "test": 3}.items()
    }
    put_all(root / "leaves/images" / path for found in rows.values() for path, _, _ in found)
    split_file(root / "leaves/split_zhou_Leaves.json", rows)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """A copy of the repository with every recipe followed, in which everything was run."""
    work = Work(
        working_copy(tmp_path_factory.mktemp("extended") / "copy", {}).folder, "config/mine.yaml"
    )
    few_pictures(work.folder)
    # not the trees of the unit tests, which a working copy does not have
    follow(work.folder, {name: text for name, text in files().items() if name != TREES})
    plant_leaves(work.folder / "data/published")
    save_siglip(work.folder / "data/siglip")
    work.make()
    return work


def result(work: Work, name: str) -> str:
    return (work.folder / "results/mine" / name).read_text(encoding="utf-8")


@pytest.mark.rest
def test_a_method_is_in_tables_figures_report_help_and_schema(extended: Work) -> None:
    rows = pd.read_csv(extended.folder / "results/mine/tables/few_shot.csv")
    assert set(rows["dataset"]) == {"shapes", "leaves", "(average)"}
    for _, same in rows.groupby("dataset"):
        assert "nearest_mean" in set(same["method"])
    assert "Nearest class mean" in result(extended, "tables/few_shot.md")
    assert "nearest_mean" in result(extended, "tables/few_shot.csv")
    assert "nearest_mean_2_shots" in result(extended, "metrics.json")
    page = result(extended, "report.html")
    assert (
        "<dt>Nearest class mean</dt><dd>a cache of the mean shot of each class, no training</dd>"
        in page
    )
    legend = (
        "from coder_clip.pipeline.config import load_config; from coder_clip.reporting.all_exhibits "
        "import FIGURES\n"
        "from coder_clip.reporting.results import Results\n"
        "from coder_clip.jobs import scope\n"
        "results = Results(**scope(load_config('config/mine.yaml')))\n"
        "figure = FIGURES['few_shot'].figure(results, None)\n"
        "print(*(t.get_text() for legend in figure.legends for t in legend.get_texts()), sep='\\n')"
    )
    assert "Nearest class mean" in extended.run(sys.executable, "-c", legend).stdout.splitlines()
    assert "nearest_mean" in extended.coder_clip("adapter", "--help").stdout
    assert '"nearest_mean"' in extended.coder_clip("schema").stdout


def test_an_exhibit_is_drawn_reported_and_named_by_the_help(extended: Work) -> None:
    assert result(extended, "tables/class_sizes.csv").splitlines()[0] == "dataset,model,fewest,most"
    assert "leaves,mini,3,3" in result(extended, "tables/class_sizes.csv")
    for name in ("tables/class_sizes.md", "tables/class_sizes.tex", "figures/class_sizes.pdf"):
        assert (extended.folder / "results/mine" / name).is_file()
    page = result(extended, "report.html")
    order = (
        "table-zero_shot",
        "table-class_sizes",
        "figure-class_sizes",
        "figure-rerank_threshold",
    )
    places = [page.index(f'id="{item}"') for item in order]
    assert places == sorted(places), "ORDER is its place"
    for command in ("table", "figure"):
        assert "class_sizes" in extended.coder_clip(command, "--help").stdout
    extended.coder_clip("figure", "class_sizes", "--config", extended.config)


def test_a_published_data_set_is_checked_read_and_reported(extended: Work) -> None:
    assert '"split": "CoOp\'s split"' in result(extended, "manifests/leaves.json")
    rows = pd.read_csv(extended.folder / "results/mine/tables/zero_shot.csv")
    assert {"clip", "coder"} <= set(rows[rows["dataset"] == "leaves"]["method"])
    assert "<td>CoOp&#39;s split</td>" in result(extended, "report.html")
    said = extended.coder_clip("data", "check", "leaves").stdout
    assert "leaves" in said
    wrong = extended.coder_clip("data", "check", "leavs", check=False)
    assert "did you mean 'leaves'?" in wrong.stderr


def test_an_encoder_runs_through_all_phases_and_is_identified(extended: Work) -> None:
    """A family that the store, a phase or a check does not ask would give no or wrong features."""
    rows = pd.read_csv(extended.folder / "results/mine/tables/zero_shot.csv")
    assert {"mini", "siglip"} == set(rows["model"]) - {"(average)"}
    assert {"clip", "coder", "coder_rerank"} <= set(rows[rows["model"] == "siglip"]["method"])
    features, meta = read_tensors(
        extended.folder / "results/mine/image_features/siglip/leaves/test.safetensors"
    )
    assert features["features"].shape == (9, 16)
    encoder = meta["encoder"]
    assert (encoder["model"], encoder["image_resize_mode"]) == ("siglip:siglip", "squash")
    assert len(encoder["weights_sha256"]) == 64
    certificate = json.loads(
        result(extended, "certificates/image_features/encode_images/siglip/leaves.json")
    )
    assert f"src/coder_clip/{FAMILY}" in certificate["modules"]
    assert "data/siglip/model.safetensors" in json.dumps(certificate)
    assert "siglip:FOLDER" in extended.coder_clip("schema").stdout
    said = extended.coder_clip("check", "--config", extended.config, check=False)
    assert "model siglip: siglip:data/siglip, 16 dimensions, on cpu" in said.stdout


def test_a_text_source_is_in_configuration_help_docs_and_texts(extended: Work) -> None:
    texts = json.loads(result(extended, "texts/leaves.json"))
    assert [c["synonym"] for c in texts["classes"]] == [["oaks"], ["maples"], ["ginkgos"]]
    assert texts["provenance"]["synonym"] == {"source": "plurals"}
    assert '"plurals"' in extended.coder_clip("schema").stdout
    assert "plurals (synonym): the class name in the plural" in " ".join(
        extended.coder_clip("generate-texts", "--help").stdout.split()
    )
    printed = extended.run(sys.executable, "-m", "coder_clip.texts.sources").stdout
    assert "| `plurals` | the class name in the plural | `synonym` |" in printed.splitlines()
    wrong = extended.folder / "config/wrong.yaml"
    text = (extended.folder / extended.config).read_text(encoding="utf-8")
    wrong.write_text(text.replace("synonym: plurals", "synonym: plural"), encoding="utf-8")
    refused = extended.coder_clip("check", "--config", wrong, check=False)
    assert "unknown source 'plural' (did you mean 'plurals'?)" in refused.stderr


@pytest.mark.rest
def test_a_phase_is_a_command_a_target_and_a_stage_of_dvc(extended: Work) -> None:
    counts = json.loads(result(extended, "class_share/mini/leaves.json"))
    assert sum(counts.values()) == 9, "test images of the data set"
    listed = extended.coder_clip("--help").stdout
    assert "Count the test images that CODER gives to each class." in " ".join(
        listed.replace("│", " ").split()
    )
    assert (
        listed.index("evaluation")
        < listed.index("class-share")
        < listed.index("Tables, figures, report")
    )
    extended.snakemake("class_share", "--forcerun", "count_predictions")
    path = extended.folder / "src/coder_clip" / PHASE
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\n# a remark\n", encoding="utf-8")
    assert extended.planned() == {}
    path.write_text(text.replace('"clean"', '"corrected"'), encoding="utf-8")
    assert extended.planned() == {"count_predictions": 4}
    path.write_text(text, encoding="utf-8")
    certificate = json.loads(
        result(extended, "certificates/class_share/count_predictions/mini/leaves.json")
    )
    assert "src/coder_clip/phases/class_share.py" in certificate["modules"]
    stage = (
        "from coder_clip.jobs import jobs\n"
        "from coder_clip.pipeline.config import load_config\n"
        "from coder_clip.tracking.stages import tracked\n"
        f"t = tracked({extended.config!r})\n"
        "t.write_yaml(t.described(jobs(load_config(t.config)))); print(t.yaml.read_text())"
    )
    assert "results/mine/class_share" in extended.run(sys.executable, "-c", stage).stdout


@pytest.mark.proof
def test_an_edit_of_a_new_file_reruns_what_it_decides(extended: Work) -> None:
    """Otherwise the old numbers of a method that one works on stand beside its new code."""
    extended.snakemake("--forceall")
    assert extended.planned() == {}
    for name, first, old, new in (
        (EXHIBIT, "tables", "sizes.min()", "sizes.max()"),
        (BASELINE, "fit_adapters", "mean(dim=0)", "sum(dim=0)"),
        (SOURCE, "generate_texts", "{name}s", "{name}es"),
    ):
        path = extended.folder / "src/coder_clip" / name
        text = path.read_text(encoding="utf-8")
        path.write_text(f"{text}\n# a remark\n", encoding="utf-8")
        assert extended.planned() == {}
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        plan = extended.planned()
        path.write_text(text, encoding="utf-8")
        assert first in plan
        assert {"tables", "page"} <= plan.keys()
        assert ("fit_adapters" in plan) == (name != EXHIBIT)
        assert "encode_images" not in plan
        assert bool({"classify", "evaluate"} & plan.keys()) == (name == SOURCE)
        assert plan.get("generate_texts", 0) == (name == SOURCE), (
            "of data sets without that source, too"
        )


WEIGHT = ("python", "-m", "tools.weight")
CHECKS = (  # of `make check`
    ("ruff", "check"),
    ("ruff", "format", "--check"),
    ("mypy",),
    ("lint-imports",),
    ("snakefmt", "--check", "Snakefile", "workflow"),
    ("snakemake", "--lint"),
    ("reuse", "lint", "--quiet"),
    WEIGHT,
    ("mkdocs", "build", "--quiet"),
)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole repository, tests too, with every recipe followed as it is printed."""
    folder = tmp_path_factory.mktemp("followed") / "copy"
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=REPO, capture_output=True, check=True
    )
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        if (REPO / name).is_file() or (REPO / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, folder / name, follow_symlinks=False)
    follow(folder, files())
    # reuse and some tests ask Git for the files
    for command in (("init", "--quiet"), ("add", "--all")):
        subprocess.run(["git", *command], cwd=folder, check=True)
    generated = in_copy(folder, sys.executable, "tools/generated.py")
    assert generated.stdout.split() == ["config/schema.json", "docs/data.md", "docs/texts.md"]
    return folder


def in_copy(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment in a copy, with the code of the copy."""
    # unit tests have hubs of their own
    env = {**environment(folder), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done


@pytest.mark.rest
def test_the_checks_pass_with_what_the_recipes_add(followed: Path) -> None:
    """A contributor who copies a recipe would be told that it has a wrong type or style."""
    programs = Path(sys.executable).parent
    assert [" ".join(command) for command in CHECKS] == checks_of_make()
    for program, *options in CHECKS:
        if (program, *options) == WEIGHT:
            continue  # the limit is of the repository; a commit that adds a part may raise it
        in_copy(followed, str(programs / program), *options)


def checks_of_make() -> list[str]:
    """The commands of `make check`."""
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^check: .*\n((?:\t.*\n)+)", makefile, flags=re.M)
    return [line.strip().removeprefix("$(BIN)/") for line in recipe.splitlines()]


@pytest.mark.proof
@pytest.mark.parametrize("part", ["tests/unit", "packages"])
def test_the_unit_tests_pass_with_what_the_recipes_add(followed: Path, part: str) -> None:
    """A test that lists what is here today would be red for everybody who adds something."""
    options = ("-q", "--no-header", "--tb=short", "-p", "no:cacheprovider")
    quick = ("-m", "not rest and not proof")
    # a run writes dvc.yaml, and there was none with the new phase
    after_a_run = (
        "tests/unit/tracking/test_tracking.py::"
        "test_dvc_yaml_leads_from_each_phase_to_those_whose_outputs_it_reads"
    )
    deselected = ("--deselect", after_a_run)
    in_copy(followed, sys.executable, "-m", "pytest", *options, *quick, *deselected, part)
