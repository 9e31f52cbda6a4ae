"""The software and machine of a run.

They describe the run and not the result, so they are in a file of their own.

`results/environment.json` is neither in Git nor in DVC: every job that encodes images writes it,
the report links to it and `coder-clip status` prints it.
"""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..encoders import families
from ..foundation.artifacts import Paths, write_json

PACKAGES = (
    "coder-clip",
    "torch",
    *(library for family in families.FAMILIES.values() for library in family.libraries),
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "matplotlib",
    "pillow",
    "snakemake",
    "dvc",
)


def write(path: Path, device: str) -> None:
    """Write this process's Python, packages and machine. device: the encoder's."""
    import torch

    write_json(
        path,
        {
            "python": platform.python_version(),
            # torch's own number, which names the CUDA that it was built for
            "packages": {**packages(), "torch": str(torch.__version__)},
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "vectors": torch.backends.cpu.get_cpu_capability(),
            "device": device,
        },
    )


def packages() -> dict[str, str]:
    """Versions of the installed packages that results depend on."""
    versions = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def line(paths: Paths) -> str | None:
    """The environment file as one line of text; None if there is no such file, because nothing was
    encoded here.
    """
    try:
        run = json.loads(paths.environment.read_text(encoding="utf-8"))
        packages = ", ".join(f"{name} {number}" for name, number in run["packages"].items())
        machine = f"{run['system']}, {run['processor']}, {run['cores']} cores, {run['vectors']}"
        return f"encoded with Python {run['python']}, {packages}, on {run['device']} ({machine})"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def device(paths: Paths) -> str | None:
    """The kind of device that encoded last ("cpu", "cuda", "mps"); None if that is not known."""
    try:
        return str(json.loads(paths.environment.read_text(encoding="utf-8"))["device"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _processor() -> str:
    """The processor's name, from Linux if possible."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    # the file has such a line for each core
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def foreign_code() -> str:
    """A message if coder_clip is not imported from ./src, else "".

    Jobs would run other code than this.
    """
    own, used = Path("src/coder_clip").resolve(), Path(__file__).resolve().parents[1]
    if not own.is_dir() or own == used:
        return ""
    return (
        f"coder_clip runs from {used} and not from ./src; 'make install' here, and use .venv/bin "
        "(or 'source .venv/bin/activate')"
    )
