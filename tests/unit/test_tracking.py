"""Hashes, the judge, names from other people, dvc.yaml and messages, without runs of Snakemake or DVC."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from coder_clip import tracking
from coder_clip.errors import UserError
from coder_clip.foundation import dvc, locks
from coder_clip.foundation.dvc import Store, folder_md5
from coder_clip.foundation.hashes import Hashes
from coder_clip.pipeline import environment
from coder_clip.tracking import stages
from coder_clip.tracking.certificates import Certificate, Job, read
from coder_clip.tracking.explain import Explained, config_of, lines, of_another_row, row_of
from coder_clip.tracking.judge import MISSING, NONE, OTHER_BYTES, Judge, why_not
from coder_clip.tracking.stages import DEFAULT, Tracked
from coder_clip.tracking.status import Line, table


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(path: str, text: str = "x") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


# ---- hashes


def test_folder_hash_is_that_of_dvc() -> None:
    from dvc_data.hashfile.tree import Tree

    files = {"b/c.json": "1" * 32, "b-a.json": "2" * 32, "é.json": "3" * 32, "a.json": "4" * 32}
    tree = Tree.from_list([{"md5": v, "relpath": k} for k, v in files.items()], hash_name="md5")
    tree.digest()
    assert tree.hash_info is not None
    assert folder_md5(files) == tree.hash_info.value


def test_hashes_are_read_once_and_again_after_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    put("f", "one")
    hashes = Hashes()
    first = hashes.md5("f"), hashes.sha256("f")
    hashes.save()
    hashes = Hashes()
    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", lambda *a, **k: pytest.fail("read again"))
        assert (hashes.md5("f"), hashes.sha256("f")) == first


def test_a_change_that_keeps_size_and_time_is_seen() -> None:
    """`touch -r`, rsync and archives give a file its old time back."""
    put("f", "one")
    hashes = Hashes()
    first, was = hashes.md5("f"), os.stat("f")
    time.sleep(0.02)
    put("f", "two")
    os.utime("f", ns=(was.st_atime_ns, was.st_mtime_ns))
    assert hashes.md5("f") != first


@pytest.mark.parametrize("text", ["[]", "3", '["f"]', '{"f": 3}', '{"f": {}}', '{"f": {"stamp": 3}}'])
def test_a_damaged_cache_of_hashes_is_made_again(text: str) -> None:
    put("f", "one")
    put(".snakemake/coder-clip/sums.json", text)
    assert Hashes().md5("f") == hashlib.md5(b"one").hexdigest()


# ---- the judge

PHASES = """
phases:
  texts:
    target: texts
    makes: [texts]
    rules: {text: {command: "make --set {wildcards.set} {params.names} 2> {log}", reads: [words]}}
  report:
    target: page
    makes: [tables, page.html, metrics.json]
    keeps: [tables, metrics.json]
    rules: {page: {command: "page 2> {log}"}}
"""
DVC = """
stages:
  texts:
    cmd: [snakemake texts --configfile config/reproduce.yaml]
    deps: [config/reproduce.yaml]
    outs: [{results/texts: {persist: true}}, {results/certificates/texts: {persist: true}}]
  report:
    cmd: [snakemake page --configfile config/reproduce.yaml]
    deps: [config/reproduce.yaml, results/texts]
    outs:
      - results/tables: {cache: false, persist: true}
      - results/page.html: {persist: true}
      - results/certificates/report: {persist: true}
    metrics: [{results/metrics.json: {cache: false, persist: true}}]
