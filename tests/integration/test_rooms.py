"""A room can be removed: without its folder everything else imports, plans and is tested.

Whoever changes one room reads that room and the names that it imports, and nobody must install what
he does not use.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import bare
from fixtures import TOLD
from working_copy import REPO, draw_marks

# The packages of each folder with sources, as modules are named.
SOURCES = {
    "src": ("coder_clip", "snakemake_logger_plugin_coder_clip"),
    "packages/coder-clip-photos/src": ("coder_clip_photos",),
    "packages/snakemake-executor-plugin-slurm-resilient/src": (
        "snakemake_executor_plugin_slurm_resilient",
    ),
    ".": ("benchmarks", "tools"),
}
# Of each folder and package that the arguments name.
IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
from pathlib import Path

failed = []
for folder, package in (line.split("=") for line in sys.argv[1:]):
    names = [package]
    places = [str(Path(folder, package))]
    names += [module.name for module in pkgutil.walk_packages(places, f"{package}.")]
    for name in names:
        if name.endswith("__main__"):
            continue
        try:
            importlib.import_module(name)
        except Exception as error:
            failed.append(f"{name}: {type(error).__name__}: {error}")
        else:
            print(name)
sys.exit("\\n".join(failed) or 0)
"""
MARKS: dict[str, Any] = {
    "title": "without drawn data sets",
    "datasets": {"marks": {"root": "photos/marks", "texts": "names"}},
    "models": ["mini"],
    "adapter": {"shots": [1], "seeds": [1, 2]},
}
ASKS: dict[str, Any] = {
    **MARKS,
    "datasets": {"marks": {"root": "photos/marks", "texts": {"attribute": "llm"}}},
    "generator": {"model": "gpt-4o-mini"},
}


@dataclass(frozen=True)
class Room:
    """A room, and what it takes with it.

    folders: what is removed. config: a configuration that does not need it. asked: a command for
    what it offers. says: what the answer begins with. skips: most unit tests that may be skipped
    because the program says that the room is not here; more of them show that code needs it that
    did not. None: they are not counted.
    """

    folders: tuple[str, ...]
    asked: tuple[str, ...]
    says: str
    config: str = "config/reproduce.yaml"
    skips: int | None = None


ROOMS = {
    "photos": Room(
        ("packages/coder-clip-photos",),
        ("classify", "photos", "--classes", "cat,dog"),
        "'classify' is not installed: pip install ./packages/coder-clip-photos",
    ),
    "Slurm": Room(
        ("packages/snakemake-executor-plugin-slurm-resilient",),
        ("check", "--profile", "slurm"),
        "the executor for Slurm is not installed: pip install ./packages/snakemake-executor-plugin",
    ),
    "language model": Room(
        ("src/coder_clip/texts/llm",),
        ("generate-texts", "--config", "config/asks.yaml"),
        "the source 'llm' of texts, a language model, is not here: 'git checkout src/coder_clip/",
        skips=5,
    ),
    # What trained the embedded model draws with the code of these data sets. The default needs
    # them: its configuration is refused.
    "drawn data sets": Room(
        ("src/coder_clip/datasets/drawn", "tools"),
        ("check",),
        "config/reproduce.yaml: datasets.rare: the code that "
        "draws 'rare' and 'shapes' is not here: ",
        config="config/marks.yaml",
    ),
    "preflight": Room(
        ("src/coder_clip/preflight",),
        ("check",),
        "the check before a run is not here: 'git checkout src/coder_clip/preflight'",
    ),
    "benchmarks": Room(
        ("benchmarks",),
        (),
        "",
    ),
    "tools": Room(("tools",), (), ""),
}


