"""Hashes, statements, dvc.yaml and messages of coder_clip.tracking, without runs of Snakemake or DVC."""

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
from coder_clip.tracking import ledger, stages
from coder_clip.tracking.adopt import Adopted
from coder_clip.tracking.explain import _is_of, _row, config_of
from coder_clip.tracking.hashes import Hashes, folder_md5
from coder_clip.tracking.ledger import Statement
from coder_clip.tracking.record import Outcome
from coder_clip.tracking.snakemake import Job, Recipe, Records
from coder_clip.tracking.stages import DEFAULT, Tracked
from coder_clip.tracking.status import Line, table

MAKING = Recipe(
    rule="score",
    code="make {input}",
    shellcmd="make a",
    input=("a", "b", "src/x.py", "src/x.py"),
    params=("{'rerank.top_k': 5, 'settings': None}", "1"),
    log=("log",),
    benchmark="bench",
    inputs={"a": "aa", "b": "bb", "src/x.py": "xx"},
)


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
    hashes.set_time("f", 7 * 10**9)
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


def test_what_was_written_before_its_time_was_set_is_hashed_again() -> None:
    """Adopting hashes everything first, which can take minutes."""
    put("f", "one")
    hashes = Hashes()
    first = hashes.md5("f")
    time.sleep(0.02)
    put("f", "two")
    hashes.set_time("f", 7 * 10**9)
    assert hashes.md5("f") != first


def test_the_name_that_s3_gives_to_what_was_sent_in_parts() -> None:
    put("f", "abcde")
    parts = b"".join(hashlib.md5(part).digest() for part in (b"abc", b"de"))
    assert Hashes().etag("f", 3) == f"{hashlib.md5(parts).hexdigest()}-2"


# ---- statements


def test_a_record_comes_back_as_it_was() -> None:
    other = Recipe("text", None, None, ("a",), (), inputs={"a": "aa"})
    files = {
        "p": Statement("1", MAKING),
        "q": Statement("2", other),
        "r": Statement("3", replace(MAKING, params=("2",))),
    }
    assert ledger.load(json.loads(json.dumps(ledger.dump(files)))) == files


def test_a_record_says_nothing_of_the_machine() -> None:
    """Else the same bytes from another machine would not leave Git clean."""
    here = {"python": "3.11.7", "processor": "x86_64 avx2"}
    assert ledger.dump({"p": Statement("1", MAKING, here)}) == ledger.dump({"p": Statement("1", MAKING)})


@pytest.mark.parametrize("document", [[], {}, {"format": 6}, {"format": 6, "jobs": [{}], "inputs": {}}])
def test_a_damaged_record_is_one_line(document: Any) -> None:
    with pytest.raises(UserError, match="damaged"):
        ledger.load(document)


def test_a_record_of_another_snakemake() -> None:
    with pytest.raises(UserError, match="format 99"):
        ledger.load({"format": 99})


def test_the_ledger_survives_a_line_that_was_cut_short() -> None:
    ledger.add({"p": "1"}, MAKING, {"python": "3"})
    text = ledger.LEDGER.read_text()
    other = ["3", "[]", '{"making": []}', text.replace('{"p": "1"}', "[]").strip()]
    ledger.LEDGER.write_text("\n".join([text.strip(), *other, text[:40]]))
    ledger.add({"p": "2"}, MAKING, {}, "in doubt")
    assert ledger.read_ledger() == {
        "p": [Statement("1", MAKING, {"python": "3"}), Statement("2", MAKING, {}, "in doubt")]
    }


def test_runs_are_noticed_until_the_last_has_ended() -> None:
    workflow: Any = SimpleNamespace(
        local_exec=True, persistence=SimpleNamespace(started=None), dag=SimpleNamespace(finish=None)
    )
    assert not ledger.running()
    first, second = (ledger.Watch(workflow, DEFAULT, "") for _ in range(2))
    assert ledger.running()
    first._run.close()  # as the end of its process does
    assert ledger.running()
    second._run.close()
    assert not ledger.running()


