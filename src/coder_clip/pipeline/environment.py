"""What a run ran on. It describes the run and not the result, so it stands in no artefact but in a file of its own.

`results/environment.json` is neither in Git nor in DVC: every job that has encoded images writes it, the report links
to it and `coder-clip status` prints it.
"""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

from ..foundation.artifacts import Paths, write_json

PACKAGES = (
    *("coder-clip", "torch", "open_clip_torch", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn"),
    *("matplotlib", "pillow", "snakemake", "dvc"),
)


def write(paths: Paths, device: str) -> None:
    """Note this process's Python, packages and machine; device: what the encoder runs on."""
    import torch

    write_json(
        paths.environment,
        {
            "python": platform.python_version(),
            "packages": {name: version(name) for name in PACKAGES},
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "vectors": torch.backends.cpu.get_cpu_capability(),
            "device": device,
        },
    )


def line(paths: Paths) -> str | None:
    """The file in one line; None where this machine has made no features."""
    try:
        found = json.loads(paths.environment.read_text(encoding="utf-8"))
        packages = ", ".join(f"{name} {number}" for name, number in found["packages"].items())
        machine = f"{found['system']}, {found['processor']}, {found['cores']} cores, {found['vectors']}"
        return f"encoded with Python {found['python']}, {packages}, on {found['device']} ({machine})"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _processor() -> str:
    """Its name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")
