"""Hashes, the judge, names from other people, dvc.yaml and messages, without runs of Snakemake or
DVC.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from coder_clip.errors import UserError
from coder_clip.foundation import dvc
from coder_clip.foundation.dvc import folder_md5, read_list
from coder_clip.jobs import jobs as jobs_of
from coder_clip.pipeline import environment
from coder_clip.pipeline.config import load_config
from coder_clip.reporting.rows import config_of, row_of
from coder_clip.rerun import mark
from coder_clip.rerun.judge import group
from coder_clip.rerun.record import Job
from coder_clip.tracking import stages
from coder_clip.tracking.explain import Explained, _concerns, lines
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


TEXTS = Job(
    "texts/text_set/a.b",
    "coder_clip.phases.texts:run",
    {"files": ["data/a.txt"]},
    {"out": "results/texts/a.json"},
)
PAGE = Job(
    "report/page",
    "coder_clip.phases.report:run",
    {"inputs": ["results/texts/a.json"]},
    {"out": "results/report.html", "metrics": "results/metrics.json"},
)
DVC = """
stages:
  texts:
    cmd: [snakemake texts --configfile config/reproduce.yaml]
    deps: [config/reproduce.yaml]
    outs: [{results/texts: {persist: true}}, {results/certificates/texts: {persist: true}}]
