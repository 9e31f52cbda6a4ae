"""Runs of the real Snakemake and the real command line, in copies of the repository that nobody
misses.

A working copy holds what git tracks or would track, so a person's results and environment are never
touched; its own package comes first on PYTHONPATH, so editing a source file there is a real edit.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image, ImageDraw

from warm import warm

REPO = Path(__file__).resolve().parents[2]

SMALL: dict[str, Any] = {
    "title": "test",
    "datasets": {
        "shapes": {"views": 2},
        "marks": {"root": "photos/marks", "texts": "photos/marks.json", "views": 2},
    },
    "models": ["mini"],
    "features": {"batch_size": 32},
    "adapter": {"shots": [1, 2], "seeds": [1, 2], "betas": [0.1, 200, 20], "alphas": [0.1, 20, 10]},
    "evaluation": {
        "tsne_images": 60,
        "text_counts": [1, 2],
        "draws": 2,
        "random_draws": 2,
    },
}
PHASES = (
    *(
        "manifest",
        "generate-texts",
        "texts",
        "image-features",
        "text-features",
        "coder",
        "zero-shot",
    ),
    *("confusable-pairs", "generate-pairs", "pair-texts", "pair-features", "rerank", "adapter"),
    *("evaluation", "claims"),
)
REPORT = ("table", "figure", "report")
SOURCES = (
    "src",
    "packages/coder-clip-photos/src",
    "packages/snakemake-executor-plugin-slurm-resilient/src",
)
NOT_COPIED = ("tests/", "docs/", "benchmarks/", "results/", "dvc.lock")  # nothing made before
EVERY_JOB = """
import json, os, sys, traceback
from dataclasses import asdict
import matplotlib.pyplot, numpy, open_clip, pandas, scipy.stats, sklearn, torch
sys.path.insert(0, os.path.abspath("src"))
sys.path_importer_cache.clear()
def child(act, *given):
    reading, writing = os.pipe()
    if os.fork() == 0:
        code = 1
        try:
            with open(writing, "w") as stream:
                stream.write(act(*given) or "")
            code = 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    os.close(writing)
    with open(reading) as stream:
        said = stream.read()
    if os.wait()[1]:
        sys.exit("a job failed")
    return said
def listed(config):
    from coder_clip import jobs
    from coder_clip.pipeline.config import load_config
    known = load_config(config)
    folder = str(known.results / jobs.RECORDS)
    return json.dumps([(folder, json.dumps(asdict(job))) for job in jobs.jobs(known)])
def made(folder, job):
    from coder_clip.rerun import run
    run.main(folder, job)
for folder, job in json.loads(child(listed, sys.argv[1])):
    child(made, folder, job)
