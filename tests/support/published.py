"""Published data sets as their servers have them, archives in the true layouts, and a hub of
weights.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import yaml

from archives import PUBLISHED_ARCHIVES, pack
from coder_clip.datasets.entry import entry
from coder_clip.encoders.hub import ANY
from trees import plant
from web import Web
from working_copy import Work


def publish(name: str, web: Web, work: Work, folder: Path, images: int) -> None:
    """Serve a small tree of the data set; the working copy's entry names this server, its sums and
    counts.
    """
    made = folder / "made"
    counts = {split: len(rows) for split, rows in plant(name, made, images).items()}
    path = work.folder / f"src/coder_clip/datasets/entries/{name}.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    for download in document["downloads"]:
        file = download["url"].rsplit("/", 1)[-1]
        inside = PUBLISHED_ARCHIVES[name].get(file)
        source = (
            pack(folder / file, made, inside) if inside else made / entry(name).folders[0] / file
        )
        web.files[f"/{name}/{file}"] = source.read_bytes()
        checksum = f"sha256:{hashlib.sha256(source.read_bytes()).hexdigest()}"
        download.update(url=f"{web.url}/{name}/{file}", checksum=checksum, mirrors=[])
    for rule in document["splits"]:
        rule.update(counts=counts)
        rule.pop("fingerprints", None)
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def serve_model(repository: str, folder: Path, web: Web) -> None:
    """Serve the files of a model as the Hugging Face hub does."""
    for file in folder.iterdir():
        web.files[f"/{repository}/resolve/main/{file.name}"] = file.read_bytes()
    # repositories of open_clip's models have the first, many others the second
    for name in ("open_clip_config.json", ANY):
        web.files.setdefault(f"/{repository}/resolve/main/{name}", b"{}")
    web.files["/"] = b"a hub"
    web.headers["X-Repo-Commit"] = "0" * 40
