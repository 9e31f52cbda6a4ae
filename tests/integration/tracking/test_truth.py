"""Nothing is vouched for that did not happen: merges, other code, --touch, edits at the wrong
moment.

Afterwards either the right jobs run, or everything is current and forcing every job changes no byte
(Project.honest)."""

from __future__ import annotations

import os
import shutil

import pytest

from project import Edit, Project, wait_for

pytestmark = pytest.mark.rest

FEATURE: Edit = (
    "src/toy/feature.py",
    "seed[:1_500_000]",
    "seed[: 1_500_000 - words.count('brown')]",
)  # same bytes here
BROWN: Edit = ("data/a.txt", "round red small", "brown red small")  # and others with this text
SCORE: Edit = ("src/toy/score.py", "% 100", "% 50")


def settle(toy: Project, side: str) -> None:
    """Take one side of what is recorded."""
    toy.git("checkout", f"--{side}", "dvc.lock", "results")
    toy.git("add", "dvc.lock", "results")


# ---- Git


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_a_merge_of_code_and_text_makes_what_neither_side_made(toy: Project, side: str) -> None:
    toy.two_sides(FEATURE, BROWN)
    assert toy.run("git", "merge", "theirs", "-m", "both", ok=False).returncode != 0
    before = {
        p: (toy / p).read_bytes() for p in ("dvc.lock", "dvc.yaml", "results/tables/main.csv")
    }
    toy.run("coder-clip", "status")
    for command in ("record", "pull"):
        assert "dvc.lock is in conflict" in toy.run("coder-clip", command, ok=False).stdout
    toy.snakemake("-n")
    assert {p: (toy / p).read_bytes() for p in before} == before, "a look settles nothing"
    settle(toy, side)
    toy.git("commit", "--quiet", "-m", "both")
    toy.run("coder-clip", "pull")
    assert {"feature", "page", "score"} <= {*toy.honest()}
    assert (toy.planned(), toy.stale()) == ([], [])


@pytest.mark.parametrize("how", ["rebase", "cherry-pick", "revert", "stash"])
def test_other_ways_to_combine_two_sides(toy: Project, how: str) -> None:
    toy.git("checkout", "--quiet", "-b", "theirs")
    toy.edit(*BROWN)
    toy.snakemake()
    toy.commit("theirs")
    toy.git("checkout", "--quiet", "main")
    toy.run("coder-clip", "pull")
    toy.edit(*FEATURE)
    toy.snakemake()
    if how == "stash":
        toy.git("stash")
        toy.git("merge", "--quiet", "theirs")
        stopped = toy.run("git", "stash", "pop", ok=False)
    else:
        toy.commit("ours")
        if how == "revert":
            toy.edit("src/toy/common.py", "asked to", "told to")
            toy.snakemake()
            toy.commit("more")
        command = {"rebase": ["rebase", "theirs"], "cherry-pick": ["cherry-pick", "theirs"]}
        stopped = toy.run("git", *command.get(how, ["revert", "--no-edit", "HEAD~1"]), ok=False)
    assert stopped.returncode != 0
    settle(toy, "theirs")
    if how != "stash":
        toy.run("git", how, "--continue", GIT_EDITOR="true")
    assert "page" in toy.honest()
    assert (toy.planned(), toy.stale()) == ([], [])


# ---- the code, the configuration and the files that were really used


def test_code_of_another_clone_neither_runs_nor_is_recorded(toy: Project) -> None:
    """Its environment is active here: what ./src holds would be recorded for bytes that the other
    code made.
    """
    (toy / "src/coder_clip").mkdir()
    (toy / "src/coder_clip/__init__.py").write_text("")
    toy.edit(*SCORE)
    before = toy.lock(), toy.bytes()
    for command in (("snakemake", "--cores", "1"), ("coder-clip", "record")):
        done = toy.run(*command, ok=False)
        assert done.returncode == 1
        assert "not from ./src" in done.stdout
        assert "make install" in done.stdout
    assert (toy.lock(), toy.bytes()) == before


def test_touched_files_are_not_recorded(toy: Project) -> None:
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 4")
    before = toy.entries("scores", "report")
    toy.snakemake("--touch")
    assert toy.entries("scores", "report") == before
    said = toy.run("coder-clip", "record", ok=False).stdout
    assert "a parameter changed (threshold 5 → 4)" in said
    assert toy.entries("scores", "report") == before
    shown = toy.run("coder-clip", "status").stdout
    assert "a parameter changed (threshold 5 → 4) (4)" in shown
    toy.commit("touched")
    toy.run("coder-clip", "push")
    clone = toy.clone("clone")
    clone.run("coder-clip", "pull")
    assert clone.planned() == toy.planned() == ["page", "score", "score"]
    assert toy.honest() == ["page", "score", "score"]  # nor believed by the next run


def during_a_job(toy: Project, change: Edit) -> str:
    """A run of scores in whose middle something is edited; what it says."""
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    (toy / "pause").write_text("m/b.json")
    run = toy.start("snakemake", "--cores", "1", "--rerun-incomplete")
    wait_for(toy / "hanging")
    toy.edit(*change)
    (toy / "pause").unlink()
    said = run.communicate(timeout=300)[0]
    assert run.returncode == 0, said
    return said


