"""What a site says of itself, read: sinfo, scontrol and sacctmgr of Slurm 24.11."""

from __future__ import annotations

from typing import Any

import pytest

from snakemake_executor_plugin_slurm_resilient import site
from snakemake_executor_plugin_slurm_resilient.site import Limits, Site

SINFO = """\
CLUSTER: here
cpu*|2:00:00|16000|4|n1|(null)
cpu*|2:00:00|32000+|8|n2|(null)
gpu|1-00:00:00|64000|4|g1|gpu:h100:2(S:0-1),lscratch:1000
gpu|1-00:00:00|n/a|4|g2|gpu:1g.10gb:7
small|infinite|64000|16|n3|(null)
"""
SCONTROL = """\
PartitionName=cpu AllowGroups=ALL QoS=N/A MaxCPUsPerNode=UNLIMITED MaxMemPerNode=UNLIMITED
PartitionName=gpu AllowGroups=ALL QoS=on-gpu MaxCPUsPerNode=UNLIMITED MaxMemPerNode=48000
PartitionName=small QoS=N/A MaxCPUsPerNode=4 DefMemPerCPU=500 MaxMemPerCPU=2000
"""
QOS = "normal||\non-gpu|12:00:00|cpu=2,gres/gpu=1\nshort|00:30:00|mem=4G\n"
ACCOUNTS = "other||||cpu=1\nlab||normal|1-00:00:00|\nlab|small|short||\n"
HERE = Site(
    site.parse_partitions(SINFO, SCONTROL),
    site.parse_qos(QOS),
    site.parse_accounts(ACCOUNTS, "lab"),
)


def test_partitions() -> None:
    """A job would be asked for more than any node of its partition has."""
    assert list(HERE.partitions) == ["cpu", "gpu", "small"]
    assert [p.name for p in HERE.partitions.values() if p.default] == ["cpu"]
    nodes = HERE.partitions["cpu"].nodes
    assert [(n.name, n.memory, n.cpus) for n in nodes] == [("n1", 16000, 4), ("n2", 32000, 8)]
    assert HERE.partitions["gpu"].nodes[1].memory == 0, "a node that does not say is not a reason"
    assert HERE.partitions["gpu"].qos == "on-gpu"


@pytest.mark.parametrize(
    ("asked", "most"),
    [
        # without a name a site may choose the partition: what limits the account holds anywhere
        ({}, {"runtime": 1440}),
        ({"partition": "cpu"}, {"cpus": 8, "mem_mb": 32000, "runtime": 120}),
        ({"partition": "cpu", "cpus": 8}, {"cpus": 8, "mem_mb": 32000, "runtime": 120}),
        # MaxMemPerNode, and the QOS of the partition
        ({"partition": "gpu"}, {"cpus": 2, "mem_mb": 48000, "runtime": 720}),
        # MaxCPUsPerNode and MaxMemPerCPU; the QOS of the account there
        ({"partition": "small", "account": "lab"}, {"cpus": 4, "mem_mb": 4096, "runtime": 30}),
        ({"partition": "small", "qos": "normal"}, {"cpus": 4, "mem_mb": 8000}),
        ({"partition": "cpu", "account": "other"}, {"cpus": 1, "mem_mb": 32000, "runtime": 120}),
        ({"partition": "none"}, {"runtime": 1440}),
    ],
)
def test_the_most_that_a_job_can_get(asked: dict[str, Any], most: dict[str, float]) -> None:
    """Else a retry with more memory is refused for good, where it could have had a little more."""
    assert HERE.most(asked) == most


def test_a_site_that_says_nothing_limits_nothing() -> None:
    assert Site().most({"partition": "cpu", "qos": "x", "account": "y"}) == {}
    assert Site().nodes({"partition": "cpu"}) == []


def test_what_one_job_can_have_on_each_node() -> None:
    assert HERE.nodes({"partition": "cpu"}) == [(16000, 4), (32000, 8)]
    assert HERE.nodes({"partition": "gpu"}) == [(48000, 4)]
    assert HERE.nodes({"partition": "small"}) == [(8000, 4)]


@pytest.mark.parametrize(
    ("asked", "partition"),
    [
        ({"mem_mb": 2000, "runtime": 30}, "cpu"),
        ({"mem_mb": 2000, "runtime": 300}, "small"),  # longer than the default one allows
        ({"cpus": 2, "gpu": 1}, "gpu"),
        ({"gpu_model": "h100"}, "gpu"),
        ({"gpu_model": "a100"}, None),  # Slurm says why there is none
        ({"mem_mb": 999_999}, None),
        ({"mem_mb": "<TBD>"}, "cpu"),
    ],
)
def test_a_partition_is_chosen_by_what_a_job_asks_for(
    asked: dict[str, Any], partition: str | None
) -> None:
    """Else each rule of a workflow has to be fitted to the partitions of each site by hand."""
    assert HERE.placed({**asked, "partition": "auto"}).get("partition") == partition
    assert HERE.placed({**asked, "partition": "gpu"})["partition"] == "gpu"


@pytest.mark.parametrize(
    ("gres", "found"),
    [
        ("(null)", {}),
        ("gpu:2", {"": 2}),
        ("gpu:h100:2(S:0-1)", {"h100": 2}),
        ("gpu:a100:2,gpu:1g.10gb:7(S:0),lscratch:1000", {"a100": 2, "1g.10gb": 7}),
        ("lscratch:10,gpu:a100_3g.20gb:4", {"a100_3g.20gb": 4}),
        ("craynetwork:4", {}),
    ],
)
def test_gpus_and_their_slices(gres: str, found: dict[str, int]) -> None:
    assert site.gpus(gres) == found


def test_the_smaller_limit_counts() -> None:
    assert Limits(cpus=4, mem_mb=10).within(Limits(cpus=2, runtime=5)) == Limits(2, 10, 5)


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
