# Allow one head per configuration; a run removes locks that no process holds any more (docs/slurm.md).
from snakemake_executor_plugin_slurm_resilient import heads, reattach

if workflow.is_main_process:
    heads.follow(workflow)
