"""The true EuroSAT from a local server, whole or a part of every class, with CoOp's split.

    python tests/support/eurosat.py FOLDER

makes all 27,000 images to the report in a new FOLDER, and prints the times of phases.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import yaml

from web import Web, serve
from working_copy import REPO, Work, working_copy

ENTRY = "src/coder_clip/datasets/entries/eurosat.yaml"


def serve_eurosat(shared: Path, web: Web, work: Work, per_class: int | None = None) -> None:
    """The archive with its outer folder as in the original, and the split file; the entry names
    this server.

    per_class: images of each class and split; None: all, with the published counts and
    fingerprints."""
    splits = json.loads(
        (shared / "data/splits/split_zhou_EuroSAT.json").read_text(encoding="utf-8")
    )
    if per_class:
        for split, rows in splits.items():
            of_class: dict[int, list[Any]] = {}
            for row in rows:
                of_class.setdefault(row[1], []).append(row)
            splits[split] = [row for some in of_class.values() for row in some[:per_class]]
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(shared / "data/eurosat/EuroSAT_RGB.zip") as true,
        zipfile.ZipFile(stream, "w") as served,
    ):
        for rows in splits.values():
            for name, *_ in rows:
                served.writestr(f"2750/{name}", true.read(f"EuroSAT_RGB/{name}"))
    web.files["/EuroSAT.zip"] = stream.getvalue()
    lists = (shared / "data/splits/split_zhou_EuroSAT.json").read_bytes()
    web.files["/split_zhou_EuroSAT.json"] = json.dumps(splits).encode() if per_class else lists
    document = yaml.safe_load((work.folder / ENTRY).read_text(encoding="utf-8"))
    for download, file in zip(document["downloads"], web.files, strict=True):
        download.update(url=web.url + file, mirrors=[])
        if file.endswith(".zip") or per_class:
            download["checksum"] = f"sha256:{hashlib.sha256(web.files[file]).hexdigest()}"
    if per_class:
        for rule in document["splits"]:
            rule.update(counts={split: len(rows) for split, rows in splits.items()})
            rule.pop("fingerprints", None)
    (work.folder / ENTRY).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def configuration(shared: Path, **adapter: Any) -> dict[str, Any]:
    """EuroSAT with the texts that come with this project, and the stand-in encoder."""
    return {
        "title": "EuroSAT",
        "data_root": "data/published",
        "fetch": True,
        "datasets": {"eurosat": {"views": 2}},
        "models": {"lite0": {"model": f"local-dir:{shared}/models/lite0-minilm"}},
        "adapter": adapter,
    }


def whole(folder: Path, shared: Path) -> None:
    work = working_copy(folder / "copy", configuration(shared, shots=[1, 16], seeds=[1, 2, 3]))
    with serve() as web:
        serve_eurosat(shared, web, work)
        began = time.monotonic()
        done = work.snakemake(check=False)
        print(done.stdout[-3000:], done.stderr[-6000:], sep="\n")
        print(f"{time.monotonic() - began:.0f} s in all, status {done.returncode}")
    print(work.coder_clip("data", "check", "eurosat", "--config", work.config, check=False).stdout)


if __name__ == "__main__":
    whole(Path(sys.argv[1]), Path(os.environ.get("CODER_CLIP_SHARED", REPO.parent / "shared")))
