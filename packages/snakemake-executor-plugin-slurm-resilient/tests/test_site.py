"""What sinfo says of a cluster, read."""

from __future__ import annotations

from typing import Any

import pytest

from snakemake_executor_plugin_slurm_resilient import site

SINFO = """\
CLUSTER: here
cpu*|2:00:00|16000|4
cpu*|2:00:00|32000+|8
gpu|1-00:00:00|64000|4
gpu|1-00:00:00|n/a|4
"""
HERE = site.parse_partitions(SINFO)


def test_partitions() -> None:
    """A job would be asked for more than any node of its partition has."""
    assert list(HERE) == ["cpu", "gpu"]
    assert HERE["cpu"].nodes == ((16000, 4), (32000, 8))
    assert HERE["gpu"].nodes == ((64000, 4), (0, 4)), (
        "a node that does not say is no reason to stop"
    )


@pytest.mark.parametrize(
    ("asked", "most"),
    [
        ({}, None),  # a site may choose the partition by what a job asks for
        ({"partition": "cpu"}, (8, 32000, 120)),
        ({"partition": "cpu", "cpus": 8}, (8, 32000, 120)),
        ({"partition": "gpu"}, (4, 64000, 1440)),
        ({"partition": "cpu,gpu"}, (8, 64000, 1440)),
        ({"partition": "gpu", "cpus": 8}, (4, 64000, 1440)),
        ({"partition": "none"}, None),
    ],
)
def test_the_most_that_a_partition_gives(
    asked: dict[str, Any], most: tuple[int, int, int] | None
) -> None:
    assert site.most(asked, HERE) == dict(
        zip(("cpus", "mem_mb", "runtime"), most or (), strict=False)
    )


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [
        ("2:00:00", 120),
        ("1-00:00:00", 1440),
        ("1-12", 2160),
        ("30:00", 30),
        ("0:30", 0.5),
        ("45", 0.75),
    ],
)
def test_time_limits(limit: str, minutes: float) -> None:
    """A partition's limit would be read in another unit, and a job refused."""
    assert site.minutes(limit) == minutes


def test_no_time_limit() -> None:
    """A partition without a limit would cut the time of jobs."""
    assert site.minutes("infinite") == site.minutes("n/a") == float("inf")
