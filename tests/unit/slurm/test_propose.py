"""The profile that is proposed for a site: its partitions, account and GPUs, and no marks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip(
    "snakemake_executor_plugin_slurm_resilient", reason="the executor for Slurm is not installed"
)
from coder_clip.slurm.propose import fitted
from snakemake_executor_plugin_slurm_resilient import site
from snakemake_executor_plugin_slurm_resilient.site import Account, Site

ROWS = """\
short*|1:00:00|16000|4|n1|(null)
long|7-00:00:00|16000|4|n2|(null)
a100|1-00:00:00|64000|4|g1|gpu:a100:2,gpu:1g.10gb:7
old|1-00:00:00|64000|4|g2|gpu:k80:1
"""
LAB = Account("lab", submit=50)


def proposed(repo: Path, here: Site) -> tuple[str, dict[str, Any]]:
    text, _ = fitted((repo / "workflow/profiles/slurm/config.yaml").read_text(), here)
    return text, yaml.safe_load(text)


def test_the_lines_of_a_site_get_its_values(repo: Path) -> None:
    """Else a person looks up each of them, and the first run ends in refusals."""
    here = Site(site.parse_partitions(ROWS), accounts=(LAB, Account("other")))
    text, profile = proposed(repo, here)
    assert profile["default-resources"]["slurm_partition"] == "short"
    assert profile["default-resources"]["slurm_account"] == "lab"
    assert profile["jobs"] == 50
    for rule, resources in profile["set-resources"].items():
        assert resources == {"slurm_partition": "a100", "gpu": 1, "gpu_model": "a100"}, rule
    assert "SITE" not in text
    named = [line for line in text.splitlines() if "check --profile" in line]
    assert len(named) == 1, "its head names the command that checks it"
    assert "check --profile site'" in named[0]


def test_a_site_without_gpus_and_database(repo: Path) -> None:
    here = Site(site.parse_partitions(ROWS[: ROWS.index("a100|")]))
    _, profile = proposed(repo, here)
    assert "set-resources" not in profile
    assert not [group for group in profile["groups"] if group.startswith("encode_")]
    assert "slurm_account" not in profile["default-resources"]


def test_gpus_of_one_type_are_asked_for_without_a_name(repo: Path) -> None:
    """Any will do, and the job waits less."""
    _, profile = proposed(repo, Site(site.parse_partitions("g*|1:00:00|9|4|g1|gpu:h100:2(S:0)")))
    assert profile["set-resources"]["encode_texts"] == {"slurm_partition": "g", "gpu": 1}
    assert profile["default-resources"]["slurm_partition"] == "g"
