# One head, and jobs of an earlier one that was killed (docs/slurm.md): looked at before Snakemake looks at its locks.
from snakemake_executor_plugin_coder_clip import heads, reattach

if workflow.is_main_process and heads.before_run(workflow):
    logger.info("An earlier run was killed; continuing where it was.")