def test_a_statement_speaks_of_this_tree_or_says_why_not() -> None:
    made = Statement("1", MAKING)
    here = {"a": "aa", "b": "bb", "src/x.py": "xx"}
    wanted = replace(MAKING, inputs={}, rule="renamed", log=(), shellcmd="elsewhere")
    assert ledger.why_not(made, wanted, here) == ""
    other = "{'rerank.top_k': 4, 'settings': None}"
    for change, said in (
        ({"code": "make"}, "the command changed"),
        ({"params": (other, "1")}, "a parameter changed (rerank.top_k 5 → 4)"),
        ({"params": (MAKING.params[0], "2")}, "a parameter changed (of the rule)"),
        ({"input": ("a", "b")}, "other inputs than before (-src/x.py)"),
    ):
        assert ledger.why_not(made, replace(wanted, **change), here) == said
    assert ledger.why_not(made, wanted, {**here, "b": "other"}) == "an input changed (b)"
    assert ledger.why_not(made, wanted, {"a": "aa", "b": "bb"}) == "an input changed (src/x.py)"
    assert ledger.why_not(Statement("1", MAKING, doubt="it changed"), wanted, here) == "it changed"


def test_code_from_elsewhere_is_noticed() -> None:
    assert ledger.foreign_code() == "", "a project without the package has no code to run instead"
    put("src/coder_clip/__init__.py")
    assert "coder_clip runs from /" in ledger.foreign_code()


# ---- Snakemake's records


def test_snakemake_reads_the_record_that_is_given_back() -> None:
    records = Records()
    assert records.read("results/x") is None
    put("a")
    put("b", "x" * 1_000_001)
    records.write("results/x", MAKING, 5.0)
    read = records.read("results/x")
    assert read is not None
    small = {"a": "aa", "src/x.py": "xx"}  # of larger inputs Snakemake compares the time
    assert read == (replace(MAKING, benchmark="", inputs=small), 5.0)
    raw = next(p for p in Path(".snakemake/metadata").rglob("*") if p.is_file())
    document = json.loads(raw.read_text())
    assert document["software_stack_hash"] is None  # holds the place of an environment
    raw.write_text(raw.read_text()[:50])
    assert records.read("results/x") is None
    records.forget("results/x")
    assert not raw.exists()


def test_unknown_snakemake(monkeypatch: pytest.MonkeyPatch) -> None:
    import snakemake
    from snakemake import persistence

    monkeypatch.setattr(persistence, "RECORD_FORMAT_VERSION", 7)
    with pytest.raises(UserError, match="records of format 7"):
        Records()
    monkeypatch.setattr(snakemake, "__version__", "10.0.0")
    with pytest.raises(UserError, match=r"Snakemake 10\.0\.0"):
        Records()


# ---- dvc.yaml and dvc.lock

PHASES = """
phases:
  texts:
    target: texts
    makes: [texts]
    rules: {text: {command: "make {output}", reads: [words]}}
  report:
    target: page
    makes: [tables, page.html]
    keeps: [tables]
    jobs: [sets]
    rules: {page: {command: "page {output}"}}
plots: [{Top: {template: t, x: a, y: {tables/t.csv: b}}}]
"""
JOBS = [
    Job(Recipe("text", "make {output}", "", ("data/a.txt",), ()), ("results/texts/a.json",), {"words": 3}),
    Job(
        Recipe("page", "page {output}", "", ("results/texts/a.json", "src/p.py"), ()),
        ("results/tables/t.csv", "results/page.html"),
        {},
    ),
]


@pytest.fixture
def toy() -> Tracked:
    put("workflow/phases.yaml", PHASES)
    put(DEFAULT, "words: 3\nsets: [a]\n")
    return Tracked(DEFAULT)


def test_dvc_yaml_of_the_default(toy: Tracked) -> None:
    made = stages.pipeline(toy, JOBS)
    texts, report = made["stages"]["texts"], made["stages"]["report"]
    assert texts["deps"] == ["data/a.txt"]
    assert texts["params"] == [
        {DEFAULT: ["words"]},
        {"workflow/phases.yaml": ["phases.texts.rules.text.command"]},
    ]
    assert report["deps"] == ["results/texts", "src/p.py"]
    assert report["outs"] == [
        {"results/tables": {"cache": False, "persist": True}},
        {"results/page.html": {"persist": True}},
        {"results/provenance/report.json": {"persist": True}},
    ]
    assert made["plots"] == [{"Top": {"template": "t", "x": "a", "y": {"results/tables/t.csv": "b"}}}]


