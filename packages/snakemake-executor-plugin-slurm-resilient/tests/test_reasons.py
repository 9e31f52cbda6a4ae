"""What Slurm says, understood: messages of Slurm 24.11."""

from __future__ import annotations

import pytest

from snakemake_executor_plugin_slurm_resilient.reasons import ended, refused, waiting

POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


def test_a_refusal_says_why_and_what_was_asked() -> None:
    told = refused(
        f"sbatch: error: QOSMaxMemoryPerJob\nsbatch: error: Batch job submission failed: {POLICY}",
        {"mem_mb": 9000},
    )
    assert "Slurm refused it: QOSMaxMemoryPerJob" in told
    assert told.endswith("Asked for: 9000 MB")


def test_a_cluster_without_gpu_options_gets_advice() -> None:
    told = refused(
        "sbatch: error: Batch job submission failed: Requested GRES option unsupported by "
        "configured SelectType plugin",
        {"gpu": 1},
    )
    assert "'gres: gpu:1' in their place" in told


def test_a_time_out_names_the_limit_and_the_node() -> None:
    told = ended("TIMEOUT", "", "n1", "00:30:00", {"runtime": 30})
    assert told == "ran into its time limit of 00:30:00 on n1"


@pytest.mark.parametrize(
    ("reason", "words", "advice", "look"),
    [
        ("JobHeldUser", "is held", "scontrol release", 1),
        ("PartitionTimeLimit", "more time than allowed", "scontrol update", 1),
        # at its start a cluster's nodes register one after the other: no reason to act at the first
        # look
        ("ReqNodeNotAvail, UnavailableNodes:n1", "nodes that are down", "", 3),
    ],
)
def test_what_a_waiting_job_needs_a_person_for(
    reason: str, words: str, advice: str, look: int
) -> None:
    found = waiting("PENDING", reason)
    assert found is not None
    assert words in found[0]
    assert advice in found[1]
    assert found[2] == look


def test_the_reason_of_slurm_counts_before_a_signal() -> None:
    """A job that no node can run ends with signal 1: else it is taken for one that was killed."""
    told = ended("FAILED", "0:1", "", "00:20:00", {"gres": "gpu:9"}, "BadConstraints")
    assert told == "can never run: no node has gres gpu:9 (Slurm says: BadConstraints)"


def test_a_suspended_job_is_told() -> None:
    """It holds its node, and nobody but an administrator sees why the run stands still."""
    found = waiting("SUSPENDED", "None")
    assert found is not None
    assert "scontrol resume" in found[1]


def test_a_job_that_waits_its_turn_is_not_told() -> None:
    assert waiting("PENDING", "Resources") is None
