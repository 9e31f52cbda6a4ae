"""Hashes, the judge, names from other people, dvc.yaml and messages, without runs of Snakemake or
DVC.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from coder_clip.errors import UserError
from coder_clip.foundation import dvc, locks
from coder_clip.foundation.blocks import Found, parse
from coder_clip.foundation.dvc import folder_md5, read_list
from coder_clip.foundation.hashes import Hashes, stamp
from coder_clip.foundation.reads import ABSENT
from coder_clip.pipeline import environment
from coder_clip.pipeline.phase_list import Call
from coder_clip.reporting.rows import config_of, row_of
from coder_clip.tracking import rerun, stages
from coder_clip.tracking.certificates import Certificate, Job, read
from coder_clip.tracking.explain import Explained, _concerns, lines
from coder_clip.tracking.judge import FOLLOWS, MISSING, NONE, OTHER_BYTES, Judge
from coder_clip.tracking.plan import plan
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


@pytest.mark.parametrize(
    "text", ["[]", "3", '["f"]', '{"f": 3}', '{"f": {}}', '{"f": {"stamp": 3}}']
)
def test_a_damaged_cache_of_hashes_is_made_again(text: str) -> None:
    put("f", "one")
    put(".snakemake/coder-clip/sums.json", text)
    assert Hashes().md5("f") == hashlib.md5(b"one").hexdigest()


def test_a_cache_of_hashes_that_lacks_them_is_made_again() -> None:
    """Every command ended with a traceback until somebody deleted the file."""
    put("f", "one")
    Hashes().md5("f")
    entry = {"f": {"stamp": stamp("f"), "sha256": "0" * 64}}
    put(".snakemake/coder-clip/sums.json", json.dumps(entry))
    assert Hashes().md5("f") == hashlib.md5(b"one").hexdigest()


# ---- the judge

PHASES = """
phases:
  texts:
    target: texts
    makes: [texts]
  report:
    target: page
    makes: [tables, page.html, metrics.json]
    keeps: [tables, metrics.json]