"""
JOB = Job("text", {"set": "a.b"}, ("data/a.txt",), ("results/texts/a.json",), {"words": 3, "top": None})
PAGE = Job("page", {}, ("results/texts/a.json",), ("results/page.html", "results/tables/t.csv"))
STATED = Certificate(
    rule="text",
    command="make --set a.b x y",
    values={"words": 3, "top": None},
    sources={"src/x.py": "xx"},
    inputs={"data/a.txt": "aa"},
    outputs={"results/texts/a.json": "oo"},
)
HERE = {"src/x.py": "xx", "data/a.txt": "aa", "results/texts/a.json": "oo"}


@pytest.fixture
def toy() -> Tracked:
    put("workflow/phases.yaml", PHASES)
    put("dvc.yaml", DVC)
    put(DEFAULT, "words: 3\nsets: [a]\n")
    return Tracked(DEFAULT)


@pytest.mark.usefixtures("toy")
def test_a_certificate_speaks_of_this_tree_or_says_why_not() -> None:
    def judged(stated: Certificate = STATED, job: Job = JOB, **here: str) -> str:
        found = {**HERE, **{path.replace("__", "/"): sha for path, sha in here.items()}}
        return why_not(stated, job, lambda path: found.get(path, ""))

    assert judged() == ""
    assert judged(replace(STATED, versions={"torch": "1"})) == "", "another machine made it"
    assert judged(replace(STATED, doubt="it changed")) == "it changed"
    for command in ("make --set aXb x y", "make --set a.b", "make --set a.b x y; true"[:-6] + " 2> log;"):
        wrong = command != "make --set a.b x y 2> log;"
        assert judged(replace(STATED, command=command)) == ("the command changed" if wrong else "")
    assert judged(job=replace(JOB, values={"words": 4, "top": None})) == "a parameter changed (words 3 → 4)"
    assert judged(job=replace(JOB, values={"words": 3})) == "a parameter changed (top None → not there)"
    assert judged(job=replace(JOB, inputs=("data/a.txt", "new"))) == "other inputs than before (new)"
    assert judged(job=replace(JOB, outputs=("results/texts/b.json",))) == "other outputs than before"
    assert judged(**{"src__x.py": "yy"}) == "a source changed (src/x.py)"
    assert judged(**{"data__a.txt": ""}) == "an input changed (data/a.txt)"
    assert judged(**{"results__texts__a.json": "zz"}) == OTHER_BYTES


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.usefixtures("toy")
def test_a_missing_file_counts_as_what_its_certificate_says_while_that_holds() -> None:
    """A colleague who pulled only the last phases can go on; an edit that concerns the missing ones is seen."""
    put("data/a.txt", "aa")
    put("src/x.py", "xx")
    made = {"data/a.txt": sha("aa")}, {"results/texts/a.json": sha("oo")}
    stated = replace(STATED, sources={"src/x.py": sha("xx")}, inputs=made[0], outputs=made[1])
    stated.write(JOB.certificate("results"))
    page = {path: sha(path) for path in PAGE.outputs}
    for path in page:
        put(path, path)
    Certificate("page", "page", {}, {}, made[1], page).write(PAGE.certificate("results"))
    assert Judge("results", [JOB, PAGE]).outdated == {"text/a.b": MISSING}
    put("src/x.py", "yy")
    judge = Judge("results", [JOB, PAGE])
    assert judge.outdated["text/a.b"] == "a source changed (src/x.py)"
    assert judge.outdated["page"] == "an input changed (results/texts/a.json)"
    put("results/texts/a.json", "oo")
    assert "page" not in Judge("results", [JOB, PAGE]).outdated, "it is there again"


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rule": 3}', '{"format": 99}', "null"])
def test_a_damaged_certificate_is_none(text: str) -> None:
    put("data/a.txt")
    put("results/texts/a.json")
    put(str(JOB.certificate("results")), text)
    assert read(JOB.certificate("results")) is None
    assert Judge("results", [JOB]).outdated == {"text/a.b": NONE}


def test_a_certificate_comes_back_as_it_was() -> None:
    for stated in (STATED, replace(STATED, doubt="x", versions={"torch": "2"})):
        stated.write(Path("c.json"))
        assert read("c.json") == stated


def test_code_from_elsewhere_is_noticed() -> None:
    assert environment.foreign_code() == "", "a project without the package has no code to run instead"
    put("src/coder_clip/__init__.py")
    assert "coder_clip runs from /" in environment.foreign_code()


def test_runs_are_noticed_until_the_last_has_ended() -> None:
    settings = SimpleNamespace(forceall=False, forcerun=["text"], forcetargets=True, targets=["a"])
    locks.RUN.parent.mkdir(parents=True)
    assert not locks.running()
    for _ in range(2):
        dag = SimpleNamespace(needrun_jobs=lambda: [])
        tracking.start(SimpleNamespace(dag_settings=settings, dag=dag))
    assert os.environ.pop("CODER_CLIP_FORCED") == "text\na"
    assert locks.running()
    tracking._held.pop().close()  # as the end of its process does
    assert locks.running()
    tracking._held.pop().close()
    assert not locks.running()


# ---- names that come from other people


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/x", ".git/x", "a/.GIT/x", "a\\..\\x", "a//x", "", "./a"]
)
def test_a_list_of_files_names_none_outside_of_its_folder(name: str) -> None:
    put("list", json.dumps([{"md5": "1" * 32, "relpath": name}]))
    store: Any = SimpleNamespace(path=lambda oid: "list")
    with pytest.raises(UserError, match="outside of it; nothing was changed"):
        Store.files(store, "results/texts", "1.dir")


def test_a_lock_names_no_output_but_the_phase_s(toy: Tracked) -> None:
    def lock(path: str, stage: str = "texts") -> None:
        outs = [{"path": path, "md5": "1" * 32}]
        put("dvc.lock", yaml.safe_dump({"stages": {stage: {"outs": outs}}}))

    lock("results/texts")
    assert toy.recorded() == {"texts": {"results/texts": "1" * 32}}
    for path in ("../victim", "/victim", "results/tables", "results/texts/../../x", "src"):
        lock(path)
        with pytest.raises(UserError, match="which does not make it; nothing was changed"):
            toy.recorded()
    lock("data/mine.txt", "mine")
    assert toy.recorded() == {}, "a stage of somebody's own is none of ours"


# ---- dvc.yaml and dvc.lock


def test_dvc_yaml_of_another_configuration(toy: Tracked) -> None:
    """Beside the default's: its own folder, everything in the cache, and no phase without jobs."""
    put("config/my own's.yaml", "results: results/mine\nwords: 3\n")
    mine = Tracked("config/my own's.yaml")
    mine.write_yaml([replace(JOB, outputs=("results/mine/texts/a.json",))])
    assert mine.yaml == Path("tracked/my own's/dvc.yaml")
    assert mine.stages() == {
        "texts": {
            "wdir": "../..",
            "cmd": ["""snakemake texts --configfile 'config/my own'"'"'s.yaml'"""],
            "deps": ["config/my own's.yaml"],
            "outs": [
                {"results/mine/texts": {"persist": True}},
                {"results/mine/certificates/texts": {"persist": True}},
            ],
        }
    }
    mine.write_yaml([replace(PAGE, outputs=("results/mine/metrics.json",))])
    assert mine.stages()["report"]["metrics"] == [{"results/mine/metrics.json": {"persist": True}}]


