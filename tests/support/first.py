"""What `make first` needs, on an empty machine: servers of its images and weights, and a small
working copy.

Everything is as in config/first.yaml, but of each data set there are few images and texts, and the
model has random weights in its true architecture. The numbers mean nothing.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
import yaml
from safetensors.torch import save_file

from published import publish, serve_model
from web import Web, serve
from working_copy import REPO, Work, working_copy

FIRST = yaml.safe_load((REPO / "config/first.yaml").read_text(encoding="utf-8"))
REPOSITORY = "timm/vit_base_patch32_clip_224.openai"
# an hour would go into coarser searches, fewer texts and shots
SMALL = {
    "adapter": {"shots": [1], "seeds": [1], "betas": [0.1, 200, 20], "alphas": [0.1, 20, 10]},
    "evaluation": {
        **{"template_ensemble": False, "random_draws": 2},
        **{"tsne_images": 40, "text_counts": [1], "draws": 1},
    },
}


@dataclass(frozen=True)
class First:
    """A working copy in which nothing was run, and its servers."""

    work: Work
    web: Web

    @property
    def names(self) -> dict[str, str]:
        """The environment of its commands."""
        hub = {
            "HF_ENDPOINT": self.web.url,
            "HF_HOME": f"{self.work.folder}.hub",
            "HF_HUB_OFFLINE": "0",
        }
        return {**hub, "OPENAI_API_KEY": ""}

    def copy(self, folder: Path) -> First:
        """Another one, with the same servers and an own cache of weights."""
        shutil.copytree(self.work.folder, folder, symlinks=True)
        return First(_installed(Work(folder)), self.web)


@contextmanager
def first(folder: Path) -> Iterator[First]:
    """Below folder, as people have it after `make install`."""
    work = working_copy(folder / "copy", {})
    path = work.folder / "config/first.yaml"
    path.write_text(yaml.safe_dump({**FIRST, **SMALL}), encoding="utf-8")
    _fewer_texts(work.folder / "data/texts")
    (work.folder / ".venv").mkdir()
    (work.folder / ".venv/bin").symlink_to(Path(sys.executable).parent)
    with serve() as web:
        serve_model(REPOSITORY, _random_weights(folder / "weights"), web)
        for name in FIRST["datasets"]:
            publish(name, web, work, folder, 1)
        yield First(_installed(work), web)


def _installed(work: Work) -> Work:
    (work.folder / ".venv/installed").write_text(f"{work.folder}\n")
    return work


def _fewer_texts(folder: Path) -> None:
    """Two texts of each kind for a class, one for each side of a pair: encoding all of them takes
    minutes.
    """
    for name in FIRST["datasets"]:
        for path, entries, most in (
            (f"{name}.json", "classes", 2),
            (f"{name}.one_to_one.json", "pairs", 1),
        ):
            document = json.loads((folder / path).read_text(encoding="utf-8"))
            for entry in document[entries]:
                entry.update({k: v[:most] for k, v in entry.items() if isinstance(v, list)})
            (folder / path).write_text(json.dumps(document), encoding="utf-8")


def _random_weights(folder: Path) -> Path:
    """In half precision, as OpenAI's files are."""
    torch.manual_seed(0)
    state = open_clip.create_model(
        "ViT-B-32", load_weights=False, pretrained_text=False
    ).state_dict()
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    folder.mkdir()
    save_file({k: v.contiguous() for k, v in half.items()}, folder / "open_clip_model.safetensors")
    return folder
