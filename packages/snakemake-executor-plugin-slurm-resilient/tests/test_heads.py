"""One head for each configuration of a folder: locks of a killed one are cleared where nobody can
hold them.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from snakemake_executor_plugin_slurm_resilient import heads

HEAD = """
import sys
from pathlib import Path
from types import SimpleNamespace
from snakemake_executor_plugin_slurm_resilient import heads
settings = SimpleNamespace(configfiles=[Path(sys.argv[1])])
lock = ".snakemake/locks/0.input.lock"
state = SimpleNamespace(_lockfile={"input": lock})
workflow = SimpleNamespace(config_settings=settings, main_snakefile="Snakefile", persistence=state)
print(heads.before_run(workflow), flush=True)
sys.stdin.readline()
try:
    heads.claim(workflow)
except heads.queue.SlurmError as error:
    print(error, flush=True)
else:
    Path(lock).parent.mkdir(exist_ok=True, parents=True)
    Path(lock).write_text("results/x")
    print("claimed", flush=True)
sys.stdin.readline()
"""


class Process:
    def __init__(self, folder: Path, config: str = "a.yaml") -> None:
        command = [sys.executable, "-c", HEAD, config]
        pipe = subprocess.PIPE
        self.child = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=folder)
        self.cleared = self._line() == "True"

    def _line(self) -> str:
        assert self.child.stdout is not None
        return self.child.stdout.readline().strip()

    def claim(self) -> str:
        assert self.child.stdin is not None
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        return self._line()

    def kill(self) -> None:
        self.child.send_signal(signal.SIGKILL)
        self.child.communicate()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / ".snakemake/locks/0.input.lock"


@pytest.mark.rest
def test_a_second_head_is_refused_and_the_next_one_after_a_kill_clears_the_locks(
    tmp_path: Path, lock: Path
) -> None:
    first = Process(tmp_path)
    assert first.claim() == "claimed"
    second = Process(tmp_path)
    assert not second.cleared
    assert lock.exists(), "two living runs would write the same files"
    assert (
        f"another run of this configuration is alive: process {first.child.pid}" in second.claim()
    )
    second.kill()
    first.kill()
    third = Process(tmp_path)
    assert third.cleared
    assert not lock.exists()
    assert third.claim() == "claimed"
    third.kill()


FOLLOWS = """
from snakemake_executor_plugin_slurm_resilient import heads

heads.follow(workflow)

rule a:
    output: "a.txt"
    shell: "touch {output}"
"""


@pytest.mark.rest
def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    """A full disk at the start of a run ended in a traceback."""
    (tmp_path / "Snakefile").write_text(FOLLOWS)
    (tmp_path / ".snakemake").mkdir()
    (tmp_path / ".snakemake/slurm-resilient").write_text("in the way")
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    words = "slurm-resilient/heads cannot be written (Not a directory): look at space and rights"
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.rest
def test_another_configuration_has_a_head_of_its_own(tmp_path: Path, lock: Path) -> None:
    first, other = Process(tmp_path), Process(tmp_path, "b.yaml")
    assert (first.claim(), other.claim()) == ("claimed", "claimed")
    first.kill()
    again = Process(tmp_path)
    assert again.cleared, "its own, though the other one is alive"
    again.kill()
    other.kill()


def test_a_head_of_another_person_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a shared folder its file may be readable only."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / heads.FOLDER).mkdir(parents=True)
    file = tmp_path / heads.FOLDER / "theirs.json"
    file.write_text(json.dumps({"host": "login-2", "pid": "4711", "job": "", "since": "now"}))
    opened = Path.open

    def deny(path: Path, mode: str = "r", **options: Any) -> Any:
        if mode == "a+":
            raise PermissionError
        return opened(path, mode, **options)

    monkeypatch.setattr(Path, "open", deny)
    assert heads.alive("theirs")
    file.write_text("")
    assert not heads.alive("theirs")


@pytest.mark.rest
def test_a_head_that_may_be_alive_elsewhere_is_left_alone(tmp_path: Path, lock: Path) -> None:
    """A cluster's login nodes share the folder, but not always its file locks."""
    first = Process(tmp_path)
    first.claim()
    first.kill()
    (file,) = tmp_path.glob(".snakemake/slurm-resilient/heads/*.json")
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "host": "login-2", "pid": "4711"}))
    second = Process(tmp_path)
    assert not second.cleared
    assert lock.exists()
    said = second.claim()
    assert "may be alive: process 4711 on login-2" in said
    assert f"remove {file.relative_to(tmp_path)}" in said
    second.kill()
    file.unlink()
    third = Process(tmp_path)
    assert third.claim() == "claimed"
    third.kill()