def test_dvc_yaml_names_the_phases_and_their_outputs(repo: Path) -> None:
    """It is written by hand, and so are they in workflow/phases.yaml."""
    described = yaml.safe_load((repo / "dvc.yaml").read_text())["stages"]
    document = yaml.safe_load((repo / "workflow/phases.yaml").read_text())["phases"]
    assert list(described) == list(document)
    before: list[str] = []
    for name, phase in document.items():
        stage = described[name]
        outs = {
            path: how
            for kind in ("outs", "metrics")
            for out in stage.get(kind, ())
            for path, how in out.items()
        }
        expected = [f"results/{made}" for made in (*phase["makes"], f"certificates/{name}")]
        assert sorted(outs) == sorted(expected)
        kept = [path for path, how in outs.items() if how == {"cache": False, "persist": True}]
        assert sorted(kept) == sorted(f"results/{made}" for made in phase.get("keeps", ()))
        assert set(stage["deps"]) <= {"config/reproduce.yaml", *before}
        assert stage["cmd"][0].split()[:2] == ["snakemake", phase["target"]]
        before += expected


def test_two_configurations_are_not_recorded_over_each_other(toy: Tracked) -> None:
    put("config/mine.yaml", "words: 3\n")
    with pytest.raises(UserError, match=r"config/mine\.yaml would be recorded over config/reproduce\.yaml"):
        stages.tracked("config/mine.yaml")
    put("config/mine.yaml", "results: results/mine\n")
    assert stages.tracked("config/mine.yaml").root == "results/mine"
    Path("link").symlink_to("results")
    for same in (
        "results/../results",
        str(Path.cwd() / "results"),
        "link",
        "results/texts",
        "results/certificates/x",
    ):
        put("config/mine.yaml", f"results: {same}\n")
        with pytest.raises(UserError, match="would be recorded over"):
            stages.tracked("config/mine.yaml")
    with pytest.raises(UserError, match="not in this repository"):
        stages.tracked("../elsewhere.yaml")


LOCKS = [
    f"stages: {stages}"
    for stages in ("[]", "{texts: []}", "{texts: {outs: [a]}}", "{texts: {outs: [{path: a, md5: 4}]}}")
]


@pytest.mark.parametrize("text", ["", "stages: [", "schema: '2.0'\n", "just words", "[]", *LOCKS])
def test_damaged_lock(toy: Tracked, text: str) -> None:
    put("dvc.lock", text)
    with pytest.raises(UserError, match="'coder-clip record' repairs it"):
        toy.recorded()


@pytest.mark.parametrize("text", ["", "stages: [", "[]", "<<<<<<< HEAD\nstages: {}\n"])
def test_a_damaged_dvc_yaml_is_named(toy: Tracked, text: str) -> None:
    """Without it a run said of every phase that it has no stage; DVC names a line of the file and nothing else."""
    put("dvc.yaml", text)
    put("dvc.lock", "stages: {}")
    with pytest.raises(
        UserError, match=r"dvc\.yaml is damaged; 'git checkout HEAD -- dvc\.yaml' restores it"
    ):
        toy.recorded()