@dataclass(frozen=True)
class Copy:
    """The repository without a room, and an environment in which that room is not installed."""

    folder: Path
    environment: Path

    def sources(self) -> dict[str, tuple[str, ...]]:
        """Packages by their folder, as far as they are here."""
        found = {}
        for folder, names in SOURCES.items():
            found[folder] = tuple(name for name in names if (self.folder / folder / name).is_dir())
        return {folder: names for folder, names in found.items() if names}

    def python(self, *arguments: str, offline: str = "1") -> subprocess.CompletedProcess[str]:
        """Run Python in the copy, with the packages of the copy. offline: "0" for tests, which
        have servers of their own in place of the hub.
        """
        path = {
            # benchmarks are programs, which import what is beside them
            "PYTHONPATH": f"{self.folder}/benchmarks",
            "HF_HUB_OFFLINE": offline,
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.run(
            [str(self.environment / "env/bin/python"), *arguments],
            cwd=self.folder,
            env={**bare.environment(self.environment), **path},
            capture_output=True,
            text=True,
        )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository as Git has it, with two more configurations."""
    folder = tmp_path_factory.mktemp("whole") / "copy"
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=REPO, capture_output=True, check=True
    )
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        if (REPO / name).is_file() or (REPO / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, folder / name, follow_symlinks=False)
    for name, document in (("marks", MARKS), ("asks", ASKS)):
        (folder / f"config/{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    draw_marks(folder / "photos/marks")
    manifest = {"classes": ["red_disc", "blue_disc"]}
    (folder / "results/manifests").mkdir(parents=True)
    (folder / "results/manifests/marks.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[] if room.asked else pytest.mark.rest)
        for name, room in ROOMS.items()
    ],
)
def removed(
    request: pytest.FixtureRequest, whole: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Room, Copy]:
    """The room, and the repository without it."""
    room = ROOMS[request.param]
    folder = tmp_path_factory.mktemp("removed")
    subprocess.run(["cp", "-a", str(whole), str(folder / "copy")], check=True)
    for name in room.folders:
        shutil.rmtree(folder / "copy" / name)
    known = {package for names in SOURCES.values() for package in names}
    for name in room.folders:
        known -= set(SOURCES.get(f"{name}/src", ()))
    copy = Copy(folder / "copy", folder)
    bare.make(folder, known, [copy.folder / source for source in copy.sources()])
    return room, copy


@pytest.mark.rest
def test_everything_else_imports(removed: tuple[Room, Copy]) -> None:
    """A module that imports a room at its top makes it necessary for all who import that module."""
    _, copy = removed
    pairs = [f"{folder}={package}" for folder, names in copy.sources().items() for package in names]
    done = copy.python("-c", IMPORT_EVERYTHING, *pairs)
    assert done.returncode == 0, done.stderr
    imported = done.stdout.split()
    assert len(imported) > 150
    assert "coder_clip.phases.adapter" in imported


def test_who_asks_for_it_gets_one_line(removed: tuple[Room, Copy]) -> None:
    """A traceback says nothing about what to install."""
    room, copy = removed
    if not room.asked:
        pytest.skip("it offers no command")
    said = copy.python("-m", "coder_clip.cli", *room.asked)
    assert said.returncode == 1, said.stdout
    lines = [line for line in said.stderr.splitlines() if line]
    assert lines[-1].startswith(f"coder-clip: error: {room.says}"), said.stderr
    assert len(lines) == 1, said.stderr


@pytest.mark.rest
def test_a_run_that_does_not_need_it_is_planned(removed: tuple[Room, Copy]) -> None:
    """Rules and configuration must not name what is not here."""
    room, copy = removed
    planned = copy.python("-m", "snakemake", "-n", "--cores", "1", "--configfile", room.config)
    assert planned.returncode == 0, planned.stdout[-2000:] + planned.stderr[-2000:]
    assert "fit_adapters" in planned.stdout + planned.stderr


@pytest.mark.rest
def test_jobs_that_may_be_on_a_cluster_are_not_made_twice(removed: tuple[Room, Copy]) -> None:
    """A run here and a job there would write the same files, and nobody would see it."""
    room, copy = removed
    if room is not ROOMS["Slurm"]:
        pytest.skip("only the executor knows these jobs")
    journal = copy.folder / ".snakemake/slurm-resilient/jobs/head.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_text("{}\n")
    run = ("-m", "snakemake", "--cores", "1", "--configfile", room.config)
    said = copy.python(*run)
    journal.unlink()
    assert said.returncode != 0
    assert "jobs of an earlier run of this folder may be on a Slurm cluster" in said.stderr
    assert "pip install ./packages/snakemake-executor-plugin-slurm-resilient" in said.stderr
    assert not (copy.folder / "results/manifests/rare.json").exists(), "no job ran"


@pytest.mark.proof
def test_all_other_unit_tests_pass(removed: tuple[Room, Copy]) -> None:
    """Tests of a removed room go with it, or are skipped because the program says that it is not
    here (tests/conftest.py); no other test needs it.

    The skipped are counted where their number is known, because code that needs the room by mistake
    says the same. A room takes as long as `make test-unit` in one process: eight minutes on two
    busy cores, so all seven about an hour.
    """
    room, copy = removed
    of_packages = ["packages"] if (copy.folder / "packages").is_dir() else []
    # -rsfE: the skipped, which are counted, and at the end the names of what failed
    shown = ("-q", "-rsfE", "--tb=short")
    options = (*shown, "-m", "not rest and not proof", "-p", "no:cacheprovider")
    tested = copy.python("-m", "pytest", *options, "tests/unit", *of_packages, offline="0")
    assert tested.returncode == 0, tested.stdout[-5000:] + tested.stderr[-2000:]
    skipped = re.findall(rf"^SKIPPED \[(\d+)\] .*{TOLD}$", tested.stdout, re.MULTILINE)
    if room.skips is not None:
        assert sum(map(int, skipped)) <= room.skips, tested.stdout[-20000:]
    passed = re.search(r"(\d+) passed", tested.stdout)
    assert passed, tested.stdout
    assert int(passed[1]) > 1500, "most of them need no such room"
