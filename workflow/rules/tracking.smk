# Keep Snakemake and DVC in agreement (docs/sharing.md): pulled files count as made here, new results are recorded.
from coder_clip import tracking

if workflow.is_main_process:
    tracking.follow(workflow, CONFIG_FILE)
