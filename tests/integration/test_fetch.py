"""A run downloads what it needs: images and weights come from local servers, as part of the DAG."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from published import publish, serve_model
from web import Web, serve
from working_copy import Work, environment, working_copy

pytestmark = pytest.mark.rest

CONFIG: dict[str, Any] = {
    "data_root": "data/published",
    "fetch": True,
    "datasets": {
        "eurosat": {"texts": "names", "views": 1},
        "shapes": {"texts": "names", "few_shot": False},
    },
    "models": {"tiny": {"model": "hf-hub:org/tiny"}},
    "adapter": {"shots": [1], "seeds": [1]},
}
PLAN = """
import sys
from coder_clip.jobs import jobs
from coder_clip.pipeline.config import load_config
for job in jobs(load_config(sys.argv[1])):
    print(*job.outputs, *job.inputs)
"""
FEATURES = "results/image_features/tiny/eurosat/test.safetensors"


@dataclass
class Site:
    """A working copy on an empty machine, and a server with a data set and a model."""

    work: Work
    web: Web
    said: str = ""  # of the run that fetched everything

    def snakemake(self, *arguments: str, check: bool = True, **more: str) -> str:
        names = {
            "HF_ENDPOINT": self.web.url,
            "HF_HOME": f"{self.work.folder}/hub",
            "HF_HUB_OFFLINE": "0",
        }
        done = self.work.snakemake(*arguments, check=check, **{**names, **more})
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    from tiny import save_tiny  # not above: it imports open_clip, and every process looks for tests

    folder = tmp_path_factory.mktemp("fetch")
    work = working_copy(folder / "copy", CONFIG)
    with serve() as web:
        serve_model("org/tiny", save_tiny(folder / "tiny"), web)
        publish("eurosat", web, work, folder, 2)
        found = Site(work, web)
        found.said = found.snakemake(FEATURES)
        yield found


def test_what_is_missing_is_fetched_and_nothing_runs_again(site: Site) -> None:
    assert "download eurosat" in site.said
    assert "download the weights of tiny" in site.said
    site.snakemake(FEATURES)  # after what other tests removed
    assert (site.work.folder / "data/published/eurosat/2750").is_dir()
    assert not (site.work.folder / "data/published/.downloads").exists()
    asked = len(site.web.asked)
    assert "Nothing to be done" in site.snakemake(FEATURES)
    assert "Nothing to be done" in site.snakemake(FEATURES, CODER_CLIP_FETCH="0"), (
        "fetching is no input"
    )
    assert len(site.web.asked) == asked


def test_what_was_fetched_and_is_gone_is_fetched_again(site: Site) -> None:
    site.snakemake("manifest")
    shutil.rmtree(site.work.folder / "data/published")
    (site.work.folder / FEATURES).unlink(missing_ok=True)
    said = site.snakemake(FEATURES)
    assert "download eurosat" in said
    assert "images of eurosat" not in said, "the manifest is as it was"


def test_what_is_half_here_is_fetched_again(site: Site) -> None:
    """As after a download that was killed: the run that would mend it must not be stopped by what
    it mends.
    """
    site.snakemake(FEATURES)
    eurosat = site.work.folder / "data/published/eurosat"
    shutil.rmtree(eurosat / "2750/Forest")
    (eurosat / "split_zhou_EuroSAT.json").write_text("<html>")
    shutil.rmtree(site.work.folder / "results")
    assert "download eurosat" in site.snakemake("manifest")
    assert len(list((eurosat / "2750/Forest").iterdir())) == 6


def test_a_failed_download_stops_what_needs_it_and_nothing_else(site: Site) -> None:
    work = site.work.folder
    archive = "/eurosat/EuroSAT.zip"
    content = site.web.files[archive]
    site.web.files[archive] = content[:-1] + b"!"
    shutil.rmtree(work / "data/published")
    shutil.rmtree(work / "results")
    said = site.snakemake("manifest", check=False)
    assert "EuroSAT.zip: checksum" in said
    assert (work / "results/manifests/shapes.json").is_file()
    del site.web.files[archive]
    said = site.snakemake("manifest", check=False)
    assert "HTTP 404" in said
    assert "download eurosat" not in said, (
        "what a server refuses stops the run before its first job"
    )
    site.web.files[archive] = content
    site.snakemake("manifest")
    assert (work / "results/manifests/eurosat.json").is_file()


def test_without_fetch_the_run_does_not_start(site: Site, tmp_path: Path) -> None:
    said = site.snakemake(
        "manifest", "--forceall", check=False, CODER_CLIP_FETCH="0", CODER_CLIP_DATA=str(tmp_path)
    )
    assert "published data sets are not in" in said, said
    assert "coder-clip check" in said
    assert "not recorded" not in said, "a run that does not start has nothing to record"


def test_what_is_not_fetched_yet_is_no_part_of_a_record(site: Site) -> None:
    """A run that is stopped between two downloads records the phases that it finished."""
    shutil.rmtree(site.work.folder / "data/published", ignore_errors=True)
    said = subprocess.run(
        [sys.executable, "-c", PLAN, site.work.config],
        cwd=site.work.folder,
        env=environment(site.work.folder),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert FEATURES in said
    assert not [path for path in said if path.startswith(".snakemake")]


@pytest.mark.parametrize("how", ["another byte", "half of it"])
def test_damaged_weights_are_fetched_again(site: Site, how: str) -> None:
    hub = site.work.folder / "hub/hub/models--org--tiny"
    (blob,) = [p for p in (hub / "blobs").iterdir() if p.stat().st_size > 100_000]
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + b"!" if how == "another byte" else whole[: len(whole) // 2])
    names = {
        "HF_ENDPOINT": site.web.url,
        "HF_HOME": f"{site.work.folder}/hub",
        "HF_HUB_OFFLINE": "0",
    }
    config = ("--config", site.work.config)
    if how == "half of it":
        refused = site.work.coder_clip("check", *config, check=False, **names)
        assert (
            "'coder-clip prefetch' fetches it again if it is damaged"
            in refused.stdout + refused.stderr
        )
    done = site.work.coder_clip("prefetch", "--model", "tiny", *config, **names)
    assert "was damaged during download" in done.stdout
    (blob,) = [p for p in (hub / "blobs").iterdir() if p.stat().st_size > 100_000]
    assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
