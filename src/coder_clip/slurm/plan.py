"""Plan a run: every job that it would submit, with its sbatch call.

`coder-clip check` asks Slurm about them.

Snakemake goes through its DAG with the profile as on the cluster, but with an executor that records
the sbatch calls instead of submitting them. No job runs. Planning has a process of its own, because
Snakemake's plugins are global.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from ..foundation.artifacts import write_text
from ..foundation.yaml_file import read_yaml
from ..tracking.plan import PLAN

PROFILES = Path("workflow/profiles")
# options of sbatch that differ between jobs of one place: with the next word, or with "="
SIZES = ("-t", "--mem", "--mem-per-cpu")
CPUS = ("--cpus-per-task=", "--cpus-per-gpu=")


@dataclass(frozen=True)
class Planned:
    """One job that a run would submit.

    rules: the rule of the job, or the rules of all jobs in a group. asked: resource -> amount or
    name. call: the words of the sbatch command, without a script.
    """

    rules: list[str]
    asked: dict[str, Any]
    call: list[str]

    @property
    def place(self) -> tuple[str, ...]:
        """The call without memory, time and CPUs: equal for jobs that run in the same place."""
        words: list[str] = []
        for before, word in zip(["", *self.call], self.call, strict=False):
            if word not in SIZES and before not in SIZES and not word.startswith(CPUS):
                words.append(word)
        return tuple(words)


@dataclass(frozen=True)
class ClusterPlan:
    """The jobs of a run, and the log folder and the precommand ("" if none) of its profile."""

    jobs: list[Planned]
    log_folder: str
    precommand: str


def find_profile(name: str) -> Path:
    """The folder of a Slurm profile, by its path, its file, or its name below workflow/profiles.

    UserError if none.
    """
    places = (PROFILES / name / "config.yaml", Path(name) / "config.yaml", Path(name))
    file = next((f for f in places if f.is_file()), None)
    if file is None:
        known = [p.parent.name for p in PROFILES.glob("*/config.yaml")]
        raise UserError(
            f"no profile '{name}'{nearest(name, known)}: no folder with config.yaml, nor below "
            f"{PROFILES}"
        )
    document = read_yaml(file)
    if not isinstance(document, dict) or document.get("executor") != "slurm-resilient":
        raise UserError(
            f"{file.parent} is not a Slurm profile: config.yaml lacks 'executor: slurm-resilient'"
        )
    return file.parent


def plan(profile: Path, file: Path) -> ClusterPlan:
    """Plan all jobs of a configuration.

    UserError with Snakemake's message if it cannot plan them.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "plan.json"
        command = [sys.executable, "-m", __name__, str(target), "--forceall"]
        command += ["--profile", str(profile), "--configfile", str(file)]
        # with PLAN set no certificate is judged: every job counts, and the notes go nowhere
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, PLAN: os.devnull}
        )
        if done.returncode or not target.is_file():
            # the end of the output has the error
            error = " ".join(done.stderr.split())[-400:]
            raise UserError(f"Snakemake cannot plan with {profile}: {error}")
        document = json.loads(target.read_text(encoding="utf-8"))
    return ClusterPlan([Planned(**job) for job in document.pop("jobs")], **document)


def main(target: Path, options: list[str]) -> None:
    """Write the plan of a run with these options of Snakemake to ``target``, as JSON."""
    # Only the executor is replaced in Snakemake's registry: profile, groups and resources go
    # through Snakemake's and the plugin's own code, so the sbatch calls are those of a real run.
    from snakemake import cli
    from snakemake.executors.dryrun import Executor as DryRun
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    import snakemake_executor_plugin_slurm_resilient as plugin
    from snakemake_executor_plugin_slurm_resilient import retry, site, submit
    from snakemake_executor_plugin_slurm_resilient.journal import Tries, members

    jobs: list[Planned] = []
    here = site.read()

    class Planner(DryRun):  # type: ignore[misc]
        """Collect the sbatch call of each job instead of running it."""

        def run_job(self, job: Any) -> None:
            """Add a job to the plan."""
            if not job.is_local:
                whole = here.placed(retry.asked(job, Tries()))
                asked = retry.fitted(job, whole, Tries(), here.nodes(whole))
                settings = self.workflow.executor_settings
                call = submit.call(job, asked, settings, "check", "/dev/null", "check")
                jobs.append(Planned(sorted({j.rule.name for j in members(job)}), asked, call))
            super().run_job(job)

        def shutdown(self) -> None:
            """Write the plan."""
            logs = str(self.workflow.executor_settings.logdir or ".snakemake/slurm_logs")
            precommand = self.workflow.remote_execution_settings.precommand or ""
            write_text(target, json.dumps(asdict(ClusterPlan(jobs, logs, precommand))))

    plugins = ExecutorPluginRegistry().plugins
    common = replace(plugin.common_settings, dryrun_exec=True)
    plugins["slurm-resilient"] = replace(
        plugins["slurm-resilient"], executor=Planner, common_settings=common
    )
    # local rules do not run either
    plugins["local"] = replace(plugins["local"], executor=DryRun)
    cli.main([*options, "--executor", "slurm-resilient", "--nolock"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
