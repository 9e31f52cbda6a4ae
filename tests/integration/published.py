"""Published data sets as their servers have them, archives in the true layouts, and a hub of weights."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from pathlib import Path

import yaml
from working_copy import Work

from coder_clip.datasets.entry import entry
from trees import plant
from web import Web

# for each archive: where the planted tree has what is in it, and where the archive has it
ARCHIVES: dict[str, dict[str, list[tuple[str, str]]]] = {
    "eurosat": {"EuroSAT.zip": [("eurosat/2750", "2750")]},
    "dtd": {"dtd-r1.0.1.tar.gz": [("dtd/images", "dtd/images"), ("dtd/labels", "dtd/labels")]},
    "oxford_pets": {
        "images.tar.gz": [("oxford_pets/images", "images")],
        "annotations.tar.gz": [("oxford_pets/annotations", "annotations")],
    },
}


def pack(archive: Path, made: Path, members: list[tuple[str, str]]) -> Path:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            for source, inside in members:
                for path in sorted((made / source).rglob("*.*")):
                    file.write(path, Path(inside, path.relative_to(made / source)))
    else:
        with tarfile.open(archive, "w:gz", dereference=True) as tar:
            for source, inside in members:
                tar.add(made / source, inside)
    return archive


def publish(name: str, web: Web, work: Work, folder: Path, images: int) -> None:
    """Serve a small tree of the data set; the working copy's entry names this server, its sums and counts."""
    made = folder / "made"
    counts = {split: len(rows) for split, rows in plant(name, made, images).items()}
    path = work.folder / f"src/coder_clip/datasets/entries/{name}.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    for download in document["downloads"]:
        file = download["url"].rsplit("/", 1)[-1]
        inside = ARCHIVES[name].get(file)
        source = pack(folder / file, made, inside) if inside else made / entry(name).folders[0] / file
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
    web.files["/"] = b"a hub"
    web.headers["X-Repo-Commit"] = "0" * 40
