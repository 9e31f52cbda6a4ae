"""What a job asks for next time: by why it failed, and at most what there is."""

from __future__ import annotations

from typing import Any

import pytest

from snakemake_executor_plugin_slurm_resilient import retry, site
from snakemake_executor_plugin_slurm_resilient.journal import Tries


class Job:
    """As Snakemake's: resources follow the attempt."""

    threads = 2

    def __init__(self, **resources: Any) -> None:
        self.attempt, self._resources = 1, resources

    @property
    def resources(self) -> dict[str, Any]:
        return {k: v(self.attempt) if callable(v) else v for k, v in self._resources.items()}


@pytest.mark.parametrize(
    ("state", "code", "cause"),
    [
        ("OUT_OF_MEMORY", "0:125", "memory"),
        ("FAILED", "0:9", "memory"),
        ("FAILED", "137:0", "memory"),
        ("TIMEOUT", "0:0", "time"),
        ("FAILED", "1:0", "other"),
        ("CANCELLED", "0:9", "other"),  # scancel kills as well
        ("NODE_FAIL", "0:0", "other"),
        ("PREEMPTED", "0:0", "other"),
    ],
)
def test_cause(state: str, code: str, cause: str) -> None:
    """A failed job would be retried with what it does not lack."""
    assert retry.cause(state, code) == cause


class Group:
    """As Snakemake's: by default, jobs of a level run side by side."""

    def __init__(self, *levels: list[Job]) -> None:
        self.toposorted, self.attempt, self.threads = levels, 1, sum(j.threads for j in levels[0])
        self.resources = {
            "mem_mb": sum(j.resources["mem_mb"] for j in levels[0]),
            "runtime": sum(level[0].resources["runtime"] for level in levels),
        }

    def is_group(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("nodes", "asked"),
    [
        ([], (3000, 20, 6)),  # not known
        ([(4000, 8)], (3000, 20, 6)),
        ([(2500, 8)], (2000, 30, 4)),  # two at a time, then one, then the second level
        ([(4000, 2), (1000, 8)], (1000, 40, 2)),
        ([(500, 1)], (1000, 40, 2)),  # not even one, which is then cut
    ],
)
def test_a_group_fits_a_node(nodes: list[tuple[int, int]], asked: tuple[int, int, int]) -> None:
    group = Group([Job(mem_mb=1000, runtime=10) for _ in range(3)], [Job(mem_mb=500, runtime=10)])
    found = retry.fitted(group, retry.asked(group, Tries()), Tries(), nodes)
    assert (found["mem_mb"], found["runtime"], found["cpus"]) == asked


def test_what_is_no_fault_of_a_job_uses_no_try() -> None:
    """BOOT_FAIL, too, which a test cluster cannot show; and nothing else, or a broken job would run
    for ever.
    """
    assert {"PREEMPTED", "NODE_FAIL", "BOOT_FAIL"} == retry.PASSING


def test_memory_and_time_grow_on_their_own() -> None:
    job = Job(mem_mb=lambda attempt: attempt * 500 + 100, runtime=30)
    assert retry.asked(job, Tries()) == {"mem_mb": 600, "runtime": 30, "cpus": 2}
    assert retry.asked(job, Tries(memory=2)) == {"mem_mb": 1100, "runtime": 30, "cpus": 2}
    assert retry.asked(job, Tries(time=3)) == {"mem_mb": 600, "runtime": 90, "cpus": 2}, (
        "a constant, too"
    )
    assert job.attempt == 1


def test_no_more_than_the_partition_has() -> None:
    rows = "cpu*|1:00:00|4000|4|n1|(null)\ncpu*|1:00:00|9000|1|n2|(null)"
    here = site.Site(site.parse_partitions(rows))
    most = here.most({"cpus": 2, "partition": "cpu"})
    assert most == {"cpus": 4, "mem_mb": 4000, "runtime": 60}, "the other node has too few CPUs"
    asked, words = retry.capped({"mem_mb": 7000, "runtime": 50, "cpus": 2}, most)
    assert asked == {"mem_mb": 4000, "runtime": 50, "cpus": 2}
    assert words == ["4000 MB, the most that there is, instead of 7000"]
    assert retry.capped({"mem_mb": "<TBD>"}, most) == ({"mem_mb": "<TBD>"}, []), (
        "only the job will know"
    )
    assert retry.capped({"mem_mb": 7000}, {}) == ({"mem_mb": 7000}, []), "Slurm does not tell"
