"""An environment that knows nothing of this clone, with links to the libraries of the tests."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import venv
from collections.abc import Collection, Iterable
from pathlib import Path

OURS = re.compile(r"(__editable__|coder_clip|snakemake_logger_plugin_coder_clip|.*slurm_resilient)")


def environment(folder: Path) -> dict[str, str]:
    """This process's environment without traces of the clone, and with a home of its own."""
    unwanted = ("PYTHON", "PYTEST", "SNAKEMAKE", "CODER_CLIP", "PIP_", "VIRTUAL")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
    return kept | {"PATH": f"{folder}/env/bin:/usr/bin:/bin", "HOME": str(folder)}


def make(folder: Path, known: Collection[str] = (), sources: Iterable[Path] = ()) -> Path:
    """Make the environment ``folder/env`` and return its Python.

    The distributions of this repository are not in it. Of those that ``known`` names, by their
    packages, it has version and entry points, as if they were installed. sources: folders with
    their code, which every Python of the environment finds; otherwise PYTHONPATH must have it.
    """
    libraries = folder / "libraries"
    libraries.mkdir()
    installed = {Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("platlib"))}
    for entry in (entry for place in installed for entry in place.iterdir()):
        distribution, _, kind = entry.name.partition("-")
        about = kind.endswith(".dist-info") and distribution in known
        if about or (not OURS.match(entry.name) and entry.suffix != ".pth"):
            (libraries / entry.name).symlink_to(entry)
    venv.create(folder / "env", with_pip=False)
    python = folder / "env/bin/python"
    own = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    found = "".join(f"{place}\n" for place in (*sources, libraries))
    Path(own, "dependencies.pth").write_text(found)
    return python
