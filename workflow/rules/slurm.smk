# With the executor for Slurm: one head per configuration, and a run removes locks that no process
# holds any more, also a run on this machine (docs/slurm.md). Without its package Snakemake's own
# locks remain, and 'snakemake --unlock'.
from pathlib import Path

from coder_clip.foundation.installed import slurm_advice

SLURM_JOBS = Path(".snakemake/slurm-resilient/jobs")  # what earlier heads submitted

if not slurm_advice():
    from snakemake_executor_plugin_slurm_resilient import heads, reattach

    if workflow.is_main_process:
        heads.follow(workflow)


def look_for_slurm_jobs():
    """Stop a run that would write the same files as jobs of an earlier head, which may still be on
    the cluster.
    """
    if not slurm_advice():
        reattach.before_jobs(workflow)
    elif any(SLURM_JOBS.glob("*")):
        raise WorkflowError(
            "jobs of an earlier run of this folder may be on a Slurm cluster; "
            f"{slurm_advice()}; or remove {SLURM_JOBS} if you know that none is"
        )
