"""The head process, the controller or a daemon dies: nothing finished is lost, nothing runs twice,
the run goes on.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import Cluster, eventually
from toy_run import BY_RECORDS, Run, environment, fill, small_disk, toy

pytestmark = pytest.mark.rest


def merged(run: Run) -> str:
    return (run.folder / "out/merged.txt").read_text()


def test_a_killed_head_finds_its_jobs_again(shared_folder: Path, cluster: Cluster) -> None:
    """kill -9: one job ends while nobody looks, one goes on, one waits for its input; each runs
    once.

    Though an input has another time, as after `git checkout`, a copy or a pull: its content counts.
    """
    source = shared_folder / "source.txt"
    source.write_text("the same")
    run = toy(shared_folder, cluster, jobs=["held_a", "held_b"], inputs=["source.txt"]).start()
    run.starts("held_a", "held_b")
    run.kill(signal.SIGKILL)
    run.wait()
    source.write_text("the same")
    run.go("held_a")
    eventually("held_a made", lambda: (run.folder / "out/held_a.txt").exists())
    eventually("held_a ended", lambda: run.job(run.started("held_a")[0]).state == "COMPLETED")
    run.start()
    run.says(f"is Slurm job {run.started('held_b')[0]} of an earlier run")
    run.says(f"is Slurm job {run.started('held_a')[0]} of an earlier run, which has ended")
    run.go("held_b")
    assert run.wait() == 0, run.said()
    assert merged(run) == "held_a one\nheld_b one\n"
    assert [len(run.started(name)) for name in ("held_a", "held_b")] == [1, 1], (
        "no job ran a second time"
    )

    run.start()
    assert run.wait() == 0
    assert "Nothing to be done" in run.said(), "what the orphan made is known, with how it was made"
    run.config["content"] = (
        "two"  # a parameter of the finished files: so Snakemake must know what made them
    )
    run.go("held_a", "held_b")
    assert run.start("--dry-run", *BY_RECORDS).wait() == 0
    assert re.search(r"^job +2$", run.said(), re.MULTILINE), run.said()


def test_a_head_on_another_login_node_finds_a_group_some_of_whose_jobs_have_ended(
    shared_folder: Path, cluster: Cluster
) -> None:
    """Who can tell there whether the first head is alive? A person, or Slurm where it was a job."""
    grouped = ["--groups", "job=jobs", "--group-components", "jobs=100"]
    run = toy(shared_folder, cluster, jobs=["ok", "held_a", "held_b"]).start(*grouped)
    run.starts("ok", "held_a", "held_b")
    eventually("ok made", lambda: (run.folder / "out/ok.txt").exists())
    run.kill(signal.SIGKILL)
    run.wait()
    (record,) = shared_folder.glob(".snakemake/slurm-resilient/heads/*.json")
    head = {**json.loads(record.read_text()), "host": "login-2"}
    sleeping = cluster.run("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "sleep 600").strip()
    record.write_text(json.dumps({**head, "job": sleeping}))
    assert run.start(*grouped).wait() == 1
    assert f"may be alive: Slurm job {sleeping} on login-2" in run.said()
    cluster.run("scancel", sleeping)
    eventually("the head's job ended", lambda: run.job(sleeping).state == "CANCELLED")
    run.start(*grouped)
    (group,) = {i for name in ("ok", "held_a", "held_b") for i in run.started(name)}
    run.says(f"is Slurm job {group} of an earlier run")
    run.go("held_a", "held_b")
    assert run.wait() == 0, run.said()
    assert merged(run) == "ok one\nheld_a one\nheld_b one\n"
    assert [len(run.started(name)) for name in ("ok", "held_a", "held_b")] == [1, 1, 1]


def test_jobs_of_another_target_go_on(shared_folder: Path, cluster: Cluster) -> None:
    """A person starts one phase, the head dies, and the next run asks for another phase."""
    run = toy(shared_folder, cluster, jobs=["held_a", "held_b"]).start("out/held_a.txt")
    run.starts("held_a")
    run.kill(signal.SIGKILL)
    run.wait()
    run.start("out/held_b.txt")
    run.starts("held_b")
    run.go("held_b")
    assert run.wait() == 0, run.said()
    assert run.job(run.started("held_a")[0]).state == "RUNNING"
    run.start()
    run.says(f"is Slurm job {run.started('held_a')[0]} of an earlier run")
    run.go("held_a")
    assert run.wait() == 0, run.said()
    assert [len(run.started(name)) for name in ("held_a", "held_b")] == [1, 1]


def test_jobs_of_a_killed_head_that_make_something_else_are_stopped_first(
    shared_folder: Path, cluster: Cluster
) -> None:
    """They have another parameter now; or the same one, and another content of an input."""
    source = shared_folder / "source.txt"
    source.write_text("before")
    run = toy(shared_folder, cluster, jobs=["held_a"], inputs=["source.txt"]).start()
    run.starts("held_a")
    run.kill(signal.SIGKILL)
    run.wait()
    run.config["content"] = "two"
    run.start()
    run.starts("held_a", tries=2)
    run.kill(signal.SIGKILL)
    run.wait()
    source.write_text("after")
    run.start()
    run.starts("held_a", tries=3)
    *old, new = run.started("held_a")
    assert [run.job(id).state for id in old] == ["CANCELLED"] * 2, "all would write the same file"
    run.go("held_a")
    assert run.wait() == 0, run.said()
    assert merged(run) == "held_a two\n"
    assert run.job(new).state == "COMPLETED"


LOCAL = """
from snakemake_executor_plugin_slurm_resilient import heads, reattach

