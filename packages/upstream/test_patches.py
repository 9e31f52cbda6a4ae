"""Each patch applies to the installed official plugin, fixes what it says, and is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import snakemake_executor_plugin_slurm

HERE = Path(__file__).parent
pytestmark = pytest.mark.rest

EXECUTOR = """
import asyncio, contextlib, sys
from types import SimpleNamespace as Of
import snakemake_executor_plugin_slurm as plugin

class Executor(plugin.Executor):
    def __init__(self):
        self.said = []
        say = self.said.append
        self.logger = Of(**{n: (lambda text, **_: say(str(text))) for n in ("debug", "info", "warning", "error")})
        settings = Of(init_seconds_before_status_checks=1, status_attempts=1, status_command="squeue")
        self.workflow = Of(executor_settings=settings)
        self.run_uuid = "run"
        self.status_rate_limiter = contextlib.nullcontext()
        self._status_query_calls = self._status_query_failures = 0

    next_seconds_between_status_checks = 1

    def get_status_command(self):
        return "squeue"

executor = Executor()
"""
STATUS = """
async def look():
    jobs = [Of(external_jobid="1", aux={}), Of(external_jobid="2", aux={})]
    return [job.external_jobid async for job in executor.check_active_jobs(jobs)]

print(asyncio.run(look()))
"""
GROUP = """
def full(*_, **__):
    raise OSError("No space left on device")

executor.slurm_logdir = Of(mkdir=full)
executor._report_job_error_threadsafe = lambda info, text: print(text)
group = Of(name="merges_merge", is_group=lambda: True, wildcards=[])
try:
    executor.run_job(group)
except AttributeError as error:
    print(error)
"""


def say(folder: Path, code: str) -> str:
    """What Python says with the package in that folder, and with a Slurm whose controller is away."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("squeue", "sinfo", "scontrol"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {folder}/calls\nexit 1\n')
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}{os.pathsep}{os.defpath}", "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package = Path(snakemake_executor_plugin_slurm.__file__).parent
    shutil.copytree(package, tmp_path / package.name)
    return tmp_path


def patch(folder: Path, name: str) -> None:
    if shutil.which("patch") is None:
        pytest.skip("no patch: apt-get install patch")
    subprocess.run(["patch", "-p1", "-s", "-i", str(HERE / name)], cwd=folder, check=True)


def test_jobs_stay_while_the_controller_is_away(folder: Path) -> None:
    assert say(folder, EXECUTOR + STATUS) == "[]\n", "they are forgotten"
    patch(folder, "status.patch")
    assert say(folder, EXECUTOR + STATUS) == "['1', '2']\n"


def test_a_group_s_error_is_told(folder: Path) -> None:
    assert "has no attribute 'rule'" in say(folder, EXECUTOR + GROUP)
    patch(folder, "group_error.patch")
    assert "No space left on device" in say(folder, EXECUTOR + GROUP)


def test_no_job_asks_the_controller(folder: Path) -> None:
    code = "import snakemake_executor_plugin_slurm"
    say(folder, code)
    assert "scontrol show config" in (folder / "calls").read_text()
    (folder / "calls").unlink()
    patch(folder, "help_text.patch")
    say(folder, code)
    assert not (folder / "calls").exists()