"""
FEW = {"train": 16, "val": 6, "test": 12}
MARKS = {"red_disc": "red", "blue_disc": "blue", "green_disc": "green"}
_SHAPES = yaml.safe_load((REPO / "config/reproduce.yaml").read_text())["datasets"]["shapes"]
SHAPES_ALONE: dict[str, Any] = {  # every key of config/reproduce.yaml, one data set, small numbers
    "title": "shapes alone",
    "note": "",
    "results": "results",
    "datasets": {"shapes": {**_SHAPES, "views": 1}},
    "models": ["mini"],
    "settings": ["as_published", "corrected", "clean"],
    "features": {"batch_size": 64, "threads": 1, "shards": 1, "on_error": "fail"},
    "rerank": {"top_k": 5, "thresholds": [0.0, 0.1, 1.0]},
    "adapter": {
        "methods": ["tip_adapter", "coder_adapter"],
        "shots": [1],
        "seeds": [1, 2],
        "repeat_shots": False,
        "betas": [0.1, 200, 10],
        "alphas": [0.1, 20, 5],
        "rounds": 2,
    },
    "evaluation": {
        "seed": 0,
        "template_ensemble": True,
        "random_draws": 2,
        "text_counts": [1],
        "draws": 1,
        "neighbors": 5,
        "tsne_images": 40,
        "corrections": 1,
    },
    "generator": None,
}


@cache
def programs() -> Path:
    """Snakemake, coder-clip and Python for working copies, without the seconds in which they only
    import what is not this project's. They end with this process.
    """
    opened = contextlib.ExitStack()
    folder = opened.enter_context(tempfile.TemporaryDirectory())
    atexit.register(opened.close)
    return opened.enter_context(warm(Path(folder) / "bin", fresh=True))


def python_path(folder: Path) -> str:
    """Imports the packages of this copy of the repository, not the installed ones."""
    return os.pathsep.join(str(folder / part) for part in SOURCES)


def environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {
        **{
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("SNAKEMAKE", "PYTEST", "PYTHON"))
        },
        "PATH": path,
        "PYTHONPATH": python_path(folder),
        "HF_HUB_OFFLINE": "1",
        "XDG_CACHE_HOME": str(folder / ".cache"),
        "XDG_STATE_HOME": str(folder / ".cache/state"),
        # not each copy's own, which would list the machine's fonts anew
        "MPLCONFIGDIR": str(Path.home() / ".cache/matplotlib"),
    }


def snakemake_logs(folder: Path) -> set[Path]:
    return set((folder / ".snakemake/log").glob("*.snakemake.log"))


@dataclass(frozen=True)
class Work:
    """A working copy."""

    folder: Path
    config: str = "config/test.yaml"

    def run(
        self, *command: str | Path, check: bool = True, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, its programs as those of `programs`. more: of the
        environment; where libraries may read it when they are imported, programs start from
        nothing.
        """
        started, names = [*map(str, command)], {**environment(self.folder), **more}
        if all(name.startswith("CODER_CLIP") for name in more):
            names["PATH"] = f"{programs()}{os.pathsep}{names['PATH']}"
            if started[0] == sys.executable:
                started[0] = str(programs() / "python")
        done = subprocess.run(
            started,
            cwd=self.folder,
            env=names,
            capture_output=True,
            text=True,
        )
        if check and done.returncode:
            pytest.fail(
                f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
            )
        return done

    def snakemake_command(self, *arguments: str) -> list[str]:
        profile = ["--profile", "workflow/profiles/default"]
        return [
            sys.executable,
            "-m",
            "snakemake",
            *arguments,
            *profile,
            "--configfile",
            self.config,
        ]

    def snakemake(
        self, *arguments: str, check: bool = True, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """A run. Its output is followed by its own log, which tells every job."""
        before = snakemake_logs(self.folder)
        done = self.run(*self.snakemake_command(*arguments), check=check, **more)
        logs = sorted(snakemake_logs(self.folder) - before)
        done.stdout += "".join(log.read_text(encoding="utf-8") for log in logs)
        return done

    def coder_clip(
        self, *arguments: str | Path, check: bool = True, **more: str
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "coder_clip.cli", *arguments]
        return self.run(*command, check=check, **more)

    def make(self, **more: str) -> None:
        """Everything, as a run of Snakemake leaves it but for logs and times: each of its sixty
        jobs starts Python, while these are forks of one process that has imported libraries.
        """
        self.run(
            sys.executable, "-c", EVERY_JOB, self.config, CODER_CLIP_CONFIG=self.config, **more
        )

    def commands(self, *names: str, **more: str) -> None:
        """These commands of the command line one after the other, in one process: each start would
        import torch.
        """
        self.run(*self.in_one_process(*names), **more)

    def in_one_process(self, *names: str) -> list[str]:
        code = (
            "import sys; from coder_clip.cli import app\n"
            "for name in sys.argv[2:]:\n"
            "    if code := app([name, '--config', sys.argv[1]], "
            "standalone_mode=False): sys.exit(code)"
        )
        return [sys.executable, "-c", code, self.config, *names]

    def planned(self) -> dict[str, int]:
        """Rules that the next run would run, and how often; groups of targets left out."""
        command = [sys.executable, "-m", "snakemake", "--configfile", self.config]
        done = self.run(*command, "--dry-run", "--cores", "1", "--rerun-incomplete")
        said = done.stdout + done.stderr
        rows = re.search(r"^job +count\n-+ +-+\n((?:\w+ +\d+\n)+)", said, flags=re.M)
        if rows is None:
            assert "Nothing to be done" in said, said
            return {}
        counts = {rule: int(n) for rule, n in (row.split() for row in rows[1].splitlines())}
        return {
            r: n
            for r, n in counts.items()
            if r not in ("total", "all", "rerank", "adapter", "evaluation")
        }

    def configure(self, change: Callable[..., object], **values: Any) -> None:
        """Change the configuration file in place: the function gets its document, and the values."""
        path = self.folder / self.config
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        change(document, **values)
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")

    def hashes(self, kind: str = "sha256") -> dict[str, str]:
        """sha256, or another hash, of every artefact; logs, timings, certificates and the machine
        are about the run.
        """
        root = self.folder / "results"
        passing = (".snakemake_timestamp", "environment.json")
        files = (p for p in root.rglob("*") if p.is_file() and p.name not in passing)
        return {
            name: hashlib.new(kind, p.read_bytes(), usedforsecurity=False).hexdigest()
            for p in sorted(files)
            if {"logs", "benchmarks", "certificates"}.isdisjoint(
                (name := p.relative_to(root).as_posix()).split("/")
            )
        }


def working_copy(folder: Path, document: dict[str, Any]) -> Work:
    """A copy of the repository with its own configuration, photos and text set."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=REPO, capture_output=True, check=True
    )
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        source, target = REPO / name, folder / name
        if (source.is_file() or source.is_symlink()) and not name.startswith(NOT_COPIED):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=not source.is_dir())
    draw_marks(folder / "photos/marks")
    texts = [
        {"name": n.replace("_", " "), "attribute": [f"a {c} round spot"]} for n, c in MARKS.items()
    ]
    (folder / "photos/marks.json").write_text(
        json.dumps({"format": 1, "dataset": "marks", "classes": texts}, indent=1)
    )
    (folder / "config/test.yaml").write_text(
        yaml.safe_dump(document, sort_keys=False), encoding="utf-8"
    )
    return Work(folder)


def changed(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy of a configuration; the keys of what changes are written with "__" for dots."""
    new: dict[str, Any] = json.loads(json.dumps(document))
    for path, value in changes.items():
        *sections, key = path.split("__")
        section = new
        for name in sections:
            section = section.setdefault(name, {})
        section[key] = value
    return new


def few_pictures(folder: Path) -> None:
    """Leave few embedded pictures in a working copy; 16 training pictures are enough for every
    number of shots.
    """
    for split, kept in FEW.items():
        for class_folder in folder.glob(f"data/embedded/*/{split}/*"):
            for picture in sorted(class_folder.iterdir())[kept:]:
                picture.unlink()


def draw_marks(root: Path, images: int = 12) -> None:
    """A folder of class folders: discs of three colours. No two are near twins, because each is at
    another place.
    """
    for name, colour in MARKS.items():
        (root / name).mkdir(parents=True)
        for i in range(images):
            picture = Image.new("RGB", (40, 40), (200 + i, 200, 200))
            left, top = 9 * (i % 4), 12 * (i // 4 % 3)
            ImageDraw.Draw(picture).ellipse((left, top, left + 12 + i % 3, top + 14), fill=colour)
            picture.save(root / name / f"{i:02d}.png")


def duplicate(work: Work, folder: Path) -> Work:
    """A copy of a working copy: results, times and Snakemake's records."""
    subprocess.run(["cp", "-a", "--reflink=auto", f"{work.folder}/.", str(folder)], check=True)
    return Work(folder, work.config)
