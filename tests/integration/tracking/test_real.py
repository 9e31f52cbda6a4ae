"""The real pipeline, on the shapes alone: recorded, pushed, cloned, pulled, compared."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from project import BIN, ROOT, Project
from working_copy import Work, few_pictures, python_path

pytestmark = pytest.mark.rest

SHAPES = yaml.safe_load((ROOT / "config/reproduce.yaml").read_text())["datasets"]["shapes"]
SMALL = {  # every key of config/reproduce.yaml, one data set, small numbers
    "title": "shapes alone",
    "note": "",
    "results": "results",
    "datasets": {"shapes": {**SHAPES, "views": 1}},
    "models": ["mini"],
    "settings": ["as_published", "corrected", "clean"],
    "features": {"batch_size": 64, "threads": 1, "shards": 1, "on_error": "fail"},
    "rerank": {"top_k": 5, "top_ks": [2], "thresholds": [0.0, 0.1, 1.0]},
    "adapter": {
        "methods": ["tip_adapter", "coder_adapter"],
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
        "template_ensemble": True,
        "random_draws": 2,
        "text_counts": [1],
        "draws": 1,
        "neighbors": 5,
        "tsne_images": 40,
        "corrections": 1,
    },
    "generator": None,
}
PAGES = ("README.md", "docs/sharing.md")
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
        if (ROOT / name).is_file() and not name.startswith(("docs/", "benchmarks/", "dvc.lock", "results/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    few_pictures(folder)
    (folder / "config/reproduce.yaml").write_text(yaml.safe_dump(SMALL, sort_keys=False))
    project = Project(folder, PYTHONPATH=python_path(folder))
    project.git("init", "--quiet", "--initial-branch", "main")
    project.run("dvc", "remote", "add", "--quiet", "--default", "store", "../store")
    project.commit("the pipeline")
    Work(folder, "config/reproduce.yaml").make()
    said = project.run("coder-clip", "record").stdout
    assert "recorded in DVC: texts, image_features" in said
    assert "is not recorded" not in said
    project.commit()
    project.run("coder-clip", "push")
    return project


@pytest.fixture
def clone(made: Project, tmp_path: Path) -> Project:
    return cloned(made, tmp_path / "clone")


def bare(made: Project, folder: Path) -> Project:
    """A colleague's clone of it, as Git makes it."""
    made.run("git", "clone", "--quiet", str(made.folder), str(folder))
    clone = Project(folder, PYTHONPATH=python_path(folder))
    clone.run("dvc", "remote", "modify", "--local", "store", "url", str(made.folder.parent / "store"))
    return clone


def cloned(made: Project, folder: Path) -> Project:
    """A colleague's clone of it, pulled."""
    clone = bare(made, folder)
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


def test_the_documented_line_works_in_a_bare_clone(made: Project, tmp_path: Path) -> None:
    """A colleague has no coder-clip before the first `make`. Installed here, so that nothing is downloaded."""
    begin = "git clone … && cd … && "
    lines = [x for page in PAGES for x in (ROOT / page).read_text().splitlines() if x.startswith(begin)]
    assert len(lines) == len(PAGES)
    (line,) = {x.split("#")[0].strip() for x in lines}
    clone = bare(made, tmp_path / "clone")
    (clone / ".venv").mkdir()
    (clone / ".venv/bin").symlink_to(BIN)
    (clone / ".venv/installed").touch()
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if Path(p) != BIN)
    assert shutil.which("coder-clip", path=path) is None
    said = clone.run("sh", "-c", line.removeprefix(begin), PATH=path).stdout
    assert "everything is recorded in DVC" in said or "Nothing to be done" in said
    assert "coder_clip" not in said.split("need not be made again")[0] or "rule" not in said
    assert plan(clone) == set()


# ---- one thing after the other is changed, and both tools are asked (ask.py)
#
# `dvc status` names the phases in which something changed, not those that follow from it. Snakemake gives for every
# file that it would make again a reason of its own (a parameter, a command, a source, not there) or none, if only a job
# before it runs again. For keys and commands both must name the same phases; besides, DVC must name a phase that holds
# a file which nothing makes any more, because what is recorded of it changes. For a source that several phases share
# Snakemake gives its reason in the first of them alone; so there: whatever has a reason of its own is named, whatever
# is named is made again. And always: all that is made again is reached from what is named along dvc.yaml.