def test_dvc_yaml_of_another_configuration(toy: Tracked) -> None:
    """Beside the default's: its own folder, from which DVC finds the files, and everything in the cache."""
    put("config/mine.yaml", "results: results/mine\nwords: 3\n")
    jobs = [
        replace(j, outputs=tuple(o.replace("results/", "results/mine/") for o in j.outputs)) for j in JOBS
    ]
    made = stages.pipeline(Tracked("config/mine.yaml"), jobs)
    assert Tracked("config/mine.yaml").lock == Path("tracked/mine/dvc.lock")
    assert made["stages"]["texts"]["wdir"] == "../.."
    assert {"results/mine/tables": {"persist": True}} in made["stages"]["report"]["outs"]
    assert made["plots"][0]["Top"]["y"] == {"../../results/mine/tables/t.csv": "b"}
    assert made["params"] == ["../../config/mine.yaml"]


def test_two_configurations_are_not_recorded_over_each_other(toy: Tracked) -> None:
    stages.renew_yaml(toy, JOBS)
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
        "results/provenance/x",
    ):
        put("config/mine.yaml", f"results: {same}\n")
        with pytest.raises(UserError, match="would be recorded over"):
            stages.tracked("config/mine.yaml")
    with pytest.raises(UserError, match="not in this repository"):
        stages.tracked("../elsewhere.yaml")


def test_dvc_yaml_follows_the_plan(toy: Tracked) -> None:
    assert stages.renew_yaml(toy, JOBS)
    assert not stages.renew_yaml(toy, JOBS)
    put("dvc.yaml", toy.yaml.read_text() + "- Mine: {y: {a.csv: b}}\n")
    assert "'Mine': {'y': {'a.csv': 'b'}}" in stages.renew_yaml(toy, JOBS)
    assert "gone" not in stages.renew_yaml(toy, JOBS[:1])
    assert list(yaml.safe_load(toy.yaml.read_text())["stages"]) == ["texts"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages: {mine: {cmd: x}}", "the stage 'mine'.*another folder"),
        ("artifacts: {model: {path: a}}", "'artifacts'.*another folder"),
        ("stages: [", "git checkout HEAD"),
    ],
)
def test_a_dvc_yaml_that_a_person_edited_is_not_written_over(toy: Tracked, text: str, said: str) -> None:
    put("dvc.yaml", text)
    with pytest.raises(UserError, match=said):
        stages.renew_yaml(toy, JOBS)
    assert toy.yaml.read_text() == text


def test_an_output_of_no_phase_and_a_command_of_its_own_are_refused(toy: Tracked) -> None:
    with pytest.raises(UserError, match=r"no phase makes results/elsewhere/x"):
        stages.pipeline(toy, [*JOBS, replace(JOBS[0], outputs=("results/elsewhere/x",))])
    with pytest.raises(UserError, match="'texts' lacks the command of rule text"):
        stages.pipeline(toy, [replace(JOBS[0], recipe=replace(JOBS[0].recipe, code="echo mine"))])


@pytest.mark.parametrize(
    ("written", "keys"),
    [
        ({"d": {"rare": {"views": 2}}}, ["d.rare.views"]),
        ({"d": {"rare": {"threshold": 0}}}, ["d.rare"]),  # so that adding it counts
        ({"d": {"rare": None}}, ["d.rare"]),
        ({"d": ["rare"]}, ["d"]),
        ({}, []),
    ],
)
def test_a_key_that_is_not_written_is_watched_with_its_table(written: Any, keys: list[str]) -> None:
    assert stages.watched(written, ["d.rare.views"]) == keys


def test_dvc_takes_dots_apart_so_such_a_name_is_watched_with_its_table() -> None:
    assert stages.watched({"d": {"a.b": {"views": 2}}}, ["d.a.b.views"]) == ["d"]
    assert stages.watched({"a": {"s": 1, "t": 2}}, ["a.s", "a"]) == ["a"]


LOCKS = [
    f"stages: {stages}"
    for stages in ("[]", "{texts: []}", "{texts: {outs: [a]}}", "{texts: {outs: [{path: a, md5: 4}]}}")
]


