# One head, and jobs of an earlier one that was killed (docs/slurm.md): looked at before Snakemake looks at its locks.
from coder_clip import tracking
from snakemake_executor_plugin_coder_clip import heads, reattach


def continue_a_killed_run():
    if heads.before_run(workflow):
        logger.info("An earlier run was killed; continuing where it was.")


if workflow.is_main_process:
    tracking.FIRST.append(continue_a_killed_run)