"""
RULES = {
    "texts": 'rule text:\n    shell: certify("toy make --set {wildcards.set} {params.names}")\n',
    "report": 'rule page:\n    shell: certify("toy page")\n',
}
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
# hash of the body of F, and of another one
F, G = "def f():\n    return 1\n", "def f():\n    return 2\n"
BODY = parse(F.encode(), "").blocks["f()"].hash
SIGNATURE = parse(F.encode(), "").blocks["f"].hash
CODE = {"src/x.py": {"f": SIGNATURE, "f()": BODY}}
JOB = Job("text", {"set": "a.b"}, ("data/a.txt",), ("results/texts/a.json",))
PAGE = Job("page", {}, ("results/texts/a.json",), ("results/page.html", "results/tables/t.csv"))
STATED = Certificate(
    rule="text",
    command="toy make --set a.b x y",
    call="coder_clip.phases.make.run(['x', 'y'], set='a.b')",
    values={"words": 3, "top": None},
    variables={},
    blocks=CODE,
    inputs={"data/a.txt": "aa"},
    files={"src/words.yaml": "ww"},
    outputs={"results/texts/a.json": "oo"},
)
HERE = {"data/a.txt": "aa", "src/words.yaml": "ww", "results/texts/a.json": "oo"}
VALUES = {"words": 3, "top": None, "new": 1}


def now(key: str) -> Any:
    return VALUES.get(key, ABSENT)


def certificate(
    rule: str, command: str, inputs: dict[str, str], outputs: dict[str, str], code: Found = CODE
) -> Certificate:
    return Certificate(rule, command, str(Call.of(command)), {}, {}, code, inputs, {}, outputs)


@pytest.fixture
def toy() -> Tracked:
    put("workflow/phases.yaml", PHASES)
    for phase, rules in RULES.items():
        put(f"workflow/rules/{phase}.smk", rules)
    put("dvc.yaml", DVC)
    put(DEFAULT, "words: 3\nsets: [a]\n")
    return Tracked(DEFAULT)


@pytest.mark.usefixtures("toy")
def test_a_certificate_speaks_of_this_tree_or_says_why_not() -> None:
    def judged(stated: Certificate = STATED, job: Job = JOB, value: Any = now, **here: str) -> str:
        found = {**HERE, **{path.replace("__", "/"): sha for path, sha in here.items()}}
        judge = Judge("results", [], value)
        return judge.objection(stated, job, lambda path: found.get(path, ""))

    put("src/x.py", F)
    assert judged() == ""
    assert judged(replace(STATED, versions={"torch": "1"})) == "", "another machine made it"
    assert judged(replace(STATED, doubt="it changed")) == "it changed"
    for command in (
        "toy make --set aXb x y",
        "toy make --set a.b",
    ):
        assert judged(replace(STATED, command=command)) == "the command changed"
    other = "coder_clip.phases.make.run(['x', 'z'], set='a.b')"
    assert judged(replace(STATED, call=other)).startswith("the command means something else")
    unread = replace(STATED, command="toy make --set a.b 'x y")
    assert (
        judged(unread)
        == "not a command of a phase: 'toy make --set a.b 'x y' (No closing quotation)"
    )
    assert judged(value={"words": 4, "top": None}.get) == "a parameter changed (words 3 → 4)"
    gone = {"words": 3, "top": ABSENT}
    assert judged(value=gone.get) == "a parameter changed (top None → not there)"
    assert judged(**{"src__words.yaml": "vv"}) == "a file that it read changed (src/words.yaml)"
    assert (
        judged(job=replace(JOB, inputs=("data/a.txt", "new"))) == "other inputs than before (new)"
    )
    assert (
        judged(job=replace(JOB, outputs=("results/texts/b.json",))) == "other outputs than before"
    )
    put("src/x.py", G)
    assert judged() == "the code changed (src/x.py: f())"
    put("src/x.py", f"# a remark\n{F}\n\ndef g():\n    return 3\n")
    assert judged() == ""
    assert judged(**{"data__a.txt": ""}) == "an input changed (data/a.txt)"
    assert judged(**{"results__texts__a.json": "zz"}) == OTHER_BYTES


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.usefixtures("toy")
def test_a_missing_file_counts_as_what_its_certificate_says_while_that_holds() -> None:
    """A colleague who pulled only the last phases can go on; an edit that concerns the missing ones
    is seen.
    """
    put("data/a.txt", "aa")
    put("src/x.py", F)
    made = {"data/a.txt": sha("aa")}, {"results/texts/a.json": sha("oo")}
    stated = replace(STATED, inputs=made[0], files={}, outputs=made[1])
    stated.write(JOB.certificate("results"))
    page = {path: sha(path) for path in PAGE.outputs}
    for path in page:
        put(path, path)
    put("src/page.py", F)
    page_code = {"src/page.py": CODE["src/x.py"]}
    certificate("page", "toy page", made[1], page, page_code).write(PAGE.certificate("results"))
    assert Judge("results", [JOB, PAGE], now).outdated == {"text/a.b": MISSING}
    put("src/x.py", G)
    judge = Judge("results", [JOB, PAGE], now)
    assert judge.outdated["text/a.b"] == "the code changed (src/x.py: f())"
    assert judge.outdated["page"] == "an input changed (results/texts/a.json)"
    put("results/texts/a.json", "oo")
    assert "page" not in Judge("results", [JOB, PAGE], now).outdated, "it is there again"


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"rule": 3}', '{"format": 99}', '{"format": 2}', "null"]
)
def test_a_damaged_certificate_is_none(text: str) -> None:
    put("data/a.txt")
    put("results/texts/a.json")
    put(str(JOB.certificate("results")), text)
    assert read(JOB.certificate("results")) is None
    assert Judge("results", [JOB], now).outdated == {"text/a.b": NONE}


@pytest.mark.parametrize("wrong", [[], ["x"], 7, None, {"x": ["y"]}], ids=str)
@pytest.mark.parametrize("name", [field.name for field in fields(Certificate)])
def test_a_certificate_of_other_types_is_none(name: str, wrong: object) -> None:
    """Another person's file with a list as its doubt ended `status` and `pull` with a traceback."""
    STATED.write(Path("c.json"))
    stated = json.loads(Path("c.json").read_text())
    Path("c.json").write_text(json.dumps({**stated, name: wrong}))
    harmless = name == "values" and isinstance(wrong, dict)  # keys have values of any type
    assert (read("c.json") is not None) == harmless


def test_a_certificate_without_code_is_none() -> None:
    """It would hold for ever, whatever happens to the code."""
    replace(STATED, blocks={}).write(Path("c.json"))
    assert read("c.json") is None


@pytest.mark.usefixtures("toy")
def test_a_lost_file_is_made_again_and_one_of_a_phase_that_nobody_pulled_is_not() -> None:
    """`snakemake -n` had nothing to do, status said "missing", and record refused the phases behind
    it.
    """
    other = Job("text", {"set": "b"}, ("data/b.txt",), ("results/texts/b.json",))
    put("src/x.py", F)
    for job in (JOB, other, PAGE):
        for path in (*job.inputs, *job.outputs):
            put(path)
        sums = [{path: sha("x") for path in paths} for paths in (job.inputs, job.outputs)]
        command = "toy page" if job is PAGE else f"toy make --set {job.wildcards['set']} "
        certificate(job.rule, command, *sums).write(job.certificate("results"))
    jobs = [JOB, other, PAGE]
    assert Judge("results", jobs, now).must_run() == {}
    Path(JOB.outputs[0]).unlink()
    assert Judge("results", jobs, now).must_run() == {"text/a.b": MISSING, "page": FOLLOWS}
    Path(other.outputs[0]).unlink()
    assert Judge("results", jobs, now).must_run() == {}, "the whole phase is elsewhere"
    for forced in ("page", PAGE.outputs[0]):
        found = Judge("results", jobs, now).must_run([forced])
        assert found == {"page": "forced", "text/a.b": MISSING}
    Path(PAGE.outputs[0]).write_text("edited")
    assert Judge("results", jobs, now).must_run() == {"page": OTHER_BYTES, "text/a.b": MISSING}