"""


@pytest.fixture
def toy() -> Tracked:
    put("dvc.yaml", DVC)
    put(DEFAULT, "words: 3\nsets: [a]\n")
    return Tracked(DEFAULT)


def test_code_from_elsewhere_is_noticed() -> None:
    assert environment.foreign_code() == "", (
        "a project without the package has no code to run instead"
    )
    put("src/coder_clip/__init__.py")
    assert "coder_clip runs from /" in environment.foreign_code()


def test_runs_are_noticed_until_the_last_has_ended() -> None:
    mark.RUN.parent.mkdir(parents=True)
    assert not mark.running()
    for _ in range(2):
        dag = SimpleNamespace(needrun_jobs=lambda: [])
        mark.start(SimpleNamespace(dag=dag))
    assert mark.running()
    mark._held.pop().close()  # as the end of its process does
    assert mark.running()
    mark._held.pop().close()
    assert not mark.running()


# ---- names that come from other people


NAMES = [
    "../x",
    "a/../../x",
    "/x",
    ".git/x",
    "a/.GIT/x",
    "a\\..\\x",
    "a//x",
    "",
    "./a",
    "a\nb",
    " a",
    3,
    None,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_list_of_files_names_none_outside_of_its_folder(name: object) -> None:
    data = json.dumps([{"md5": "1" * 32, "relpath": name}]).encode()
    with pytest.raises(UserError, match="outside of it; nothing was changed"):
        read_list(data, "results/texts")


@pytest.mark.parametrize(
    "name",
    [".envrc", ".gitattributes", "a/.hidden/b", "n" * 201, "é" * 101, "/".join(["d" * 100] * 11)],
)
def test_a_list_of_files_names_what_a_record_names(name: str) -> None:
    """A shell or Git obeys some hidden files, and a name of 300 bytes was a traceback."""
    data = json.dumps([{"md5": "1" * 32, "relpath": name}]).encode()
    with pytest.raises(UserError, match=r"has a name that no result has, .*; nothing was changed"):
        read_list(data, "results/texts")


LISTS = {
    "a lone surrogate": (
        b'[{"relpath": "\\ud800", "md5": "%s"}]' % (b"1" * 32),
        r"names '\\ud800', which is outside",
    ),
    "an escape sequence": (
        b'[{"relpath": "\\u001b[31m", "md5": "%s"}]' % (b"1" * 32),
        r"names '\\x1b\[31m', which is outside",
    ),
    "an escape sequence as hash": (
        b'[{"relpath": "a", "md5": "\\u001b[31m"}]',
        r"the hash '\\x1b\[31m', which is not",
    ),
    "not JSON": (b"[", "is not JSON"),
    "not text": (b"\xff\xfe[", "is not JSON"),
    "deep": (b"[" * 100_000, "is not JSON"),
    "no list": (b'{"relpath": "a"}', "is not a list"),
    "no mapping": (b'["a"]', "the 1., with other keys"),
    "no hash": (b'[{"relpath": "a"}]', "the 1., with other keys"),
    "a key more": (
        b'[{"relpath": "a", "md5": "%s", "isexec": true}]' % (b"1" * 32),
        "with other keys",
    ),
    "a path as hash": (b'[{"relpath": "a", "md5": "../../../../victim"}]', "which is not an md5"),
    "a number as hash": (b'[{"relpath": "a", "md5": 7}]', "which is not an md5"),
    "a list as hash": (b'[{"relpath": "a", "md5": ["x"]}]', "which is not an md5"),
    "a folder as hash": (
        b'[{"relpath": "a", "md5": "%s.dir"}]' % (b"1" * 32),
        "which is not an md5",
    ),
    "twice": (
        b'[{"relpath": "a", "md5": "%s"}, {"relpath": "a", "md5": "%s"}]' % ((b"1" * 32,) * 2),
        "twice",
    ),
    "file and folder": (
        b'[{"relpath": "a/b", "md5": "%s"}, {"relpath": "a", "md5": "%s"}]' % ((b"1" * 32,) * 2),
        "as a file and as a folder",
    ),
}


@pytest.mark.parametrize("what", LISTS)
def test_a_malformed_list_of_files_is_one_line(what: str) -> None:
    """They were tracebacks; and a hash that is a path deleted that file."""
    data, said = LISTS[what]
    with pytest.raises(UserError, match=said):
        read_list(data, "results/texts")


def lock(stage: str = "texts", **changes: Any) -> None:
    out = {
        "path": "results/texts",
        "hash": "md5",
        "md5": "1" * 32 + ".dir",
        "size": 1,
        "nfiles": 1,
        **changes,
    }
    put(
        "dvc.lock",
        yaml.safe_dump({"schema": "2.0", "stages": {stage: {"cmd": "x", "outs": [out]}}}),
    )


def test_a_lock_names_no_output_but_the_phase_s(toy: Tracked) -> None:
    lock()
    assert toy.recorded() == {"texts": {"results/texts": "1" * 32 + ".dir"}}
    for path in ("../victim", "/victim", "results/tables", "results/texts/../../x", "src"):
        lock(path=path)
        with pytest.raises(
            UserError, match=r"dvc\.lock: .* which does not make it; nothing was changed"
        ):
            toy.recorded()
    lock("mine", path="data/mine.txt")
    assert toy.recorded() == {}, "a stage of somebody's own is none of ours"


def test_a_lock_names_each_output_once(toy: Tracked) -> None:
    """`pull` removed the files of one entry, and failed at the other."""
    lock()
    document = yaml.safe_load(Path("dvc.lock").read_text())
    outs = document["stages"]["texts"]["outs"]
    outs.append({**outs[0], "md5": "2" * 32})
    put("dvc.lock", yaml.safe_dump(document))
    with pytest.raises(UserError, match="'results/texts' is named twice as an output"):
        toy.recorded()


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_a_lock_that_is_no_file_is_damaged(toy: Tracked, kind: str) -> None:
    """A link can lead to any file of the machine, and a pipe has no end."""
    put("elsewhere", "stages: {}")
    if kind == "pipe":
        os.mkfifo("dvc.lock")
    else:
        Path("dvc.lock").symlink_to("elsewhere" if kind == "link" else "nowhere")
    with pytest.raises(UserError, match=r"dvc\.lock is damaged"):
        toy.recorded()


def test_a_folder_in_place_of_a_lock_is_named(toy: Tracked) -> None:
    """It was a traceback."""
    put("dvc.lock/x")
    with pytest.raises(UserError, match=r"dvc\.lock is a folder; move it away"):
        toy.recorded()


@pytest.mark.parametrize(
    "key", ["files", "isexec", "remote", "cloud", "version_id", "cache", "persist"]
)
def test_a_lock_has_no_key_that_only_dvc_knows(toy: Tracked, key: str) -> None:
    """With `files` DVC wrote any file of the clone, a Git hook included."""
    lock(**{key: [{"path": "../../.git/hooks/post-checkout", "md5": "2" * 32, "isexec": True}]})
    with pytest.raises(
        UserError, match=f"dvc.lock: .* has the key '{key}', which no record has; nothing was"
    ):
        toy.recorded()


GROWING = "\n".join(
    [
        "a0: &a0 [x]",
        *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20)),
    ]
)
YAMLS = {
    "two outputs in an entry": "stages: {texts: {outs: [{results/texts: {}, data: {}}]}}",
    "another working directory": "stages: {texts: {outs: [results/texts], wdir: docs}}",
    "a loop": "stages: {texts: {foreach: [data], do: {outs: ['${item}']}}}",
    "an option": "stages: {texts: {outs: [{results/texts: {remote: theirs}}]}}",
    "a renamed output": "stages: {texts: {outs: [results/other]}}",
    "a removed phase": "stages: {gone: {outs: [results/gone]}}",
    "no mapping": "stages: {texts: [outs]}",
    "nothing": "",
    "no YAML": "stages: [",
    "a list": "[]",
    "in conflict": "<<<<<<< HEAD\nstages: {}\n",
    "not UTF-8": "\udcff\udcfe",
    "growing aliases": GROWING,
}


@pytest.mark.parametrize("what", YAMLS)
def test_record_writes_dvc_yaml_whatever_stood_there(toy: Tracked, what: str) -> None:
    """A renamed output, and a results folder that changed, were dead ends: only deleting dvc.yaml
    and dvc.lock helped, and nothing said so.
    """
    lock()
    toy.write_yaml(toy.described([TEXTS]))
    expected = Path("dvc.yaml").read_bytes()
    Path("dvc.yaml").write_bytes(os.fsencode(YAMLS[what]))
    assert toy.recorded() == {"texts": {"results/texts": "1" * 32 + ".dir"}}, "it is not read"
    began = time.process_time()
    toy.write_yaml(toy.described([TEXTS]))
    assert Path("dvc.yaml").read_bytes() == expected
    assert time.process_time() - began < 2


def test_a_pipe_in_place_of_dvc_yaml_is_replaced(toy: Tracked) -> None:
    """Reading it waits for ever."""
    Path("dvc.yaml").unlink()
    os.mkfifo("dvc.yaml")
    toy.write_yaml(toy.described([TEXTS]))
    assert Path("dvc.yaml").is_file()


def test_dvc_yaml_stays_as_it_is_where_nothing_changed(toy: Tracked) -> None:
    """A new time would make Git and DVC look at it again."""
    toy.write_yaml(toy.described([TEXTS]))
    before = os.stat("dvc.yaml")
    toy.write_yaml(toy.described([TEXTS]))
    assert os.stat("dvc.yaml").st_ino == before.st_ino


@pytest.mark.parametrize(
    "link", ["results", "results/texts", "results/texts/a", "results/certificates"]
)
def test_a_link_in_the_results_is_refused_by_name(toy: Tracked, link: str) -> None:
    """`pull` moved away all of the folder that it leads to."""
    put("docs/thesis.txt")
    Path(link).parent.mkdir(parents=True, exist_ok=True)
    Path(link).symlink_to(Path("docs").resolve())
    with pytest.raises(UserError, match=f"^{link} is a symbolic link"):
        toy.refuse_links()


def test_a_pipe_in_the_results_is_refused_by_name(toy: Tracked) -> None:
    """`pull` read it, and waited for ever."""
    put("results/texts/a.json")
    toy.refuse_links()
    os.mkfifo("results/texts/b.json")
    with pytest.raises(UserError, match=r"^results/texts/b\.json is a pipe or a device"):
        toy.refuse_links()


def test_a_file_in_place_of_the_results_is_refused_by_name(toy: Tracked) -> None:
    put("results", "x")
    with pytest.raises(UserError, match=r"^results is a file, and results are in a folder"):
        toy.refuse_links()


# ---- dvc.yaml and dvc.lock


def test_dvc_yaml_of_another_configuration(toy: Tracked) -> None:
    """Beside the default's: its own folder, everything in the cache, and no phase without jobs."""
    put("config/my own's.yaml", "results: results/mine\nwords: 3\n")
    mine = Tracked("config/my own's.yaml")
    mine.write_yaml(mine.described([replace(TEXTS, makes={"out": "results/mine/texts/a.json"})]))
    assert mine.yaml == Path("tracked/my own's/dvc.yaml")
    config = """'config/my own'"'"'s.yaml'"""
    assert yaml.safe_load(mine.yaml.read_text())["stages"] == {
        "texts": {
            "wdir": "../..",
            "cmd": f"snakemake texts --profile workflow/profiles/default --configfile {config}",
            "deps": [
                "config/my own's.yaml",
                "data/a.txt",
                "src",
            ],
            "outs": [
                {"results/mine/texts": {"persist": True}},
                {"results/mine/certificates/texts": {"persist": True}},
            ],
        }
    }
    mine.write_yaml(mine.described([replace(PAGE, makes={"out": "results/mine/metrics.json"})]))
    stages = yaml.safe_load(mine.yaml.read_text())["stages"]
    assert stages["report"]["metrics"] == [{"results/mine/metrics.json": {"persist": True}}]


