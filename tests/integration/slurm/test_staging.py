"""Weights and data sets are fetched once, by the rule `prefetch` on the head; nodes ask nobody,
though they could.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from cluster import Cluster
from cluster_run import Run, quicken
from published import publish, serve_model
from web import Web, serve
from working_copy import Work, working_copy

pytestmark = pytest.mark.rest

CONFIG: dict[str, Any] = {
    "datasets": {"eurosat": {"texts": "names"}},
    "models": {"tiny": {"model": "hf-hub:org/tiny"}},
    "adapter": {"shots": [1], "seeds": [1]},
}
FEATURES = "results/image_features/tiny/eurosat/test.safetensors"


@dataclass
class Site:
    """A working copy, a hub and a download server in one, and a cluster whose nodes reach both."""

    work: Work
    web: Web
    cluster: Cluster

    def __post_init__(self) -> None:
        folder = self.work.folder
        self.names = {
            "HF_ENDPOINT": self.web.url,
            "HF_HOME": f"{folder}/hub",
            "HF_HUB_OFFLINE": "0",
        }
        self.names |= {"CODER_CLIP_DATA": f"{folder}/data-sets"}

    def run(self, *arguments: str) -> Run:
        """Ended."""
        run = Run(self.work.folder, self.cluster, configfile=self.work.config, more=self.names)
        run.start(*arguments).wait()
        return run

    def stage(self) -> subprocess.CompletedProcess[str]:
        """What the rule calls."""
        return self.work.coder_clip(
            "prefetch", "--config", self.work.config, check=False, **self.names
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Site]:
    from tiny import save_tiny  # not above: it imports open_clip, and every process looks for tests

    folder = tmp_path_factory.mktemp("staging")
    work = working_copy(folder / "copy", CONFIG)
    quicken(work.folder)
    with serve() as web:
        serve_model("org/tiny", save_tiny(folder / "tiny"), web)
        publish("eurosat", web, work, folder, 3)
        yield Site(work, web, cluster)
    cluster.cancel_all()


def test_stage_fetches_on_the_head_once_and_nodes_need_no_network(site: Site) -> None:
    before = site.cluster.jobs()
    staged = site.run("prefetch")
    assert staged.status == 0, staged.said()
    log = (site.work.folder / "results/logs/prefetch.log").read_text()
    assert "model tiny: hf-hub:org/tiny is here" in log
    assert "eurosat: complete" in log
    assert site.cluster.jobs() == before, "a job on a node"
    assert "record" not in staged.said(), "no phase was asked for"
    asked = len(site.web.asked)
    assert asked > 4

    assert site.stage().returncode == 0
    assert len(site.web.asked) == asked, "it was all there"

    encoded = site.run(FEATURES)
    assert encoded.status == 0, encoded.said()
    assert len(site.cluster.jobs()) == len(before) + 2
    assert len(site.web.asked) == asked

    os.unlink(site.work.folder / FEATURES)
    shutil.rmtree(site.work.folder / "hub")
    failed = site.run(FEATURES, "--retries", "0")
    assert failed.status == 1
    assert "offline mode is on" in failed.said()
    assert "'coder-clip prefetch' on the head node" in failed.said()
    assert len(site.web.asked) == asked, "a node asked the hub"


def test_what_cannot_be_staged_is_told(site: Site) -> None:
    site.work.configure(
        lambda document: document["models"]["tiny"].update(model="hf-hub:org/absent")
    )
    failed = site.stage()
    assert failed.returncode == 1
    assert "has no org/absent (HTTP 404): compare the name" in failed.stdout
    (line,) = [line for line in failed.stderr.splitlines() if line.startswith("coder-clip: error:")]
    assert line.endswith("not usable yet, see above: model tiny")