VALUES: dict[str, Any] = {  # of every key of config/reproduce.yaml another one
    "title": "other",
    "note": "other",
    "datasets.shapes.views": 2,
    "datasets.shapes.threshold": 0.2,
    "datasets.shapes.texts": "data/texts/other.json",
    "datasets.shapes.one_to_one": "data/texts/other.one_to_one.json",
    "datasets.shapes.templates": {"name": "a picture of a {class}"},
    "datasets.shapes.root": "data/texts",
    "datasets.shapes.few_shot": False,
    "datasets.shapes.shot_files": "data/shots",
    "models": {"mini": {"model": "local-dir:data/mini", "precision": "bf16"}},
    "settings": ["as_published", "corrected"],
    "features.batch_size": 32,
    "features.threads": 2,
    "features.shards": 2,
    "features.on_error": "skip",
    "rerank.top_k": 4,
    "rerank.top_ks": [2, 3],
    "rerank.thresholds": [0.0, 0.1, 0.9],  # the largest counts
    "adapter.methods": ["tip_adapter", "gda"],  # gda wants single views
    "adapter.shots": [1, 2],
    "adapter.seeds": [3, 2],  # evaluation reads the first
    "adapter.repeat_shots": True,
    "adapter.betas": [0.1, 100, 10],
    "adapter.alphas": [0.1, 10, 5],
    "adapter.rounds": 3,
    "evaluation.bootstrap": 30,
    "evaluation.seed": 1,
    "evaluation.template_ensemble": False,
    "evaluation.random_draws": 3,
    "evaluation.text_counts": [2],
    "evaluation.draws": 2,
    "evaluation.neighbors": 3,
    "evaluation.tsne_images": 50,
    "evaluation.corrections": 2,
    "generator": {"model": "m"},
}
ADDED = {"adapter.initial": [1.0, 2.0], "features.workers": 2, "features.device": "cpu"}  # not written there
NOTHING = {"features.workers", "features.device"}
NOT_HERE = {"encode_shard", "merge_shards", "generate_texts", "generate_pairs"}  # of other configurations
NOT_READ = ("cli/__init__", "cli/__main__", "tracking/record")
SOURCES = (  # besides those of the phases: shared by several, behind one table or figure, behind none
    *("foundation/artifacts", "protocols", "neighbors", "rerank", "encoders/encoder", "datasets/shapes"),
    *("texts/sets", "reporting/page", "reporting/exhibits/zero_shot", "reporting/exhibits/tsne"),
    *NOT_READ,
)


def with_value(document: dict[str, Any], key: str, value: Any) -> str:
    document = copy.deepcopy(document)
    *tables, last = key.split(".")
    inner = document
    for table in tables:
        inner = inner[table]
    inner[last] = value
    return yaml.safe_dump(document, sort_keys=False)


def changes_of(folder: Path) -> dict[str, dict[str, str]]:
    """What is changed, a name each: of which file what the new text is."""
    document = yaml.safe_load((folder / "config/reproduce.yaml").read_text())
    found = {
        f"key {key}": {"config/reproduce.yaml": with_value(document, key, value)}
        for key, value in {**VALUES, **ADDED}.items()
    }
    lines = (folder / "config/reproduce.yaml").read_text()
    found["comment in the configuration"] = {"config/reproduce.yaml": f"# a comment\n{lines}"}
    package = folder / "src/coder_clip"
    for path in [*sorted((package / "phases").glob("*.py")), *(package / f"{name}.py" for name in SOURCES)]:
        name = path.relative_to(folder).as_posix()
        found[f"source {name}"] = {name: path.read_text() + "\n# a comment\n"}
    listed = yaml.safe_load((folder / "workflow/phases.yaml").read_text())
    for phase, body in listed["phases"].items():
        for rule, of in body["rules"].items():
            text = with_value(listed, f"phases.{phase}.rules.{rule}.command", f"true; {of['command']}")
            found[f"command {phase}.{rule}"] = {"workflow/phases.yaml": text}
    for path in [*sorted((folder / "workflow").rglob("*.smk")), folder / "workflow/phases.yaml"]:
        name = path.relative_to(folder).as_posix()
        found[f"comment in {name}"] = {name: f"# a comment\n{path.read_text()}"}
    for name in ("data/texts/shapes.json", "data/texts/shapes.one_to_one.json"):
        found[f"text {name}"] = {name: (folder / name).read_text() + "\n"}
    for name in ("data/mini/open_clip_config.json", "src/coder_clip/templates/report.css"):
        found[f"file {name}"] = {name: (folder / name).read_text() + "\n"}
    return found


