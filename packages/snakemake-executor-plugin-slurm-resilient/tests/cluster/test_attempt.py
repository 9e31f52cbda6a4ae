"""A job sees the attempt that Snakemake counts, and the memory and time that it was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import Cluster
from toy_run import toy

pytestmark = pytest.mark.rest

# The first try loses a child for lack of memory, the second fails, the third ends well.
SNAKEFILE = """
rule all:
    input: "a.txt"

rule a:
    output: "a.txt"
    threads: lambda w, attempt: attempt
    resources:
        mem_mb=lambda w, attempt: 400 * attempt,
        runtime=lambda w, attempt: 10 * attempt,
        mode=lambda w, attempt: ["fast", "safe", "slow"][attempt - 1],
    shell:
        "echo {threads} {resources.mode} {resources.mem_mb} {resources.runtime} >> seen;"
        "case $(wc -l < seen) in"
        " 1) python3 -c 'import os; os.kill(os.getpid(), 9)';;"
        " 2) exit 1;;"
        " 3) touch {output};;"
        " esac"
"""


@pytest.mark.parametrize("options", [[], ["--groups", "a=g"], ["--set-resources", "a:mode='own'"]])
def test_a_job_sees_its_attempt_and_what_it_was_given(
    shared_folder: Path, cluster: Cluster, options: list[str]
) -> None:
    """Threads, and a mode by attempt, follow every failure; memory only the lack of it."""
    run = toy(shared_folder, cluster)
    (shared_folder / "Snakefile").write_text(SNAKEFILE)
    assert run.start(*options).wait() == 0, run.said()
    modes = ["own"] * 3 if "--set-resources" in options else ["fast", "safe", "slow"]
    seen = [line.split() for line in (shared_folder / "seen").read_text().splitlines()]
    assert [mode for _, mode, *_ in seen] == modes
    assert [(n, mb, minutes) for n, _, mb, minutes in seen] == [
        ("1", "400", "10"),
        ("2", "800", "10"),
        ("3", "800", "10"),
    ]
    given = [(job.cpus, job.memory) for job in run.submitted()]
    assert given == [("1", "400M"), ("2", "800M"), ("3", "800M")]
