# Keep Snakemake and DVC in agreement (docs/sharing.md): pulled files count as made here, new results are recorded.
from coder_clip import tracking

if workflow.is_main_process:
    tracking.before_run(CONFIG_FILE)


def after_run():
    """Record the results of a run, except of `stage`, which makes nothing to record."""
    if {job.rule.name for job in workflow.dag.jobs} != {"stage"}:
        tracking.after_run(CONFIG_FILE)


onsuccess:
    after_run()


onerror:
    after_run()