@pytest.fixture(scope="module")
def answers(made: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[str]]]:
    clone = cloned(made, tmp_path_factory.mktemp("every") / "clone")
    for kind in ("", ".one_to_one"):
        shutil.copy(clone / f"data/texts/shapes{kind}.json", clone / f"data/texts/other{kind}.json")
    (clone / "data/shots").mkdir()
    for seed in SMALL["adapter"]["seeds"]:
        (clone / f"data/shots/shot_1-seed_{seed}.json").write_text("{}")
    assert plan(clone) == set()
    changes = changes_of(clone.folder)
    done = subprocess.run(
        ["python", str(Path(__file__).parent / "ask.py")],
        cwd=clone.folder,
        env={**clone.environment, "PATH": clone.environment["PATH"]},
        input=json.dumps({"nothing": {}, **changes, "nothing again": {}}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, dict[str, list[str]]] = json.loads(done.stdout)
    assert list(found) == ["nothing", *changes, "nothing again"]
    for name in ("nothing", "nothing again"):
        assert found.pop(name) == {"dvc": [], "own": [], "rerun": [], "left": []}
    return found


def test_every_change_means_the_same_to_both_tools(answers: dict[str, dict[str, list[str]]]) -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    outs = {next(iter(o)): name for name, s in stages.items() for o in [*s["outs"], *s.get("metrics", ())]}
    wrong = []
    for name, said in answers.items():
        assert "error" not in said, f"{name}: {said}"
        named, own, rerun, left = (set(said[key]) for key in ("dvc", "own", "rerun", "left"))
        reached = set(named)
        for stage in stages:  # in the order of the DAG
            if any(outs.get(dep) in reached for dep in stages[stage]["deps"]):
                reached.add(stage)
        same = (
            own | left == named if name.startswith(("key", "command", "comment")) else own <= named <= rerun
        )
        if not same or not rerun <= reached:
            wrong.append(f"{name}: {said}")
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_key_was_changed_and_counts(answers: dict[str, dict[str, list[str]]], made: Project) -> None:
    """Nothing is overlooked: a new key, phase, rule or rule file is among the changes."""
    written = yaml.safe_load((made / "config/reproduce.yaml").read_text())
    leaves = {
        f"{key}.{below}" if below else key
        for key, value in written.items()
        for below in (value if isinstance(value, dict) and key != "datasets" else [None])
    } - {"datasets", "results"}
    leaves |= {f"datasets.shapes.{key}" for key in written["datasets"]["shapes"]}
    leaves -= {f"datasets.shapes.{key}" for key in ("classes", "split")}  # of other data sets, refused here
    assert set(VALUES) == leaves  # results: where, not what
    for name, said in answers.items():
        kind, what = name.split(maxsplit=1)
        counts = bool(said["dvc"])
        if kind == "key":
            assert counts == (what not in NOTHING), name
        elif kind == "command":
            assert counts == (what.split(".")[1] not in NOT_HERE), name
        elif kind == "comment":
            assert not counts, name
        elif kind in ("text", "file") or "/phases/" in what:
            assert counts == (Path(what).stem not in NOT_HERE), name
    assert answers["key datasets.shapes.views"]["dvc"] == ["image_features", "report"]
    assert answers["key adapter.rounds"]["dvc"] == ["adapter", "report"]
    assert answers["command coder.build_coder"]["dvc"] == ["coder"]
    assert answers["key rerank.top_k"]["dvc"] == ["one_to_one", "report", "rerank"]
    assert answers["text data/texts/shapes.json"]["dvc"] == ["texts"]
    assert answers["source src/coder_clip/rerank.py"]["dvc"] == ["one_to_one", "rerank"]
    assert answers["source src/coder_clip/phases/adapter.py"]["dvc"] == ["adapter"]
    for name in ("key rerank.top_k", "text data/texts/shapes.json", "command coder.build_coder"):
        assert "image_features" not in answers[name]["rerun"], name
    for name in NOT_READ:
        assert answers[f"source src/coder_clip/{name}.py"]["dvc"] == []


def test_numbers_are_explained(clone: Project) -> None:
    shutil.rmtree(clone / ".snakemake")  # from what came with the pull alone
    (line,) = re.findall(r"^coder-clip explain .*", (ROOT / "docs/sharing.md").read_text(), flags=re.M)
    command = line.replace("rare", "shapes").split()
    found = json.loads(clone.run(*command, "--json").stdout)
    made = [a["path"] for a in found["artefacts"]]
    assert made[0] == "results/tables/zero_shot.csv"
    assert "results/image_features/mini/shapes/test.safetensors" in made
    assert not any("adapter" in path for path in made)
    assert found["encoders"][0]["weights_sha256"]
    assert {t["path"] for t in found["texts"]} == {
        "results/texts/shapes.json",
        "results/one_to_one/shapes.json",
    }
    assert found["changed"] == []
    assert all(a["changed"] == "" for a in found["artefacts"])
    params = {a["path"]: a["params"] for a in found["artefacts"]}
    assert params["results/rerank/mini/shapes.json"]["rerank"]["top_k"] == 5
    assert params["results/rerank/mini/shapes.json"]["datasets.shapes.threshold"] == 0.1
    commit = clone.git("log", "-1", "--format=%h", "--", "dvc.lock").strip()
    assert f"as in commit {commit}" in found["code"]
    where = found["environment"]["image_features"][0]
    assert {
        "python",
        "torch",
        "open_clip_torch",
        "processor",
    } <= where.keys()  # of who made it, by the remote
    mixed = [
        "explain",
        "results/tables/settings.csv",
        "1",
        "value",
        "--config",
        "config/reproduce.yaml",
        "--json",
    ]
    behind = {
        a["path"].split("/")[1] for a in json.loads(clone.run("coder-clip", *mixed).stdout)["artefacts"]
    }
    assert {"tables", "zero_shot", "rerank", "adapter", "image_features"} <= behind
    table = (clone / "results/tables/zero_shot.csv").read_bytes()
    clone.edit("data/texts/shapes.json", '"synonym"', ' "synonym"')
    clone.edit("config/reproduce.yaml", "top_k: 5", "top_k: 4")
    again = clone.run(*command).stdout
    assert "changed since: a parameter changed (rerank {" in again
    assert "data/texts/shapes.json" in [x.split()[0] for x in again.splitlines() if "  changed since" in x]
    clone.git("checkout", "--quiet", ".")
    clone.run(*found["again"].split())  # the command it gives makes the same number
    assert (clone / "results/tables/zero_shot.csv").read_bytes() == table
    (clone / "results/tables/zero_shot.csv").write_bytes(table + b"\n")
    said = clone.run(*command, ok=False)
    assert said.returncode == 1
    assert (
        "results/tables/zero_shot.csv was edited since it was made; 'snakemake results/tables" in said.stdout
    )


def test_pulled_files_are_adopted_after_a_killed_run_too(made: Project, tmp_path: Path) -> None:
    """Its locks are in the way: a look leaves them, a run removes them first."""
    clone = bare(made, tmp_path / "clone")
    clone.run("dvc", "pull", "--quiet")
    lock = clone / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("results/report.html\n")
    clone.run("snakemake", "-n", *RUN, ok=False)
    clone.run("coder-clip", "status", "--no-remote")
    assert lock.exists()
    said = clone.run("snakemake", *RUN).stdout
    assert "An earlier run was killed" in said
    assert "files are as recorded and need not be made again" in said
    assert "Nothing to be done" in said


def test_dvc_compares_versions(clone: Project) -> None:
    clone.run("dvc", "exp", "run", "--name", "other", "-S", "config/reproduce.yaml:rerank.top_k=4")
    assert (plan(clone), clone.stale()) == (set(), [])
    params = json.loads(clone.run("dvc", "params", "diff", "--json").stdout)
    assert params["config/reproduce.yaml"]["rerank.top_k"] == {"old": 5, "new": 4, "diff": -1}
    metrics = json.loads(clone.run("dvc", "metrics", "diff", "--json", "--all").stdout)[
        "results/metrics.json"
    ]
    assert {"shapes.mini.clip", "shapes.mini.coder_rerank", "shapes.mini.coder_adapter_1_shots"} <= set(
        metrics
    )
    shown = clone.run("dvc", "exp", "show", "--csv").stdout
    assert "rerank.top_k" in shown.splitlines()[0]
    shown = clone.run("dvc", "metrics", "show").stdout
    assert "shapes.mini.coder_rerank" in shown
    for command in ("show", "diff"):
        clone.run(
            "dvc", "plots", command, "-o", f"../plots-{command}", *(["HEAD"] if command == "diff" else [])
        )
        page = (clone.folder.parent / f"plots-{command}/index.html").read_text()
        assert page.count('"facet"') == 2  # top-1 and few-shot
        assert "coder_adapter" in page
    clone.commit("top_k 4")
    for commit in ("HEAD~1", "-"):  # back to the old results, and forward again
        clone.git("checkout", "--quiet", commit)
        clone.run("coder-clip", "pull")
        assert (plan(clone), clone.stale()) == (set(), []), commit