@pytest.mark.parametrize("text", ["", "stages: [", "schema: '2.0'\n", "just words", "[]", *LOCKS])
def test_damaged_lock(toy: Tracked, text: str) -> None:
    put("dvc.lock", text)
    with pytest.raises(UserError, match="'coder-clip record' repairs it"):
        toy.recorded()


def test_why_untracked() -> None:
    assert stages.why_untracked() == "no DVC repository here"
    Path(".dvc").mkdir()
    assert "no Git repository here" in str(stages.why_untracked())


# ---- explain and messages


def test_rows_of_a_table() -> None:
    put("t.csv", "dataset,method,value\nd,clip,1\nd,coder,2\n")
    assert _row(Path("t.csv"), "2")["value"] == "2"
    assert _row(Path("t.csv"), "method=clip")["value"] == "1"
    for row, said in (
        ("3", "rows 1 to 2"),
        ("dataset=d", r"2 rows of t\.csv have dataset=d; they differ in method \(clip, coder\)$"),
        ("dataset=d,method=codr", r"no row .* method 'codr' is not there \(did you mean 'coder'\?\)"),
        ("metod=x", "did you mean"),
        ("x", "give a number"),
    ):
        with pytest.raises(UserError, match=said):
            _row(Path("t.csv"), row)
    with pytest.raises(UserError, match=r"no table none\.csv"):
        _row(Path("none.csv"), "1")


@pytest.mark.parametrize("results", ["results", "results/photos"])
def test_artefacts_of_another_data_set_stand_behind_no_number(results: str) -> None:
    others, root = {"dataset": {"shapes"}, "shots": {"2"}}, Path(results)
    assert _is_of(f"{results}/zero_shot/mini/shapes.json", others, root)
    assert not _is_of(f"{results}/zero_shot/mini/rare.json", others, root)
    assert _is_of(f"{results}/adapter/mini/rare/2.json", others, root)
    assert not _is_of(f"{results}/evaluation/mini/2.json", others, root)
    assert not _is_of("data/texts/shapes.json", others, root)


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


def test_messages() -> None:
    default, mine = Tracked(DEFAULT), Tracked("config/mine.yaml")
    assert Adopted().lines() == []
    assert Outcome(recorded=["a"]).lines(default) == ["everything is recorded in DVC"]
    outcome = Outcome(["a"], ["a"], {"b": "x missing"}, notes=["n"], share=["dvc.lock", "src/edited.py"])
    said = outcome.lines(mine)
    assert said[:2] == ["n", "phase b is not recorded: x missing"]
    assert (
        "git add dvc.lock src/edited.py && git commit && coder-clip push --config config/mine.yaml &&"
        in said[2]
    )
    many = Outcome(refused={"b": "x missing", "c": "y missing", "d": "z missing"}, ahead=["c", "d"])
    assert many.lines(default) == [
        "phase b is not recorded: x missing",
        "not made yet, so not recorded: c, d",
    ]
    said = Adopted(known=["a"], changed=["b", "c"], foreign=["d"]).lines()
    assert [line.split()[0] for line in said] == ["1", "b", "d"]


def test_status_table_is_in_columns() -> None:
    lines = table(
        [Line("texts", "2/2", "yes", "yes", "no", ""), Line("x", "0/10", "no", "no", "no", "missing (10)")]
    )
    assert lines[1].startswith("texts  2/2    yes")
    assert lines[2].endswith("missing (10)")


# ---- the first line of a run


def test_a_clone_is_asked_to_pull_only_where_there_is_a_remote(capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody's first 'make reproduce' would begin with advice that cannot work."""
    put(DEFAULT, "datasets: [shapes]")
    put("dvc.lock")
    put(".dvc/config", "[core]\n    analytics = false\n")
    tracking._warn_of_pulled_lock(DEFAULT)
    assert capsys.readouterr().err == ""
    put(".dvc/config.local", "['remote \"store\"']\n    url = /store\n")
    tracking._warn_of_pulled_lock(DEFAULT)
    assert (
        "dvc.lock records other results than the last run or pull here; 'coder-clip pull'"
        in capsys.readouterr().err
    )