if workflow.is_main_process:
    heads.follow(workflow)


onstart:
    reattach.before_jobs(workflow)


rule side:
    output:
        "side.txt",
    localrule: True
    shell:
        "touch {output}"
"""


def test_a_run_that_submits_nothing_leaves_jobs_to_their_head(
    shared_folder: Path, cluster: Cluster
) -> None:
    """As `prefetch` does, beside a head that is alive."""
    run = toy(shared_folder, cluster, jobs=["held_a"]).start()
    run.starts("held_a")
    (shared_folder / "Local.smk").write_text(LOCAL)
    command = ["snakemake", "--snakefile", "Local.smk", "--profile", "workflow/profiles/slurm"]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=shared_folder,
        env=environment(shared_folder, cluster),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (shared_folder / "side.txt").exists()
    assert "of an earlier run" not in done.stderr
    run.go("held_a")
    assert run.wait() == 0, run.said()
    assert len(run.started("held_a")) == 1


def test_a_run_on_this_machine_starts_neither_beside_live_jobs_nor_with_files_that_nobody_recorded(
    shared_folder: Path, cluster: Cluster
) -> None:
    """Else a job would run twice, or a later change of a parameter would go unseen."""
    run = toy(shared_folder, cluster, jobs=["held_a"]).start()
    run.starts("held_a")
    run.kill(signal.SIGKILL)
    run.wait()
    job = run.started("held_a")[0]
    assert run.start(profile="default").wait() == 1
    assert f"still on the cluster: {job}" in run.said()
    run.go("held_a")
    eventually("its end", lambda: run.job(job).state == "COMPLETED")
    assert run.start(profile="default").wait() == 1
    (line,) = [line for line in run.said().splitlines() if "while there was no head" in line]
    assert "wrote out/held_a.txt" in line
    assert run.start().wait() == 0, run.said()
    assert run.start(profile="default").wait() == 0, run.said()
    assert len(run.started("held_a")) == 1
    run.config["content"] = "two"  # a parameter: so Snakemake must know what made the file
    assert run.start("--dry-run", *BY_RECORDS).wait() == 0
    assert re.search(r"^job +1$", run.said(), re.MULTILINE), run.said()


def test_a_head_that_is_asked_to_end_waits_for_its_jobs(
    shared_folder: Path, cluster: Cluster
) -> None:
    """SIGTERM."""
    run = toy(shared_folder, cluster, jobs=["held_a", "ok"]).start()
    run.starts("held_a")
    run.kill(signal.SIGTERM)
    run.says("Will exit after finishing currently running jobs")
    run.go("held_a")
    assert run.wait() == 1
    assert cluster.live() == []
    assert run.start().wait() == 0, run.said()
    assert len(run.started("held_a")) == 1, "what it waited for counts"
    assert merged(run) == "held_a one\nok one\n"


def test_control_c_stops_the_jobs(shared_folder: Path, cluster: Cluster) -> None:
    """SIGINT."""
    run = toy(shared_folder, cluster, jobs=["held_a"]).start()
    run.starts("held_a")
    run.kill(signal.SIGINT)
    assert run.wait() == 1
    eventually("no job left", lambda: not cluster.live(), 180)
    assert run.job(run.started("held_a")[0]).state == "CANCELLED"


def test_a_controller_that_was_away_is_waited_for(shared_folder: Path, cluster: Cluster) -> None:
    """Away while jobs run, while one ends, and while another run would submit; a slurmd dies
    meanwhile, too.
    """
    run = toy(
        shared_folder / "one", cluster, jobs=["held_a", "held_b"], after_on_cluster=True
    ).start()
    other = toy(shared_folder / "other", cluster, jobs=["ok"])
    run.starts("held_a", "held_b")
    node = run.job(run.started("held_b")[0]).node
    cluster.stop_controller()
    cluster.kill_slurmd(node)
    other.start()
    try:
        run.says("The Slurm controller does not answer")
        run.go("held_b")
        eventually("held_b made", lambda: (run.folder / "out/held_b.txt").exists())
        other.says("The Slurm controller does not answer")
    finally:
        cluster.start_controller()
        cluster.start_node(node)
    run.says("The Slurm controller is back")
    run.go("held_a")
    assert run.wait() == 0, run.said()
    assert merged(run) == "held_a one\nheld_b one\n"
    assert [len(run.started(name)) for name in ("held_a", "held_b")] == [1, 1]
    assert other.wait() == 0, other.said()
    assert len(other.started("ok")) == 1
    for each in (run, other):  # marks of a good run are gone, its logs are not ours to delete
        assert list((each.folder / "results/logs/slurm").rglob("*.log"))
        assert [p for p in (each.folder / ".snakemake/incomplete").rglob("*") if p.is_file()] == []
        assert not [
            name for name in os.listdir(each.folder / ".snakemake") if name.startswith("tmp.")
        ]


def test_preemption(shared_folder: Path, cluster: Cluster) -> None:
    """A job that has to make room is started again: by Slurm itself, or by the run where Slurm
    cancels it.
    """
    names = ["held_requeued", "held_cancelled"]
    run = toy(shared_folder, cluster, jobs=names, partition={"held_cancelled": "scavenge"}).start()
    run.starts(*names)
    folder = str(shared_folder)
    urgent = [
        "sbatch",
        "--parsable",
        "-p",
        "urgent",
        "-N2",
        "--exclusive",
        "-D",
        folder,
        "-o",
        "/dev/null",
    ]
    ids = {name: run.started(name)[0] for name in names}
    room = cluster.run(*urgent, "--wrap", "sleep 600").strip()
    eventually("room made", lambda: run.job(room).state == "RUNNING", 180)
    run.says(f"Slurm job {ids['held_cancelled']} was preempted")
    assert run.job(ids["held_requeued"]).state == "PENDING"
    cluster.run("scancel", room)
    run.starts(*names, tries=2)
    run.go(*names)
    assert run.wait() == 0, run.said()
    assert run.started("held_requeued") == [ids["held_requeued"]] * 2, (
        "Slurm queued the same job again"
    )
    assert run.started("held_cancelled")[1] != ids["held_cancelled"], "the run submitted another"


def test_a_full_log_folder(shared_folder: Path, cluster: Cluster) -> None:
    """With no room for another file the run waits, and says so; with none for text it goes on."""
    run = toy(shared_folder / "toy", cluster, jobs=["ok"])
    with small_disk(shared_folder / "logs", "size=64k,nr_inodes=2") as logs:
        (logs / "full").touch()
        run.start("--slurm-resilient-logdir", str(logs))
        run.says("Files cannot be written now (")
        assert f"{logs}/rule_job: No space left on device" in run.said()
        assert run.started("ok") == []
        remount = ["mount", "-o", "remount,nr_inodes=100", str(logs)]
        subprocess.run(remount, check=True)
        assert run.wait() == 0, run.said()
    run = toy(shared_folder / "again", cluster, jobs=["ok"])
    with small_disk(shared_folder / "other", "size=64k") as logs:
        fill(logs)
        assert run.start("--slurm-resilient-logdir", str(logs)).wait() == 0, run.said()
    assert merged(run) == "ok one\n"


def test_control_c_while_the_controller_is_away(shared_folder: Path, cluster: Cluster) -> None:
    """What cannot be cancelled lives on, and finds what it needs; the next run goes on with it."""
    run = toy(shared_folder, cluster, jobs=["held_a", "held_b"], after_on_cluster=True).start()
    run.starts("held_a", "held_b")
    ids = sorted(run.started("held_a") + run.started("held_b"))
    cluster.stop_controller()
    try:
        run.kill(signal.SIGINT)
        assert run.wait() == 1
    finally:
        cluster.start_controller()
    assert f"Slurm jobs {' '.join(ids)} could not be cancelled and keep running" in run.said()
    assert not [
        name for name in os.listdir(shared_folder / ".snakemake") if name.startswith("tmp.")
    ]
    run.start()
    run.says("2 jobs of an earlier run are still in the queue")
    run.go("held_a", "held_b")
    assert run.wait() == 0, run.said()
    assert [len(run.started(name)) for name in ("held_a", "held_b")] == [1, 1]


def test_waiting_jobs_follow_an_edited_profile(shared_folder: Path, cluster: Cluster) -> None:
    names = ["held_a", "held_b"]
    both = dict.fromkeys(names, "gpu")
    run = toy(shared_folder, cluster, jobs=names, partition=both, gpu=dict.fromkeys(names, 2))
    run.start("--resources", "on_gpu=9")
    eventually(
        "one runs, one waits",
        lambda: {j.state for j in cluster.live()} == {"RUNNING", "PENDING"},
        180,
    )
    running, waiting = sorted(cluster.live(), key=lambda j: j.state, reverse=True)
    run.kill(signal.SIGKILL)
    run.wait()
    run.config["memory"] = dict.fromkeys(names, 700)
    run.start("--resources", "on_gpu=9")
    run.says(f"is Slurm job {running.id} of an earlier run")
    run.says(f"Cancelled {waiting.id} of an earlier run")
    run.go(*names)
    assert run.wait() == 0, run.said()
    ids = [i for name in names for i in run.started(name)]
    assert len(ids) == 2
    assert {run.job(i).memory for i in ids} == {"500M", "700M"}
