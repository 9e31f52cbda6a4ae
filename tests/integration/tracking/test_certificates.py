"""Certificates: what nobody but a job's process can say, what is refused from other people, what
need not run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from project import BIN, ROOT, Project, make_toy

pytestmark = pytest.mark.rest

# ---- names that come from other people


def put(project: Project, data: bytes, suffix: str = "") -> str:
    """Put an object into the remote; its hash."""
    oid = hashlib.md5(data, usedforsecurity=False).hexdigest() + suffix
    path = project.folder.parent / "store/files/md5" / oid[:2] / oid[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return oid


Attack = Callable[[Project], object]


def change_lock(project: Project, change: Callable[[dict[str, Any]], object]) -> None:
    lock = yaml.safe_load(project.lock())
    change(lock["stages"])
    (project / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))


def out(stages: dict[str, Any], name: str = "results/texts") -> dict[str, Any]:
    return next(out for out in stages["texts"]["outs"] if out["path"] == name)


def listed(*entries: Any) -> Attack:
    """A list of files of results/texts; an entry without a hash has that of an object that is
    there.
    """

    def change(toy: Project) -> None:
        md5 = put(toy, b"theirs")
        whole = [{"md5": md5, **entry} if isinstance(entry, dict) else entry for entry in entries]
        oid = put(toy, json.dumps(whole).encode(), ".dir")
        change_lock(toy, lambda stages: out(stages).update(md5=oid))

    return change


def locked(**changes: Any) -> Attack:
    """An output of the phase texts in dvc.lock, with other values."""

    def change(toy: Project) -> None:
        md5 = put(toy, b"theirs")
        text = json.dumps(changes).replace("HASH", md5)
        change_lock(toy, lambda stages: out(stages).update(json.loads(text)))

    return change


def described(**changes: Any) -> Attack:
    """The stage of the phase texts in dvc.yaml, with other values."""

    def change(toy: Project) -> None:
        document = yaml.safe_load((toy / "dvc.yaml").read_text())
        document["stages"]["texts"] |= changes
        (toy / "dvc.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    return change


def configured(results: str) -> Attack:
    return lambda toy: (toy / "config/reproduce.yaml").open("a").write(f"results: {results}\n")


def program_as_results(folder: str) -> Attack:
    """A whole record of results among other files: the configuration, dvc.lock and two objects."""

    def change(toy: Project) -> None:
        listed({"relpath": "__init__.py"})(toy)
        configured(folder)(toy)
        (toy / "dvc.lock").write_text(toy.lock().replace("results/", f"{folder}/"))
        (toy / folder / "texts").mkdir(parents=True)
        (toy / folder / "texts/__init__.py").write_text("mine")
        toy.commit("another place for results")

    return change


def linked(name: str) -> Attack:
    def change(toy: Project) -> None:
        shutil.rmtree(toy / name)
        (toy / name).symlink_to(toy.folder.parent / "victim")

    return change


HOOK = "../../.git/hooks/post-checkout"
ATTACKS: dict[str, tuple[Attack, str]] = {
    "the program as results": (program_as_results("src/toy"), "'src/toy' is not 'results' or"),
    # wrote a Git hook, deleted a file outside, deleted data/ with photos (twice), moved a folder
    # into the clone
    "a list in the lock": (
        locked(files=[{"path": HOOK, "md5": "HASH", "isexec": True}]),
        "the key 'files'",
    ),
    "a path as hash": (
        listed({"relpath": "a.json", "md5": "../../../../../victim/file"}),
        "is not an md5",
    ),
    # others
    "a folder as a link": (linked("results/features"), "results/features is a symbolic link"),
    "all results as a link": (linked("results"), "results is a symbolic link"),
    "a list of files that leaves": (
        listed({"relpath": "../../../victim/file"}),
        "which is outside of it",
    ),
    "an absolute name": (listed({"relpath": "/tmp/victim"}), "which is outside of it"),
    "a name in .git": (listed({"relpath": "x/.GIT/config"}), "which is outside of it"),
    "a file that is a folder": (
        listed({"relpath": "a"}, {"relpath": "a/b"}),
        "as a file and as a folder",
    ),
    "a list of lists": (listed(["a"]), "with other keys than md5 and relpath"),
    "a hash of a list": (listed({"relpath": "a", "md5": ["x"]}), "is not an md5"),
    "a path in the lock as hash": (locked(md5="../../../../victim/file"), "is damaged"),
    "an output elsewhere": (locked(path="../victim"), "'../victim' is named as an output"),
    "an output of another phase": (
        locked(path="results/scores"),
        "'results/scores' is named as an output",
    ),
    "sources as output": (locked(path="src"), "'src' is named as an output"),
    "an executable": (locked(isexec=True), "the key 'isexec'"),
}


@pytest.mark.parametrize(
    "what",
    ATTACKS,
)
def test_a_hostile_commit_writes_and_deletes_nothing(toy: Project, what: str) -> None:
    """Whoever can commit could write and delete any file of whoever pulls, also outside of the
    clone.
    """
    change, said = ATTACKS[what]
    victim = toy.folder.parent / "victim"
    victim.mkdir()
    for path in (victim / "file", toy / "data/photo.jpg", toy / "docs/thesis.txt"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    change(toy)

    def everything() -> dict[str, bytes]:
        """All files of both folders, but those that Git, DVC and Snakemake keep for themselves."""
        files = [p for folder in (toy.folder, victim) for p in folder.rglob("*") if p.is_file()]
        own = (".dvc", ".snakemake", "__pycache__")
        files += (toy / ".git/hooks").iterdir()
        return {
            str(p): p.read_bytes()
            for p in files
            if not {*own, ".git"}.intersection(p.relative_to(toy.folder.parent).parts)
            or "hooks" in p.parts
        }

    before = everything()
    for command in ("pull", "push"):
        done = toy.run("coder-clip", command, ok=False)
        assert done.returncode == 1
        assert said in done.stdout
        assert len(done.stdout.splitlines()) == 1, done.stdout
    assert everything() == before


DESCRIBED = {
    "two outputs in an entry": described(outs=[{"results/texts": {}, "data": {}}]),
    "a loop": described(foreach=["data"], do={"cmd": "x", "outs": ["${item}"]}),
    "a working directory": described(wdir="data"),
    "somebody's remote": described(outs=[{"results/texts": {"remote": "theirs"}}]),
    "a renamed output": described(outs=["results/other"]),
    "growing aliases": lambda toy: (toy / "dvc.yaml").write_text(
        "a0: &a0 [x]\n"
        + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20))
    ),
    "a pipe": lambda toy: ((toy / "dvc.yaml").unlink(), os.mkfifo(toy / "dvc.yaml")),
}


@pytest.mark.parametrize("what", DESCRIBED)
def test_another_s_dvc_yaml_has_no_effect_and_is_written_anew(toy: Project, what: str) -> None:
    """It stopped every command, or DVC followed it; only deleting it helped."""
    toy.snakemake()
    expected, before = (toy / "dvc.yaml").read_bytes(), toy.bytes()
    DESCRIBED[what](toy)
    for command in ("status", "pull", "push", "record"):
        toy.run("coder-clip", command)
    assert (toy / "dvc.yaml").read_bytes() == expected
    assert toy.bytes() == before
    assert toy.stale() == []


# ---- what a certificate states


def test_stale_bytecode_is_neither_run_nor_vouched_for(toy: Project) -> None:
    """Python takes the bytecode of another source that has the same size and time."""
    source = toy / "src/toy/score.py"
    toy.edit("src/toy/score.py", "% 100", "% 500")
    toy.run(str(BIN / "python"), "-c", "import sys; sys.path.insert(0, 'src'); import toy.score")
    assert list((toy / "src/toy/__pycache__").glob("score.*.pyc"))
    stat = source.stat()
    source.write_text(source.read_text().replace("% 500", "% 700"))
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert toy.honest() == ["page", "score", "score"]
    features = (toy / "results/features/m/a.bin").read_bytes()
    import zlib

    expected = zlib.crc32(features) % 700 + 5
    assert json.loads((toy / "results/scores/m/a.json").read_text()) == {"accuracy": expected}


def test_a_certificate_names_what_made_the_files(toy: Project) -> None:
    stated = json.loads((toy / "results/certificates/scores/score/a.json").read_text())
    assert stated["command"] == "toy score --set a --plus 0"
    assert stated["values"] == {"threshold": 5}
    assert list(stated["inputs"]) == ["results/features/m/a.bin"]
    assert {path: set(blocks) for path, blocks in stated["blocks"].items()} == {
        "src/toy/common.py": {
            "Path",
            "asked",
            "asked()",
            "evidence",
            "os",
            "time",
            "write",
            "write()",
        }
        | {"write_bytes"},
        "src/toy/score.py": {"Path", "json", "run", "run()", "write", "zlib"},
    }
    for path, sha in {**stated["inputs"], **stated["outputs"]}.items():
        assert hashlib.sha256((toy / path).read_bytes()).hexdigest() == sha, path
    assert stated["versions"]["snakemake"]


def test_a_lost_certificate_costs_a_run_of_its_job(toy: Project) -> None:
    before = toy.bytes()
    (toy / "results/certificates/scores/score/a.json").unlink()
    done = toy.run("coder-clip", "record", ok=False)
    assert "results/scores/m/a.json (and 1 more) without a certificate" in done.stdout
    assert toy.planned() == ["page", "score"]
    toy.snakemake()
    assert (toy.bytes(), toy.planned(), toy.stale()) == (before, [], [])


def test_a_certificate_of_another_job_does_not_count(toy: Project) -> None:
    folder = toy / "results/certificates/scores/score"
    shutil.copyfile(folder / "a.json", folder / "b.json")
    assert toy.planned() == ["page", "score"]


def test_every_command_gives_the_same_answer(toy: Project) -> None:
    """Three judges could disagree: a run, a record and a pull each compared in its own way."""
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    why = "a parameter changed (threshold 5 → 6)"
    scores = "phase scores is not recorded: results/scores/m/a.json (and 3 more)"
    assert toy.planned() == ["page", "score", "score"]
    assert f"{why} (4)" in toy.run("coder-clip", "status").stdout
    assert f"{scores} {why}" in toy.run("coder-clip", "record", ok=False).stdout
    assert (
        "results/scores/m/a.json (and 3 more) will be made again"
        in toy.run("coder-clip", "pull").stdout
    )


def test_a_reason_of_somebody_else_s_is_no_command_to_the_terminal(toy: Project) -> None:
    """Certificates come with a pull, and their doubts were printed as they are."""
    path = toy / "results/certificates/scores/score/a.json"
    stated = json.loads(path.read_text())
    path.unlink()
    path.write_text(json.dumps({**stated, "doubt": "\x1b[2J\x1b]0;mine \ud800"}))
    for command in ("status", "record", "pull"):
        done = toy.run("coder-clip", command, ok=False)
        assert "Traceback" not in done.stdout
        assert "\x1b" not in done.stdout
        if command != "pull":
            assert r"\x1b[2J\x1b]0;mine \ud800" in done.stdout
    assert "\x1b[2J" not in toy.snakemake("-n")


# ---- what need not run


def started(project: Project) -> dict[str, int]:
    """Output -> inode: a file that was made again has another one."""
    return {path: os.stat(project / path).st_ino for path in project.bytes()}


def recorded(project: Project) -> dict[str, str]:
    """Out -> hash in dvc.lock."""
    stages = yaml.safe_load(project.lock())["stages"].values()
    return {out["path"]: out["md5"] for stage in stages for out in stage["outs"]}


def test_an_edit_without_effect_stops_behind_its_phase(toy: Project) -> None:
    """Jobs behind unchanged bytes end at once, and no hash of a later phase moves."""
    toy.edit("src/toy/text.py", 'config["words"]]', 'config["words"] + 0]')
    before, lock = started(toy), recorded(toy)
    said = toy.snakemake("--verbose")
    assert {p for p, inode in started(toy).items() if inode != before[p]} == {
        "results/texts/a.json",
        "results/texts/b.json",
    }
    after = recorded(toy)
    assert [path for path in after if after[path] != lock[path]] == ["results/certificates/texts"]
    assert "recorded in DVC: texts;" in said
    assert (toy.planned(), toy.stale()) == ([], [])


def test_a_forced_job_runs_though_its_certificate_holds(toy: Project) -> None:
    before = started(toy)
    toy.snakemake("--forcerun", "feature")
    changed = {p for p, inode in started(toy).items() if inode != before[p]}
    assert changed == {"results/features/m/a.bin", "results/features/m/b.bin"}
    assert (toy.planned(), toy.stale()) == ([], [])


def test_clean_and_an_edit_outside_of_dvc(tmp_path: Path) -> None:
    """`make clean` removes what Snakemake knows; an edit was not seen any more."""
    toy = make_toy(tmp_path / "new", dvc=False, git=False)
    toy.snakemake()
    shutil.rmtree(toy / ".snakemake")
    assert toy.planned() == []
    toy.edit("src/toy/score.py", "% 100", "% 50")
    shutil.rmtree(toy / ".snakemake")
    assert toy.honest() == ["page", "score", "score"]


def test_files_without_certificates_are_made_again(toy: Project) -> None:
    """As a run of an earlier version left them."""
    shutil.rmtree(toy / "results/certificates")
    shutil.rmtree(toy / ".snakemake")
    assert toy.planned() == ["feature", "feature", "page", "score", "score", "text", "text"]


@pytest.mark.parametrize("path", ["src/toy/score.py", "data/a.txt", "data/weights.bin"])
def test_a_file_with_a_time_that_is_yet_to_come_blocks_no_run(toy: Project, path: str) -> None:
    os.utime(toy / path, (time.time() + 10**6,) * 2)
    assert toy.planned() == []
    toy.edit("src/toy/score.py", "% 100", "% 50")
    os.utime(toy / "src/toy/score.py", (time.time() + 10**6,) * 2)
    toy.edit("config/reproduce.yaml", "scale: 2", "scale: 3")
    toy.snakemake()
    assert (toy.planned(), toy.stale()) == ([], [])


# ---- sharing


def test_tables_of_git_come_back_with_a_pull(toy: Project) -> None:
    before = toy.bytes()
    shutil.rmtree(toy / "results")
    toy.run("coder-clip", "pull")
    assert toy.bytes() == before
    assert toy.planned() == []


def test_the_record_of_a_renamed_configuration_is_named_and_kept(toy: Project) -> None:
    """DVC refuses two records of the same results; a colleague's record was removed because his
    file was not there.
    """
    text = (toy / "config/reproduce.yaml").read_text()
    (toy / "config/other.yaml").write_text(f"{text}results: results/other\n")
    toy.snakemake("--configfile", "config/other.yaml")
    toy.commit("other")
    toy.git("mv", "config/other.yaml", "config/better.yaml")
    said = toy.snakemake("--configfile", "config/better.yaml")
    assert "Nothing to be done" in said
    said = toy.run("coder-clip", "record", "--config", "config/better.yaml").stdout
    assert "tracked/other/ is the record of config/other.yaml, which is gone" in said
    assert (toy / "tracked/other/dvc.lock").is_file()
    toy.git("rm", "-r", "tracked/other")
    assert toy.stale() == []


def test_a_moved_clone_makes_its_environment_again(tmp_path: Path) -> None:
    """Its programs hold the old path: `.venv/bin/snakemake: No such file`."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (
        "pyproject.toml",
        "constraints.txt",
        "packages/coder-clip-photos/pyproject.toml",
        "packages/snakemake-executor-plugin-slurm-resilient/pyproject.toml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    program = tmp_path / ".venv/bin/python"

    def plan(folder: str) -> str:
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch()
        (tmp_path / ".venv/installed").write_text(f"{folder}\n")
        command = ["make", "--dry-run", "install"]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    assert "-m venv" not in plan(os.path.realpath(tmp_path))
    assert "-m venv" in plan("/elsewhere")


def test_a_remote_whose_package_is_missing_says_what_installs_it(toy: Project) -> None:
    toy.run("dvc", "remote", "add", "--force", "--default", "store", "hdfs://host/path")
    done = toy.run("coder-clip", "push", ok=False)
    assert done.returncode == 1
    assert "'make remote' installs what it needs" in done.stdout
