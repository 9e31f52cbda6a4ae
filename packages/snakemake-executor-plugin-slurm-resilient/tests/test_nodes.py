"""Which nodes a run learns to avoid, from failures that nothing but the node explains."""

from __future__ import annotations

import logging

from snakemake_executor_plugin_slurm_resilient.nodes import WINDOW, Nodes


class Clock:
    """The seconds that a test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def nodes() -> tuple[Nodes, Clock]:
    clock = Clock()
    return Nodes(logging.getLogger(), clock), clock


A, B, C = (frozenset({name}) for name in "abc")


def test_two_jobs_that_fail_on_a_node_where_none_ends_well() -> None:
    """A node that fails at once is always idle: all jobs would use up all their tries there."""
    found, _ = nodes()
    assert found.ended_badly("n1", A) == ("", [])
    assert found.ended_badly("n1", A) == ("", []), "one job, however often, is no proof"
    assert found.ended_badly("n1", B) == ("n1", [])
    assert found.bad == {"n1"}
    assert found.ended_badly("n1", C) == ("", []), "said once"


def test_a_node_on_which_a_job_ends_well_is_good() -> None:
    found, _ = nodes()
    found.ended_badly("n1", A)
    found.ended_well("n1")
    assert found.ended_badly("n1", B) == ("", [])


def test_failures_long_ago_do_not_count() -> None:
    found, clock = nodes()
    found.ended_badly("n1", A)
    clock.now = WINDOW + 1
    assert found.ended_badly("n1", B) == ("", [])


def test_a_job_that_fails_elsewhere_too_is_itself_at_fault() -> None:
    """Else two broken jobs would take one node after the other from all others."""
    found, _ = nodes()
    found.ended_badly("n1", A)
    found.ended_badly("n1", B)
    assert found.ended_badly("n2", A) == ("", ["n1"])
    assert found.bad == set()
    assert found.ended_badly("n2", B) == ("", []), "nor is n2 bad"


def test_several_nodes_of_one_job_are_not_judged() -> None:
    found, _ = nodes()
    for job in (A, B):
        assert found.ended_badly("n[1-2]", job) == ("", [])
        assert found.ended_badly("", job) == ("", [])
