"""What Slurm's commands print is read as it is meant."""

from __future__ import annotations

import time

import pytest

from slurm_words import errors
from snakemake_executor_plugin_slurm_resilient import queue
from snakemake_executor_plugin_slurm_resilient.answers import final

KEY = "ba908a8b75ea"
# of Slurm 24.11: a job whose node went down, which Slurm queued again, and which a later job took
# the number of
SACCT = f"""\
NODE_FAIL|1:0|sbatch --parsable --comment 'rule_job_wildcards_a {KEY}' --time 20
COMPLETED|0:0|sbatch --parsable --comment 'rule_job_wildcards_a {KEY}' --time 20
CANCELLED by 1000|0:15|sbatch --parsable --comment 'rule_job_wildcards_a 19228cdedb35' --time 20
"""


@pytest.mark.parametrize(("key", "state"), [(KEY, "COMPLETED"), ("19228cdedb35", "CANCELLED")])
def test_a_job_that_slurm_queued_again_counts_as_it_ended(
    monkeypatch: pytest.MonkeyPatch, key: str, state: str
) -> None:
    """Else a job that ended well after its node went down is run again, once the controller has
    forgotten it.
    """
    monkeypatch.setattr(queue, "ask", lambda *_: SACCT)
    row = queue.accounted("2", key)
    assert row is not None
    assert (row.id, row.state) == ("2", state)


def test_a_number_with_other_owners_alone_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "ask", lambda *_: SACCT)
    assert queue.accounted("2", "000000000000") is None


def saying(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """Let sacct end with an error."""

    def ask(*_: str) -> str:
        raise queue.Unreachable(said)

    monkeypatch.setattr(queue, "ask", ask)
    monkeypatch.setattr(queue, "_unanswered", {})


def test_each_error_of_a_database_is_waited_for_or_final(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was cancelled counts as lost, if a fault that passes is taken for an answer; a run
    waits for ever, if one that does not pass is waited for.
    """
    for text in errors():
        said = f"sacct: error: Problem talking to the database: {text}"
        saying(monkeypatch, said)
        if final(said):
            assert queue.accounted("2", KEY) is None
            continue
        with pytest.raises(queue.NoDatabase, match="Problem talking to the database"):
            queue.accounted("2", KEY)
        later = time.monotonic() + queue.LOST + 1
        with monkeypatch.context() as clock:
            clock.setattr(time, "monotonic", lambda later=later: later)
            assert queue.accounted("2", KEY) is None


def test_a_cluster_without_a_database_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, "Slurm accounting storage is disabled")
    assert queue.accounted("2", KEY) is None