def test_a_certificate_comes_back_as_it_was() -> None:
    for stated in (STATED, replace(STATED, doubt="x", versions={"torch": "2"})):
        stated.write(Path("c.json"))
        assert read("c.json") == stated


def test_code_from_elsewhere_is_noticed() -> None:
    assert environment.foreign_code() == "", (
        "a project without the package has no code to run instead"
    )
    put("src/coder_clip/__init__.py")
    assert "coder_clip runs from /" in environment.foreign_code()


def test_runs_are_noticed_until_the_last_has_ended() -> None:
    locks.RUN.parent.mkdir(parents=True)
    assert not locks.running()
    for _ in range(2):
        dag = SimpleNamespace(needrun_jobs=lambda: [])
        rerun.start(SimpleNamespace(dag=dag))
    assert locks.running()
    rerun._held.pop().close()  # as the end of its process does
    assert locks.running()
    rerun._held.pop().close()
    assert not locks.running()


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
    toy.write_yaml(toy.described([JOB]))
    expected = Path("dvc.yaml").read_bytes()
    Path("dvc.yaml").write_bytes(os.fsencode(YAMLS[what]))
    assert toy.recorded() == {"texts": {"results/texts": "1" * 32 + ".dir"}}, "it is not read"
    began = time.process_time()
    toy.write_yaml(toy.described([JOB]))
    assert Path("dvc.yaml").read_bytes() == expected
    assert time.process_time() - began < 2


def test_a_pipe_in_place_of_dvc_yaml_is_replaced(toy: Tracked) -> None:
    """Reading it waits for ever."""
    Path("dvc.yaml").unlink()
    os.mkfifo("dvc.yaml")
    toy.write_yaml(toy.described([JOB]))
    assert Path("dvc.yaml").is_file()


def test_dvc_yaml_stays_as_it_is_where_nothing_changed(toy: Tracked) -> None:
    """A new time would make Git and DVC look at it again."""
    toy.write_yaml(toy.described([JOB]))
    before = os.stat("dvc.yaml")
    toy.write_yaml(toy.described([JOB]))
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
    mine.write_yaml(mine.described([replace(JOB, outputs=("results/mine/texts/a.json",))]))
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
                "workflow/rules/texts.smk",
            ],
            "outs": [
                {"results/mine/texts": {"persist": True}},
                {"results/mine/certificates/texts": {"persist": True}},
            ],
        }
    }
    mine.write_yaml(mine.described([replace(PAGE, outputs=("results/mine/metrics.json",))]))
    stages = yaml.safe_load(mine.yaml.read_text())["stages"]
    assert stages["report"]["metrics"] == [{"results/mine/metrics.json": {"persist": True}}]


def test_dvc_yaml_leads_from_each_phase_to_those_whose_outputs_it_reads(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dvc repro` would start a phase before its inputs, or not at all."""
    monkeypatch.chdir(repo)
    jobs = plan(DEFAULT).jobs
    text = Path("dvc.yaml").read_text()
    described = yaml.safe_load(text)["stages"]
    assert described == Tracked(DEFAULT).described(jobs), "'coder-clip record' writes it"
    maker = {out: name for name, outs in Tracked(DEFAULT).outs_of.items() for out in outs}
    before: dict[str, set[str]] = {}
    for name, stage in described.items():
        direct = {maker[path] for path in stage["deps"] if path in maker}
        before[name] = direct.union(*(before[other] for other in direct))
    for job in jobs:
        made = {maker.get(Tracked(DEFAULT).out_of(path), job.phase) for path in job.inputs}
        assert made - {job.phase} <= before[job.phase], job.name
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
    assert not _concerns(Job("text", {"model": "mini", "dataset": "shapes"}), row, "")
    assert _concerns(Job("text", {"model": "mini", "dataset": "rare"}), row, "")
    assert not _concerns(Job("text", {"dataset": "rare", "shots": "2"}), row, "")


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
    code = {f"src/{i}.py": {"f()": "3" * 32} for i in range(30)}
    found = Explained(
        "t.csv",
        {"dataset": "d"},
        "value",
        "1",
        artefacts[:9],
        given,
        code,
        ["src/4.py: f()"],
    )
    shown = [line.split()[0] for line in lines(found) if "sha256" in line or "src/" in line]
    assert shown == ["x", "src/4.py:"], (
        "of the code what changed; a page of the rest would hide the texts"
    )
    found.artefacts = artefacts
    short, every = lines(found), lines(found, every=True)
    assert len(short) <= 25
    assert any(line.endswith("more lines: --all") for line in short)
    assert short[-1].startswith("again:")
    assert sum(line.startswith("  f") for line in every) == 40
    assert any("src/29.py: f()" in line for line in every)


def test_status_table_is_in_columns() -> None:
    lines = table(
        [
            Line("texts", "2/2", "yes", "yes", "no", ""),
            Line("x", "0/10", "no", "no", "no", "missing (10)"),
        ]
    )
    assert lines[1].startswith("texts  2/2    yes")
    assert lines[2].endswith("missing (10)")
