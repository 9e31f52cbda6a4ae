"""What Slurm's commands print is read as it is meant."""

from __future__ import annotations

import pytest

from snakemake_executor_plugin_slurm_resilient import queue

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
