"""A toy project in a temporary Git and DVC repository, and what Snakemake and DVC say about it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TOY = ROOT / "tests/integration/tracking/toy"
JOB = re.compile(r"^\s*(?:local)?(?:rule|checkpoint) (\w+):", re.M)


class Project:
    """One working copy. Commands run in it with the environment that a person would have.

    programs: folder of other programs with the same names, to be found first.
    """

    def __init__(self, folder: Path, programs: Path | None = None, **environment: str) -> None:
        self.folder, self.programs = folder, programs
        keep = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("DVC_", "CODER_CLIP", "AWS_", "SNAKEMAKE_", "PYTHON"))
        }
        self.environment = {
            **keep,
            "PATH": os.pathsep.join(
                map(str, filter(None, (programs, TOY / "bin", BIN, os.environ["PATH"])))
            ),
            "HOME": str(folder.parent / "home"),  # no configuration of whoever runs the tests
            "GIT_AUTHOR_NAME": "A",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "A",
            "GIT_COMMITTER_EMAIL": "a@example.org",
            "DVC_NO_ANALYTICS": "1",
            "SNAKEMAKE_PROFILE": "workflow/profiles/default",
            **environment,
        }
        Path(self.environment["HOME"]).mkdir(exist_ok=True)

    def __truediv__(self, path: str) -> Path:
        return self.folder / path

    def run(
        self, *command: str, ok: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,  # on a busy machine
            check=False,
        )
        if ok:
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
        return done

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """A process of its own group, to be killed by its id; without `programs`, whose work
        another process does.
        """
        path = self.environment["PATH"].removeprefix(f"{self.programs}{os.pathsep}")
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, "PATH": path, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def snakemake(self, *options: str, ok: bool = True, **environment: str) -> str:
        options = ("--cores", "1", "--keep-going", "--rerun-incomplete", *options)
        return self.run("snakemake", *options, ok=ok, **environment).stdout

    def planned(self) -> list[str]:
        """Rules of the jobs that a run would run now, sorted, without the target rule."""
        said = self.snakemake("-n")
        jobs = sorted(r for r in JOB.findall(said) if r not in ("all", "report_page"))
        assert jobs or "Nothing to be done" in said, said
        return jobs

    def stale(self) -> list[str]:
        """Phases that DVC calls changed."""
        answer = self.run("dvc", "status", "--json").stdout
        said = json.loads(answer.splitlines()[-1])  # below a warning, if a DVC command was killed
        return sorted(name.split(":")[-1] for name, what in said.items() if what)

    def lock(self) -> str:
        return (self / "dvc.lock").read_text()

    def entries(self, *phases: str) -> list[Any]:
        """What dvc.lock says of these phases."""
        stages = yaml.safe_load(self.lock())["stages"]
        return [stages[phase] for phase in phases]

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments).stdout

    def commit(self, message: str = "results") -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self / path).read_text()
        assert old in text
        (self / path).write_text(text.replace(old, new))

    def clone(self, name: str) -> Project:
        """A colleague's clone, beside this one."""
        folder = self.folder.parent / name
        self.run("git", "clone", "--quiet", str(self.folder), str(folder))
        more = {k: v for k, v in self.environment.items() if k.startswith(("AWS_", "SSH_"))}
        return Project(folder, self.programs, **more)

    def bytes(self, results: str = "results") -> dict[str, str]:
        """sha256 of all that the pipeline made."""
        files = (
            p for p in (self / results).rglob("*") if p.is_file() and not p.name.startswith(".")
        )
        return {
            str(p.relative_to(self.folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(files)
            if {"benchmarks", "certificates"}.isdisjoint(p.parts)
        }

    def snapshot(self) -> dict[str, tuple[str, int]]:
        """Bytes and time of every file of the clone, Git's and Snakemake's own included; without
        DVC's own and logs.
        """
        return {
            str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            for path in self.folder.rglob("*")
            if path.is_file() and not {"__pycache__", ".dvc", "log"}.intersection(path.parts)
        }

    def honest(self) -> list[str]:
        """Run; the rules that ran. What counts as current afterwards is what forcing every job
        makes.
        """
        said = self.snakemake()
        rules = sorted(r for r in JOB.findall(said) if r not in ("all", "report_page"))
        assert rules or "Nothing to be done" in said, said
        before = self.bytes()
        self.snakemake("--forceall")
        assert self.bytes() == before, "something counted as current that was not"
        return rules


def make_toy(
    folder: Path, dvc: bool = True, git: bool = True, programs: Path | None = None
) -> Project:
    """A toy project that has not run yet."""
    folder.mkdir(parents=True)
    for item in TOY.iterdir():
        if item.name == "bin":
            continue
        (shutil.copytree if item.is_dir() else shutil.copy)(item, folder / item.name)
    shutil.copy(ROOT / ".gitattributes", folder)
    (folder / "data/weights.bin").write_bytes(bytes(range(256)) * 5000)
    project = Project(folder, programs)
    if git:
        project.git("init", "--quiet", "--initial-branch", "main")
    if dvc:
        project.run("dvc", "init", "--quiet", *([] if git else ["--no-scm"]))
        for key in ("core.analytics", "core.check_update"):
            project.run("dvc", "config", key, "false")
    if git:
        project.commit("a toy")
    return project


def add_remote(project: Project, url: str) -> None:
    project.run("dvc", "remote", "add", "--quiet", "--default", "store", url)
    project.commit("a remote")


def wait_for(path: Path, seconds: float = 60) -> str:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.05)
    return path.read_text()