def test_an_edit_of_the_code_in_the_middle_of_a_job(toy: Project) -> None:
    """The certificate names the source that ran, as it was before."""
    said = during_a_job(toy, SCORE)
    assert "the code changed (src/toy/score.py: run())" in said or "changed while" in said
    assert "score" in toy.honest()


def test_an_edit_of_the_configuration_in_the_middle_of_a_run(toy: Project) -> None:
    """Jobs read it once, when they start, and their certificates name what they read."""
    said = during_a_job(toy, ("config/reproduce.yaml", "threshold: 6", "threshold: 7"))
    assert "a parameter changed (threshold 6 → 7)" in said
    toy.edit("config/reproduce.yaml", "words: 3", "words: 2")
    assert toy.honest() == ["feature", "feature", "page", "score", "score", "text", "text"]


def test_a_truncated_file_with_its_old_time(toy: Project) -> None:
    path = toy / "results/features/m/a.bin"
    was = path.stat()
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:1000])
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    before = toy.lock()
    said = toy.run("coder-clip", "record", ok=False).stdout
    assert "results/features/m/a.bin not the bytes that were made" in said
    assert toy.lock() == before
    assert toy.honest() == ["feature", "page", "score"]


# ---- a look changes nothing


def test_a_look_changes_nothing(toy: Project) -> None:
    toy.edit(*SCORE)
    clone = toy.clone("clone")
    clone.run("dvc", "pull", "--quiet")

    def everything(project: Project) -> dict[str, tuple[int, int, int]]:
        files = (p for p in project.folder.rglob("*") if p.is_file() and ".git" not in p.parts)
        kept = [p for p in files if not {".snakemake", "tmp", "__pycache__"} & set(p.parts)]
        stats = {str(p): p.stat() for p in kept}
        return {path: (s.st_ino, s.st_size, s.st_mtime_ns) for path, s in stats.items()}

    for project in (toy, clone):
        before = everything(project)
        project.run("coder-clip", "status")
        project.snakemake("-n")
        project.snakemake("--summary")
        assert everything(project) == before


def test_pulled_results_need_no_run_where_one_has_run_before(toy: Project, clone: Project) -> None:
    """Benchmark files of the earlier run and a large source with a new time would make Snakemake
    run all again.
    """
    clone.edit("config/reproduce.yaml", "scale: 2", "scale: 3")
    clone.snakemake()
    clone.commit("scale 3")
    clone.run("coder-clip", "push")
    toy.git("pull", "--quiet", str(clone.folder), "main")
    (toy / "data/weights.bin").touch()
    toy.run("coder-clip", "pull")
    assert (toy.planned(), toy.stale()) == ([], [])
    assert toy.bytes() == clone.bytes()


def test_the_same_bytes_from_another_machine_leave_git_clean(cold: Project) -> None:
    clone = cold.clone("clone")
    clone.snakemake(PYTHONHASHSEED="7")
    assert clone.git("status", "--short") == ""


def test_a_new_parameter_beside_old_results_is_seen_without_a_record(toy: Project) -> None:
    shutil.rmtree(toy / "results/certificates")
    shutil.rmtree(toy / ".snakemake/coder-clip")
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    assert "without a certificate" in toy.run("coder-clip", "status").stdout
    assert toy.run("coder-clip", "record", ok=False).returncode == 1
    toy.run("coder-clip", "pull")
    assert toy.planned() == ["page", "score", "score"]


def test_what_dvc_replaced_in_the_middle_of_a_job_is_made_again(toy: Project) -> None:
    """DVC's own commands do not know of the run."""
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    (toy / "pause").write_text("m/b.csv")
    run = toy.start("snakemake", "--cores", "1")
    wait_for(toy / "hanging")
    toy.run("dvc", "checkout", "--force", "--quiet", "scores")
    (toy / "pause").unlink()
    said = run.communicate(timeout=300)[0]
    assert run.returncode == 0, said
    assert "not the bytes that were made" in said
    assert "score" in toy.honest()  # both, if the other one had ended before
    toy.edit("src/toy/score.py", "% 100", "% 100 + 0")  # the same bytes
    assert toy.honest() == ["page", "score", "score"]
    assert (toy.planned(), toy.stale()) == ([], [])


def test_nothing_is_pulled_while_a_run_makes_files(toy: Project) -> None:
    """A job has written one of its outputs; the recorded one in its place would count as what the
    job made.
    """
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    (toy / "pause").write_text("m/b.csv")
    run = toy.start("snakemake", "--cores", "1", "--nolock")
    wait_for(toy / "hanging")
    made = (toy / "results/scores/m/b.json").read_bytes()
    said = toy.run("coder-clip", "pull", ok=False)
    assert said.returncode == 1
    assert "a run makes results here; try again when it has ended" in said.stdout
    assert (toy / "results/scores/m/b.json").read_bytes() == made
    (toy / "pause").unlink()
    said_by_run = run.communicate(timeout=300)[0]
    assert run.returncode == 0, said_by_run
    assert toy.honest() == []
    toy.run("coder-clip", "pull")
    assert (toy.planned(), toy.stale()) == ([], [])
