"""The messages of the installed Slurm."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest


def errors() -> list[str]:
    """Every message of its slurm_errno."""
    libraries = sorted(Path("/usr/lib").glob("*/slurm*/libslurmfull.so"))
    if not libraries:
        pytest.skip("no Slurm here: apt-get install slurm-client")
    library = ctypes.CDLL(str(libraries[0]))
    library.slurm_strerror.restype = ctypes.c_char_p
    words = [library.slurm_strerror(code).decode() for code in range(1000, 11_000)]
    return [text for text in words if not text.startswith("Unknown error")]
