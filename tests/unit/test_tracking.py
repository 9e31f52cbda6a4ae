"""Hashes, provenance, locks and messages of coder_clip.tracking, without Snakemake or DVC runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from coder_clip.config import Config, DatasetConfig, GeneratorConfig
from coder_clip.errors import UserError
from coder_clip.tracking import messages, pipeline, provenance, stages
from coder_clip.tracking.adopt import Adopted
from coder_clip.tracking.explain import _is_of, _Known, _names, _row, config_of
from coder_clip.tracking.gate import foreign_files, out_hashes
from coder_clip.tracking.hashes import Hashes, folder_md5
from coder_clip.tracking.record import Outcome
from coder_clip.tracking.records import Record, Records
from coder_clip.tracking.status import Line, table

RECORD = Record(
    rule="score",
    code="make {input}",
    shellcmd="make a",
    input=("a", "b", "src/x.py", "src/x.py"),
    params=("1", "'two'"),
    log=("log",),
    checksums={"a": "sha256:aa", "src/x.py": "sha256:xx"},
    endtime=5.0,
)
STAGE = stages.Stage(
    "scores", ("results/scores", "results/metrics.json"), (), ("c.yaml",), ("results/metrics.json",)
)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(path: str, text: str = "x") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


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
    os.utime("f", (7, 7))
    hashes = Hashes()
    hashes.moved("f")
    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", lambda *a, **k: pytest.fail("read again"))
        assert (hashes.md5("f"), hashes.sha256("f")) == first
    put("f", "two")
    assert hashes.md5("f") != first[0]


def test_provenance_comes_back_as_it_was() -> None:
    other = Record("text", None, None, ("a",), (), (), {"a": "sha256:aa"})
    inputs = {"a": "sha256:aa", "src/x.py": "sha256:xx", "b": "sha256:bb"}
    made = provenance.Provenance({"results/scores": "1.dir"}, {"p": ("m", RECORD), "q": ("n", other)}, inputs)
    made.write("scores")
    read = provenance.read("scores")
    assert read is not None
    assert (read.outs, read.inputs) == (made.outs, made.inputs)
    for path, (md5, record) in made.files.items():
        assert read.files[path][0] == md5
        assert read.files[path][1].same(record)
        assert read.files[path][1].input == record.input
    text = Path("provenance/scores.json").read_text()
    assert "endtime" not in text
    stamp = os.stat("provenance/scores.json").st_mtime_ns
    made.write("scores")
    assert os.stat("provenance/scores.json").st_mtime_ns == stamp  # the same is not written again


@pytest.mark.parametrize("text", ["", "{", "<<<<<<< HEAD\n{}", '{"records": 6}', "[]"])
def test_damaged_provenance_is_one_line(text: str) -> None:
    put("provenance/scores.json", text)
    with pytest.raises(UserError, match=r"damaged or in conflict; 'git checkout provenance/scores\.json'"):
        provenance.read("scores")


def test_provenance_of_another_snakemake() -> None:
    put("provenance/scores.json", '{"records": 99}')
    with pytest.raises(UserError, match="another Snakemake"):
        provenance.read("scores")


def test_no_provenance() -> None:
    assert provenance.read("scores") is None


def test_records_differ_by_what_made_the_file() -> None:
    from dataclasses import replace

    assert RECORD.same(replace(RECORD, endtime=9.0, log=(), shellcmd="elsewhere"))
    assert RECORD.same(replace(RECORD, checksums={"b": "sha256:bb"}))
    for changed in (
        replace(RECORD, params=("2",)),
        replace(RECORD, code="make"),
        replace(RECORD, input=("a",)),
        replace(RECORD, checksums={"a": "sha256:other"}),
    ):
        assert not RECORD.same(changed)


def test_snakemake_reads_the_record_that_is_given_back() -> None:
    records = Records()
    assert records.read("results/x") is None
    records.write("results/x", RECORD)
    read = records.read("results/x")
    assert read is not None
    assert read == RECORD
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


def test_stages_of_dvc_yaml() -> None:
    put(
        "dvc.yaml",
        "stages:\n  scores:\n    cmd: x\n    deps: [d]\n    params: [c.yaml: [a, datasets.d.root, datasets.e.root]]\n"
        "    outs: [results/scores: {persist: true}]\n    metrics: [results/metrics.json: {cache: false}]\n",
    )
    assert stages.read_stages() == [
        stages.Stage(
            *("scores", STAGE.outs, ("d",), ("c.yaml",), ("results/metrics.json",)),
            keys=("a", "datasets.d.root", "datasets.e.root"),
        )
    ]
    assert _Known().keys("results/scores/d.json", {"dataset": {"e"}}) == ["a", "datasets.d.root"]
    assert _Known().keys("results/elsewhere/d.json", {}) == []
    assert STAGE.holds("results/scores/a")
    assert not STAGE.holds("results/scores2/a")


@pytest.mark.parametrize("text", ["", "stages: [", "schema: '2.0'\n", "just words"])
def test_damaged_lock(text: str) -> None:
    put("dvc.lock", text)
    with pytest.raises(UserError, match="'coder-clip record' mends it"):
        stages.read_lock()
    assert "moved to" in str(stages.mend_lock())  # no copy, no Git: out of the way, and not lost
    assert Path(".snakemake/coder-clip/dvc.lock.damaged").read_text() == text
    assert stages.read_lock() == {}


def test_lock_comes_back_from_the_copy() -> None:
    whole = "schema: '2.0'\nstages:\n  a:\n    cmd: x\n    outs:\n    - path: p\n      md5: m\n"
    put("dvc.lock", whole)
    stages.keep_lock()
    assert stages.mend_lock() is None
    put("dvc.lock", whole[:30])
    assert "the copy from before" in str(stages.mend_lock())
    assert Path("dvc.lock").read_text() == whole


# ---- dvc.yaml


def test_every_key_of_the_configuration_is_a_parameter_of_some_phase() -> None:
    """`dvc status` would not see its change. A new key belongs into pipeline.PHASES, or into CHANGES_NOTHING."""
    read = {key for phase in pipeline.PHASES if phase.name != "report" for key in phase.params}
    read |= {*pipeline.GENERATOR, *pipeline.GATE}  # where they are read at all
    shown = {"title", "note", "results"}  # in the report alone; where the results lie
    for key in _keys(Config):
        above = {key.rsplit(".", n)[0] for n in range(key.count(".") + 1)}
        assert above & (read | shown | set(pipeline.CHANGES_NOTHING)), key


def test_every_key_of_the_default_configuration_is_written_out(repo: Path) -> None:
    """DVC can watch one key only where it is written; else it names more phases than Snakemake makes again."""
    written = yaml.safe_load((repo / "config/reproduce.yaml").read_text(encoding="utf-8"))
    for name, entry in written["datasets"].items():
        missing = set(DatasetConfig.model_fields) - set(entry)
        assert not missing, f"write {missing} below datasets.{name} of config/reproduce.yaml"
    assert set(Config.model_fields) <= {*written, *pipeline.CHANGES_NOTHING}
    for phase in pipeline.PHASES:
        for key in phase.params:
            table, _, rest = key.partition(".")
            assert not rest or "*" in rest or not written[table] or rest in written[table], key


def _keys(model: type[BaseModel], before: str = "") -> list[str]:
    """Keys that can be written, data sets as *."""
    found = []
    for name, field in model.model_fields.items():
        below = {"datasets": DatasetConfig, "generator": GeneratorConfig}.get(name, field.annotation)
        star = "*." if name == "datasets" else ""
        if isinstance(below, type) and issubclass(below, BaseModel):
            found += _keys(below, f"{before}{name}.{star}")
        else:
            found.append(before + name)
    return found


def test_every_output_lies_in_a_phase_and_every_folder_holds_one(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be recorded with no phase, or DVC would look for a folder that is never made."""
    monkeypatch.chdir(repo)
    monkeypatch.setenv("CODER_CLIP_TRACKING", "off")  # nothing is adopted there
    for set_by_the_snakefile in ("PATH", "CODER_CLIP_CONFIG"):
        monkeypatch.setenv(set_by_the_snakefile, os.environ.get(set_by_the_snakefile, ""))
    jobs = pipeline._jobs(pipeline.DEFAULT)
    monkeypatch.setattr(pipeline, "_jobs", lambda config: jobs)
    stages = pipeline.pipeline()["stages"]
    for phase in pipeline.PHASES:
        stage = stages[phase.name]
        outs = [next(iter(out)) for out in [*stage["outs"], *stage.get("metrics", ())]]
        assert outs == [f"results/{name}" for name in (*phase.made, *phase.kept)]
    more = pipeline._Job(set(), {"results/elsewhere/x.json"}, "")
    monkeypatch.setattr(pipeline, "_jobs", lambda config: [*jobs, more])
    with pytest.raises(ValueError, match=r"no phase makes results/elsewhere/x\.json"):
        pipeline.pipeline()
    fewer = [job for job in jobs if not any(o.startswith("results/coder/") for o in job.outputs)]
    monkeypatch.setattr(pipeline, "_jobs", lambda config: fewer)
    assert "coder" not in pipeline.pipeline()["stages"]  # a configuration without it


