"""Odd answers of Slurm: no job runs twice, and no stale result is taken for a new one.

A job is known by the key in its comment, whatever sbatch prints, whatever squeue leaves out,
whoever has its number."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster, eventually
from toy_run import BY_RECORDS, Run, toy

pytestmark = pytest.mark.rest

# What a site's sbatch does, in place of Slurm's, with its first job; later ones are submitted as
# usual.
SBATCH = {
    "says_nothing": '{real} "$@" > /dev/null',
    "fails": '{real} "$@"; exit 1',
    "fails_without_a_number": (
        '{real} "$@" > /dev/null; echo "sbatch: error: Unspecified error" >&2; exit 1'
    ),
    "prints_a_number_after": '{real} "$@"; echo 4711',
    "prints_another_number": '{real} "$@" > /dev/null; echo 4711',
    "says_it_in_words": 'echo "Submitted batch job $({real} "$@")"',
    "answers_after_a_minute": 'id=$({real} "$@"); sleep 63; echo "$id"',
    "accepts_after_a_minute": 'sleep 63; exec {real} "$@"',
    # the controller took the call, sbatch gave up, and the job appears beside the next one
    "appears_later": """cat > script; (sleep 8; setsid {real} "$@" < script) > /dev/null 2>&1 &
echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1""",
}


def wrap(run: Run, name: str, body: str) -> None:
    """Put a command of this name in front of Slurm's."""
    folder = run.folder / "wrappers"
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{body.format(real=shutil.which(name))}\n")
    file.chmod(0o755)
    run.more["PATH"] = f"{folder}{os.pathsep}{run.environment['PATH']}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[dict[str, Run]]:
    """All of them at once: most of their time is a minute of waiting."""
    found = {}
    for name, body in SBATCH.items():
        run = toy(tmp_path_factory.mktemp("answers") / "toy", cluster, jobs=["brief", "ok"])
        first = (
            f"if mkdir {run.folder}/answered 2> /dev/null; "
            f'then\n{body}\nelse\nexec {{real}} "$@"\nfi'
        )
        wrap(run, "sbatch", first)
        found[name] = run.start()
    for run in found.values():
        run.wait(600)
    yield found
    cluster.cancel_all()


@pytest.mark.parametrize("name", SBATCH)
def test_whatever_sbatch_answers_a_job_runs_once(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    assert run.status == 0, run.said()
    assert [len(run.started(job)) for job in ("brief", "ok")] == [1, 1], run.said()
    assert (run.folder / "out/merged.txt").read_text() == "brief one\nok one\n"
    assert "uses no try" not in run.said()
    assert "Trying to restart" not in run.said()


def blind(run: Run) -> Path:
    """squeue shows nothing, and ends well, while the file is there."""
    flag = run.folder / "blind"
    wrap(run, "squeue", f'if [ -e {flag} ]; then echo >> {flag}; exit 0; fi; exec {{real}} "$@"')
    return flag


def looked(flag: Path, times: int) -> bool:
    return flag.read_text().count("\n") >= times


@pytest.mark.parametrize("with_database", [False, True])
def test_an_empty_queue_is_no_proof_that_a_job_is_gone(
    request: pytest.FixtureRequest, tmp_path: Path, with_database: bool
) -> None:
    """Of a running head, and of one that starts."""
    there: Cluster = request.getfixturevalue("accounting" if with_database else "cluster")
    run = toy(tmp_path, there, jobs=["held_a", "held_b"])
    flag = blind(run)
    run.start()
    run.starts("held_a", "held_b")
    flag.touch()
    eventually("five looks", lambda: looked(flag, 5))
    run.kill(signal.SIGKILL)
    run.wait()
    flag.write_text("")
    run.start()
    eventually("five more looks", lambda: looked(flag, 5))
    run.says(f"is Slurm job {run.started('held_a')[0]} of an earlier run")
    flag.unlink()
    run.go("held_a", "held_b")
    assert run.wait() == 0, run.said()
    assert [len(run.started(name)) for name in ("held_a", "held_b")] == [1, 1]
    assert "not known to Slurm" not in run.said()
    there.cancel_all()


def take_number(cluster: Cluster, wanted: str, command: str, *options: str) -> None:
    """Submit jobs of somebody else until one has this number."""
    other = ["sbatch", "--parsable", "-D", "/tmp", "-o", "/dev/null", "-p", "urgent", *options]
    number = ""
    while number != wanted:
        number = cluster.run(*other, "--hold", "--wrap", command).strip()
        assert int(number) <= int(wanted), "the number is taken"
    cluster.run("scontrol", "release", wanted)


@pytest.fixture
def alone(tmp_path: Path, tight: Cluster) -> Iterator[Path]:
    yield tmp_path
    tight.cancel_all()


def test_a_reused_number_of_a_waiting_job_gives_no_stale_result(
    alone: Path, tight: Cluster
) -> None:
    """The controller loses its state, and another job, which ends well, gets the number."""
    run = toy(alone, tight, jobs=["ok"]).start()
    assert run.wait() == 0, run.said()
    run.config["content"] = "two"
    nodes = "NodeName=n1,n2"
    tight.run("scontrol", "update", nodes, "State=DRAIN", "Reason=test")
    run.start(*BY_RECORDS)
    eventually("it waits", lambda: [job.state for job in tight.live()] == ["PENDING"])
    (mine,) = (job.id for job in tight.live())
    tight.forget()
    tight.ask("scontrol", "update", nodes, "State=RESUME")
    take_number(tight, mine, "true")
    eventually("its end", lambda: run.job(mine).state == "COMPLETED")
    assert run.wait() == 0, run.said()
    assert (alone / "out/merged.txt").read_text() == "ok two\n"
    assert len(run.started("ok")) == 2, "one of each content"


def test_a_reused_number_of_a_running_job_is_not_waited_for_and_not_cancelled(
    alone: Path, tight: Cluster
) -> None:
    run = toy(alone, tight, jobs=["held_a"]).start()
    run.starts("held_a")
    (mine,) = run.started("held_a")
    node = run.job(mine).node
    tight.forget()
    take_number(
        tight, mine, "sleep 900", f"--exclude={node}"
    )  # a node has one job of a number at most
    run.go("held_a")
    assert run.wait() == 0, run.said()
    assert (alone / "out/merged.txt").read_text() == "held_a one\n"
    assert run.job(mine).state in ("RUNNING", "PENDING"), "the job of somebody else was cancelled"


def test_a_job_that_is_queued_again_after_its_end_does_nothing(alone: Path, tight: Cluster) -> None:
    """By an administrator, while the run goes on with its next try."""
    run = toy(alone, tight, jobs=["once", "held_b"]).start()
    run.starts("once", tries=2)
    (first, _) = run.started("once")
    run.starts("held_b")
    tight.run("scontrol", "requeue", first)
    eventually("its end", lambda: run.job(first).state in ("CANCELLED", "COMPLETED"))
    run.go("held_b")
    assert run.wait() == 0, run.said()
    assert len(run.started("once")) == 2