def test_dvc_yaml_leads_from_each_phase_to_those_whose_outputs_it_reads(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dvc repro` would start a phase before its inputs, or not at all."""
    monkeypatch.chdir(repo)
    jobs = jobs_of(load_config(DEFAULT))
    text = Path("dvc.yaml").read_text()
    described = yaml.safe_load(text)["stages"]
    assert described == Tracked(DEFAULT).described(jobs), "'coder-clip record' writes it"
    maker = {out: name for name, outs in Tracked(DEFAULT).outs_of.items() for out in outs}
    before: dict[str, set[str]] = {}
    for name, stage in described.items():
        direct = {maker[path] for path in stage["deps"] if path in maker}
        before[name] = direct.union(*(before[other] for other in direct))
    for job in jobs:
        made = {maker.get(Tracked(DEFAULT).out_of(path), group(job)) for path in job.inputs}
        assert made - {group(job)} <= before[group(job)], job.name
    assert len(text.splitlines()) <= 200


def test_two_configurations_are_not_recorded_over_each_other(toy: Tracked) -> None:
    put("config/mine.yaml", "words: 3\n")
    with pytest.raises(
        UserError, match=r"config/mine\.yaml would be recorded over config/reproduce\.yaml"
    ):
        stages.tracked("config/mine.yaml")
    put("config/mine.yaml", "results: results/mine\n")
    assert stages.tracked("config/mine.yaml").root == "results/mine"
    put("config/mine.yaml", "results: ../victim\n")
    with pytest.raises(UserError, match=r"'\.\./victim' is not 'results' or 'results/NAME'"):
        stages.tracked("config/mine.yaml")
    with pytest.raises(UserError, match="not in this repository"):
        stages.tracked("../elsewhere.yaml")


LOCKS = [
    f"stages: {stages}"
    for stages in (
        *("[]", "{texts: []}", "{texts: {outs: [a]}}", "{texts: {outs: [{path: a, md5: 4}]}}"),
        *(
            "{texts: {outs: [{path: a, md5: ../../victim}]}}",
            "{texts: {outs: [{md5: x}]}}",
            "{texts: {outs: [{path: 3, md5: " + "1" * 32 + "}]}}",
            "{texts: {outs: {}, deps: 3}}",
            "{texts: 3}",
            "[" * 5000,
            "2001-99-99",
        ),
    )
]
LOCKS += [
    "\udcff\udcfe",
    GROWING + "\nstages: {texts: *a19}",
    "stages: &a {texts: *a}",
    "stages:\n" + "".join(f"  s{i}: {{cmd: x, outs: []}}\n" for i in range(200_000)),
]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(text, id=str(n))
        for n, text in enumerate(["", "stages: [", "schema: '2.0'\n", "just words", "[]", *LOCKS])
    ],
)
def test_damaged_lock(toy: Tracked, text: str) -> None:
    """Everything that a commit can put there is one line, at once."""
    Path("dvc.lock").write_bytes(os.fsencode(text))
    began = time.process_time()
    with pytest.raises(UserError, match="'coder-clip record' repairs it"):
        toy.recorded()
    assert time.process_time() - began < 2


def test_why_untracked() -> None:
    """A user without Git or DVC would not be told why nothing is recorded."""
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
        (
            "dataset=d,method=codr",
            r"no row .* method 'codr' is not there \(did you mean 'coder'\?\)",
        ),
        ("metod=x", "did you mean"),
        ("x", "give a number"),
    ):
        with pytest.raises(UserError, match=said):
            row_of(Path("t.csv"), row)
    with pytest.raises(UserError, match=r"no table none\.csv"):
        row_of(Path("none.csv"), "1")


def test_jobs_of_another_data_set_stand_behind_no_number(toy: Tracked) -> None:
    row = {"dataset": "rare", "model": "mini", "shots": "1"}
    assert not _concerns(Job("zero_shot/classify/mini/shapes", ""), row, "")
    assert _concerns(Job("zero_shot/classify/mini/rare", ""), row, "")
    assert not _concerns(Job("adapter/fit_adapters/mini/rare/2", ""), row, "")


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
    with pytest.raises(
        UserError, match=r"no configuration writes elsewhere/tables/t\.csv.*--config"
    ):
        config_of("elsewhere/tables/t.csv")
    put("config/again.yaml", Path("config/photos.yaml").read_text())
    with pytest.raises(UserError, match=r"several .*again\.yaml, config/photos\.yaml"):
        config_of("results/photos/tables/zero_shot.csv")


def test_an_explanation_is_short_unless_all_is_asked_for() -> None:
    artefacts = [
        {
            "path": f"f{i}",
            "sha256": "1" * 64,
            "command": f"make {i}",
            "params": {"a": 1},
            "changed": "",
        }
        for i in range(40)
    ]
    given = {"x": "2" * 64}
    code = {f"src/{i}.py": "3" * 32 for i in range(30)}
    found = Explained(
        "t.csv",
        {"dataset": "d"},
        "value",
        "1",
        artefacts[:9],
        given,
        code,
        ["src/4.py"],
    )
    shown = [line.split()[0] for line in lines(found) if "sha256" in line or "src/" in line]
    assert shown == ["x", "src/4.py"], (
        "of the code what changed; a page of the rest would hide the texts"
    )
    found.artefacts = artefacts
    short, every = lines(found), lines(found, every=True)
    assert len(short) <= 25
    assert any(line.endswith("more lines: --all") for line in short)
    assert short[-1].startswith("again:")
    assert sum(line.startswith("  f") for line in every) == 40
    assert any("src/29.py" in line for line in every)


def test_status_table_is_in_columns() -> None:
    lines = table(
        [
            Line("texts", "2/2", "yes", "yes", "no", ""),
            Line("x", "0/10", "no", "no", "no", "missing (10)"),
        ]
    )
    assert lines[1].startswith("texts  2/2    yes")
    assert lines[2].endswith("missing (10)")
