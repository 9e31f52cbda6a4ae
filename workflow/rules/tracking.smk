# Results and DVC agree (docs/sharing.md): what was pulled counts as made here, what was made is recorded.
from coder_clip import tracking

if workflow.is_main_process:
    tracking.before_run(CONFIG_FILE)


def after_run():
    """`stage` makes nothing that is recorded."""
    if {job.rule.name for job in workflow.dag.jobs} != {"stage"}:
        tracking.after_run(CONFIG_FILE)


onsuccess:
    after_run()


onerror:
    after_run()
