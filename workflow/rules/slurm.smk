# One head, and jobs of an earlier one that was killed (docs/slurm.md): a run removes locks that nobody holds.
from snakemake_executor_plugin_coder_clip import heads, reattach

if workflow.is_main_process:
    heads.follow(workflow)