def test_a_command_in_the_rule_itself_is_refused(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo)
    with pytest.raises(ValueError, match=r"commands\.yaml: 'coder' lacks the command of a rule: echo mine"):
        pipeline._commands(next(p for p in pipeline.PHASES if p.name == "coder"), {"echo mine"})


CONFIGURATION = "datasets: {}\nmodels: {{m: {{model: RN50, pretrained: m.pt}}}}\nadapter: {{shots: [1]}}\n"


@pytest.mark.parametrize(
    ("datasets", "keys"),
    [
        ("{rare: {views: 2}, shapes: {views: null}}", ["datasets.rare.views", "datasets.shapes.views"]),
        ("{rare: {views: 2}, shapes: {threshold: 0}}", ["datasets.rare.views", "datasets.shapes"]),
        ("{rare: , shapes: }", ["datasets.rare", "datasets.shapes"]),
        ("[rare, shapes]", ["datasets"]),
        ("{a.b: {root: r, views: 2}}", ["datasets"]),  # DVC takes dots apart
    ],
)
def test_a_key_that_is_not_written_is_watched_with_its_table(
    datasets: str, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put("c.yaml", CONFIGURATION.format(datasets))
    monkeypatch.setattr(pipeline, "load_config", lambda path: None)
    monkeypatch.setattr(pipeline, "_read_here", lambda phase, config: ())
    phase = pipeline.Phase("x", "x", (), ("datasets.*.views", "adapter.seeds", "rerank.top_k"))
    assert pipeline.keys_read(phase, "c.yaml") == [*keys, "adapter"]
    phase = pipeline.Phase("x", "x", (), ("adapter.shots", "adapter"))
    assert pipeline.keys_read(phase, "c.yaml") == ["adapter"]


@pytest.mark.parametrize(
    ("written", "texts", "one_to_one"),
    [
        ("{views: 2, texts: t.json, one_to_one: o.json}", set(), set()),
        ("{views: 2, texts: t.json}", set(), {"datasets.shapes.texts"}),
        (
            "{texts: {attribute: llm}, one_to_one: o.json}",
            {"generator", "models", "features", "datasets.shapes"},
            set(),
        ),
        (
            "{texts: {one_to_one: llm}, threshold: 0.1}",
            set(),
            {"generator", "datasets.shapes.texts", "datasets.shapes.threshold"},
        ),
    ],
)
def test_some_keys_are_read_with_some_configurations(
    written: str, texts: set[str], one_to_one: set[str]
) -> None:
    """The language model's settings where it is asked; the gate where it decides which pairs there are."""
    put("c.yaml", CONFIGURATION.format(f"{{shapes: {written}}}") + "generator: {model: m}\nfeatures: {}\n")
    found = {
        name: set(pipeline.keys_read(pipeline.Phase(name, name, (), ()), "c.yaml"))
        for name in ("texts", "one_to_one", "coder")
    }
    found = {
        name: {k if k != "generator.model" else "generator" for k in keys} for name, keys in found.items()
    }
    assert found == {"texts": texts, "one_to_one": one_to_one, "coder": set()}


def test_why_untracked() -> None:
    assert stages.why_untracked("c.yaml") == "no dvc.yaml here"
    put("dvc.yaml", "stages:\n  a: {cmd: x, params: [c.yaml: [a]]}\n")
    assert stages.why_untracked("c.yaml") == "no DVC repository here"
    Path(".dvc").mkdir()
    assert stages.why_untracked("d.yaml") == "dvc.yaml tracks the results of c.yaml, not of d.yaml"
    assert "no Git repository here" in str(stages.why_untracked("c.yaml"))


def test_foreign_files_and_hidden_ones() -> None:
    for path in ("results/scores/a", "results/scores/m/b", "results/scores/.tmp", "results/scores/.d/x"):
        put(path)
    assert foreign_files(STAGE, {"results/scores/a"}) == ["results/scores/m/b"]


def test_out_hashes_of_a_folder_and_a_file() -> None:
    found = out_hashes(STAGE, {"results/scores/m/a": "1", "results/metrics.json": "2"})
    assert found == {"results/scores": folder_md5({"m/a": "1"}), "results/metrics.json": "2"}


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
    row = {"dataset": "shapes"}
    assert _names(f"{results}/zero_shot/mini/shapes.json", row, root)
    assert not _names(f"{results}/texts/shapes.json", row, root), (
        "a rerun from the texts on, not from the images"
    )


def test_a_table_tells_its_configuration(repo: Path) -> None:
    """Whoever asks about a table of their photos would be told of another data set with the same name."""
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
    assert messages.adopted(Adopted()) == []
    assert messages.recorded(Outcome(recorded=["a"])) == ["everything is recorded in DVC"]
    said = messages.recorded(Outcome(recorded=["a"], changed=["a"], refused={"b": "x missing"}, notes=["n"]))
    assert said[0] == "n"
    assert said[1] == "phase b is not recorded: x missing"
    assert "git add dvc.yaml dvc.lock provenance results" in said[2]
    many = Outcome(refused={"b": "x missing", "c": "y missing", "d": "z missing"}, ahead=["c", "d"])
    assert messages.recorded(many) == [
        "phase b is not recorded: x missing",
        "not made yet, so not recorded: c, d",
    ]
    assert "coder-clip push" in said[2], "plain dvc push checks no SSH host key"
    said = messages.adopted(Adopted(known=["a"], changed=["b", "c"], foreign=["d"]))
    assert [line.split()[0] for line in said] == ["1", "b", "d"]


def test_status_table_is_in_columns() -> None:
    lines = table(
        [Line("texts", "2/2", "yes", "yes", "no", ""), Line("x", "0/10", "no", "no", "no", "missing (10)")]
    )
    assert lines[1].startswith("texts  2/2    yes")
    assert lines[2].endswith("missing (10)")
