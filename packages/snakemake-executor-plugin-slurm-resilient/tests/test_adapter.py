"""What this package needs of Snakemake beyond its public interface is there, and if not, a clear
word says so.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_slurm_resilient import adapter
from snakemake_executor_plugin_slurm_resilient.queue import SlurmError

SNAKEFILE = """
from snakemake_executor_plugin_slurm_resilient import adapter, journal

onstart:
    adapter.check(workflow)
    job = next(iter(workflow.dag.jobs))
    print("made by", journal.entry([job], "a", workflow.persistence, {}, journal.Tries()).makes)
    adapter.make_again(workflow, ["a.txt"])
    workflow.persistence.started(job)
    print("locks", adapter.locks(workflow))
    print("needed", [j.rule.name for j in workflow.dag.needrun_jobs()])

rule a:
    output: "a.txt"
    params: size=CONTENT
    shell: "echo {params.size} > {output}"
"""


def run(folder: Path, content: int) -> str:
    """What a run of the installed Snakemake says."""
    (folder / "Snakefile").write_text(SNAKEFILE.replace("CONTENT", str(content)))
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--forceall"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "a.txt").read_text() == f"{content}\n"
    return done.stdout


def made(said: str) -> str:
    (line,) = [line for line in said.splitlines() if line.startswith("made by")]
    return line


@pytest.mark.rest
def test_the_installed_snakemake_has_every_part(tmp_path: Path) -> None:
    first = run(tmp_path, 1)
    assert "needed ['a']" in first
    assert made(first) == made(run(tmp_path, 1)), "a job is known again by the next head"
    assert made(first) != made(run(tmp_path, 2)), "and not with another parameter"


BEHIND = """
from snakemake_executor_plugin_slurm_resilient import adapter

onstart:
    adapter.make_again(workflow, ["a.txt", "c.txt"])
    print("needed", sorted(j.rule.name for j in workflow.dag.needrun_jobs()))

rule all:
    default_target: True
    input: "b.txt", "c.txt", "d.txt", "e.txt"

rule a:
    output: "a.txt"
    shell: "touch {output}"

rule b:
    input: ancient("a.txt")
    output: "b.txt"
    shell: "touch {output}"

rule c:
    input: ancient("a.txt")
    output: "c.txt"
    shell: "touch {output}"

rule d:
    input: ancient("a.txt")
    output: "d.txt"
    shell: "touch {output}"

rule e:
    input: ancient("d.txt")
    output: "e.txt"
    shell: "touch {output}"
"""


@pytest.mark.rest
def test_what_is_behind_a_job_that_is_taken_over_is_still_made(tmp_path: Path) -> None:
    """Else a run whose first jobs ended while there was no head ends well, with nothing made.

    And of a group, of which all files are there, only the first job would be asked for, and run
    again alone."""
    (tmp_path / "Snakefile").write_text(BEHIND)
    (tmp_path / "a.txt").touch()
    (tmp_path / "c.txt").touch()
    (tmp_path / "d.txt").touch()
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--rerun-triggers", "mtime"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "needed ['a', 'all', 'b', 'c', 'd', 'e']" in done.stdout
    assert (tmp_path / "b.txt").exists()
    assert (tmp_path / "e.txt").exists(), "behind d, which is there and does not count as old"


def test_a_snakemake_without_a_part_is_named() -> None:
    """Else a run would end in a traceback in the middle of the night, or take over jobs that make
    something else.
    """
    with pytest.raises(SlurmError) as error:
        adapter.check(SimpleNamespace(persistence=SimpleNamespace(_code=0, _params=0), dag=None))
    assert "has no persistence._input, persistence._lockfile, dag.forcefiles, " in str(error.value)
    assert str(error.value).endswith("install a version that its pyproject.toml names")
