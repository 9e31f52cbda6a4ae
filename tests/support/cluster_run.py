"""Runs of this project on the test cluster of the executor's package."""

from __future__ import annotations

import re
from pathlib import Path

import toy_run
from cluster import Cluster
from toy_run import QUICK, running, toy
from working_copy import python_path, snakemake_logs

__all__ = ["REPO", "Run", "environment", "quicken", "running", "toy"]
REPO = Path(__file__).parents[2]


class Run(toy_run.Run):
    """Snakemake on the head node, in one copy of the repository."""

    @property
    def environment(self) -> dict[str, str]:
        return {**environment(self.folder, self.cluster), **self.more}

    def said(self) -> str:
        """Its output with every job, which a run of this project tells in its own log alone."""
        logs = sorted(snakemake_logs(self.folder) - self.before)
        return super().said() + "".join(log.read_text(errors="replace") for log in logs)


def environment(folder: Path, cluster: Cluster) -> dict[str, str]:
    """Of the head, with the packages of this repository or of the folder's own copy."""
    root = folder if (folder / "src").is_dir() else REPO
    return {
        **toy_run.environment(folder, cluster),
        "PYTHONPATH": python_path(root),
        # not each copy's own, which would list the machine's fonts anew
        "MPLCONFIGDIR": str(Path.home() / ".cache/matplotlib"),
    }


def quicken(folder: Path) -> None:
    """Let the profile of a working copy look at the queue every second, and trust the file system."""
    profile = folder / "workflow/profiles/slurm/config.yaml"
    text = profile.read_text()
    for key, value in zip(QUICK[::2], QUICK[1::2], strict=True):
        text, count = re.subn(rf"^({key[2:]}): \d+", rf"\1: {value}", text, flags=re.M)
        assert count == 1, key
    profile.write_text(text)
