"""Weights and data sets are fetched once, by the rule `prefetch` on the head; nodes ask nobody, though they could."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from cluster import Cluster
from cluster_run import Run, quicken
from trees import plant
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
        self.names = {"HF_ENDPOINT": self.web.url, "HF_HOME": f"{folder}/hub", "HF_HUB_OFFLINE": "0"}
        self.names |= {"CODER_CLIP_DATA": f"{folder}/data-sets"}

    def run(self, *arguments: str) -> Run:
        """Ended."""
        run = Run(self.work.folder, self.cluster, configfile=self.work.config, more=self.names)
        run.start(*arguments).wait()
        return run

    def stage(self) -> subprocess.CompletedProcess[str]:
        """What the rule calls."""
        return self.work.coder_clip("prefetch", "--config", self.work.config, check=False, **self.names)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Site]:
    from tiny import save_tiny  # not above: it imports open_clip, and every process looks for tests

    folder = tmp_path_factory.mktemp("staging")
    work = working_copy(folder / "copy", CONFIG)
    quicken(work.folder)
    with serve() as web:
        for file in save_tiny(folder / "tiny").iterdir():
            web.files[f"/org/tiny/resolve/main/{file.name}"] = file.read_bytes()
        web.files["/"] = b"a hub"
        web.headers["X-Repo-Commit"] = "0" * 40
        plant("eurosat", folder / "published", 3)
        tree = folder / "published/eurosat"
        with zipfile.ZipFile(folder / "EuroSAT.zip", "w") as archive:
            for path in sorted((tree / "2750").rglob("*.*")):
                archive.write(path, path.relative_to(tree))
        files = [folder / "EuroSAT.zip", tree / "split_zhou_EuroSAT.json"]
        entry = work.folder / "src/coder_clip/datasets/entries/eurosat.yaml"
        document = yaml.safe_load(entry.read_text())
        for download, file in zip(document["downloads"], files, strict=True):
            web.files[f"/{file.name}"] = file.read_bytes()
            checksum = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
            download.update(url=f"{web.url}/{file.name}", checksum=checksum)
        for rule in document["splits"]:
            rule.update(counts={"train": 30, "val": 30, "test": 30})
            rule.pop("fingerprints", None)
        entry.write_text(yaml.safe_dump(document, sort_keys=False))
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
    site.work.configure(lambda document: document["models"]["tiny"].update(model="hf-hub:org/absent"))
    failed = site.stage()
    assert failed.returncode == 1
    assert "hf-hub:org/absent: could not be fetched" in failed.stdout
    (line,) = [line for line in failed.stderr.splitlines() if line.startswith("coder-clip: error:")]
    assert line.endswith("not usable yet, see above: model tiny")
