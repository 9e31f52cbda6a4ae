"""Every job that a run would submit, as Snakemake would submit it: what `coder-clip check` asks Slurm about.

    python -m coder_clip.slurm.plan FILE snakemake-options…

Snakemake goes through its DAG with the profile as it would on the cluster; the executor is replaced by one that
writes down what the executor would call. Nothing is submitted and no job runs. It works in a process of its own,
because Snakemake's plugins are global.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..foundation.artifacts import write_text

# what differs between jobs of one place
SIZES = re.compile(r" (-t|--mem|--mem-per-cpu) \S+| --cpus-per-\w+=\S+")


@dataclass(frozen=True)
class Planned:
    """One job. rules: of its members, where it is a group. fixed: resources that the profile itself sets for them.
    call: the sbatch command, without what it would run."""

    rules: tuple[str, ...]
    asked: dict[str, Any]
    fixed: tuple[str, ...]
    call: str

    @property
    def place(self) -> str:
        """Where the job runs: jobs of one place differ only in memory, time and CPUs."""
        return SIZES.sub("", self.call)


@dataclass(frozen=True)
class Plan:
    """The jobs of a run, and what else its profile says."""

    jobs: list[Planned]
    log_folder: str
    precommand: str


def read(path: Path) -> Plan:
    raw = json.loads(path.read_text(encoding="utf-8"))
    jobs = [Planned(tuple(j["rules"]), j["asked"], tuple(j["fixed"]), j["call"]) for j in raw.pop("jobs")]
    return Plan(jobs=jobs, **raw)


def main(target: Path, options: list[str]) -> None:
    """Write the plan of a run with these options of Snakemake to ``target``, as JSON."""
    from snakemake import cli
    from snakemake.executors.dryrun import Executor as DryRun
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    import snakemake_executor_plugin_coder_clip as plugin
    from snakemake_executor_plugin_coder_clip import retry, submit
    from snakemake_executor_plugin_coder_clip.journal import Tries, members

    jobs: list[dict[str, Any]] = []

    class Planner(DryRun):  # type: ignore[misc]
        """Collect the sbatch call of each job instead of running it."""

        def run_job(self, job: Any) -> None:
            settings = self.workflow.executor_settings
            if not job.is_local:
                asked = retry.asked(job, Tries())
                fixed = self.workflow.resource_settings.overwrite_resources
                rules = sorted({j.rule.name for j in members(job)})
                planned = Planned(
                    rules=tuple(rules),
                    asked=asked,
                    fixed=tuple(set.intersection(*(set(fixed.get(r, {})) for r in rules))),
                    call=submit.call(job, asked, settings, "check", "/dev/null", "check"),
                )
                jobs.append(asdict(planned))
            super().run_job(job)

        def shutdown(self) -> None:
            document = {
                "jobs": jobs,
                "log_folder": str(self.workflow.executor_settings.logdir or ".snakemake/slurm_logs"),
                "precommand": self.workflow.remote_execution_settings.precommand or "",
            }
            write_text(target, json.dumps(document))

    plugins = ExecutorPluginRegistry().plugins
    common = replace(plugin.common_settings, dryrun_exec=True)
    plugins["coder-clip"] = replace(plugins["coder-clip"], executor=Planner, common_settings=common)
    plugins["local"] = replace(plugins["local"], executor=DryRun)  # local rules run no more than others
    cli.main([*options, "--executor", "coder-clip", "--nolock"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
