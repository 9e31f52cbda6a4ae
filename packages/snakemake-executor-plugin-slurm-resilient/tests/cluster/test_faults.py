"""Jobs that end badly: what a person sees, that nothing finished is lost, and how the run goes on.

One run in which everything goes wrong at once, so that the tests take as long as one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster
from toy_run import Run, toy

pytestmark = pytest.mark.rest

NAMES = [
    "ok",
    "once",
    "never",
    "greedy",
    "nowhere",
    "held_cancel",
    "held_late",
    "held_back",
    "held_pause",
]


@pytest.fixture(scope="module")
def bad_day(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Run]:
    run = toy(
        tmp_path_factory.mktemp("bad-day") / "toy",
        cluster,
        jobs=NAMES,
        partition={"nowhere": "no-such-partition"},
        memory={"greedy": 400},
    )
    run.start()
    run.starts("held_cancel", "held_late", "held_back", "held_pause")
    (pause,) = run.started("held_pause")
    cluster.run("scontrol", "suspend", pause)
    (back,) = run.started("held_back")
    cluster.run("scontrol", "requeuehold", back)
    cluster.run("scancel", *run.started("held_cancel"))
    cluster.run("scontrol", "update", f"JobId={run.started('held_late')[0]}", "EndTime=now+1")
    run.says(f"Slurm job {back} is held")
    cluster.run("scontrol", "release", back)
    run.says(f"Slurm job {pause} is suspended")
    cluster.run("scontrol", "resume", pause)
    run.starts("held_cancel", "held_late", "held_back", tries=2)
    run.go("held_cancel", "held_late", "held_back", "held_pause")
    run.wait()
    yield run
    cluster.cancel_all()


def made(run: Run, name: str) -> bool:
    return (run.folder / f"out/{name}.after").is_file()


def test_a_run_with_failures_ends_with_an_error(bad_day: Run) -> None:
    assert bad_day.status == 1
    assert not (bad_day.folder / "out/merged.txt").exists(), "made of what is not there"


def test_what_does_not_depend_on_a_failure_is_still_made(bad_day: Run) -> None:
    assert made(bad_day, "ok")
    assert len(bad_day.started("ok")) == 1


def test_a_job_that_fails_once_is_tried_again(bad_day: Run) -> None:
    first, second = bad_day.started("once")
    assert f"Slurm job {first} ended with status" in bad_day.said()
    assert made(bad_day, "once")
    assert bad_day.job(first).state == "FAILED"
    assert bad_day.job(second).state == "COMPLETED"


def test_a_job_that_always_fails_is_tried_three_times(bad_day: Run) -> None:
    assert len(bad_day.started("never")) == 3, "retries: 2 in the profile"
    assert "this fails every time" in bad_day.said(), "the rule's own log"
    assert not made(bad_day, "never")


def test_a_job_that_fails_otherwise_asks_for_what_it_had(bad_day: Run) -> None:
    """Else a passing fault becomes final, where nodes are as small as the jobs."""
    for name in ("once", "never", "held_cancel"):
        assert {bad_day.job(id).memory for id in bad_day.started(name)} == {"500M"}


def test_a_job_beyond_its_memory_is_tried_again_with_more(bad_day: Run) -> None:
    first, second = bad_day.started("greedy")
    assert "memory than the 400 MB it asked for" in bad_day.said()
    assert (bad_day.job(first).memory, bad_day.job(second).memory) == ("400M", "800M")
    assert made(bad_day, "greedy")


def test_a_job_beyond_its_time_limit_is_tried_again_with_more(bad_day: Run) -> None:
    first, _ = bad_day.started("held_late")
    assert bad_day.job(first).state == "TIMEOUT"
    assert f"Slurm job {first} ran into its time limit" in bad_day.said()
    assert made(bad_day, "held_late")


def test_a_cancelled_job_is_tried_again(bad_day: Run) -> None:
    first, _ = bad_day.started("held_cancel")
    assert f"Slurm job {first} was cancelled" in bad_day.said()
    assert made(bad_day, "held_cancel")


def test_what_lets_a_held_job_go_on_is_told(bad_day: Run) -> None:
    first, second = bad_day.started("held_back")
    assert first == second
    assert f"'scontrol release {first}'" in bad_day.said()
    assert made(bad_day, "held_back")


def test_a_suspended_job_is_told(bad_day: Run) -> None:
    """Else the run stands still without a word."""
    (pause,) = bad_day.started("held_pause")
    assert f"'scontrol resume {pause}'" in bad_day.said()
    assert made(bad_day, "held_pause")


def test_the_message_of_a_failure_names_its_log(bad_day: Run) -> None:
    first = bad_day.started("never")[0]
    lines = [line for line in bad_day.said().splitlines() if f"Slurm job {first} ended" in line]
    path = Path(lines[0].split("Slurm's log: ")[1].split(".log")[0] + ".log")
    assert path.is_file(), "the log of a failed job is kept"


def test_what_slurm_refuses_is_told_in_words_and_not_tried_again(bad_day: Run) -> None:
    (line,) = [x for x in bad_day.said().splitlines() if "there is no such partition" in x]
    assert "Asked for:" in line
    assert bad_day.started("nowhere") == []


def test_a_second_run_makes_only_what_is_missing(bad_day: Run) -> None:
    again = Run(
        bad_day.folder, bad_day.cluster, config={**bad_day.config, "jobs": ["ok", "once", "greedy"]}
    )
    assert again.start().wait() == 0, again.said()
    assert (again.folder / "out/merged.txt").read_text() == "ok one\nonce one\ngreedy one\n"
    assert len(again.started("ok")) == 1