def test_why_untracked() -> None:
    assert dvc.unavailable() == "no DVC repository here"
    Path(".dvc").mkdir()
    assert "no Git repository here" in dvc.unavailable()


# ---- explain and messages


def test_rows_of_a_table() -> None:
    put("t.csv", "dataset,method,value\nd,clip,1\nd,coder,2\n")
    assert row_of(Path("t.csv"), "2")["value"] == "2"
    assert row_of(Path("t.csv"), "method=clip")["value"] == "1"
    for row, said in (
        ("3", "rows 1 to 2"),
        ("dataset=d", r"2 rows of t\.csv have dataset=d; they differ in method \(clip, coder\)$"),
        ("dataset=d,method=codr", r"no row .* method 'codr' is not there \(did you mean 'coder'\?\)"),
        ("metod=x", "did you mean"),
        ("x", "give a number"),
    ):
        with pytest.raises(UserError, match=said):
            row_of(Path("t.csv"), row)
    with pytest.raises(UserError, match=r"no table none\.csv"):
        row_of(Path("none.csv"), "1")


@pytest.mark.parametrize("results", ["results", "results/photos"])
def test_artefacts_of_another_data_set_stand_behind_no_number(results: str) -> None:
    adapter = SimpleNamespace(shots=[1, 2])
    config: Any = SimpleNamespace(
        results=Path(results), datasets=["shapes", "rare"], models=["mini"], adapter=adapter
    )
    row = {"dataset": "rare", "model": "mini", "shots": "1"}
    assert of_another_row(f"{results}/zero_shot/mini/shapes.json", row, config)
    assert not of_another_row(f"{results}/zero_shot/mini/rare.json", row, config)
    assert of_another_row(f"{results}/adapter/mini/rare/2.json", row, config)
    assert not of_another_row(f"{results}/evaluation/mini/2.json", row, config)
    assert not of_another_row("data/texts/shapes.json", row, config)


def test_a_table_tells_its_configuration(repo: Path) -> None:
    """Else a table of photos would be explained with another data set of the same name."""
    put("data/README.md")
    Path("data/mini").symlink_to(repo / "data/mini")
    for name, results in (("reproduce", "results"), ("photos", "results/photos")):
        put(
            f"config/{name}.yaml",
            f"results: {results}\ndatasets: {{shapes: {{texts: names}}}}\nmodels: [mini]\n",
        )
    put("config/half.yaml", "results: [")
    assert config_of("results/tables/zero_shot.csv") == Path("config/reproduce.yaml")
    assert config_of("results/photos/tables/zero_shot.csv") == Path("config/photos.yaml")
    with pytest.raises(UserError, match=r"no configuration writes elsewhere/tables/t\.csv.*--config"):
        config_of("elsewhere/tables/t.csv")
    put("config/again.yaml", Path("config/photos.yaml").read_text())
    with pytest.raises(UserError, match=r"several .*again\.yaml, config/photos\.yaml"):
        config_of("results/photos/tables/zero_shot.csv")


def test_an_explanation_is_short_unless_all_is_asked_for() -> None:
    artefacts = [
        {"path": f"f{i}", "sha256": "1" * 64, "command": f"make {i}", "params": {"a": 1}, "changed": ""}
        for i in range(40)
    ]
    given = {"x": "2" * 64, **{f"src/{i}.py": "3" * 64 for i in range(30)}}
    found = Explained(
        "t.csv", {"dataset": "d"}, "value", "1", artefacts[:9], given, {"s.py": "3" * 64}, ["src/4.py"]
    )
    shown = [line.split()[0] for line in lines(found) if "sha256" in line]
    assert shown == ["x", "src/4.py"], "of sources those that changed; a page of others would hide the texts"
    found.artefacts = artefacts
    short, every = lines(found), lines(found, every=True)
    assert len(short) <= 25
    assert any(line.endswith("more lines: --all") for line in short)
    assert short[-1].startswith("again:")
    assert sum(line.startswith("  f") for line in every) == 40
    assert any("s.py" in line for line in every)


def test_status_table_is_in_columns() -> None:
    lines = table(
        [Line("texts", "2/2", "yes", "yes", "no", ""), Line("x", "0/10", "no", "no", "no", "missing (10)")]
    )
    assert lines[1].startswith("texts  2/2    yes")
    assert lines[2].endswith("missing (10)")
