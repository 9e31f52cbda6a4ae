"""The default, from images to report, is the same bytes on every processor: those that are
recorded.

A processor is played by what its libraries may use: vector instructions of PyTorch, MKL, oneDNN,
OpenBLAS, NumPy and the C library, and threads. Whatever this machine lacks is not used either way.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from coder_clip.foundation.dvc import folder_md5
from coder_clip.tracking.stages import DEFAULT, Tracked
from working_copy import Work, python_path, working_copy

REPO = Path(__file__).resolve().parents[2]
CONFIG = "config/reproduce.yaml"


CPU = Path("/proc/cpuinfo").read_text(encoding="utf-8")


def threads(n: int) -> dict[str, str]:
    return {f"{library}_NUM_THREADS": str(n) for library in ("OMP", "MKL", "OPENBLAS")}


PROFILES: dict[str, dict[str, str]] = {
    "this machine": threads(1),
    "this machine, two threads": threads(2),
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        **threads(2),
    },
    "sse4.2": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA",
        **threads(1),
    },
    "compatible MKL": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        # OpenBLAS does not look at the processor then, and an instruction that it lacks ends the run
        "OPENBLAS_CORETYPE": "SkylakeX" if "avx512" in CPU else "Zen",
        **threads(2),
    },
}


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """The repository, without results."""
    return Work(working_copy(tmp_path_factory.mktemp("bytes") / "copy", {}).folder, CONFIG)


OF_VERSIONS = ("figures/", "report.html")  # what a version of Matplotlib draws
PYTHONS = ("python3.14", "python3.13", "python3.12")


@pytest.fixture(scope="session")
def newest(source: Work, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The newest Python here, with the newest versions that pyproject.toml allows."""
    found = next(filter(None, map(shutil.which, PYTHONS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(PYTHONS)} is here")
    environment = tmp_path_factory.mktemp("newest") / "venv"
    subprocess.run([found, "-m", "venv", environment], check=True)
    python = environment / "bin/python"
    install = [python, "-m", "pip", "install", "--quiet", "pytest", f"{source.folder}[run,texts]"]
    subprocess.run(install, check=True)
    return python


@cache
def made(work: Work, profile: str, python: str | Path = sys.executable) -> dict[str, str]:
    """Every artefact of a whole run -> its md5."""
    script, tests = Path(__file__).with_name("whole_run.py"), REPO / "tests/support"
    path = os.pathsep.join([python_path(work.folder), str(tests)])
    n = PROFILES[profile]["OMP_NUM_THREADS"]
    work.run("rm", "-rf", "results")
    work.run(python, script, CONFIG, n, **{"PYTHONPATH": path, **PROFILES[profile]})
    return work.hashes("md5")


@pytest.mark.parametrize("profile", PROFILES)
def test_every_processor_makes_the_recorded_bytes(source: Work, profile: str) -> None:
    files = made(source, profile)
    other = made(source, "this machine")
    assert {name for name in files | other if files.get(name) != other.get(name)} == set()
    with contextlib.chdir(REPO):
        locked = Tracked(DEFAULT).recorded()
    recorded = {
        out: md5
        for outs in locked.values()
        for out, md5 in outs.items()
        if "/certificates/" not in out
    }
    assert {out: _of(out, files) for out in recorded} == recorded


def test_the_newest_versions_make_the_recorded_numbers(
    source: Work, newest: Path, tmp_path: Path
) -> None:
    """Draws and sums that depend on a version of NumPy or PyTorch would change results with the year."""
    copy = Work(working_copy(tmp_path / "copy", {}).folder, CONFIG)
    files = made(copy, "this machine", newest)
    other = made(source, "this machine")
    assert files.keys() == other.keys()
    differ = {name for name in files if files[name] != other[name]}
    assert {name for name in differ if not name.startswith(OF_VERSIONS)} == set()


def test_the_page_is_small_enough_to_send(source: Work) -> None:
    """Figures and photos as PNG made it 2.2 MB."""
    made(source, "this machine")
    assert (source.folder / "results/report.html").stat().st_size < 1_500_000


def _of(out: str, files: dict[str, str]) -> str:
    """What DVC calls a file or folder below results/."""
    name = out.removeprefix("results/")
    below = {
        f.removeprefix(f"{name}/"): md5 for f, md5 in files.items() if f.startswith(f"{name}/")
    }
    return folder_md5(below) if below else files[name]
